"""Boxes x1, y1, x2, y2: how much two of them overlap, and which of many are one object's."""

import numpy as np


def box_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """iou[i, j] = area of the intersection / area of the union,  0 where both are empty.   (n, 4), (m, 4) -> (n, m)"""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    intersection = np.maximum(high - low, 0).prod(axis=-1)
    union = _areas(first)[:, None] + _areas(second)[None] - intersection
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)


def _areas(boxes):
    return np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(axis=-1)


def nms(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, iou_threshold: float = 0.5) -> np.ndarray:
    """Non-maximum suppression: the numbers of the boxes that are kept, the best first.

    boxes (n, 4), scores (n,), labels (n,): classes, each of which is treated by itself. The best box is kept, and all
    that overlap it by more than iou_threshold are dropped; of what is left likewise, until nothing is. Of equal scores
    the first comes first.
    """
    order = np.argsort(-scores, kind="stable")
    kept = []
    while len(order):
        best, others = order[0], order[1:]
        kept.append(best)
        same_object = (box_iou(boxes[best][None], boxes[others])[0] > iou_threshold) & (labels[others] == labels[best])
        order = others[~same_object]
    return np.array(kept, np.int64)
