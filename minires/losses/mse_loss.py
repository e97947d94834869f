"""The mean squared error: `loss, backward = mse_loss(prediction, target)`; `backward()` gives dprediction.

Derivation: docs/losses.md.
"""

from minires.backend import array_module
from minires.layers.checks import check_float, check_not_empty, check_wide
from minires.losses.checks import check_dloss
from minires.types import Array, Backward


def mse_loss(prediction: Array, target: Array) -> tuple[Array, Backward]:
    """loss = mean over all elements of (prediction - target)^2

    prediction, target: floating-point arrays of one shape and dtype. Returns loss, a scalar, and
    backward(dloss=1) -> dprediction = dloss * 2 * (prediction - target) / size.
    Raises ValueError for an empty batch and for shapes or dtypes that differ.
    """
    array_module(prediction, target)
    check_not_empty("mse_loss", prediction)
    check_float("mse_loss", prediction, target)
    check_wide("mse_loss", prediction)
    if prediction.shape != target.shape:
        raise ValueError(f"mse_loss: prediction has shape {prediction.shape}, target {target.shape}: must be equal")
    difference = prediction - target
    loss, dtype = (difference * difference).mean(), prediction.dtype

    def backward(dloss=1):
        check_dloss("mse_loss", dloss)
        return (difference * (2 * dloss / difference.size)).astype(dtype)

    return loss, backward
