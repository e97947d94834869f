"""Rows of logits on the GPU: their mean cost in two kernels, its gradient in one, how many are right in one.

What the loss is to an element, functions on symbols say, as in fusing.py; what goes along a row is written by hand.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from minires.backend.gpu import source, source_classes
from minires.backend.gpu.compiling import INTEGER, compiled, contiguous, cupy, grid, index_type
from minires.backend.gpu.parameters import made_once, parts_of
from minires.backend.gpu.symbols import BOOL, SCALAR, Program, Symbol, T
from minires.types import Array

LABELS = {  # what labels are in C, by the character of their dtype
    **{"?": "bool", "b": "signed char", "B": "unsigned char", "h": "short", "H": "unsigned short", "i": "int"},
    **{"I": "unsigned int", "l": "long long", "L": "unsigned long long", "q": "long long", "Q": "unsigned long long"},
    **{"f": "float", "d": "double"},
}
REAL = "fd"  # logits are of float32 or float64
WIDE = 32  # threads that look for the largest of a row, at most: one block does all rows


@dataclass(frozen=True)
class Rows:
    """What the gradient is made from: the arguments of `mean_cost`, and what its kernels have found."""

    target: Callable[..., Any]
    logits: Array
    labels: Array
    weight: Array | None
    ignored: np.int64
    named: Mapping[str, Any]
    rows: Array
    over: Array


def mean_cost(
    cost: Callable[..., Any],
    target: Callable[..., Any],
    logits: Array,
    labels: Array,
    weight: Array | None,
    ignore_index: int,
    named: Mapping[str, Any],
) -> Any:
    """(loss, Rows) as in primitives.classes. NotImplemented where no kernels can be made."""
    xp, (count, classes) = cupy(), logits.shape
    body = _body(_costs, cost, target, labels, weight, named)
    if body is None or logits.dtype.char not in REAL or not -(2**63) <= ignore_index < 2**63:
        return NotImplemented
    logits, labels, weight = contiguous(logits), contiguous(labels), None if weight is None else contiguous(weight)
    rows, mean, over = (xp.empty(shape, logits.dtype) for shape in ((5, count), (), ()))
    found = Rows(target, logits, labels, weight, np.int64(ignore_index), named, rows, over)
    across = _across(classes, source.THREADS)
    blocks = -(-count // (source.THREADS // across))
    _launch("cost_rows", body, (blocks,), *_given(found), rows, count, classes, np.int32(across))
    _launch("cost_mean", source_classes.MEAN, (1,), rows, mean, over, count)
    return mean, found


def mean_cost_gradient(derivative: Callable[..., Any], found: Rows, dloss: Any) -> Array:
    """dlogits as in primitives.classes."""
    logits, (count, classes) = found.logits, found.logits.shape
    on_gpu = isinstance(dloss, cupy().ndarray)
    dloss = dloss.astype(logits.dtype) if on_gpu else np.float64(dloss)
    body = _body(_gradient, derivative, found.target, found.labels, found.weight, found.named, on_gpu)
    dlogits = cupy().empty(logits.shape, logits.dtype)
    arguments = (*_given(found), found.rows, found.over, dloss, dlogits, count, classes)
    _launch("cost_gradient", body, grid(logits.size), *arguments)
    return dlogits


def count_largest(logits: Array, labels: Array) -> Any:
    """As in primitives.classes. NotImplemented where no kernel can be made."""
    if logits.dtype.char not in "fd" or labels.dtype.char not in LABELS:
        return NotImplemented
    (count, classes), found = logits.shape, cupy().empty((), np.int64)
    body, across = _typed(labels.dtype.char, source_classes.LARGEST), np.int32(_across(classes, WIDE))
    _launch("count_largest", body, (1,), contiguous(logits), contiguous(labels), found, count, classes, across)
    return found


def _across(classes, most):
    """Threads for a row: a power of two."""
    return min(most, 1 << (classes - 1).bit_length())


def _given(found):
    """The arguments that the kernels of the cost and of the gradient have both, as `_parameters` has them."""
    weight = [] if found.weight is None else [found.weight]
    _, _, varying, _ = parts_of((), found.named)
    return [found.logits, found.labels, *weight, found.ignored, *varying.values()]


def _launch(name, body, blocks, first, *rest):
    """Run a kernel; Python's whole numbers, of which the last are rows and classes, become indices."""
    count, *classes = [number for number in rest if type(number) is int]
    index = index_type(count * max(5, *classes, 5))
    integer = INTEGER[index]
    arguments = [integer(number) if type(number) is int else number for number in rest]
    kernel = compiled(name, body, first.dtype.char, index)
    kernel(blocks, (source.THREADS,), (first, *arguments))


