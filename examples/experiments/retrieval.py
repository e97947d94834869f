"""Pictures found by a network's features, by an untrained one's and by their pixels: how many are of the same class?

    python examples/experiments/retrieval.py --data-dir DIR --weights resnet20.safetensors     some minutes on one core
    python examples/experiments/retrieval.py --quick --data-dir DIR --weights FILE             does it run?

Every test image is the query once, and all other test images are searched, none of which the weights were trained on.
Precision at k: the share of the k nearest that are of the query's class, the mean over all queries. Then the time of an
exact search among 1,000,000 random vectors of 64 numbers. Writes results.csv, results.png and pictures/ into --out: the
first 1,000 test images as files, in which retrieve.py can look.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that a fresh clone runs without being installed

import _shared
import numpy as np

from minires import data, models, pretrained
from minires.cli import runs
from minires.cli.ensembles import answers
from minires.cli.recording import write_csv
from minires.data.images import Preprocessing
from minires.inspection.pictures.figures import new_figure, write_png
from minires.retrieval import precision_at, search, unit, without_head

TEST, QUICK_TEST = 10_000, 20
PICTURES = 1000
MANY, QUICK_MANY, WIDTH = 1_000_000, 1000, 64
KS, QUERIES = (1, 5, 10, 50), (1, 10, 100)
COLUMNS = ("vectors", "numbers", *(f"precision at {k}" for k in KS))


def command_line():
    """The parser."""
    parser = _shared.command_line(__doc__, [0])
    parser.add_argument("--weights", required=True, metavar="FILE", help="of a network for CIFAR-10")
    return parser


def main():
    """Run the command line; returns the exit code."""
    return runs.call(run, lambda: command_line().parse_args())


def run(args):
    """Measure, print, write; returns the exit code."""
    model, metadata = pretrained.build(args.weights)
    if metadata["preprocessing"]["size"] != 32:
        raise ValueError(
            f"--weights {args.weights}: for {metadata['preprocessing']['size']} pixels: give one for CIFAR-10"
        )
    out, dataset = _shared.prepare(args, "retrieval")
    images, labels = data.limit(dataset.test_images, dataset.test_labels, QUICK_TEST if args.quick else TEST)
    untrained = models.build(metadata["model"], metadata["num_classes"], rng=args.seeds[0], **metadata["options"])
    own = Preprocessing(**metadata["preprocessing"])
    mean = images.mean(axis=0, dtype=np.float64)
    vectors = {
        f"{metadata['model']}, trained": features(model, images, labels, own),
        f"{metadata['model']}, untrained": features(untrained, images, labels, own),
        "pixels": images.reshape(len(images), -1),
        "pixels less their mean": (images - mean).reshape(len(images), -1),
    }
    rows = [measured(name, unit(array), labels) for name, array in vectors.items()]
    write_csv(out / "results.csv", COLUMNS, rows)
    print_table(rows, metadata, dataset, len(images))
    write_png(draw(rows), out / "results.png")
    write_pictures(out / "pictures", images[:PICTURES], labels, dataset.classes)
    print_times(QUICK_MANY if args.quick else MANY)
    print(f"wrote {out}/results.* and {out}/pictures")
    return 0


def features(model, images, labels, own):
    """What stands before the last layer, (N, C)."""
    images = images if own.order == "RGB" else images[..., ::-1]
    loader = data.Loader(np.ascontiguousarray(images), labels, 500, own.mean, own.std)
    return answers(without_head(model), loader)[0]


def measured(name, vectors, labels):
    """A row of the table: each image's nearest but itself."""
    k = min(max(KS) + 1, len(vectors))
    numbers, _ = search(vectors, vectors, k)
    others = without_itself(numbers)
    found = {f"precision at {k}": precision_at(others[:, :k], labels, labels) for k in KS}
    return {"vectors": name, "numbers": vectors.shape[1], **found}


def without_itself(numbers):
    """(Q, k - 1): what was found for query q but q itself; where equals have crowded it out, without the last."""
    own = numbers == np.arange(len(numbers))[:, None]
    own[~own.any(axis=1), -1] = True
    return numbers[~own].reshape(len(numbers), -1)


def print_table(rows, metadata, dataset, count):
    """The rows as Markdown."""
    print(f"\n{count:,} test images of {dataset.label}; precision, %\n")
    print(f"| vectors | numbers | {' | '.join(f'at {k}' for k in KS)} |")
    print(f"|---|---|{'---|' * len(KS)}")
    for row in rows:
        figures = " | ".join(f"{100 * row[f'precision at {k}']:.1f}" for k in KS)
        print(f"| {row['vectors']} | {row['numbers']:,} | {figures} |")


def write_pictures(folder, images, labels, classes):
    """Each image as a PNG file, `cat-028.png`, with its class and its number."""
    from PIL import Image

    folder.mkdir(exist_ok=True)
    for number, (pixels, label) in enumerate(zip(images, labels, strict=False)):
        Image.fromarray(np.asarray(pixels)).save(folder / f"{classes[label]}-{number:03}.png")


def print_times(count):
    """How long an exact search takes among so many random vectors."""
    rng = np.random.default_rng(0)
    vectors = unit(rng.standard_normal((count, WIDTH), np.float32))
    print(f"\nsearch among {count:,} x {WIDTH}, {vectors.nbytes / 1e6:,.0f} MB:")
    for number in QUERIES:
        queries = unit(rng.standard_normal((number, WIDTH), np.float32))
        began = time.perf_counter()
        search(vectors, queries, 10)
        print(f"  {number:4d} queries at once: {time.perf_counter() - began:7.3f} s")


def draw(rows):
    """Precision by k, a line for each kind of vector."""
    figure = new_figure(6.4, 4)
    axes = figure.subplots()
    for row, color in zip(rows, _shared.COLORS, strict=False):
        axes.plot(KS, [100 * row[f"precision at {k}"] for k in KS], marker="o", color=color, label=row["vectors"])
    axes.axhline(10, color="#777777", linestyle="--", linewidth=1, label="ten classes, guessed")
    axes.set_xscale("log")
    axes.set_xticks(KS, [str(k) for k in KS])
    axes.set_xlabel("k, how many are looked at")
    axes.set_ylabel("of the query's class, %")
    axes.set_ylim(0, 100)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


if __name__ == "__main__":
    sys.exit(main())
