"""Does a small network learn more from a teacher's probabilities than from labels alone? And at which temperature?

    python examples/experiments/distillation.py --data-dir DIR --teacher FILE             half an hour on one core
    python examples/experiments/distillation.py --data-dir DIR --teacher FILE --only "T 4, alpha 0.9"
    python examples/experiments/distillation.py --data-dir DIR --quick                    does it run?

A resnet8 is trained by train_cifar.py's quick recipe on the first 4,000 photographs for eight epochs, and tested on
5,000: by labels alone, and by distill.py's loss at several temperatures T and shares alpha of the teacher. Runs of one
seed begin with the same weights and see the same images in the same order, so they are compared seed by seed. A run
that has come to its end is not done again, one that was interrupted goes on. The test images are looked at after each
epoch and choose nothing. Writes results.csv and results.png into --out.
"""

import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that a fresh clone runs without being installed
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import _shared
import distill
import train_cifar

from minires import checkpoint, models, pretrained
from minires.cli import runs
from minires.cli.legs import make_schedule
from minires.data.images import Preprocessing
from minires.teacher import Teacher

SIZE = _shared.Size(train=4000, test=5000, epochs=8, batch_size=128)
QUICK_SIZE = _shared.Size(train=32, test=16, epochs=2, batch_size=16)
ALONE = "labels alone"
WAYS = {ALONE: None, "T 2, alpha 0.9": (2.0, 0.9), "T 4, alpha 0.9": (4.0, 0.9)}
SETTINGS = {**train_cifar.DEFAULTS, **train_cifar.RECIPES["quick"]}


def command_line():
    """The parser."""
    parser = _shared.command_line(__doc__, [0, 1, 2])
    parser.add_argument("--teacher", nargs="+", metavar="FILE", help="of weights; of several the mean")
    parser.add_argument("--only", nargs="+", choices=list(WAYS)[1:], metavar="NAME", help=f"of: {', '.join(WAYS)}")
    return parser


def main():
    """Run the command line; returns the exit code."""
    return runs.call(run, lambda: command_line().parse_args())


def teachers_of(args, dataset):
    """(networks as Teacher takes them, what tells them from others)."""
    if args.teacher is None and not args.quick:
        raise ValueError("--teacher is missing: name a file of weights, as examples/finetune.py makes them")
    if args.teacher is None:
        return [(models.resnet8(rng=1), Preprocessing((0.5,) * 3, (0.25,) * 3, size=32, resize=32))], "untrained"
    read = [pretrained.build(path) for path in args.teacher]
    for path, (_, metadata) in zip(args.teacher, read, strict=True):
        distill.refuse_unfit(path, metadata, dataset)
    networks = [(model, Preprocessing(**metadata["preprocessing"])) for model, metadata in read]
    return networks, [checkpoint.digest(model.state_dict()) for model, _ in networks]


def run(args):
    """Do the runs that are missing, then the table and the picture; returns the exit code."""
    out, dataset = _shared.prepare(args, "distillation")
    networks, names = teachers_of(args, dataset)
    ways = {name: WAYS[name] for name in WAYS if args.only is None or name in (ALONE, *args.only)}
    results = {
        (name, seed): _shared.train(
            out / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}",
            dataset,
            QUICK_SIZE if args.quick else SIZE,
            seed,
            build=lambda seed: models.resnet8(rng=seed),
            optimizer=lambda parameters: train_cifar.optimizer_of(SETTINGS, parameters),
            schedule=lambda iterations: make_schedule(SETTINGS, iterations),
            ingredients=way and {"teacher": names, "temperature": way[0], "alpha": way[1]},
            criterion_of=lambda loader, way=way: way and taught(networks, loader, *way),
        )
        for seed in args.seeds
        for name, way in ways.items()
    }
    _shared.write_curves(out, results, {"resnet8, by labels and by a teacher": list(ways)})
    print_differences(results, args.seeds, ways)
    return 0


def taught(networks, loader, temperature, alpha):
    """The criterion of a training by these teachers."""
    return Teacher(networks, loader.mean, loader.std, temperature).criterion(alpha)


def print_differences(results, seeds, ways):
    """What each way gains over labels alone in test accuracy, seed by seed."""
    print("\n| way | gain in points, seed by seed | mean |\n|---|---|---|")
    for name in list(ways)[1:]:
        of = [[100 * results[way, seed]["history"][-1]["test_error"] for way in (ALONE, name)] for seed in seeds]
        gains = [alone - taught for alone, taught in of]
        print(f"| {name} | {', '.join(f'{gain:+.2f}' for gain in gains)} | {statistics.mean(gains):+.2f} |")


if __name__ == "__main__":
    sys.exit(main())
