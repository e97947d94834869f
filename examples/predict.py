"""What a network sees in pictures: the five likeliest classes, with probabilities.

    python examples/predict.py cat.jpg --weights resnet50.pth
    python examples/predict.py a.png b.webp --weights runs/NAME --json        a line of JSON for each picture
    python examples/predict.py cat.jpg --weights A B C --tta mirror           the mean of several networks and views
    python examples/predict.py cat.jpg --weights FILE --plot cat-seen.png     the picture beside its classes

Each picture is turned upright, scaled and cut as the weights' own preprocessing says, for each file its own. Classes
have names where a file of weights holds them, as a run's checkpoints do; --classes FILE gives them, a name a line.
"""

import io
import json
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a fresh clone runs without being installed

from minires import backend, no_grad
from minires.cli import runs
from minires.cli.console import Parser, fail, likeliest
from minires.cli.ensembles import (
    add_tta_argument,
    known_classes,
    mean_logits,
    model_names,
    read_members,
    say_members,
)
from minires.cli.pictures import chosen_range, open_and_say, refuse_to_replace
from minires.cli.settings import add_arguments
from minires.cli.temperature import add_temperature_argument, temperature_of
from minires.cli.weights import add_weights_arguments, class_names
from minires.columns import cut
from minires.data import normalize
from minires.data.dataset import DatasetError
from minires.ensemble import Views, tta_views
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
    members = read_members(options["weights"], options, "--weights")
    temperature = temperature_of(options["temperature"], members, options["tta"])
    classes = class_names({**members[0].metadata, "classes": known_classes(members)}, options["classes"])
    device = backend.resolve_device(options["device"])
    networks = [network_of(member, options["tta"], device) for member in members]
    if options["plot"] and len(options["images"]) > 1:
        raise ValueError(f"--plot draws one picture, got {len(options['images'])}: give them one at a time")
    say_members(members, (lambda line: None) if options["json"] else partial(print, flush=True))
    value_range = chosen_range(options["range"], members[0].metadata)
    code = 0
    for name in options["images"]:
        try:
            image = open_and_say(name, value_range)
        except DatasetError as error:
            code = fail(error)
            continue
        logits = mean_logits([logits_of(*network, image, device) for network in networks])
        best = likeliest(logits[0] / temperature, options["top"])
        show(name, best, classes, model_names(members) if options["json"] else None)
        if options["plot"]:
            named = [(classes[label], probability) for label, probability in best]
            preprocessing = members[0].preprocessing
            plot(image, preprocessing.pixels(image), preprocessing.order, named, options["plot"])
    return code


def network_of(member, tta, device):
    """(network, preprocessing) of a file of weights, ready to answer."""
    network, preprocessing = member.model, member.preprocessing
    if tta != "none":
        network = Views(network, tta_views(tta, preprocessing.size))
    return network.to(device).eval(), preprocessing


def logits_of(network, preprocessing, image, device):
    """What a network says of one picture, (1, classes)."""
    x = normalize(preprocessing.pixels(image)[None], preprocessing.mean, preprocessing.std)
    with no_grad():
        logits, _ = network(backend.to_device(x, device))
    return backend.to_numpy(logits)


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
    add_arguments(parser, "images")
    add_arguments(parser, "--weights", nargs="+")
    add_arguments(parser, "--classes")
    add("--top", type=int, default=5, metavar="N", help="how many classes; default: 5")
    add("--json", action="store_true", help="a line of JSON for each picture")
    add("--plot", metavar="FILE", help="draw the picture and its classes, as a PNG or whatever the name says")
    add_tta_argument(parser, default="none")
    add_temperature_argument(parser)
    add_arguments(parser, "--range")
    add_arguments(parser, "--device", default="auto")
    add_weights_arguments(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
