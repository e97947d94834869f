"""Modules one after another, and what is saved where only the gradients of their parameters are wanted."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

from minires.calling import call
from minires.modes import no_grad
from minires.module import Module
from minires.recomputed import recomputed
from minires.types import Array, Backward, Operation

Step = tuple[Operation, Sequence[Module]]


class Sequential(Module):
    """Modules one after another: y = f_n(... f_2(f_1(x))); backward runs them in reverse order.

    Children are named "0", "1", ... as in PyTorch. `sequential[i]` is a module, `sequential[i:j]` a Sequential of the
    same modules; `len(sequential)` and loops over it work.
    """

    def __init__(self, *modules: Module) -> None:
        for index, module in enumerate(modules):
            if not isinstance(module, Module):
                kind = type(module).__name__
                raise TypeError(f"Sequential: argument {index} is a {kind}: give modules, one after another")
            setattr(self, str(index), module)

    @overload
    def __getitem__(self, index: int) -> Module: ...
    @overload
    def __getitem__(self, index: slice) -> "Sequential": ...
    def __getitem__(self, index: int | slice) -> Module:
        modules = [child for _, child in self.children()]
        return Sequential(*modules[index]) if isinstance(index, slice) else modules[index]

    def __iter__(self) -> Iterator[Module]:
        return (child for _, child in self.children())

    def __len__(self) -> int:
        return sum(1 for _ in self.children())

    def forward(self, x: Array, lean: bool = False, once: bool = False) -> tuple[Array, Backward]:
        return in_sequence([(module, [module]) for _, module in self.children()], x, lean, once)


def in_sequence(steps: Iterable[Step], x: Array, lean: bool = False, once: bool = False) -> tuple[Array, Backward]:
    """y = f_n(... f_2(f_1(x))) for `steps`, pairs of a function x -> (y, backward) and the modules that it uses.

    Returns (y, backward); backward(dy) -> dx runs the steps in reverse order.
    once: for one backward pass. Steps let go of their arrays when they have been gone back through, so that the peak of
    memory is where the backward pass begins.
    lean: for one that fills the parameters' gradients and returns None. Besides that, steps before the first parameter
    to be trained keep nothing and are not gone back through.
    Steps in a row whose modules are of one `segment` keep their input alone (minires.recompute).
    """
    return _one_after_another(_segments(steps), x, lean, once)


def _segments(steps):
    """The steps, those in a row that are of one segment made one step, which is recomputed."""
    for segment, row in itertools.groupby(steps, _segment_of):
        in_a_row = list(row)
        yield from in_a_row if segment is None else [_recomputed_step(in_a_row)]


def _segment_of(step):
    """The segment that all modules of a step are of; None where there is none."""
    segments = {module.segment for module in step[1]}
    return segments.pop() if len(segments) == 1 else None


def _recomputed_step(steps):
    modules = [module for _, used in steps for module in used]

    def chain(x, lean=False, once=False):
        return _one_after_another(steps, x, lean, once)

    return lambda x, lean=False: recomputed(chain, x, modules, lean), modules


def _one_after_another(steps, x, lean, once):
    backwards, first, once = [], lean, lean or once
    for function, modules in steps:
        if first and not any(parameter.requires_grad for module in modules for parameter in module.parameters()):
            with no_grad():
                x, _ = function(x)
            continue
        x, backward = call(function, x, lean=first, once=once)
        backwards.append(backward)
        first = False
    number = len(backwards)

    def backward_all(dy):
        for backward in reversed(backwards):
            dy = backward(dy)
        return dy

    def backward_once(dy):
        if len(backwards) < number:
            raise RuntimeError(
                "a backward pass was called twice, but lets go of what it used: call without lean=True or once=True"
            )
        while backwards:
            dy = backwards[-1](dy)
            backwards.pop()  # now, so that a dy which it refused may be followed by a right one
        return None if lean else dy

    return x, backward_once if once else backward_all
