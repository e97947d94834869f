"""How well a network holds on images that are worse than those it learned from, by accident or by intent.

    python examples/robustness.py --weights resnet20.th                     eight corruptions, in five strengths
    python examples/robustness.py --weights A.th B.th --ensemble            side by side, and the mean of both
    python examples/robustness.py --weights runs/NAME --kinds jpeg rotation --strengths 1 3 5
    python examples/robustness.py --weights FILE --attack fgsm pgd --eps 1 2 4 8       adversarial examples
    python examples/robustness.py --weights FILE --attack pgd --norm l2 --eps 32 64 --kinds none
    python examples/robustness.py --weights FILE --check --kinds none       can the attack's answer be believed?
    python examples/robustness.py --weights FILE --image-folder DIR         pictures: the part that finetune.py tests on

Every network sees the same images, prepared as its own file says. The first 1,000 test images are taken, --limit-test
says otherwise. Tables are printed; the new folder --out gets them as CSV and JSON, with pictures of the accuracies, the
corruptions and the attacked images. docs/robustness.md has the kinds, the strengths and the derivations.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a fresh clone runs without being installed

import numpy as np

from minires import backend, data, pretrained
from minires.cli import runs
from minires.cli.claim import claimed, new_folder
from minires.cli.console import Parser, one_of
from minires.cli.recording import environment, write_csv
from minires.cli.settings import add_arguments
from minires.cli.weights import add_weights_arguments, known_of_weights, note_assumed, weights_line
from minires.data.folders import read_image_folder
from minires.data.images import Preprocessing
from minires.files import write_atomically
from minires.inspection.pictures import write_png
from minires.robustness import (
    ATTACKS,
    CORRUPTIONS,
    STRENGTHS,
    OnPixels,
    attack_accuracy,
    attack_table,
    check_gradients,
    corruption_accuracy,
    corruption_table,
    draw_accuracies,
    draw_adversarial,
    draw_attacks,
    draw_corruptions,
    ensemble_on_pixels,
    fgsm,
    pgd,
    report,
    summary,
)
from minires.robustness.accuracy import answers
from minires.robustness.attacks import check_attack, generators
from minires.robustness.balls import NORMS
from minires.wording import readable

OF_CORRUPTIONS = ("model", "corruption", "strength", "correct", "images")
OF_ATTACKS = ("model", "attack", "norm", "steps", "eps", "correct", "images")
CHECKED = 100  # images, at most, that --check looks at


def main():
    """Run the command line; returns the exit code."""
    return runs.call(run, lambda: vars(command_line().parse_args()))


def run(options):
    """Count, tabulate and draw what is asked for; the exit code is 1 if a check failed."""
    check_options(options)
    device = backend.resolve_device(options["device"])
    networks = read_networks(options)
    images, labels, dataset = labelled_images(options, networks)
    models = {name: OnPixels(model, own).to(device) for name, (model, own, _) in networks.items()}
    together = {"ensemble": ensemble_on_pixels([each[:2] for each in networks.values()]).to(device)}
    attacked = {**models, **together} if options["ensemble"] else models
    folder = Path(options["out"] or new_folder("robustness"))
    with claimed(folder):
        found = {"settings": options, "data": dataset.label, "images": len(images)}
        found |= count(options, models, attacked, images, labels, device)
        found |= {"environment": environment(device)}
        write_atomically(folder / "results.json", (json.dumps(found, indent=1) + "\n").encode())
        write_tables(folder, found)
        draw(folder, found, images, options)
        if options["attack"]:
            draw_examples(folder, next(iter(models.values())), images, labels, dataset.classes, options, device)
    print(f"on {len(images):,} images of {readable(dataset.label, 300)}; wrote {readable(str(folder), 4096)}")
    return 0 if all(check["passed"] for checks in found["checks"].values() for check in checks) else 1


def check_options(options):
    """Raise ValueError for what would fail only once the networks are read."""
    if "none" in options["kinds"] and len(options["kinds"]) > 1:
        raise ValueError("--kinds none goes alone: leave none, or the others, out")
    options["kinds"] = [] if options["kinds"] == ["none"] else list(dict.fromkeys(options["kinds"]))
    options["strengths"] = sorted(set(options["strengths"]))
    options["attack"] = list(dict.fromkeys(options["attack"]))
    if not options["kinds"] and not options["attack"] and not options["check"]:
        raise ValueError("--kinds none leaves nothing to do: give --attack or --check, or leave it out")
    for name in ("limit_test", "batch_size", "steps"):
        if options[name] < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1, got {options[name]}")
    if options["seed"] < 0:
        raise ValueError(f"--seed must be at least 0, got {options['seed']}")
    for eps in options["eps"]:
        check_attack(eps)
    if options["ensemble"] and len(options["weights"]) < 2:
        raise ValueError("--ensemble is the mean of several networks, and --weights names one: give more files")
    if options["image_folder"] is not None and (options["dataset"] or options["data_dir"]):
        raise ValueError("--image-folder and --dataset or --data-dir name two data sets: leave one of them out")
    if options["threads"] is not None:
        backend.set_threads(options["threads"])


def read_networks(options):
    """{name: (model, Preprocessing, metadata)} of the files, which are said; of one name the second gets a number."""
    networks = {}
    for path in options["weights"]:
        model, metadata = pretrained.build(path, **known_of_weights(options))
        print(weights_line(path, metadata), flush=True)
        note_assumed(metadata)
        stem = Path(path).name if Path(path).is_dir() else Path(path).stem
        name = first = readable(stem, 60)
        while name in (*networks, "ensemble"):
            name = f"{first} ({len(networks) + 1})"
        networks[name] = (model, Preprocessing(**metadata["preprocessing"]), metadata)
    return networks


def labelled_images(options, networks):
    """(uint8 images in RGB, labels, the data set): CIFAR's test images, or those of a folder of pictures."""
    path, (_, own, metadata) = options["weights"][0], next(iter(networks.values()))
    for other, (_, theirs, _) in zip(options["weights"], networks.values(), strict=True):
        if theirs.size != own.size:
            raise ValueError(
                f"--weights {other}: for {theirs.size}x{theirs.size} pixels, and {path} for {own.size}x{own.size}: "
                "give networks of one size, or --size and --resize for all"
            )
    if options["image_folder"] is not None:
        tell = lambda line: print(line, file=sys.stderr, flush=True)  # noqa: E731
        dataset = read_image_folder(options["image_folder"], replace(own, order="RGB"), skip_broken=True, tell=tell)
    elif own.size != 32:
        raise ValueError(
            f"--weights {path}: for {own.size}x{own.size} pixels, and CIFAR's images have 32x32: give an "
            "--image-folder of labelled pictures, or --size 32 --resize 32"
        )
    else:
        name = options["dataset"] or metadata.get("run", {}).get("dataset", "cifar10")
        name = name if name in data.DATASETS else "cifar10"
        where = {"dataset": name, "data_dir": options["data_dir"], "data_url": None, "no_progress": False}
        dataset = runs.load_dataset(where)
    for other, (_, _, theirs) in zip(options["weights"], networks.values(), strict=True):
        refuse_unfit(other, theirs, dataset)
    images, labels = data.limit(dataset.test_images, dataset.test_labels, options["limit_test"])
    if len(labels) == 0:
        raise ValueError(f"{dataset.label}: has no images to test on: give more pictures")
    return np.asarray(images), labels.astype(np.int64), dataset


