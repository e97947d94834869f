"""What numbers of 16 bits lose: gradients layer by layer against float64, and training with and without loss scaling.

    python examples/experiments/precision.py --data-dir DIR --device gpu      a minute on an H100
    python examples/experiments/precision.py --data-dir DIR --quick           does it run?

ResNet-20 on CIFAR-10, batches of 1,024. The relative error |g - g64| / |g64| of the gradient of each convolution's
weights on the first batch of training images, at initialisation and after the float32 run; and the share of numbers in
the gradient that reaches the first convolution that are 0. Then a training run in each precision, float16 also without
loss scaling, of all else alike. Writes results.csv (of the gradients) and results.png into --out, a result.json a run.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that a fresh clone runs without being installed

import _shared
import numpy as np

from minires import checkpoint, models
from minires.backend import device_of, resolve_device, to_device, to_numpy
from minires.cli import runs
from minires.cli.recording import write_csv
from minires.data import normalize
from minires.inspection.pictures.figures import new_figure, write_png
from minires.layers import Conv2d
from minires.precision import GradScaler, activations, use_tf32
from minires.training import loss_and_gradients

UNSCALED = "float16, not scaled"
KINDS = {  # precision, whether the loss is scaled
    "float32": ("float32", False),
    "tf32": ("tf32", False),
    "bfloat16": ("bfloat16", False),
    "float16": ("float16", True),
    UNSCALED: ("float16", False),
}
SIZE = _shared.Size(train=50_000, test=10_000, epochs=10, batch_size=1024)
QUICK_SIZE = _shared.Size(train=64, test=32, epochs=1, batch_size=32)
LEARNING_RATE = 0.4
COLUMNS = ("seed", "when", "kind", "layer", "name", "error", "zeros")
WHEN = ("at initialisation", "after training")


def build(args, seed):
    """The network on its device."""
    make = models.resnet8 if args.quick else models.resnet20
    return make(rng=seed).to(args.device)


def gradients(model, x, labels, kind):
    """({layer: gradient of its weights}, share of zeros in the gradient that reaches the first convolution)."""
    (precision, scaled), seen = KINDS.get(kind, ("float64", False)), []
    first = model.conv1
    forward, first.forward = first.forward, lambda x, lean=False: watched(forward(x, lean), seen)
    dtype = activations(precision) if precision in dict(KINDS.values()) else None
    scale = GradScaler().to(device_of(x)).scale if scaled else None
    use_tf32(model, precision == "tf32")
    try:
        loss_and_gradients(model.train(), x, labels, dtype=dtype, scale=scale)
    finally:
        del first.forward
        use_tf32(model, False)
    found = {
        name: to_numpy(layer.weight.grad).astype(np.float64)
        for name, layer in model.named_modules()
        if isinstance(layer, Conv2d)
    }
    model.zero_grad()
    return found, float((to_numpy(seen[0]) == 0).mean())


def watched(given, seen):
    """A forward pass's (y, backward), of which the gradient from above is kept in `seen`."""
    y, backward = given

    def keep(dy):
        seen.append(dy)
        return backward(dy)

    return y, keep


def errors(model, x, labels):
    """A row for each kind and layer."""
    exact, _ = gradients(model.to(np.float64), x.astype(np.float64), labels, "float64")
    model.to(np.float32)
    rows = []
    for kind in KINDS:
        found, zeros = gradients(model, x, labels, kind)
        for layer, (name, want) in enumerate(exact.items(), 1):
            error = np.linalg.norm(found[name] - want) / np.linalg.norm(want)
            rows.append({"kind": kind, "layer": layer, "name": name, "error": float(error), "zeros": zeros})
    return rows


def main():
    """Run the command line; returns the exit code."""
    parser = _shared.command_line(__doc__, [0])
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "gpu"], help="default: auto")
    return runs.call(run, parser.parse_args)


def run(args):
    """Do what is missing, then the tables and the picture; returns the exit code."""
    args.device = resolve_device(args.device)
    out, dataset = _shared.prepare(args, "precision")
    size = QUICK_SIZE if args.quick else SIZE
    rows, trained = [], {}
    for seed in args.seeds:
        loader, _ = _shared.make_loaders(dataset, size, seed, augment=False)
        images = normalize(loader.images[: size.batch_size], loader.mean, loader.std)
        x, labels = (to_device(array, args.device) for array in (images, loader.labels[: size.batch_size]))
        for kind, (precision, scaled) in KINDS.items():
            trained[kind, seed] = _shared.train(
                out / f"{kind.replace(', ', '-').replace(' ', '-')}-{seed}",
                dataset,
                size,
                seed,
                lambda seed: build(args, seed),
                _shared.sgd(5e-4),
                _shared.steps(LEARNING_RATE),
                device=args.device,
                precision=precision,
                scaled=scaled,
            )
        after = build(args, seed)
        after.load_state_dict(checkpoint.load(out / f"float32-{seed}" / "last.safetensors").model)
        for when, model in zip(WHEN, (build(args, seed), after), strict=True):
            rows += [{"seed": seed, "when": when, **row} for row in errors(model, x, labels)]
    write(out, rows, trained)
    return 0


def write(out, rows, trained):
    """results.csv, results.png, and tables on standard output."""
    write_csv(out / "results.csv", COLUMNS, rows)
    head = " | ".join(f"{when}: {what}" for when in WHEN for what in ("first layer", "median", "zeros"))
    print(f"\n| relative error of gradients | {head} |\n{'|---' * 7}|")
    for kind in KINDS:
        print(f"| {kind} | {' | '.join(cell for when in WHEN for cell in cells_of(rows, kind, when))} |")
    _shared.print_table(trained)
    draw(out / "results.png", rows, trained)
    print(f"errors in %, of the last epoch; medians of seeds; wrote {out}/results.*")


def cells_of(rows, kind, when):
    """The error in the first convolution, the median over all, and the share of zeros, as text."""
    own = [row for row in rows if (row["kind"], row["when"]) == (kind, when)]
    first = np.median([row["error"] for row in own if row["layer"] == 1])
    return f"{first:.2g}", f"{np.median([row['error'] for row in own]):.2g}", f"{100 * own[0]['zeros']:.1f} %"


def draw(path, rows, trained):
    """Errors by layer at initialisation, and training loss by epoch; a line for each kind, of the first seed."""
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(9, 3.8)
    left, right = figure.subplots(1, 2)
    seed = rows[0]["seed"]
    for kind, color in zip(KINDS, _shared.COLORS, strict=False):
        own = [row for row in rows if (row["kind"], row["when"], row["seed"]) == (kind, WHEN[0], seed)]
        left.semilogy([row["layer"] for row in own], [row["error"] for row in own], ".-", color=color, label=kind)
        history = trained[kind, seed]["history"]
        losses = [row["train_loss"] for row in history]
        right.plot([row["epoch"] for row in history], losses, ".-", color=color, label=kind)
    left.set_xlabel("convolution, from the image on")
    left.set_title("error of the gradient of its weights", fontsize=10)
    right.set_xlabel("epoch")
    right.set_title("training loss", fontsize=10)
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    left.legend(fontsize=8)
    write_png(figure, path)


if __name__ == "__main__":
    sys.exit(main())
