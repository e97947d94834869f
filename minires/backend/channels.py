"""Sums over everything but the channels, and numbers a channel applied to every pixel, block by block.

An activation (..., W, C) is read as rows of W * C numbers and a vector of C numbers is tiled to W * C, so that
NumPy's inner loop is long; sums are products with a row of ones, which BLAS does.
"""

import numpy as np

from minires.backend import memory
from minires.backend.arrays import array_module, empty
from minires.backend.blocks import for_each_block, sum_blocks


def _rows(arrays):
    """The arrays (..., W, C) as matrices (R, W * C), and W."""
    shape = arrays[0].shape
    W = shape[-2] if len(shape) > 2 else 1
    return [array.reshape(-1, W * shape[-1]) for array in arrays], W


def _for_each_rows(function, rows):
    """`function(block)` for slices of the rows, half as many as would fit: there are several arrays."""
    return for_each_block(function, rows, 2 * rows[0].nbytes)


def _room_like(rows):
    return memory.scratch("rows", rows.shape, rows.dtype) if array_module(rows) is np else empty(rows.shape, rows)


def _sum_over_pixels(xp, values, W, ones):
    """(R, W * C), or a pair of such to be multiplied, -> (C,), summed over rows and pixels."""
    if not isinstance(values, tuple):
        total = ones[: len(values)] @ values
    elif xp is np:
        total = np.einsum("rw,rw->w", *values)
    else:
        total = ones[: len(values[0])] @ (values[0] * values[1])
    return total.reshape(W, -1).sum(axis=0)


def map_channels(function, arrays, vectors=()):
    """A new array from `function(*blocks, *vectors, out=...)`, element-wise in arrays (..., C) and vectors (C,)."""
    xp = array_module(*arrays, *vectors)
    y = empty(arrays[0].shape, arrays[0])
    if y.size == 0:
        return y
    (rows_of_y, *rows), W = _rows([y, *arrays])
    tiled = [xp.tile(vector, W) for vector in vectors]
    _for_each_rows(lambda block: function(*(array[block] for array in rows), *tiled, out=rows_of_y[block]), rows_of_y)
    return y


def sum_channels(function, arrays, vectors=()):
    """Sums (C,) over all axes but the last of what `function(*blocks, *vectors, out=...)` returns: a list of them.

    function is element-wise in arrays (..., C) of one shape and vectors (C,), and returns a tuple, of which each
    item is an array, or a pair of arrays whose product is summed. out: room for one array of a block's shape.
    """
    xp = array_module(*arrays, *vectors)
    rows, W = _rows(arrays)
    tiled = [xp.tile(vector, W) for vector in vectors]
    ones = xp.ones(len(rows[0]), rows[0].dtype)

    def sums_of_block(block):
        blocks = [array[block] for array in rows]
        return [_sum_over_pixels(xp, value, W, ones) for value in function(*blocks, *tiled, out=_room_like(blocks[0]))]

    return [sum_blocks(of_blocks) for of_blocks in zip(*_for_each_rows(sums_of_block, rows[0]), strict=True)]


def channel_moments(x):
    """mean (C,) and biased variance (C,) of x (..., C) over all axes but the last.

    Each block gives its mean m_b and the sum of squares S_b around it, and these combine without cancellation:
    S = sum S_b + sum n_b (m_b - mean)^2, which generalises the two blocks of Chan, Golub and LeVeque 1979.
    """
    xp = array_module(x)
    (rows,), W = _rows([x])
    ones = xp.ones(len(rows), x.dtype)

    def moments_of_block(block):
        values = rows[block]
        count = len(values) * W
        mean = _sum_over_pixels(xp, values, W, ones) / count
        if xp is np:
            squares = _sum_over_pixels(xp, (values, values), W, ones) - count * mean * mean
            if (count * mean * mean <= 4 * squares).all():
                return count, mean, squares  # the mean is near enough to 0 for a sum of squares around 0 to do
        centered = _room_like(values)
        xp.subtract(values, xp.tile(mean, W), out=centered)
        return count, mean, _sum_over_pixels(xp, (centered, centered), W, ones)

    counts, means, squares = zip(*_for_each_rows(moments_of_block, rows), strict=True)
    total = sum(counts)
    mean = sum_blocks([count * block_mean for count, block_mean in zip(counts, means, strict=True)]) / total
    between = [count * (block_mean - mean) ** 2 for count, block_mean in zip(counts, means, strict=True)]
    return mean, sum_blocks([*squares, *between]) / total
