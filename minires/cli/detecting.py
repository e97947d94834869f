"""What detect.py's runs have of their own: the test of the best detector, and detectors that were saved."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minires import backend
from minires.cli.backbones import options_in
from minires.cli.console import none_for_nan
from minires.cli.recording import Recorder
from minires.cli.testing import conclude, load_best
from minires.cli.trained import Trained, load_trained
from minires.columns import padded
from minires.detection import build
from minires.detection.average_precision import precision_and_recall
from minires.detection.box_loader import BoxLoader
from minires.detection.task import DetectionEvaluation
from minires.inspection.pictures.detections import draw_detections
from minires.trainer import Trainer
from minires.wording import readable

CONFIDENT = 0.5  # the least score of a box that is drawn or printed


def test(
    trainer: Trainer, test_loader: BoxLoader, recorder: Recorder, config: Mapping[str, Any], trained: bool = True
) -> int:
    """Evaluate the best detector on the test images and write result.json and found.png; returns the exit code.

    trained, and the exit code: as `minires.cli.testing.test`.
    """
    epoch = load_best(trainer, trained)
    classes, label = config["classes"], config["dataset"]["label"]
    evaluation = trainer.evaluate(test_loader)
    lines = table(evaluation, test_loader, classes, label)
    pictures = {"found.png": lambda: picture(evaluation, test_loader, classes)}
    return conclude(trainer, recorder, config, epoch, figures(evaluation, classes, label), lines, pictures)


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


def load_detector(path: str | Path) -> Trained:
    """The detector in a run's checkpoint, or in the best.safetensors of its folder.

    Raises CheckpointError for anything else.
    """
    wanted = {"settings": {"model": str}, "dataset": {"label": str}}

    def make(config):
        return build(config["settings"]["model"], len(config["classes"]), **options_in(config))

    return load_trained(path, wanted, make, "detection")
