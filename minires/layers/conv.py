"""Convolution: every output pixel is the product of the kernel and a window of the image.

Derivation: docs/layers/conv.md.
"""

import math

import numpy as np

from minires.backend import (
    Geometry,
    convolve,
    convolve_gradients,
    convolve_input_gradient,
    convolve_weight_gradient,
    device_of,
    output_size,
    sum_channels,
    winograd,
)
from minires.layers.checks import check_float, check_gradient, check_groups, check_image, check_sizes, padding_of, pair
from minires.module import Module, Parameter
from minires.types import Array, Backward, Padding, Pair, Rng


def conv2d(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Pair = 1,
    padding: Padding = 0,
    input_gradient: bool = True,
    algorithm: str = "auto",
    weight_gradient: bool = True,
    tf32: bool = False,
    dilation: Pair = 1,
    groups: int = 1,
) -> tuple[Array, Backward]:
    """y[n, oh, ow, o] = bias[o] + sum_ijc weight[o, c, i, j] * x_padded[n, oh * stride + i, ow * stride + j, c]

    x (N, H, W, C), weight (O, C / groups, KH, KW), bias (O,) or None: float32 or float64 arrays of one dtype and
    device; or x of halves (float16, bfloat16), and weight and bias float32, of which the weight is rounded as x is. y
    and dx are as x, dweight and dbias as weight; all sums are float32.
    stride: a number or (rows, columns).   padding: a number, (rows, columns), or ((top, bottom), (left, right)).
    dilation: likewise, how far a window's pixels lie apart: i * dilation and j * dilation are in the place of i and j.
    groups: of input and output channels, each a convolution of its own: c counts from the first of o's group.
    Returns y (N, OH, OW, O), OH = (top + H + bottom - dilation * (KH - 1) - 1) // stride + 1, and
    backward(dy) -> (dx, dweight), or (dx, dweight, dbias) where there is a bias. input_gradient=False makes dx None,
    for which the first layer of a network has no use, weight_gradient=False makes dweight None, for frozen layers.
    algorithm: "im2col"; "winograd", for 3x3 kernels at stride 1 on a CPU, neither dilated nor grouped; or "auto", which
    takes winograd where it is faster, from 128 channels and 64 tiles of 4x4 pixels on. Its results differ in the last
    digits.
    tf32: float32 factors of all products are rounded to TF32's 11 bits, as an NVIDIA GPU multiplies fastest.
    Raises ValueError for shapes that do not fit, an empty batch, channels that groups do not divide, a kernel larger
    than the padded image, and winograd where it cannot be used.
    Source: Dumoulin and Visin 2016, sections 2 and 4; im2col: Chellapilla et al. 2006, section 2.1;
    winograd: Lavin and Gray 2015, section 4; dilation: Yu and Koltun 2016; groups: Krizhevsky et al. 2012, section 3.5.
    """
    check_image("conv2d", x)
    check_float("conv2d", x, parameters=(weight, bias))
    check_groups("conv2d", groups, C=x.shape[-1], O=len(weight))
    _check_weight(x, weight, bias, groups)
    geometry = _geometry(x, weight, stride, padding, algorithm, tf32, dilation, groups)
    y = convolve(x, weight, bias, geometry)
    shape, dtype, has_bias = y.shape, y.dtype, bias is not None
    x_kept, weight_kept = x if weight_gradient else None, weight if input_gradient else None

    def backward(dy):
        check_gradient("conv2d", dy, shape, dtype)
        dx = dweight = None
        if x_kept is not None and weight_kept is not None:
            dx, dweight = convolve_gradients(x_kept, dy, weight_kept, geometry)
        elif weight_kept is not None:
            dx = convolve_input_gradient(dy, weight_kept, geometry)
        elif x_kept is not None:
            dweight = convolve_weight_gradient(x_kept, dy, geometry)
        return (dx, dweight, *sum_channels(lambda dy, out: (dy,), (dy,))) if has_bias else (dx, dweight)

    return y, backward


