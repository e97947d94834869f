"""From a linear classifier to a residual network, one idea at a time: what does each step buy?

    python examples/experiments/linear_to_resnet.py             about 25 minutes on two cores, less without deep ones
    python examples/experiments/linear_to_resnet.py --choose    which learning rate? About ten minutes
    python examples/experiments/linear_to_resnet.py --quick     seconds: does it run?

Ten networks, each trained on the same shapes drawn by code, with the same steps and without augmentation. Prints a
table and writes it as results.csv into --out; a row that stands there is not made again. --choose trains the small ones
at every rate of RATES and writes rates.csv: there validation images decide, and no test image takes part.
docs/linear_to_resnet.md shows these networks.
"""

import csv
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that a fresh clone runs without being installed

from minires import data
from minires.backend import get_threads, set_threads
from minires.cli import runs
from minires.cli.console import Parser
from minires.cli.recording import write_csv
from minires.layers import BatchNorm2d, Conv2d, Flatten, GlobalAvgPool2d, Linear, MaxPool2d, ReLU
from minires.models import plain20, plain32, resnet20, resnet32
from minires.models.blocks import initialise_convolutions
from minires.optim import SGD
from minires.schedules import OneCycleLR
from minires.sequential import Sequential
from minires.training import evaluate, train_step

RATES = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
# Whose rate --choose finds; the deep ones would cost minutes a rate.
CHOSEN = ("linear", "two_layers", "convolution", "pooling", "he_weights", "batch_norm")
RATE_COLUMNS = ("network", "seed", "lr", "valid_loss", "valid_acc")
COLUMNS = ("network", "seed", "parameters", "lr", "train_loss", "train_acc", "test_loss", "test_acc", "seconds")


def linear(rng):
    """Every class's score is a weighted sum of all 3,072 numbers of the image."""
    return Sequential(Flatten(), Linear(32 * 32 * 3, 10, rng=rng))


def two_layers(rng):
    """64 weighted sums, a ReLU, and the scores from these."""
    return Sequential(Flatten(), Linear(32 * 32 * 3, 64, rng=rng), ReLU(), Linear(64, 10, rng=rng))


def convolution(rng):
    """16 weighted sums of each pixel's neighbourhood, the same weights everywhere."""
    return Sequential(
        Conv2d(3, 16, 3, padding=1, rng=rng),
        ReLU(),
        Flatten(),
        Linear(32 * 32 * 16, 10, rng=rng),
    )


def pooling(rng):
    """Three convolutions, the image halved twice between them, and the mean over all pixels at the end."""
    return Sequential(
        Conv2d(3, 16, 3, padding=1, rng=rng),
        ReLU(),
        MaxPool2d(2),
        Conv2d(16, 32, 3, padding=1, rng=rng),
        ReLU(),
        MaxPool2d(2),
        Conv2d(32, 64, 3, padding=1, rng=rng),
        ReLU(),
        GlobalAvgPool2d(),
        Linear(64, 10, rng=rng),
    )


def he_weights(rng):
    """The same with first weights of variance 2 / (O * 3 * 3), six times the usual where C = O (He et al. 2015b)."""
    model = pooling(rng)
    initialise_convolutions(model, np.random.default_rng(rng))
    return model


def batch_norm(rng):
    """`pooling` with batch norm before each ReLU, which makes the convolutions' biases needless."""
    return Sequential(
        Conv2d(3, 16, 3, padding=1, bias=False, rng=rng),
        BatchNorm2d(16),
        ReLU(),
        MaxPool2d(2),
        Conv2d(16, 32, 3, padding=1, bias=False, rng=rng),
        BatchNorm2d(32),
        ReLU(),
        MaxPool2d(2),
        Conv2d(32, 64, 3, padding=1, bias=False, rng=rng),
        BatchNorm2d(64),
        ReLU(),
        GlobalAvgPool2d(),
        Linear(64, 10, rng=rng),
    )


NETWORKS = {  # name: (a function of a seed, the highest learning rate: of CHOSEN what --choose found, of the rest 0.1)
    "linear": (linear, 0.001),
    "two_layers": (two_layers, 0.03),
    "convolution": (convolution, 0.03),
    "pooling": (pooling, 0.1),
    "he_weights": (he_weights, 0.1),
    "batch_norm": (batch_norm, 0.1),
    "plain20": (lambda rng: plain20(rng=rng), 0.1),
    "resnet20": (lambda rng: resnet20(rng=rng), 0.1),
    "plain32": (lambda rng: plain32(rng=rng), 0.1),
    "resnet32": (lambda rng: resnet32(rng=rng), 0.1),
}


def receptive_field(model):
    """Rows (and columns) of the image that one pixel of the last feature map depends on, the borders aside.

    A window of K pixels, `step` pixels of the image apart, adds (K - 1) * step; a stride makes all later steps longer.
    """
    size, step = 1, 1
    for module in model.modules():
        if isinstance(module, (Conv2d, MaxPool2d)):
            K = _one(module.kernel_size if isinstance(module, MaxPool2d) else module.weight.shape[2])
            size, step = size + (K - 1) * step, step * _one(module.stride or K)  # windows side by side: None
    return size


def _one(number_or_pair):
    return number_or_pair if isinstance(number_or_pair, int) else number_or_pair[0]


def main():
    """Run the command line; returns the exit code."""
    return runs.call(run, lambda: command_line().parse_args())


