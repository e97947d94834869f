"""What a detector is trained for: focal loss of the classes, and GIoU of the boxes at the positions that have one."""

from typing import NamedTuple

from minires.backend import array_module
from minires.detection.targets import BACKGROUND
from minires.losses import giou_loss, sigmoid_focal_loss
from minires.types import Array, Backward


class Targets(NamedTuple):
    """Of a batch, as `assign_targets` gives them: labels (N, M), classes or BACKGROUND, and distances (N, M, 4)."""

    labels: Array
    distances: Array


def detection_loss(y: Array, targets: Targets, alpha: float = 0.25, gamma: float = 2.0) -> tuple[Array, Backward]:
    """loss = (sum of the focal losses of all logits + sum of 1 - GIoU at positions with an object) / number of these

    y (N, M, num_classes + 4): logits and distances, as a Detector gives them. A batch without any object is divided
    by 1. Returns loss and backward(dloss=1) -> dy.
    Source: Tian et al. 2019, equation 2; GIoU in place of IoU: section 4.1.1 of its journal version.
    """
    xp, classes = array_module(y), y.shape[-1] - 4
    wanted = targets.labels[..., None] == xp.arange(classes)  # (N, M, num_classes), nothing where BACKGROUND
    has_object = (targets.labels != BACKGROUND).astype(y.dtype)
    divisor = xp.maximum(has_object.sum(), 1)
    what, what_backward = sigmoid_focal_loss(
        xp.ascontiguousarray(y[..., :classes]), wanted, alpha, gamma, divisor=divisor
    )
    where, where_backward = giou_loss(
        xp.ascontiguousarray(y[..., classes:]), targets.distances.astype(y.dtype, copy=False), has_object, divisor
    )

    def backward(dloss=1):
        return xp.concatenate([what_backward(dloss), where_backward(dloss)], axis=-1)

    return what + where, backward
