"""One training, its gradients added up in two orders: how far apart the weights are, step after step.

    python examples/experiments/summation_order.py --data-dir DIR           minutes on one core
    python examples/experiments/summation_order.py --data-dir DIR --quick   does it run?

resnet8 on photographs of 16x16 pixels, batches of 128 in 8 shards, constant learning rate 0.1. Three runs begin with
the same weights: one adds neighbours first, 0 + 1, 2 + 3, and so on up the tree; one adds those that are far apart
first, 0 + 4, 1 + 5, as a sum over ranks by recursive halving does; and the first once more. The distance of two
networks is |a - b| / |a| over all weights. Writes results.csv, results.png and tree.png, a
picture of the sum, into --out.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that a fresh clone runs without being installed

import _shared
import numpy as np

from minires import models, optim
from minires.backend import set_threads
from minires.cli import runs
from minires.cli.recording import write_csv
from minires.inspection.pictures.figures import new_figure, write_png
from minires.modes import evaluating, no_grad
from minires.sharded_step import sharded_step
from minires.shards import Batch

SIZE = _shared.Size(train=5120, test=2000, epochs=4, batch_size=128)
QUICK_SIZE = _shared.Size(train=64, test=16, epochs=1, batch_size=16)
SHARDS = 8
NEIGHBOURS = tuple(range(SHARDS))
FAR = (0, 4, 2, 6, 1, 5, 3, 7)  # which shard has which place in the tree
COLUMNS = ("seed", "step", "distance", "distance_again", "loss", "loss_far", "other_answers")


def ordered(batch, order):
    """The same shards of a batch, in other places of the tree."""
    made = [(shard.x, shard.labels) for shard in batch]
    return Batch(batch.labels, [batch.parts[s] for s in order], range(len(order)), lambda place: made[order[place]])


def steps(dataset, size, seed, order):
    """Yield (model, loss) after each step of a training."""
    model = models.resnet8(rng=seed)
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    loader, _ = _shared.make_loaders(dataset, size, seed, augment=False, shards=SHARDS)
    for epoch in range(size.epochs):
        for batch in loader.sharded(epoch, 0, SHARDS):
            yield model, float(sharded_step(model, optimizer, ordered(batch, order)).loss)


def measure(dataset, size, seed):
    """The three runs side by side: {"rows": of each step}."""
    loader, test_loader = _shared.make_loaders(dataset, size, seed, augment=False, shards=SHARDS)
    last, rows = size.epochs * len(loader), []
    together = zip(*(steps(dataset, size, seed, order) for order in (NEIGHBOURS, FAR, NEIGHBOURS)), strict=True)
    for step, ((model, loss), (far, loss_far), (again, _)) in enumerate(together, 1):
        row = {"step": step, "distance": distance(model, far), "distance_again": distance(model, again)}
        row |= {"seed": seed, "loss": loss, "loss_far": loss_far}
        rows.append(row | {"other_answers": differing(model, far, test_loader) if step == last else ""})
    return {"rows": rows}


def distance(one, other):
    """|a - b| / |a| over all parameters, in float64."""
    a, b = (np.concatenate([p.data.ravel() for p in model.parameters()]).astype(np.float64) for model in (one, other))
    return float(np.linalg.norm(a - b) / np.linalg.norm(a))


def differing(one, other, loader):
    """Share of the test images on which the two networks' answers differ."""
    found = []
    with evaluating(one), evaluating(other), no_grad():
        for x, _ in loader.epoch(0):
            found.append(one(x)[0].argmax(axis=1) != other(x)[0].argmax(axis=1))
    return float(np.concatenate(found).mean())


def main():
    """Run the command line; returns the exit code."""
    return runs.call(run, lambda: _shared.command_line(__doc__, [0]).parse_args())


def run(args):
    """Do what is missing, then the table and the picture; returns the exit code."""
    set_threads(1)
    out, dataset = _shared.prepare(args, "summation-order")
    dataset, size, rows = _shared.halved(dataset), QUICK_SIZE if args.quick else SIZE, []
    for seed in args.seeds:
        settings = {**vars(size), "seed": seed, "data": dataset.label}
        rows += _shared.once(out / str(seed), settings, lambda seed=seed: measure(dataset, size, seed))["rows"]
    write_csv(out / "results.csv", COLUMNS, rows)
    last = rows[-1]["step"]
    print("\n| step | distance | of the same order | losses |\n|---|---|---|---|")
    for row in rows:
        if row["seed"] == args.seeds[0] and row["step"] in (1, 2, 5, 10, 20, 50, 100, 200, last):
            losses = f"{row['loss']:.6f}, {row['loss_far']:.6f}"
            print(f"| {row['step']} | {row['distance']:.1e} | {row['distance_again']:g} | {losses} |")
    others = _shared.spread([100 * row["other_answers"] for row in rows if row["step"] == last])
    draw(out / "results.png", rows, args.seeds)
    draw_tree(out / "tree.png")
    print(f"after {last} steps {others} % of the test images get another answer; wrote {out}/results.*")
    return 0


def draw_tree(path):
    """Eight shards, their tree, and who computes what with two ranks and with four."""
    figure = new_figure(9, 3.2)
    for axes, ranks in zip(figure.subplots(1, 2), (2, 4), strict=True):
        each = SHARDS // ranks
        for level in range(SHARDS.bit_length()):
            width = 2**level
            for first in range(0, SHARDS, width):
                x = first + (width - 1) / 2
                within = first // each == (first + width - 1) // each
                color = _shared.COLORS[first // each] if within else "white"
                for child in (x - width / 4, x + width / 4) if level else ():
                    axes.plot([child, x], [level - 1, level], color="#777777", lw=1, zorder=1)
                axes.scatter(x, level, 420, color, edgecolors="#333333", zorder=2)
                name = f"{first}" if width == 1 else f"{first}-{first + width - 1}"
                axes.text(x, level, name, ha="center", va="center", fontsize=8, color="white" if within else "black")
        axes.set_title(f"{ranks} ranks, a colour each; white: sums over ranks", fontsize=10)
        axes.set_xlim(-0.7, SHARDS - 0.3)
        axes.set_ylim(-0.5, SHARDS.bit_length() - 0.5)
        axes.axis("off")
    write_png(figure, path, colours=128)


def draw(path, rows, seeds):
    """The distance by step, a line for each seed."""
    figure = new_figure(6.5, 3.6)
    axes = figure.subplots()
    for seed in seeds:
        own = [row for row in rows if row["seed"] == seed]
        axes.loglog([row["step"] for row in own], [row["distance"] for row in own], label=f"seed {seed}")
    axes.axhline(2.0**-24, color="grey", ls="--", lw=1, label="one rounding in float32")
    axes.set_xlabel("step")
    axes.set_title("distance of the weights, two orders of the sum", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    write_png(figure, path)


if __name__ == "__main__":
    sys.exit(main())
