"""What a segmentation is worth: mean intersection over union, and the share of pixels that are right.

Derivation: docs/segmentation.md.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minires.backend import to_numpy
from minires.inspection.explain import confusion_matrix
from minires.losses.pixel_cross_entropy import IGNORE, pixel_cross_entropy
from minires.models.fold import fold
from minires.modes import evaluating, no_grad
from minires.module import Module
from minires.precision import use_tf32
from minires.ranks.alone import ALONE, Ranks
from minires.training import Interrupted
from minires.types import Array


def count_pixels(labels: np.ndarray, answers: np.ndarray, num_classes: int, ignore_index: int = IGNORE) -> np.ndarray:
    """counts int64 (K, K): counts[i, j] pixels of class i were taken for class j, the ignored ones left out.

    labels, answers: integers of one shape, labels in 0 .. K - 1 or ignore_index, answers in 0 .. K - 1.
    Raises ValueError for shapes that differ and for numbers out of range.
    """
    if labels.shape != answers.shape:
        raise ValueError(f"count_pixels: labels have shape {labels.shape}, answers {answers.shape}: must be equal")
    counted = labels != ignore_index
    return confusion_matrix(labels[counted].astype(np.int64), answers[counted], num_classes)


@dataclass(frozen=True)
class Segmented:
    """Mean loss of a set's pixels, and counts int64 (K, K): so many pixels of class i were taken for class j."""

    loss: float
    counts: np.ndarray

    @property
    def ious(self) -> np.ndarray:
        """float64 (K,), of each class |both| / |either|: counts[k, k] / (row k + column k - counts[k, k]).

        NaN for a class that is in no mask and in no answer.
        """
        both = np.diag(self.counts)
        either = self.counts.sum(axis=1) + self.counts.sum(axis=0) - both
        return np.where(either > 0, both / np.maximum(either, 1), np.nan)

    @property
    def mean_iou(self) -> float:
        """The mean of the classes' intersections over unions, of those that have one."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of no class at all: NaN
            return float(np.nanmean(self.ious))

    @property
    def pixel_accuracy(self) -> float:
        """The share of pixels that are right; NaN where there is none."""
        total = int(self.counts.sum())
        return int(np.trace(self.counts)) / total if total else float("nan")

    @property
    def accuracy(self) -> float:
        """What a Trainer chooses the best epoch by: the mean intersection over union."""
        return self.mean_iou


def evaluate_masks(
    model: Module,
    loader: Any,
    num_classes: int,
    should_stop: Callable[[], bool] = lambda: False,
    look: Callable[[Array, Array, Array], Any] = lambda x, logits, labels: None,
    take: Callable[[Any], Any] = lambda seen: None,
    ranks: Ranks = ALONE,
) -> Segmented:
    """A Segmented of `model` in inference mode on all batches of `loader`, (x, masks); leaves the model as it was.

    It takes the place of `training.evaluate` and is called as that is, by one process.
    Raises Interrupted when should_stop() says so.
    """
    loss_sum, counts = 0.0, np.zeros((num_classes, num_classes), np.int64)
    with evaluating(model), no_grad():
        folded = use_tf32(fold(model), False)
        for x, labels in loader.epoch(0):
            if should_stop():
                raise Interrupted
            logits, _ = folded(x)
            masks = to_numpy(labels)
            counted = int((masks != IGNORE).sum())
            if counted:
                loss_sum += float(pixel_cross_entropy(logits, labels)[0]) * counted
            counts += count_pixels(masks, to_numpy(logits.argmax(axis=3)), num_classes)
            take(look(x, logits, labels))
    pixels = int(counts.sum())
    return Segmented(loss_sum / pixels if pixels else float("nan"), counts)
