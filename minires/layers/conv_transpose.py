"""Transposed convolution: the adjoint of a convolution, as a layer. Every pixel of x is spread over a window of y.

Derivation: docs/layers/conv_transpose.md.
"""

import math

import numpy as np

from minires.backend import (
    Geometry,
    array_module,
    convolve,
    convolve_input_gradient,
    convolve_weight_gradient,
    map_channels,
    sum_channels,
)
from minires.layers.checks import (
    check_float,
    check_gradient,
    check_groups,
    check_image,
    check_sizes,
    padding_of,
    pair,
)
from minires.module import Module, Parameter
from minires.types import Array, Backward, Padding, Pair, Rng


def conv_transpose2d(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Pair = 1,
    padding: Padding = 0,
    output_padding: Pair = 0,
    groups: int = 1,
    dilation: Pair = 1,
    input_gradient: bool = True,
    weight_gradient: bool = True,
    tf32: bool = False,
) -> tuple[Array, Backward]:
    """y[n, h * stride + i * dilation - top, ..., o] = bias[o] + sum of x[n, h, w, c] * weight[c, o, i, j]

    The sum is over all c, and all (h, i) and (w, j) that lead to the same pixel of y: what `conv2d` with this weight
    (of O input and C output channels), stride, padding, groups and dilation does to its dy.
    x (N, H, W, C), weight (C, O / groups, KH, KW), bias (O,) or None: dtypes and device as for `conv2d`.
    output_padding: rows and columns more at the bottom and at the right, fewer than the stride: of the sizes that a
    strided convolution brings to H, W, which one.
    Returns y (N, OH, OW, O), OH = (H - 1) * stride - top - bottom + dilation * (KH - 1) + output_padding + 1, and
    backward(dy) -> (dx, dweight), or (dx, dweight, dbias) where there is a bias; input_gradient=False and
    weight_gradient=False make dx and dweight None.   tf32: as for `conv2d`.
    Raises ValueError for shapes that do not fit, an empty batch, channels that groups do not divide, and a y without
    pixels.
    Source: Zeiler et al. 2010; Dumoulin and Visin 2016, section 4.
    """
    layer = "conv_transpose2d"
    check_image(layer, x)
    check_float(layer, x, parameters=(weight, bias))
    _check_weight(x, weight, bias, groups)
    geometry = _geometry(x, weight, stride, padding, output_padding, groups, dilation, tf32)
    y = convolve_input_gradient(x, weight, geometry)
    if bias is not None:
        y = map_channels(lambda y, bias, out: array_module(y).add(y, bias, out=out), (y,), (bias,))
    shape, dtype, has_bias = y.shape, y.dtype, bias is not None
    x_kept, weight_kept = x if weight_gradient else None, weight if input_gradient else None

    def backward(dy):
        check_gradient(layer, dy, shape, dtype)
        dx = convolve(dy, weight_kept, None, geometry) if weight_kept is not None else None
        dweight = convolve_weight_gradient(dy, x_kept, geometry) if x_kept is not None else None
        return (dx, dweight, *sum_channels(lambda dy, out: (dy,), (dy,))) if has_bias else (dx, dweight)

    return y, backward


def _geometry(x, weight, stride, padding, output_padding, groups, dilation, tf32):
    """The Geometry of the convolution that leads from y back to x."""
    layer = "conv_transpose2d"
    stride, padding = pair(layer, "stride", stride, least=1), padding_of(layer, padding)
    dilation, more = pair(layer, "dilation", dilation, least=1), pair(layer, "output_padding", output_padding)
    if any(m >= s for m, s in zip(more, stride, strict=True)):
        raise ValueError(
            f"{layer}: output_padding {more} must be less than the stride {stride}: a larger y is of a larger x"
        )
    kernel, image = weight.shape[2:], x.shape[1:3]
    OH, OW = (
        (length - 1) * s - sum(sides) + d * (k - 1) + m + 1
        for length, s, sides, d, k, m in zip(image, stride, padding, dilation, kernel, more, strict=True)
    )
    if min(OH, OW) < 1:
        raise ValueError(
            f"{layer}: y would have {OH} x {OW} pixels: use less padding, a larger kernel or a larger image"
        )
    return Geometry(kernel, stride, padding, (OH, OW), image, "im2col", tf32, dilation, groups)


def _check_weight(x, weight, bias, groups):
    if weight.ndim != 4 or min(weight.shape) < 1:
        raise ValueError(
            f"conv_transpose2d: weight must have shape (C, O / groups, KH, KW), all at least 1, got {weight.shape}"
        )
    check_groups("conv_transpose2d", groups, C=len(weight))
    if x.shape[3] != len(weight):
        raise ValueError(
            f"conv_transpose2d: {x.shape[3]} input channels, weight expects {len(weight)}: x is (N, H, W, C), "
            "weight (C, O / groups, KH, KW)"
        )
    O = groups * weight.shape[1]
    if bias is not None and bias.shape != (O,):
        raise ValueError(f"conv_transpose2d: bias has shape {bias.shape}, {O} output channels need ({O},)")


class ConvTranspose2d(Module):
    """`conv_transpose2d` with its weight (C, O / groups, KH, KW) and bias (O,), or bias=False.

    Initial values are PyTorch's: uniform in +-1 / sqrt(O / groups * KH * KW). rng: a NumPy Generator or a seed.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Padding = 0,
        output_padding: Pair = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Pair = 1,
        rng: Rng = None,
        tf32: bool = False,
    ) -> None:
        layer = "ConvTranspose2d"
        check_sizes(layer, in_channels=in_channels, out_channels=out_channels)
        check_groups(layer, groups, in_channels=in_channels, out_channels=out_channels)
        pair(layer, "stride", stride, least=1)
        pair(layer, "dilation", dilation, least=1)
        pair(layer, "output_padding", output_padding)
        padding_of(layer, padding)
        rng = np.random.default_rng(rng)
        shape = (in_channels, out_channels // groups, *pair(layer, "kernel_size", kernel_size, least=1))
        bound = 1 / math.sqrt(math.prod(shape[1:]))
        self.weight = Parameter(rng.uniform(-bound, bound, shape).astype(np.float32))
        self.bias = Parameter(rng.uniform(-bound, bound, out_channels).astype(np.float32)) if bias else None
        self.stride, self.padding, self.output_padding = stride, padding, output_padding
        self.groups, self.dilation, self.tf32 = groups, dilation, tf32

    def extra_repr(self) -> str:
        C, O, KH, KW = self.weight.shape
        defaults = {"output_padding": 0, "dilation": 1, "groups": 1}
        options = [
            f", {name}={getattr(self, name)}" for name, usual in defaults.items() if getattr(self, name) != usual
        ]
        options += [", bias=False"] if self.bias is None else []
        sizes = f"{C}, {self.groups * O}, kernel_size=({KH}, {KW}), stride={self.stride}, padding={self.padding}"
        return sizes + "".join(options)

    def forward(self, x: Array, lean: bool = False) -> tuple[Array, Backward]:
        """lean: leave dx out, which is then None."""
        y, conv_backward = conv_transpose2d(
            x,
            self.weight.data,
            None if self.bias is None else self.bias.data,
            self.stride,
            self.padding,
            self.output_padding,
            self.groups,
            self.dilation,
            input_gradient=not lean,
            weight_gradient=self.weight.requires_grad,
            tf32=self.tf32,
        )

        def backward(dy):
            dx, dweight, *dbias = conv_backward(dy)
            if dweight is not None:
                self.weight.add_grad(dweight, new=True)
            if self.bias is not None:
                self.bias.add_grad(dbias[0], new=True)
            return dx

        return y, backward