def refuse_unfit(path, metadata, dataset):
    """Raise ValueError for a network of other classes than the data's."""
    if metadata["num_classes"] != len(dataset.classes):
        raise ValueError(
            f"--weights {path}: {metadata['model']} for {metadata['num_classes']:,} classes, and {dataset.label} has "
            f"{len(dataset.classes)}: give images of the classes that it knows, or fine-tune it first"
        )
    for theirs, ours in zip(metadata["classes"] or [], dataset.classes, strict=False):
        if theirs != ours:
            raise ValueError(
                f"--weights {path}: its classes are not those of {dataset.label}, in order ({theirs!r:.80} where that "
                f"has {ours!r:.80}): give images of the classes that it knows"
            )


def count(options, models, attacked, images, labels, device):
    """{"corruptions": rows, "attacks": rows, "checks": {model: checks}} of what is asked for.

    attacked: the models, and the ensemble where it is one of them: attacked by its own gradient.
    """
    show = lambda line: print(line, file=sys.stderr, flush=True)  # noqa: E731
    common = {"seed": options["seed"], "batch_size": options["batch_size"], "device": device, "tell": show}
    several = {"kinds": options["kinds"], "strengths": options["strengths"], "ensemble": options["ensemble"]}
    attacks = {"attacks": options["attack"], "norm": options["norm"], "steps": options["steps"]}
    return {
        "corruptions": corruption_accuracy(models, images, labels, **several, **common),
        "attacks": attack_accuracy(attacked, images, labels, options["eps"], **attacks, **common),
        "checks": check(options, attacked, images, labels, device) if options["check"] else {},
    }


