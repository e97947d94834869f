"""An element-wise function of the layers as one kernel.

A kernel is made when it is first needed, and remembered by all that it depends on: the function's code, what its
closure holds, and the dtypes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minires.backend.gpu import source
from minires.backend.gpu.compiling import INTEGER, address, compiled, contiguous, cupy, grid, index_type, write_back
from minires.backend.gpu.layouts import contiguous_each
from minires.backend.gpu.parameters import Parameters, check_shapes, dtypes_of, kind_of, made_once, parts_of
from minires.backend.gpu.symbols import BOOL, Symbol, T
from minires.types import Array

C_TYPES = {"f": "float", "d": "double", "?": "bool"}
LAUNCH = 3800  # bytes of addresses that a launch takes with it; CUDA's limit for all arguments is 4,096


@dataclass(frozen=True)
class _Fused:
    """A kernel's text, and what it makes and changes."""

    body: str
    many: str  # the same for many sets of arrays at once
    sets: int  # of arrays, whose addresses fit into a launch
    outputs: tuple[str, ...]  # kinds of its new arrays
    is_tuple: bool
    written: tuple[int, ...]  # which of the arrays it is given it writes into


def fused(function: Callable[..., Any], arrays: Sequence[Array | None], named: Mapping[str, Any]) -> Any:
    """function(*arrays, **named) in one kernel: a new array, or a tuple of them. NotImplemented where none can be made.

    arrays, and those among the named: of one shape, or None. What the function assigns to them in place is written into
    them. The other named are Python's; numbers that are neither 0 nor truth values may differ from call to call.
    """
    operands, names, varying, constants = parts_of(arrays, named)
    made = made_once(_fuse, function, dtypes_of(operands), 0, names, tuple(varying), constants)
    if made is None:
        return NotImplemented
    present = [array for array in operands if array is not None]
    check_shapes(present)
    first = present[0]
    results = _rooms(made, first)
    _launch(made, [*present, *results, *varying.values()], first.size, 1)
    return tuple(results) if made.is_tuple else results[0]


def fused_each(
    function: Callable[..., Any], sets: Sequence[tuple[Sequence[Array], Mapping[str, Array]]], named: Mapping[str, Any]
) -> Any:
    """[function(*arrays, **more, **named) for arrays, more in sets] in as few kernels as their launches have room for.

    Within a set the arrays are of one shape, and in all sets there are as many, of the same names and dtypes. Arrays
    among the named are of one number. NotImplemented where no kernel can be made.
    """
    results: list[Any] = []
    arrays, more = sets[0]
    numbers, called, varying, constants = parts_of((), named)
    if any(number.shape for number in numbers):
        raise ValueError(f"arrays of shapes {[number.shape for number in numbers]} by name: one number each, ()")
    dtypes, kinds = dtypes_of((*arrays, *more.values())), tuple(zip(called, dtypes_of(numbers), strict=True))
    made = made_once(_fuse, function, dtypes, 0, tuple(more), tuple(varying), constants, None, kinds)
    if made is None:
        return NotImplemented
    for first in range(0, len(sets), made.sets):
        some = [[*arrays, *more.values()] for arrays, more in sets[first : first + made.sets]]
        for one in some:
            check_shapes(one)
        new = [_rooms(made, arrays[0]) for arrays in some]
        all_of_them = [arrays + rooms for arrays, rooms in zip(some, new, strict=True)]
        _launch_many(made, all_of_them, [*numbers, *varying.values()])
        results += [tuple(rooms) if made.is_tuple else rooms[0] for rooms in new]
    return results


def all_finite(arrays: Sequence[Array]) -> Array:
    """Whether no number of these arrays, all float32 or all float64, is infinite or NaN: an array ()."""
    xp = cupy()
    found, sets = xp.ones((), np.bool_), LAUNCH // 16 - 1
    text = source.MANY.format(
        each=1,
        sets=sets,
        half=1 << sets.bit_length() - 1,
        parameters=", bool *found",
        lines="const T x = ((const T *)many.arrays[0][k])[i];\n        if (!(x - x == 0)) *found = false;",
    )
    made = _Fused("", text, sets, (), False, ())
    for first in range(0, len(arrays), sets):
        _launch_many(made, [[array] for array in arrays[first : first + sets]], [found])
    return found


