"""Where a training step's time goes: every operation, forward and backward, with what it computes and moves.

All functions that minires.layers and minires.losses export are wrapped for a few steps, wherever a module of minires
holds them, and put back. An operation called by another belongs to the other.
"""

import contextlib
import functools
import inspect
import math
import time
from dataclasses import dataclass

import numpy as np
from replacing import replaced

from minires import layers, losses

WITH_PRODUCTS = ("conv2d", "linear")  # whose multiply-adds are counted
BACKWARD_WITHOUT_INPUT = ("add", "avg_pool2d", "concat", "flatten", "global_avg_pool2d", "pad_shortcut")


@dataclass
class Operation:
    """What the calls of one operation took together. bytes: of every array in and out, once."""

    calls: int = 0
    seconds: float = 0.0
    flops: int = 0
    bytes: int = 0


class Recorder:
    """Times operations: operations {(name, "forward" or "backward"): Operation}."""

    def __init__(self):
        self.operations = {}
        self.inside = False

    def wrap(self, name, function):
        """`function`, an operation of this name, recorded, and its backward pass as well."""
        signature = inspect.signature(function)

        @functools.wraps(function)
        def operation(*args, **kwargs):
            if self.inside:
                return function(*args, **kwargs)
            (y, backward), seconds = self.timed(function, args, kwargs)
            arguments = signature.bind(*args, **kwargs)
            arguments.apply_defaults()
            label, flops = describe(name, arguments.arguments, y)
            inputs = _arrays([*args, *kwargs.values()])
            self.note((label, "forward"), seconds, flops, _bytes([*inputs, y]))
            shapes = [array.shape for array in inputs]
            return y, self.wrap_backward(name, label, backward, flops, shapes, _bytes(inputs))

        return operation

    def wrap_backward(self, name, label, backward, flops, shapes, input_bytes):
        """`backward`, recorded; each gradient of a product costs as much as the product."""

        @functools.wraps(backward)
        def recorded(*dy, **options):
            if self.inside:
                return backward(*dy, **options)
            gradients, seconds = self.timed(backward, dy, options)
            dys, found = _arrays(dy), _arrays(gradients if isinstance(gradients, (tuple, list)) else [gradients])
            made = [gradient for gradient in found if not any(gradient is given for given in dys)]
            products = sum(gradient.shape in shapes for gradient in made if gradient.ndim > 1)
            moved = 0  # where dy is handed on as it is
            if made:
                moved = _bytes([*dys, *made]) + (0 if name in BACKWARD_WITHOUT_INPUT else input_bytes)
            self.note((label, "backward"), seconds, products * flops, moved)
            return gradients

        return recorded

    def timed(self, function, args, kwargs):
        """(result, seconds) of a call, within which nothing is recorded."""
        self.inside = True
        began = time.perf_counter()
        try:
            result = function(*args, **kwargs)
        finally:
            self.inside = False
        return result, time.perf_counter() - began

    def note(self, key, seconds, flops, moved):
        operation = self.operations.setdefault(key, Operation())
        operation.calls += 1
        operation.seconds += seconds
        operation.flops += flops
        operation.bytes += moved


def describe(name, arguments, y):
    """(label, flops of the forward pass) of an operation; convolutions and linear layers are told apart by shape."""
    if name not in WITH_PRODUCTS:
        return name, 0
    x, weight = arguments["x"], arguments["weight"]
    flops = 2 * math.prod(y.shape[:-1]) * weight.size
    if name == "linear":
        return f"linear {weight.shape[1]}->{weight.shape[0]}", flops
    O, C, KH, KW = weight.shape
    stride = arguments["stride"]
    size = f"{x.shape[1]}x{x.shape[2]}" + ("" if stride in (1, (1, 1)) else f" stride {stride}")
    return f"conv2d {KH}x{KW} {C}->{O} {size}", flops


def _arrays(values):
    """The floating-point arrays among the values."""
    return [value for value in values if isinstance(value, np.ndarray) and value.dtype.kind == "f"]


def _bytes(arrays):
    return sum(array.nbytes for array in arrays)


def exported_operations():
    """{name: function}, all functions that minires.layers and minires.losses export."""
    exported = {name: getattr(module, name) for module in (layers, losses) for name in module.__all__}
    return {name: value for name, value in exported.items() if inspect.isfunction(value)}


@contextlib.contextmanager
def recording():
    """Within this block all operations are recorded: gives the Recorder."""
    recorder = Recorder()
    with replaced({function: recorder.wrap(name, function) for name, function in exported_operations().items()}):
        yield recorder


def measure(step, steps, peaks):
    """Rows of the table, the longest first, from `steps` steps: what each operation takes in one of them.

    peaks: as from machine_peaks.measure. The last rows are the rest of the step (Python, optimizer, sums of
    gradients) and the whole step.
    """
    step()
    with recording() as recorder:
        began = time.perf_counter()
        for _ in range(steps):
            step()
        total = time.perf_counter() - began
    return rows(recorder.operations, total, steps, peaks)


def rows(operations, total, steps, peaks):
    """`measure` from what was recorded in `total` seconds."""
    in_order = sorted(operations.items(), key=lambda item: -item[1].seconds)
    found = [_row(*key, operation, total, steps, peaks) for key, operation in in_order]
    everything = operations.values()
    rest = Operation(seconds=total - sum(operation.seconds for operation in everything))
    whole = Operation(
        calls=sum(operation.calls for operation in everything),
        seconds=total,
        flops=sum(operation.flops for operation in everything),
        bytes=sum(operation.bytes for operation in everything),
    )
    found.append(_row("rest (Python, optimizer, ...)", "", rest, total, steps, peaks))
    found.append(_row("the whole step", "", whole, total, steps, peaks))
    return found


def _row(name, direction, operation, total, steps, peaks):
    seconds = max(operation.seconds, 1e-9)
    gflops = 1e-9 * operation.flops / seconds if operation.flops else None
    gb_per_s = 1e-9 * operation.bytes / seconds if operation.bytes else None
    return {
        "operation": name,
        "pass": direction,
        "calls": operation.calls // steps,
        "ms": 1e3 * operation.seconds / steps,
        "share": operation.seconds / total,
        "gflops": gflops,
        "share_of_sgemm": None if gflops is None else gflops / peaks["sgemm_gflops"],
        "gb_per_s": gb_per_s,
        "share_of_copy": None if gb_per_s is None else gb_per_s / peaks["copy_gb_per_s"],
    }


def table(found):
    """The rows as text."""
    width = max(len(row["operation"]) for row in found)
    head = (
        f"{'operation':{width}} {'pass':8} {'calls':>5} {'ms':>8} {'share':>7} {'GFLOP/s':>8} {'of SGEMM':>8} "
        f"{'GB/s':>7} {'of copy':>8}"
    )
    lines = [head, "-" * len(head)]
    for row in found:
        calls = row["calls"] or ""
        lines.append(
            f"{row['operation']:{width}} {row['pass']:8} {calls:>5} {row['ms']:8.2f} {row['share']:7.1%} "
            f"{_cell(row['gflops'], 8, '.1f')} {_cell(row['share_of_sgemm'], 8, '.0%')} "
            f"{_cell(row['gb_per_s'], 7, '.1f')} {_cell(row['share_of_copy'], 8, '.0%')}".rstrip()
        )
    return "\n".join(lines)


def _cell(value, width, form):
    return " " * width if value is None else f"{value:{width}{form}}"
