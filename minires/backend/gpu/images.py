"""Batches of images on the GPU: pixels moved within their image, and normalised, in one kernel each."""

from typing import Any

import numpy as np

from minires.backend.gpu import source, source_images
from minires.backend.gpu.compiling import INTEGER, compiled, contiguous, cupy, grid, index_type
from minires.types import Array

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
        index = index_type(n)
        kernel = compiled(name, f"typedef {pixel} Pixel;\n{text}", "f", index)
        kernel(grid(n), (source.THREADS,), (*arrays, INTEGER[index](n), *map(np.int32, sizes)))
