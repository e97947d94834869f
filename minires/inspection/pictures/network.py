"""A network as boxes and arrows, with the shape of what goes along each arrow. All of it is found by running the model.

A layer is a module without modules inside. An arrow leads from layer to layer where the one was handed the very array
that the other gave; a layer that was handed two has a shortcut, which is drawn as a line around the others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from minires import layers
from minires.backend import device_of, to_device
from minires.inspection.pictures.figures import BLUE, GREY, RED, new_figure
from minires.inspection.watching import is_layer, watching
from minires.modes import evaluating
from minires.module import Module

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BOX, SIDE_BOX, HEIGHT = 1.42, 1.2, 0.4  # inches
PITCH, HEADER, GAP = 0.68, 0.3, 0.22
LANE = 0.3  # for a shortcut without layers
COLORS = {"Conv2d": "#dbe9f6", "Linear": "#dbe9f6", "BatchNorm2d": "#e3f1df", "BatchNormReLU2d": "#e3f1df"}


@dataclass(eq=False)
class Layer:
    """One call of a layer. sources: the layers that gave its inputs; None is the image.

    reshaped: whether its second input is not what a layer gave but was made from the block's input without a module.
    """

    name: str
    module: Module
    shape: tuple
    sources: list
    reshaped: bool = False


@dataclass(eq=False)
class Block:
    """Layers one after another, `main`, and those on the way around them, `side`; how many such blocks follow."""

    name: str
    main: list = field(default_factory=list)
    side: list = field(default_factory=list)
    last_name: str = ""
    times: int = 1


def draw_network(model: Module, input_shape: tuple[int, ...], fold: bool = True) -> Figure:
    """Boxes for the layers of `model`, arrows between them, and on each arrow the shape of one image's array there.

    input_shape: (H, W, C) of one image.   fold: draw blocks that are alike and follow each other once.
    A stage (a module of the model that has modules itself) is a column. Returns a Figure.
    Raises ValueError for a model whose layers are no chain, shortcuts aside.
    """
    columns = [_folded(blocks) if fold else blocks for blocks in _columns(_layers_of(model, input_shape))]
    widths = [BOX + max(_lane(block) for block in blocks) + 0.2 for blocks in columns]
    heights = [sum(_height(block) + GAP for block in blocks) for blocks in columns]
    width, height = sum(widths) + 0.35 * len(columns) + 0.2, max(heights) + 0.75
    figure = new_figure(width, height, layout=None)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_axis_off()
    left, coming_from, shape = 0.25, None, input_shape
    for blocks, column in zip(columns, widths, strict=True):
        middle = left + 0.1 + BOX / 2
        _draw_way_in(axes, coming_from, middle, left, shape)
        top = 0.6
        for block in blocks:
            bottom = _draw_block(axes, block, left, top, column)
            shape = block.main[-1].shape
            top = bottom + GAP
            coming_from = (middle, bottom)
            if block is not blocks[-1]:
                _draw_arrow(axes, (middle, bottom), (middle, top + HEADER))
        left += column + 0.35
    x, y = coming_from  # type: ignore[misc]  # there is a block
    _draw_arrow(axes, (x, y), (x, y + 0.15))
    return figure


# What is drawn ------------------------------------------------------------------------------------------------------


def _layers_of(model, input_shape):
    """The model's layers in the order of their calls, and what each was handed."""
    dtype, device = np.float32, "cpu"
    for parameter in model.parameters():
        dtype, device = parameter.data.dtype, device_of(parameter.data)
    x = to_device(np.zeros((1, *input_shape), dtype), device)
    with evaluating(model), watching(model) as calls:
        model(x)
    givers: dict[int, Layer | None] = {id(x): None}  # of each array; all of them are alive as long as the calls are
    found: list[Layer] = []
    for call in calls:
        if is_layer(call.module):
            arrays = [array for array in call.inputs if hasattr(array, "shape")]
            before = found[-1] if found else None  # gave what a function without a module made into the input
            sources = [givers.get(id(arrays[0]), before)]
            reshaped = len(arrays) > 1 and id(arrays[1]) not in givers
            if len(arrays) > 1:
                around = [outer.inputs[0] for outer in calls if outer.name == call.name.rpartition(".")[0]]
                sources.append(givers.get(id(around[-1] if reshaped and around else arrays[1]), before))
            layer = Layer(call.name or type(call.module).__name__, call.module, call.y.shape[1:], sources, reshaped)
            found.append(layer)
            givers[id(call.y)] = layer
    if not found:
        raise ValueError(f"draw_network: {type(model).__name__} calls no module: there is nothing to draw")
    return found