def run(args):
    """Train what is missing, print and write the table; returns the exit code."""
    if args.epochs < 1:
        raise ValueError(f"--epochs must be at least 1, got {args.epochs}")
    if args.choose and args.lr is not None:
        raise ValueError("--choose tries every rate, and --lr names one: give one of the two")
    if args.threads is not None:
        set_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    images, others = (600, 200) if args.quick else (5_000, 2_000)
    epochs = 1 if args.quick else args.epochs
    dataset = data.make_synthetic(train=images, test=others)
    kind = "validation" if args.choose else "test"
    print(f"{images:,} training and {others:,} {kind} images, {epochs} epochs, {get_threads()} threads")
    (choose if args.choose else fill_table)(args, dataset, epochs)
    return 0


def fill_table(args, dataset, epochs):
    """A row for each network and seed, at its own learning rate."""
    path = args.out / "results.csv"
    rows = rows_of(path)
    print(f"{'network':<12} {'seed':>4} {'parameters':>10} {'field':>5} {'train loss':>10} {'train acc':>9} "
          f"{'test acc':>8} {'seconds':>7}")  # fmt: skip
    for seed in args.seeds:
        for name in args.networks or NETWORKS:
            row = find(rows, network=name, seed=seed)
            if row is None:
                row = measured(name, seed, dataset, epochs, args.lr)
                rows.append(row)
                write_csv(path, COLUMNS, rows)
            show(row)


def choose(args, dataset, epochs):
    """Each network at each rate, and how it does on images that are neither trained on nor tested on."""
    path = args.out / "rates.csv"
    rows = rows_of(path)
    validation = data.make_synthetic(train=1, test=len(dataset.test_images), seed=1)  # another seed: other images
    print(f"{'network':<12} {'seed':>4} {'lr':>6} {'valid loss':>10} {'valid acc':>9}")
    for seed in args.seeds:
        for name in args.networks or CHOSEN:
            for lr in RATES:
                row = find(rows, network=name, seed=seed, lr=lr)
                if row is None:
                    row = tried(name, seed, dataset, validation, epochs, lr)
                    rows.append(row)
                    write_csv(path, RATE_COLUMNS, rows)
                print(f"{name:<12} {seed:>4} {lr:>6} {float(row['valid_loss']):>10.3f} "
                      f"{float(row['valid_acc']):>9.1%}", flush=True)  # fmt: skip


def rows_of(path):
    """The rows of a table that an earlier run left, or none."""
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines())) if path.exists() else []


def find(rows, **wanted):
    """The row that has these values, or None."""
    wanted = {key: str(value) for key, value in wanted.items()}
    return next((row for row in rows if all(str(row[key]) == value for key, value in wanted.items())), None)


def train(name, seed, dataset, epochs, lr):
    """-> a trained network, the training images' means and standard deviations, seconds."""
    model = NETWORKS[name][0](seed)
    mean, std = data.channel_mean_std(dataset.train_images)
    batches = data.Loader(dataset.train_images, dataset.train_labels, 64, mean, std, shuffle=True, seed=seed)
    optimizer = SGD(model.parameters(), lr=lr, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = OneCycleLR(lr, epochs * len(batches))
    began = time.perf_counter()
    for epoch in range(epochs):
        for batch, (x, labels) in enumerate(batches.epoch(epoch)):
            optimizer.lr = schedule(epoch * len(batches) + batch)
            train_step(model.train(), optimizer, x, labels)
    return model, (mean, std), time.perf_counter() - began


def tried(name, seed, dataset, validation, epochs, lr):
    """A row of rates.csv."""
    model, scale, _ = train(name, seed, dataset, epochs, lr)
    found = evaluate(model, data.Loader(validation.test_images, validation.test_labels, 500, *scale), 10)
    return dict(zip(RATE_COLUMNS, (name, seed, lr, f"{found.loss:.4f}", f"{found.accuracy:.4f}"), strict=True))


def measured(name, seed, dataset, epochs, lr=None):
    """A row of results.csv."""
    lr = NETWORKS[name][1] if lr is None else lr
    model, scale, seconds = train(name, seed, dataset, epochs, lr)
    on_train = evaluate(model, data.Loader(dataset.train_images, dataset.train_labels, 500, *scale), 10)
    on_test = evaluate(model, data.Loader(dataset.test_images, dataset.test_labels, 500, *scale), 10)
    parameters = sum(parameter.size for parameter in model.parameters())
    numbers = (on_train.loss, on_train.accuracy, on_test.loss, on_test.accuracy, seconds)
    return dict(zip(COLUMNS, (name, seed, parameters, lr, *(f"{number:.4f}" for number in numbers)), strict=True))


def show(row):
    """A line of the table."""
    convolutional = row["network"] not in ("linear", "two_layers")
    field = receptive_field(NETWORKS[row["network"]][0](0)) if convolutional else 32
    print(f"{row['network']:<12} {row['seed']:>4} {int(row['parameters']):>10,} {field:>5} "
          f"{float(row['train_loss']):>10.3f} {float(row['train_acc']):>9.1%} {float(row['test_acc']):>8.1%} "
          f"{float(row['seconds']):>7.0f}", flush=True)  # fmt: skip


def command_line():
    """The parser."""
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("--choose", action="store_true", help="try every learning rate on validation images, and write rates.csv")
    add("--quick", action="store_true", help="few images and one epoch: only to see that it runs")
    add(
        "--networks",
        nargs="+",
        choices=list(NETWORKS),
        metavar="NAME",
        help="default: all; with --choose, the small ones",
    )
    add("--seeds", nargs="+", type=int, default=[0], metavar="N", help="default: 0")
    add("--epochs", type=int, default=5, metavar="N", help="default: 5")
    add("--lr", type=float, metavar="X", help="another highest learning rate for all of them")
    add("--threads", type=int, metavar="N", help="default: the physical cores this process may use")
    add("--out", type=Path, default=Path("runs/linear_to_resnet"), metavar="DIR")
    return parser


if __name__ == "__main__":
    sys.exit(main())
