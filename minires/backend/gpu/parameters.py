"""What a kernel is made from: the arrays it is given, and the function that says what it does to their numbers."""

import functools
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from minires.backend.gpu.symbols import BOOL, SCALAR, Program, Symbol, T
from minires.types import Array


def takes(*arrays: Array) -> bool:
    """Whether kernels are made for these arrays: all float64, or float32 and one kind of 16 bits; and bool."""
    return {array.dtype.char for array in arrays} - {"?"} in _TAKEN


_TAKEN = ({"f"}, {"d"}, {"e"}, {"E"}, {"e", "f"}, {"E", "f"})


def kind_of(arrays: Sequence[Any]) -> str:
    """The key of source.TYPES for a kernel of these arrays; those that are None, or Python's numbers, do not matter."""
    found = {array.dtype.char for array in arrays if array is not None and not isinstance(array, np.generic)}
    return next(kind for kind in "eEdf" if kind in found)


def check_shapes(arrays: Sequence[Array], vectors: Sequence[Array] = ()) -> None:
    """Raises ValueError unless arrays are of one shape and vectors (C,): a kernel would read beyond a smaller one."""
    shape = arrays[0].shape
    for array in arrays:
        if array.shape != shape:
            raise ValueError(f"an element-wise function of arrays of shapes {shape} and {array.shape}: broadcast them")
    for vector in vectors:
        if vector.shape != shape[-1:]:
            raise ValueError(f"numbers a channel of shape {vector.shape} beside arrays of {shape}: give one a channel")


def parts_of(arrays: Sequence[Array | None], named: Mapping[str, Any]) -> tuple[Any, Any, Any, Any]:
    """(arrays, those of the named among them, their names, {name: number that may vary}, ((name, constant), ...))"""
    operands, names, varying, constants = list(arrays), [], {}, []
    for name, value in named.items():
        if hasattr(value, "dtype"):
            operands.append(value)
            names.append(name)
        elif value and type(value) in (float, int):
            varying[name] = np.float64(value)
        else:
            constants.append((name, value))
    return operands, tuple(names), varying, tuple(constants)


def dtypes_of(arrays: Sequence[Array | None]) -> tuple[str | bool, ...]:
    """Their characters; False for None."""
    return tuple([array is not None and array.dtype.char for array in arrays])


class Parameters:
    """The arrays that a kernel is given: parameters, a Symbol for each, lines that load them and store what changed.

    dtypes: their characters; False for one that is None, and stays so. The last `vectors` of them have the index
    `vector_index`, the others i. out: None, or the character of one more, which is not loaded.
    """

    def __init__(
        self, dtypes: Sequence[str | bool], vectors: int, vector_index: str, out: str | bool | None = None
    ) -> None:
        self.program = Program()
        self.symbols: list[Any] = []
        self.parameters: list[str] = []
        self.loads: list[str] = []
        for number, dtype in enumerate(dtypes):
            if not dtype:
                self.symbols.append(None)
                continue
            kind, index = BOOL if dtype == "?" else T, "i" if number < len(dtypes) - vectors else vector_index
            self.parameters.append(f"{kept_as(dtype)} *a{number}")
            self.loads.append(f"const {kind} x{number} = a{number}[{index}];")
            self.symbols.append(Symbol(self.program, f"x{number}", kind))
        if out:
            self.parameters.append(f"{kept_as(out)} *a{len(dtypes)}")
            self.symbols.append(Symbol(self.program, "", T))

    def split(self, names: Sequence[str], varying: Sequence[str], constants: Sequence[Any]) -> tuple[list[Any], Any]:
        """(positional arguments, named ones) of the function: the last of the arrays are called by these names."""
        first = len(self.symbols) - len(names)
        named = dict(zip(names, self.symbols[first:], strict=True)) | dict(constants)
        named |= {name: Symbol(self.program, f"s_{name}", SCALAR) for name in varying}
        return self.symbols[:first], named

    def written(self) -> tuple[int, ...]:
        """Which of the arrays that are there have been assigned to."""
        present = [symbol for symbol in self.symbols if symbol is not None]
        return tuple(number for number, symbol in enumerate(present) if symbol.written)

    def stores(self) -> list[str]:
        """The lines that write what has been assigned into its array."""
        changed = [(number, symbol) for number, symbol in enumerate(self.symbols) if symbol is not None]
        return [f"a{number}[i] = {symbol.name};" for number, symbol in changed if symbol.written]


def kept_as(dtype: str | bool) -> str:
    """What an array's numbers are in a kernel's text, by the character of its dtype."""
    return {"?": BOOL, "e": "Number", "E": "Number"}.get(str(dtype), T)


_PLAIN = (type(None), bool, int, float, str, type, ModuleType, np.dtype)


def identity(function: Any) -> Any:
    """What a function's kernel depends on: its code, and what its closure and defaults hold."""
    if isinstance(function, FunctionType):
        if function.__closure__ is None and function.__defaults__ is None:
            return function.__code__
        held = [cell.cell_contents for cell in function.__closure__ or ()]
        return function.__code__, *map(identity, held), *map(identity, function.__defaults__ or ())
    if isinstance(function, MethodType):
        return type(function.__self__), identity(function.__func__)
    if isinstance(function, functools.partial):
        return identity(function.func), *map(identity, function.args), *map(identity, function.keywords.items())
    if isinstance(function, tuple):
        return tuple(map(identity, function))
    if isinstance(function, _PLAIN):
        return type(function), function
    raise TypeError(
        f"an element-wise function holds a {type(function).__name__} in its closure, which a kernel cannot: make it an "
        "argument"
    )


_made: dict[Any, Any] = {}


def made_once(make: Callable[..., Any], function: Any, *rest: Any) -> Any:
    """make(function, *rest), remembered by all that it depends on.

    None for a function that cannot run on Symbols: one that uses what symbols.py lacks, or whose closure holds an array
    or CuPy itself.
    """
    try:
        key = make, identity(function), rest
        if key not in _made:
            _made[key] = None
            _made[key] = make(function, *rest)
        return _made[key]
    except (AttributeError, TypeError, ValueError):  # if it is wrong, it fails again where it is called as it is
        return None
