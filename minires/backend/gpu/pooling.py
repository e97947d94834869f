"""The largest pixels of windows on the GPU: one kernel each way, compiled for the sizes of the images and windows."""

from typing import Any

import numpy as np

from minires.backend.gpu import source, source_images
from minires.backend.gpu.compiling import BLOCKS, INTEGER, compiled, contiguous, cupy, grid, index_type
from minires.backend.gpu.patches import sized
from minires.types import Array, Sides, Size


def max_pool(x: Array, kernel: Size, stride: Size, padding: Sides, size: Size) -> tuple[Array, Any]:
    """y (N, OH, OW, C) as in primitives.pooling, and what its gradient needs: the places, in bytes where those do."""
    N, H, W, C = x.shape
    (top, _), (left, _) = padding
    sizes = (*kernel, *stride, H, W, *size, top, left, 1, 1, C)
    y = cupy().empty((N, *size, C), x.dtype)
    places = cupy().empty(y.shape, np.uint8 if kernel[0] * kernel[1] <= 256 else np.int32)
    _launch("max_pool", source_images.MAX_POOL, sizes, places, x, y, y.size, contiguous(x), y, places)
    return y, (places, sizes, x.shape)


def max_pool_gradient(chosen: Any, dy: Array) -> Array:
    """dx (N, H, W, C), of what `max_pool` has chosen."""
    places, sizes, shape = chosen
    dx = cupy().empty(shape, dy.dtype)
    text = source_images.MAX_POOL_GRADIENT
    _launch("max_pool_gradient", text, sizes, places, dx, dy, dx.size, places, contiguous(dy), dx)
    return dx


def _launch(name, text, sizes, places, *rest):
    first, second, n, *arrays = rest
    real, index = first.dtype.char, index_type(max(first.size, second.size))
    place = "unsigned char" if places.dtype == np.uint8 else "int"
    kernel = compiled(name, f"typedef {place} Place;\n{sized(text, *sizes)}", real, index)
    kernel(grid(n, 8 * BLOCKS), (source.THREADS,), (*arrays, INTEGER[index](n)))
