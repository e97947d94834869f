"""Batch norm in shards of a batch: how far their statistics are from the batch's, and what that does to accuracy.

    python examples/experiments/shard_statistics.py --data-dir DIR           half an hour on one core
    python examples/experiments/shard_statistics.py --data-dir DIR --quick   does it run?

resnet8 on photographs of 16x16 pixels, without augmentation, batches of 128 that are cut into 1, 2, 4, 8 and 16 shards,
all else alike. Then, in the networks that were trained on whole batches, each layer's statistics in shards of 8 to 128
images, 40 batches of them. Writes results.csv (of the statistics) and results.png into --out.
"""

import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that a fresh clone runs without being installed

import _shared
import numpy as np

from minires import checkpoint, models
from minires.backend import set_threads
from minires.cli import runs
from minires.cli.recording import write_csv
from minires.inspection.pictures.figures import new_figure, write_png
from minires.layers import BatchNorm2d
from minires.modes import no_grad

SIZE = _shared.Size(train=5120, test=2000, epochs=5, batch_size=128)
QUICK_SIZE = _shared.Size(train=64, test=16, epochs=1, batch_size=16)
SHARDS, QUICK_SHARDS = (1, 2, 4, 8, 16), (1, 8)
IMAGES, QUICK_IMAGES = (8, 16, 32, 64, 128), (4, 16)
BATCHES, QUICK_BATCHES = 40, 3
LR = 0.1
COLUMNS = ("seed", "layer", "name", "images", "mean_noise", "var_noise", "var_bias", "mean_law", "var_law")


def statistics_of(model, loader, images, batches):
    """{layer: (means, mean squares), each (batches, shards, images, C)} where each shard passes by itself."""
    seen = {name: [] for name, module in model.named_modules() if isinstance(module, BatchNorm2d)}
    norms = {name: module for name, module in model.named_modules() if name in seen}
    for name, norm in norms.items():
        norm.forward = watched(norm.forward, seen[name])
    with no_grad():
        for (x, _), _ in zip(loader.epoch(0), range(batches), strict=False):
            for start in range(0, len(x), images):
                model(x[start : start + images])
    for norm in norms.values():
        del norm.forward
    return {
        name: [
            np.stack(moments).reshape(batches, -1, images, moments[0].shape[-1]) for moments in zip(*its, strict=True)
        ]
        for name, its in seen.items()
    }


def watched(forward, seen):
    """A batch norm's forward pass that keeps of each image the mean and the mean square of each channel in `seen`."""

    def keep(x, *others, **options):
        flat = x.reshape(len(x), -1, x.shape[-1]).astype(np.float64)
        seen.append((flat.mean(axis=1), (flat**2).mean(axis=1)))
        return forward(x, *others, **options)

    return keep


def noise(means, squares):
    """Of a layer, the mean over its channels of how much shards' statistics scatter, in the batches' own measure.

    mean_noise: standard deviation of a shard's mean over the batches' standard deviation; var_noise: that of its
    variance over the batches' variance; var_bias: the mean of its variance over the batches' variance, less 1.
    mean_law, var_law: the first two as the scatter of single images' statistics over sqrt(images) predicts them.
    """
    images = means.shape[2]
    mean = means.mean(axis=(0, 1, 2))
    var = squares.mean(axis=(0, 1, 2)) - mean**2
    shard_mean = means.mean(axis=2)
    shard_var = squares.mean(axis=2) - shard_mean**2
    of_image = (squares - 2 * mean * means + mean**2).std(axis=(0, 1, 2))  # its mean square, from the batches' mean
    return {
        "mean_noise": float((shard_mean.std(axis=(0, 1)) / np.sqrt(var)).mean()),
        "var_noise": float((shard_var.std(axis=(0, 1)) / var).mean()),
        "var_bias": float((shard_var.mean(axis=(0, 1)) / var).mean() - 1),
        "mean_law": float((means.std(axis=(0, 1, 2)) / np.sqrt(var) / np.sqrt(images)).mean()),
        "var_law": float((of_image / var / np.sqrt(images)).mean()),
    }


def measure(args, dataset, size, seed, weights):
    """The rows of a network: {"rows": of each layer and number of images}."""
    model = models.resnet8(rng=seed)
    rows = []
    for images in QUICK_IMAGES if args.quick else IMAGES:
        model.load_state_dict(weights)
        loader, _ = _shared.make_loaders(dataset, size, seed, augment=False)
        found = statistics_of(model.train(), loader, images, QUICK_BATCHES if args.quick else BATCHES)
        rows += [
            {"seed": seed, "layer": layer, "name": name, "images": images, **noise(*found[name])}
            for layer, name in enumerate(found, 1)
        ]
    return {"rows": rows}


