"""What a kernel is made from: the arrays it is given, and the function that says what it does to their numbers."""

import functools
from collections.abc import Sequence
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from minires.backend.gpu.symbols import BOOL, Program, Symbol, T
from minires.types import Array


def takes(*arrays: Array) -> bool:
    """Whether kernels are made for these arrays: float32 or float64, all of one, and bool."""
    return {array.dtype.char for array in arrays} in ({"f"}, {"d"}, {"f", "?"}, {"d", "?"})


def check_shapes(arrays: Sequence[Array], vectors: Sequence[Array] = ()) -> None:
    """Raises ValueError unless arrays are of one shape and vectors (C,): a kernel would read beyond a smaller one."""
    shape = arrays[0].shape
    for array in arrays:
        if array.shape != shape:
            raise ValueError(f"an element-wise function of arrays of shapes {shape} and {array.shape}: broadcast them")
    for vector in vectors:
        if vector.shape != shape[-1:]:
            raise ValueError(f"numbers a channel of shape {vector.shape} beside arrays of {shape}: give one a channel")


class Parameters:
    """The arrays that a kernel is given: parameters, a Symbol for each, lines that load them and store what changed.

    dtypes: their characters; False for one that is None, and stays so. The last `vectors` of them have the index
    `vector_index`, the others i. has_out: there is one more, which is not loaded.
    """

    def __init__(self, dtypes: Sequence[str | bool], vectors: int, vector_index: str, has_out: bool = False) -> None:
        self.program = Program()
        self.symbols: list[Any] = []
        self.parameters: list[str] = []
        self.loads: list[str] = []
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

    def written(self) -> tuple[int, ...]:
        """Which of the arrays that are there have been assigned to."""
        present = [symbol for symbol in self.symbols if symbol is not None]
        return tuple(number for number, symbol in enumerate(present) if symbol.written)

    def stores(self) -> list[str]:
        """The lines that write what has been assigned into its array."""
        changed = [(number, symbol) for number, symbol in enumerate(self.symbols) if symbol is not None]
        return [f"a{number}[i] = {symbol.name};" for number, symbol in changed if symbol.written]


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
