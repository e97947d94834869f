"""A network as TensorBoard's graph: a node for each layer, below the names of the modules that it stands in."""

from __future__ import annotations

import math
from typing import Any

from minires.inspection.watching import watching
from minires.layers import Conv2d, Linear
from minires.modes import evaluating, no_grad
from minires.module import Module
from minires.types import Array


def graph_of(model: Module, x: Array) -> Any:
    """The GraphDef of a forward pass of x (N, H, W, C), in inference mode.

    Nodes are the modules without others inside, and `input`. An edge leads from the layer that gave an array to the
    one that was given it. What no module gave, since a function made it inside a block (a shortcut of option A), is
    taken to come from the input of the innermost module around.
    """
    from tensorboardX.proto.graph_pb2 import GraphDef
    from tensorboardX.proto.node_def_pb2 import NodeDef
    from tensorboardX.proto.versions_pb2 import VersionDef

    with evaluating(model), watching(model) as calls, no_grad():
        model(x)
    inputs = {call.name: call.inputs[0] for call in reversed(calls)}
    givers = {id(x): "input"}
    nodes = [NodeDef(name="input", op="input", attr=_attributes(x.shape, None))]
    for call in calls:
        if list(call.module.children()):
            continue
        name = node_name(call.name) or type(call.module).__name__
        sources = [_source(array, call.name, givers, inputs) for array in call.inputs]
        nodes.append(
            NodeDef(
                name=name, op=type(call.module).__name__, input=sources, attr=_attributes(call.y.shape, call.module)
            )
        )
        givers[id(call.y)] = name
    return GraphDef(node=nodes, versions=VersionDef(producer=22))


def node_name(path: str) -> str:
    """layer1.0.conv1 -> layer1/0/conv1, which TensorBoard shows as boxes within boxes."""
    return path.replace(".", "/")


def _source(array, path, givers, inputs):
    """The node that gave an array: of one that none gave, that of the input of a module around."""
    while id(array) not in givers and path:
        path = path.rpartition(".")[0]
        array = inputs.get(path, array)
    return givers.get(id(array), "input")


def _attributes(shape, module):
    """What TensorBoard shows of a node: the shape of its output, and its parameters."""
    from tensorboardX.proto.attr_value_pb2 import AttrValue
    from tensorboardX.proto.tensor_shape_pb2 import TensorShapeProto

    sizes = TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in (-1, *shape[1:])])
    found = {"_output_shapes": AttrValue(list=AttrValue.ListValue(shape=[sizes]))}
    if module is not None:
        found["parameters"] = AttrValue(i=sum(parameter.size for parameter in module.parameters()))
        found["module"] = AttrValue(s=repr(module).encode())
    if isinstance(module, (Conv2d, Linear)):
        found["multiply_adds"] = AttrValue(i=math.prod(shape[1:-1]) * module.weight.size)
    return found
