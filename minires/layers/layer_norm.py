"""Layer normalisation: the channels of each pixel are shifted and scaled to mean 0 and variance 1, pixel by pixel.

Derivation: docs/layers/layer_norm.md.
"""

import math

import numpy as np

from minires.backend import array_module, empty, for_each_block, matmul, sum_blocks, widened
from minires.layers.checks import check_float, check_gradient, check_not_empty, check_number, check_sizes
from minires.module import Module, Parameter
from minires.types import Array, Backward, Shape


def layer_norm(
    x: Array, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-5
) -> tuple[Array, Backward]:
    """y = weight * (x - mean) / sqrt(var + eps) + bias, with mean and (biased) var over the channels of each pixel.

    x (..., C); weight, bias (C,) or None. Or over more of the last axes: over as many as weight (or bias) has, such as
    x (N, H, W, C) and weight (H, W, C). No pixel depends on another, training and inference are the same.
    Returns y, shaped as x, and backward(dy) -> (dx, dweight, dbias), of which the last two are left out with weight and
    bias. With g = weight * dy, x_hat = (x - mean) / sqrt(var + eps) and means over the same axes:

        dx = (g - mean(g) - x_hat * mean(g * x_hat)) / sqrt(var + eps)

    Raises ValueError for shapes that do not fit and for a mean of a single number.
    Source: Ba, Kiros and Hinton 2016, equation 3; for each pixel of an image: Liu et al. 2022, section 2.6.
    """
    xp = array_module(x, weight, bias)
    kept = _check(x, weight, bias)
    wide, D = widened(x.dtype), math.prod(kept)
    rows = x.reshape(-1, D)
    share = xp.full((D, 1), 1 / D, wide)  # a mean is a product with it, which BLAS is quicker at than NumPy
    factor, weighted = (1, share) if weight is None else (weight.reshape(D), share * weight.reshape(D, 1))
    mean, inverse_std = (empty((len(rows), 1), x, wide) for _ in range(2))
    y, row_bytes = empty(rows.shape, x), 4 * D * wide.itemsize

    def forward_block(block):
        values = rows[block].astype(wide, copy=False)
        near = matmul(values, share)
        centred = values - near
        error = matmul(centred, share)  # what rounding, which far from 0 is large, has left of the mean
        centred -= error
        mean[block] = near + error
        inverse_std[block] = 1 / xp.sqrt(matmul(centred * centred, share) + float(eps))
        centred *= inverse_std[block]
        centred *= factor
        y[block] = centred if bias is None else centred + bias.reshape(D)

    for_each_block(forward_block, rows, row_bytes)
    shape, dtype = x.shape, x.dtype

    def backward(dy):
        check_gradient("layer_norm", dy, shape, dtype)
        dy_rows, dx = dy.reshape(rows.shape), empty(rows.shape, dy)

        def backward_block(block):
            dy, std = dy_rows[block].astype(wide, copy=False), inverse_std[block]
            x_hat = (rows[block].astype(wide, copy=False) - mean[block]) * std
            products = dy * x_hat
            mean_g, mean_product = matmul(dy, weighted), matmul(products, weighted)
            dx[block] = (factor * dy - mean_g - x_hat * mean_product) * std
            return products.sum(axis=0), dy.sum(axis=0)

        sums = zip(*for_each_block(backward_block, rows, row_bytes), strict=True)
        dweight, dbias = (sum_blocks(each).reshape(kept) for each in sums)
        return (dx.reshape(shape), *([] if weight is None else [dweight]), *([] if bias is None else [dbias]))

    return y.reshape(shape), backward


def _check(x, weight, bias):
    """The shape that is normalised: of the last axes, as many as weight or bias has."""
    check_not_empty("layer_norm", x)
    check_float("layer_norm", x, parameters=(weight, bias))
    axes = next((vector.ndim for vector in (weight, bias) if vector is not None), 1)
    if not 1 <= axes <= x.ndim:
        raise ValueError(f"layer_norm: x has shape {x.shape}: give it, and weight and bias, the channels' axis")
    shape = x.shape[-axes:]
    for name, vector in (("weight", weight), ("bias", bias)):
        if vector is not None and vector.shape != shape:
            raise ValueError(f"layer_norm: x has shape {x.shape}, {name} {vector.shape}: expected {shape}")
    if math.prod(shape) == 1:
        raise ValueError(f"layer_norm: x {x.shape} has one channel, whose variance is 0: normalise more numbers")
    return shape


class LayerNorm(Module):
    """`layer_norm` with weight and bias of the shape normalized_shape, a number of channels or the last axes.

    eps: PyTorch's default. ConvNeXt has 1e-6.
    """

    def __init__(self, normalized_shape: int | Shape, eps: float = 1e-5) -> None:
        shape = (normalized_shape,) if isinstance(normalized_shape, (int, np.integer)) else tuple(normalized_shape)
        check_sizes("LayerNorm", normalized_shape=min(shape, default=0))
        check_number("LayerNorm", "eps", eps, 0, math.inf)
        self.weight = Parameter(np.ones(shape, np.float32))
        self.bias = Parameter(np.zeros(shape, np.float32))
        self.eps = eps

    def extra_repr(self) -> str:
        return f"{self.weight.shape}, eps={self.eps}"

    def forward(self, x: Array) -> tuple[Array, Backward]:
        y, layer_norm_backward = layer_norm(x, self.weight.data, self.bias.data, self.eps)

        def backward(dy):
            dx, dweight, dbias = layer_norm_backward(dy)
            self.weight.add_grad(dweight, new=True)
            self.bias.add_grad(dbias, new=True)
            return dx

        return y, backward
