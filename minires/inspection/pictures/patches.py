"""im2col step by step: a window slides over the image, and each of its places becomes a row of P."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from minires.backend import im2col
from minires.inspection.pictures.figures import GREY, RED, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Matrix: TypeAlias = Sequence[Sequence[float]] | np.ndarray


def draw_im2col(image: Matrix, weight: Matrix, columns: int = 2) -> Figure:
    """A panel for each window: the image with the window marked, and the rows of P and of y = P Theta so far.

    image: (H, W), weight: (KH, KW), numbers of few digits; stride 1, no padding. Returns a Figure.
    Raises ValueError for other shapes, and for more than 12 windows: nobody could read them.
    """
    P, y = _product(image, weight)
    columns = min(columns, len(P))
    rows = math.ceil(len(P) / columns)
    width, height = _size(image, P)
    figure = new_figure(columns * width, rows * height)
    axes = np.ravel(figure.subplots(rows, columns, squeeze=False))
    for one in axes:
        one.set_axis_off()
    for step, one in enumerate(axes[: len(P)]):
        _draw_step(one, np.asarray(image), np.asarray(weight), P, y, step)
    return figure


def im2col_frames(image: Matrix, weight: Matrix) -> list[Figure]:
    """The panels of `draw_im2col` as a list of Figures, for `write_gif`."""
    P, y = _product(image, weight)
    figures = []
    for step in range(len(P)):
        figures.append(new_figure(*_size(image, P)))
        axes = figures[-1].subplots()
        axes.set_axis_off()
        _draw_step(axes, np.asarray(image), np.asarray(weight), P, y, step)
    return figures


def _product(image, weight):
    """P (OH * OW, KH * KW) and y (OH * OW,), by the library's im2col."""
    image, weight = np.asarray(image, np.float64), np.asarray(weight, np.float64)
    if image.ndim != 2 or weight.ndim != 2 or (np.array(weight.shape) > image.shape).any():
        raise ValueError(f"im2col pictures: image {image.shape}, weight {weight.shape}: give (H, W) and (KH, KW)")
    windows = (image.shape[0] - weight.shape[0] + 1) * (image.shape[1] - weight.shape[1] + 1)
    if windows > 12:
        raise ValueError(f"im2col pictures: {windows} windows, at most 12 can be read: use a smaller image")
    P = im2col(image[None, :, :, None], weight.shape).reshape(windows, weight.size).copy()
    return P, P @ weight.ravel()


def _size(image, P):
    """Inches of a panel, so that a square is a third of an inch."""
    cells, rows = len(image[0]) + P.shape[1] + 7.5, max(len(image), len(P), P.shape[1]) + 1.6
    return cells / 3, rows / 3


def _draw_step(axes, image, weight, P, y, step):
    """The panel in which the window stands at its place number `step`."""
    (H, W), (KH, KW) = image.shape, weight.shape
    oh, ow = divmod(step, W - KW + 1)
    left_of_P, left_of_theta = W + 2.5, W + 2.5 + P.shape[1] + 1
    left_of_y = left_of_theta + 2
    height = max(H, len(P), weight.size)
    axes.set_xlim(-0.3, left_of_y + 1.3)
    axes.set_ylim(height + 0.3, -1.2)
    axes.set_aspect("equal")
    for left, name in ((0, "x"), (left_of_P, "P"), (left_of_theta, r"$\Theta$"), (left_of_y, "y")):
        axes.text(left, -0.35, name, fontsize=11, style="normal")
    for (h, w), value in np.ndenumerate(image):
        _cell(axes, w, h, value, inside=oh <= h < oh + KH and ow <= w < ow + KW)
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((ow, oh), KW, KH, fill=False, edgecolor=RED, linewidth=2.2, zorder=3))
    for row in range(len(P)):
        for column, value in enumerate(P[row]):
            _cell(axes, left_of_P + column, row, value if row <= step else None, inside=row == step)
        _cell(axes, left_of_y, row, y[row] if row <= step else None, inside=row == step)
    for row, value in enumerate(weight.ravel()):
        _cell(axes, left_of_theta, row, value)
    axes.annotate(
        "",
        (left_of_P - 0.15, step + 0.5),
        (W + 0.15, oh + KH / 2),
        arrowprops={"arrowstyle": "->", "color": RED, "linewidth": 1.4},
    )


def _cell(axes, left, top, value, inside=False):
    """A square with a number; empty where value is None, filled where it is `inside` the window."""
    from matplotlib.patches import Rectangle

    colour = "#fbdada" if inside else "white" if value is None else "#eaf2fa"
    axes.add_patch(Rectangle((left, top), 1, 1, facecolor=colour, edgecolor=GREY, linewidth=0.7))
    if value is not None:
        axes.text(left + 0.5, top + 0.5, f"{value:g}", ha="center", va="center", fontsize=9, color="black")