def _body(make, function, target, labels, weight, named, *rest):
    """The text that `make` makes of element-wise functions; None where one of them does not run on symbols."""
    kind, soft = labels.dtype.char, labels.ndim == 2
    if kind not in LABELS:
        return None
    _, _, varying, constants = parts_of((), named)
    return made_once(make, (function, target), kind, soft, weight is not None, tuple(varying), constants, *rest)


def _costs(functions, kind, soft, weighted, varying, constants):
    cost, target = functions
    program, t, loads = _target(target, soft, weighted, varying, constants)
    lines = "\n                ".join([*loads, *program.lines])
    costs = cost(t, Symbol(program, "shifted", T), Symbol(program, "log_total", T))
    counted = "1" if soft else "kept && known ? weights[label] : (T)0" if weighted else "kept"
    return _typed(
        kind,
        source_classes.COSTS.format(
            parameters=_parameters(weighted, varying),
            target=lines,
            t=t.name,
            cost="\n                ".join([*loads, *program.lines]),
            costs=costs.name,
            item="" if soft else "\n            ".join(_LABEL[: 3 if weighted else 2]),
            counted=counted,
        ),
    )


def _gradient(functions, kind, soft, weighted, varying, constants, on_gpu):
    derivative, target = functions
    program, t, loads = _target(target, soft, weighted, varying, constants)
    softmax, total, factor = (Symbol(program, name, T) for name in ("softmax", "sum", "factor"))
    dlogits = derivative(softmax, t, total, factor)
    return _typed(
        kind,
        source_classes.GRADIENT.format(
            parameters=_parameters(weighted, varying),
            upstream="const T *upstream" if on_gpu else "double upstream",
            dloss="upstream[0]" if on_gpu else "(T)upstream",
            lines="\n        ".join([*loads, *program.lines]),
            dlogits=dlogits.name,
        ),
    )


_LABEL = (
    "const long long label = labels[n];",
    "const bool kept = label != ignored;",
    "const bool known = !kept || (label >= 0 && label < classes);",
    "const T one_hot = known ? (T)(label == c) : (T)NAN;",
)


def _target(target, soft, weighted, varying, constants):
    """A Program that makes t of class c of item n, the Symbol of t, and the lines that load what it is made from."""
    program = Program()
    one_hot, kept = Symbol(program, "one_hot", T), None if soft else Symbol(program, "kept", BOOL)
    named = dict(constants) | {name: Symbol(program, f"s_{name}", SCALAR) for name in varying}
    t = target(one_hot, kept, Symbol(program, "weight", T) if weighted else None, **named)
    loads = ["const T one_hot = (T)labels[n * classes + c];"] if soft else [*_LABEL]
    return program, t, [*loads, *(["const T weight = weights[c];"] if weighted else [])]


def _parameters(weighted, varying):
    weights = ["const T *weights"] if weighted else []
    numbers = [f"double s_{name}" for name in varying]
    return ", ".join(["const T *logits", "const Label *labels", *weights, "long long ignored", *numbers])


def _typed(kind, body):
    return f"typedef {LABELS[kind]} Label;\n{body}"
