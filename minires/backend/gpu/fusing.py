"""An element-wise function of the layers as one kernel, or as two that add its values up for each channel.

A kernel is made when it is first needed, and remembered by all that it depends on: the function's code, what its
closure holds, and the dtypes.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from minires.backend.gpu import source
from minires.backend.gpu.compiling import INTEGER, compiled, contiguous, cupy, grid, index_type
from minires.backend.gpu.symbols import BOOL, SCALAR, Program, Symbol, T
from minires.types import Array

SUM_BLOCKS = 528  # of one sum: four for each of the 132 multiprocessors of an H100 or H200
SETS = 64  # of arrays, whose addresses fit into a launch
ACROSS = 16  # columns of a block that adds up the blocks' sums
_made: dict[Any, Any] = {}


def takes(*arrays: Array) -> bool:
    """Whether kernels are made for these arrays: float32 or float64, all of one, and bool."""
    return {array.dtype.char for array in arrays} in ({"f"}, {"d"}, {"f", "?"}, {"d", "?"})


# Functions -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Fused:
    """A kernel's text, and what it makes and changes."""

    body: str
    many: str  # the same for many sets of arrays at once
    outputs: tuple[str, ...]  # kinds of its new arrays
    is_tuple: bool
    written: tuple[int, ...]  # which of the arrays it is given it writes into


def fused(function: Callable[..., Any], arrays: Sequence[Array | None], named: Mapping[str, Any]) -> Any:
    """function(*arrays, **named) in one kernel: a new array, or a tuple of them. NotImplemented where none can be made.

    arrays, and those among the named: of one shape, or None. What the function assigns to them in place is written into
    them. The other named are Python's; numbers that are neither 0 nor truth values may differ from call to call.
    """
    operands, names, varying, constants = _sorted(arrays, named)
    dtypes = tuple([array is not None and array.dtype.char for array in operands])
    made = _kernel_of(function, dtypes, 0, names, tuple(varying), constants)
    if made is None:
        return NotImplemented
    present = [array for array in operands if array is not None]
    first = present[0]
    results = _rooms(made, first)
    _launch(made, [*present, *results, *varying.values()], first.size, 1, first.dtype.char)
    return tuple(results) if made.is_tuple else results[0]


def fused_each(
    function: Callable[..., Any], sets: Sequence[tuple[Sequence[Array], Mapping[str, Array]]], named: Mapping[str, Any]
) -> Any:
    """[function(*arrays, **more, **named) for arrays, more in sets] in as few kernels as their launches have room for.

    Within a set the arrays are of one shape, and in all sets there are as many, of the same names and dtypes.
    NotImplemented where no kernel can be made.
    """
    results: list[Any] = []
    arrays, more = sets[0]
    _, _, varying, constants = _sorted((), named)
    dtypes = tuple([array.dtype.char for array in (*arrays, *more.values())])
    made = _kernel_of(function, dtypes, 0, list(more), tuple(varying), constants)
    if made is None:
        return NotImplemented
    for first in range(0, len(sets), SETS):
        some = [[*arrays, *more.values()] for arrays, more in sets[first : first + SETS]]
        new = [_rooms(made, arrays[0]) for arrays in some]
        _launch_many(made, [arrays + rooms for arrays, rooms in zip(some, new, strict=True)], varying.values())
        results += [tuple(rooms) if made.is_tuple else rooms[0] for rooms in new]
    return results


def _rooms(made, like):
    xp = cupy()
    return [xp.empty(like.shape, like.dtype if kind == T else np.bool_) for kind in made.outputs]


def _sorted(arrays, named):
    """(arrays, those of the named among them, their names, {name: number that may vary}, [(name, constant)])"""
    operands, names, varying, constants = list(arrays), [], {}, []
    for name, value in named.items():
        if hasattr(value, "dtype"):
            operands.append(value)
            names.append(name)
        elif value and type(value) in (float, int):
            varying[name] = np.float64(value)
        else:
            constants.append((name, value))
    return operands, names, varying, constants


def fill(function: Callable[..., Any], arrays: Sequence[Array], vectors: Sequence[Array], y: Array) -> bool:
    """function(*arrays, *vectors, out=y) in one kernel; arrays (..., C) and y of one shape, vectors (C,).

    Returns whether a kernel could be made.
    """
    operands = [*arrays, *vectors]
    dtypes = tuple([array.dtype.char for array in operands])
    made = _kernel_of(function, dtypes, len(vectors), ["out"], (), ())
    if made is not None:
        _launch(made, [*operands, y], y.size, y.shape[-1] if vectors else 1, y.dtype.char)
    return made is not None


def _kernel_of(function, dtypes, vectors, names, varying, constants):
    """The _Fused of a function; names: what the last of the arrays are called, ["out"] being written to only.

    None for a function that cannot run on Symbols: one that uses what symbols.py lacks, or whose closure holds an array
    or CuPy itself.
    """
    try:
        key = (_identity(function), dtypes, vectors, *names, None, *varying, *constants)
        if key not in _made:
            _made[key] = None
            _made[key] = _fuse(function, dtypes, vectors, names, varying, constants)
        return _made[key]
    except (AttributeError, TypeError, ValueError):  # if it is wrong, it fails again where it is called as it is
        return None


