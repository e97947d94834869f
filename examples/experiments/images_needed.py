"""How many images does a network need? As many steps on few images as on many, with and without augmentation.

    python examples/experiments/images_needed.py --data-dir DIR             about a quarter of an hour on one core
    python examples/experiments/images_needed.py --data-dir DIR --quick     does it run?

resnet8 each time, images of 16x16 pixels, 75,000 of them in all: the first N training images, each as often as it takes
to see so many, in three epochs of 25,000, so that all runs take the same time. N is 500 to 25,000; tested on all test
images. A run that has come to its end is not done again, one that was interrupted goes on. Writes results.csv,
results.png and by_count.png into --out.
"""

import statistics
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that a fresh clone runs without being installed

import _shared
import numpy as np

from minires import models
from minires.cli import runs
from minires.inspection.pictures.figures import new_figure, write_png

SIZE = _shared.Size(train=25_000, test=10_000, epochs=3, batch_size=64)
QUICK_SIZE = _shared.Size(train=48, test=16, epochs=2, batch_size=16)
COUNTS, QUICK_COUNTS = (500, 2500, 10_000, 25_000), (12, 48)
LR, WEIGHT_DECAY = 0.05, 5e-4
WAYS = {"plain": False, "augmented": True}


def first_of(dataset, count, total):
    """A data set with the first `count` training images, one after another and again until they are `total`."""
    index = np.arange(total) % count
    images, labels = dataset.train_images[index], dataset.train_labels[index]
    return replace(dataset, train_images=images, train_labels=labels, label=f"{dataset.label}, {count:,} images")


def main():
    """Run the command line; returns the exit code."""
    return runs.call(run, lambda: _shared.command_line(__doc__, [0]).parse_args())


def run(args):
    """Do the runs that are missing, then the table and the pictures; returns the exit code."""
    out, dataset = _shared.prepare(args, "images-needed")
    dataset = _shared.halved(dataset)
    size, counts = (QUICK_SIZE, QUICK_COUNTS) if args.quick else (SIZE, COUNTS)
    results = {
        (f"{count:,}, {way}", seed): _shared.train(
            out / f"{count}-{way}-{seed}",
            first_of(dataset, count, size.train),
            size,
            seed,
            build=lambda seed: models.resnet8(rng=seed),
            optimizer=_shared.sgd(WEIGHT_DECAY),
            schedule=_shared.steps(LR),
            augment=augment,
        )
        for seed in args.seeds
        for count in counts
        for way, augment in WAYS.items()
    }
    _shared.write_curves(out, results, {way: [f"{count:,}, {way}" for count in counts] for way in WAYS})
    draw_by_count(out / "by_count.png", results, counts)
    return 0


def draw_by_count(path, results, counts):
    """Both errors of the last epoch over the number of images."""
    figure = new_figure(7, 4.2)
    axes = figure.subplots()
    for way, color in zip(WAYS, _shared.COLORS, strict=False):
        for key, style in (("train_error", "--"), ("test_error", "-")):
            of_counts = [
                [100 * of["history"][-1][key] for (run, _), of in results.items() if run == f"{count:,}, {way}"]
                for count in counts
            ]
            label = f"{way}, {'test' if style == '-' else 'training'}"
            axes.plot(counts, [statistics.mean(errors) for errors in of_counts], f"o{style}", color=color, label=label)
            for count, errors in zip(counts, of_counts, strict=True):
                axes.plot([count] * len(errors), errors, ".", color=color, markersize=4)
    axes.set_xscale("log")
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.minorticks_off()
    axes.set_ylim(0)
    axes.set_xlabel("different training images; 75,000 are shown in each run")
    axes.set_ylabel("error, %")
    axes.grid(alpha=0.3)
    axes.legend()
    write_png(figure, path)


if __name__ == "__main__":
    sys.exit(main())
