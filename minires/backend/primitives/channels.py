"""Sums over everything but the channels, and numbers a channel applied to every pixel, block by block.

An activation (..., W, C) is read as rows of W * C numbers and a vector of C numbers is tiled to W * C, so that
NumPy's inner loop is long; sums are products with a row of ones, which BLAS does.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minires.backend.arrays import array_module
from minires.backend.cpu import blocks as cpu
from minires.backend.cpu import memory
from minires.backend.gpu import fusing, sums
from minires.backend.gpu.parameters import takes
from minires.backend.halves import widened
from minires.backend.primitives.blocks import for_each_block, sum_blocks
from minires.backend.primitives.devices import empty
from minires.backend.primitives.elementwise import elementwise
from minires.backend.primitives.wide import in_float32
from minires.types import Array


def _rows(arrays):
    """The arrays (..., W, C) as matrices (R, W * C), and W."""
    shape = arrays[0].shape
    W = shape[-2] if len(shape) > 2 else 1
    return [array.reshape(-1, W * shape[-1]) for array in arrays], W


def _tiled(vector, W):
    """A vector (C,) W times after one another, (W * C,)."""
    tiled = array_module(vector).empty((W, len(vector)), vector.dtype)
    tiled[...] = vector
    return tiled.reshape(-1)


def _for_each_rows(function, rows):
    """`function(block)` for slices of the rows: few and long, since each is a handful of quick calls of NumPy."""
    block_bytes = min(cpu.BLOCK_BYTES, max(cpu.BLOCK_BYTES // 4, rows.nbytes // 2))
    return for_each_block(function, rows, rows[0].nbytes, block_bytes)


def _room(rows, dtype):
    return memory.scratch("rows", rows.shape, dtype) if array_module(rows) is np else empty(rows.shape, rows, dtype)


def _sum_of_rows(xp, values, ones):
    """(R, W * C), or a pair of such to be multiplied, -> (W * C,)."""
    if not isinstance(values, tuple):
        return ones[: len(values)] @ values
    if xp is np:
        return np.einsum("rw,rw->w", *values)
    return ones[: len(values[0])] @ (values[0] * values[1])


def map_channels(function: Callable[..., Any], arrays: Sequence[Array], vectors: Sequence[Array] = ()) -> Array:
    """A new array from `function(*blocks, *vectors, out=...)`, element-wise in arrays (..., C) and vectors (C,)."""
    y = empty(arrays[0].shape, arrays[0])
    if y.size == 0:
        return y
    on_gpu = array_module(*arrays, *vectors) is not np
    if on_gpu and takes(*arrays, *vectors) and fusing.fill(function, arrays, vectors, y):
        return y
    function = in_float32(function, arrays, y.dtype)
    (rows_of_y, *rows), W = _rows([y, *arrays])
    tiled = [_tiled(vector, W) for vector in vectors]
    _for_each_rows(lambda block: function(*(array[block] for array in rows), *tiled, out=rows_of_y[block]), rows_of_y)
    return y


def join_channels(xs: Sequence[Array]) -> Array:
    """The arrays (..., C_k) of one leading shape side by side, (..., sum C_k): a new array."""
    xp = array_module(*xs)
    if xp is not np:
        return xp.concatenate(xs, axis=-1)
    ends = list(itertools.accumulate(x.shape[-1] for x in xs))
    y = empty((*xs[0].shape[:-1], ends[-1]), xs[0])
    rows_of_y, *rows = (array.reshape(-1, array.shape[-1]) for array in (y, *xs))

    def copy(block):
        for x, end in zip(rows, ends, strict=True):
            rows_of_y[block, end - x.shape[1] : end] = x[block]

    for_each_block(copy, rows_of_y)
    return y


def part_channels(y: Array, widths: Sequence[int]) -> tuple[Array, ...]:
    """The arrays (..., C_k) that stand side by side in y (..., sum C_k), each a new one."""
    ends = list(itertools.accumulate(widths))
    parts = [y[..., end - width : end] for width, end in zip(widths, ends, strict=True)]
    if array_module(y) is not np:
        return tuple(part.copy() for part in parts)
    xs = [empty(part.shape, y) for part in parts]
    rows_of_y, *rows = (array.reshape(-1, array.shape[-1]) for array in (y, *xs))

    def copy(block):
        for x, end in zip(rows, ends, strict=True):
            x[block] = rows_of_y[block, end - x.shape[1] : end]

    for_each_block(copy, rows_of_y)
    return tuple(xs)


def _the_sums(*sums):
    return sums


def sum_channels(
    function: Callable[..., tuple[Any, ...]],
    arrays: Sequence[Array],
    vectors: Sequence[Array] = (),
    then: Callable[..., Any] = _the_sums,
    *more: Array | None,
    **named: Any,
) -> Any:
    """then(*sums, *more, **named), or a tuple of the sums (C,), over all axes but the last, of function(...)'s terms.

    function(*blocks, *vectors, out=...) is element-wise in arrays (..., C) of one shape and vectors (C,), and returns a
    tuple, of which each item is an array, or a pair of arrays whose product is summed. out: room for one array of a
    block's shape. Sums of halves are float32. then: element-wise in the sums and in `more`, arrays (C,), as
    `elementwise` has it; on a GPU it is part of the kernel that ends the sums.
    """
    xp = array_module(*arrays, *vectors)
    if arrays[0].size == 0:
        terms = function(*arrays, *vectors, out=empty(arrays[0].shape, arrays[0]))
        return then(*(xp.zeros(arrays[0].shape[-1], widened(arrays[0].dtype)) for _ in terms), *more, **named)
    present = [array for array in (*more, *named.values()) if hasattr(array, "dtype")]
    if xp is not np and takes(*arrays, *vectors, *present):
        found = sums.sum_channels(function, arrays, vectors, then, more, named)
        if found is not NotImplemented:
            return found
    return elementwise(then, *_sums_by_blocks(function, arrays, vectors), *more, **named)


def _sums_by_blocks(function, arrays, vectors):
    xp, dtype = array_module(*arrays), widened(arrays[0].dtype)
    function = in_float32(function, arrays, dtype)
    rows, W = _rows(arrays)
    tiled = [_tiled(vector, W).astype(widened(vector.dtype), copy=False) for vector in vectors]
    ones = xp.ones(len(rows[0]), dtype)

    def sums_of_block(block):
        blocks = [array[block] for array in rows]
        return [_sum_of_rows(xp, value, ones) for value in function(*blocks, *tiled, out=_room(blocks[0], dtype))]

    partials = _for_each_rows(sums_of_block, rows[0])
    return [sum_blocks(of_blocks).reshape(W, -1).sum(axis=0) for of_blocks in zip(*partials, strict=True)]


def _the_moments(mean, var):
    return mean, var


def channel_moments(x: Array, then: Callable[..., Any] = _the_moments, *more: Array | None, **named: Any) -> Any:
    """then(mean, var, *more, **named), or mean (C,) and biased variance (C,), of x (..., C) over all axes but the last.

    then, more, named: as in `sum_channels`.
    var = mean(x^2) - mean^2 where that loses no digits, which needs one pass over x; where the mean is far from 0,
    as seen from the spread, the same of x - mean, whose own mean is the rounding error of the first
    (Chan, Golub and LeVeque 1983, equation 1.7). On a GPU, which nobody asks, one pass over x - its first pixel.
    """
    count = x.size // x.shape[-1]
    if array_module(x) is not np:  # the first pixel is near enough to the mean, and there without a pass over x
        return _moments_around(x, x.reshape(-1, x.shape[-1])[0], then, more, named)
    total, squares = sum_channels(lambda x, out: (x, (x, x)), (x,))
    mean = total / count
    var = squares / count - mean * mean
    if far_from_zero(mean, var):
        return _moments_around(x, mean, then, more, named)
    return then(mean, var, *more, **named)


def _moments_around(x, mean, then, more, named):
    """then(...) of the moments from sums of x - mean, where `mean` is near the mean, as seen from the spread."""

    def centered(x, mean, out):
        array_module(x).subtract(x, mean, out=out)
        return out, (out, out)

    def mended(total, squares, mean, *more, count, **named):
        error = total / count
        return then(mean + error, squares / count - error * error, *more, **named)

    return sum_channels(centered, (x,), (mean,), mended, mean, *more, count=x.size // x.shape[-1], **named)


def far_from_zero(mean: Array, var: Array) -> bool:
    """Whether, in any channel, sums around 0 would lose digits that sums around the mean keep.

    On a GPU always, rather than wait for the answer.
    """
    return array_module(mean) is not np or not (mean * mean <= 4 * var).all()
