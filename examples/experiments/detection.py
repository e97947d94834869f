"""What weights that were trained on photographs of CIFAR bring a detector of drawn shapes: none, all, all but frozen.

    python examples/experiments/detection.py --weights resnet20.th             ten minutes on one core
    python examples/experiments/detection.py --weights resnet20.th --quick     does it run?

Each run is `detect.py` with the network of these weights as its backbone: from scratch, from the weights, and from the
weights with nothing of the backbone trained. All see the same scenes, of 32x32 pixels, in the same order for each seed,
and are tested on the same others. A run that has come to its end is not done again, one that was interrupted goes on.
Writes results.csv and results.png into --out.
"""

import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that a fresh clone runs without being installed
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import _backbones
import detect

from minires import pretrained
from minires.cli import runs

SIZE = {"scenes": 500, "test_scenes": 500, "size": 32, "epochs": 20}
QUICK_SIZE = {"scenes": 24, "test_scenes": 4, "size": 32, "epochs": 2, "val_split": 4}
HEAD = {"trained_parameters": "trained parameters", "ap50": "AP50, %", "ap75": "AP75, %", "seconds": "training, s"}


def main():
    """Run the command line; returns the exit code."""
    return runs.call(run, lambda: _backbones.command_line(__doc__, "detection").parse_args())


def run(args):
    """All runs, then the table and the picture; returns the exit code."""
    out = args.out or Path("runs") / f"experiment-detection{'-quick' if args.quick else ''}"
    out.mkdir(parents=True, exist_ok=True)
    _, metadata = pretrained.read(args.weights)
    new = {"model": metadata["model"], "options": metadata["options"]}
    ways = {
        "from scratch": new,
        "CIFAR weights": {"weights": args.weights},
        "CIFAR weights, frozen": {"weights": args.weights, "freeze": "backbone"},
    }
    results = _backbones.results_of(detect, out, ways, args.seeds, QUICK_SIZE if args.quick else SIZE)
    if isinstance(results, int):
        return results
    measured = {key: figures(*of_run) for key, of_run in results.items()}
    _backbones.write_results(out, measured, HEAD, "AP50 of the validation scenes, %")
    return 0


def figures(result, config, log):
    """A row of the table, in percent, and the curve."""
    ap75 = [value for value in result["class_ap75"].values() if value is not None]
    return {
        "trained_parameters": config["trained_parameters"],
        "ap50": 100 * result["test_ap50"],
        "ap75": 100 * statistics.mean(ap75),
        "seconds": result["seconds"],
        "curve": [100 * float(row["val_acc"]) for row in log],
    }


if __name__ == "__main__":
    sys.exit(main())
