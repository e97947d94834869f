"""What each ingredient of today's training brings a ResNet-20 in 30 epochs, beside the standard recipe.

    python examples/experiments/strong.py --data-dir DIR --device gpu            half an hour, it is thought
    python examples/experiments/strong.py --data-dir DIR                         a day on two cores
    python examples/experiments/strong.py --data-dir DIR --small --seeds 0       an hour on one core
    python examples/experiments/strong.py --data-dir DIR --only "CutMix 1"       the standard recipe and one other
    python examples/experiments/strong.py --data-dir DIR --quick                 does it run?

Each run is `train_cifar.py --recipe standard` but for what its name says; "strong" is `--recipe strong`. A recipe is
chosen here, so the test images have no part in it: the last 5,000 training images take their place, and 45,000 are
trained on. With --small the images have half the side, pads and holes too, and the first 10,000 are trained on for 12
epochs. A run that has come to its end is not done again, one that was interrupted goes on, so a recipe that is changed
costs its own runs alone: name another --out for it. Writes results.csv and results.png into --out.
"""

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that a fresh clone runs without being installed
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import _shared
import train_cifar

from minires import backend, models
from minires.cli import runs
from minires.cli.legs import make_schedule
from minires.cli.settings import device_name

SIZE, HELD_OUT = _shared.Size(train=45_000, test=5000, epochs=30, batch_size=128), 5000
SMALL_SIZE = replace(SIZE, train=10_000, epochs=12)
QUICK_SIZE, QUICK_HELD_OUT = _shared.Size(train=32, test=16, epochs=2, batch_size=16), 20
STANDARD, STRONG = train_cifar.RECIPES["standard"], train_cifar.RECIPES["strong"]
WAYS = {  # what differs from the standard recipe
    "standard": {},
    "no decay of biases, norms": {"decay_bias_and_norm": False},
    "label smoothing 0.1": {"label_smoothing": 0.1},
    "EMA 0.995": {"ema": 0.995},
    "EMA 0.999": {"ema": 0.999},
    "clipped at 1": {"clip_norm": 1.0},
    "cutout 8": {"cutout": 8},
    "random erasing 0.25": {"random_erasing": 0.25},
    "mixup 0.2": {"mixup": 0.2},
    "CutMix 1": {"cutmix": 1.0},
    "RandAugment 1 5": {"randaugment": [1, 5]},
    "LARS 2": {"optimizer": "lars", "lr": 2.0},
    "LAMB 0.01": {"optimizer": "lamb", "lr": 0.01},
    "smoothing, no decay, EMA": {"label_smoothing": 0.1, "decay_bias_and_norm": False, "ema": 0.995},
    "strong": {name: value for name, value in STRONG.items() if STANDARD.get(name) != value},
}
PANELS = {
    "the objective and the weights": list(WAYS)[:6],
    "the images": ["standard", *list(WAYS)[6:11]],
    "the optimizer": ["standard", "LARS 2", "LAMB 0.01"],
    "together": ["standard", "smoothing, no decay, EMA", "strong"],
}


def command_line():
    """The parser."""
    parser = _shared.command_line(__doc__, [0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=list(WAYS), metavar="NAME", help=f"of: {', '.join(WAYS)}")
    parser.add_argument("--device", type=device_name, default="cpu", metavar="NAME", help="default: cpu")
    parser.add_argument("--small", action="store_true", help="fewer and smaller images, fewer epochs")
    return parser


def main():
    """Run the command line; returns the exit code."""
    return runs.call(run, lambda: command_line().parse_args())


def hold_out(dataset, count):
    """A data set whose last `count` training images stand in the place of the test images."""
    images, labels = dataset.train_images, dataset.train_labels
    return replace(
        dataset,
        train_images=images[:-count],
        train_labels=labels[:-count],
        test_images=images[-count:],
        test_labels=labels[-count:],
        label=f"{dataset.label}, its last {count:,} training images held out",
    )


def of_half_the_side(way):
    """What a way does to images of half the side: the same in proportion, the usual shift too."""
    return {**way, "padding": 2, **({"cutout": way["cutout"] // 2} if "cutout" in way else {})}


def run(args):
    """Do the runs that are missing, then the table and the picture; returns the exit code."""
    out, dataset = _shared.prepare(args, "strong-small" if args.small else "strong")
    dataset = hold_out(dataset, QUICK_HELD_OUT if args.quick else HELD_OUT)
    size, device = QUICK_SIZE if args.quick else SIZE, backend.resolve_device(args.device)
    ways = {name: WAYS[name] for name in WAYS if args.only is None or name in ("standard", *args.only)}
    if args.small:
        dataset, size = _shared.halved(dataset), QUICK_SIZE if args.quick else SMALL_SIZE
        ways = {name: of_half_the_side(way) for name, way in ways.items()}
    build = models.resnet8 if args.quick else models.resnet20
    results = {
        (name, seed): _shared.train(
            out / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}",
            dataset,
            size,
            seed,
            build=lambda seed: build(rng=seed).to(device),
            optimizer=lambda parameters, settings=settings: train_cifar.optimizer_of(settings, parameters),
            schedule=lambda iterations, settings=settings: make_schedule(settings, iterations),
            device=device,
            ingredients=way,
        )
        for seed in args.seeds
        for name, way in ways.items()
        for settings in [{**train_cifar.DEFAULTS, **STANDARD, **way}]
    }
    panels = {title: [name for name in names if name in ways] for title, names in PANELS.items()}
    _shared.write_curves(out, results, {title: names for title, names in panels.items() if len(names) > 1} or panels)
    return 0


if __name__ == "__main__":
    sys.exit(main())
