"""Masks over the images that they are of, each class in its colour, and a legend."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from minires.columns import cut
from minires.inspection.pictures.figures import new_figure
from minires.losses.pixel_cross_entropy import IGNORE
from minires.wording import readable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BACKGROUND = "background"  # the class of this name is left as the image is
FIRST = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")  # told apart by colour-blind, too
MOST = 40  # classes in a legend


def class_colours(number: int) -> np.ndarray:
    """uint8 (number, 3): a colour for each class."""
    first = [tuple(bytes.fromhex(colour[1:])) for colour in FIRST]
    golden = 0.618034  # of a turn: hues that stay apart however many there are
    others = [
        tuple(round(255 * value) for value in colorsys.hsv_to_rgb(golden * k % 1, 0.75, 0.9)) for k in range(number)
    ]
    return np.array((first + others)[:number], np.uint8).reshape(number, 3)


def overlay(image: np.ndarray, mask: np.ndarray, classes: Sequence[str], share: float = 0.7) -> np.ndarray:
    """uint8 (H, W, 3): the image, in grey under each class's colour; what does not count is black.

    image uint8 (H, W, 3).   mask (H, W): numbers of classes, or IGNORE.   share: of the colour.
    """
    colours = np.zeros((IGNORE + 1, 3), np.float32)
    colours[: len(classes)] = _of(classes)
    shares = np.full(IGNORE + 1, share, np.float32)
    shares[: len(classes)] = [0 if name == BACKGROUND else share for name in classes]
    part = shares[mask][..., None]
    grey = image.mean(axis=-1, keepdims=True)
    return np.round(np.where(part > 0, grey * (1 - part) + colours[mask] * part, image)).astype(np.uint8)


def draw_masks(
    images: Sequence[np.ndarray], masks: Mapping[str, Sequence[np.ndarray]], classes: Sequence[str], side: float = 1.6
) -> Figure:
    """A row for each image: itself, and under each title of `masks` the mask laid over it; below, the legend.

    images: uint8 (H, W, 3) each, in RGB.   masks: {title: a mask (H, W) for each image}.   side: inches of a picture.
    Returns a Figure.
    """
    from matplotlib.patches import Patch

    columns = {"image": images, **masks}
    height, width = images[0].shape[:2]
    high = side * min(3.0, max(0.3, height / width))
    shown = list(enumerate(classes))[:MOST]
    figure = new_figure(side * len(columns) + 0.3, high * len(images) + 0.3 + 0.25 * -(-len(shown) // 4))
    grid = figure.subplots(len(images), len(columns), squeeze=False)
    for axes, (title, its) in zip(grid.T, columns.items(), strict=True):
        axes[0].set_title(title, fontsize=9)
        for one, image, mask in zip(axes, images, its, strict=True):
            one.imshow(image if title == "image" else overlay(image, mask, classes), interpolation="nearest")
            one.set_axis_off()
    colours = _of(classes)
    patches = [
        Patch(
            facecolor="white" if name == BACKGROUND else tuple(colours[k] / 255), edgecolor="grey", label=_plain(name)
        )
        for k, name in shown
    ]
    figure.legend(handles=patches, loc="outside lower center", ncols=min(4, len(shown)), fontsize=8, frameon=False)
    return figure


def _of(classes):
    """The classes' colours; the background takes none away from the others."""
    names = [name for name in classes if name != BACKGROUND]
    colours = dict(zip(names, class_colours(len(names)), strict=True))
    return np.array([colours.get(name, np.full(3, 255)) for name in classes], np.uint8)


def _plain(name):
    return cut(readable(name, 300), 24).replace("$", r"\$")
