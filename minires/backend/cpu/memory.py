"""Memory on the CPU that is used again: a pool for whole arrays, and scratch for the work on one block.

NumPy gives a large array back to the system when nobody holds it any more, and the system hands the next one out as
pages that it must find and clear first. A training step makes the same arrays over and over; taken from a pool they
cost nothing. (CuPy has a pool of its own.)
"""

import collections
import math
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from minires.forks import LAST, Locked
from minires.types import Array, Shape

POOLED_BYTES = 64 * 1024  # smaller arrays are malloc's business
SCRATCH_BYTES = 4 * 1024 * 1024  # what scratch memory may keep beyond its last use
ALIGNMENT = 64  # a cache line, and the widest vector register

_scratch, _remembered = threading.local(), threading.local()


class _Pool(Locked):
    """Blocks of memory nobody holds, by size. Those lent and those kept are never more than were ever lent at once.

    The garbage collector may give blocks back, or take some, in any call of this thread's: a list of blocks, once made,
    stays that of its size, and no call stands between reading a number and writing it.
    """

    def __init__(self):
        # the lock is re-entrant: the garbage collector may give a block back while this thread takes one
        super().__init__("taking memory", LAST)
        self.free = collections.OrderedDict()  # bytes: blocks of that size; the size used last is last
        self.lent = self.kept = self.most_lent = 0

    def take(self, size):
        with self.lock:
            blocks = self.free.get(size)
            self.kept -= size if blocks else 0
            self.lent += size
            block = blocks.pop() if blocks else None
            if self.lent > self.most_lent:
                self.most_lent = self.lent
            self.trim(self.most_lent - self.lent)
        if block is not None:
            return block
        try:
            return np.empty(size, np.uint8)
        except MemoryError:
            with self.lock:
                self.lent -= size
                self.most_lent = self.lent
                self.trim(0)
            raise

    def give_back(self, block):
        size = block.nbytes
        with self.lock:
            self.free.setdefault(size, []).append(block)
            self.lent -= size
            self.kept += size
            self.free.move_to_end(size)

    def trim(self, limit):
        """Let go of blocks, of the size longest unused first, until no more than `limit` bytes are kept."""
        for size in list(self.free):
            while self.kept > limit and self.free.get(size):
                self.kept -= size
                self.free[size].pop()
            if self.kept <= limit:
                return


class _Loan:
    """Owns a block for an array and all its views: NumPy keeps it alive as their base, and drops it with the last."""

    def __init__(self, pool, block, shape, dtype):
        self.pool, self.block = pool, block
        address = -(-block.ctypes.data // ALIGNMENT) * ALIGNMENT
        self.__array_interface__ = {"version": 3, "shape": shape, "typestr": dtype.str, "data": (address, False)}

    def __del__(self):
        self.pool.give_back(self.block)


_pool = _Pool()


def empty(shape: Shape, dtype: DTypeLike) -> Array:
    """An uninitialised array, from the pool if it is large."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < POOLED_BYTES:
        return np.empty(shape, dtype)
    return np.asarray(_Loan(_pool, _pool.take(size + ALIGNMENT), tuple(shape), dtype))


def empty_like(shape: Shape, like: Array, dtype: DTypeLike | None = None) -> Array:
    """The same with, but for `dtype`, the dtype of `like`."""
    return empty(shape, dtype or like.dtype)


def release() -> None:
    """Give all memory that nobody holds back to the system."""
    with _pool.lock:
        _pool.trim(0)
        _pool.most_lent = _pool.lent


def scratch(name: str, shape: Shape, dtype: DTypeLike) -> Array:
    """Uninitialised memory of this thread that its next call with the same name overwrites: it stays in cache."""
    array = _scratch.__dict__.get(name)
    if array is not None and array.shape == shape and array.dtype == dtype:
        return array
    need = math.prod(shape) * np.dtype(dtype).itemsize
    memory = array.base if array is not None else None
    if memory is None or not need <= memory.nbytes <= 4 * need + SCRATCH_BYTES:
        memory = np.empty(need, np.uint8)
    array = _scratch.__dict__[name] = np.ndarray(shape, dtype, memory)
    return array


def framed(shape: Shape, dtype: DTypeLike, inside: tuple[slice, ...], value: float) -> Array:
    """Scratch memory that holds `value` outside the slices `inside`; what lies inside is for the caller to write.

    The frame is written only where it differs from the last call's: a small write that lets go of Python's lock and
    takes it again may cost a thread more than copying a whole image.
    """
    array, frame = scratch("framed", shape, dtype), (inside, value)
    if _remembered.__dict__.get("frame_of") is not array or _remembered.frame != frame:
        array[...] = value
        _remembered.frame_of, _remembered.frame = array, frame
    return array


def remembered(name: str, arguments: tuple, make: Callable[..., Any]) -> Any:
    """`make(*arguments)`, or what it gave in this thread's last call with this name, if the arguments were the same."""
    last = _remembered.__dict__.get(name)
    if last is None or last[0] != arguments:
        last = _remembered.__dict__[name] = (arguments, make(*arguments))
    return last[1]
