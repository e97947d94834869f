"""Convolution by im2col: every output pixel's window becomes a row of a matrix, and one product does the rest.

Derivation: docs/layers/conv.md.
"""

import math

import numpy as np

from minires.backend import (
    array_module,
    borrow_patches,
    col2im,
    empty,
    for_each_band,
    for_each_block,
    map_in_place,
    output_size,
    sum_blocks,
    sum_channels,
    winograd,
)
from minires.layers.checks import check_float, check_gradient, check_image, check_sizes, padding_of, pair
from minires.module import Module, Parameter


def conv2d(x, weight, bias=None, stride=1, padding=0, input_gradient=True, algorithm="auto"):
    """y[n, oh, ow, o] = bias[o] + sum_ijc weight[o, c, i, j] * x_padded[n, oh * stride + i, ow * stride + j, c]

    x (N, H, W, C), weight (O, C, KH, KW), bias (O,) or None: floating-point arrays of one dtype and device.
    stride: a number or (rows, columns).   padding: a number, (rows, columns), or ((top, bottom), (left, right)).
    Returns y (N, OH, OW, O), OH = (top + H + bottom - KH) // stride + 1, and
    backward(dy) -> (dx, dweight), or (dx, dweight, dbias) where there is a bias. input_gradient=False leaves dx out:
    it is None, as the first layer of a network has no use for it.
    algorithm: "im2col"; "winograd", for 3x3 kernels at stride 1 on a CPU; or "auto", which takes winograd where it is
    faster, from 128 channels and 64 tiles of 4x4 pixels on. Its results differ in the last digits.
    Raises ValueError for shapes that do not fit, an empty batch, a kernel larger than the padded image, and winograd
    where it cannot be used.
    Source: Dumoulin and Visin 2016, sections 2 and 4; im2col: Chellapilla et al. 2006, section 2.1;
    winograd: Lavin and Gray 2015, section 4.
    """
    stride, padding = pair("conv2d", "stride", stride, least=1), padding_of("conv2d", padding)
    xp = array_module(x, weight, bias)
    check_image("conv2d", x)
    check_float("conv2d", x, weight, bias)
    _check_weight(x, weight, bias)
    N, H, W, C = x.shape
    O, _, KH, KW = weight.shape
    OH, OW = output_size((H, W), (KH, KW), stride, padding, "conv2d")
    if _takes_winograd(algorithm, x, weight, stride, padding, (OH, OW)):
        y, gradients = _winograd(x, weight, padding, input_gradient)
    else:
        y, gradients = _im2col(x, weight, stride, padding, (OH, OW), input_gradient)
    if bias is not None:
        map_in_place(lambda block: xp.add(block, bias, out=block), y)

    def backward(dy):
        check_gradient("conv2d", dy, (N, OH, OW, O))
        dx, dweight = gradients(dy)
        return (dx, dweight) if bias is None else (dx, dweight, *sum_channels(lambda dy, out: (dy,), (dy,)))

    return y, backward


def _im2col(x, weight, stride, padding, size, input_gradient):
    """y = im2col(x) @ weight_matrix, without bias, and its gradients(dy) -> (dx, dweight)."""
    xp, (O, C, KH, KW), (OH, OW) = array_module(x), weight.shape, size
    kernel = (KH, KW)
    weight_matrix = weight.transpose(0, 2, 3, 1).reshape(O, KH * KW * C).T
    y = empty((len(x), OH, OW, O), like=x)

    def forward_block(images, rows):
        patches = borrow_patches(x[images], kernel, stride, padding, rows=rows).reshape(-1, KH * KW * C)
        xp.matmul(patches, weight_matrix, out=y[images, rows].reshape(-1, O))

    for_each_band(forward_block, x, OH, OW * weight_matrix[:, 0].nbytes, weight_matrix.nbytes)

    def gradients(dy):
        if not input_gradient:
            return None, _weight_gradient(dy, x, kernel, stride, padding)
        if stride == (1, 1) and all(side < k for k, sides in zip(kernel, padding, strict=True) for side in sides):
            return _backward_stride_1(dy, x, weight, padding)
        return _backward_any_stride(dy, x, weight_matrix, kernel, stride, padding)

    return y, gradients


def _weight_gradient(dy, x, kernel, stride, padding):
    """y = im2col(x) @ weight_matrix, so  dweight_matrix = im2col(x)^T @ dy."""
    (_, OH, OW, O), C, (KH, KW) = dy.shape, x.shape[3], kernel

    def backward_block(images, rows):
        patches = borrow_patches(x[images], kernel, stride, padding, rows=rows).reshape(-1, KH * KW * C)
        return patches.T @ dy[images, rows].reshape(-1, O)

    column = KH * KW * C * x.itemsize
    dweight_matrix = sum_blocks(for_each_band(backward_block, x, OH, OW * column, column * O))
    return dweight_matrix.reshape(KH, KW, C, O).transpose(3, 2, 0, 1)