def _columns(found):
    """[[Block, ...] for each stage]; layers that belong to no stage and follow each other share a column."""
    columns: list[list[Block]] = []
    stage_before = None
    for layer in found:
        path = layer.name.split(".")
        stage = path[0] if len(path) > 1 else ""
        name = ".".join(path[:2]) if len(path) > 2 else stage
        if not columns or stage != stage_before:
            columns.append([])
        if not columns[-1] or columns[-1][-1].name != name:
            columns[-1].append(Block(name, last_name=name))
        columns[-1][-1].main.append(layer)
        stage_before = stage
    for blocks in columns:
        for block in blocks:
            _part(block)
    return columns


def _part(block):
    """Divide a block's layers into the chain that leads to its last one, by first inputs, and the others."""
    chain: list[Layer] = []
    layer = block.main[-1]
    while layer in block.main:
        chain.insert(0, layer)
        layer = layer.sources[0]
    block.main, block.side = chain, [layer for layer in block.main if layer not in chain]
    if block.side and not any(len(layer.sources) > 1 for layer in chain):
        names = ", ".join(layer.name for layer in block.side)
        raise ValueError(f"draw_network: {names}: aside of the chain of layers and no shortcut: this cannot be drawn")


def _folded(blocks):
    """Blocks that are like the one before them counted there."""
    kept: list[Block] = []
    for block in blocks:
        if kept and _signature(kept[-1]) == _signature(block):
            kept[-1].times += 1
            kept[-1].last_name = block.name
        else:
            kept.append(block)
    return kept


def _signature(block):
    """What two blocks that look alike have in common."""
    parts = [(_own_name(block, layer), _description(layer), layer.shape, layer.reshaped) for layer in block.main]
    first = block.main[0].sources[0]
    return parts, [(_own_name(block, layer), layer.shape) for layer in block.side], first is None or first.shape


def _description(layer):
    return describe(layer.module, len(layer.sources) > 1)


def _own_name(block, layer):
    return layer.name.removeprefix(f"{block.name}.")


def describe(module: Module, two: bool = False) -> str:
    """What a layer does, in a few words. two: whether it was handed two arrays."""
    if isinstance(module, layers.Conv2d):
        groups = f", {module.groups} groups" if module.groups > 1 else ""
        return f"{_by(module.weight.shape[2:])} convolution{_stride(module.stride)}{groups}"
    if isinstance(module, layers.ConvTranspose2d):
        return f"{_by(module.weight.shape[2:])} transposed convolution{_stride(module.stride)}"
    if isinstance(module, layers.BatchNormReLU2d):
        return "batch norm, +, ReLU" if two else "batch norm, ReLU"
    if isinstance(module, (layers.MaxPool2d, layers.AvgPool2d)):
        kind = "max" if isinstance(module, layers.MaxPool2d) else "mean"
        return f"{kind} of {_by(module.kernel_size)}{_stride(module.stride or module.kernel_size)}"
    names = {
        layers.BatchNorm2d: "batch norm",
        layers.GlobalAvgPool2d: "mean of all pixels",
        layers.Linear: "linear",
        layers.Flatten: "flatten",
        layers.SqueezeExcitation: "times a gate a channel",
        layers.Scale: "times a number",
    }
    return names.get(type(module), type(module).__name__)


def _by(size):
    rows, columns = (size, size) if isinstance(size, int) else size
    return f"{rows}x{columns}"


def _stride(stride):
    rows, columns = (stride, stride) if isinstance(stride, int) else stride
    return "" if rows == columns == 1 else f", / {rows}" if rows == columns else f", / {rows}x{columns}"


# How it is drawn ----------------------------------------------------------------------------------------------------


def _lane(block):
    """Width of what is drawn to the right of a block's boxes."""
    has_shortcut = any(len(layer.sources) > 1 for layer in block.main)
    return SIDE_BOX + 0.35 if block.side else LANE if has_shortcut else 0.0


def _height(block):
    return HEADER + PITCH * len(block.main) + 0.12


