"""Average precision: one number for how many objects are found, how well they are told from nothing, and how soon.

Derivation and an example by hand: docs/detection.md.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from minires.detection.boxes import box_iou


class Detections(NamedTuple):
    """What was found in an image: boxes (n, 4) x1, y1, x2, y2; scores (n,), the best first; labels (n,) int64."""

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray

    def above(self, least_score: float) -> "Detections":
        """Those of at least this score."""
        return Detections(*(values[self.scores >= least_score] for values in self))


def average_precision(
    found: Sequence[Detections],
    true: Sequence[np.ndarray],
    num_classes: int,
    iou_threshold: float = 0.5,
    points: int | None = 101,
) -> np.ndarray:
    """(num_classes,) float64: a class's average precision, NaN where the images have no object of it.

    found: of each image.   true: of each image its boxes (k, 5), x1, y1, x2, y2 and the class.
    A class's detections of all images go by their scores. Each takes, of its image's objects that none has taken yet,
    the one that it overlaps most, if by iou_threshold or more; it is right then, and wrong otherwise.
    points: the mean precision at so many recalls from 0 to 1, 101 as COCO has it; None: the area below the curve, as
    Pascal VOC has it since 2010. Precision at recall r is the best at r or more, 0 where that is not reached.
    Source: Everingham et al. 2010, section 4.2; Lin et al. 2014 and its evaluation, cocoapi's cocoeval.py.
    """
    if len(found) != len(true):
        raise ValueError(f"average_precision: {len(found)} images looked at, {len(true)} with objects: must be equal")
    return np.array([_of_class(found, true, label, iou_threshold, points) for label in range(num_classes)])


def _of_class(found, true, label, iou_threshold, points):
    objects = sum(int((boxes[:, 4] == label).sum()) for boxes in true)
    if objects == 0:
        return np.nan
    scores, right = [np.zeros(0)], [np.zeros(0, bool)]
    for of_image, boxes in zip(found, true, strict=True):
        own = of_image.labels == label
        scores.append(of_image.scores[own])
        right.append(match(of_image.boxes[own], of_image.scores[own], boxes[boxes[:, 4] == label, :4], iou_threshold))
    order = np.argsort(-np.concatenate(scores), kind="stable")
    return area(np.concatenate(right)[order], objects, points)


def precision_and_recall(
    found: Sequence[Detections], true: Sequence[np.ndarray], least_score: float, iou_threshold: float = 0.5
) -> tuple[float, float]:
    """(share of the boxes of at least this score that are right, share of the objects that they find), all classes."""
    right = boxes = 0
    for of_image, objects in zip(found, true, strict=True):
        sure = of_image.above(least_score)
        for label in np.unique(sure.labels):
            own = sure.labels == label
            its = objects[objects[:, 4] == label, :4]
            right += int(match(sure.boxes[own], sure.scores[own], its, iou_threshold).sum())
        boxes += len(sure.labels)
    return right / max(boxes, 1), right / max(sum(map(len, true)), 1)


def match(boxes: np.ndarray, scores: np.ndarray, objects: np.ndarray, iou_threshold: float) -> np.ndarray:
    """(n,) bool: which of an image's boxes (n, 4) of a class are right, in their order; objects (k, 4)."""
    right, left = np.zeros(len(boxes), bool), box_iou(boxes, objects)
    for n in np.argsort(-scores, kind="stable") if len(objects) else ():
        best = left[n].argmax()
        if left[n, best] >= iou_threshold:
            right[n] = True
            left[:, best] = -1  # taken
    return right


def area(right: np.ndarray, objects: int, points: int | None = 101) -> float:
    """Average precision of detections that are right or wrong, the best first, of so many objects."""
    hits = np.cumsum(right)
    recall, precision = hits / objects, hits / np.arange(1, len(right) + 1)
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]  # at this recall or more
    if points is None:
        return float((best_from_here * np.diff(recall, prepend=0)).sum())
    at = np.searchsorted(recall, np.linspace(0, 1, points))
    return float(np.append(best_from_here, 0)[at].mean())
