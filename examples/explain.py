"""Where a network looks: saliency and Grad-CAM of pictures, for the likeliest class or for any other.

    python examples/explain.py cat.jpg --weights resnet50.pth                     writes explained.png
    python examples/explain.py cat.jpg --weights FILE --classes names.txt --class dog
    python examples/explain.py a.png b.webp --weights runs/NAME --out two.png     a row for each picture

Each picture is turned upright, scaled and cut as the weights' own preprocessing says. Classes have names where the file
of weights holds them, as a run's checkpoints do; --classes FILE gives them, a name on each line. docs/pictures.md says
how the maps are made, and what they do not show.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a fresh clone runs without being installed

from minires import backend, pretrained
from minires.cli import runs
from minires.cli.console import Parser, fail, likeliest
from minires.cli.pictures import chosen_range, open_and_say, refuse_to_replace
from minires.cli.settings import add_arguments
from minires.cli.weights import add_weights_arguments, class_names, known_of_weights, note_assumed, weights_line
from minires.columns import cut
from minires.data import normalize
from minires.data.dataset import DatasetError
from minires.data.images import Preprocessing
from minires.inspection import pictures
from minires.inspection.explain import grad_cam, input_gradient
from minires.names import unknown
from minires.wording import readable

MARK = "minires, examples/explain.py"  # in its pictures, which alone it replaces


def main():
    """Run the command line; returns the exit code."""
    return runs.call(run, lambda: vars(command_line().parse_args()))


def run(options):
    """Explain every picture that can be read; the exit code is 1 if one could not."""
    refuse_to_replace(options["out"], MARK, "--out")
    model, metadata = pretrained.build(options["weights"], **known_of_weights(options))
    classes = class_names(metadata, options["classes"])
    label = None if options["class"] is None else label_of(options["class"], classes)
    preprocessing = Preprocessing(**metadata["preprocessing"])
    device = backend.resolve_device(options["device"])
    model.to(device)
    print(weights_line(options["weights"], metadata), flush=True)
    note_assumed(metadata)
    value_range = chosen_range(options["range"], metadata)
    code, rows = 0, []
    for name in options["images"]:
        try:
            image = open_and_say(name, value_range)
        except DatasetError as error:
            code = fail(error)
            continue
        rows.append(explain(model, preprocessing, preprocessing.pixels(image), device, label, classes))
        show(name, rows[-1])
    if rows:
        figure = pictures.draw_explanations(*zip(*rows, strict=True))
        pictures.write_png(figure, options["out"], text={"Software": MARK})
        print(f"wrote {options['out']}", file=sys.stderr)
    return code


def label_of(name, classes):
    """The number of the class of this name."""
    if name not in classes:
        named = "" if classes[0] != "class 0" else "; --classes FILE gives names, one on each line"
        raise ValueError(unknown("class", name, classes) + named)
    if classes.count(name) > 1:
        raise ValueError(
            f"--class {name}: {classes.count(name)} classes have this name: give --classes of one for each"
        )
    return classes.index(name)


def explain(model, preprocessing, pixels, device, label, classes):
    """(pixels in RGB, saliency, Grad-CAM, the class explained, [(class, probability)]) of one picture."""
    x = backend.to_device(normalize(pixels[None], preprocessing.mean, preprocessing.std), device)
    dx, logits, labels = input_gradient(model, x, label)
    heat = grad_cam(model, x, labels)
    rgb = pixels if preprocessing.order == "RGB" else pixels[:, :, ::-1]
    saliency = backend.to_numpy(abs(dx).max(axis=-1))[0]
    named = [(classes[one], probability) for one, probability in likeliest(backend.to_numpy(logits)[0], 5)]
    return rgb, saliency, backend.to_numpy(heat)[0], classes[labels[0]], named


def show(name, row):
    """What is explained, and the likeliest classes."""
    *_, explained, best = row
    print(f"{readable(str(name), 4096)}: explained is {cut(explained, 100)}")
    for label, probability in best:
        print(f"  {probability:7.2%}  {cut(label, 100)}", flush=True)


def command_line():
    """The parser."""
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add_arguments(parser, "images", "--weights", "--classes")
    add("--class", metavar="NAME", help="the class to explain; default: each picture's likeliest")
    add("--out", default="explained.png", metavar="PNG", help="default: explained.png")
    add_arguments(parser, "--range")
    add_arguments(parser, "--device", default="auto")
    add_weights_arguments(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
