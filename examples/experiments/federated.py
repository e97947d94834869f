"""Federated averaging: accuracy against what is sent, with equal and with unequal clients, one and five local epochs.

    python examples/experiments/federated.py --data-dir DIR            ten minutes on one core
    python examples/experiments/federated.py --data-dir DIR --quick    does it run?

resnet8 on 3,000 photographs of 16x16 pixels, shared out among ten clients: at random, by two shards of one class
each, or by a Dirichlet draw for each class. In each of 10 rounds half of the clients train by SGD and send weights;
beside them data-parallel training, in which all ten send a gradient of 12 images each step. Two more runs have group
norm in the place of batch norm. Where batch norm is, the last model is also tested with the statistics that each client
collects of its own images, and with those of all images. Prints who has how many images of which class. A run that has
come to its end is not done again. Writes results.csv and results.png into --out.
"""

import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that a fresh clone runs without being installed

import _shared
import numpy as np

from minires import data, models, optim
from minires.backend import set_threads
from minires.cli import runs
from minires.cli.recording import write_csv
from minires.federated import (
    bytes_to_send,
    choose_clients,
    class_counts,
    federated_round,
    split_dirichlet,
    split_iid,
    split_shards,
    train_locally,
)
from minires.inspection.pictures.figures import new_figure, write_png
from minires.layers import BatchNorm2d, GroupNorm, add, relu
from minires.modes import no_grad
from minires.training import evaluate, train_step

CLIENTS, FRACTION, LR = 10, 0.5, 0.1
SPLITS = {
    "IID": lambda labels, rng: split_iid(labels, CLIENTS, rng),
    "two classes": lambda labels, rng: split_shards(labels, CLIENTS, 2, rng),
    "Dirichlet 0.3": lambda labels, rng: split_dirichlet(labels, CLIENTS, 0.3, rng, least=2),
}
COLUMNS = ("run", "seed", "round", "sent_mb", "test_acc", "test_loss")


@dataclass(frozen=True)
class Size:
    """The first `train` and `test` photographs, rounds, images in a client's batch, steps of data-parallel training."""

    train: int = 3000
    test: int = 2000
    rounds: int = 10
    batch: int = 50
    steps: int = 240


@dataclass(frozen=True)
class Way:
    """How a run goes: who has what, local epochs, which norm."""

    split: str
    epochs: int
    norm: str = "batch"


QUICK_SIZE = Size(train=100, test=16, rounds=2, batch=8, steps=3)
WAYS = {
    "IID, 1 epoch": Way("IID", 1),
    "IID, 5 epochs": Way("IID", 5),
    "two classes, 1 epoch": Way("two classes", 1),
    "two classes, 5 epochs": Way("two classes", 5),
    "Dirichlet 0.3, 5 epochs": Way("Dirichlet 0.3", 5),
    "IID, 5 epochs, group norm": Way("IID", 5, "group"),
    "two classes, 5 epochs, group norm": Way("two classes", 5, "group"),
}
PARALLEL = "data-parallel"


# The network --------------------------------------------------------------------------------------------------------


class GroupNormReLU(GroupNorm):
    """relu(group_norm(x) + shortcut), called as a BatchNormReLU2d is."""

    def forward(self, x, shortcut=None):
        y, norm_backward = super().forward(x)
        if shortcut is not None:
            y, _ = add(y, shortcut)
        y, relu_backward = relu(y)

        def backward(dy):
            dz = relu_backward(dy)
            return norm_backward(dz) if shortcut is None else (norm_backward(dz), dz)

        return y, backward


def network(norm, seed):
    """resnet8 with batch norm, or with group norm in eight groups."""
    model = models.resnet8(rng=seed)
    if norm == "group":
        for module in list(model.modules()):
            for name, child in list(module.children()):
                if isinstance(child, BatchNorm2d):
                    setattr(module, name, GroupNormReLU(8, child.weight.size))
    return model


# Runs ---------------------------------------------------------------------------------------------------------------


def federated(dataset, size, way, seed, tell):
    """The history of a run by federated averaging, and what its last model gets right with other statistics."""
    rng, model = np.random.default_rng(seed), network(way.norm, seed)
    parts = SPLITS[way.split](dataset.train_labels, np.random.default_rng(seed))
    loaders = [loader_of(dataset, part, size.batch, CLIENTS * seed + k) for k, part in enumerate(parts)]
    history, sent = [], 0
    for number in range(size.rounds):
        chosen = choose_clients(CLIENTS, FRACTION, rng)

        def train(model, client, number=number):
            train_locally(model, loaders[client].epoch, number, way.epochs, lambda ps: optim.SGD(ps, lr=LR))

        federated_round(model, [len(part) for part in parts], chosen, train)
        sent += 2 * len(chosen) * bytes_to_send(model)
        history.append(tell({"round": number + 1, "sent_mb": sent / 1e6, **tested(model, dataset, size)}))
    return {"history": history, **with_other_statistics(model, dataset, size, parts)}


