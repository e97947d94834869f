"""The largest pixel of each window, and the adjoint of choosing it."""

from typing import Any, NamedTuple

import numpy as np

from minires.backend.arrays import array_module
from minires.backend.gpu import pooling as gpu
from minires.backend.gpu.parameters import takes
from minires.backend.halves import widened
from minires.backend.primitives.blocks import for_each_block
from minires.backend.primitives.devices import empty, zeros
from minires.backend.primitives.patches import borrow_padded, im2col, window_views
from minires.types import Array, Sides, Size


class _Chosen(NamedTuple):
    x: Array
    y: Array
    kernel: Size
    stride: Size
    padding: Sides


def max_of_windows(x: Array, kernel: Size, stride: Size, padding: Sides, size: Size) -> tuple[Array, Any]:
    """y (N, OH, OW, C), the largest pixel of each window of x (N, H, W, C), channel by channel; and which it was.

    size: (OH, OW), as `output_size` has it. The border is minus infinity, and NaN is larger than all numbers. The
    second is for `give_to_largest`, and keeps x and y on a CPU, a byte for each number of y on a GPU.
    """
    if array_module(x) is not np and takes(x):
        return gpu.max_pool(x, kernel, stride, padding, size)
    xp = array_module(x)
    y = empty((len(x), *size, x.shape[3]), like=x)

    def forward_block(images):
        first, *others = window_views(borrow_padded(x[images], padding, -xp.inf), kernel, stride, size)
        largest = y[images]
        largest[...] = first
        for pixel in others:
            xp.maximum(largest, pixel, out=largest)

    for_each_block(forward_block, x, 4 * x[0].nbytes)
    return y, _Chosen(x, y, kernel, stride, padding)


def give_to_largest(dy: Array, chosen: Any) -> Array:
    """dx (N, H, W, C), each number of dy (N, OH, OW, C) added to the pixel that was its window's largest.

    chosen: what `max_of_windows` returned. Of equals the first in reading order has it all. Halves are added up in
    float32.
    """
    if not isinstance(chosen, _Chosen):
        return gpu.max_pool_gradient(chosen, dy)
    x, y, kernel, stride, padding = chosen
    xp = array_module(x)
    (_, H, W, C), (_, OH, OW, _) = x.shape, y.shape
    (top, bottom), (left, right) = padding
    dx = empty(x.shape, like=x)
    inside = im2col(xp.ones((1, H, W, 1), x.dtype), kernel, stride, padding).reshape(1, OH, OW, -1, 1) > 0

    def backward_block(images):
        largest = y[images]
        free = xp.ones(largest.shape, bool)  # windows whose dy no pixel has taken yet
        bits = dy[images].view(f"i{dy.itemsize}")  # times 0 is 0, which infinity times 0 is not
        usual = xp is np and np.isfinite(largest).all()
        shape = (len(largest), top + H + bottom, left + W + right, C)
        padded = zeros(shape, like=x, dtype=widened(x.dtype))
        pixels = window_views(borrow_padded(x[images], padding, -xp.inf), kernel, stride, (OH, OW))
        dpixels = window_views(padded, kernel, stride, (OH, OW))
        for k, (pixel, dpixel) in enumerate(zip(pixels, dpixels, strict=True)):
            taken = pixel == largest
            if not usual:  # NaN, the maximum of its windows, equals nothing; -infinity equals the padding
                taken = (taken | xp.isnan(pixel)) & inside[..., k, :]
            taken &= free
            free ^= taken
            dpixel += (bits * taken).view(dy.dtype)
        dx[images] = padded[:, top : top + H, left : left + W]

    for_each_block(backward_block, x, 4 * x[0].nbytes)
    return dx
