"""What a segmentation network is trained for: the class of each pixel."""

from typing import Any

from minires.backend import count_largest, widened
from minires.losses.pixel_cross_entropy import IGNORE, pixel_cross_entropy
from minires.segmentation.measures import Segmented, evaluate_masks
from minires.task import Task
from minires.types import Array, Operation


class Segmentation(Task):
    """A criterion of `train_step` and Trainer: targets are masks (N, H, W), whose pixels are classes or IGNORE.

    The training accuracy is the share of right pixels among those that count; the best epoch is the one with the
    highest mean intersection over union.
    """

    measure = "IoU"

    def __call__(self, x: Array) -> Operation:
        """`pixel_cross_entropy`, with the label smoothing and the class weights that it is called with."""
        return pixel_cross_entropy

    def count_right(self, y: Array, targets: Array) -> Array:
        """How many pixels are right; one that does not count never is, since its label is no class."""
        rows = y.reshape(-1, y.shape[-1])
        return count_largest(rows.astype(widened(rows.dtype), copy=False), targets.reshape(-1))

    def count_answers(self, targets: Array) -> Array:
        """How many pixels count."""
        return (targets != IGNORE).sum()

    def evaluate(self, model: Any, loader: Any, num_classes: int, **options: Any) -> Segmented:  # type: ignore[override]
        """`evaluate_masks`."""
        return evaluate_masks(model, loader, num_classes, **options)
