"""The three products of a depthwise convolution, groups of one channel each, on a CPU.

    y[n, h, w, c] = sum_ij x_padded[n, h * stride + i * dilation, w * stride + j * dilation, c] * weight[c, 0, i, j]

As a product of matrices that would be one column for each channel, of which BLAS makes nothing. So the windows stay a
view of the padded image, and what is left is number times number, added up: NumPy's einsum, which adds to its result as
it goes. The weight is repeated for every pixel of a row: then a row of W pixels of C channels is one long loop.
Derivation: docs/layers/grouped_conv.md.
"""

import numpy as np

from minires.backend.arrays import array_module
from minires.backend.geometry import Geometry, turned
from minires.backend.primitives.blocks import for_each_block, sum_blocks
from minires.backend.primitives.devices import empty
from minires.backend.primitives.patches import borrow_padded, window_views
from minires.backend.primitives.products import factor
from minires.types import Array


def fits(x: Array, C: int, O: int, groups: int) -> bool:
    """Whether each of C input channels makes one of O output channels, on a CPU."""
    return groups == C == O and array_module(x) is np


def convolve(x: Array, weight: Array, bias: Array | None, geometry: Geometry) -> Array:
    """y (N, OH, OW, C) of x (N, H, W, C), weight (C, 1, KH, KW) and bias (C,) or None."""
    y = empty((len(x), *geometry.output, len(weight)), like=x)
    rows = _rows(weight, geometry.output[1], x, geometry.tf32)

    def forward_block(images):
        _add_up(_windows(x[images], geometry), rows, y[images])
        if bias is not None:
            y[images] += bias

    for_each_block(forward_block, x, _image_bytes(x, y))
    return y


def convolve_input_gradient(dy: Array, weight: Array, geometry: Geometry) -> Array:
    """dx (N, H, W, C): dy times the weight, to every pixel of its window; at stride 1 a convolution of dy."""
    dx = empty((len(dy), *geometry.image, len(weight)), like=dy)
    rows = _rows(weight, geometry.output[1], dy, geometry.tf32)
    for_each_block(lambda images: _scatter(dy[images], rows, geometry, dx[images]), dy, _image_bytes(dy, dx))
    return dx


def convolve_weight_gradient(x: Array, dy: Array, geometry: Geometry) -> Array:
    """dweight (C, 1, KH, KW): each pixel of a window times dy, added up over all windows."""

    def backward_block(images):
        return _correlate(_windows(x[images], geometry), dy[images], geometry)

    return _weight_of(sum_blocks(for_each_block(backward_block, x, _image_bytes(x, dy))))


def convolve_gradients(x: Array, dy: Array, weight: Array, geometry: Geometry) -> tuple[Array, Array]:
    """(dx, dweight), in one pass over dy."""
    return (_gradients_at_stride_1 if geometry.turns else _gradients_at_any_stride)(x, dy, weight, geometry)


def _gradients_at_any_stride(x, dy, weight, geometry):
    dx = empty(x.shape, like=x)
    rows = _rows(weight, geometry.output[1], x, geometry.tf32)

    def backward_block(images):
        _scatter(dy[images], rows, geometry, dx[images])
        return _correlate(_windows(x[images], geometry), dy[images], geometry)

    return dx, _weight_of(sum_blocks(for_each_block(backward_block, x, _image_bytes(x, dx))))


def _gradients_at_stride_1(x, dy, weight, geometry):
    """Both from the windows of dy: as dx is dy's convolution with the turned weight, dweight comes out turned."""
    dx = empty(x.shape, like=x)
    rows = _rows(turned(weight, geometry.groups), geometry.image[1], x, geometry.tf32)

    def backward_block(images):
        windows = _windows(dy[images], geometry.turned)
        _add_up(windows, rows, dx[images])
        return _correlate(windows, x[images], geometry)[::-1, ::-1]

    return dx, _weight_of(sum_blocks(for_each_block(backward_block, x, _image_bytes(x, dx))))


def _rows(weight, columns, like, tf32):
    """weight (C, 1, KH, KW) as (KH, KW, columns, C): for every output pixel of a row."""
    weight = factor(weight.astype(like.dtype, copy=False), tf32)
    by_pixel = weight.transpose(2, 3, 1, 0)
    return np.repeat(by_pixel, columns, axis=2)


def _windows(x, geometry):
    """A view (KH, KW, N, OH, OW, C) of the padded images: each pixel of every window."""
    padded = borrow_padded(factor(x, geometry.tf32), geometry.padding)
    image, row, pixel, number = padded.strides
    (SH, SW), (DH, DW) = geometry.stride, geometry.dilation
    shape = (*geometry.kernel, len(x), *geometry.output, x.shape[3])
    return np.lib.stride_tricks.as_strided(
        padded, shape, (DH * row, DW * pixel, image, SH * row, SW * pixel, number), writeable=False
    )


def _add_up(windows, rows, out):
    """out (N, OH, OW, C) = sum of windows * rows over a window's pixels."""
    if out.dtype == windows.dtype:
        np.einsum("ijnhwc,ijwc->nhwc", windows, rows, out=out)
    else:
        out[...] = np.einsum("ijnhwc,ijwc->nhwc", windows, rows)


def _correlate(windows, dy, geometry):
    """(KH, KW, C): sum of windows * dy over all output pixels, first over those in one column."""
    return np.einsum("ijnhwc,nhwc->ijwc", windows, factor(dy, geometry.tf32)).sum(axis=2)


def _weight_of(dweight):
    """(KH, KW, C) as a weight (C, 1, KH, KW)."""
    return dweight.transpose(2, 0, 1)[:, None]


def _scatter(dy, rows, geometry, dx):
    """dx = every window's dy times the weight, added up where windows overlap."""
    N, (H, W), C = len(dy), geometry.image, dy.shape[3]
    (top, bottom), (left, right) = geometry.padding
    dy = factor(dy, geometry.tf32)
    padded = np.zeros((N, top + H + bottom, left + W + right, C), dy.dtype)
    pixels = window_views(padded, geometry.kernel, geometry.stride, geometry.output, geometry.dilation)
    for pixel, row in zip(pixels, rows.reshape(-1, *rows.shape[2:]), strict=True):
        pixel += dy * row
    dx[...] = padded[:, top : top + H, left : left + W]


def _image_bytes(*arrays):
    return sum(array[0].nbytes for array in arrays)