def parallel(dataset, size, seed, tell):
    """The history of data-parallel training: every step all clients send a gradient and are sent the weights."""
    model = network("batch", seed)
    optimizer, each = optim.SGD(model.parameters(), lr=LR), 12
    everyone = np.random.default_rng(seed).permutation(len(dataset.train_labels))
    loader, history, step = loader_of(dataset, everyone, CLIENTS * min(each, size.batch), seed), [], 0
    for epoch in range(size.steps):  # more than enough
        for x, labels in loader.epoch(epoch):
            train_step(model.train(), optimizer, x, labels)
            step += 1
            if step % max(1, size.steps // 24) == 0:
                sent = step * 2 * CLIENTS * bytes_to_send(model) / 1e6
                history.append(tell({"round": step, "sent_mb": sent, **tested(model, dataset, size)}))
            if step == size.steps:
                return {"history": history}


def loader_of(dataset, part, batch, seed):
    """Batches of these training images."""
    mean, std = data.channel_mean_std(dataset.train_images)
    images, labels = dataset.train_images[part], dataset.train_labels[part]
    return data.Loader(images, labels, batch, mean=mean, std=std, shuffle=True, seed=seed)


def tested(model, dataset, size):
    """Accuracy and loss on the test images."""
    mean, std = data.channel_mean_std(dataset.train_images)
    loader = data.Loader(dataset.test_images, dataset.test_labels, min(500, size.test), mean=mean, std=std)
    found = evaluate(model, loader, 10)
    return {"test_acc": found.accuracy, "test_loss": found.loss}


def with_other_statistics(model, dataset, size, parts):
    """Test accuracy with the statistics of each client's own images, and with those of all images; batch norm's."""
    norms = [module for module in model.modules() if isinstance(module, BatchNorm2d)]
    if not norms:
        return {}
    found = []
    for part in [*parts, np.arange(len(dataset.train_labels))]:
        for norm in norms:
            norm.momentum = 1.0  # running statistics become those of the next batch
        with no_grad():
            model.train()(next(iter(loader_of(dataset, part, len(part), 0).epoch(0)))[0])
        found.append(tested(model, dataset, size)["test_acc"])
    return {"own_statistics": found[:-1], "all_statistics": found[-1]}


# All of it ----------------------------------------------------------------------------------------------------------


def main():
    """Run the command line; returns the exit code."""
    return runs.call(run, lambda: _shared.command_line(__doc__, [0]).parse_args())


def run(args):
    """Do the runs that are missing, then the tables and the picture; returns the exit code."""
    set_threads(1)
    out, dataset = _shared.prepare(args, "federated")
    size = QUICK_SIZE if args.quick else Size()
    dataset = first_images(_shared.halved(dataset), size)
    print_clients(dataset.train_labels, args.seeds)
    results = {
        (name, seed): result(out, dataset, size, name, seed) for seed in args.seeds for name in (*WAYS, PARALLEL)
    }
    rows = [{"run": name, "seed": seed, **row} for (name, seed), found in results.items() for row in found["history"]]
    write_csv(out / "results.csv", COLUMNS, rows)
    print_table(results)
    draw(out / "results.png", results, args.seeds)
    print(f"wrote {out}/results.*")
    return 0


def first_images(dataset, size):
    """The data set's first images."""
    train = data.limit(dataset.train_images, dataset.train_labels, size.train)
    test = data.limit(dataset.test_images, dataset.test_labels, size.test)
    parts = dict(zip(("train_images", "train_labels", "test_images", "test_labels"), (*train, *test), strict=True))
    return replace(dataset, **parts)


def result(out, dataset, size, name, seed):
    """What a run found, now or in an earlier call."""
    way, folder = WAYS.get(name), out / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"

    def tell(row):
        print(f"{folder.name:36} {row['sent_mb']:9.1f} MB sent   test accuracy {row['test_acc']:6.1%}", flush=True)
        return row

    settings = {**asdict(size), "seed": seed, "data": dataset.label, **(asdict(way) if way else {})}
    if way is None:
        return _shared.once(folder, settings, lambda: parallel(dataset, size, seed, tell))
    return _shared.once(folder, settings, lambda: federated(dataset, size, way, seed, tell))


def print_clients(labels, seeds):
    """Who has how many images of which class."""
    for seed in seeds:
        for name, split in SPLITS.items():
            counts = class_counts(labels, split(labels, np.random.default_rng(seed)), 10)
            print(f"\n{name}, seed {seed}: images of each class, client by client\n{counts}", flush=True)


def print_table(results):
    """A line of Markdown for each run: what was sent, accuracy in %, and that with other statistics of batch norm."""
    print("\n| run | seed | MB sent | test accuracy | with a client's own statistics | with those of all images |")
    print("|---|---|---|---|---|---|")
    for (name, seed), found in results.items():
        last, own = found["history"][-1], found.get("own_statistics")
        others = (
            [_shared.spread([100 * value for value in own]), f"{100 * found['all_statistics']:.1f}"] if own else "--"
        )
        cells = [name, str(seed), f"{last['sent_mb']:,.1f}", f"{100 * last['test_acc']:.1f}", *others]
        print(f"| {' | '.join(cells)} |")
    print("accuracies in %; of ten clients the mean (least to largest)\n")


def draw(path, results, seeds):
    """Test accuracy against megabytes sent: batch norm on the left, group norm beside it on the right."""
    panels = {
        "who has what, and how long they train alone": [name for name in WAYS if "group" not in name] + [PARALLEL],
        "batch norm and group norm": [name for name in WAYS if "5 epochs" in name and "Dirichlet" not in name],
    }
    figure = new_figure(10, 4.2)
    for axes, (title, names) in zip(figure.subplots(1, 2, sharey=True), panels.items(), strict=True):
        for name, color in zip(names, _shared.COLORS, strict=False):
            for seed in seeds:
                rows = results[name, seed]["history"]
                label = name if seed == seeds[0] else None
                style = "--" if name == PARALLEL or "group" in name else "-"
                axes.plot(
                    [row["sent_mb"] for row in rows],
                    [100 * row["test_acc"] for row in rows],
                    style,
                    color=color,
                    marker=".",
                    label=label,
                )
        axes.set_xscale("log" if PARALLEL in names else "linear")
        axes.set_title(title, fontsize=10)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8, loc="lower right")
    figure.supxlabel("megabytes sent, both ways", fontsize=10)
    figure.supylabel("test accuracy, %", fontsize=10)
    write_png(figure, path)


if __name__ == "__main__":
    sys.exit(main())
