"""Modules one after another, and what is saved where only the gradients of their parameters are wanted."""

import inspect
import types
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

from minires.modes import no_grad
from minires.module import Module
from minires.types import Array, Backward, Operation


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


def call(function: Operation, x: Array, lean: bool = False, once: bool = False) -> tuple[Any, Backward]:
    """`function(x)`, a module or another function x -> (y, backward), told of what is asked for and what it knows.

    once: one backward pass will follow.   lean: one will, and dx will not be looked at.
    A module that can make use of that says so by parameters `lean` and `once` of its forward, and then hands them on
    where it knows that the same is true there. All others, those that users write among them, run as ever.
    """
    asked = [name for name, wanted in (("lean", lean), ("once", once)) if wanted]
    if not asked:
        return function(x)
    forward = function.forward if isinstance(function, Module) else function
    known = _parameters(forward)
    return function(x, **{name: True for name in asked if name in known})


def _parameters(function):
    """Names of a function's parameters; of one written in Python from its code, which inspect takes long to do."""
    function = getattr(function, "__func__", function)
    if not isinstance(function, types.FunctionType):
        return inspect.signature(function, follow_wrapped=False).parameters
    code = function.__code__
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def in_sequence(
    steps: Iterable[tuple[Operation, Sequence[Module]]], x: Array, lean: bool = False, once: bool = False
) -> tuple[Array, Backward]:
    """y = f_n(... f_2(f_1(x))) for `steps`, pairs of a function x -> (y, backward) and the modules that it uses.

    Returns (y, backward); backward(dy) -> dx runs the steps in reverse order.
    once: for one backward pass. Steps let go of their arrays when they have been gone back through, so that the peak of
    memory is where the backward pass begins.
    lean: for one that fills the parameters' gradients and returns None. Besides that, steps before the first parameter
    to be trained keep nothing and are not gone back through.
    """
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
