"""Element-wise functions run once on symbols: what they do to a number, as lines of C.

A layer writes such a function once, with operators and with the functions of `array_module(x)`. On a CPU it gets blocks
of NumPy arrays. For a GPU it gets Symbols, for which `array_module` is this module: each operation adds a line to a
Program, and kernels.py makes one kernel of the lines, where CuPy would run one kernel for each operation.

Numbers are of type T, the arrays' own, and so are all results. Python's numbers are double until they meet a T, as
NumPy's rules have it. Arrays of truth values are bool.
"""

from typing import Any

T, SCALAR, BOOL = "T", "double", "bool"


class Program:
    """Lines of C, in the order in which they are to run."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, expression: str, kind: str) -> "Symbol":
        """The Symbol of a new variable that is given this value."""
        name = f"t{len(self.lines)}"
        self.lines.append(f"const {kind} {name} = {expression};")
        return Symbol(self, name, kind)


class Symbol:
    """A number of an array, not yet known; `written` once it has been assigned to."""

    __hash__ = None  # type: ignore[assignment]
    __array_ufunc__ = None  # NumPy's numbers leave operators to this class

    def __init__(self, program: Program, name: str, kind: str) -> None:
        self.program, self.name, self.kind, self.written = program, name, kind, False
        self.shape = self.dtype = None  # of no use within an element-wise function, but `empty` asks for them

    def assign(self, value: Any) -> "Symbol":
        """From here on this symbol is that value."""
        value = _cast(self.program, value, self.kind)
        self.name, self.written = value.name, True
        return self

    def __setitem__(self, index: Any, value: Any) -> None:
        if index is not Ellipsis:
            raise TypeError("an element-wise function sees one number of an array: assign to array[...]")
        self.assign(value)

    def __bool__(self) -> bool:
        if self.kind == SCALAR:
            return True  # zeros among Python's numbers stay numbers
        raise TypeError("an element-wise function cannot branch on an array's numbers: use where")

    def __neg__(self) -> "Symbol":
        return self.program.add(f"-{self.name}", self.kind)

    def __invert__(self) -> "Symbol":
        return self.program.add(f"!{self.name}", BOOL)


def _of(program, value):
    """The Symbol of a Python number; a Symbol as it is."""
    if isinstance(value, Symbol):
        return value
    if isinstance(value, bool):
        return Symbol(program, "true" if value else "false", BOOL)
    number = {"inf": "INFINITY", "-inf": "-INFINITY", "nan": "NAN"}.get(str(float(value)), repr(float(value)))
    return Symbol(program, f"({number})", SCALAR)


def _cast(program, value, kind):
    value = _of(program, value)
    return value if value.kind == kind else program.add(f"({kind}){value.name}", kind)


def _call(expression, *operands, result=None, out=None):
    """The Symbol of `expression`, in which {0}, {1}, ... are the operands, brought to one type first."""
    program = next(operand.program for operand in operands if isinstance(operand, Symbol))
    symbols = [_of(program, operand) for operand in operands]
    kinds = [symbol.kind for symbol in symbols]
    common = T if T in kinds else SCALAR if SCALAR in kinds else T
    if kinds == [BOOL] * len(kinds) and result == BOOL:
        common = BOOL
    names = [_cast(program, symbol, common).name for symbol in symbols]
    value = program.add(expression.format(*names), result or common)
    return value if out is None else out.assign(value)


def _function(expression, result=None):
    def function(*operands: Any, out: Symbol | None = None) -> Symbol:
        return _call(expression, *operands, result=result, out=out)

    return function


_FUNCTIONS = {
    "add": _function("{0} + {1}"),
    "subtract": _function("{0} - {1}"),
    "multiply": _function("{0} * {1}"),
    "divide": _function("{0} / {1}"),
    "true_divide": _function("{0} / {1}"),
    "power": _function("pow({0}, {1})"),
    "maximum": _function("({0} >= {1} || {0} != {0}) ? {0} : {1}"),  # NaN where either is, as NumPy's
    "minimum": _function("({0} <= {1} || {0} != {0}) ? {0} : {1}"),
    **{name: _function(f"{name}({{0}})") for name in ("sqrt", "exp", "log", "tanh")},
    "square": _function("{0} * {0}"),
    "absolute": _function("fabs({0})"),
    "sign": _function("{0} != {0} ? {0} : (T)(({0} > 0) - ({0} < 0))"),
    "greater": _function("{0} > {1}", BOOL),
    "less": _function("{0} < {1}", BOOL),
    "greater_equal": _function("{0} >= {1}", BOOL),
    "less_equal": _function("{0} <= {1}", BOOL),
    "equal": _function("{0} == {1}", BOOL),
    "not_equal": _function("{0} != {1}", BOOL),
    "logical_and": _function("{0} && {1}", BOOL),
    "logical_or": _function("{0} || {1}", BOOL),
    "isnan": _function("{0} != {0}", BOOL),
}


def __getattr__(name: str) -> Any:
    """NumPy's functions of numbers, as far as an element-wise function may want them: add(x, y, out=None), ..."""
    if name not in _FUNCTIONS:
        raise AttributeError(f"an element-wise function that is to become a kernel has no {name}")
    return _FUNCTIONS[name]


def where(condition: Symbol, x: Any, y: Any) -> Symbol:
    """x where the condition holds, else y."""
    x, y = (_cast(condition.program, value, T) for value in (x, y))
    return condition.program.add(f"{condition.name} ? {x.name} : {y.name}", T)


def empty(shape: Any, dtype: Any = None) -> "Symbol":
    """A number to be assigned to; its Program is that of the first value it is given."""
    return _Room()


class _Room(Symbol):
    def __init__(self):
        super().__init__(Program(), "", T)

    def assign(self, value: Any) -> Symbol:
        self.program = value.program
        return super().assign(value)


def _comparison(name, function):
    def compare(self: Symbol, other: Any) -> Symbol:
        return function(self, other)

    setattr(Symbol, f"__{name}__", compare)


def _operators(name, function):
    def forward(self: Symbol, other: Any) -> Symbol:
        return function(self, other)

    def reflected(self: Symbol, other: Any) -> Symbol:
        return function(other, self)

    def in_place(self: Symbol, other: Any) -> Symbol:
        return self.assign(function(self, other))

    for prefix, method in (("", forward), ("r", reflected), ("i", in_place)):
        setattr(Symbol, f"__{prefix}{name}__", method)


for _name, _of_two in {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "divide",
    "pow": "power",
    "and": "logical_and",
    "or": "logical_or",
}.items():
    _operators(_name, _FUNCTIONS[_of_two])
for _name, _of_two in {
    "gt": "greater",
    "lt": "less",
    "ge": "greater_equal",
    "le": "less_equal",
    "eq": "equal",
    "ne": "not_equal",
}.items():
    _comparison(_name, _FUNCTIONS[_of_two])
