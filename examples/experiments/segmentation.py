"""What the skip sums bring a segmentation network, and what weights that were trained on photographs of CIFAR bring it.

    python examples/experiments/segmentation.py --weights resnet20.th             twenty minutes on one core
    python examples/experiments/segmentation.py --weights resnet20.th --quick     does it run?

Each run is `segment.py` on drawn scenes with the network of these weights as its backbone: from scratch, from scratch
with the scores of the last stage alone, from the weights, and from the weights with nothing of the backbone trained.
All see the same scenes in the same order for each seed, and are tested on the same others. A run that has come to its
end is not done again, one that was interrupted goes on. Writes results.csv and results.png into --out.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that a fresh clone runs without being installed
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import _backbones
import segment

from minires import pretrained
from minires.cli import runs

SIZE = {"limit_train": 500, "limit_test": 300, "epochs": 10}
QUICK_SIZE = {"limit_train": 24, "limit_test": 8, "epochs": 2, "size": 32, "batch_size": 8}
HEAD = {
    "trained_parameters": "trained parameters",
    "mean_iou": "mean IoU, %",
    "pixel_accuracy": "pixel accuracy, %",
    "thin": "IoU of rings, %",
    "seconds": "training, s",
}


def main():
    """Run the command line; returns the exit code."""
    return runs.call(run, lambda: _backbones.command_line(__doc__, "segmentation").parse_args())


def run(args):
    """All runs, then the table and the picture; returns the exit code."""
    out = args.out or Path("runs") / f"experiment-segmentation{'-quick' if args.quick else ''}"
    out.mkdir(parents=True, exist_ok=True)
    _, metadata = pretrained.read(args.weights)
    new = {"model": metadata["model"], "options": metadata["options"]}
    ways = {
        "from scratch": new,
        "from scratch, no skips": {**new, "skips": False},
        "CIFAR weights": {"weights": args.weights},
        "CIFAR weights, frozen": {"weights": args.weights, "freeze": "backbone"},
    }
    results = _backbones.results_of(segment, out, ways, args.seeds, QUICK_SIZE if args.quick else SIZE)
    if isinstance(results, int):
        return results
    measured = {key: figures(*of_run) for key, of_run in results.items()}
    _backbones.write_results(out, measured, HEAD, "mean IoU of the validation scenes, %")
    return 0


def figures(result, config, log):
    """A row of the table, in percent, and the curve."""
    ious = {name: iou or 0.0 for name, iou in result["class_iou"]}
    return {
        "trained_parameters": config["trained_parameters"],
        "mean_iou": 100 * result["mean_iou"],
        "pixel_accuracy": 100 * result["pixel_accuracy"],
        "thin": 100 * ious["ring"],
        "seconds": result["seconds"],
        "curve": [100 * float(row["val_acc"]) for row in log],
    }


if __name__ == "__main__":
    sys.exit(main())
