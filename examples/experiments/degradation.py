"""Are deeper networks better? Plain and residual networks of 8, 20, 32 and 56 layers (He et al. 2015, figures 1 and 6).

    python examples/experiments/degradation.py --data-dir DIR             about 67 minutes on one core
    python examples/experiments/degradation.py --data-dir DIR --quick     does it run?

Every network is trained in the same way, on the first 5,000 training images, and tested on the first 2,000 test images
after each epoch. A run that has come to its end is not done again, one that was interrupted goes on. Writes results.csv
and results.png into --out.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that a fresh clone runs without being installed

import _shared

from minires import models
from minires.cli import runs

DEPTHS = (8, 20, 32, 56)
SIZE = _shared.Size(train=5000, test=2000, epochs=8, batch_size=64)
QUICK_SIZE = _shared.Size(train=32, test=16, epochs=2, batch_size=16)
LR = 0.05  # He et al. have 0.1 with batches of 128


def main():
    """Run the command line; returns the exit code."""
    return runs.call(run, lambda: _shared.command_line(__doc__, [0]).parse_args())


def run(args):
    """Do the runs that are missing, then the table and the picture; returns the exit code."""
    out, dataset = _shared.prepare(args, "degradation")
    panels = {
        kind: [f"{name}{depth}" for depth in DEPTHS] for kind, name in (("plain", "plain"), ("residual", "resnet"))
    }
    results = {
        (name, seed): _shared.train(
            out / f"{name}-{seed}",
            dataset,
            QUICK_SIZE if args.quick else SIZE,
            seed,
            build=lambda seed, name=name: models.build(name, rng=seed),
            optimizer=_shared.sgd(),
            schedule=_shared.steps(LR),
        )
        for seed in args.seeds
        for names in panels.values()
        for name in names
    }
    _shared.write_curves(out, results, panels)
    return 0


if __name__ == "__main__":
    sys.exit(main())
