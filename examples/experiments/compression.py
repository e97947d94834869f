"""What is a compressed network worth: accuracy against bytes and images a second? And what can it do without?

    python examples/experiments/compression.py --data-dir DIR --weights FILE --also FILE ...   some minutes on one core
    python examples/experiments/compression.py --data-dir DIR --weights FILE --parts bits zeros
    python examples/experiments/compression.py --data-dir DIR --quick                            does it run?

Of the network in --weights, with no training afterwards: 8 bits by channel and by layer (bits), weights set to zero of
all layers or of each (zeros), inner channels taken from one stage alone (stages), the last on training images, since it
is what --stages of compress.py is chosen by. And of the files in --also, as compress.py and finetune.py make them
(files), accuracy, size and speed beside those of --weights. Speeds are measured in turns, a batch of each network after
the other, so that what the machine does besides meets all of them alike; batch norms are folded. A part that has come
to its end is not done again. Writes results.csv and results.png into --out.
"""

import copy
import statistics
import sys
import time
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that a fresh clone runs without being installed
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import _shared
import numpy as np

from minires import checkpoint, data, models, no_grad, pretrained
from minires.cli import runs
from minires.cli.recording import write_csv
from minires.compression import (
    dequantize,
    filter_scores,
    magnitude_prune,
    prunable,
    prune_filters,
    quantize,
    quantized_state,
    sparsity_of,
)
from minires.inspection.pictures.figures import new_figure, write_png
from minires.inspection.summary import costs
from minires.layers import Conv2d, Linear
from minires.models.fold import fold
from minires.models.narrow import inner_channels, keep_channels
from minires.training import evaluate

PARTS = ("bits", "zeros", "stages", "files")
COLUMNS = ("part", "way", "accuracy", "loss", "bytes", "zipped", "zeros", "multiply_adds", "images_per_second", "times")
SHAPE = (32, 32, 3)
BATCH, ROUNDS = 100, 15  # images a batch, and batches for the measurement of speed
QUICK = {"images": 20, "rounds": 2}
SPARSITIES = (0.3, 0.5, 0.7, 0.8, 0.9)
LEFT = (0.75, 0.5, 0.25)  # of a stage's inner channels


def command_line():
    """The parser."""
    parser = _shared.command_line(__doc__, [0])
    parser.add_argument("--weights", metavar="FILE", help="a ResNet for CIFAR")
    parser.add_argument("--also", nargs="+", default=[], metavar="FILE", help="what was made of it, or other networks")
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help="of: %(choices)s"
    )
    parser.add_argument("--images", type=int, default=10_000, metavar="N", help="to test on; default: all 10,000")
    return parser


def main():
    """Run the command line; returns the exit code."""
    return runs.call(run, lambda: command_line().parse_args())


def run(args):
    """Do the parts that are missing, then the tables and the picture; returns the exit code."""
    if args.weights is None and not args.quick:
        raise ValueError("--weights is missing: name a file of weights, as examples/finetune.py makes them")
    out, dataset = _shared.prepare(args, "compression")
    if args.weights is None:
        args.weights, args.also = made_for_quick(out)
    images = QUICK["images"] if args.quick else args.images
    network = pretrained.build(args.weights)
    settings = {"images": images, "data": dataset.label, "weights": checkpoint.digest(network[0].state_dict())}
    rows = []
    for part in args.parts:
        more = {"files": list(map(known_by, args.also))} if part == "files" else {}
        work = {"bits": bits, "zeros": zeros, "stages": stages, "files": files}[part]
        found = _shared.once(
            out / part, {**settings, **more}, lambda work=work: {"rows": work(args, network, dataset, images)}
        )
        rows += [{"part": part, **row} for row in found["rows"]]
    write_csv(out / "results.csv", COLUMNS, [{**dict.fromkeys(COLUMNS, ""), **row} for row in rows])
    draw(out / "results.png", rows, args.weights)
    print_table(rows)
    print(f"{images:,} images of {dataset.label}; wrote {out}/results.*")
    return 0


