"""Leaky ReLU, SiLU, GELU and hard swish: x times a gate that opens with x.

y = x g(x), so dy/dx = g + x g'. All but the first fall and rise again left of 0, where two x have one y: x is kept.
"""

import math

from minires.backend import array_module, choose, let_through, map_blocks
from minires.layers.checks import check_float, check_gradient, check_number
from minires.layers.normal_distribution import normal_cdf, normal_density
from minires.module import Module
from minires.types import Array, Backward


def leaky_relu(x: Array, negative_slope: float = 0.01) -> tuple[Array, Backward]:
    """y = x where x > 0, else negative_slope * x

    x: any shape, floating-point. negative_slope: at least 0; y then has the sign of x, and y is all that is kept.
    Returns y, shaped as x, and backward(dy) -> dx = dy where y > 0, else negative_slope * dy. Raises ValueError for a
    negative_slope below 0, of which y would not tell the side.
    Source: Maas et al. 2013, section 2.
    """
    check_float("leaky_relu", x)
    check_number("leaky_relu", "negative_slope", negative_slope, 0, math.inf)
    slope = float(negative_slope)
    y = map_blocks(lambda x, out: choose(x > 0, x, x * slope, out), x)

    def backward(dy):
        check_gradient("leaky_relu", dy, y.shape, y.dtype)
        return map_blocks(lambda dy, y, out: choose(y > 0, dy, dy * slope, out), dy, y)

    return y, backward


def silu(x: Array) -> tuple[Array, Backward]:
    """y = x * s, s = 1 / (1 + exp(-x)) = (1 + tanh(x / 2)) / 2, also called swish

    x: any shape, floating-point. Returns y, shaped as x, and backward(dy) -> dx = dy * s * (1 + x * (1 - s)).
    Sources: Elfwing et al. 2018; Ramachandran et al. 2017.
    """
    check_float("silu", x)
    y = map_blocks(lambda x, out: array_module(x).multiply(x, _sigmoid(x), out=out), x)

    def backward(dy):
        check_gradient("silu", dy, x.shape, x.dtype)

        def backward_block(dy, x, out):
            s = _sigmoid(x)
            array_module(x).multiply(dy, s * (1 + x * (1 - s)), out=out)

        return map_blocks(backward_block, dy, x)

    return y, backward


def gelu(x: Array, approximate: str = "none") -> tuple[Array, Backward]:
    """y = x * g, g = P(Z <= x) of Z from the standard normal distribution

    x: any shape, floating-point. approximate: "none", or "tanh" for g = (1 + tanh(u)) / 2 with
    u = sqrt(2 / pi) (x + 0.044715 x^3), which is off by 5e-4 at most, and with which some networks were trained.
    Returns y, shaped as x, and backward(dy) -> dx = dy * (g + x * g'), g' the normal distribution's density, or
    2 g (1 - g) du/dx. Raises ValueError for another `approximate`.
    Source: Hendrycks and Gimpel 2016, section 2.
    """
    check_float("gelu", x)
    gate, slope = _normal_gate("gelu", approximate)
    y = map_blocks(lambda x, out: array_module(x).multiply(x, gate(x), out=out), x)

    def backward(dy):
        check_gradient("gelu", dy, x.shape, x.dtype)

        def backward_block(dy, x, out):
            g = gate(x)
            array_module(x).multiply(dy, g + x * slope(x, g), out=out)

        return map_blocks(backward_block, dy, x)

    return y, backward


def hardswish(x: Array) -> tuple[Array, Backward]:
    """y = x * min(max(x + 3, 0), 6) / 6, silu with a gate of straight lines

    x: any shape, floating-point. Returns y, shaped as x, and backward(dy) -> dx = dy * (x / 3 + 1 / 2) between -3 and
    3; dy from 3 on, 0 up to -3, whatever dy is, as in PyTorch.
    Source: Howard et al. 2019, section 5.2.
    """
    check_float("hardswish", x)

    def forward_block(x, out):
        xp = array_module(x)
        xp.multiply(x, xp.minimum(xp.maximum(x + 3, 0), 6) / 6, out=out)

    y = map_blocks(forward_block, x)

    def backward(dy):
        check_gradient("hardswish", dy, x.shape, x.dtype)

        def backward_block(dy, x, out):
            let_through(dy * (x / 3 + 0.5), x > -3, out)
            choose(x < 3, out, dy, out)

        return map_blocks(backward_block, dy, x)

    return y, backward


def _sigmoid(x):
    return (array_module(x).tanh(x * 0.5) + 1) * 0.5  # never overflows


def _tanh_gate(x):
    return _sigmoid((x + 0.044715 * x * x * x) * math.sqrt(8 / math.pi))  # (1 + tanh(u)) / 2 is the sigmoid of 2 u


def _tanh_slope(x, g):
    return g * (1 - g) * (1 + 3 * 0.044715 * x * x) * math.sqrt(8 / math.pi)


def _normal_slope(x, g):
    return normal_density(x)


_GATES = {"none": (normal_cdf, _normal_slope), "tanh": (_tanh_gate, _tanh_slope)}


def _normal_gate(layer, approximate):
    """GELU's gate, and its derivative from x and the gate."""
    if approximate not in _GATES:
        raise ValueError(f"{layer}: unknown approximate {approximate!r}: choose none or tanh")
    return _GATES[approximate]


class LeakyReLU(Module):
    """`leaky_relu` as a module."""

    def __init__(self, negative_slope: float = 0.01) -> None:
        check_number("LeakyReLU", "negative_slope", negative_slope, 0, math.inf)
        self.negative_slope = negative_slope

    def forward(self, x: Array) -> tuple[Array, Backward]:
        return leaky_relu(x, self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"


class SiLU(Module):
    """`silu` as a module."""

    def forward(self, x: Array) -> tuple[Array, Backward]:
        return silu(x)


class GELU(Module):
    """`gelu` as a module."""

    def __init__(self, approximate: str = "none") -> None:
        _normal_gate("GELU", approximate)
        self.approximate = approximate

    def forward(self, x: Array) -> tuple[Array, Backward]:
        return gelu(x, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class Hardswish(Module):
    """`hardswish` as a module."""

    def forward(self, x: Array) -> tuple[Array, Backward]:
        return hardswish(x)
