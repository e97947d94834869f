"""A function x -> (y, backward), called with what its caller knows of the backward pass that will follow."""

import inspect
import types
from typing import Any

from minires.module import Module
from minires.types import Array, Backward, Operation


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