def made_for_quick(out):
    """A small network with random weights, and what compress.py would make of it."""
    model = models.resnet8(rng=0)
    preprocessing = {"mean": (0.5,) * 3, "std": (0.25,) * 3, "order": "RGB", "size": 32, "resize": 32}
    metadata = {"model": "resnet8", "classes": None, "source": "made here", "preprocessing": preprocessing}
    states = {"whole": model.state_dict(), "int8": quantized_state(model.state_dict())}
    states["half"] = prune_filters(model, 0.5)[0].state_dict()
    for name, state in states.items():
        pretrained.write(
            out / f"{name}.safetensors", state, {**metadata, "assumptions": ("classes",), "assumed": False}
        )
    return out / "whole.safetensors", [out / "half.safetensors", out / "int8.safetensors"]


def known_by(path):
    """What tells a file, or a run's folder, from others."""
    return [Path(path).stem, checkpoint.digest(pretrained.read(path)[0])]


def content_of(path):
    """The bytes of a file, or of the best model of a run."""
    return (path / "best.safetensors" if (path := Path(path)).is_dir() else path).read_bytes()


def loader_of(metadata, images, labels):
    """The batches of these images, as the network is to be given them."""
    preprocessing = metadata["preprocessing"]
    return data.Loader(images, labels, BATCH, mean=preprocessing["mean"], std=preprocessing["std"])


def tested(model, metadata, dataset, count, training=False):
    """{"accuracy", "loss"} on the first test images, or training images."""
    parts = (dataset.train_images, dataset.train_labels) if training else (dataset.test_images, dataset.test_labels)
    found = evaluate(model, loader_of(metadata, *(part[:count] for part in parts)), len(dataset.classes))
    return {"accuracy": found.accuracy, "loss": found.loss}


# The parts ----------------------------------------------------------------------------------------------------------


def bits(args, network, dataset, images):
    """8 bits, with a scale by channel and by layer, before and after batch norms are folded away."""
    model, metadata = network
    folded = fold(model.eval())
    ways = {"32 bits": (model, None), "8 bits, by channel": (model, True), "8 bits, by layer": (model, False)}
    ways |= {"8 bits, by channel, folded first": (folded, True), "8 bits, by layer, folded first": (folded, False)}
    return [
        {"way": way, **tested(in_8_bits(net, per_channel), metadata, dataset, images)}
        for way, (net, per_channel) in ways.items()
    ]


def in_8_bits(model, per_channel):
    """A copy whose weights went through 8 bits; per_channel None: as they are."""
    model = copy.deepcopy(model)
    for module in model.modules() if per_channel is not None else ():
        if isinstance(module, (Conv2d, Linear)):
            module.weight.data = dequantize(*quantize(module.weight.data, per_channel))
    return model


def zeros(args, network, dataset, images):
    """The smallest weights set to zero, of all layers together or of each, and nothing trained."""
    rows = []
    for scope in ("global", "layer"):
        for sparsity in SPARSITIES:
            model = copy.deepcopy(network[0])
            magnitude_prune(prunable(model), sparsity, scope)
            rows.append({"way": f"{sparsity:.0%} zeros, {scope}", **tested(model, network[1], dataset, images)})
            rows[-1]["zeros"] = sparsity_of(prunable(model))
    return rows


def stages(args, network, dataset, images):
    """Inner channels taken out of one stage alone, those of least L1 norm, and nothing trained; on training images."""
    model, metadata = network
    names = [convolution.partition(".")[0] for convolution, _, _ in inner_channels(model)]
    images = min(images, 1000)
    rows = [{"way": "whole", **tested(model, metadata, dataset, images, training=True)}]
    for stage in dict.fromkeys(names):
        for share in LEFT:
            kept = [
                np.sort(np.argsort(-score)[: round((share if name == stage else 1) * len(score))])
                for name, score in zip(names, filter_scores(model), strict=True)
            ]
            pruned = keep_channels(copy.deepcopy(model), kept)
            rows.append({"way": f"{share:.0%} of {stage}", **tested(pruned, metadata, dataset, images, training=True)})
    return rows


