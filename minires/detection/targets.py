"""Which position is to find which object: a pure function, which no network has a part in.

Derivation: docs/detection.md.
"""

import numpy as np

from minires.detection.positions import Positions

BACKGROUND = -1


def assign_targets(
    boxes: np.ndarray, positions: Positions, radius: float = 1.5, reach: float = 4.0
) -> tuple[np.ndarray, np.ndarray]:
    """(labels, distances) of an image's positions.

    boxes (k, 5): x1, y1, x2, y2 in pixels, and the class.   labels (M,) int64: the class to be found, or BACKGROUND.
    distances (M, 4) float32: from the position to the left, top, right and bottom sides of its box; 1 where there is
    none.
    A box is of one level, by its longer side: at most reach * stride (any on the last level) and more than half of that
    (any on the first). A position of its level takes it if it lies inside, no further than radius * stride from its
    middle. Of several boxes a position takes the smallest, of equals the first.
    Source: Tian et al. 2019, section 3.1 and 3.2; near the middle alone: Tian et al. 2020, section 4.1. They choose the
    level by the longest distance, position by position, and a box of a size between two levels may be left to none.
    """
    chosen = choose(boxes, positions, radius, reach)
    has_box = chosen >= 0
    if not len(boxes):
        boxes = np.zeros((1, 5))  # of which no position takes any
    own = boxes[chosen]  # (M, 5)
    labels = np.where(has_box, own[:, 4].astype(np.int64), BACKGROUND)
    distances = np.where(has_box[:, None], _distances(own, positions), 1)
    return labels, distances.astype(np.float32)


def choose(boxes: np.ndarray, positions: Positions, radius: float = 1.5, reach: float = 4.0) -> np.ndarray:
    """(M,): which box each position takes, its number, or -1. As `assign_targets` says."""
    if not len(boxes):
        return np.full(len(positions.x), -1)
    x, y, stride = (values[:, None] for values in positions)  # (M, 1), beside the boxes (k,)
    x1, y1, x2, y2 = boxes[:, :4].T
    distances = _distances(boxes[None], positions)  # (M, k, 4)
    inside = distances.min(axis=-1) > 0
    off_centre = np.maximum(abs(x - (x1 + x2) / 2), abs(y - (y1 + y2) / 2))
    longer = np.maximum(x2 - x1, y2 - y1)
    large_enough = (longer > reach * stride / 2) | (stride == stride.min())
    small_enough = (longer <= reach * stride) | (stride == stride.max())
    takes = inside & (off_centre <= radius * stride) & large_enough & small_enough
    areas = np.where(takes, (x2 - x1) * (y2 - y1), np.inf)
    return np.where(takes.any(axis=1), areas.argmin(axis=1), -1)


def left_without(boxes: np.ndarray, positions: Positions) -> int:
    """How many of an image's boxes no position takes: too small or narrow, or hidden behind smaller ones."""
    chosen = choose(boxes, positions)
    return len(boxes) - len(np.unique(chosen[chosen >= 0]))


def _distances(boxes, positions):
    """From the positions (M,) to the sides of boxes (M or 1, ..., 5): (M, ..., 4)."""
    x, y = (values.reshape(-1, *[1] * (boxes.ndim - 2)) for values in (positions.x, positions.y))
    x1, y1, x2, y2 = (boxes[..., side] for side in range(4))
    return np.stack([x - x1, y - y1, x2 - x, y2 - y], axis=-1)
