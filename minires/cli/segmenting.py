"""What segment.py's runs have of their own: the test of the best network, and networks that were saved."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minires import backend
from minires.cli.console import none_for_nan
from minires.cli.recording import Recorder
from minires.cli.testing import conclude, load_best
from minires.cli.trained import Trained, load_trained
from minires.columns import padded
from minires.inspection.pictures.masks import draw_masks
from minires.segmentation import MaskLoader, Segmented, build
from minires.trainer import Trainer
from minires.wording import readable

SHOWN = 6  # images in overlays.png


def test(
    trainer: Trainer, test_loader: MaskLoader, recorder: Recorder, config: Mapping[str, Any], trained: bool = True
) -> int:
    """Evaluate the best network on the test images and write result.json and overlays.png; returns the exit code.

    trained, and the exit code: as `minires.cli.testing.test`.
    """
    epoch = load_best(trainer, trained)
    classes, label = config["classes"], config["dataset"]["label"]
    answers: list[np.ndarray] = []

    def see(x, logits, labels):
        return backend.to_numpy(logits[:SHOWN].argmax(axis=3))

    found = trainer.evaluate(test_loader, look=see, take=answers.extend)
    images = list(backend.to_numpy(test_loader.images[:SHOWN])[..., :3])
    masks = {"what it is": list(test_loader.masks[:SHOWN]), "what the network says": answers[:SHOWN]}
    pictures = {"overlays.png": lambda: draw_masks(images, masks, classes)}
    lines = table(found, classes, label, len(test_loader.images))
    return conclude(trainer, recorder, config, epoch, figures(found, classes, label), lines, pictures)


def figures(found: Segmented, classes: Sequence[str], label: str) -> dict[str, Any]:
    """What a test found, for a JSON file."""
    return {
        "test_loss": none_for_nan(found.loss),
        "mean_iou": none_for_nan(found.mean_iou),
        "pixel_accuracy": none_for_nan(found.pixel_accuracy),
        "class_iou": [[name, none_for_nan(float(iou))] for name, iou in zip(classes, found.ious, strict=True)],
        "dataset": label,
    }


def table(found: Segmented, classes: Sequence[str], label: str, images: int) -> list[str]:
    """Lines: each class's share of the pixels and its intersection over union, and the means."""
    shares = found.counts.sum(axis=1) / max(1, found.counts.sum())
    lines = [f"{padded('class', 24)}  pixels     IoU"]
    for name, share, iou in zip(classes, shares, found.ious, strict=True):
        shown = "     -" if np.isnan(iou) else f"{iou:6.4f}"
        lines.append(f"{padded(readable(name, 300), 24)} {share:7.2%}  {shown}")
    means = f"mean IoU {found.mean_iou:.4f}, pixel accuracy {found.pixel_accuracy:.2%}, test loss {found.loss:.4f}"
    return [*lines, f"{means}, on {images:,} test images of {label}"]


def load_network(path: str | Path) -> Trained:
    """The network in a run's checkpoint, or in the best.safetensors of its folder.

    Raises CheckpointError for anything else.
    """
    wanted = {"settings": {"model": str, "skips": bool}, "options": dict, "measure": str}

    def make(config):
        settings = config["settings"]
        return build(settings["model"], len(config["classes"]), skips=settings["skips"], **config["options"])

    return load_trained(path, wanted, make, "segmentation")