def _fuse(function, dtypes, vectors, names, varying, constants):
    has_out = names == ["out"]
    arrays = _Parameters(dtypes, vectors, "i % channels", has_out)
    split = len(arrays.symbols) - len(names)
    named = dict(zip(names, arrays.symbols[split:], strict=True)) | dict(constants)
    named |= {name: Symbol(arrays.program, f"s_{name}", SCALAR) for name in varying}
    returned = function(*arrays.symbols[:split], **named)
    outputs = [] if has_out else list(returned) if isinstance(returned, tuple) else [returned]
    kinds = tuple(BOOL if symbol.kind == BOOL else T for symbol in outputs)
    pointers = [*arrays.parameters, *(f"{kind} *y{number}" for number, kind in enumerate(kinds))]
    numbers = [f"double s_{name}" for name in varying]
    stores = [f"y{number}[i] = {symbol.name};" for number, symbol in enumerate(outputs)]
    lines = "\n        ".join([*arrays.loads, *arrays.program.lines, *arrays.stores(), *stores])
    casts = [f"{pointer} = ({pointer.rpartition('*')[0]}*)many.arrays[{k}][k];" for k, pointer in enumerate(pointers)]
    many = source.MANY.format(
        each=len(pointers),
        sets=SETS,
        half=SETS // 2,
        parameters="".join(f", {number}" for number in numbers),
        lines="\n        ".join([*casts, lines]),
    )
    body = source.FUSED.format(parameters=", ".join([*pointers, *numbers]), lines=lines)
    return _Fused(body, many, kinds, isinstance(returned, tuple), arrays.written())


def _launch(made, operands, n, channels, real):
    """Run a kernel over n indices. An array that it writes into is written into, however it lies in memory."""
    if not n:
        return
    arrays = [contiguous(operand) if hasattr(operand, "flags") else operand for operand in operands]
    index = index_type(n)
    integer = INTEGER[index]
    kernel = compiled("fused", made.body, real, index)
    kernel(grid(n), (source.THREADS,), (*arrays, integer(n), integer(channels)))
    for number in made.written:
        if arrays[number] is not operands[number]:
            operands[number][...] = arrays[number]


def _launch_many(made, sets, numbers):
    """Run a kernel over all the numbers of sets of arrays."""
    arrays = [[contiguous(array) for array in one] for one in sets]
    sizes = [one[0].size for one in sets]
    many = np.zeros((), [("arrays", np.uint64, (len(sets[0]), SETS)), ("start", np.int64, SETS + 1)])
    many["arrays"][:, : len(sets)] = np.array([[array.data.ptr for array in one] for one in arrays], np.uint64).T
    many["start"][1 : len(sets) + 1] = np.cumsum(sizes)
    total, real = sum(sizes), sets[0][0].dtype.char
    if total:
        kernel = compiled("fused_many", made.many, real, index_type(total))
        kernel(grid(total), (source.THREADS,), (many, np.int32(len(sets)), *numbers))
    for one, copies in zip(sets, arrays, strict=True):
        for number in made.written:
            if copies[number] is not one[number]:
                one[number][...] = copies[number]


class _Parameters:
    """The arrays that a kernel is given: parameters, a Symbol for each, lines that load them and store what changed.

    dtypes: their characters; False for one that is None, and stays so. The last `vectors` of them have the index
    `vector_index`, the others i. has_out: there is one more, which is not loaded.
    """

    def __init__(self, dtypes, vectors, vector_index, has_out=False):
        self.program, self.symbols, self.parameters, self.loads = Program(), [], [], []
        for number, dtype in enumerate(dtypes):
            if not dtype:
                self.symbols.append(None)
                continue
            kind, index = BOOL if dtype == "?" else T, "i" if number < len(dtypes) - vectors else vector_index
            self.parameters.append(f"{kind} *a{number}")
            self.loads.append(f"const {kind} x{number} = a{number}[{index}];")
            self.symbols.append(Symbol(self.program, f"x{number}", kind))
        if has_out:
            self.parameters.append(f"T *a{len(dtypes)}")
            self.symbols.append(Symbol(self.program, "", T))

    def written(self):
        """Which of the arrays that are there have been assigned to."""
        present = [symbol for symbol in self.symbols if symbol is not None]
        return tuple(number for number, symbol in enumerate(present) if symbol.written)

    def stores(self):
        changed = [(number, symbol) for number, symbol in enumerate(self.symbols) if symbol is not None]
        return [f"a{number}[i] = {symbol.name};" for number, symbol in changed if symbol.written]


_PLAIN = (type(None), bool, int, float, str, type, ModuleType, np.dtype)


def _identity(function: Any) -> Any:
    """What a function's kernel depends on: its code, and what its closure and defaults hold."""
    if isinstance(function, FunctionType):
        if function.__closure__ is None and function.__defaults__ is None:
            return function.__code__
        held = [cell.cell_contents for cell in function.__closure__ or ()]
        return function.__code__, *map(_identity, held), *map(_identity, function.__defaults__ or ())
    if isinstance(function, MethodType):
        return type(function.__self__), _identity(function.__func__)
    if isinstance(function, functools.partial):
        return _identity(function.func), *map(_identity, function.args), *map(_identity, function.keywords.items())
    if isinstance(function, tuple):
        return tuple(map(_identity, function))
    if isinstance(function, _PLAIN):
        return type(function), function
    raise TypeError(
        f"an element-wise function holds a {type(function).__name__} in its closure, which a kernel cannot: make it an "
        "argument"
    )


# Sums over channels ----------------------------------------------------------------------------------------------


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
        key = ("sums", _identity(function), dtypes, vectors)
        if key not in _made:
            _made[key] = None
            _made[key] = _sum(function, dtypes, vectors)
        return _made[key]
    except (AttributeError, TypeError, ValueError):
        return None


def _sum(function, dtypes, vectors):
    arrays = _Parameters(dtypes, vectors, "c")
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
