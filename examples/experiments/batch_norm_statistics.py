"""Half frozen: batch norm's statistics drift under parameters that stand still.

    python examples/experiments/batch_norm_statistics.py --weights resnet20.th --data-dir DIR            11 minutes
    python examples/experiments/batch_norm_statistics.py --weights resnet20.th --data-dir DIR --quick     does it run?

A network with somebody's weights, whose last layer alone is trained, for three epochs of the first 5,000 training
images. Kept: the backbone is frozen with freeze(), which puts its batch norms into inference mode. Drifting: its
parameters are frozen and nothing else, so that its running statistics follow the batches. Accuracy on the first 2,000
test images, and how far the statistics went, before the first epoch and after each. A run that has come to its end is
not done again. Writes results.csv and results.png into --out.
"""

import sys
from dataclasses import asdict, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that a fresh clone runs without being installed

import _shared
import numpy as np

from minires import optim, pretrained
from minires.cli import runs
from minires.cli.recording import write_csv
from minires.inspection.pictures.figures import new_figure, write_png
from minires.layers import BatchNorm2d
from minires.training import evaluate, train_step

SIZE = _shared.Size(train=5000, test=2000, epochs=3, batch_size=128)
QUICK_SIZE = _shared.Size(train=48, test=16, epochs=1, batch_size=16)
LR = 0.01
WAYS = {"kept": (True, 1), "drifting": (False, 1), "drifting, small batches": (False, 16)}  # freeze(); batches' divisor
COLUMNS = ("way", "seed", "epoch", "test_accuracy", "mean_moved", "variance_factor")


def freeze(model, with_statistics):
    """Freeze all parts but the last layer: with freeze(), or their parameters alone, as is often done."""
    for name, part in model.children():
        if name != "fc" and with_statistics:
            part.freeze()
        elif name != "fc":
            for parameter in part.parameters():
                parameter.requires_grad = False


def distance(model, original):
    """(mean_moved, variance_factor) of the running statistics of `model` from those of `original`.

    mean_moved: of |mean - original mean| / original standard deviation; variance_factor: of the variance over the
    original variance, or the reverse where that is larger. Both the mean over all channels, the second geometric.
    """
    moved, factors = [], []
    for ours, theirs in zip(model.modules(), original.modules(), strict=True):
        if isinstance(ours, BatchNorm2d):
            var, original_var = ours.running_var + ours.eps, theirs.running_var + theirs.eps
            moved.append(np.abs(ours.running_mean - theirs.running_mean) / np.sqrt(original_var))
            factors.append(np.abs(np.log(var / original_var)))
    return float(np.concatenate(moved).mean()), float(np.exp(np.concatenate(factors).mean()))


def measure(args, dataset, size, seed, with_statistics):
    """A run: {"history": a row for each epoch, the first before training}."""
    model, metadata = pretrained.build(args.weights)
    original, _ = pretrained.build(args.weights)
    how = metadata["preprocessing"]
    loader, test_loader = _shared.make_loaders(dataset, size, seed, False, (how["mean"], how["std"]))
    freeze(model, with_statistics)
    optimizer = optim.SGD(model.fc.parameters(), lr=LR, momentum=0.9)
    history = []
    for epoch in range(size.epochs + 1):
        accuracy = evaluate(model, test_loader, len(dataset.classes)).accuracy
        moved, factor = distance(model, original)
        history.append({"epoch": epoch, "test_accuracy": accuracy, "mean_moved": moved, "variance_factor": factor})
        if epoch < size.epochs:
            model.train()  # what is frozen stays in inference mode
            for x, labels in loader.epoch(epoch):
                train_step(model, optimizer, x, labels)
    return {"history": history}


def main():
    """Run the command line; returns the exit code."""
    return runs.call(run, lambda: command_line().parse_args())


def run(args):
    """Do the runs that are missing, then the table and the picture; returns the exit code."""
    out, dataset = _shared.prepare(args, "batch-norm-statistics")
    size, rows = QUICK_SIZE if args.quick else SIZE, []
    for seed in args.seeds:
        for way, (with_statistics, divisor) in WAYS.items():
            of_way = replace(size, batch_size=size.batch_size // divisor)
            settings = {**asdict(of_way), "weights": args.weights.name, "seed": seed, "data": dataset.label}
            result = _shared.once(
                out / f"{way.replace(', ', '-').replace(' ', '-')}-{seed}",
                settings,
                lambda seed=seed, of_way=of_way, kept=with_statistics: measure(args, dataset, of_way, seed, kept),
            )
            rows += [{"way": way, "seed": seed, **row} for row in result["history"]]
            print(f"{way:24} seed {seed}   test accuracy {result['history'][-1]['test_accuracy']:.2%}", flush=True)
    write_csv(out / "results.csv", COLUMNS, rows)
    write(out, rows)
    return 0


def write(out, rows):
    """The table on standard output and results.png."""
    epochs = list(dict.fromkeys(row["epoch"] for row in rows))
    find = lambda way, epoch, key: [row[key] for row in rows if (row["way"], row["epoch"]) == (way, epoch)]  # noqa: E731
    heads = ["before", *(f"epoch {epoch}" for epoch in epochs[1:]), "means moved by", "variances by a factor of"]
    print(f"\n| accuracy, % | {' | '.join(heads)} |\n{'|---' * (len(heads) + 1)}|")
    for way in WAYS:
        cells = [_shared.spread([100 * value for value in find(way, epoch, "test_accuracy")]) for epoch in epochs]
        cells += [_shared.spread(find(way, epochs[-1], key), 3) for key in ("mean_moved", "variance_factor")]
        print(f"| {way} | {' | '.join(cells)} |")
    print(f"means in standard deviations; mean of the seeds (least to largest); wrote {out}/results.*")
    figure = new_figure(8.4, 3.6)
    labels = ("test accuracy, %", "means moved by, standard deviations")
    for axes, key, scale, label in zip(figure.subplots(1, 2), COLUMNS[3:5], (100, 1), labels, strict=True):
        for way, color in zip(WAYS, _shared.COLORS, strict=False):
            values = np.array([find(way, epoch, key) for epoch in epochs]) * scale
            axes.plot(epochs, values.mean(axis=1), color=color, label=way)
            axes.plot(epochs, values, ".", color=color)
        axes.set_xticks(epochs)
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    write_png(figure, out / "results.png")


def command_line():
    """The parser."""
    parser = _shared.command_line(__doc__, [0, 1, 2])
    parser.add_argument("--weights", type=Path, required=True, metavar="FILE", help="of a network for CIFAR-10")
    return parser


if __name__ == "__main__":
    sys.exit(main())
