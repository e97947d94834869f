"""Memory on the CPU that is used again: a pool for whole arrays, and scratch for the work on one block.

NumPy gives a large array back to the system when nobody holds it any more, and the system hands the next one out as
pages that it must find and clear first. A training step makes the same arrays over and over; taken from a pool they
cost nothing. (CuPy has a pool of its own.)
"""

import collections
import math
import sys
import threading
import weakref
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

    Ctrl-C may end any call, and the garbage collector may let go of arrays in any: what must be done together stands
    without a call between, and an array that goes does no more than put its block where `collect` finds it.
    """

    def __init__(self):
        super().__init__("taking memory", LAST)
        self.free = collections.OrderedDict()  # bytes: blocks of that size; the size used last is last
        self.loans = set()  # of arrays that are there
        self.ended: collections.deque[_Loan] = collections.deque()  # loans of arrays that are gone
        self.lent_bytes = self.kept_bytes = self.most_lent = 0

    @property
    def lent(self):
        """Bytes that arrays hold."""
        self.collect()
        return self.lent_bytes

    @property
    def kept(self):
        """Bytes that nobody holds."""
        self.collect()
        return self.kept_bytes

    def lend(self, owner, size):
        """A block of `size` bytes, until `owner` is gone."""
        loan = _Loan(owner, self.ended.append)
        loan.size, loan.block = size, None
        with self.lock:
            self.collect()
            self.loans.add(loan)
            blocks = self.free.get(size)
            if blocks:
                loan.block = blocks[-1]
                del blocks[-1]
                self.kept_bytes -= size
                self.lent_bytes += size
                return loan.block
            self.settle(size)
        block = self.new(size)
        with self.lock:
            loan.block = block
            self.lent_bytes += size
            self.settle()
        return block

    def new(self, size):
        """A block from the system; where that has none, all that is kept goes first."""
        try:
            return _Block(size)
        except MemoryError:
            self.release()
            return _Block(size)

    def collect(self):
        """Take back the blocks of arrays that are gone."""
        if not self.ended:
            return
        with self.lock:
            while self.ended:
                loan = self.ended[0]
                blocks = self.free.setdefault(loan.size, [])
                self.free.move_to_end(loan.size)
                back = [loan.block]
                if loan.block is not None:
                    blocks += back
                    self.kept_bytes += loan.size
                    self.lent_bytes -= loan.size
                    loan.block = None
                self.loans.discard(loan)
                if self.ended and self.ended[0] is loan:
                    del self.ended[0]

    def settle(self, more=0):
        """Note the most ever lent, `more` included, and let go of what is kept beyond that."""
        if self.lent_bytes + more > self.most_lent:
            self.most_lent = self.lent_bytes + more
        self.trim(self.most_lent - self.lent_bytes - more)

    def release(self):
        """Let go of everything that nobody holds."""
        with self.lock:
            self.collect()
            self.most_lent = self.lent_bytes
            self.trim(0)

    def trim(self, limit):
        """Let go of blocks, of the size longest unused first, until no more than `limit` bytes are kept."""
        if self.kept_bytes <= limit:
            return
        for size, blocks in list(self.free.items()):
            while blocks and self.kept_bytes > limit:
                del blocks[-1]
                self.kept_bytes -= size


class _Block:
    """Memory, and where its first whole ALIGNMENT is, which NumPy takes long to say."""

    __slots__ = ("address", "memory", "nbytes")

    def __init__(self, size):
        if size > sys.maxsize:  # 2 GB in a browser; NumPy would speak of a dimension
            raise MemoryError(f"{size:,} bytes are more than an address reaches")
        self.memory, self.nbytes = np.empty(size, np.uint8), size
        self.address = -(-self.memory.ctypes.data // ALIGNMENT) * ALIGNMENT


class _Loan(weakref.ref):
    """Of a block, to an object; when that is gone the loan is put among those that have ended, by C alone."""

    __slots__ = ("block", "size")
    block: _Block | None
    size: int


class _Owner:
    """Owns a block for an array and all its views: NumPy keeps it alive as their base, and drops it with the last."""

    __array_interface__: dict[str, Any]


_pool = _Pool()


def empty(shape: Shape, dtype: DTypeLike) -> Array:
    """An uninitialised array, from the pool if it is large."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < POOLED_BYTES:
        return np.empty(shape, dtype)
    owner = _Owner()
    address = _pool.lend(owner, size + ALIGNMENT).address
    owner.__array_interface__ = {"version": 3, "shape": tuple(shape), "typestr": dtype.str, "data": (address, False)}
    return np.asarray(owner).view(dtype)  # a bfloat16's typestr says no more than its size


def empty_like(shape: Shape, like: Array, dtype: DTypeLike | None = None) -> Array:
    """The same with, but for `dtype`, the dtype of `like`."""
    return empty(shape, dtype or like.dtype)


def release() -> None:
    """Give all memory that nobody holds back to the system."""
    _pool.release()


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


def remembered(name: str, size: int, arguments: tuple, make: Callable[..., Any]) -> Any:
    """`make(size, *arguments)`, or what it gave in this thread's last call with this name.

    That is where the arguments were the same, and the size no smaller.
    """
    last = _remembered.__dict__.get(name)
    if last is None or last[0] < size or last[1] != arguments:
        last = _remembered.__dict__[name] = (size, arguments, make(size, *arguments))
    return last[2]
