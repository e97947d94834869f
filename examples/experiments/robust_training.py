"""What augmentation brings for which corruption, and what it does not: one network, trained in four ways.

    python examples/experiments/robust_training.py --data-dir DIR             a quarter of an hour on one core
    python examples/experiments/robust_training.py --data-dir DIR --few       as long: few images, many epochs
    python examples/experiments/robust_training.py --data-dir DIR --quick     does it run?

A resnet8 is trained by train_cifar.py's quick recipe on the first 20,000 photographs, at half their side, for six
epochs, or with --few on 5,000 for twenty: on the images as they are, on images shifted and mirrored, and on these mixed
by mixup or changed by RandAugment. Three that differ by their seed alone make an ensemble. All are tested on the first
2,000 test images, corrupted in eight ways and five strengths (minires.robustness). A run that has come to its end is
not done again, one that was interrupted goes on. Writes results.csv, results.png and table.md into --out.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that a fresh clone runs without being installed
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import _shared
import train_cifar

from minires import checkpoint, data, models
from minires.cli import runs
from minires.cli.legs import make_schedule
from minires.cli.recording import write_csv
from minires.data.images import Preprocessing
from minires.files import write_atomically
from minires.inspection.pictures import write_png
from minires.robustness import (
    CORRUPTIONS,
    OnPixels,
    corruption_accuracy,
    corruption_table,
    draw_accuracies,
    means_table,
)

SIZE = _shared.Size(train=20_000, test=2000, epochs=6, batch_size=128)
FEW_SIZE = _shared.Size(train=5000, test=2000, epochs=20, batch_size=128)
QUICK_SIZE = _shared.Size(train=32, test=16, epochs=2, batch_size=16)
SETTINGS = {**train_cifar.DEFAULTS, **train_cifar.RECIPES["quick"]}
NOTHING, USUAL, ENSEMBLE = "no augmentation", "shifts and flips", "three of these"
WAYS = {  # whether images are shifted and mirrored, and what else is done to them
    NOTHING: (False, {}),
    USUAL: (True, {}),
    "and mixup 0.2": (True, {"mixup": 0.2}),
    "and RandAugment 2 9": (True, {"randaugment": [2, 9]}),
}
OF_THE_ENSEMBLE = 3  # networks of consecutive seeds
COLUMNS = ("model", "seed", "corruption", "strength", "correct", "images")


def command_line():
    """The parser."""
    parser = _shared.command_line(__doc__, [0])
    parser.add_argument("--few", action="store_true", help="5,000 images for twenty epochs")
    return parser


def main():
    """Run the command line; returns the exit code."""
    return runs.call(run, lambda: command_line().parse_args())


def run(args):
    """Do the runs that are missing, then the table and the picture; returns the exit code."""
    out, dataset = _shared.prepare(args, "robust-training-few" if args.few else "robust-training")
    dataset = _shared.halved(dataset)
    size, rows = QUICK_SIZE if args.quick else FEW_SIZE if args.few else SIZE, []
    for seed in args.seeds:
        networks = {way: trained(out, dataset, size, way, seed) for way in WAYS}
        rows += tested(out / f"corrupted-{seed}", dataset, size, networks, seed)
        members = {seed: networks[USUAL]}
        members |= {s: trained(out, dataset, size, USUAL, s) for s in range(seed + 1, seed + OF_THE_ENSEMBLE)}
        together = tested(out / f"ensemble-{seed}", dataset, size, members, seed, ensemble=True)
        rows += [{**row, "model": ENSEMBLE} for row in together if row["model"] == "ensemble"]
    write_csv(out / "results.csv", COLUMNS, rows)
    added = summed(rows)
    write_png(draw_accuracies(added), out / "results.png")
    write_atomically(out / "table.md", ("\n".join(corruption_table(added)) + "\n").encode())
    print("\n".join(means_table(added)))
    print(
        f"accuracy in %, mean of the strengths, on {size.test:,} test images of {dataset.label}; wrote {out}/results.*"
    )
    return 0


def trained(out, dataset, size, way, seed):
    """The network of this way and seed, as a function of pixels: trained now, or read."""
    augment, ingredients = WAYS[way]
    folder = out / f"{way.replace(' ', '-')}-{seed}"
    _shared.train(
        folder,
        dataset,
        size,
        seed,
        build=lambda seed: models.resnet8(rng=seed),
        optimizer=lambda parameters: train_cifar.optimizer_of(SETTINGS, parameters),
        schedule=lambda iterations: make_schedule(SETTINGS, iterations),
        augment=augment,
        ingredients={**ingredients, "padding": 2},  # in proportion
    )
    model = models.resnet8(rng=seed)
    model.load_state_dict(checkpoint.load(folder / "last.safetensors").model)
    mean, std = data.channel_mean_std(dataset.train_images[: size.train])
    return OnPixels(model, Preprocessing(mean, std, size=16, resize=16))


def tested(folder, dataset, size, networks, seed, ensemble=False):
    """Rows of how many corrupted images the networks know: counted now, or read."""

    def work():
        images, labels = dataset.test_images[: size.test], dataset.test_labels[: size.test]
        named = {str(name): network for name, network in networks.items()}
        return {"rows": corruption_accuracy(named, images, labels, ensemble=ensemble, tell=print)}

    settings = {"networks": [str(name) for name in networks], "images": size.test, "data": dataset.label}
    settings |= {"amounts": {kind: corruption.amounts for kind, corruption in CORRUPTIONS.items()}}
    return [{"seed": seed, **row} for row in _shared.once(folder, settings, work)["rows"]]


def summed(rows):
    """The rows of all seeds added up."""
    sums = {}
    for row in rows:
        key = {name: row[name] for name in ("model", "corruption", "strength")}
        counted = sums.setdefault(tuple(key.values()), {**key, "correct": 0, "images": 0})
        counted["correct"] += row["correct"]
        counted["images"] += row["images"]
    return list(sums.values())


if __name__ == "__main__":
    sys.exit(main())
