"""What was found: each query, and the pictures nearest to it, with their names and cosines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from minires.columns import cut
from minires.inspection.pictures.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_nearest(rows: Sequence[tuple[str, np.ndarray, Sequence[tuple[str, float, np.ndarray]]]]) -> Figure:
    """A row for each (query's name, its pixels, [(name, cosine, pixels)]); pixels: uint8 (H, W, 3) of any size.

    Raises ValueError where there is no row.
    """
    if not rows:
        raise ValueError("draw_nearest: no queries: give at least one")
    columns = 1 + max(len(found) for *_, found in rows)
    figure = new_figure(1.35 * columns, 1.75 * len(rows))
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for (name, pixels, found), axes in zip(rows, grid, strict=True):
        titles = [f"query\n{_name(name)}", *(f"{cosine:.3f}\n{_name(other)}" for other, cosine, _ in found)]
        for one, title, image in zip(axes, titles, [pixels, *(image for *_, image in found)], strict=False):
            one.imshow(image)
            one.set_title(title, fontsize=7)
    return figure


def _name(path):
    """The end of a path, without what matplotlib takes for a formula."""
    return cut(path.rpartition("/")[2], 18).replace("$", r"\$")