def _rooms(made, like):
    xp = cupy()
    return [xp.empty(like.shape, like.dtype if kind == T else np.bool_) for kind in made.outputs]


def fill(function: Callable[..., Any], arrays: Sequence[Array], vectors: Sequence[Array], y: Array) -> bool:
    """function(*arrays, *vectors, out=y) in one kernel; arrays (..., C) and y of one shape, vectors (C,).

    Returns whether a kernel could be made.
    """
    operands = [*arrays, *vectors]
    made = made_once(_fuse, function, dtypes_of(operands), len(vectors), ("out",), (), (), y.dtype.char)
    if made is not None:
        check_shapes([y, *arrays], vectors)
        _launch(made, [*operands, y], y.size, y.shape[-1] if vectors else 1)
    return made is not None


def _fuse(function, dtypes, vectors, names, varying, constants, out=None, of_one=()):
    arrays = Parameters(dtypes, vectors, "i % channels", out)
    positional, named = arrays.split(names, varying, constants)
    for name, dtype in of_one:
        named[name] = Symbol(arrays.program, f"x_{name}", BOOL if dtype == "?" else T)
        arrays.loads.append(f"const {named[name].kind} x_{name} = *n_{name};")
    returned = function(*positional, **named)
    outputs = [] if out else list(returned) if isinstance(returned, tuple) else [returned]
    kinds = tuple(BOOL if symbol.kind == BOOL else T for symbol in outputs)
    pointers = [*arrays.parameters, *(f"{kind} *y{number}" for number, kind in enumerate(kinds))]
    numbers = [f"const {C_TYPES[dtype]} *n_{name}" for name, dtype in of_one] + [f"double s_{name}" for name in varying]
    stores = [f"y{number}[i] = {symbol.name};" for number, symbol in enumerate(outputs)]
    lines = "\n        ".join([*arrays.loads, *arrays.program.lines, *arrays.stores(), *stores])
    casts = [f"{pointer} = ({pointer.rpartition('*')[0]}*)many.arrays[{k}][k];" for k, pointer in enumerate(pointers)]
    sets = (LAUNCH // 8 - 1) // (len(pointers) + 1)
    many = source.MANY.format(
        each=len(pointers),
        sets=sets,
        half=1 << sets.bit_length() - 1,
        parameters="".join(f", {number}" for number in numbers),
        lines="\n        ".join([*casts, lines]),
    )
    body = source.FUSED.format(parameters=", ".join([*pointers, *numbers]), lines=lines)
    return _Fused(body, many, sets, kinds, isinstance(returned, tuple), arrays.written())


def _launch(made, operands, n, channels):
    """Run a kernel over n indices. An array that it writes into is written into, however it lies in memory."""
    if not n:
        return
    arrays = [contiguous(operand) if hasattr(operand, "flags") else operand for operand in operands]
    index = index_type(n)
    integer = INTEGER[index]
    kernel = compiled("fused", made.body, kind_of(operands), index)
    kernel(grid(n), (source.THREADS,), (*arrays, integer(n), integer(channels)))
    write_back(operands, arrays, made.written)


def _launch_many(made, sets, numbers):
    """Run a kernel over all the numbers of sets of arrays."""
    laid_out = iter(contiguous_each([array for one in sets for array in one]))
    arrays = [[next(laid_out) for _ in one] for one in sets]
    sizes = [one[0].size for one in sets]
    many = np.zeros((), [("arrays", np.uint64, (len(sets[0]), made.sets)), ("start", np.int64, made.sets + 1)])
    addresses = [[address(array) for array in one] for one in arrays]
    many["arrays"][:, : len(sets)] = np.array(addresses, np.uint64).T
    many["start"][1 : len(sets) + 1] = np.cumsum(sizes)
    total = sum(sizes)
    if total:
        kernel = compiled("fused_many", made.many, kind_of(sets[0]), index_type(total))
        kernel(grid(total), (source.THREADS,), (many, np.int32(len(sets)), *numbers))
    for one, copies in zip(sets, arrays, strict=True):
        write_back(one, copies, made.written)