def _geometry(x, weight, stride, padding, algorithm, tf32, dilation, groups):
    """The checked Geometry, with the algorithm chosen."""
    stride, padding = pair("conv2d", "stride", stride, least=1), padding_of("conv2d", padding)
    dilation = pair("conv2d", "dilation", dilation, least=1)
    kernel, image = weight.shape[2:], x.shape[1:3]
    output = output_size(image, kernel, stride, padding, "conv2d", dilation)
    _check_algorithm("conv2d", algorithm)
    plain = groups == 1 and dilation == (1, 1)
    fits = plain and winograd.fits(x, kernel, stride, padding) and not tf32
    if algorithm == "winograd" and not fits:
        raise ValueError(
            f"conv2d: winograd is for 3x3 kernels at stride 1 with padding of at most 2, float32 or float64 on a CPU, "
            f"got kernel {kernel[0]}x{kernel[1]}, stride {stride}, padding {padding}, "
            f"{'tf32' if tf32 else x.dtype.name} on a {device_of(x).upper()}"
            f"{'' if plain else f', dilation {dilation}, groups {groups}'}: use im2col"
        )
    if algorithm == "auto":
        algorithm = "winograd" if fits and winograd.pays(len(x), weight, output) else "im2col"
    return Geometry(kernel, stride, padding, image, output, algorithm, tf32, dilation, groups)


def _check_algorithm(layer, algorithm):
    if algorithm not in ("auto", "im2col", "winograd"):
        raise ValueError(f"{layer}: unknown algorithm {algorithm!r}: choose auto, im2col or winograd")


def _check_weight(x, weight, bias, groups):
    if weight.ndim != 4 or min(weight.shape) < 1:
        raise ValueError(f"conv2d: weight must have shape (O, C, KH, KW), all at least 1, got {weight.shape}")
    if x.shape[3] != groups * weight.shape[1]:
        of_groups, per_group = (f" in {groups} groups", " / groups") if groups > 1 else ("", "")
        raise ValueError(
            f"conv2d: {x.shape[3]} input channels, weight expects {groups * weight.shape[1]}{of_groups}: "
            f"x is (N, H, W, C), weight (O, C{per_group}, KH, KW)"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(
            f"conv2d: bias has shape {bias.shape}, {weight.shape[0]} output channels need ({weight.shape[0]},)"
        )


class Conv2d(Module):
    """`conv2d` with its weight (O, C / groups, KH, KW) and bias (O,), or bias=False.

    Initial values are PyTorch's: uniform in +-1 / sqrt(C / groups * KH * KW). rng: a NumPy Generator or a seed.
    algorithm, tf32: as in conv2d. To choose one for a whole model, set it for each:

        for module in model.modules():
            if isinstance(module, Conv2d):
                module.algorithm = "im2col"
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Padding = 0,
        bias: bool = True,
        rng: Rng = None,
        algorithm: str = "auto",
        tf32: bool = False,
        dilation: Pair = 1,
        groups: int = 1,
    ) -> None:
        check_sizes("Conv2d", in_channels=in_channels, out_channels=out_channels)
        check_groups("Conv2d", groups, in_channels=in_channels, out_channels=out_channels)
        pair("Conv2d", "stride", stride, least=1)
        pair("Conv2d", "dilation", dilation, least=1)
        padding_of("Conv2d", padding)
        _check_algorithm("Conv2d", algorithm)
        rng = np.random.default_rng(rng)
        kernel = pair("Conv2d", "kernel_size", kernel_size, least=1)
        shape = (out_channels, in_channels // groups, *kernel)
        bound = 1 / math.sqrt(math.prod(shape[1:]))
        self.weight = Parameter(rng.uniform(-bound, bound, shape).astype(np.float32))
        self.bias = Parameter(rng.uniform(-bound, bound, out_channels).astype(np.float32)) if bias else None
        self.stride, self.padding, self.algorithm, self.tf32 = stride, padding, algorithm, tf32
        self.dilation, self.groups = dilation, groups

    def extra_repr(self) -> str:
        O, C, KH, KW = self.weight.shape
        options = [f", {name}={getattr(self, name)}" for name in ("dilation", "groups") if getattr(self, name) != 1]
        options += [", bias=False"] if self.bias is None else []
        sizes = f"{self.groups * C}, {O}, kernel_size=({KH}, {KW}), stride={self.stride}, padding={self.padding}"
        return sizes + "".join(options)

    def forward(self, x: Array, lean: bool = False) -> tuple[Array, Backward]:
        """lean: leave dx out, which is then None."""
        y, conv_backward = conv2d(
            x,
            self.weight.data,
            None if self.bias is None else self.bias.data,
            self.stride,
            self.padding,
            input_gradient=not lean,
            weight_gradient=self.weight.requires_grad,
            algorithm=self.algorithm,
            tf32=self.tf32,
            dilation=self.dilation,
            groups=self.groups,
        )

        def backward(dy):
            dx, dweight, *dbias = conv_backward(dy)
            if dweight is not None:
                self.weight.add_grad(dweight, new=True)
            if self.bias is not None:
                self.bias.add_grad(dbias[0], new=True)
            return dx

        return y, backward