def files(args, network, dataset, images):
    """Each file's network: how good, how large, how fast, the first being --weights."""
    paths = [Path(args.weights), *map(Path, args.also)]
    networks = [network, *(pretrained.build(path) for path in args.also)]
    speeds = speed([model for model, _ in networks], QUICK["rounds"] if args.quick else ROUNDS)
    rows = []
    for path, (model, metadata), (images_per_second, times) in zip(paths, networks, speeds, strict=True):
        content = content_of(path)
        row = {"way": path.stem, **tested(model, metadata, dataset, images)}
        row |= {"bytes": len(content), "zipped": len(zlib.compress(content, 9)), "zeros": sparsity_of(prunable(model))}
        row |= {"multiply_adds": costs(model, SHAPE)[1], "images_per_second": images_per_second, "times": times}
        rows.append(row)
    return rows


def speed(networks, rounds):
    """(images a second, times those of the first) of each network: medians over rounds of one after the other."""
    folded = [fold(model.eval()) for model in networks]
    x = np.random.default_rng(0).standard_normal((BATCH, *SHAPE)).astype(np.float32)
    seconds = []
    with no_grad():
        for model in folded:
            model(x)  # the first time takes longer
        for _ in range(rounds):
            seconds.append([measured(model, x) for model in folded])
    first = [row[0] for row in seconds]
    return [
        (BATCH / statistics.median(own), statistics.median(a / b for a, b in zip(first, own, strict=True)))
        for own in zip(*seconds, strict=True)
    ]


def measured(model, x):
    """Seconds of one forward pass."""
    began = time.perf_counter()
    model(x)
    return time.perf_counter() - began


# Table and picture --------------------------------------------------------------------------------------------------


def print_table(rows):
    """A table of Markdown for each part."""
    for part in dict.fromkeys(row["part"] for row in rows):
        own = [row for row in rows if row["part"] == part]
        columns = [column for column in COLUMNS[1:] if column in own[-1]]
        print(f"\n| {part}: {' | '.join(columns)} |\n|{'---|' * len(columns)}")
        for row in own:
            print(f"| {' | '.join(text_of(column, row.get(column)) for column in columns)} |")
    print()


def text_of(column, value):
    """A cell of the table."""
    if value is None or isinstance(value, str):
        return value or ""
    if column in ("accuracy", "zeros"):
        return f"{value:.2%}"
    return f"{value:,.0f}" if column not in ("loss", "times") else f"{value:.{3 if column == 'loss' else 2}f}"


def draw(path, rows, weights):
    """Accuracy against bytes and against images a second; where there are no files, against the share of zeros."""
    of_files = [row for row in rows if row["part"] == "files"]
    faster = f"images/s, times those of {Path(weights).stem}"
    panels = [
        ("zipped", "bytes, zipped (thousands)", 1e-3),
        ("times", faster, 1),
    ]
    if not of_files:
        of_files, panels = [row for row in rows if "zeros" in row], [("zeros", "share of weights that are zero", 1)]
    figure = new_figure(5.2 * len(panels) if len(panels) > 1 else 7, 4.2)
    for axes, (column, label, factor) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for row, color in zip(of_files, _shared.COLORS * 9, strict=False):
            axes.plot(row[column] * factor, 100 * row["accuracy"], "o", color=color, label=row["way"])
        axes.set_xlabel(label)
        axes.grid(alpha=0.3)
    if of_files:
        axes.legend(fontsize=7)
    figure.supylabel("test accuracy, %", fontsize=10)
    write_png(figure, path)


if __name__ == "__main__":
    sys.exit(main())
