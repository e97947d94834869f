"""What each layer of a model gave and was handed back, without a change to the model.

with watching(model) as calls:
    y, backward = model(x)
backward(dy)
print([(call.name, call.y.shape, call.dy.shape) for call in calls])
"""

import contextlib
import copy
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from types import MethodType
from typing import Any

from minires.forks import Locked
from minires.module import Module


@dataclass(eq=False)
class Call:
    """One call of a module: y, backward = module(*inputs).

    name: the module's path in the model, "" for the model itself.   inputs: arrays that were given by name come last.
    y: what it returned, an array or a tuple.   dy: the gradient that its backward pass was handed, None until then.
    """

    name: str
    module: Module
    inputs: tuple
    y: Any
    dy: Any = None


@contextlib.contextmanager
def watching(
    model: Module, names: Collection[str] | None = None, into: list[Call] | None = None
) -> Iterator[list[Call]]:
    """Within this block a list of Calls fills up, one for every call of a module, in the order in which they end.

    names: paths of the modules to be watched, as in `model.named_modules()`; None: all of them, the model included.
    into: the list; None: a new one.
    A module that has several paths goes by the first. Calls from every thread are noted. The gradients come in when
    backward is called, within the block or after it. Blocks may lie within each other or end in any order; a `forward`
    that was put on a module itself is called, and stays. A deep copy of the model is not watched.
    """
    calls: list[Call] = [] if into is None else into
    watched = {id(module): (name, module) for name, module in reversed([*model.named_modules()]) if _among(name, names)}
    watchers = []
    try:
        for name, module in reversed(watched.values()):
            with _changing.lock:
                watchers.append(_Watcher(name, module, calls))
                watchers[-1].enter()  # noted before it is done, so that Ctrl-C finds it
        yield calls
    finally:
        for watcher in reversed(watchers):
            with _changing.lock:
                watcher.leave()


def is_layer(module: Module) -> bool:
    """Whether it is shown as one thing: a module without others inside, or a layer whose parameters are in some."""
    return type(module).__module__.startswith("minires.layers.") or not list(module.children())


def arrays_in(values: Iterable[Any]) -> Iterator[Any]:
    """The arrays among some values, also those in tuples and lists."""
    for value in values:
        if isinstance(value, (tuple, list)):
            yield from arrays_in(value)
        elif hasattr(value, "shape"):
            yield value


_changing = Locked("changing which modules are watched")


def _among(name, names):
    return names is None or name in names


class _Watcher:
    """Stands in a module's `forward`, calls what was there before, and notes it in `calls` until it is told to leave.

    It declares no parameter by name, so that a module which asks what its parts take runs them in the plain way.
    """

    def __init__(self, name, module, calls):
        self.name, self.module, self.calls = name, module, calls
        self.before = vars(module).get("forward")

    def enter(self):
        self.module.forward = self

    def __call__(self, *inputs, **options):
        module, calls = self.module, self.calls
        forward = MethodType(type(module).forward, module) if self.before is None else self.before
        y, backward = forward(*inputs, **options)
        if calls is None:
            return y, backward
        by_name = [value for value in options.values() if any(True for _ in arrays_in([value]))]
        call = Call(self.name, module, (*inputs, *by_name), y)
        calls.append(call)

        def backward_and_note(dy):
            call.dy = dy
            return backward(dy)

        return y, backward_and_note

    def leave(self):
        """Note no more; put back what was there, unless another one stands above, which will when it leaves."""
        self.calls = None
        attributes = vars(self.module)
        while isinstance(top := attributes.get("forward"), _Watcher) and top.calls is None:
            if top.before is None:
                del attributes["forward"]
            else:
                attributes["forward"] = top.before

    def __deepcopy__(self, memo):
        """What was there before, for the copy of the module, which would call the original through this one."""
        if self.before is not None:
            return copy.deepcopy(self.before, memo)
        return MethodType(type(self.module).forward, copy.deepcopy(self.module, memo))
