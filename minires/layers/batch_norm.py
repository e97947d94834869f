"""Batch normalisation: every channel is shifted and scaled to mean 0 and variance 1, then to learned values.

Derivation: docs/layers/batch_norm.md.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from minires.backend import array_module, channel_moments, elementwise, far_from_zero, map_channels, sum_channels
from minires.layers.checks import check_float, check_gradient, check_not_empty, check_number, check_sizes
from minires.module import Module, Parameter
from minires.types import Array, Backward


def batch_norm(
    x: Array,
    running_mean: Array | None,
    running_var: Array | None,
    weight: Array | None = None,
    bias: Array | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[Array, Backward]:
    """y = weight * (x - mean) / sqrt(var + eps) + bias, per channel.

    training: mean and (biased) var are those of the batch, over all axes but the last, and the running ones are
    moved towards them IN PLACE as PyTorch does:  running = (1 - momentum) * running + momentum * batch, the variance
    taken unbiased.   otherwise: mean and var are the running ones, which are constants.
    x (..., C); running_mean, running_var (C,) or, in training, None to keep none; weight, bias (C,) or None.
    Returns y, shaped as x, and backward(dy) -> (dx, dweight, dbias), of which the last two are left out with weight
    and bias. Raises ValueError for shapes that do not fit and for fewer than two values a channel in training.
    Source: Ioffe and Szegedy 2015, algorithm 1 and section 3.
    """
    array_module(x, running_mean, running_var, weight, bias)
    check_batch_norm("batch_norm", x, running_mean, running_var, weight, bias, training)
    statistics = normaliser(x, running_mean, running_var, weight, bias, training, momentum, eps)
    scale, shift = statistics.scale, statistics.shift

    def normalise(x, scale, shift, out):
        xp = array_module(x)
        xp.multiply(x, scale, out=out)
        xp.add(out, shift, out=out)

    y = map_channels(normalise, (x,), (scale, shift))

    def backward(dy):
        check_gradient("batch_norm", dy, x.shape, x.dtype)

        dweight, dbias, line = gradient_sums(lambda dy, out: dy, (dy,), x, statistics)
        dx = input_gradient(dy, x, scale, line if training else None)
        return (dx, *([] if weight is None else [dweight]), *([] if bias is None else [dbias]))

    return y, backward


class Statistics(NamedTuple):
    """Numbers a channel (C,) of a forward pass: y = scale * x + shift, with inverse_std = 1 / sqrt(var + eps)."""

    mean: Array
    var: Array
    inverse_std: Array
    scale: Array
    shift: Array


def normaliser(
    x: Array,
    running_mean: Array | None,
    running_var: Array | None,
    weight: Array | None,
    bias: Array | None,
    training: bool,
    momentum: float,
    eps: float,
) -> Statistics:
    """The Statistics to normalise with; in training the running ones are moved towards those of the batch.

    None of them shares memory with the running ones, which change under the closures of other forward passes.
    """
    if not training and running_mean is not None and running_var is not None:
        mean, var = running_mean.copy(), running_var.copy()
        return Statistics(mean, var, *elementwise(factors, mean, var, weight, bias, eps=float(eps)))

    def then(mean, var, running_mean, running_var, weight, bias, momentum, bessel, eps):
        if running_mean is not None:
            move(running_mean, running_var, mean, var, momentum, bessel)
        return mean, var, *factors(mean, var, weight, bias, eps)

    count = x.size // x.shape[-1]
    numbers = {"momentum": float(momentum), "bessel": count / (count - 1), "eps": float(eps)}
    return Statistics(*channel_moments(x, then, running_mean, running_var, weight, bias, **numbers))


def move(running_mean: Array, running_var: Array, mean: Array, var: Array, momentum: float, bessel: float) -> None:
    """running <- running + momentum * (batch - running), in place, of the mean and of the variance bessel * var.

    All four arrays (C,); bessel = m / (m - 1) makes the variance of m values unbiased. Source: PyTorch.
    """
    running_mean += momentum * (mean - running_mean)
    running_var += momentum * (var * bessel - running_var)


def factors(
    mean: Array, var: Array, weight: Array | None, bias: Array | None, eps: float
) -> tuple[Array, Array, Array]:
    """-> inverse_std = 1 / sqrt(var + eps), scale = weight * inverse_std, shift = bias - mean * scale; all (C,).

    With them y = scale * x + shift. weight None counts as 1, bias None as 0.
    """
    inverse_std = 1 / array_module(var).sqrt(var + eps)
    scale = inverse_std if weight is None else weight * inverse_std
    shift = -mean * scale if bias is None else bias - mean * scale
    return inverse_std, scale, shift


def gradient_sums(
    gradient: Callable[..., Array], arrays: Sequence[Array], x: Array, statistics: Statistics
) -> tuple[Array, Array, tuple[Array, Array]]:
    """-> dweight, dbias, (b, c) for dx = scale * (dy + b * x + c); with dy = gradient(*blocks of arrays, out=room).

    dbias = sum(dy) and dweight = sum(dy * (x - mean)) * inverse_std, per channel. Where the mean is near 0 the second
    sum is sum(dy * x) - mean * sum(dy), and no x - mean has to be made.
    """
    far = far_from_zero(statistics.mean, statistics.var)

    def terms(*blocks, out):
        *inside, x, mean = blocks
        dy = gradient(*inside, out=out)
        return dy, (dy, array_module(x).subtract(x, mean, out=out) if far else x)

    def then(dbias, products, mean, inverse_std, count):
        dweight = (products if far else products - mean * dbias) * inverse_std
        b = -inverse_std * dweight / count
        return dweight, dbias, b, -dbias / count - b * mean

    mean, count = statistics.mean, x.size // x.shape[-1]
    dweight, dbias, b, c = sum_channels(terms, (*arrays, x), (mean,), then, mean, statistics.inverse_std, count=count)
    return dweight, dbias, (b, c)


def input_gradient(dy: Array, x: Array, scale: Array, line: tuple[Array, Array] | None) -> Array:
    """dx = scale * (dy - mean(dy) - x_hat * mean(dy * x_hat)), written as  scale * (dy + b * x + c), line = (b, c)

    with one number a channel each (`gradient_sums`). Where the statistics are constants, line None, it is scale * dy.
    """
    if line is None:
        return map_channels(lambda dy, scale, out: array_module(dy).multiply(dy, scale, out=out), (dy,), (scale,))

    def combine(dy, x, scale, b, c, out):
        xp = array_module(x)
        xp.multiply(x, b, out=out)
        xp.add(out, c, out=out)
        xp.add(out, dy, out=out)
        xp.multiply(out, scale, out=out)

    return map_channels(combine, (dy, x), (scale, *line))


def check_batch_norm(
    name: str,
    x: Array,
    running_mean: Array | None,
    running_var: Array | None,
    weight: Array | None,
    bias: Array | None,
    training: bool,
) -> None:
    check_not_empty(name, x)
    check_float(name, x, parameters=(running_mean, running_var, weight, bias))
    if x.ndim < 2:
        raise ValueError(f"{name}: x must have shape (N, ..., C), got {x.shape}")
    C = x.shape[-1]
    named = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    for label, vector in named.items():
        if vector is not None and vector.shape != (C,):
            raise ValueError(f"{name}: {C} input channels, {label} has shape {vector.shape}: expected ({C},)")
    if (running_mean is None) != (running_var is None):
        raise ValueError(f"{name}: running_mean and running_var go together: give both or neither")
    if not training and running_mean is None:
        raise ValueError(f"{name}: inference needs running_mean and running_var: give both, or training=True")
    running = [vector for vector in (running_mean, running_var) if vector is not None]
    if training and not all(getattr(array.flags, "writeable", True) for array in running):  # CuPy's always are
        raise ValueError(f"{name}: running_mean or running_var is read-only, but training moves them: give copies")
    if training and x.size // C < 2:
        raise ValueError(
            f"{name}: training needs at least two values a channel, x {x.shape} has one, whose variance is 0: "
            "use a larger batch or image, or eval()"
        )


class BatchNorm2d(Module):
    """`batch_norm` with weight, bias, running_mean and running_var (C,) and PyTorch's defaults."""

    running_mean: Array
    running_var: Array

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        check_sizes("BatchNorm2d", num_features=num_features)
        check_number("BatchNorm2d", "eps", eps, 0, math.inf)
        check_number("BatchNorm2d", "momentum", momentum, 0, 1)
        self.weight = Parameter(np.ones(num_features, np.float32))
        self.bias = Parameter(np.zeros(num_features, np.float32))
        self.register_buffer("running_mean", np.zeros(num_features, np.float32))
        self.register_buffer("running_var", np.ones(num_features, np.float32))
        self.eps, self.momentum = eps, momentum

    def extra_repr(self) -> str:
        return f"{self.weight.size}, eps={self.eps}, momentum={self.momentum}"

    def forward(self, x: Array) -> tuple[Array, Backward]:
        running, affine = (self.running_mean, self.running_var), (self.weight.data, self.bias.data)
        y, batch_norm_backward = batch_norm(x, *running, *affine, self.training, self.momentum, self.eps)

        def backward(dy):
            dx, dweight, dbias = batch_norm_backward(dy)
            self.weight.add_grad(dweight, new=True)
            self.bias.add_grad(dbias, new=True)
            return dx

        return y, backward
