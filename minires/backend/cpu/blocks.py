"""A batch cut into blocks small enough that what a block touches stays in a core's cache."""

import functools
import itertools
from collections.abc import Callable
from typing import Any

from minires.backend.cpu import workers
from minires.types import Array

# What a block may touch: little beside the last-level cache, much beside what handing over Python's lock costs.
BLOCK_BYTES = 2 * 1024 * 1024


def block_slices(n: int, item_bytes: int, block_bytes: int | None = None) -> list[slice]:
    """Slices of `range(n)` that hold at most `block_bytes` (None: BLOCK_BYTES) each, but at least one item.

    All are of nearly one size, the larger ones first, and unless there is one only their number is even, so that two
    threads, or with many slices any few, finish together.
    """
    return _cut(n, max(1, (block_bytes or BLOCK_BYTES) // max(1, item_bytes)))


@functools.lru_cache(maxsize=256)
def _cut(n, largest):
    count = -(-n // largest)
    count = min(count + count % 2, n) if count > 1 else count
    size, larger = divmod(n, count) if count else (0, 0)
    starts = [block * size + min(block, larger) for block in range(count + 1)]
    return [slice(start, stop) for start, stop in itertools.pairwise(starts)]


def for_each_block(
    function: Callable[[slice], Any], n: int, item_bytes: int, block_bytes: int | None = None
) -> list[Any]:
    """`[function(block) for block in block_slices(n, item_bytes, block_bytes)]`, on all threads."""
    return _for_each(function, block_slices(n, item_bytes, block_bytes))


def for_each_block_of(
    function: Callable[[slice], Any],
    array: Array,
    item_bytes: int | None = None,
    block_bytes: int | None = None,
    least_bytes: int = 0,
) -> list[Any]:
    """The same for the first axis of an array; at least `least_bytes` to a block."""
    item_bytes = item_bytes or array.nbytes // max(1, len(array))
    return for_each_block(function, len(array), item_bytes, max(block_bytes or BLOCK_BYTES, least_bytes))


def for_each_band(
    function: Callable[[slice, slice], Any], n: int, rows: int, row_bytes: int, least_bytes: int = 0
) -> list[Any]:
    """`function(images, rows)` for slices that together cover n images of `rows` rows each, `row_bytes` a row.

    Several whole images to a block where they are small, a band of one image's rows where they are large; at least
    `least_bytes` to a block.
    """
    block_bytes = max(BLOCK_BYTES, least_bytes)
    bands = block_slices(rows, row_bytes, block_bytes)
    if len(bands) == 1:
        images = block_slices(n, rows * row_bytes, block_bytes)
        return _for_each(lambda block: function(block, bands[0]), images)
    pieces = [(slice(image, image + 1), band) for image in range(n) for band in bands]
    return _for_each(lambda piece: function(*piece), pieces)


def _for_each(function, pieces):
    return workers.run(function, pieces)
