"""Where a network goes wrong: the confusion matrix, and the images it is surest and most wrong about."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from minires.columns import cut
from minires.inspection.pictures.figures import image_grid, new_figure
from minires.wording import readable

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_confusion_matrix(counts: Sequence[Sequence[int]] | np.ndarray, classes: Sequence[str]) -> Figure:
    """counts[i, j], the images of class i taken for class j, as a table coloured by the share of its row.

    counts: of `explain.confusion_matrix`.   classes: their names; long ones are cut. Of more than 40 classes only the
    colours are drawn, and the names of every second, fifth, ... Returns a Figure.
    """
    counts = np.asarray(counts)
    if counts.shape != (len(classes), len(classes)):
        raise ValueError(f"draw_confusion_matrix: {counts.shape} counts, {len(classes)} classes: they must fit")
    many = len(classes) > 40
    side = 12.0 if many else 1.8 + 0.55 * len(classes)
    figure = new_figure(max(side, 3.5), max(side, 3.5))
    axes = figure.subplots()
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (true, guess), count in np.ndenumerate(counts):
        if count and not many:
            colour = "white" if share[true, guess] > 0.5 else "black"
            axes.text(guess, true, str(count), ha="center", va="center", fontsize=9, color=colour)
    shown = range(0, len(classes), next(step for step in (1, 2, 5, 10, 20, 50, 100, 1000) if len(classes) <= 40 * step))
    names = [
        cut(readable(classes[label], 300), 24).replace("$", r"\$") for label in shown
    ]  # of "$" matplotlib makes formulas
    axes.set_xticks(shown, names, rotation=45, ha="right")
    axes.set_yticks(shown, names)
    axes.set_xlabel("the network says")
    axes.set_ylabel("it is")
    return figure


def draw_images(images: np.ndarray, titles: Iterable[str], columns: int = 6) -> Figure:
    """Images under their titles. images: uint8 (N, H, W, 3) in RGB; titles: N strings. Returns a Figure."""
    if len(images) == 0:
        raise ValueError("draw_images: no images: give at least one")
    figure, axes = image_grid(len(images), columns, 1.5, 1.85)
    for one, image, title in zip(axes, images, titles, strict=True):
        one.imshow(image)
        one.set_title(_plain(title), fontsize=9)
    return figure


def _plain(text):
    """The text without what matplotlib takes for a formula."""
    return text.replace("$", r"\$")
