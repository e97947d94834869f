"""What a network sees in pictures: the five likeliest classes, with probabilities.

    python examples/predict.py cat.jpg --weights resnet50.pth
    python examples/predict.py a.png b.webp --weights runs/NAME --json        a line of JSON for each picture
    python examples/predict.py cat.jpg --weights FILE --plot cat-seen.png     the picture beside its classes

Each picture is turned upright, scaled and cut as the weights' own preprocessing says. Classes have names where the file
of weights holds them, as a run's checkpoints do; --classes FILE gives them, a name on each line.
"""

import io
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a fresh clone runs without being installed

from minires import backend, no_grad, pretrained
from minires.cli import runs
from minires.cli.console import Parser, fail, likeliest
from minires.cli.pictures import chosen_range, open_and_say, refuse_to_replace
from minires.cli.settings import add_arguments
from minires.cli.weights import add_weights_arguments, class_names, known_of_weights, note_assumed, weights_line
from minires.columns import cut
from minires.data import normalize
from minires.data.dataset import DatasetError
from minires.data.images import Preprocessing
from minires.files import write_atomically
from minires.inspection.pictures.figures import fit_letters, new_figure
from minires.wording import readable

MARK = "minires, examples/predict.py"  # in its plots, which alone it replaces


def main():
    """Run the command line; returns the exit code."""
    return runs.call(run, lambda: vars(command_line().parse_args()))


def run(options):
    """Predict every picture that can be read; the exit code is 1 if one could not."""
    if options["top"] < 1:
        raise ValueError(f"--top {options['top']}: give 1 or more")
    if options["plot"]:
        refuse_to_replace(options["plot"], MARK, "--plot")
    model, metadata = pretrained.build(options["weights"], **known_of_weights(options))
    classes = class_names(metadata, options["classes"])
    preprocessing = Preprocessing(**metadata["preprocessing"])
    device = backend.resolve_device(options["device"])
    model.to(device).eval()
    if options["plot"] and len(options["images"]) > 1:
        raise ValueError(f"--plot draws one picture, got {len(options['images'])}: give them one at a time")
    if not options["json"]:
        print(weights_line(options["weights"], metadata), flush=True)
    note_assumed(metadata)
    value_range = chosen_range(options["range"], metadata)
    code = 0
    for name in options["images"]:
        try:
            image = open_and_say(name, value_range)
        except DatasetError as error:
            code = fail(error)
            continue
        best = predict(model, preprocessing, preprocessing.pixels(image), device, options["top"])
        show(name, best, classes, metadata["model"] if options["json"] else None)
        if options["plot"]:
            named = [(classes[label], probability) for label, probability in best]
            plot(image, preprocessing.pixels(image), preprocessing.order, named, options["plot"])
    return code


def predict(model, preprocessing, pixels, device, top):
    """[(label, probability)] of the `top` likeliest classes of one picture, uint8 (size, size, 3)."""
    x = backend.to_device(normalize(pixels[None], preprocessing.mean, preprocessing.std), device)
    with no_grad():
        logits, _ = model(x)
    return likeliest(backend.to_numpy(logits)[0], top)


def show(name, best, classes, model=None):
    """A picture's classes, for a person, or with the name of the model as JSON for a program."""
    if model is not None:
        found = [{"class": classes[label], "label": label, "probability": value} for label, value in best]
        print(json.dumps({"image": str(name), "model": model, "top": found}), flush=True)
        return
    print(readable(str(name), 4096))
    for label, probability in best:
        print(f"  {probability:7.2%}  {cut(classes[label], 100)}", flush=True)


def plot(image, pixels, order, best, path):
    """The picture, what the network saw of it, and its classes as bars."""
    figure = new_figure(11, 3.6)
    whole, seen, bars = figure.subplots(1, 3, width_ratios=(1, 1, 1.3))
    whole.imshow(image)
    whole.set_title("the picture")
    seen.imshow(pixels if order == "RGB" else pixels[:, :, ::-1])
    seen.set_title(f"what the network sees: {pixels.shape[1]}x{pixels.shape[0]}")
    for axes in (whole, seen):
        axes.set_axis_off()
    labels, probabilities = zip(*reversed(best), strict=True)
    bars.barh(labels, [100 * probability for probability in probabilities], color="#1f77b4")
    bars.set_xlim(0, 100)
    bars.set_xlabel("probability, %")
    fit_letters(figure, path)
    drawn = io.BytesIO()
    kind = Path(path).suffix[1:].lower() or "png"
    marks = {"png": {"Software": MARK}, "pdf": {"Creator": MARK}, "svg": {"Creator": MARK}}
    figure.savefig(drawn, format=kind, metadata=marks.get(kind))
    write_atomically(path, drawn.getvalue())
    print(f"wrote {path}", file=sys.stderr)


def command_line():
    """The parser."""
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add_arguments(parser, "images", "--weights", "--classes")
    add("--top", type=int, default=5, metavar="N", help="how many classes; default: 5")
    add("--json", action="store_true", help="a line of JSON for each picture")
    add("--plot", metavar="FILE", help="draw the picture and its classes, as a PNG or whatever the name says")
    add_arguments(parser, "--range")
    add_arguments(parser, "--device", default="auto")
    add_weights_arguments(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
