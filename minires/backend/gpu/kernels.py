"""Kernels of our own on the GPU, each compiled when it is first needed and remembered by what it was made from."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from minires.backend.gpu import source
from minires.backend.gpu.symbols import BOOL, SCALAR, Program, Symbol, T
from minires.types import Array, Sides, Size

C_TYPES = {"float32": "float", "float64": "double", "bool": "bool"}
BLOCKS = 2048  # at most, of an element-wise kernel: each thread then does several numbers
SUM_BLOCKS = 528  # four for each of the 132 multiprocessors of an H100 or H200
SMALL = 2**31 - 2**24  # indices below fit into 32 bits, with a stride of the whole grid added


def takes(*arrays: Array) -> bool:
    """Whether kernels are made for arrays of these dtypes: float32 or float64, one of them, and bool."""
    dtypes = {array.dtype.name for array in arrays}
    return dtypes <= set(C_TYPES) and len(dtypes - {"bool"}) == 1


# Element-wise functions ------------------------------------------------------------------------------------------


def fused(function: Callable[..., Any], arrays: Sequence[Array | None], named: Mapping[str, Any]) -> Any:
    """function(*arrays, **named) in one kernel: a new array, or a tuple of them.

    arrays, and those among the named: of one shape, or None. What the function assigns to them in place is written into
    them. The rest of the named are Python's.
    """
    array_names = tuple(name for name, value in named.items() if hasattr(value, "dtype"))
    operands = [*arrays, *(named[name] for name in array_names)]
    scalars, values, constants = _sorted({name: value for name, value in named.items() if name not in array_names})
    dtypes = tuple(None if array is None else array.dtype.name for array in operands)
    made = _traced(_identity(function), _Function(function), dtypes, 0, array_names, scalars, constants)
    present = [array for array in operands if array is not None]
    shape, real = present[0].shape, _real(present)
    results = [_cupy().empty(shape, np.bool_ if kind == BOOL else real) for kind in made.outputs]
    _launch(made, [*present, *results, *values], present[0].size, 1, real)
    return tuple(results) if made.is_tuple else results[0]


def fill(function: Callable[..., Any], arrays: Sequence[Array], vectors: Sequence[Array], y: Array) -> None:
    """function(*arrays, *vectors, out=y) in one kernel; arrays (..., C) and y of one shape, vectors (C,)."""
    operands = [*arrays, *vectors]
    dtypes = tuple(array.dtype.name for array in operands)
    made = _traced(_identity(function), _Function(function), dtypes, len(vectors), ("out",), (), ())
    _launch(made, [*operands, y], y.size, y.shape[-1] if vectors else 1, y.dtype)


@dataclass(frozen=True)
class _Made:
    """A kernel's text, and what it takes and makes."""

    body: str
    outputs: tuple[str, ...]  # kinds of its new arrays
    is_tuple: bool
    written: tuple[int, ...]  # which of the arrays it is given it writes into


@functools.lru_cache(maxsize=1024)
def _traced(identity, function, dtypes, vectors, array_names, scalars, constants):
    """The _Made of a function; array_names: what the last of the arrays are called, "out" alone being written only."""
    arrays, given = _Parameters(dtypes, vectors, "i % channels"), {}
    if array_names == ("out",):
        arrays.add_out()
    symbols = arrays.symbols
    named = dict(zip(array_names, symbols[len(symbols) - len(array_names) :], strict=True))
    given = {name: Symbol(arrays.program, f"s_{name}", SCALAR) for name in scalars}
    returned = function(*symbols[: len(symbols) - len(array_names)], **named, **given, **dict(constants))
    outputs = [] if array_names == ("out",) else list(returned) if isinstance(returned, tuple) else [returned]
    kinds = tuple(BOOL if symbol.kind == BOOL else T for symbol in outputs)
    new = [f"{kind} *y{number}" for number, kind in enumerate(kinds)]
    stores = [f"y{number}[i] = {symbol.name};" for number, symbol in enumerate(outputs)]
    body = source.FUSED.format(
        parameters=", ".join([*arrays.parameters, *new, *(f"double s_{name}" for name in scalars)]),
        lines="\n        ".join([*arrays.loads, *arrays.program.lines, *arrays.stores(), *stores]),
    )
    return _Made(body, kinds, isinstance(returned, tuple), arrays.written())


