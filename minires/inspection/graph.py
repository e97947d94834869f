"""What a network computes, as a graph: found by running it once and noting who was handed what.

for node in graph_of(SEBottleneck(64, 16, 1, rng=0), (8, 8, 64)):
    print(node.name, node.shape, [source.name for source in node.sources if source])

A node is a call of a layer, or of an operation that a forward pass calls itself, such as `add`.
"""

import contextlib
import functools
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from minires import layers
from minires.backend import device_of, to_device
from minires.forks import Locked
from minires.inspection.watching import Call, is_layer, watching
from minires.modes import evaluating
from minires.module import Module

OPERATIONS = {
    name: function
    for name in layers.__all__
    if callable(function := getattr(layers, name)) and not isinstance(function, type)
}


@dataclass(eq=False)
class Node:
    """One call of a layer or an operation.

    name: the layer's path in the model, or the operation's name.   module: the layer, None for an operation.
    shape: of what it gave, for one image.   sources: the nodes that gave its inputs; None is the image.
    """

    name: str
    module: Module | None
    shape: tuple[int, ...]
    sources: tuple["Node | None", ...]


def graph_of(model: Module, input_shape: tuple[int, ...]) -> list[Node]:
    """The nodes of a model in the order of their calls, those aside that lead nowhere.

    input_shape: (H, W, C) of one image. Layers are the modules of minires.layers, and others without modules inside.
    Arrays that a forward pass makes by itself, without an operation of minires.layers, are taken for those of the call
    before. Raises ValueError for a model that calls neither layers nor operations.
    """
    dtype: Any = np.float32
    device = "cpu"
    for parameter in model.parameters():
        dtype, device = parameter.data.dtype, device_of(parameter.data)
    x = to_device(np.zeros((1, *input_shape), dtype), device)
    with evaluating(model), watching(model) as calls, noting_operations(calls):
        y, _ = model(x)
    givers: dict[int, Node | None] = {id(x): None}  # of each array; all are alive as long as the calls are
    nodes: list[Node] = []
    for call in calls:
        if isinstance(call.module, Module) and not is_layer(call.module):
            continue
        before = nodes[-1] if nodes else None
        inputs = [value for value in call.inputs if hasattr(value, "shape")]
        sources = tuple(dict.fromkeys(givers.get(id(value), before) for value in _activations(call, inputs)))
        module = call.module if isinstance(call.module, Module) else None
        node = Node(call.name or type(module).__name__, module, call.y.shape[1:], sources)
        nodes.append(node)
        givers[id(call.y)] = node
    if not nodes:
        raise ValueError(f"graph_of: {type(model).__name__} calls no layer and no operation: there is no graph")
    return _leading_to([givers.get(id(each), nodes[-1]) for each in (y if isinstance(y, tuple) else (y,))], nodes)


def _activations(call, arrays):
    """The inputs that flow through the network: of an operation with parameters the first alone."""
    flows = isinstance(call.module, Module) or call.name in ("add", "concat")
    return arrays if flows else arrays[:1]


def _leading_to(ends, nodes):
    """Those nodes from which a way leads to one of the ends."""
    kept, found = set(), [end for end in ends if end is not None]
    while found:
        node = found.pop()
        if node not in kept:
            kept.add(node)
            found += [source for source in node.sources if source is not None]
    return [node for node in nodes if node in kept]


# Operations ---------------------------------------------------------------------------------------------------------

_replacing = Locked("noting the operations that are called")


@contextlib.contextmanager
def noting_operations(calls: list[Call]) -> Iterator[None]:
    """Within this block every call of an operation of minires.layers from outside of it is noted in `calls`.

    That is done under the name that the caller knows it by, in whatever file; when the block ends all names mean again
    what they did.
    """
    replaced: list[tuple[dict[str, Any], str, Any]] = []
    with _replacing.lock:
        try:
            for names in _names_of_callers():
                for name, value in list(names.items()):
                    if (operation := _known(value)) is not None:
                        replaced.append((names, name, value))
                        names[name] = _noted(operation, value, calls)
            yield
        finally:
            for names, name, value in replaced:
                names[name] = value


def _names_of_callers():
    """The names of every file that has been imported, but for minires's own below the networks."""
    inner = ("minires.layers", "minires.backend", "minires.inspection")
    for file, module in list(sys.modules.items()):
        if not file.startswith(inner) and any(vars(module).get(name) is OPERATIONS[name] for name in OPERATIONS):
            yield vars(module)


def _known(value):
    """The name of an operation; None for whatever else."""
    name = getattr(value, "__name__", None)
    return name if isinstance(name, str) and OPERATIONS.get(name) is value else None


def _noted(name, operation, calls):
    @functools.wraps(operation)
    def noted(*inputs, **options):
        y, backward = operation(*inputs, **options)
        calls.append(Call(name, operation, inputs, y))
        return y, backward

    return noted
