"""Batches of images on the GPU: pixels moved within their image, and normalised, in one kernel each."""

from typing import Any

import numpy as np

from minires.backend.gpu import source, source_images
from minires.backend.gpu.compiling import INTEGER, compiled, contiguous, cupy, grid, index_type
from minires.types import Array, Shape, Size

BITS = {
    1: "unsigned char",
    2: "unsigned short",
    4: "unsigned int",
    8: "unsigned long long",
}  # of a number, moved as such
NUMBERS = {"B": "unsigned char", "f": "float", "d": "double"}


def move_pixels(images: Array, offsets: Array | None, mask: Array | None, padding: int) -> Any:
    """A new array as in primitives.images. NotImplemented for offsets other than int64, a mask that is not bool."""
    _, height, width, channels = images.shape
    given = [(array, kind) for array, kind in ((offsets, "q"), (mask, "?")) if array is not None]
    if images.itemsize not in BITS or any(array.dtype != np.dtype(kind) for array, kind in given):
        return NotImplemented
    names = {"q": "const long long *offsets", "?": "const bool *mask"}
    text = source_images.MOVE.format(
        parameters=", ".join(["const Pixel *x", *(names[kind] for _, kind in given)]),
        down="0" if offsets is None else "offsets[2 * image] - padding",
        right="0" if offsets is None else "offsets[2 * image + 1] - padding",
        column="j" if mask is None else "(mask[image] ? width - 1 - j : j)",
    )
    y = cupy().empty(images.shape, images.dtype)
    arrays = [contiguous(images), *(contiguous(array) for array, _ in given), y]
    _launch("move_pixels", BITS[images.itemsize], text, arrays, height, width, channels, padding)
    return y


def keep_pixels(x: Array, stride: Size, channels: int, before: int) -> Any:
    """A new array as in primitives.images. NotImplemented for numbers of other sizes than BITS."""
    (N, H, W, _), (SH, SW) = x.shape, stride
    y = cupy().empty((N, -(-H // SH), -(-W // SW), channels), x.dtype)
    return _kept("keep_pixels", source_images.KEEP, x, y, x.shape, y.shape, stride, before)


def spread_pixels(dy: Array, shape: Shape, stride: Size, before: int) -> Any:
    """The adjoint of `keep_pixels`, and NotImplemented where that is."""
    dx = cupy().empty(shape, dy.dtype)
    return _kept("spread_pixels", source_images.SPREAD, dy, dx, shape, dy.shape, stride, before)


def _kept(name, text, given, result, shape, kept, stride, before):
    if given.itemsize not in BITS:
        return NotImplemented
    sizes = (*shape[1:], *kept[1:], *stride, before)
    names = ("H", "W", "C", "OH", "OW", "O", "SH", "SW", "BEFORE")
    defines = "".join(f"#define {key} {value}\n" for key, value in zip(names, sizes, strict=True))
    _launch(name, BITS[given.itemsize], defines + text, [contiguous(given), result])
    return result


def normalize_rows(images: Array, scale: Array, shift: Array) -> Any:
    """A new array as in primitives.images. NotImplemented for pixels of other kinds than NUMBERS."""
    if images.dtype.char not in NUMBERS or scale.dtype.char != "f" or shift.dtype.char != "f":
        return NotImplemented
    y = cupy().empty(images.shape, np.float32)
    _launch(
        "normalize",
        NUMBERS[images.dtype.char],
        source_images.NORMALIZE,
        [contiguous(images), scale, shift, y],
        scale.size,
    )
    return y


def _launch(name, pixel, text, arrays, *sizes):
    n = arrays[-1].size
    if n:
        index = index_type(max(array.size for array in arrays))
        kernel = compiled(name, f"typedef {pixel} Pixel;\n{text}", "f", index)
        kernel(grid(n), (source.THREADS,), (*arrays, INTEGER[index](n), *map(np.int32, sizes)))
