"""A block of a network as boxes and arrows, whatever its form: sums, branches, everything to everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from minires.inspection.graph import Node, graph_of
from minires.inspection.pictures.figures import BLUE, GREY, RED, new_figure
from minires.inspection.pictures.network import COLORS, describe
from minires.module import Module

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BOX, HEIGHT, LANE, PITCH = 1.5, 0.4, 1.72, 0.72  # inches
OPERATIONS = {
    "add": "+",
    "concat": "side by side",
    "relu": "ReLU",
    "scale": "times a number",
    "flatten_channels_first": "channel by channel",
    "pad_shortcut": "pixels, zero channels",
    "squeeze_excitation": "times a gate a channel",
}


def draw_graph(model: Module, input_shape: tuple[int, ...], title: str = "") -> Figure:
    """Boxes for the calls of layers and operations, arrows between them, and the shapes that each gives.

    input_shape: (H, W, C) of one image. What a call waits for stands above it; arrows that go past other boxes, such as
    a shortcut, are red. Returns a Figure. Raises ValueError as `graph_of`.
    """
    nodes = graph_of(model, input_shape)
    levels = _levels(nodes)
    lanes = _lanes(nodes, levels)
    right = max(lanes.values())
    width = LANE * (right + 1) + 0.25 + 0.22 * _detours(nodes, levels, lanes)
    height = PITCH * max(levels.values()) + HEIGHT + 0.35 + (0.25 if title else 0)
    figure = new_figure(max(width, 2.2), height, layout=None)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, max(width, 2.2))
    axes.set_ylim(height, 0)
    axes.set_axis_off()
    top = 0.25 if title else 0.0
    if title:
        axes.text(0.12, 0.16, title, fontsize=9, va="center", weight="bold")

    def place(node: Node | None) -> tuple[float, float]:
        """The middle of a node's upper edge; None is the image."""
        return LANE * lanes.get(node, 0) + 0.1 + BOX / 2, top + 0.1 + PITCH * levels.get(node, 0)

    axes.text(*place(None), f"x  {_shape(input_shape)}", fontsize=8, ha="center", va="top", color=BLUE)
    detour = LANE * (right + 1) + 0.05
    for node in nodes:
        x, y = place(node)
        _draw_node(axes, node, x, y)
        for source in node.sources:
            from_x, from_y = place(source)
            from_y += HEIGHT if source is not None else 0.2
            if _is_free(source, node, levels, lanes):
                _arrow(axes, [(from_x, from_y), (x, y)] if from_x == x else _bent(from_x, from_y, x, y))
            else:
                _arrow(axes, _around(from_x, from_y, detour, x, y + HEIGHT / 2), RED)
                detour += 0.22
    return figure


# Where things stand -------------------------------------------------------------------------------------------------


def _levels(nodes):
    """{node: how many calls wait for each other before it}; the image is at 0."""
    levels: dict = {None: 0}
    for node in nodes:
        levels[node] = 1 + max((levels[source] for source in node.sources), default=0)
    return levels


def _lanes(nodes, levels):
    """{node: its column}: that of its first source, if nobody stands there between the two, or the next free one."""
    lanes: dict = {}
    taken: set = set()
    for node in nodes:
        source = node.sources[0] if node.sources else None
        lane = min((lanes.get(each, 0) for each in node.sources), default=0) if len(node.sources) > 1 else None
        lane = lanes.get(source, 0) if lane is None else lane
        span = range(levels[source] + 1, levels[node] + 1) if len(node.sources) < 2 else [levels[node]]
        while any((lane, level) in taken for level in span):
            lane += 1
        lanes[node] = lane
        taken |= {(lane, level) for level in span}
    return lanes


def _is_free(source, node, levels, lanes):
    """Whether an arrow goes down in the source's column, and over to the node's above it, past no other box."""
    lane = lanes.get(source, 0)
    between = range(levels[source] + 1, levels[node])
    return not any(lanes[other] == lane and levels[other] in between for other in lanes)


def _detours(nodes, levels, lanes):
    return sum(not _is_free(source, node, levels, lanes) for node in nodes for source in node.sources)


def _bent(from_x, from_y, x, y):
    turn = y - 0.16
    return [(from_x, from_y), (from_x, turn), (x, turn), (x, y)]


def _around(from_x, from_y, detour, x, y):
    return [(from_x, from_y + 0.21), (detour, from_y + 0.21), (detour, y), (x + BOX / 2, y)]


# How they are drawn -------------------------------------------------------------------------------------------------


def _draw_node(axes, node, x, y):
    from matplotlib.patches import FancyBboxPatch

    colour = COLORS.get(type(node.module).__name__, "#f7ecd4" if node.module else "#fbe3e1")
    box = FancyBboxPatch(
        (x - BOX / 2, y), BOX, HEIGHT, boxstyle="round,pad=0,rounding_size=0.05", facecolor=colour, edgecolor=GREY
    )
    box.set_linewidth(0.8)
    axes.add_patch(box)
    what = OPERATIONS.get(node.name, node.name) if node.module is None else describe(node.module, len(node.sources) > 1)
    axes.text(x, y + 0.13, node.name, fontsize=7.5, ha="center", va="center", weight="bold")
    axes.text(x, y + 0.29, what, fontsize=6.8, ha="center", va="center")
    axes.text(x + 0.05, y + HEIGHT + 0.08, _shape(node.shape), fontsize=6.5, va="center", color=BLUE)


def _arrow(axes, points, colour="black"):
    xs, ys = zip(*points[:-1], strict=True)
    axes.plot(xs, ys, color=colour, linewidth=0.9, zorder=0.5)
    style = {"arrowstyle": "-|>", "color": colour, "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", points[-1], points[-2], arrowprops=style)


def _shape(shape):
    return "x".join(map(str, shape))
