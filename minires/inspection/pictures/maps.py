"""The filters of the first layer, and the maps that a layer gives, as images."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from minires.backend import to_numpy
from minires.inspection.pictures.figures import image_grid
from minires.types import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_filters(weight: Array, columns: int = 8) -> Figure:
    """Each filter of a convolution on images as an image: grey is 0, and its largest weight is 0 or 1.

        pixel = 1/2 + weight / (2 * max |weight|)     of the filter's own weights

    weight: (O, 3, KH, KW) in colour, or (O, 1, KH, KW) in grey. Returns a Figure of O squares.
    Raises ValueError for other channels: a filter on 16 maps is no image.
    """
    weight = to_numpy(weight)
    if weight.ndim != 4 or weight.shape[1] not in (1, 3):
        raise ValueError(f"draw_filters: weight has shape {weight.shape}: expected (O, 3, KH, KW) or (O, 1, KH, KW)")
    figure, axes = image_grid(len(weight), columns, 0.9, 0.95)
    for number, (filter, one) in enumerate(zip(weight, axes, strict=True)):
        largest = abs(filter).max() or 1
        pixels = 0.5 + filter.transpose(1, 2, 0) / (2 * largest)  # (KH, KW, C)
        one.imshow(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels, cmap="gray", vmin=0, vmax=1)
        one.set_title(str(number), fontsize=8, pad=2)
    return figure


def draw_feature_maps(maps: Array, columns: int = 8, titles: Iterable[str] | None = None) -> Figure:
    """One image's maps, (H, W, C), side by side, each from black, 0 or less, to yellow, its own largest value.

    titles: C strings; None: the channels' numbers. Returns a Figure of C squares.
    Raises ValueError where maps are of another shape.
    """
    maps = to_numpy(maps)
    if maps.ndim != 3:
        raise ValueError(f"draw_feature_maps: maps have shape {maps.shape}: give those of one image, (H, W, C)")
    titles = [str(channel) for channel in range(maps.shape[-1])] if titles is None else titles
    figure, axes = image_grid(maps.shape[-1], columns, 0.9, 0.95)
    for one, channel, title in zip(axes, maps.transpose(2, 0, 1), titles, strict=True):
        largest = channel.max()
        one.imshow(channel, cmap="inferno", vmin=0, vmax=largest if largest > 0 else 1)
        one.set_title(title, fontsize=8, pad=2)
    return figure
