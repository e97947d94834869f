"""How sure may a network be? Its calibration error, and the temperature that mends most of it.

    python examples/calibrate.py --weights runs/NAME                    writes runs/NAME/best.temperature.json
    python examples/calibrate.py --weights A B C                        of several files together: their ensemble
    python examples/train_cifar.py --evaluate runs/NAME --temperature runs/NAME/best.temperature.json
    python examples/predict.py cat.jpg --weights runs/NAME --temperature runs/NAME/best.temperature.json

The temperature is fitted on training images that the weights were not trained on, which a run's file knows: those of
its validation, and those that --limit-train left out. Of weights from elsewhere you have to say: --held-out N, the last
N training images. The test images only tell what it brought. Classes, and so the accuracy, stay what they are.
docs/ensembles.md explains it.
"""

import argparse
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a fresh clone runs without being installed

from minires import data
from minires.calibration import fit_temperature, reliability
from minires.cli import runs, temperature
from minires.cli.console import Parser
from minires.cli.ensembles import (
    add_tta_argument,
    answers,
    combined,
    dataset_of,
    mean_logits,
    read_members,
    refuse_other_images,
    say_members,
)
from minires.cli.held_out import held_out
from minires.cli.pictures import refuse_to_replace
from minires.cli.settings import FROM_ONE, add_arguments
from minires.cli.together import prepare_device
from minires.cli.weights import add_weights_arguments
from minires.inspection.pictures.figures import write_png
from minires.inspection.pictures.reliability import draw_reliability
from minires.losses import cross_entropy
from minires.losses.distillation import softened

MARK = "minires, examples/calibrate.py"  # in its pictures, which alone it replaces
DEFAULTS = {
    "device": "auto",
    "data_dir": None,
    "data_url": None,
    "threads": None,
    "no_progress": True,
    "batch_size": 500,
    "limit_test": None,
    "held_out": None,
    "tta": "none",
    "bins": 15,
    "out": None,
    "plot": "calibrated.png",
}


def main():
    """Run the command line; returns the exit code."""
    return runs.call(run, lambda: vars(command_line().parse_args()))


def run(given):
    """Fit, measure, write; returns the exit code."""
    settings = {**DEFAULTS, **given}
    for name in (*FROM_ONE, "bins"):
        if settings.get(name) is not None and settings[name] < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1, got {settings[name]}")
    refuse_to_replace(settings["plot"], MARK, "--plot")
    members = read_members(settings["weights"], settings, "--weights")
    out = Path(settings["out"] or temperature.default_path(members))
    temperature.refuse_to_replace(out, members)
    device = prepare_device(settings, given)
    dataset = runs.load_dataset({**settings, "dataset": dataset_of(members, given, "--weights")})
    for member in members:
        refuse_other_images(member, dataset, "--weights")
    say_members(members, print)
    parts = parts_of(dataset, members, settings)
    kept, test = together(
        [[answers_to(part, member, settings, device) for member in members] for part in parts], settings
    )
    T = fit_temperature(*kept)
    print(f"temperature {T:.4f}: {what(members)} {temperature.said(T)}")
    found, panels = {}, {}
    for name, part in ((f"{len(kept[1]):,} held-out images", kept), (f"{len(test[1]):,} test images", test)):
        found[name] = figures(*part, T, settings["bins"])
        print(f"{name}: {line(found[name])}")
    temperature.write(out, members, settings["tta"], T, {"data": dataset.label, "figures": found})
    for title, at in ((f"{what(members)}", 1.0), (f"at temperature {T:.2f}", T)):
        panels[title] = reliability(softened(test[0], at), test[1], settings["bins"])
    write_png(draw_reliability(panels), settings["plot"], text={"Software": MARK})
    print(f"wrote {out} and {settings['plot']}", file=sys.stderr)
    return 0


def what(members):
    """The network, or the ensemble, in words."""
    return members[0].metadata["model"] if len(members) == 1 else f"the ensemble of {len(members)}"


def parts_of(dataset, members, settings):
    """(images, labels) to fit on, and to test on."""
    kept = held_out(dataset, members, settings["held_out"])
    return kept, data.limit(dataset.test_images, dataset.test_labels, settings["limit_test"])


def answers_to(part, member, settings, device):
    """(logits, labels) that a file gives for all images of a part."""
    images, labels = part
    network, images, normalisation = combined([member], images, settings["tta"])
    loader = data.Loader(images, labels, settings["batch_size"], **normalisation, device=device)
    return answers(network.to(device), loader)


def together(parts, settings):
    """[(logits, labels)] of each part, in which all members answer together; of several what each says of the test."""
    test = [figures(logits, labels, 1.0, settings["bins"]) for logits, labels in parts[1]]
    if len(test) > 1:
        for number, found in enumerate(test, 1):
            print(f"member {number}: {line(found)}")
        print(f"the members' mean: {line(mean_of(test))}")
    return [(mean_logits([logits for logits, _ in part]), part[0][1]) for part in parts]


def mean_of(found):
    """The mean of what `figures` measured of several."""
    before = {name: statistics.mean(one["before"][name] for one in found) for name in ("nll", "ece")}
    return {"accuracy": statistics.mean(one["accuracy"] for one in found), "before": before, "after": before}


def figures(logits, labels, T, bins):
    """What is measured at temperature 1 and at T, for the JSON file."""
    found = {"images": len(labels), "accuracy": float((logits.argmax(axis=1) == labels).mean())}
    for name, at in (("before", 1.0), ("after", T)):
        nll = float(cross_entropy(logits / at, labels)[0])
        found[name] = {"nll": nll, "ece": reliability(softened(logits, at), labels, bins).error}
    return found


def line(found):
    """The same, for a person."""
    before, after = found["before"], found["after"]
    nll, ece = ([one[name] for one in ((before, after) if before != after else (before,))] for name in ("nll", "ece"))
    return (
        f"accuracy {found['accuracy']:.2%}, negative log likelihood {' -> '.join(f'{value:.4f}' for value in nll)}, "
        f"calibration error {' -> '.join(f'{value:.2%}' for value in ece)}"
    )


def command_line():
    """The parser. Flags that are not given are absent."""
    parser = Parser(description=__doc__, argument_default=argparse.SUPPRESS)
    add = parser.add_argument
    add_arguments(parser, "--weights", nargs="+")
    add("--dataset", choices=[name for name in data.DATASETS if name != "auto"], help="default: the weights' own")
    add_arguments(parser, "--data-dir", "--data-url")
    add("--held-out", type=int, metavar="N", help="fit on the last N training images, on your word that they are new")
    add_tta_argument(parser)
    add("--bins", type=int, metavar="N", help="of the calibration error; default: 15")
    add("--out", metavar="JSON", help="default: beside the weights, best.temperature.json or ensemble.temperature.json")
    add("--plot", metavar="PNG", help="how sure, how often right; default: calibrated.png")
    add_arguments(parser, "--limit-test")
    add("--batch-size", type=int, metavar="N", help="default: 500")
    add_arguments(parser, "--device", "--threads")
    add_weights_arguments(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
