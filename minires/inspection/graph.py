"""What a network computes, as a graph: found by running it once and noting who was handed what.

for node in graph_of(SEBottleneck(64, 16, 1, rng=0), (8, 8, 64)):
    print(node.name, node.shape, [source.name for source in node.sources if source])

A node is a call of a layer, or of an operation that a forward pass calls itself, such as `add`.
"""

import contextlib
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from minires import layers
from minires.backend import device_of, to_device
from minires.inspection.watching import Call, arrays_in, is_layer, watching
from minires.models.blocks import flatten_channels_first
from minires.modes import evaluating
from minires.module import Module

OPERATIONS = {
    name: function
    for name in layers.__all__
    if callable(function := getattr(layers, name)) and not isinstance(function, type)
} | {"flatten_channels_first": flatten_channels_first}


FLOWING = ("x", "x1", "x2", "xs", "shortcut")  # parameters of operations; all other arrays are weights


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
    Operations are the functions of minires.layers, however a forward pass comes by them: `add(x, y)`,
    `layers.add(x, y)`, `self.sum = add`. Views of an array, such as `x[..., :4]` and `x.reshape(2, -1)`, count as it.
    Raises ValueError where the graph would not be the whole one, as an array was made or changed by none of these
    (`x + y`, `y += x`), and for a model that calls none.
    """
    dtype: Any = np.float32
    device = "cpu"
    for parameter in model.parameters():
        dtype, device = parameter.data.dtype, device_of(parameter.data)
    x = to_device(np.random.default_rng(0).standard_normal((1, *input_shape)).astype(dtype), device)
    calls = _Calls()
    image = _fingerprint(x)
    with evaluating(model), watching(model, into=calls), noting_operations(calls):
        y, _ = model(x)
    givers = _Givers(x)
    nodes: dict[Node, Call] = {}
    for call in calls:
        if isinstance(call.module, Module) and not is_layer(call.module):
            continue
        name = call.name or type(call.module).__name__
        sources = tuple(dict.fromkeys(givers.of(each, f"{name} was given") for each in arrays_in(call.inputs)))
        node = Node(name, call.module if isinstance(call.module, Module) else None, call.y.shape[1:], sources)
        nodes[node] = call
        givers.add(call.y, node)
    if not nodes:
        raise ValueError(f"graph_of: {type(model).__name__} calls no layer and no operation: there is no graph")
    found = _leading_to([givers.of(each, f"{type(model).__name__} returned") for each in arrays_in((y,))], nodes)
    changed = [
        f"what {node.name} gave" for node in found if _fingerprint(nodes[node].y) != calls.fingerprints[nodes[node]]
    ]
    changed += ["the image"] if _fingerprint(x) != image else []
    if changed:
        raise ValueError(
            f"graph_of: the forward pass changed {changed[0]}, as y += x does, which leaves no trace in the "
            "graph: call an operation of minires.layers for it, such as add"
        )
    return found


class _Givers:
    """Which node gave an array; None gave the image. All arrays are alive as long as their calls are."""

    def __init__(self, x):
        self.nodes: dict[int, Node | None] = {}
        self.add(x, None)

    def add(self, y, node):
        for array in arrays_in((y,)):
            self.nodes[id(array)] = self.nodes[id(_owner(array))] = node

    def of(self, array, what):
        for each in (array, _owner(array)):
            if id(each) in self.nodes:
                return self.nodes[id(each)]
        raise ValueError(
            f"graph_of: {what} an array of shape {array.shape} that no layer and no operation of minires.layers made: "
            "call one for it, such as add in place of x + y, or put the arithmetic in a Module of its own"
        )


def _owner(array):
    """The array whose memory it is a view of, or itself."""
    while hasattr(base := getattr(array, "base", None), "shape"):
        array = base
    return array


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

_BY_CODE = {function.__code__: (name, function) for name, function in OPERATIONS.items()}


class _Calls(list[Call]):
    """Calls, and a fingerprint of what each gave, taken at once."""

    def __init__(self):
        super().__init__()
        self.fingerprints: dict[Call, int] = {}

    def append(self, call):
        super().append(call)
        self.fingerprints[call] = _fingerprint(call.y)


def _fingerprint(y):
    """A number that changes with the bits."""
    total = 0
    for array in arrays_in((y,)):
        total = zlib.crc32(to_device(array, "cpu").tobytes(), total)
    return total


@contextlib.contextmanager
def noting_operations(calls: list[Call]) -> Iterator[None]:
    """Within this block every call of an operation from outside of minires.layers, in this thread, goes into `calls`.

    Python tells of each function that begins and ends, as it tells profilers; one that runs is told nothing meanwhile.
    """
    begun: dict[Any, tuple] = {}
    before: Any = sys.getprofile()

    def note(frame, event, result):
        if frame.f_code not in _BY_CODE or frame.f_back.f_globals.get("__name__", "").startswith("minires.layers."):
            return
        if event == "call":
            begun[frame] = tuple(frame.f_locals[name] for name in FLOWING if frame.f_locals.get(name) is not None)
        elif event == "return" and result is not None:  # no error
            calls.append(Call(*_BY_CODE[frame.f_code], begun.pop(frame), result[0]))

    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(None)
        if hasattr(before, "enable"):  # cProfile, which is no function to hand over
            before.enable()
        else:
            sys.setprofile(before)
