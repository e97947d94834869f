"""A family tree of networks: who came from whom, with what idea, and what each has and does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from minires.inspection.pictures.figures import GREY, RED, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BOX, HEIGHT, COLUMN, ROW = 1.75, 0.58, 2.75, 0.86  # inches


@dataclass(frozen=True)
class Member:
    """A network in the tree.

    name: as it is written.   year: of its paper's first appearance.   parent: the name of the one that it changed, or
    "" for the first of a line.   idea: what it changed, a few words.   also: the name of another one whose idea it
    took.   parameters, multiply_adds: of the model, as `costs` counts them.
    """

    name: str
    year: int
    parent: str
    idea: str
    parameters: int
    multiply_adds: int
    also: str = ""


def draw_family(members: Sequence[Member]) -> Figure:
    """A tree from left to right; beside each arrow stands what was changed. A dotted arrow: whose idea it took besides.

    Raises ValueError for a parent that is not among the members before it.
    """
    places = _places(members)
    width = 0.2 + COLUMN * max(column for column, _ in places.values()) + BOX + 0.2
    height = 0.2 + ROW * (1 + max(row for _, row in places.values()))
    figure = new_figure(width, height, layout=None)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_axis_off()
    for member in members:
        x, y = _corner(places[member.name])
        _draw_member(axes, member, x, y)
        if member.parent:
            _draw_line(axes, _corner(places[member.parent]), (x, y), member.idea)
        else:
            axes.text(x + BOX / 2, y - 0.09, member.idea, fontsize=7, ha="center", va="center", color=RED)
        if member.also:
            from_x, from_y = _corner(places[member.also])
            style = {"arrowstyle": "-|>", "color": GREY, "linewidth": 0.8, "linestyle": ":"}
            end = y + HEIGHT if from_y > y else y
            axes.annotate("", (x + BOX / 2, end), (from_x + BOX, from_y + HEIGHT / 2), arrowprops=style)
    return figure


def _places(members):
    """{name: (column, row)}: children stand a column further right, the first in its parent's row, others below."""
    children: dict[str, list[str]] = {}
    for member in members:
        if member.parent and member.parent not in children:
            raise ValueError(f"draw_family: {member.name} comes from {member.parent}, which is not among those before")
        children[member.name] = []
        if member.parent:
            children[member.parent].append(member.name)
    places: dict[str, tuple[int, int]] = {}
    free = 0

    def put(name, column, row):
        nonlocal free
        places[name] = (column, row)
        free = max(free, row + 1)
        for number, child in enumerate(children[name]):
            put(child, column + 1, row if number == 0 else free)

    for member in members:
        if not member.parent:
            put(member.name, 0, free)
    return places


def _corner(place):
    column, row = place
    return 0.2 + COLUMN * column, 0.22 + ROW * row


def _draw_member(axes, member, x, y):
    from matplotlib.patches import FancyBboxPatch

    style = "round,pad=0,rounding_size=0.06"
    axes.add_patch(FancyBboxPatch((x, y), BOX, HEIGHT, boxstyle=style, facecolor="#dbe9f6", edgecolor=GREY))
    middle = x + BOX / 2
    axes.text(middle, y + 0.13, f"{member.name}  ({member.year})", fontsize=8, ha="center", va="center", weight="bold")
    small: dict[str, Any] = {"fontsize": 6.8, "ha": "center", "va": "center"}
    axes.text(middle, y + 0.3, f"{member.parameters / 1e6:,.2f} million parameters", **small)
    axes.text(middle, y + 0.45, f"{member.multiply_adds / 1e6:,.0f} million multiply-adds", **small)


def _draw_line(axes, parent, child, idea):
    """From the right side of the parent's box to the left side of the child's, the idea above its last part."""
    (from_x, from_y), (x, y) = parent, child
    turn, from_y, y = from_x + BOX + 0.1, from_y + HEIGHT / 2, y + HEIGHT / 2
    axes.plot([from_x + BOX, turn, turn], [from_y, from_y, y], color="black", linewidth=0.9, zorder=0.5)
    style = {"arrowstyle": "-|>", "color": "black", "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", (x, y), (turn, y), arrowprops=style)
    axes.text((turn + x) / 2, y - 0.04, idea, fontsize=6.6, ha="center", va="bottom", color=RED, linespacing=1.0)
