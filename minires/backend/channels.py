"""Sums over everything but the channels, and numbers a channel applied to every pixel, block by block.

An activation (..., W, C) is read as rows of W * C numbers and a vector of C numbers is tiled to W * C, so that
NumPy's inner loop is long; sums are products with a row of ones, which BLAS does.
"""

from minires.backend.arrays import array_module, empty
from minires.backend.blocks import for_each_block, sum_blocks


def _rows(arrays):
    """The arrays (..., W, C) as matrices (R, W * C), and W."""
    shape = arrays[0].shape
    W = shape[-2] if len(shape) > 2 else 1
    return [array.reshape(-1, W * shape[-1]) for array in arrays], W


def _sum_over_pixels(xp, values, W):
    """(R, W * C) -> (C,), summed over rows and pixels."""
    total = xp.ones(len(values), values.dtype) @ values
    return total.reshape(W, -1).sum(axis=0)


def map_channels(function, arrays, vectors=()):
    """A new array from `function(*blocks, *vectors, out=...)`, element-wise in arrays (..., C) and vectors (C,)."""
    xp = array_module(*arrays, *vectors)
    y = empty(arrays[0].shape, arrays[0])
    if y.size == 0:
        return y
    (rows_of_y, *rows), W = _rows([y, *arrays])
    tiled = [xp.tile(vector, W) for vector in vectors]
    for_each_block(
        lambda block: function(*(array[block] for array in rows), *tiled, out=rows_of_y[block]),
        rows_of_y,
        (len(arrays) + 2) * rows_of_y[0].nbytes,
    )
    return y


def sum_channels(function, arrays, vectors=()):
    """Sums (C,) over all axes but the last of each array that `function(*blocks, *vectors)` returns: a list of them.

    function is element-wise in arrays (..., C) of one shape and vectors (C,), and returns a tuple of arrays.
    """
    xp = array_module(*arrays, *vectors)
    rows, W = _rows(arrays)
    tiled = [xp.tile(vector, W) for vector in vectors]

    def sums_of_block(block):
        values = function(*(array[block] for array in rows), *tiled)
        return [_sum_over_pixels(xp, value, W) for value in values]

    partials = for_each_block(sums_of_block, rows[0], (len(arrays) + 2) * rows[0][0].nbytes)
    return [sum_blocks(of_blocks) for of_blocks in zip(*partials, strict=True)]


def channel_moments(x):
    """mean (C,) and biased variance (C,) of x (..., C) over all axes but the last.

    Each block gives its mean m_b and the sum of squares S_b around it, and these combine without cancellation:
    S = sum S_b + sum n_b (m_b - mean)^2, which generalises the two blocks of Chan, Golub and LeVeque 1979.
    """
    xp = array_module(x)
    (rows,), W = _rows([x])

    def moments_of_block(block):
        values = rows[block]
        count = len(values) * W
        mean = _sum_over_pixels(xp, values, W) / count
        centered = values - xp.tile(mean, W)
        centered *= centered
        return count, mean, _sum_over_pixels(xp, centered, W)

    counts, means, squares = zip(*for_each_block(moments_of_block, rows, 2 * rows[0].nbytes), strict=True)
    total = sum(counts)
    mean = sum_blocks([count * block_mean for count, block_mean in zip(counts, means, strict=True)]) / total
    between = [count * (block_mean - mean) ** 2 for count, block_mean in zip(counts, means, strict=True)]
    return mean, sum_blocks([*squares, *between]) / total
