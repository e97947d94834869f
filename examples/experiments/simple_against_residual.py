"""The small network of tutorials against resnet20: with equal parameters, and with equal time.

    python examples/experiments/simple_against_residual.py --data-dir DIR             about 19 minutes on two cores
    python examples/experiments/simple_against_residual.py --data-dir DIR --quick     does it run?

simple_cnn has 42,442 parameters; a wider one made here has 268,222, about as many as resnet20 (269,722). Each is
trained for as many epochs as resnet20, and for as many as fit into resnet20's time: first the speed of all three is
measured. The first 10,000 training images; tested on the first 2,000 test images after each epoch. A run that has come
to its end is not done again, one that was interrupted goes on. Writes results.csv and results.png into --out.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that a fresh clone runs without being installed

import _shared

from minires import models
from minires.cli import runs
from minires.layers import Conv2d, Linear
from minires.training import train_step

SIZE = _shared.Size(train=10_000, test=2000, epochs=5, batch_size=64)
QUICK_SIZE = _shared.Size(train=32, test=16, epochs=1, batch_size=16)
LR = 0.05
WIDTH = 103  # of the wider twin: simple_cnn's first convolution has 32 channels


def wide_cnn(rng):
    """simple_cnn with WIDTH channels and twice as many in place of 32 and 64."""
    model = models.simple_cnn(rng=rng)
    model.conv1 = Conv2d(3, WIDTH, 3, rng=rng)
    model.conv2 = Conv2d(WIDTH, 2 * WIDTH, 3, rng=rng)
    model.fc = Linear(6 * 6 * 2 * WIDTH, 10, rng=rng)
    return model


NETWORKS = {
    "resnet20": lambda seed: models.resnet20(rng=seed),
    "simple_cnn": lambda seed: models.simple_cnn(rng=seed),
    "wide simple_cnn": wide_cnn,
}


def speed(build, loader, optimizer, steps):
    """Images a second in training, from so many steps after a first."""
    model = build(0)
    optimizer = optimizer(model.parameters())
    x, labels = next(iter(loader.epoch(0)))
    train_step(model, optimizer, x, labels)
    began = time.perf_counter()
    for _ in range(steps):
        train_step(model, optimizer, x, labels)
    return steps * len(x) / (time.perf_counter() - began)


def plan(out, dataset, size, quick):
    """{run: (network, epochs)}. The speeds are measured once: the same command, given again, goes on with its plan."""

    def work():
        loader, _ = _shared.make_loaders(dataset, size, seed=0)
        steps = 2 if quick else 20
        return {
            "images_per_second": {name: speed(build, loader, _shared.sgd(), steps) for name, build in NETWORKS.items()}
        }

    speeds = _shared.once(out / "speed", {"batch_size": size.batch_size}, work)["images_per_second"]
    found = {"resnet20": ("resnet20", size.epochs)}
    for name in ("simple_cnn", "wide simple_cnn"):
        found[f"{name}, equal epochs"] = (name, size.epochs)
        longer = round(size.epochs * speeds[name] / speeds["resnet20"])
        found[f"{name}, equal time"] = (name, max(size.epochs + 1, min(longer, 3 if quick else 1000)))
    return found


def main():
    """Run the command line; returns the exit code."""
    return runs.call(run, lambda: _shared.command_line(__doc__, [0]).parse_args())


def run(args):
    """Do the runs that are missing, then the table and the picture; returns the exit code."""
    out, dataset = _shared.prepare(args, "simple-against-residual")
    size = QUICK_SIZE if args.quick else SIZE
    results = {}
    for seed in args.seeds:
        for name, (network, epochs) in plan(out, dataset, size, args.quick).items():
            folder = out / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
            results[name, seed] = _shared.train(
                folder,
                dataset,
                replace(size, epochs=epochs),
                seed,
                build=NETWORKS[network],
                optimizer=_shared.sgd(),
                schedule=_shared.steps(LR),
            )
    names = list(dict.fromkeys(name for name, _ in results))
    panels = {"equal epochs": [names[0], *names[1::2]], "equal time": [names[0], *names[2::2]]}
    _shared.write_curves(out, results, panels, x="train_seconds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
