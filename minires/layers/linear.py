"""The fully connected layer, and flattening images for it."""

import math

import numpy as np

from minires.backend import array_module, matmul
from minires.layers.checks import check_float, check_gradient, check_not_empty, check_sizes
from minires.module import Module, Parameter
from minires.types import Array, Backward, Rng


def linear(x: Array, weight: Array, bias: Array | None = None, tf32: bool = False) -> tuple[Array, Backward]:
    """y = matmul(x, weight.T) + bias

    x (N, C), weight (O, C), bias (O,) or None, of one dtype; or x of halves, the others float32, of which the weight is
    rounded as x is. tf32: as in conv2d. Returns y (N, O) and backward(dy) -> (dx, dweight), or
    (dx, dweight, dbias):   dx = dy @ weight,  dweight = dy^T @ x,  dbias = sum of dy over the batch.
    Raises ValueError for shapes that do not fit.
    """
    array_module(x, weight, bias)
    check_float("linear", x, parameters=(weight, bias))
    check_not_empty("linear", x)
    if x.ndim != 2 or weight.ndim != 2 or x.shape[1] != weight.shape[1]:
        raise ValueError(f"linear: x {x.shape} and weight {weight.shape} do not fit: expected (N, C) and (O, C)")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"linear: bias has shape {bias.shape}, {weight.shape[0]} outputs need ({weight.shape[0]},)")
    factor = weight.astype(x.dtype, copy=False)
    y = matmul(x, factor.T, tf32)
    if bias is not None:
        y += bias
    y = y.astype(x.dtype, copy=False)

    def backward(dy):
        check_gradient("linear", dy, (len(x), len(weight)), x.dtype)
        dx, dweight = matmul(dy, factor, tf32).astype(x.dtype, copy=False), matmul(dy.T, x, tf32)
        return (dx, dweight) if bias is None else (dx, dweight, dy.sum(axis=0, dtype=bias.dtype))

    return y, backward


def flatten(x: Array) -> tuple[Array, Backward]:
    """y = x with all axes but the first made one:  (N, H, W, C) -> (N, H * W * C), in NHWC order.

    Returns y and backward(dy) -> dx, which is dy in the shape of x.
    """
    check_not_empty("flatten", x)
    y = x.reshape(len(x), -1)
    shape, dtype, shape_of_x = y.shape, y.dtype, x.shape

    def backward(dy):
        check_gradient("flatten", dy, shape, dtype)
        return dy.reshape(shape_of_x)

    return y, backward


class Linear(Module):
    """`linear` with its weight (O, C) and bias (O,), or bias=False.

    Initial values are PyTorch's: uniform in +-1 / sqrt(C). rng: a NumPy Generator or a seed. tf32: as in conv2d.
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, rng: Rng = None, tf32: bool = False
    ) -> None:
        check_sizes("Linear", in_features=in_features, out_features=out_features)
        rng = np.random.default_rng(rng)
        bound = 1 / math.sqrt(in_features)
        self.weight = Parameter(rng.uniform(-bound, bound, (out_features, in_features)).astype(np.float32))
        self.bias = Parameter(rng.uniform(-bound, bound, out_features).astype(np.float32)) if bias else None
        self.tf32 = tf32

    def extra_repr(self) -> str:
        O, C = self.weight.shape
        return f"{C}, {O}" + ("" if self.bias is not None else ", bias=False")

    def forward(self, x: Array) -> tuple[Array, Backward]:
        y, linear_backward = linear(x, self.weight.data, None if self.bias is None else self.bias.data, self.tf32)

        def backward(dy):
            dx, dweight, *dbias = linear_backward(dy)
            self.weight.add_grad(dweight, new=True)
            if self.bias is not None:
                self.bias.add_grad(dbias[0], new=True)
            return dx

        return y, backward


class Flatten(Module):
    """`flatten` as a module."""

    def forward(self, x: Array) -> tuple[Array, Backward]:
        return flatten(x)
