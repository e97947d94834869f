"""Work on a batch cut into blocks: small ones on every core of a CPU, the whole batch at once on a GPU."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minires.backend.arrays import array_module
from minires.backend.cpu import blocks as cpu
from minires.backend.gpu import fusing
from minires.backend.gpu.parameters import takes
from minires.backend.primitives.devices import empty
from minires.backend.primitives.wide import in_float32
from minires.types import Array


def for_each_block(
    function: Callable[[slice], Any],
    array: Array,
    item_bytes: int | None = None,
    block_bytes: int | None = None,
    least_bytes: int = 0,
) -> list[Any]:
    """Call `function(block)` for slices that together cover the first axis of `array`; results in block order.

    On the CPU a slice holds as many items as fit in a core's cache (`item_bytes` each, where the working set of
    an item is larger than the item itself; `block_bytes` in all, but no less than `least_bytes`) and the slices run on
    all threads; on a GPU there is one slice. How the axis is cut depends on sizes alone, never on the number of
    threads. A call from within a block runs its blocks one after another.
    """
    if array_module(array) is not np:
        return [function(slice(0, len(array)))]
    return cpu.for_each_block_of(function, array, item_bytes, block_bytes, least_bytes)


def for_each_band(
    function: Callable[[slice, slice], Any], array: Array, rows: int, row_bytes: int, least_bytes: int = 0
) -> list[Any]:
    """`function(images, rows)` for pairs of slices that cover the first axis of `array` and `rows` rows of each item.

    The finer cut for work on patches, of which one image's may be larger than a cache: `row_bytes` each row, and no
    fewer rows to a band than make `least_bytes`, the size of what they are multiplied by.
    """
    if array_module(array) is not np:
        return [function(slice(0, len(array)), slice(0, rows))]
    return cpu.for_each_band(function, len(array), rows, row_bytes, least_bytes)


def map_blocks(function: Callable[..., Any], *arrays: Array) -> Array:
    """`function(*blocks, out=...)`, an element-wise function, over whole arrays of one shape: a new array.

    Raises ValueError for arrays of several shapes.
    """
    _check_one_shape("map_blocks", arrays)
    y = empty(arrays[0].shape, arrays[0])
    if array_module(*arrays) is not np and takes(*arrays) and fusing.fill(function, arrays, (), y):
        return y
    function = in_float32(function, arrays, y.dtype)
    if y.ndim == 0:
        function(*arrays, out=y)
        return y
    for_each_block(
        lambda block: function(*(array[block] for array in arrays), out=y[block]),
        y,
        2 * y.nbytes // max(1, len(y)),  # there are several arrays
    )
    return y


def sum_blocks(partials: Sequence[Array]) -> Array:
    """Sum of the blocks' partial results in block order, whatever order the threads finished in."""
    if len(partials) == 1:
        return partials[0]
    total = partials[0] + partials[1]
    for partial in partials[2:]:
        total += partial
    return total


def _check_one_shape(name, arrays):
    shape = arrays[0].shape
    for array in arrays:
        if array.shape != shape:  # a block of a smaller one would be another part of it
            raise ValueError(f"{name}: arrays must be of one shape, got {shape} and {array.shape}: broadcast them")
