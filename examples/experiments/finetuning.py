"""What pretrained weights are worth: fine-tuning, training the head alone, and training from scratch.

    python examples/experiments/finetuning.py cifar --weights resnet20.th --data-dir DIR     hours on two cores
    python examples/experiments/finetuning.py shapes --weights resnet20.th                   half an hour
    python examples/experiments/finetuning.py shapes --weights resnet20.th --quick           a minute: does it run?

cifar: the weights' own task, on the CIFAR-10 at hand: three epochs of all training images.
shapes: another task: shapes drawn by code, with 10, 50 and 200 pictures of each of ten classes, tested on 100 of each.

Every run is one of examples/finetune.py in a folder of its own; one that has come to its end is not done again. Writes
results.csv and results.png into --out.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that a fresh clone runs without being installed

import numpy as np

from minires import data
from minires.cli import runs
from minires.cli.console import Parser
from minires.cli.recording import write_csv
from minires.inspection.pictures.figures import new_figure, write_png

FINETUNE = Path(__file__).resolve().parents[1] / "finetune.py"
WAYS = {  # flags of finetune.py
    "fine-tuned": [],
    "head alone": ["--freeze", "backbone", "--head", "new"],
    "from scratch": ["--from-scratch"],
}
COUNTS = (10, 50, 200)
BATCH_SIZE, STEPS = 32, 300  # of the small task: as many steps whatever the number of pictures


def main():
    """Run the command line; returns the exit code."""
    return runs.call(run, lambda: command_line().parse_args())


def run(args):
    """Do the runs that are missing, then the table and the picture; returns the exit code."""
    out = args.out or Path("runs") / f"finetuning-{args.task}"
    rows = (cifar if args.task == "cifar" else shapes)(args, out)
    write(rows, out, args.task)
    return 0


def cifar(args, out):
    """Rows (way, "all", seed, accuracy) of three epochs on CIFAR-10."""
    flags = ["--epochs", 3, *(["--data-dir", args.data_dir] if args.data_dir else [])]
    flags += ["--limit-train", 300, "--limit-test", 200] if args.quick else []
    return [
        (way, "all", seed, accuracy(args.weights, out / f"{way}-{seed}", [*WAYS[way], *flags, "--seed", seed]))
        for seed in args.seeds
        for way in WAYS
    ]


def shapes(args, out):
    """Rows (way, pictures of a class, seed, accuracy) on folders of pictures, which are drawn first."""
    test = draw(out / "pictures" / "test", 10 if args.quick else 100, seed=1000)
    rows = []
    for seed in args.seeds:
        for count in COUNTS[:1] if args.quick else COUNTS:
            folder = draw(out / "pictures" / f"{count}-{seed}", count, seed)
            epochs = 1 if args.quick else -(-STEPS // -(-10 * count // BATCH_SIZE))
            flags = ["--image-folder", folder, "--test-folder", test, "--val-split", 0, "--epochs", epochs]
            flags += ["--batch-size", BATCH_SIZE, "--seed", seed, "--head", "new"]
            for way in WAYS:
                folder = out / f"{way}-{count}-{seed}"
                rows.append((way, count, seed, accuracy(args.weights, folder, [*WAYS[way], *flags])))
    return rows


def draw(folder, count, seed):
    """A folder with `count` pictures of each shape, unless it is there."""
    from PIL import Image

    if not folder.exists():
        dataset = data.make_synthetic(train=10 * count, test=1, seed=seed)
        for index, (image, label) in enumerate(zip(dataset.train_images, dataset.train_labels, strict=True)):
            path = folder / dataset.classes[label] / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    return folder


def accuracy(weights, folder, flags):
    """The test accuracy of a run of finetune.py, which is done if it has not been; where it fails, so does this."""
    if not (folder / "result.json").exists():
        went_on = ["--resume", folder] if (folder / "last.safetensors").exists() else None
        command = went_on or ["--weights", weights, "--out", folder, *flags]
        command = [sys.executable, FINETUNE, *command, "--no-progress"]
        if code := subprocess.run([str(word) for word in command], check=False).returncode:
            sys.exit(code)  # it has said why
    return json.loads((folder / "result.json").read_text())["test_acc"]


def write(rows, out, task):
    """results.csv, results.png, and the table on standard output."""
    write_csv(out / "results.csv", ("way", "images of a class", "seed", "test_acc"), rows)
    counts = list(dict.fromkeys(count for _, count, _, _ in rows))
    print(f"\n{'':14}" + "".join(f"{count!s:>26}" for count in counts))
    for way in WAYS:
        cells = []
        for count in counts:
            found = [100 * accuracy for one, n, _, accuracy in rows if (one, n) == (way, count)]
            cells.append(f"{statistics.mean(found):.2f} ({min(found):.2f} to {max(found):.2f})")
        print(f"{way:14}" + "".join(f"{cell:>26}" for cell in cells))
    print(
        f"test accuracy in %, mean of {len({row[2] for row in rows})} seeds (least to largest); wrote {out}/results.*"
    )
    draw_bars(rows, counts, out / "results.png", task)


def draw_bars(rows, counts, path, task):
    """Mean test accuracy as bars, with a dot for each seed."""
    figure = new_figure(7.5, 4)
    axes = figure.subplots()
    for index, (way, color) in enumerate(zip(WAYS, ("#1f77b4", "#2ca02c", "#999999"), strict=True)):
        found = [[100 * accuracy for one, n, _, accuracy in rows if (one, n) == (way, count)] for count in counts]
        at = np.arange(len(counts)) + 0.27 * (index - 1)
        axes.bar(at, [statistics.mean(values) for values in found], 0.25, color=color, label=way)
        for place, values in zip(at, found, strict=True):
            axes.plot([place] * len(values), values, "k.", markersize=4)
    axes.set_xticks(range(len(counts)), [str(count) for count in counts])
    axes.set_xlabel("training images" if task == "cifar" else "training images of each class")
    axes.set_ylabel("test accuracy, %")
    axes.grid(axis="y", alpha=0.3)
    axes.legend()
    write_png(figure, path)


def command_line():
    """The parser."""
    parser = Parser(description=__doc__)
    parser.add_argument("task", choices=["cifar", "shapes"])
    parser.add_argument("--weights", type=Path, required=True, metavar="FILE", help="of a network for 32x32 pixels")
    parser.add_argument("--data-dir", metavar="DIR", help="folder with CIFAR-10")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: runs/finetuning-TASK")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N", help="default: 0 1 2")
    parser.add_argument("--quick", action="store_true", help="few images, to see that it runs")
    return parser


if __name__ == "__main__":
    sys.exit(main())
