"""Batches of images: pixels moved within them, normalised, or left out."""

import numpy as np

from minires.backend.arrays import array_module
from minires.backend.gpu import images as gpu
from minires.backend.primitives.devices import zeros
from minires.types import Array, Shape, Size


def move_pixels(images: Array, offsets: Array | None = None, mask: Array | None = None, padding: int = 0) -> Array:
    """Shifted, and then mirrored left to right where the mask is true: a new array.

        y[n, i, j] = images[n, i + offsets[n, 0] - padding, j' + offsets[n, 1] - padding],  0 outside of the image

    with j' = W - 1 - j where mask[n], else j. images: (N, H, W, C), any dtype.   offsets: integers (N, 2) from 0 to
    2 * padding, None: no shift.   mask: bool (N,), None: none is mirrored.
    """
    if array_module(images, offsets, mask) is not np:
        found = gpu.move_pixels(images, offsets, mask, padding)
        if found is not NotImplemented:
            return found
    moved = images if offsets is None else _shifted(images, offsets, padding)
    if mask is not None:
        return _mirrored(moved, mask)
    return moved.copy() if moved is images else moved


def _shifted(images, offsets, padding):
    xp = array_module(images)
    n, height, width, channels = images.shape
    padded = xp.zeros((n, height + 2 * padding, width + 2 * padding, channels), images.dtype)
    padded[:, padding : padding + height, padding : padding + width] = images
    image, row, pixel, number = padded.strides
    shifts = 2 * padding + 1
    windows = xp.lib.stride_tricks.as_strided(  # a view: windows[n, i, j] is image n, shifted by i rows and j columns
        padded, (n, shifts, shifts, height, width, channels), (image, row, pixel, row, pixel, number)
    )
    return windows[xp.arange(n), offsets[:, 0], offsets[:, 1]]


def _mirrored(images, mask):
    xp = array_module(images)
    n, height, width, channels = images.shape
    columns = xp.arange(width)
    columns = xp.where(mask[:, None, None], width - 1 - columns, columns)  # (N, 1, W), where a pixel comes from
    starts = xp.arange(0, n * height * width, width).reshape(n, height, 1)  # the pixel that each row begins with
    pixels = images.reshape(-1, channels)  # (N, H, W, C) -> (N*H*W, C)
    return pixels.take(starts + columns, axis=0)  # four times as fast as pixels[...]


def normalize_rows(images: Array, scale: Array, shift: Array) -> Array:
    """y = images * scale + shift, in float32, of images (N, H, W, C), with float32 vectors (W * C,): a new array."""
    if array_module(images, scale, shift) is not np:
        found = gpu.normalize_rows(images, scale, shift)
        if found is not NotImplemented:
            return found
    y = images.astype(np.float32).reshape(-1, scale.size)  # (N, H, W, C) -> (N*H, W*C)
    y *= scale
    y += shift
    return y.reshape(images.shape)


def keep_pixels(x: Array, stride: Size, channels: int, before: int) -> Array:
    """y (N, ceil(H / SH), ceil(W / SW), channels), x (N, H, W, C) at every SH-th and SW-th pixel: a new array.

    Its channels before to before + C are those of x, the others 0.
    """
    if array_module(x) is not np:
        found = gpu.keep_pixels(x, stride, channels, before)
        if found is not NotImplemented:
            return found
    kept = x[:, :: stride[0], :: stride[1]]
    y = zeros((*kept.shape[:3], channels), like=x)
    y[..., before : before + x.shape[3]] = kept
    return y


def spread_pixels(dy: Array, shape: Shape, stride: Size, before: int) -> Array:
    """The adjoint of keep_pixels: dx of this shape, the part of dy where a pixel was kept, and 0 elsewhere."""
    if array_module(dy) is not np:
        found = gpu.spread_pixels(dy, shape, stride, before)
        if found is not NotImplemented:
            return found
    dx = zeros(shape, like=dy)
    dx[:, :: stride[0], :: stride[1]] = dy[..., before : before + shape[3]]
    return dx
