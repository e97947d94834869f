"""How sure a network is against how often it is right, as bars: a reliability diagram."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from minires.calibration import Reliability
from minires.inspection.pictures.figures import BLUE, GREY, RED, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_reliability(panels: Mapping[str, Reliability]) -> Figure:
    """A panel for each {title: Reliability}: the share of right answers by confidence, the gap to what it should be,
    and below how many images are as sure as that.
    """
    figure = new_figure(3.4 * len(panels), 4.4)
    grid = figure.subplots(2, len(panels), sharex=True, sharey="row", squeeze=False, height_ratios=(3, 1))
    for (title, found), (axes, below) in zip(panels.items(), grid.T, strict=True):
        width, left = np.diff(found.edges), found.edges[:-1]
        there = found.counts > 0
        bars = {"width": width[there], "align": "edge", "edgecolor": "white", "linewidth": 0.5}
        accuracy, confidence = 100 * found.accuracy[there], 100 * found.confidence[there]
        axes.bar(left[there], accuracy, color=BLUE, label="right", **bars)
        axes.bar(left[there], confidence - accuracy, bottom=accuracy, color=RED, alpha=0.35, label="gap", **bars)
        axes.plot([0, 1], [0, 100], "--", color=GREY, linewidth=1)
        axes.set_title(f"{title}\nECE {100 * found.error:.1f} %", fontsize=10)
        axes.set_ylim(0, 100)
        below.bar(left, 100 * found.counts / found.counts.sum(), width=width, align="edge", color=GREY)
        below.set_xlim(0, 1)
        below.set_xlabel("confidence")
    grid[0, 0].set_ylabel("right, %")
    grid[0, 0].legend(fontsize=8)
    grid[1, 0].set_ylabel("images, %")
    return figure
