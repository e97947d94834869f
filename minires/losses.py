"""Losses: `loss, backward = cross_entropy(logits, labels)`; `backward()` gives dlogits of the mean loss.

Derivation: docs/losses.md.
"""

from minires.backend import array_module
from minires.layers.checks import check_float, check_not_empty


def cross_entropy(logits, labels, label_smoothing=0.0):
    """loss = mean over n of  -sum_c t[n, c] * log softmax(logits[n])[c]

    logits (N, classes) floating-point. labels: integers (N,) in 0 .. classes - 1, for which t is one-hot, or t itself
    (N, classes), soft or one-hot. label_smoothing s in [0, 1]: t becomes (1 - s) * t + s / classes.
    Returns loss, a scalar of the logits' dtype and device, and backward(dloss=1) -> dlogits
    = dloss * (softmax * sum_c t - t) / N. Stable, since the largest logit is subtracted first.
    Raises ValueError for an empty batch, shapes that do not fit and labels out of range.
    Source: Goodfellow et al. 2016, section 6.2.2.3; label smoothing: Szegedy et al. 2016, section 7.
    """
    xp = array_module(logits, labels)
    check_not_empty("cross_entropy", logits)
    check_float("cross_entropy", logits)
    if logits.ndim != 2:
        raise ValueError(f"cross_entropy: logits must have shape (N, classes), got {logits.shape}")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing must be in [0, 1], got {label_smoothing}")
    N, classes = logits.shape
    t = _targets(xp, labels, logits)
    if label_smoothing:
        t = (1 - label_smoothing) * t + label_smoothing / classes
    shifted = logits - logits.max(axis=1, keepdims=True)
    exponentials = xp.exp(shifted)
    total = exponentials.sum(axis=1, keepdims=True)
    loss = (t * (xp.log(total) - shifted)).sum() / N
    dtype = logits.dtype

    def backward(dloss=1):
        softmax = exponentials / total
        return ((softmax * t.sum(axis=1, keepdims=True) - t) * (dloss / N)).astype(dtype)

    return loss, backward


def _targets(xp, labels, logits):
    """t (N, classes) in the logits' dtype, from integer labels (N,) or soft labels (N, classes)."""
    N, classes = logits.shape
    if labels.dtype.kind == "f" or labels.shape == logits.shape:
        if labels.shape != logits.shape:
            raise ValueError(
                f"cross_entropy: soft labels have shape {labels.shape}, logits {logits.shape}: must be equal "
                f"(or integers of shape ({N},))"
            )
        return labels.astype(logits.dtype)
    if labels.dtype.kind not in "iu" or labels.shape != (N,):
        raise ValueError(
            f"cross_entropy: labels must be {N} integers, shape ({N},), or floats of shape {logits.shape}, "
            f"got {labels.dtype} of shape {labels.shape}"
        )
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest >= classes:
        raise ValueError(
            f"cross_entropy: label {lowest if lowest < 0 else highest} is out of range for {classes} classes: "
            f"labels must be 0 to {classes - 1}"
        )
    return (labels[:, None] == xp.arange(classes)).astype(logits.dtype)


def mse_loss(prediction, target):
    """loss = mean over all elements of (prediction - target)^2

    prediction, target: floating-point arrays of one shape and dtype. Returns loss, a scalar, and
    backward(dloss=1) -> dprediction = dloss * 2 * (prediction - target) / size.
    """
    array_module(prediction, target)
    check_not_empty("mse_loss", prediction)
    check_float("mse_loss", prediction, target)
    if prediction.shape != target.shape:
        raise ValueError(f"mse_loss: prediction has shape {prediction.shape}, target {target.shape}: must be equal")
    difference = prediction - target
    loss, dtype = (difference * difference).mean(), prediction.dtype

    def backward(dloss=1):
        return (difference * (2 * dloss / difference.size)).astype(dtype)

    return loss, backward
