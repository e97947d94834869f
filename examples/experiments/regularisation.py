"""Against overfitting: augmentation, weight decay and dropout, one by one and together; and shortcut B for A.

    python examples/experiments/regularisation.py --data-dir DIR             about 30 minutes on one core
    python examples/experiments/regularisation.py --data-dir DIR --quick     does it run?

resnet8 each time, on few images, so that it overfits: the first 5,000 training images for 20 epochs, tested on the
first 2,000 test images after each. A run that has come to its end is not done again, one that was interrupted goes on.
Writes results.csv and results.png into --out.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that a fresh clone runs without being installed

import _shared

from minires import Sequential, models
from minires.cli import runs
from minires.layers import Dropout

SIZE = _shared.Size(train=5000, test=2000, epochs=20, batch_size=64)
QUICK_SIZE = _shared.Size(train=48, test=16, epochs=2, batch_size=16)
LR, WEIGHT_DECAY, DROPOUT = 0.1, 5e-3, 0.5
NOTHING = {"augment": False, "weight_decay": 0.0, "dropout": 0.0, "shortcut": "A"}
ALL = {"augment": True, "weight_decay": WEIGHT_DECAY, "dropout": DROPOUT}
WAYS = {
    "nothing": NOTHING,
    "augmentation": {**NOTHING, "augment": True},
    "weight decay": {**NOTHING, "weight_decay": WEIGHT_DECAY},
    "dropout": {**NOTHING, "dropout": DROPOUT},
    "all three": {**NOTHING, **ALL},
    "augmentation, shortcut B": {**NOTHING, "augment": True, "shortcut": "B"},
}
PANELS = {
    "augmentation": ["nothing", "augmentation"],
    "weight decay": ["nothing", "weight decay"],
    "dropout": ["nothing", "dropout"],
    "all three": ["nothing", "all three"],
    "shortcuts A and B": ["augmentation", "augmentation, shortcut B"],
}


def build(way, seed):
    """resnet8, with dropout on the 64 numbers that its last layer gets."""
    model = models.resnet8(shortcut=way["shortcut"], rng=seed)
    if way["dropout"]:
        model.avgpool = Sequential(model.avgpool, Dropout(way["dropout"], rng=seed))
    return model


def main():
    """Run the command line; returns the exit code."""
    return runs.call(run, lambda: _shared.command_line(__doc__, [0]).parse_args())


def run(args):
    """Do the runs that are missing, then the table and the picture; returns the exit code."""
    out, dataset = _shared.prepare(args, "regularisation")
    results = {
        (name, seed): _shared.train(
            out / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}",
            dataset,
            QUICK_SIZE if args.quick else SIZE,
            seed,
            build=lambda seed, way=way: build(way, seed),
            optimizer=_shared.sgd(way["weight_decay"]),
            schedule=_shared.steps(LR),
            augment=way["augment"],
        )
        for seed in args.seeds
        for name, way in WAYS.items()
    }
    _shared.write_curves(out, results, PANELS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
