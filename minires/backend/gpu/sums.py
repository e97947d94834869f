"""Sums over all axes but the channels', of what an element-wise function makes of arrays: two kernels.

The first has blocks of threads add up their rows. The second adds up the blocks, and does whatever shall be done with
the sums.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minires.backend.gpu import source
from minires.backend.gpu.compiling import INTEGER, compiled, contiguous, cupy, index_type, write_back
from minires.backend.gpu.parameters import Parameters, check_shapes, dtypes_of, kind_of, made_once, parts_of
from minires.backend.gpu.symbols import Symbol, T
from minires.backend.halves import widened
from minires.types import Array

SUM_BLOCKS = 528  # of one sum: four for each of the 132 multiprocessors of an H100 or H200
ACROSS = 16  # columns of a block that adds up the blocks' sums


@dataclass(frozen=True)
class _Sums:
    """A kernel's text, and how many sums it makes; of the second also what it makes of them, and what it changes."""

    body: str
    count: int
    outputs: int = 1
    is_tuple: bool = False
    written: tuple[int, ...] = ()


def sum_channels(
    function: Callable[..., Any],
    arrays: Sequence[Array],
    vectors: Sequence[Array],
    then: Callable[..., Any],
    more: Sequence[Array | None],
    named: Mapping[str, Any],
) -> Any:
    """then(*sums, *more, **named), of the sums (C,) of what function(*arrays, *vectors, out=room) returns.

    As in primitives.channels, in two kernels. NotImplemented where none can be made.
    """
    first, xp = arrays[0], cupy()
    C, n, dtype = first.shape[-1], first.size, widened(first.dtype)
    made = made_once(_sum, function, dtypes_of((*arrays, *vectors)), len(vectors))
    if made is None:
        return NotImplemented
    beside, names, varying, constants = parts_of(more, named)
    ending = made_once(_end, then, made.count, dtypes_of(beside), names, tuple(varying), constants)
    if ending is None:
        return NotImplemented
    beside = [array for array in beside if array is not None]
    check_shapes(arrays, [*vectors, *beside])
    across = min(source.THREADS, 1 << (C - 1).bit_length())
    chunks = -(-C // across)
    blocks = max(1, min(SUM_BLOCKS // chunks, -(-(n // C) * across // source.THREADS)))
    partial = xp.empty((blocks, made.count, C), dtype)
    _launch(made.body, [*map(contiguous, (*arrays, *vectors)), partial], (blocks, chunks), n // C, C, across)
    results = [xp.empty(C, dtype) for _ in range(ending.outputs)]
    copies = [*map(contiguous, beside)]
    operands = [partial, *copies, *results, *varying.values()]
    _launch(ending.body, operands, (1, -(-C // ACROSS)), blocks, C, ACROSS)
    write_back(beside, copies, ending.written)
    return tuple(results) if ending.is_tuple else results[0]


def _launch(body, operands, blocks, rows, columns, across):
    index = index_type(rows * columns)
    integer = INTEGER[index]
    kernel = compiled("sums", body, kind_of(operands), index)
    kernel(blocks, (source.THREADS,), (*operands, integer(rows), integer(columns), np.int32(across)))


def _sum(function, dtypes, vectors):
    """The kernel of the blocks' sums."""
    arrays = Parameters(dtypes, vectors, "c")
    terms = function(*arrays.symbols, out=Symbol(arrays.program, "", T))
    terms = [term[0] * term[1] if isinstance(term, tuple) else term for term in terms]
    added = [f"s{number} += {term.name};" for number, term in enumerate(terms)]
    count = len(terms)
    partial = [f"partial[((Index)BLOCK_X * {count} + {k}) * channels + c] = s{k};" for k in range(count)]
    lines = [*arrays.loads, *arrays.program.lines, *arrays.stores(), *added]
    return _Sums(_text([*arrays.parameters, "T *partial"], count, lines, partial), count)


def _end(then, count, dtypes, names, varying, constants):
    """The kernel that adds up the blocks' sums, and then what `then` makes of those."""
    arrays = Parameters(dtypes, 0, "c")
    sums = [Symbol(arrays.program, f"s{k}", T) for k in range(count)]
    positional, named = arrays.split(names, varying, constants)
    returned = then(*sums, *positional, **named)
    outputs = list(returned) if isinstance(returned, tuple) else [returned]
    stores = [f"y{number}[c] = {symbol.name};" for number, symbol in enumerate(outputs)]
    parameters = ["const T *partial", *arrays.parameters, *(f"T *y{number}" for number in range(len(outputs)))]
    parameters += [f"double s_{name}" for name in varying]
    added = [f"s{k} += partial[(r * {count} + {k}) * channels + c];" for k in range(count)]
    ending = ["const Index i = c;", *arrays.loads, *arrays.program.lines, *arrays.stores(), *stores]
    return _Sums(
        _text(parameters, count, added, ending), count, len(outputs), isinstance(returned, tuple), arrays.written()
    )


def _text(parameters, count, lines, ending):
    each = range(count)
    return source.SUMS.format(
        parameters=", ".join(parameters),
        count=count,
        zeros=", ".join(f"s{k} = 0" for k in each),
        shares=" ".join(f"shared[{k}][t] = s{k};" for k in each),
        sums=" ".join(f"const T s{k} = shared[{k}][t];" for k in each),
        lines="\n                ".join(lines),
        ending="\n            ".join(ending),
    )
