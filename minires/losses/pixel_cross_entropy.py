"""Cross-entropy at each pixel: a classifier that is asked as many questions as an image has pixels.

Derivation: docs/segmentation.md.
"""

from minires.backend import array_module
from minires.losses.cross_entropy import cross_entropy
from minires.types import Array, Backward

IGNORE = 255  # the label of a pixel that shall not count, as Pascal VOC's masks have it


def pixel_cross_entropy(
    logits: Array,
    labels: Array,
    label_smoothing: float = 0.0,
    ignore_index: int = IGNORE,
    weight: Array | None = None,
) -> tuple[Array, Backward]:
    """loss = mean over all pixels (n, i, j) that count of  -log softmax(logits[n, i, j])[labels[n, i, j]]

    logits (N, H, W, K) floating-point. labels: integers (N, H, W) in 0 .. K - 1, or ignore_index: a pixel that has no
    part in the loss, whose mean is over the others of the whole batch.
    label_smoothing, weight: as in `cross_entropy`, to which the pixels go as rows; with weights the mean is over them.
    Returns loss, a scalar of the logits' dtype and device, and backward(dloss=1) -> dlogits
    = dloss * (softmax - one_hot(labels)) / pixels that count; 0 at the others.
    Raises ValueError for shapes that do not fit, for a batch of which no pixel counts, and as `cross_entropy` does.
    Source: Long, Shelhamer, Darrell 2015, section 4.3.
    """
    array_module(logits, labels)
    if logits.ndim != 4 or labels.shape != logits.shape[:3]:
        raise ValueError(
            f"pixel_cross_entropy: logits have shape {logits.shape}, labels {labels.shape}: they must be "
            "(N, H, W, classes) and (N, H, W)"
        )
    shape = logits.shape
    rows = logits.reshape(-1, shape[3])  # (N, H, W, K) -> (N*H*W, K)
    loss, rows_backward = cross_entropy(rows, labels.reshape(-1), label_smoothing, ignore_index, weight)

    def backward(dloss=1):
        return rows_backward(dloss).reshape(shape)  # (N*H*W, K) -> (N, H, W, K)

    return loss, backward
