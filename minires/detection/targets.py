"""Which position is to find which object: a pure function, which no network has a part in.

Derivation: docs/detection.md.
"""

import numpy as np

from minires.detection.positions import Positions

BACKGROUND = -1


def assign_targets(
    boxes: np.ndarray, positions: Positions, radius: float = 1.5, reach: float = 2.0
) -> tuple[np.ndarray, np.ndarray]:
    """(labels, distances) of an image's positions.

    boxes (k, 5): x1, y1, x2, y2 in pixels, and the class.   labels (M,) int64: the class to be found, or BACKGROUND.
    distances (M, 4) float32: from the position to the left, top, right and bottom sides of its box; 1 where there is
    none.
    A position of stride s takes a box if it lies inside it, no further than radius * s from its middle, and if
    the box is of its level's size: the longest of the four distances is at most reach * s (any on the last level) and
    more than reach * s / 2 (any on the first). Of several boxes it takes the smallest, of equals the first.
    Source: Tian et al. 2019, section 3.1 and 3.2; near the middle: the paper's later form, section 4.1 of its journal
    version (Tian et al. 2020).
    """
    M, k = len(positions.x), len(boxes)
    if k == 0:
        return np.full(M, BACKGROUND, np.int64), np.ones((M, 4), np.float32)
    x, y, stride = (values[:, None] for values in positions)  # (M, 1), beside the boxes (k,)
    x1, y1, x2, y2 = boxes[:, :4].T
    distances = np.stack([x - x1, y - y1, x2 - x, y2 - y], axis=-1)  # (M, k, 4)
    inside = distances.min(axis=-1) > 0
    off_centre = np.maximum(abs(x - (x1 + x2) / 2), abs(y - (y1 + y2) / 2))
    longest = distances.max(axis=-1)
    large_enough = (longest > reach * stride / 2) | (stride == stride.min())
    small_enough = (longest <= reach * stride) | (stride == stride.max())
    takes = inside & (off_centre <= radius * stride) & large_enough & small_enough
    areas = np.where(takes, (x2 - x1) * (y2 - y1), np.inf)
    chosen = areas.argmin(axis=1)  # (M,)
    found = takes[np.arange(M), chosen]
    labels = np.where(found, boxes[chosen, 4].astype(np.int64), BACKGROUND)
    own = np.where(found[:, None], distances[np.arange(M), chosen], 1)
    return labels, own.astype(np.float32)
