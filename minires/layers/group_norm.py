"""Group normalisation: groups of an image's channels are shifted and scaled to mean 0 and variance 1, image by image.

Derivation: docs/layers/group_norm.md.
"""

import math

import numpy as np

from minires.backend import array_module, empty, for_each_block, sum_blocks, widened
from minires.layers.checks import check_float, check_gradient, check_not_empty, check_number, check_sizes
from minires.module import Module, Parameter
from minires.types import Array, Backward


def group_norm(
    x: Array, num_groups: int, weight: Array | None = None, bias: Array | None = None, eps: float = 1e-5
) -> tuple[Array, Backward]:
    """y = weight * (x - mean) / sqrt(var + eps) + bias, with mean and var of each image's each group of channels.

    x (N, ..., C); group g holds the channels g * K up to (g + 1) * K - 1, K = C / num_groups. mean and (biased) var are
    over the image's pixels and the group's channels; weight, bias (C,) or None. No image depends on another, training
    and inference are the same. num_groups 1 normalises whole images, num_groups C each channel (instance norm).
    Returns y, shaped as x, and backward(dy) -> (dx, dweight, dbias), of which the last two are left out with weight and
    bias. With g = weight * dy, x_hat = (x - mean) / sqrt(var + eps) and means over a group as above:

        dx = (g - mean(g) - x_hat * mean(g * x_hat)) / sqrt(var + eps)

    Raises ValueError for shapes that do not fit and for groups of a single number.
    Source: Wu and He 2018, section 3.1, equations 1, 2, 6 and 7.
    """
    xp = array_module(x, weight, bias)
    _check(x, num_groups, weight, bias)
    N, C, W, wide = len(x), x.shape[-1], x.shape[-2] if x.ndim > 2 else 1, widened(x.dtype)
    rows = x.reshape(N, -1, W * C)  # rows of pixels, so that NumPy's inner loops are long
    count, item_bytes = rows[0].size // num_groups, 4 * rows[0].size * wide.itemsize
    mean, inverse_std = (empty((N, num_groups), x, wide) for _ in range(2))
    factor = 1 if weight is None else xp.tile(weight, W)
    y = empty(rows.shape, x)

    def of_groups(sums):
        """(n, W * C), sums over the rows of an image, -> (n, G): means over the groups."""
        return sums.reshape(len(sums), W, num_groups, -1).sum(axis=(1, 3)) / count

    def spread(numbers):
        """(n, G) -> (n, 1, W * C): a group's number for each of its channels."""
        shape = (len(numbers), W, num_groups, C // num_groups)
        return xp.broadcast_to(numbers[:, None, :, None], shape).reshape(len(numbers), 1, W * C)

    def forward_block(block):
        values = rows[block].astype(wide, copy=False)
        near = of_groups(values.sum(axis=1))
        centred = values - spread(near)
        error = of_groups(centred.sum(axis=1))  # what rounding, which far from 0 is large, has left of the mean
        centred -= spread(error)
        mean[block] = near + error
        inverse_std[block] = 1 / xp.sqrt(of_groups((centred * centred).sum(axis=1)) + float(eps))
        centred *= factor * spread(inverse_std[block])
        y[block] = centred if bias is None else centred + xp.tile(bias, W)

    for_each_block(forward_block, rows, item_bytes)
    shape, dtype = x.shape, x.dtype

    def backward(dy):
        check_gradient("group_norm", dy, shape, dtype)
        dy_rows, dx = dy.reshape(rows.shape), empty(rows.shape, dy)

        def backward_block(block):
            dy, std = dy_rows[block].astype(wide, copy=False), spread(inverse_std[block])
            x_hat = (rows[block].astype(wide, copy=False) - spread(mean[block])) * std
            sums, products = dy.sum(axis=1), (dy * x_hat).sum(axis=1)
            g, x_hat = factor * dy, x_hat * spread(of_groups(factor * products))
            dx[block] = (g - spread(of_groups(factor * sums)) - x_hat) * std
            return products.sum(axis=0), sums.sum(axis=0)

        sums = zip(*for_each_block(backward_block, rows, item_bytes), strict=True)
        dweight, dbias = (sum_blocks(each).reshape(W, C).sum(axis=0) for each in sums)
        return (dx.reshape(shape), *([] if weight is None else [dweight]), *([] if bias is None else [dbias]))

    return y.reshape(shape), backward


def _check(x, num_groups, weight, bias):
    check_not_empty("group_norm", x)
    check_float("group_norm", x, parameters=(weight, bias))
    if x.ndim < 2:
        raise ValueError(f"group_norm: x must have shape (N, ..., C), got {x.shape}")
    C = x.shape[-1]
    _check_groups("group_norm", num_groups, C)
    for name, vector in (("weight", weight), ("bias", bias)):
        if vector is not None and vector.shape != (C,):
            raise ValueError(f"group_norm: {C} input channels, {name} has shape {vector.shape}: expected ({C},)")
    if x[0].size == num_groups:
        raise ValueError(
            f"group_norm: {num_groups} groups of x {x.shape} are of one number each, whose variance is 0: "
            "use fewer groups or a larger image"
        )


def _check_groups(layer, num_groups, channels):
    if num_groups < 1 or channels % num_groups:
        raise ValueError(f"{layer}: {channels} channels cannot be cut into {num_groups} groups: choose a divisor")


class GroupNorm(Module):
    """`group_norm` with weight and bias (C,), and PyTorch's defaults."""

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5) -> None:
        check_sizes("GroupNorm", num_groups=num_groups, num_channels=num_channels)
        _check_groups("GroupNorm", num_groups, num_channels)
        check_number("GroupNorm", "eps", eps, 0, math.inf)
        self.weight = Parameter(np.ones(num_channels, np.float32))
        self.bias = Parameter(np.zeros(num_channels, np.float32))
        self.num_groups, self.eps = num_groups, eps

    def extra_repr(self) -> str:
        return f"{self.num_groups}, {self.weight.size}, eps={self.eps}"

    def forward(self, x: Array) -> tuple[Array, Backward]:
        y, group_norm_backward = group_norm(x, self.num_groups, self.weight.data, self.bias.data, self.eps)

        def backward(dy):
            dx, dweight, dbias = group_norm_backward(dy)
            self.weight.add_grad(dweight, new=True)
            self.bias.add_grad(dbias, new=True)
            return dx

        return y, backward
