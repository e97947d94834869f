"""What batch norm does to gradients, and what shortcuts do: gradient norms layer by layer, of four kinds of network.

    python examples/experiments/gradients.py --data-dir DIR             about 7 minutes on one core
    python examples/experiments/gradients.py --data-dir DIR --quick     does it run?

Plain and residual, with and without batch norm, of 20 and 56 layers: the norm of the gradient of every layer's weights,
on the first 64 training images, at initialisation and after 30 steps of SGD. Every network starts with a learning
rate of 0.1; where the loss leaves the finite numbers, or the gradient does, it starts again with a tenth of that.
Writes results.csv and results.png into --out.
"""

import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that a fresh clone runs without being installed

import _shared
import numpy as np

from minires import Module, Parameter, optim
from minires.backend import to_numpy
from minires.cli import runs
from minires.cli.recording import write_csv
from minires.data import normalize
from minires.inspection.pictures.figures import new_figure, write_png
from minires.layers import Conv2d, Linear, relu
from minires.losses import cross_entropy
from minires.models import ResNet
from minires.models.blocks import BasicBlock
from minires.training import train_step

KINDS = {  # shortcut of ResNet, whether it has batch norm
    "plain": ("none", False),
    "residual": ("A", False),
    "plain, batch norm": ("none", True),
    "residual, batch norm": ("A", True),
}
DEPTHS, QUICK_DEPTHS = (20, 56), (8,)
STEPS, QUICK_STEPS = 30, 2
LEARNING_RATES = tuple(10.0**-k for k in range(1, 9))
SIZE = _shared.Size(train=5000, test=1, epochs=1, batch_size=32)
QUICK_SIZE = _shared.Size(train=64, test=1, epochs=1, batch_size=8)
COLUMNS = ("depth", "kind", "seed", "when", "layer", "name", "weight_norm", "gradient_norm")
WHEN = ("at initialisation", "after the steps")


class BiasReLU2d(Module):
    """y = relu(x + bias + shortcut): what stays of BatchNormReLU2d when nothing is normalised."""

    def __init__(self, channels):
        self.bias = Parameter(np.zeros(channels, np.float32))

    def forward(self, x, shortcut=None):
        y, relu_backward = relu(x + self.bias.data if shortcut is None else x + self.bias.data + shortcut)

        def backward(dy):
            dz = relu_backward(dy)
            self.bias.add_grad(dz.sum(axis=(0, 1, 2)))
            return dz if shortcut is None else (dz, dz)  # a sum hands its gradient to all that went in

        return y, backward


def build(depth, kind, seed):
    """The network of this kind; without batch norm it is the same one with BiasReLU2d in batch norm's place."""
    shortcut, has_batch_norm = KINDS[kind]
    model = ResNet(depth, shortcut=shortcut, rng=seed)
    if not has_batch_norm:
        model.bn1 = BiasReLU2d(16)
        for block in model.modules():
            if isinstance(block, BasicBlock):
                block.bn1, block.bn2 = BiasReLU2d(block.out_channels), BiasReLU2d(block.out_channels)
    return model


def norms(model, x, labels):
    """(loss, a row for each layer in order: its name and the norms of its weights and of their gradient)."""
    model.train().zero_grad()
    logits, model_backward = model(x)
    loss, loss_backward = cross_entropy(logits, labels)
    model_backward(loss_backward())
    rows = []
    for name, layer in model.named_modules():
        if isinstance(layer, (Conv2d, Linear)):
            weight, gradient = (to_numpy(array).astype(np.float64) for array in (layer.weight.data, layer.weight.grad))
            row = {"layer": len(rows) + 1, "name": name, "weight_norm": float(np.linalg.norm(weight))}
            rows.append({**row, "gradient_norm": float(np.linalg.norm(gradient))})
    model.zero_grad()
    return float(loss), rows


def measure(depth, kind, seed, loader, steps):
    """Loss and norms before and after the steps, and the largest learning rate that stayed finite (None: none did)."""
    number = 2 * loader.batch_size
    x, labels = normalize(loader.images[:number], loader.mean, loader.std), loader.labels[:number]
    first_loss, first = norms(build(depth, kind, seed), x, labels)
    for lr in LEARNING_RATES:
        model = build(depth, kind, seed)
        if take_steps(model, loader, steps, lr):
            last_loss, last = norms(model, x, labels)
            if all(np.isfinite(row["gradient_norm"]) for row in last):
                return {"lr": lr, "losses": [first_loss, last_loss], "norms": [first, last]}
    return {"lr": None, "losses": [first_loss, None], "norms": [first, []]}