def main():
    """Run the command line; returns the exit code."""
    return runs.call(run, lambda: _shared.command_line(__doc__, [0, 1, 2, 3]).parse_args())


def run(args):
    """Do what is missing, then the tables and the picture; returns the exit code."""
    set_threads(1)
    out, dataset = _shared.prepare(args, "shard-statistics")
    dataset, size, trained, rows = _shared.halved(dataset), QUICK_SIZE if args.quick else SIZE, {}, []
    for seed in args.seeds:
        for shards in QUICK_SHARDS if args.quick else SHARDS:
            name = f"{shards} {'shard' if shards == 1 else 'shards'} of {size.batch_size // shards}"
            trained[name, seed] = _shared.train(
                out / f"{shards}-{seed}",
                dataset,
                size,
                seed,
                lambda seed: models.resnet8(rng=seed),
                _shared.sgd(),
                _shared.steps(LR),
                augment=False,
                shards=shards,
            )
        settings = {"seed": seed, "data": dataset.label, "batches": QUICK_BATCHES if args.quick else BATCHES}
        weights = checkpoint.load(out / f"1-{seed}" / "last.safetensors").model
        rows += _shared.once(
            out / f"noise-{seed}",
            settings,
            lambda seed=seed, weights=weights: measure(args, dataset, size, seed, weights),
        )["rows"]
    write(out, rows, trained)
    return 0


def write(out, rows, trained):
    """results.csv, results.png, and two tables on standard output."""
    write_csv(out / "results.csv", COLUMNS, rows)
    print(f"\n| images in a shard | {' | '.join(HEADS)} |\n{'|---' * (len(HEADS) + 1)}|")
    for images in dict.fromkeys(row["images"] for row in rows):
        print(f"| {images} | {' | '.join(f'{mean_of(rows, *which, images):.1f}' for which in HEADS.values())} |")
    _shared.print_table(trained)
    draw(out / "results.png", rows, trained)
    print(f"noise and bias in %, mean over channels and seeds; errors in %, of the last epoch; wrote {out}/results.*")


HEADS = {  # of the first layer, or of all others
    "mean, first layer": ("mean_noise", True),
    "law": ("mean_law", True),
    "mean, other layers": ("mean_noise", False),
    "variance, first layer": ("var_noise", True),
    "law of that": ("var_law", True),
    "variance, other layers": ("var_noise", False),
    "bias of the variance, first layer": ("var_bias", True),
    "other layers": ("var_bias", False),
}


def mean_of(rows, key, first, images):
    """Mean in % over the channels, seeds and layers: of the first layer, or of all others."""
    return 100 * statistics.mean(row[key] for row in rows if row["images"] == images and (row["layer"] == 1) == first)


def draw(path, rows, trained):
    """The noise by images in a shard, measured and by the law; and each run's error on training and test images."""
    figure = new_figure(9, 3.8)
    left, right = figure.subplots(1, 2)
    images = list(dict.fromkeys(row["images"] for row in rows))
    for (kind, label), color in zip((("mean", "mean"), ("var", "variance")), _shared.COLORS, strict=False):
        first, others, law = (
            [mean_of(rows, f"{kind}_{key}", layer, n) for n in images]
            for key, layer in (("noise", True), ("noise", False), ("law", True))
        )
        left.plot(images, law, "-", color=color, label=f"{label}, law")
        left.plot(images, first, "o", color=color, label=f"{label}, first layer")
        left.plot(images, others, "x--", color=color, label=f"{label}, other layers")
    left.set_xscale("log", base=2)
    left.set_yscale("log", base=2)
    left.set_ylim(0.25, 32)
    left.set_yticks([0.5, 1, 2, 4, 8, 16], ["0.5", "1", "2", "4", "8", "16"])
    left.set_xlabel("images in a shard")
    left.set_title("noise of a shard's statistics, %", fontsize=10)
    for key, color in (("train_error", _shared.COLORS[0]), ("test_error", _shared.COLORS[1])):
        points = [
            (result["settings"]["batch_size"] // result["settings"].get("shards", 1), 100 * result["history"][-1][key])
            for result in trained.values()
        ]
        right.plot(
            *zip(*points, strict=True),
            "o",
            color=color,
            alpha=0.6,
            label=key.replace("_", " ").replace("train", "training"),
        )
        sizes = sorted({size for size, _ in points})
        right.plot(sizes, [statistics.mean(error for size, error in points if size == n) for n in sizes], color=color)
    right.set_xscale("log", base=2)
    right.set_xlabel("images in a shard")
    right.set_title("error after the last epoch, %", fontsize=10)
    for axes in (left, right):
        axes.set_xticks(images, map(str, images))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    write_png(figure, path)


if __name__ == "__main__":
    sys.exit(main())