def _draw_block(axes, block, left, top, width):
    """Draw a block with its upper left corner there; the y at which it ends."""
    from matplotlib.patches import FancyBboxPatch

    height, middle = _height(block), left + 0.1 + BOX / 2
    if block.name:
        style = "round,pad=0,rounding_size=0.06"
        axes.add_patch(
            FancyBboxPatch(
                (left, top), width, height, boxstyle=style, facecolor="#f6f6f6", edgecolor="#cccccc", zorder=0
            )
        )
        axes.text(left + 0.06, top + 0.04, block.name, fontsize=7.5, va="top", color=GREY)
        if block.times > 1:
            axes.text(middle + 0.06, top + 0.04, f"to {block.last_name}, alike", fontsize=7.5, va="top", color=GREY)
    y = top + HEADER
    places = {}
    for layer in block.main:
        places[layer] = y
        _draw_box(axes, middle, y, BOX, _own_name(block, layer), layer)
        end = y + PITCH
        if layer is not block.main[-1]:
            _draw_arrow(axes, (middle, y + HEIGHT), (middle, end))
        axes.text(middle + 0.05, y + (HEIGHT + PITCH) / 2, _shape(layer.shape), fontsize=7, va="center", color=BLUE)
        y = end
    if _lane(block):
        _draw_shortcut(axes, block, places, middle)
    axes.plot([middle, middle], [y - PITCH + HEIGHT, top + height], color="black", linewidth=0.9)
    return top + height


def _draw_shortcut(axes, block, places, middle):
    """The line from the block's input around its layers, through those on its side, into the layer with two inputs."""
    sum_layer = next(layer for layer in block.main if len(layer.sources) > 1)
    start, end = places[block.main[0]] - 0.08, places[sum_layer] + HEIGHT / 2
    right = middle + BOX / 2
    x = right + (0.15 + SIDE_BOX / 2 if block.side else LANE - 0.12)
    axes.plot([middle, x, x], [start, start, end], color=RED, linewidth=1.1, zorder=0.5)
    axes.annotate(
        "", (right, end), (x, end), arrowprops={"arrowstyle": "-|>", "color": RED, "linewidth": 1.1, "shrinkA": 0}
    )
    y = places[block.main[0]] + PITCH
    for layer in block.side:
        _draw_box(axes, x, y, SIDE_BOX, _own_name(block, layer), layer)
        axes.text(x + 0.04, y + HEIGHT + 0.13, _shape(layer.shape), fontsize=6.5, va="center", color=BLUE)
        y += PITCH
    if not block.side:
        what = f"shortcut, made {_shape(sum_layer.shape)}" if sum_layer.reshaped else "shortcut"
        axes.text(x + 0.03, (start + end) / 2, what, fontsize=6.5, rotation=270, va="center", ha="left", color=RED)


def _draw_box(axes, middle, top, width, name, layer):
    from matplotlib.patches import FancyBboxPatch

    style = "round,pad=0,rounding_size=0.05"
    colour = COLORS.get(type(layer.module).__name__, "#f7ecd4")
    axes.add_patch(
        FancyBboxPatch(
            (middle - width / 2, top), width, HEIGHT, boxstyle=style, facecolor=colour, edgecolor=GREY, linewidth=0.8
        )
    )
    axes.text(middle, top + 0.13, name, fontsize=7.5, ha="center", va="center", weight="bold")
    axes.text(middle, top + 0.29, _description(layer), fontsize=6.8, ha="center", va="center")


def _draw_arrow(axes, start, end):
    style = {"arrowstyle": "-|>", "color": "black", "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, arrowprops=style)


def _draw_way_in(axes, coming_from, middle, left, shape):
    """The arrow into a column: from the image, or around from the end of the column before."""
    if coming_from is None:
        axes.text(middle, 0.1, "image", fontsize=8, ha="center", va="center", weight="bold")
        start = (middle, 0.18)
    else:
        x, y = coming_from
        between, start = left - 0.2, (middle, 0.25)
        axes.plot([x, x, between, between, middle], [y, y + 0.12, y + 0.12, 0.25, 0.25], color="black", linewidth=0.9)
    _draw_arrow(axes, start, (middle, 0.6 + HEADER))
    axes.text(middle + 0.05, 0.4, _shape(shape), fontsize=7, va="center", color=BLUE)


def _shape(shape):
    return "x".join(map(str, shape))
