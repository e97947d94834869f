"""What detect.py's runs have of their own: the test of the best detector, and detectors that were saved."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minires import backend, checkpoint
from minires.cli.console import none_for_nan
from minires.cli.output import note
from minires.cli.recording import Recorder
from minires.cli.testing import load_best
from minires.columns import padded
from minires.detection import Detector, build
from minires.detection.average_precision import precision_and_recall
from minires.detection.box_loader import BoxLoader
from minires.detection.task import DetectionEvaluation
from minires.inspection.pictures.detections import draw_detections
from minires.plain import check
from minires.trainer import Trainer
from minires.wording import readable

GIVE = "give a run of detect.py, or its best.safetensors"
CONFIDENT = 0.5  # the least score of a box that is drawn or printed


def test(
    trainer: Trainer, test_loader: BoxLoader, recorder: Recorder, config: Mapping[str, Any], trained: bool = True
) -> int:
    """Evaluate the best detector on the test images and write result.json and found.png; returns the exit code.

    trained, and the exit code: as `minires.cli.testing.test`.
    """
    epoch = load_best(trainer, trained)
    classes, position, label = config["classes"], trainer.position, config["dataset"]["label"]
    evaluation = trainer.evaluate(test_loader)
    result = {
        "run": config["run"],
        **figures(evaluation, classes, label),
        "model_of_epoch": epoch,
        "best_val_ap": position.best_val_acc,
        "epochs": position.epoch,
        "iterations": position.iteration,
        "seconds": position.seconds,
        "peak_memory_mb": backend.memory_peak(config["device"]) / 1e6,
    }
    tell = trainer.watcher.tell
    for line in table(evaluation, test_loader, classes, label):
        tell(line)
    written = recorder.result(result)
    if not written:
        tell(f"the result, to keep: {json.dumps(result)}")
    recorder.picture("found.png", lambda: picture(evaluation, test_loader, classes))
    for error in trainer.unsaved.values():
        note(f"{error}: the result stands; --resume {trainer.folder} makes up for it")
    chosen = "best on the validation images" if trainer.val_loader else "the last, as there are no validation images"
    tell(f"model of epoch {epoch} ({chosen}); {position.seconds:,.0f} s; results in {trainer.folder}")
    return 0 if written or getattr(sys.stdout, "lost", None) is None else 1


def figures(evaluation: DetectionEvaluation, classes: Sequence[str], label: str) -> dict[str, Any]:
    """What a test found, for a JSON file."""
    return {
        "test_loss": none_for_nan(evaluation.loss),
        "test_ap50": evaluation.accuracy,
        "class_ap50": {name: none_for_nan(value) for name, value in zip(classes, evaluation.class_ap, strict=True)},
        "class_ap75": {name: none_for_nan(value) for name, value in zip(classes, evaluation.class_ap75, strict=True)},
        "dataset": label,
    }


def table(evaluation: DetectionEvaluation, loader: BoxLoader, classes: Sequence[str], label: str) -> list[str]:
    """Lines: average precision of each class, and the mean."""
    counts = np.zeros(len(classes), int)
    for boxes in loader.boxes:
        counts += np.bincount(boxes[:, 4].astype(int), minlength=len(classes))
    lines = [f"{padded('class', 24)} objects   AP50   AP75"]
    for name, count, *of_class in zip(classes, counts, evaluation.class_ap, evaluation.class_ap75, strict=True):
        shown = "   ".join("   -" if np.isnan(value) else f"{value:.2f}" for value in of_class)
        lines.append(f"{padded(readable(name, 300), 24)} {count:7,d}   {shown}")
    ap75 = evaluation.class_ap75[~np.isnan(evaluation.class_ap75)]
    mean75 = f"{ap75.mean():.4f}" if len(ap75) else "-"
    images = f"{len(loader.boxes):,} test images of {label}"
    precision, recall = precision_and_recall(evaluation.found, loader.boxes, CONFIDENT)
    sure = (
        f"of scores from {CONFIDENT} up: {precision:.1%} of the boxes are right, {recall:.1%} of the objects are found"
    )
    return [
        *lines,
        sure,
        f"AP50 {evaluation.accuracy:.4f}, AP75 {mean75}, test loss {evaluation.loss:.4f}, on {images}",
    ]


def picture(evaluation: DetectionEvaluation, loader: BoxLoader, classes: Sequence[str], number: int = 12) -> Any:
    """A Figure of the first test images, with what was found in them and, in white, what there is."""
    images = list(backend.to_numpy(loader.images[:number]))
    found = [of_image.above(CONFIDENT) for of_image in evaluation.found[:number]]
    return draw_detections(images, found, classes, loader.boxes[:number])


class Saved(NamedTuple):
    """A detector that a run has saved; how its images are prepared (side, mean, standard deviation), its classes."""

    model: Detector
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]
    config: dict[str, Any]


_CONFIG: dict[str, Any] = {
    "settings": {"model": str, "size": int, "shortcut": str},
    "classes": [str],
    "normalisation": {"mean": [float], "std": [float]},
    "dataset": {"label": str},
}


def load_detector(path: str | Path) -> Saved:
    """The detector in a run's checkpoint, or in the best.safetensors of its folder.

    Raises CheckpointError for anything else.
    """
    path = Path(path)
    path = path / "best.safetensors" if path.is_dir() else path
    try:
        loaded = checkpoint.load(path)
    except checkpoint.DamagedError as error:
        raise checkpoint.CheckpointError(f"{error.trouble}: {GIVE}") from error
    config: Any = loaded.info.get("config")
    try:
        check(config, _CONFIG, "config")
        settings, normalisation = config["settings"], config["normalisation"]
        model = build(settings["model"], len(config["classes"]), settings["shortcut"])
        model.load_state_dict(loaded.kept)
    except (ValueError, TypeError) as error:
        raise checkpoint.CheckpointError(
            f"{readable(str(path), 300)}: holds no detector ({readable(str(error), 200)}): {GIVE}"
        ) from error
    mean, std = (tuple(normalisation[name]) for name in ("mean", "std"))
    return Saved(model.eval(), settings["size"], mean, std, tuple(config["classes"]), config)
