"""What the optimizer is worth: SGD with momentum and a schedule, SGD at a low rate without one, Adam, AdamW, RMSprop.

    python examples/experiments/optimizers.py --data-dir DIR             about 15 minutes on one core
    python examples/experiments/optimizers.py --data-dir DIR --quick     does it run?

resnet8 each time, on the first 10,000 training images, tested on the first 2,000 test images after each epoch. A run
that has come to its end is not done again, one that was interrupted goes on. Writes results.csv and results.png into
--out.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that a fresh clone runs without being installed

import _shared

from minires import models, optim, schedules
from minires.cli import runs

SIZE = _shared.Size(train=10_000, test=2000, epochs=5, batch_size=64)
QUICK_SIZE = _shared.Size(train=48, test=16, epochs=2, batch_size=16)


def constant(lr):
    """A schedule that is none."""
    return lambda iterations: schedules.ConstantLR(lr)


WAYS = {  # an optimizer of parameters, a schedule of the number of iterations; weight decay is off everywhere
    "SGD, momentum, steps from 0.05": (_shared.sgd(weight_decay=0), _shared.steps(0.05)),
    "SGD at 0.001, no momentum": (lambda parameters: optim.SGD(parameters, lr=0.001), constant(0.001)),
    "Adam at 0.001": (lambda parameters: optim.Adam(parameters, lr=0.001), constant(0.001)),
    "AdamW at 0.001, decay 0.01": (
        lambda parameters: optim.AdamW(parameters, lr=0.001, weight_decay=0.01),
        constant(0.001),
    ),
    "RMSprop at 0.001": (lambda parameters: optim.RMSprop(parameters, lr=0.001), constant(0.001)),
    "Adam, steps from 0.001": (lambda parameters: optim.Adam(parameters, lr=0.001), _shared.steps(0.001)),
}


def main():
    """Run the command line; returns the exit code."""
    return runs.call(run, lambda: _shared.command_line(__doc__, [0]).parse_args())


def run(args):
    """Do the runs that are missing, then the table and the picture; returns the exit code."""
    out, dataset = _shared.prepare(args, "optimizers")
    size = QUICK_SIZE if args.quick else SIZE
    results = {}
    for seed in args.seeds:
        for number, (way, (optimizer, schedule)) in enumerate(WAYS.items()):
            folder = out / f"{number}-{way.split()[0].strip(',')}-{seed}"
            build = lambda seed: models.resnet8(rng=seed)  # noqa: E731
            results[way, seed] = _shared.train(folder, dataset, size, seed, build, optimizer, schedule)
    first, *others = WAYS
    _shared.write_curves(out, results, {"SGD": list(WAYS)[:2], "one rate for each weight": [first, *others[1:]]})
    return 0


if __name__ == "__main__":
    sys.exit(main())
