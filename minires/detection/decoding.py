"""From what a detector says at its positions to the boxes that it has found."""

import numpy as np

from minires import textbook
from minires.detection.average_precision import Detections
from minires.detection.boxes import nms
from minires.detection.positions import Positions

LEAST_SCORE, MOST = 0.05, 100


def decode(
    y: np.ndarray,
    where: Positions,
    size: int,
    least_score: float = LEAST_SCORE,
    iou_threshold: float = 0.5,
    most: int = MOST,
) -> Detections:
    """The Detections of one image of size x size pixels, from y (M, num_classes + 4) on the host.

    A score is the probability of one class at one position; those below least_score are nothing. A box is
    x - l, y - t, x + r, y + b, cut off at the image's edges. Of boxes that overlap, `nms` keeps one a class; of all
    that are left, the `most` best stay.
    """
    y = y.astype(np.float64)
    scores, _ = textbook.sigmoid(y[:, :-4])
    place, labels = np.nonzero(scores >= least_score)
    l, t, r, b = y[place, -4:].T
    boxes = np.stack([where.x[place] - l, where.y[place] - t, where.x[place] + r, where.y[place] + b], axis=-1)
    boxes, of_them = np.clip(boxes, 0, size), scores[place, labels]
    kept = nms(boxes, of_them, labels, iou_threshold)[:most]
    return Detections(boxes[kept], of_them[kept], labels[kept])
