"""Sums over all axes but the channels', of what an element-wise function makes of arrays: two kernels."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minires.backend.gpu import source
from minires.backend.gpu.compiling import INTEGER, compiled, contiguous, cupy, index_type
from minires.backend.gpu.parameters import Parameters, check_shapes, identity
from minires.backend.gpu.symbols import Symbol, T
from minires.types import Array

SUM_BLOCKS = 528  # of one sum: four for each of the 132 multiprocessors of an H100 or H200
ACROSS = 16  # columns of a block that adds up the blocks' sums
_made: dict[Any, Any] = {}


def sum_channels(function: Callable[..., Any], arrays: Sequence[Array], vectors: Sequence[Array]) -> Any:
    """Sums (C,) of what function(*arrays, *vectors, out=room) returns, as in primitives.channels, in two kernels.

    NotImplemented where no kernel can be made.
    """
    first, xp = arrays[0], cupy()
    C, n, real = first.shape[-1], first.size, first.dtype.char
    dtypes = tuple([array.dtype.char for array in (*arrays, *vectors)])
    made = _summing(function, dtypes, len(vectors))
    if made is None:
        return NotImplemented
    check_shapes(arrays, vectors)
    body, count = made
    operands = [contiguous(array) for array in (*arrays, *vectors)]  # those that are written into are new
    across = min(source.THREADS, 1 << (C - 1).bit_length())
    chunks = -(-C // across)
    blocks = max(1, min(SUM_BLOCKS // chunks, -(-(n // C) * across // source.THREADS)))
    partial = xp.empty((blocks, count, C), first.dtype)
    _launch_sums(body, operands, partial, (blocks, chunks), n // C, C, across, real)
    if blocks == 1:
        return list(partial[0])
    total = xp.empty((count, C), first.dtype)
    body, _ = _summing(_itself, (real,), 0)
    _launch_sums(body, [partial], total, (1, -(-count * C // ACROSS)), blocks, count * C, ACROSS, real)
    return list(total)


def _launch_sums(body, operands, result, blocks, rows, columns, across, real):
    index = index_type(rows * columns)
    integer = INTEGER[index]
    kernel = compiled("sums", body, real, index)
    kernel(blocks, (source.THREADS,), (*operands, result, integer(rows), integer(columns), np.int32(across)))


def _summing(function, dtypes, vectors):
    """(source, how many sums), or None as in _kernel_of"""
    try:
        key = (identity(function), dtypes, vectors)
        if key not in _made:
            _made[key] = None
            _made[key] = _sum(function, dtypes, vectors)
        return _made[key]
    except (AttributeError, TypeError, ValueError):
        return None


def _sum(function, dtypes, vectors):
    arrays = Parameters(dtypes, vectors, "c")
    terms = function(*arrays.symbols, out=Symbol(arrays.program, "", T))
    terms = [term[0] * term[1] if isinstance(term, tuple) else term for term in terms]
    added = [f"s{number} += {term.name};" for number, term in enumerate(terms)]
    count = range(len(terms))
    body = source.SUMS.format(
        parameters=", ".join(arrays.parameters),
        count=len(terms),
        zeros=", ".join(f"s{k} = 0" for k in count),
        shares=" ".join(f"shared[{k}][t] = s{k};" for k in count),
        lines="\n                ".join([*arrays.loads, *arrays.program.lines, *arrays.stores(), *added]),
    )
    return body, len(terms)


def _itself(x, out):
    return (x,)
