"""A part of a network that keeps its input alone, and is computed again when its backward pass needs the rest.

Derivation: docs/recomputing.md.
"""

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from minires.backend import array_module
from minires.calling import call
from minires.modes import keeping_backward, keeps_backward, no_grad
from minires.module import Module
from minires.parameter import Parameter
from minires.types import Array, Backward, Operation


def recomputed(
    function: Operation, x: Array, modules: Sequence[Module] | None = None, lean: bool = False
) -> tuple[Array, Backward]:
    """y = function(x), of which x alone is kept: backward(dy) calls function(x) again, and goes back through that.

    function: a module or another function x -> (y, backward), of arrays.   modules: those that it uses; None: itself.
    The second pass finds everything as the first did: parameters, buffers, modes, and the random generators that the
    modules hold, so that y and all gradients have the bits that they would have without. It leaves no trace: running
    statistics move once, a generator draws nothing twice. Under no_grad() this is function(x).
    What else a module changes with each call is not put back, and while backward runs no other thread may use the
    modules.   lean: nobody looks at dx, which may be None.
    Raises ValueError for a function whose modules are not given, and for a second pass that gives another shape.
    Source: Chen et al. 2016, "Training deep nets with sublinear memory cost", section 3; in PyTorch this is
    `torch.utils.checkpoint`.
    """
    if modules is None:
        if not isinstance(function, Module):
            raise ValueError(f"recomputed: which modules does {function!r} use? Give modules=[...], or [] for none")
        modules = [function]
    if not keeps_backward():
        return function(x)
    before = _State(modules, copies=True)
    with no_grad():
        y, _ = function(x)
    shape, dtype = y.shape, y.dtype

    def backward(dy):
        with before.once_more(), keeping_backward(True):
            y, inner = call(function, x, lean=lean, once=True)
        if (y.shape, y.dtype) != (shape, dtype):
            raise ValueError(
                f"recomputed: the first forward pass gave {shape} of {dtype}, the second {y.shape} of {y.dtype}: "
                "what a function does must depend on x and on its modules alone"
            )
        del y  # unless its own backward pass keeps it
        return inner(dy)

    return y, backward


class _State:
    """What a forward pass of `modules` reads or changes besides x, as it is now: (owner, attribute, value) of each.

    values: which nobody writes into.   buffers: which forward passes do write into, so that copies are kept of them.
    """

    def __init__(self, modules: Sequence[Module], copies: bool = False) -> None:
        self.modules = dict.fromkeys(inner for module in modules for inner in module.modules())
        self.values: list[tuple[Any, str, Any]] = [(module, "training", module.training) for module in self.modules]
        self.buffers: list[tuple[Module, str, Array]] = []
        for module in self.modules:
            for name, value in vars(module).items():
                if isinstance(value, Parameter):
                    self.values += [(value, "data", value.data), (value, "requires_grad", value.requires_grad)]
                elif isinstance(value, np.random.Generator):
                    self.values.append((value.bit_generator, "state", value.bit_generator.state))
                elif value is not None and name in vars(module).get("_buffers", []):
                    self.buffers.append((module, name, value))
        if copies:
            self.buffers = _copied(self.buffers)

    @contextlib.contextmanager
    def once_more(self) -> Iterator[None]:
        """Within this block all is as it was, with copies of the buffers; afterwards as it is before the block."""
        now = _State(list(self.modules))
        try:
            _assign(self.values, _copied(self.buffers))
            yield
        finally:
            try:
                _assign(now.values, now.buffers)
            except BaseException:  # Ctrl-C has come in there: once more
                _assign(now.values, now.buffers)
                raise


def _copied(buffers):
    if buffers:
        array_module(*(array for _, _, array in buffers))  # of several GPUs it is theirs that copies them
    return [(module, name, array.copy()) for module, name, array in buffers]


def _assign(*triples):
    for owner, attribute, value in itertools.chain(*triples):
        setattr(owner, attribute, value)
