"""Does an operation or a Module keep the rules of docs/protocol.md, besides being the derivative (`gradcheck`)?

from minires.protocol import check_protocol
check_protocol(my_function, x)  # my_function(x) -> (y, backward)
"""

import copy
import itertools

import numpy as np

from minires.differences import MOVED_ON
from minires.module import Module
from minires.optim import SGD
from minires.types import Array, Operation


class ProtocolError(AssertionError):
    """A rule is broken; the message says which."""


def check_protocol(function: Operation, *inputs: Array, seed: int = 0) -> None:
    """Raise ProtocolError unless the passes of `function` keep to the protocol at these inputs.

    function: `function(*inputs) -> (y, backward)`, or a Module, of which copies are used.   inputs: NumPy arrays, of
    which copies are used as well; floating-point ones have a gradient.
    - y has the dtype of the floating-point inputs; each gradient the shape and dtype of its array.
    - The inputs, y and dy are unchanged, and may be read-only.
    - backward gives the same bits each time, also after another forward pass, and that one's after it.
    - For a Module, in either mode, also after an optimizer's step, `load_state_dict`, a forward pass in training mode
      and a change of mode: a closure's numbers are those of its forward pass. A parameter's grad shares no memory with
      dy, dx, y, the inputs, the parameter or another's grad.
    ValueError for a function that gives two answers to one question, since its generator moves on.
    """
    rng = np.random.default_rng([seed, 0x7072])
    for training in (True, False) if isinstance(function, Module) else (True,):
        _check(function, [np.array(x) for x in inputs], training, rng)


def _check(function, inputs, training, rng):
    start, given = _Start(function, training), [np.array(x) for x in inputs]
    first = start.forward(inputs)
    dy = np.asarray(rng.standard_normal(np.shape(first.y))).astype(np.asarray(first.y).dtype)
    before = [*given, np.array(first.y), np.array(dy)]
    wanted = first.gradients(dy)
    names = [*(f"input {number}" for number in range(len(inputs))), "y", "dy"]
    for name, now, old in zip(names, [*inputs, first.y, dy], before, strict=True):
        if not _same([now], [old]):
            raise ProtocolError(
                f"the forward or backward pass changed {name}, which others may still use: copy it first"
            )
    _check_kinds(inputs, first.y, wanted[: first.inputs_of(wanted)])
    _check_memory(first, [*zip(names, [*inputs, first.y, dy], strict=True)])
    _must_be_same(first.gradients(dy), wanted, "backward gave other numbers when it was called again")
    again = start.forward(inputs)
    if not _same([again.y], [first.y]) or not _same(again.gradients(dy), wanted):
        raise ValueError(f"check_protocol: {MOVED_ON}")

    locked = [np.array(x) for x in [*inputs, dy]]
    for array in locked:
        array.flags.writeable = False
    try:
        start.forward(locked[:-1]).gradients(locked[-1])
    except ValueError as error:
        raise ProtocolError(f"read-only inputs or a read-only dy are not taken ({error}): write into a copy") from error

    others = [x * x.dtype.type(-0.5) if x.dtype.kind == "f" else x for x in inputs]
    for what, event in _EVENTS.items():
        run = start.forward(inputs)
        if event(run, others, rng) is None:
            y = np.array(run.y)
            _must_be_same([y], [before[-2]], f"y changed after {what}")
            _must_be_same(run.gradients(dy), wanted, f"backward gave other numbers after {what}")


def _check_kinds(inputs, y, gradients):
    floats = [x for x in inputs if x.dtype.kind == "f"]
    if len(gradients) != len(floats):
        raise ProtocolError(
            f"backward gave {len(gradients)} gradients for {len(floats)} floating-point inputs: give one for each, in "
            "their order (what has none, bind before: lambda x: f(x, other))"
        )
    for x, dx in zip(floats, gradients, strict=True):
        if (x.shape, x.dtype) != (dx.shape, dx.dtype):
            raise ProtocolError(f"a gradient is {dx.dtype} {dx.shape}, its array {x.dtype} {x.shape}: must be equal")
    if floats and np.asarray(y).dtype != floats[0].dtype:
        raise ProtocolError(f"y is {np.asarray(y).dtype}, the input {floats[0].dtype}: they must be equal")


def _check_memory(run, others):
    others = [*others, *((f"gradient {number}", dx) for number, dx in enumerate(run.last))]
    held = [(f"{name}.grad", parameter.grad) for name, parameter in run.parameters()]
    others += [(name, parameter.data) for name, parameter in run.parameters()]
    for (name, grad), (other, array) in [*itertools.product(held, others), *itertools.combinations(held, 2)]:
        if grad is not None and np.shares_memory(grad, np.asarray(array)):
            raise ProtocolError(f"{name} shares memory with {other}: who changes one changes both; keep a copy")


class _Start:
    """A function or Module as it was given, from which each forward pass starts anew."""

    def __init__(self, function, training):
        self.function, self.training = function, training

    def forward(self, inputs):
        function = self.function
        if isinstance(function, Module):
            function = copy.deepcopy(function).train(self.training)
            function.zero_grad()
        return _Run(function, inputs)


class _Run:
    """One forward pass, and what its backward pass gives."""

    def __init__(self, function, inputs):
        self.function, self.inputs = function, inputs
        self.y, self.backward = function(*inputs)
        self.last = []

    def parameters(self):
        return list(self.function.named_parameters()) if isinstance(self.function, Module) else []

    def inputs_of(self, gradients):
        return len(gradients) - sum(parameter.grad is not None for _, parameter in self.parameters())

    def gradients(self, dy):
        """Copies of what backward(dy) gives: for the inputs, then for the parameters."""
        for _, parameter in self.parameters():
            parameter.grad = None
        given = self.backward(dy)
        self.last = list(given) if isinstance(given, (tuple, list)) else [given]
        inside = [parameter.grad for _, parameter in self.parameters() if parameter.grad is not None]
        return [np.array(gradient) for gradient in [*self.last, *inside]]


def _another_pass(run, others, rng):
    run.function(*others)


def _step(run, others, rng):
    parameters = [parameter for _, parameter in run.parameters()]
    if not parameters:
        return "nothing to do"
    for parameter in parameters:
        parameter.grad = rng.standard_normal(parameter.shape).astype(parameter.data.dtype)
    SGD(parameters, lr=0.5, momentum=0.9).step()


def _load(run, others, rng):
    if not isinstance(run.function, Module):
        return "nothing to do"
    run.function.load_state_dict({key: value * 2 + 1 for key, value in run.function.state_dict().items()})


def _train(run, others, rng):
    if not isinstance(run.function, Module):
        return "nothing to do"
    run.function.train()(*others)


def _change_mode(run, others, rng):
    if not isinstance(run.function, Module):
        return "nothing to do"
    run.function.train(not run.function.training)


_EVENTS = {
    "another forward pass": _another_pass,
    "an optimizer's step": _step,
    "load_state_dict": _load,
    "a forward pass in training mode": _train,
    "a change of mode": _change_mode,
}


def _same(arrays, others):
    return all(
        np.asarray(a).dtype == np.asarray(b).dtype
        and np.shape(a) == np.shape(b)
        and np.asarray(a).tobytes() == np.asarray(b).tobytes()
        for a, b in zip(arrays, others, strict=True)
    )


def _must_be_same(now, wanted, sentence):
    if not _same(now, wanted):
        raise ProtocolError(f"{sentence}: a closure's numbers are those of its forward pass; let it keep them")