def take_steps(model, loader, steps, lr):
    """Train for so many steps; whether the loss stayed finite."""
    optimizer = optim.SGD(model.train().parameters(), lr=lr, momentum=0.9)
    taken = 0
    while taken < steps:
        for x, labels in loader.epoch(taken // len(loader)):
            if not np.isfinite(train_step(model, optimizer, x, labels)[0]):
                return False
            taken += 1
            if taken == steps:
                break
    return True


def main():
    """Run the command line; returns the exit code."""
    return runs.call(run, lambda: _shared.command_line(__doc__, [0, 1, 2]).parse_args())


def run(args):
    """Do the measurements that are missing, then the table and the picture; returns the exit code."""
    out, dataset = _shared.prepare(args, "gradients")
    size, steps, depths = (QUICK_SIZE, QUICK_STEPS, QUICK_DEPTHS) if args.quick else (SIZE, STEPS, DEPTHS)
    found = {}
    for seed in args.seeds:
        loader, _ = _shared.make_loaders(dataset, size, seed, augment=False)
        for depth in depths:
            for kind in KINDS:
                settings = {"depth": depth, "kind": kind, "seed": seed, "steps": steps, "data": dataset.label}
                folder = out / f"{kind.replace(', ', '-').replace(' ', '-')}-{depth}-{seed}"
                result = _shared.once(
                    folder, settings, lambda d=depth, k=kind, s=seed, batches=loader: measure(d, k, s, batches, steps)
                )
                found[depth, kind, seed] = result
                print(f"{depth:3d} layers, {kind:22} seed {seed}   learning rate {result['lr']}", flush=True)
    write(out, found)
    return 0


def write(out, found):
    """results.csv, results.png and a table on standard output."""
    rows = [
        {"depth": depth, "kind": kind, "seed": seed, "when": when, **row}
        for (depth, kind, seed), result in found.items()
        for when, norms in zip(WHEN, result["norms"], strict=True)
        for row in norms
    ]
    write_csv(out / "results.csv", COLUMNS, rows)
    ends = "first conv | last conv"
    print(f"\n| layers | kind | loss at first | {ends} | learning rate | loss after | {ends} |\n{'|---' * 9}|")
    for depth, kind in dict.fromkeys((depth, kind) for depth, kind, _ in found):
        results = [result for (d, k, _), result in found.items() if (d, k) == (depth, kind)]
        rates = dict.fromkeys(f"{result['lr']:g}" if result["lr"] else "none" for result in results)
        after = cells_of(results, 1) if all(result["lr"] for result in results) else ["-"] * 3
        print(f"| {' | '.join([str(depth), kind, *cells_of(results, 0), ', '.join(rates), *after])} |")
    print(f"norms of gradients, and losses: medians of seeds ({len(results)}); wrote {out}/results.*")
    draw(out / "results.png", found)


def cells_of(results, when):
    """The medians over the seeds of the loss and of the gradients' norms in the first and the last convolution."""
    losses = [result["losses"][when] for result in results]
    ends = [[result["norms"][when][layer]["gradient_norm"] for result in results] for layer in (0, -2)]
    return [f"{statistics.median(values):.3g}" for values in (losses, *ends)]


def draw(path, found):
    """A panel for each depth, before and after; a line for each kind through the medians of the seeds, and dots."""
    from matplotlib.ticker import MaxNLocator

    depths = list(dict.fromkeys(depth for depth, _, _ in found))
    figure = new_figure(9, 3.6 * len(depths))
    grid = figure.subplots(len(depths), 2, squeeze=False, sharey=True)
    for row, depth in zip(grid, depths, strict=True):
        for when, axes in enumerate(row):
            for kind, color in zip(KINDS, _shared.COLORS, strict=False):
                of_kind = [result["norms"][when] for (d, k, _), result in found.items() if (d, k) == (depth, kind)]
                seeds = [[layer["gradient_norm"] for layer in layers[:-1]] for layers in of_kind if layers]
                if not seeds:
                    continue
                at = range(1, len(seeds[0]) + 1)
                axes.semilogy(at, np.median(seeds, axis=0), "-", color=color, label=kind)
                for values in seeds:
                    axes.semilogy(at, values, ".", color=color, markersize=2)
            axes.set_title(f"{depth} layers, {WHEN[when]}", fontsize=10)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid(alpha=0.3)
    grid[0, 0].legend(fontsize=8)
    figure.supxlabel("convolution, from the image on", fontsize=10)
    figure.supylabel("norm of the gradient of its weights", fontsize=10)
    write_png(figure, path)


if __name__ == "__main__":
    sys.exit(main())
