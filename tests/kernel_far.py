"""Kernels on arrays of about 2^31 numbers, where an index of 32 bits ends, without the memory for them.

The arrays are mapped, not filled: a page of which nothing has been written takes no memory. Of each launch the first
block runs and the last, with the strides that they have on a GPU: they touch a few thousand pages.
"""

import contextlib
import mmap
import sys
from unittest import mock

import cupy_double
import kernel_double
import numpy as np

from minires import backend
from minires.backend import array_module
from minires.backend.gpu import compiling, source

NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)  # Python names it since 3.13
SIDE = 2048  # of the images, (N, SIDE, SIDE, 1): one is what a grid does at a time
NO_PADDING = ((0, 0), (0, 0))
SIZES = {"int": compiling.SMALL - 1, "long long": 2**31 + 12345}  # numbers of an array, by the indices that it gets


class NoRoom(Exception):
    """This machine maps no more memory than it has."""


def mapped(shape, dtype="f"):
    """An array of zeros, of which only those pages take memory that are written."""
    dtype, count = np.dtype(dtype), int(np.prod(shape, dtype=np.int64))
    try:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NO_RESERVE
        room = mmap.mmap(-1, max(1, count * dtype.itemsize), flags=flags)
    except OSError as error:
        raise NoRoom(f"{count * dtype.itemsize:,} bytes cannot be mapped: {error}") from error
    room.madvise(mmap.MADV_NOHUGEPAGE)  # else a page would be the whole stride of a launch
    return np.frombuffer(room, dtype, count).reshape(shape)


def ends(width, height):
    """The first block of a grid and the last."""
    return [(0, 0), (width - 1, height - 1)]


@contextlib.contextmanager
def far():
    """Kernels are sanitized and run at both ends of the grid, and new arrays are mapped."""

    def empty(shape, dtype):
        return cupy_double.ndarray(mapped(shape, dtype))

    with (
        mock.patch.dict(sys.modules, cupy=cupy_double),
        mock.patch.object(cupy_double, "empty", empty, create=True),
        kernel_double.running(kernel_double.sanitized(blocks=ends)),
    ):
        yield


def _done(array, blocks, numbers=source.THREADS):
    """Where the first and the last of so many blocks have been: (first, last, some other) of each stride, a view."""
    flat, stride = array.reshape(-1), blocks * numbers
    whole = flat[: flat.size // stride * stride].reshape(-1, stride)
    return whole[:, :numbers], whole[:, -numbers:], whole[:, numbers : 2 * numbers]


def in_place(n):
    """x += 1"""

    def add_one(x):
        x += 1
        return ()

    x = mapped(n)
    backend.elementwise(add_one, cupy_double.ndarray(x))
    first, last, other = _done(x, compiling.BLOCKS)
    assert (first == 1).all() and (last == 1).all() and not other.any()


def of_many(n):
    """x += 1 for two arrays that have n numbers together"""

    def add_one(x):
        x += 1
        return ()

    x = mapped(n)
    halves = [(cupy_double.ndarray(half),) for half in (x[: n // 2], x[n // 2 :])]
    list(backend.elementwise_each(add_one, [(half, {}) for half in halves]))
    first, last, other = _done(x, compiling.BLOCKS)
    assert (first == 1).all() and (last == 1).all() and not other.any()


def a_channel(n):
    """y = x + v, x (n / 5, 5)"""
    x, v = mapped((n // 5, 5)), np.arange(1, 6, dtype="f")

    def add(x, v, out):
        array_module(x).add(x, v, out=out)

    y = backend.map_channels(add, (cupy_double.ndarray(x),), (cupy_double.ndarray(v),))._host
    first, last, other = _done(y, compiling.BLOCKS)
    stride = compiling.BLOCKS * source.THREADS
    where = np.arange(len(last), dtype=np.int64)[:, None] * stride + np.arange(stride - source.THREADS, stride)
    assert (last == where % 5 + 1).all() and first.all() and not other.any()


def a_sum(n):
    """Sums of x (n / 4, 4), of which the last row that the last block has is no zero"""
    x = mapped((n // 4, 4))
    across, blocks = 4, 528
    down = source.THREADS // across
    x[len(x) // (down * blocks) * down * blocks - 1] = [1, 2, 3, 4]
    x[0] = 10
    (total,) = backend.sum_channels(lambda x, out: (x,), (cupy_double.ndarray(x),))
    assert total.get().tolist() == [11, 12, 13, 14]


def _random(n, *shape):
    """(N, *shape) of about n numbers, no more where 32 bits are to do. The last are random, the others zero."""
    each = int(np.prod(shape))
    array = mapped((n // each + (n > 2**31), *shape))
    array[-1] = np.random.default_rng(0).standard_normal(shape, np.float32)
    return array


def _same_ends(got, want):
    """The numbers of the last image are right where the first block of the grid has been, and the last."""
    blocks = 8 * compiling.BLOCKS
    for ours, theirs in zip(_done(got[-1], blocks)[:2], _done(want[-1], blocks)[:2], strict=True):
        assert ours.size and theirs.any()
        np.testing.assert_array_equal(ours, theirs)


def windows(n):
    """im2col, whose windows are as many numbers as the images"""
    x = _random(n, SIDE, SIDE, 1)
    got = backend.borrow_patches(cupy_double.ndarray(x), (2, 2), (2, 2))
    _same_ends(got._host, backend.im2col(x[-1:], (2, 2), (2, 2)))


def windows_back(n):
    """col2im of as many"""
    x = _random(n, SIDE // 2, SIDE // 2, 2, 2, 1)
    got = backend.col2im(cupy_double.ndarray(x), (SIDE, SIDE), (2, 2), NO_PADDING)
    _same_ends(got._host, backend.col2im(x[-1:], (SIDE, SIDE), (2, 2), NO_PADDING))


def largest(n):
    """max_of_windows, of one pixel each, and back"""
    x, sizes = _random(n, SIDE, SIDE, 1), ((1, 1), (1, 1), NO_PADDING, (SIDE, SIDE))
    got, chosen = backend.max_of_windows(cupy_double.ndarray(x), *sizes)
    _same_ends(got._host, x[-1:])
    _same_ends(backend.give_to_largest(cupy_double.ndarray(x), chosen)._host, x[-1:])


CASES = [in_place, of_many, a_channel, a_sum, windows, windows_back, largest]
