"""Larger batches in as many epochs: the same learning rate, one that grows with the batch, and a warm-up.

    python examples/experiments/large_batches.py --data-dir DIR           half an hour on one core
    python examples/experiments/large_batches.py --data-dir DIR --quick   does it run?

resnet8 on photographs of 16x16 pixels, without augmentation. A batch is cut into shards of 128 images, so that batch
norm's statistics are those of 128 images in every run (Goyal et al. 2017, section 2.3), and with 128 images the rate is
0.1, a tenth of that after a half and after three quarters of the steps. Warm-up: the rate begins at 0.1 and grows in a
straight line over the first epoch. Writes results.csv and results.png into --out.
"""

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that a fresh clone runs without being installed

import _shared

from minires import models
from minires.backend import set_threads
from minires.cli import runs
from minires.schedules import LinearWarmup

SIZE = _shared.Size(train=5120, test=2000, epochs=6, batch_size=128)
QUICK_SIZE = _shared.Size(train=64, test=16, epochs=2, batch_size=4)
LR = 0.1
RUNS = {  # batches of how many times 128, the rate in terms of 0.1, whether there is a warm-up
    "128, rate 0.1": (1, 1, False),
    "512, rate 0.1": (4, 1, False),
    "512, rate 0.4": (4, 4, False),
    "512, rate 0.4, warm-up": (4, 4, True),
    "1024, rate 0.8": (8, 8, False),
    "1024, rate 0.8, warm-up": (8, 8, True),
}


def schedule(factor, warm, epochs):
    """Of a number of iterations: the learning rates."""

    def of(iterations):
        rates = _shared.steps(LR * factor)(iterations)
        return LinearWarmup(rates, iterations // epochs, 1 / factor) if warm else rates

    return of


def main():
    """Run the command line; returns the exit code."""
    return runs.call(run, lambda: _shared.command_line(__doc__, [0, 1, 2, 3]).parse_args())


def run(args):
    """Do the runs that are missing, then the table and the picture; returns the exit code."""
    set_threads(1)
    out, dataset = _shared.prepare(args, "large-batches")
    dataset, size, results = _shared.halved(dataset), QUICK_SIZE if args.quick else SIZE, {}
    for seed in args.seeds:
        for name, (times, factor, warm) in RUNS.items():
            results[name, seed] = _shared.train(
                out / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}",
                dataset,
                replace(size, batch_size=times * size.batch_size),
                seed,
                lambda seed: models.resnet8(rng=seed),
                _shared.sgd(),
                schedule(factor, warm, size.epochs),
                augment=False,
                shards=times,
            )
    names = list(RUNS)
    _shared.write_curves(out, results, {"batches of 512": names[:4], "batches of 1024": [names[0], *names[4:]]})
    return 0


if __name__ == "__main__":
    sys.exit(main())