def _backward_any_stride(dy, x, weight_matrix, kernel, stride, padding):
    """y = im2col(x) @ weight_matrix, read backwards:

    dweight_matrix = im2col(x)^T @ dy,   dx = col2im(dy @ weight_matrix^T).
    """
    (KH, KW), C, O = kernel, x.shape[3], dy.shape[3]
    N, OH, OW, _ = dy.shape
    dx = empty(x.shape, like=x)

    def backward_block(images):
        dy_rows = dy[images].reshape(-1, O)
        dpatches = (dy_rows @ weight_matrix.T).reshape(-1, OH, OW, KH, KW, C)
        dx[images] = col2im(dpatches, x.shape[1:3], stride, padding)
        return borrow_patches(x[images], kernel, stride, padding).reshape(-1, KH * KW * C).T @ dy_rows

    patches_bytes = 2 * OH * OW * KH * KW * C * x.itemsize
    dweight_matrix = sum_blocks(for_each_block(backward_block, x, patches_bytes, least_bytes=weight_matrix.nbytes))
    return dx, dweight_matrix.reshape(KH, KW, C, O).transpose(3, 2, 0, 1)


def _backward_stride_1(dy, x, weight, padding):
    """At stride 1 both gradients come from one patch matrix of dy, and nothing is scattered:

    dx is the convolution of dy with the kernel turned by 180 degrees and its channels swapped,
    dweight the product of x with the same patches.
    """
    O, C, KH, KW = weight.shape
    _, H, W, _ = x.shape
    opposite = _opposite((KH, KW), padding)
    turned_matrix = _turned(weight).reshape(KH * KW * O, C)
    dx = empty(x.shape, like=x)

    def backward_block(images, rows):
        dpatches = borrow_patches(dy[images], (KH, KW), (1, 1), opposite, rows=rows).reshape(-1, KH * KW * O)
        array_module(x).matmul(dpatches, turned_matrix, out=dx[images, rows].reshape(-1, C))
        return x[images, rows].reshape(-1, C).T @ dpatches

    partials = for_each_band(backward_block, x, H, W * turned_matrix[:, 0].nbytes, turned_matrix.nbytes)
    dturned = sum_blocks(partials)
    return dx, dturned.reshape(C, KH, KW, O)[:, ::-1, ::-1].transpose(3, 0, 1, 2)


def _winograd(x, weight, padding, input_gradient):
    """As `_im2col` for 3x3 kernels at stride 1: the same two convolutions, each by Winograd's algorithm."""
    y = winograd.convolve(x, weight.transpose(2, 3, 1, 0), padding)

    def gradients(dy):
        if not input_gradient:
            return None, _weight_gradient(dy, x, (3, 3), (1, 1), padding)
        dx, dturned = winograd.convolve_and_correlate(dy, _turned(weight), _opposite((3, 3), padding), x)
        return dx, dturned[::-1, ::-1].transpose(2, 3, 0, 1)

    return y, gradients


def _takes_winograd(algorithm, x, weight, stride, padding, size):
    if algorithm not in ("auto", "im2col", "winograd"):
        raise ValueError(f"conv2d: unknown algorithm {algorithm!r}: choose auto, im2col or winograd")
    fits = winograd.fits(x, weight.shape[2:], stride, padding)
    if algorithm == "winograd" and not fits:
        raise ValueError(
            f"conv2d: winograd is for 3x3 kernels at stride 1 with padding of at most 2 on a CPU, got kernel "
            f"{weight.shape[2]}x{weight.shape[3]}, stride {stride}, padding {padding}: use im2col"
        )
    return fits and (algorithm == "winograd" or (algorithm == "auto" and winograd.pays(len(x), weight, size)))


def _turned(weight):
    """The kernel of the convolution that carries dy back to dx: turned by 180 degrees, channels swapped."""
    return weight[:, :, ::-1, ::-1].transpose(2, 3, 0, 1)


def _opposite(kernel, padding):
    """Its padding."""
    return tuple((k - 1 - before, k - 1 - after) for k, (before, after) in zip(kernel, padding, strict=True))


def _check_weight(x, weight, bias):
    if weight.ndim != 4 or min(weight.shape) < 1:
        raise ValueError(f"conv2d: weight must have shape (O, C, KH, KW), all at least 1, got {weight.shape}")
    if x.shape[3] != weight.shape[1]:
        raise ValueError(
            f"conv2d: {x.shape[3]} input channels, weight expects {weight.shape[1]}: x is (N, H, W, C), "
            "weight (O, C, KH, KW)"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(
            f"conv2d: bias has shape {bias.shape}, {weight.shape[0]} output channels need ({weight.shape[0]},)"
        )


class Conv2d(Module):
    """`conv2d` with its weight (O, C, KH, KW) and bias (O,), or bias=False.

    Initial values are PyTorch's: uniform in +-1 / sqrt(C * KH * KW). rng: a NumPy Generator or a seed.
    """

    algorithm = "auto"  # of conv2d; may be set for one instance, or here for all

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, bias=True, rng=None):
        check_sizes("Conv2d", in_channels=in_channels, out_channels=out_channels)
        rng = np.random.default_rng(rng)
        kernel = pair("Conv2d", "kernel_size", kernel_size, least=1)
        bound = 1 / math.sqrt(in_channels * math.prod(kernel))
        self.weight = Parameter(rng.uniform(-bound, bound, (out_channels, in_channels, *kernel)).astype(np.float32))
        self.bias = Parameter(rng.uniform(-bound, bound, out_channels).astype(np.float32)) if bias else None
        self.stride, self.padding = stride, padding

    def forward(self, x, input_gradient=True):
        bias = None if self.bias is None else self.bias.data
        geometry = (self.stride, self.padding)
        y, conv_backward = conv2d(x, self.weight.data, bias, *geometry, input_gradient, self.algorithm)

        def backward(dy):
            dx, dweight, *dbias = conv_backward(dy)
            self.weight.add_grad(dweight)
            if self.bias is not None:
                self.bias.add_grad(*dbias)
            return dx

        return y, backward