def check(options, models, images, labels, device):
    """Whether the attack's answers can be believed, each network's by another's gradients, too."""
    x = backend.to_device(images[:CHECKED].astype(np.float32), device)
    y, found = backend.to_device(labels[:CHECKED], device), {}
    for name, model in models.items():
        other = next((other for of, other in models.items() if of != name), None)
        show = lambda line, name=name: print(f"{name}, {line}", file=sys.stderr, flush=True)  # noqa: E731
        attack = max(options["eps"]), options["norm"], options["steps"], options["seed"]
        checks = check_gradients(model, x, y, *attack, other, tell=show)
        found[name] = [each._asdict() for each in checks]
        print(
            f"\n{name}: can PGD's answer be believed? {len(x)} images, eps {max(options['eps']):g}, {options['norm']}"
        )
        print("\n".join(report(checks)), flush=True)
    return found


def write_tables(folder, found):
    """CSV files of what was counted, and the tables on standard output."""
    if found["settings"]["kinds"]:
        write_csv(folder / "corruptions.csv", OF_CORRUPTIONS, found["corruptions"])
        print("\n" + "\n".join(corruption_table(found["corruptions"])))
    if found["attacks"]:
        write_csv(folder / "attacks.csv", OF_ATTACKS, found["attacks"])
        print("\n" + "\n".join(attack_table(found["attacks"])))


def draw(folder, found, images, options):
    """The pictures of what was counted."""
    if options["kinds"]:
        write_png(draw_accuracies(found["corruptions"]), folder / "accuracies.png")
        write_png(
            draw_corruptions(images[:8], options["kinds"], options["seed"]), folder / "corruptions.png", colours=256
        )
    if found["attacks"]:
        models = dict.fromkeys(row["model"] for row in found["attacks"])
        clean = {model: summary(found["corruptions"], model)["none"]["mean"] for model in models}
        write_png(draw_attacks(found["attacks"], clean), folder / "attacks.png")


def draw_examples(folder, model, images, labels, classes, options, device):
    """What the first network says of some images before and after the last attack with the largest eps."""
    x, y = backend.to_device(images[:6].astype(np.float32), device), backend.to_device(labels[:6], device)
    eps, norm, rngs = max(options["eps"]), options["norm"], generators(options["seed"], 0, len(x))
    one = options["attack"][-1] == "fgsm"
    attacked = fgsm(model, x, y, eps, norm) if one else pgd(model, x, y, eps, options["steps"], norm=norm, rngs=rngs)
    pictures = [backend.to_numpy(each) for each in (x, attacked)]
    said = [[readable(classes[n], 60) for n in answers({"": model}, each, device)[""]] for each in pictures]
    write_png(draw_adversarial(*pictures, *said), folder / "adversarial.png")


def strength(text):
    """An argparse type: one of the five strengths."""
    return int(one_of("strength", tuple(map(str, STRENGTHS)))(text))


def command_line():
    """The parser."""
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("--weights", nargs="+", required=True, metavar="FILE", help="files of weights, or folders of runs")
    add_arguments(parser, "--data-dir")
    add(
        "--dataset", type=one_of("data set", data.DATASETS), metavar="NAME", help="default: the first run's, or cifar10"
    )
    add("--image-folder", metavar="DIR", help="pictures, one sub-folder for each class; default: CIFAR-10")
    add("--limit-test", type=int, default=1000, metavar="N", help="the first N test images; default: 1000")
    kinds = one_of("kind", ("none", *CORRUPTIONS))
    add(
        "--kinds",
        type=kinds,
        nargs="+",
        default=list(CORRUPTIONS),
        metavar="KIND",
        help=", ".join([*CORRUPTIONS, "none"]),
    )
    add("--strengths", type=strength, nargs="+", default=list(STRENGTHS), metavar="S", help="default: 1 2 3 4 5")
    add("--ensemble", action="store_true", help="the mean of the networks' probabilities beside them")
    add("--attack", choices=ATTACKS, nargs="+", default=[], help="adversarial examples by these")
    add("--eps", type=float, nargs="+", default=[1.0, 2.0, 4.0, 8.0], metavar="E", help="of 255; default: 1 2 4 8")
    add("--norm", choices=NORMS, default="linf", help="of the ball of radius eps; default: linf")
    add("--steps", type=int, default=10, metavar="N", help="of pgd; default: 10")
    add(
        "--check",
        action="store_true",
        help=f"seven checks of the gradients, eight with two networks, on {CHECKED} images at the largest eps",
    )
    add("--out", metavar="DIR", help="a new folder; default: runs/<time>-robustness")
    add("--seed", type=int, default=0, metavar="N", help="of what is drawn; default: 0")
    add("--batch-size", "-b", type=int, default=100, metavar="N", help="changes no figure; default: 100")
    add_arguments(parser, "--threads")
    add_arguments(parser, "--device", default="auto")
    add_weights_arguments(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
