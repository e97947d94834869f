"""What weights that were trained on photographs of CIFAR bring a detector of drawn shapes: none, all, all but frozen.

    python examples/experiments/detection.py --weights resnet20.th             half an hour on one core
    python examples/experiments/detection.py --weights resnet20.th --quick     does it run?

Each run is `detect.py` with the network of these weights as its backbone: from scratch, from the weights, and from the
weights with nothing of the backbone trained. All see the same scenes in the same order for each seed, and are tested on
the same others. A run that has come to its end is not done again, one that was interrupted goes on. Writes results.csv
and results.png into --out.
"""

import csv
import json
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that a fresh clone runs without being installed
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import _shared
import detect

from minires import pretrained
from minires.cli import runs
from minires.cli.console import Parser
from minires.cli.recording import write_csv
from minires.inspection.pictures.figures import new_figure, write_png

SIZE = {"scenes": 500, "test_scenes": 500, "epochs": 16}
QUICK_SIZE = {"scenes": 24, "test_scenes": 4, "epochs": 2, "val_split": 4}
COLUMNS = ("run", "seed", "ap50", "ap75", "seconds", "trained_parameters")


def command_line():
    """The parser."""
    parser = Parser(description=__doc__)
    parser.add_argument("--weights", required=True, metavar="FILE", help="of a ResNet for CIFAR")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], metavar="N", help="default: 0 1")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: runs/experiment-detection, quick ones apart")
    parser.add_argument("--quick", action="store_true", help="all parts with few scenes, to see that it runs")
    return parser


def main():
    """Run the command line; returns the exit code."""
    return runs.call(run, lambda: command_line().parse_args())


def run(args):
    """All runs, then the table and the picture."""
    out = args.out or Path("runs") / f"experiment-detection{'-quick' if args.quick else ''}"
    out.mkdir(parents=True, exist_ok=True)
    _, metadata = pretrained.read(args.weights)
    ways = {
        "from scratch": {"model": metadata["model"], "shortcut": metadata["options"].get("shortcut", "A")},
        "CIFAR weights": {"weights": args.weights},
        "CIFAR weights, frozen": {"weights": args.weights, "freeze": "backbone"},
    }
    results = {}
    for seed in args.seeds:
        for name, way in ways.items():
            settings = {**way, **(QUICK_SIZE if args.quick else SIZE), "seed": seed}
            folder = out / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
            code = finish(folder, settings)
            if code:
                return code
            results[name, seed] = read_run(folder, settings)
    write_results(out, results)
    return 0


def finish(folder, settings):
    """Begin the run of this folder, or go on with it, unless it has come to its end; returns its exit code."""
    if (folder / "result.json").exists():
        return 0
    print(f"\n{folder}", flush=True)
    if (folder / "last.safetensors").exists():
        return detect.run({"resume": str(folder), "no_progress": True})
    return detect.run({**settings, "out": str(folder), "no_progress": True})


def read_run(folder, settings):
    """What a finished run's files say. Raises ValueError where they are of other settings."""
    result, config = (
        json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in ("result", "config")
    )
    for name in ("scenes", "test_scenes", "epochs", "seed"):
        if config["settings"][name] != settings[name]:
            raise ValueError(f"{folder} holds a run with another {name}: name another --out")
    with open(folder / "log.csv", newline="", encoding="utf-8") as file:
        curve = [100 * float(row["val_acc"]) for row in csv.DictReader(file)]
    ap75 = [value for value in result["class_ap75"].values() if value is not None]
    return {
        "ap50": 100 * result["test_ap50"],
        "ap75": 100 * statistics.mean(ap75),
        "seconds": result["seconds"],
        "trained_parameters": config["trained_parameters"],
        "curve": curve,
    }


def write_results(out, results):
    """A table on standard output, results.csv, and the validation images' AP by epoch as results.png."""
    rows = [{"run": run, "seed": seed, **result} for (run, seed), result in results.items()]
    write_csv(out / "results.csv", COLUMNS, rows)
    print("\n| backbone | trained parameters | AP50, % | AP75, % | training, s |\n|---|---|---|---|---|")
    figure = new_figure(6.5, 4)
    axes = figure.subplots()
    for run, color in zip(dict.fromkeys(run for run, _ in results), _shared.COLORS, strict=False):
        of_run = [result for (name, _), result in results.items() if name == run]
        cells = [_shared.spread([result[key] for result in of_run]) for key in ("ap50", "ap75")]
        seconds = statistics.mean(result["seconds"] for result in of_run)
        print(f"| {run} | {of_run[0]['trained_parameters']:,} | {cells[0]} | {cells[1]} | {seconds:.0f} |")
        curves = [result["curve"] for result in of_run]
        epochs = range(1, len(curves[0]) + 1)
        axes.plot(epochs, [statistics.mean(values) for values in zip(*curves, strict=True)], color=color, label=run)
        least, most = ([choose(values) for values in zip(*curves, strict=True)] for choose in (min, max))
        axes.fill_between(epochs, least, most, color=color, alpha=0.15, lw=0)
    axes.set_xlabel("epoch")
    axes.set_ylabel("AP50 of the validation scenes, %")
    axes.grid(alpha=0.3)
    axes.legend()
    write_png(figure, out / "results.png")
    print(f"mean of the seeds (least to largest), on the test scenes; wrote {out}/results.*")


if __name__ == "__main__":
    sys.exit(main())