class _Parameters:
    """The arrays that a kernel is given: parameters, a Symbol for each, lines that load them and store what changed.

    The last `vectors` of them have the index `vector_index`, the others i. None stays None.
    """

    def __init__(self, dtypes, vectors, vector_index):
        self.program, self.symbols, self.parameters, self.loads = Program(), [], [], []
        for number, dtype in enumerate(dtypes):
            if dtype is None:
                self.symbols.append(None)
                continue
            kind, index = BOOL if dtype == "bool" else T, "i" if number < len(dtypes) - vectors else vector_index
            self.parameters.append(f"{kind} *a{number}")
            self.loads.append(f"const {kind} x{number} = a{number}[{index}];")
            self.symbols.append(Symbol(self.program, f"x{number}", kind))

    def add_out(self):
        """One more, which is not loaded."""
        self.parameters.append(f"T *a{len(self.symbols)}")
        self.symbols.append(Symbol(self.program, "", T))

    def written(self):
        present = [symbol for symbol in self.symbols if symbol is not None]
        return tuple(number for number, symbol in enumerate(present) if symbol.written)

    def stores(self):
        changed = [
            (number, symbol) for number, symbol in enumerate(self.symbols) if symbol is not None and symbol.written
        ]
        return [f"a{number}[i] = {symbol.name};" for number, symbol in changed]


class _Function:
    """A function that lru_cache takes for equal to every other: which it is, its identity says."""

    def __init__(self, function):
        self.function = function

    def __call__(self, *args, **kwargs):
        return self.function(*args, **kwargs)

    def __eq__(self, other):
        return isinstance(other, _Function)

    def __hash__(self):
        return 0


_PLAIN = (type(None), bool, int, float, str, type, ModuleType, np.dtype)


def _identity(function: Any) -> Any:
    """What a function's program depends on: its code, and what its closure and defaults hold."""
    if isinstance(function, MethodType):
        return type(function.__self__), _identity(function.__func__)
    if isinstance(function, functools.partial):
        return _identity(function.func), *map(_identity, function.args), *map(_identity, function.keywords.items())
    if isinstance(function, tuple):
        return tuple(map(_identity, function))
    if isinstance(function, FunctionType):
        code: CodeType = function.__code__
        held = [cell.cell_contents for cell in function.__closure__ or ()]
        return code, *map(_identity, held), _identity(function.__defaults__)
    if isinstance(function, _PLAIN):
        return type(function), function
    raise TypeError(
        f"an element-wise function holds a {type(function).__name__} in its closure, which a kernel cannot: make it an "
        "argument"
    )


def _sorted(numbers):
    """(names of the numbers that a kernel takes as arguments, their values, (name, value) of the constants).

    Zeros, truth values and None are constants, so that a function can leave out what they switch off.
    """
    varying = {
        name: value
        for name, value in numbers.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value
    }
    constants = tuple((name, value) for name, value in numbers.items() if name not in varying)
    return tuple(varying), [np.float64(value) for value in varying.values()], constants


# Sums over channels ----------------------------------------------------------------------------------------------


