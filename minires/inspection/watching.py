"""What each layer of a model gave and was handed back, without a change to the model.

with watching(model) as calls:
    y, backward = model(x)
backward(dy)
print([(call.name, call.y.shape, call.dy.shape) for call in calls])
"""

import contextlib
from dataclasses import dataclass
from typing import Any

from minires.module import Module


@dataclass(eq=False)
class Call:
    """One call of a module: y, backward = module(*inputs).

    name: the module's path in the model, "" for the model itself.   y: what it returned, an array or a tuple.
    dy: the gradient that its backward pass was handed, None until then.
    """

    name: str
    module: Module
    inputs: tuple
    y: Any
    dy: Any = None


@contextlib.contextmanager
def watching(model, names=None):
    """Within this block a list of Calls fills up, one for every call of a module, in the order in which they end.

    names: paths of the modules to be watched, as in `model.named_modules()`; None: all of them, the model included.
    The gradients come in when backward is called, within the block or after it. Under no_grad() a convolution may be
    worked into one with the batch norm after it (`conv_norm_relu`), and is then not called.
    """
    calls = []
    watched = [(name, module) for name, module in model.named_modules() if names is None or name in names]
    try:
        for name, module in watched:
            module.forward = _noting(name, module, calls)
        yield calls
    finally:
        for _, module in watched:
            module.__dict__.pop("forward", None)


def _noting(name, module, calls):
    forward = module.forward  # the class's method, bound

    def forward_and_note(*inputs):
        y, backward = forward(*inputs)
        call = Call(name, module, inputs, y)
        calls.append(call)

        def backward_and_note(dy):
            call.dy = dy
            return backward(dy)

        return y, backward_and_note

    return forward_and_note
