"""Functions of blocks, of which those of 16 bits are computed in float32: what a GPU's kernels do by themselves."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minires.backend.arrays import array_module
from minires.backend.cpu import memory
from minires.backend.halves import is_half
from minires.backend.primitives.devices import empty
from minires.types import Array


def in_float32(function: Callable[..., Any], arrays: Sequence[Array], out: np.dtype) -> Callable[..., Any]:
    """function(*blocks, out=block), with blocks of `arrays` and of one of dtype `out` in float32 where they are halves.

    What it writes is rounded once, into the blocks themselves; what it returns is float32.
    """
    if not any(is_half(dtype) for dtype in (out, *(array.dtype for array in arrays))):
        return function

    def computed(*blocks, out):
        copies = [block.astype(np.float32) if is_half(block.dtype) else block for block in blocks]
        room = _room(out) if is_half(out.dtype) else out
        result = function(*copies, out=room)
        for block, copy in zip(blocks, copies, strict=True):
            if copy is not block and getattr(block.flags, "writeable", True):  # CuPy's always are
                _write_back(block, copy)
        if room is not out:
            out[...] = room
        return result

    return computed


def _room(out):
    if array_module(out) is np:
        return memory.scratch("wide", out.shape, np.float32)
    return empty(out.shape, out, np.float32)


def _write_back(block, copy):
    """block = copy, unless it is that already: other threads may read it."""
    xp, rounded = array_module(block), copy.astype(block.dtype)
    if not xp.array_equal(rounded.view(np.uint16), block.view(np.uint16)):
        block[...] = rounded
