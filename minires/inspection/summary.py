"""A model as a table: each layer's output, parameters and multiply-adds."""

import math

import numpy as np

from minires.backend import device_of, to_device
from minires.inspection.watching import is_layer, watching
from minires.layers import Conv2d, ConvTranspose2d, Linear, SqueezeExcitation
from minires.modes import evaluating
from minires.module import Module


def summary(model: Module, input_shape: tuple[int, ...]) -> str:
    """The table as a string: `print(summary(resnet20(), (32, 32, 3)))`.

    input_shape: (H, W, C) of one image. Multiply-adds (1 multiply-add = 2 FLOP) are those of convolutions and linear
    layers, for one image; all else is too little to count. Functions that a model calls without a module (add,
    pad_shortcut) have no row.
    """
    rows = _rows_of(model, input_shape)
    lines = [("layer", "output shape", "parameters", "multiply-adds")]
    lines += [(name, " x ".join(map(str, shape)), f"{size:,}", f"{work:,}") for name, shape, size, work in rows]
    sizes = sum(parameter.size for parameter in model.parameters())
    lines.append(("total", "", f"{sizes:,}", f"{sum(row[3] for row in rows):,}"))
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    text = [
        f"{name:<{widths[0]}}  {shape:<{widths[1]}}  {size:>{widths[2]}}  {work:>{widths[3]}}".rstrip()
        for name, shape, size, work in lines
    ]
    rule = "-" * max(map(len, text))
    return "\n".join([text[0], rule, *text[1:-1], rule, text[-1]])


def costs(model: Module, input_shape: tuple[int, ...]) -> tuple[int, int]:
    """(parameters, multiply-adds for one image) of a model, as in the last row of `summary`."""
    sizes = sum(parameter.size for parameter in model.parameters())
    return sizes, sum(row[3] for row in _rows_of(model, input_shape))


def multiply_adds(model: Module, input_shape: tuple[int, ...]) -> dict[str, int]:
    """{path of a layer: its multiply-adds for one image}, in order of use, those that have any; as in `summary`."""
    return {name: work for name, _, _, work in _rows_of(model, input_shape) if work}


def _rows_of(model, input_shape):
    """(name, output shape, parameters, multiply-adds) for each layer, in order of use."""
    leaves = [name for name, module in model.named_modules() if is_layer(module)]
    dtype, device = np.float32, "cpu"
    for parameter in model.parameters():
        dtype, device = parameter.data.dtype, device_of(parameter.data)
    with evaluating(model), watching(model, leaves) as calls:
        model(to_device(np.zeros((1, *input_shape), dtype), device))
    return [(call.name or type(call.module).__name__, call.y.shape[1:], *_cost(call)) for call in calls]


def _cost(call):
    module = call.module
    parameters = sum(parameter.size for parameter in module.parameters())
    if isinstance(module, (Conv2d, Linear)):  # every output pixel meets each weight once
        return parameters, math.prod(call.y.shape[1:-1]) * module.weight.size
    if isinstance(module, ConvTranspose2d):  # every input pixel does
        return parameters, math.prod(call.inputs[0].shape[1:-1]) * module.weight.size
    if isinstance(module, SqueezeExcitation):  # its convolutions are of images of one pixel
        return parameters, module.fc1.weight.size + module.fc2.weight.size
    return parameters, 0