def sum_channels(function: Callable[..., Any], arrays: Sequence[Array], vectors: Sequence[Array]) -> list[Array]:
    """Sums (C,) of what function(*arrays, *vectors, out=room) returns, as in primitives.channels, in two kernels."""
    shape, xp = arrays[0].shape, _cupy()
    C, rows = shape[-1], arrays[0].size // shape[-1]
    dtypes = tuple(array.dtype.name for array in (*arrays, *vectors))
    body, count = _summing(_identity(function), _Function(function), dtypes, len(vectors))
    operands = [_contiguous(array) for array in (*arrays, *vectors)]  # those that are written into are new
    real, index = _real(operands), _index(arrays[0].size)
    across = min(source.THREADS, 1 << (C - 1).bit_length())
    chunks = -(-C // across)
    blocks = max(1, min(SUM_BLOCKS // chunks, -(-rows * across // source.THREADS)))
    partial = xp.empty((blocks, count, C), real)
    kernel = _compiled("sums", body, real.name, index)
    numbers = [_c_integer(rows, index), _c_integer(C, index), np.int32(across)]
    kernel((blocks, chunks), (source.THREADS,), (*operands, partial, *numbers))
    if blocks > 1:
        total, columns, across = xp.empty((count, C), real), count * C, 16
        body, _ = _summing(_identity(_itself), _Function(_itself), (real.name,), 0)
        kernel, index = _compiled("sums", body, real.name, "int"), "int"
        numbers = [_c_integer(blocks, index), _c_integer(columns, index), np.int32(across)]
        kernel((1, -(-columns // across)), (source.THREADS,), (partial, total, *numbers))
        partial = total
    partial = partial.reshape(count, C)
    return [partial[k] for k in range(count)]


def _itself(x, out):
    return (x,)


@functools.lru_cache(maxsize=1024)
def _summing(identity, function, dtypes, vectors):
    """(source, how many sums)"""
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


# Patches ---------------------------------------------------------------------------------------------------------


def im2col(x: Array, kernel: Size, stride: Size, padding: Sides, value: float, rows: slice, OW: int) -> Array:
    """patches (N, rows, OW, KH, KW, C) as in primitives.patches.im2col."""
    N, H, W, C = x.shape
    x, OH = _contiguous(x), rows.stop - rows.start
    (top, _), (left, _) = padding
    sizes = _sizes(x, kernel, stride, (H, W), (OH, OW), (top - rows.start * stride[0], left))
    patches = _cupy().empty((N, OH, OW, *kernel, C), x.dtype)
    _launch_patches("im2col", source.IM2COL, sizes, x, patches, value)
    return patches


def col2im(patches: Array, size: Size, stride: Size, padding: Sides) -> Array:
    """dx (N, H, W, C) as in primitives.patches.col2im."""
    N, OH, OW, KH, KW, C = patches.shape
    patches = _contiguous(patches)
    (top, _), (left, _) = padding
    sizes = _sizes(patches, (KH, KW), stride, size, (OH, OW), (top, left))
    dx = _cupy().empty((N, *size, C), patches.dtype)
    _launch_patches("col2im", source.COL2IM, sizes, patches, dx, 0)
    return dx


def _sizes(array, kernel, stride, size, output, first):
    """The constants that a kernel of patches is compiled with; C counts Items, of four numbers where they fit."""
    four = array.dtype == np.float32 and array.shape[-1] % 4 == 0 and array.data.ptr % 16 == 0
    names = ("KH", "KW", "SH", "SW", "H", "W", "OH", "OW", "TOP", "LEFT")
    sizes = dict(zip(names, (*kernel, *stride, *size, *output, *first), strict=True))
    return {**sizes, "C": array.shape[-1] // (4 if four else 1), "Item": "Four" if four else "T"}


def _launch_patches(name, body, sizes, source_array, result, border):
    defines = "".join(f"#define {key} {value}\n" for key, value in sizes.items() if key != "Item")
    n = result.size // (4 if sizes["Item"] == "Four" else 1)
    index = _index(max(result.size, source_array.size))
    kernel = _compiled(name, f"typedef {sizes['Item']} Item;\n{defines}{body}", result.dtype.name, index)
    if n:
        grid = (min(8 * BLOCKS, -(-n // source.THREADS)),)
        kernel(grid, (source.THREADS,), (source_array, result, _c_integer(n, index), result.dtype.type(border)))


# Compiling and launching -----------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=4096)
def _compiled(name, body, real, index):
    types = f"typedef {C_TYPES[real]} T;\ntypedef {index} Index;\n"
    module = _cupy().RawModule(code=source.PRELUDE + source.EACH + types + body)
    return module.get_function(name)


def _launch(made, operands, n, channels, real):
    """Run a kernel over n indices. An array that it writes into is written into, however it lies in memory."""
    if not n:
        return
    arrays = [_contiguous(operand) if hasattr(operand, "flags") else operand for operand in operands]
    index = _index(n)
    kernel = _compiled("fused", made.body, real.name, index)
    grid = (min(BLOCKS, -(-n // source.THREADS)),)
    kernel(grid, (source.THREADS,), (*arrays, _c_integer(n, index), _c_integer(channels, index)))
    for number in made.written:
        if arrays[number] is not operands[number]:
            operands[number][...] = arrays[number]


def _index(n):
    """The type of an index: 32 bits where they do, since those divide faster."""
    return "int" if n < SMALL else "long long"


def _c_integer(value, index):
    return np.int32(value) if index == "int" else np.int64(value)


def _real(arrays):
    return next(array.dtype for array in arrays if array.dtype.name != "bool")


def _contiguous(array):
    return array if array.flags.c_contiguous else _cupy().ascontiguousarray(array)


def _cupy():
    import cupy

    return cupy
