"""Detection as a Task of a Trainer: the loss, what counts as right, and average precision."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from minires.backend import array_module, to_numpy
from minires.detection.average_precision import Detections, average_precision
from minires.detection.decoding import decode
from minires.detection.loss import Targets, detection_loss
from minires.detection.targets import BACKGROUND
from minires.modes import evaluating, no_grad
from minires.module import Module
from minires.ranks.alone import ALONE, Ranks
from minires.task import Task
from minires.training import Interrupted
from minires.types import Array, Backward


class DetectionEvaluation(NamedTuple):
    """loss: mean over the images.   accuracy: the mean of class_ap, average precision at IoU 0.5 of each class, NaN
    aside.   class_ap75: the same at IoU 0.75.   found: in each image, in the loader's order.
    """

    loss: float
    accuracy: float
    class_ap: np.ndarray
    class_ap75: np.ndarray
    found: list[Detections]


class DetectionTask(Task):
    """`detection_loss`; each position with an object is an answer, right if it rates the object's class highest."""

    measure = "AP"

    def loss(self, y: Array, targets: Targets) -> tuple[Array, Backward]:
        return detection_loss(y, targets)

    def count_right(self, y: Array, targets: Targets) -> Array:
        return (y[..., :-4].argmax(axis=-1) == targets.labels).sum()

    def count_answers(self, targets: Targets) -> Array:
        """Never 0: a batch without objects counts as one answer, and a wrong one."""
        return array_module(targets.labels).maximum((targets.labels != BACKGROUND).sum(), 1)

    def evaluate(
        self,
        model: Module,
        loader: Any,
        num_classes: int,
        should_stop: Callable[[], bool] = lambda: False,
        ranks: Ranks = ALONE,
    ) -> DetectionEvaluation:
        total, found = 0.0, []
        with evaluating(model), no_grad():
            for x, targets in loader.epoch(0):
                if should_stop():
                    raise Interrupted
                y, _ = model(x)
                total += float(detection_loss(y, targets)[0]) * len(x)
                found += [decode(one, loader.positions, x.shape[1]) for one in to_numpy(y)]
        ap50, ap75 = (average_precision(found, loader.boxes, num_classes, threshold) for threshold in (0.5, 0.75))
        return DetectionEvaluation(total / len(found), mean_of(ap50), ap50, ap75, found)


def mean_of(class_ap: np.ndarray) -> float:
    """The mean of the classes that have objects; 0 where none has."""
    known = class_ap[~np.isnan(class_ap)]
    return float(known.mean()) if len(known) else 0.0
