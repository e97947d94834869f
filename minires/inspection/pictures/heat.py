"""Heat maps beside and over the images that they are of: saliency, Grad-CAM, and the check of both."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from minires.backend import to_numpy
from minires.inspection.pictures.figures import BLUE, GREY, image_grid, new_figure
from minires.types import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_saliency(images: np.ndarray, maps: Array, titles: Iterable[str]) -> Figure:
    """Images in the first row, their saliency maps below, each from black, 0, to white, its 99th percentile.

    images: uint8 (N, H, W, 3) in RGB.   maps: (N, H, W), of `explain.saliency`.   titles: N strings.
    (The few largest values would leave the rest black.) Returns a Figure.
    """
    figure, axes = _rows(images, titles, 2)
    for one, image, heat in zip(axes[1], images, to_numpy(maps), strict=True):
        show_saliency(one, image, heat)
    return figure


def draw_grad_cam(images: np.ndarray, maps: Array, titles: Iterable[str]) -> Figure:
    """Images in the first row; below them the same, with the Grad-CAM maps over them, smoothly scaled to their size.

    images: uint8 (N, H, W, 3) in RGB.   maps: (N, h, w), of `explain.grad_cam`.   titles: N strings.
    Returns a Figure.
    """
    figure, axes = _rows(images, titles, 2)
    for one, image, heat in zip(axes[1], images, to_numpy(maps), strict=True):
        show_grad_cam(one, image, heat)
    return figure


def draw_explanations(
    images: Collection[np.ndarray],
    saliency_maps: Iterable[Array],
    grad_cam_maps: Iterable[Array],
    titles: Iterable[str],
    best: Iterable[Sequence[tuple[str, float]]],
) -> Figure:
    """A row for each image: the image, its saliency, Grad-CAM over it, and the likeliest classes as bars.

    images: uint8 (N, H, W, 3) in RGB.   saliency_maps (N, H, W), grad_cam_maps (N, h, w).   titles: the classes
    explained.   best: for each image [(class, probability)], the likeliest first. Returns a Figure.
    """
    figure = new_figure(11, 2.7 * len(images) + 0.3)
    all_axes = figure.subplots(len(images), 4, squeeze=False, width_ratios=(1, 1, 1, 1.3))
    everything = (all_axes, images, map(to_numpy, saliency_maps), map(to_numpy, grad_cam_maps), titles, best)
    for (whole, sensitive, heated, bars), image, saliency_map, heat, title, classes in zip(*everything, strict=True):
        whole.imshow(image)
        whole.set_title(f"explained: {title}", fontsize=10)
        show_saliency(sensitive, image, saliency_map)
        sensitive.set_title("saliency", fontsize=10)
        show_grad_cam(heated, image, heat)
        heated.set_title("Grad-CAM", fontsize=10)
        for axes in (whole, sensitive, heated):
            axes.set_axis_off()
        labels, probabilities = zip(*reversed(classes), strict=True)
        colours = [BLUE if label == title else GREY for label in labels]
        bars.barh(range(len(labels)), [100 * probability for probability in probabilities], color=colours)
        bars.set_yticks(range(len(labels)), labels)
        bars.set_xlim(0, 100)
        bars.set_xlabel("probability, %")
    return figure


def draw_randomisation(image: np.ndarray, stages: Sequence[tuple[str | None, Array, np.ndarray]], title: str) -> Figure:
    """The maps of one image as layer after layer of the model becomes random, with their mean correlations.

    image: uint8 (H, W, 3) in RGB.   stages: of `explain.randomisation_check`; the maps shown are of the first image,
    the correlations the means over all images.   title: the method. Returns a Figure.
    """
    figure, axes = image_grid(len(stages) + 1, len(stages) + 1, 1.35, 1.75)
    axes[0].imshow(image)
    axes[0].set_title(title, fontsize=9)
    for one, (name, maps, correlations) in zip(axes[1:], stages, strict=True):
        heat = to_numpy(maps[0])
        if heat.shape == image.shape[:2]:
            show_saliency(one, image, heat)
        else:
            show_grad_cam(one, image, heat)
        what = "trained" if name is None else f"... {name}\n{np.mean(correlations):.2f}"
        one.set_title(what, fontsize=9)
    return figure


def show_saliency(axes: Axes, image: np.ndarray, heat: np.ndarray) -> None:
    """A saliency map (H, W), from black, 0, to white, its 99th percentile."""
    axes.imshow(heat, cmap="gray", vmin=0, vmax=np.percentile(heat, 99) or 1)


def show_grad_cam(axes: Axes, image: np.ndarray, heat: np.ndarray) -> None:
    """An image with a map (h, w) over it, blue where it is 0 and red where it is largest, scaled bilinearly."""
    height, width = image.shape[:2]
    axes.imshow(image)
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    axes.imshow(heat, cmap="jet", alpha=0.45, extent=extent, interpolation="bilinear", vmin=0, vmax=heat.max() or 1)


def _rows(images, titles, rows):
    """(figure, rows x N axes), the images and their titles in the first row."""
    figure, axes = image_grid(rows * len(images), len(images), 1.15, 1.3)
    axes = axes.reshape(rows, len(images))
    for one, image, title in zip(axes[0], images, titles, strict=True):
        one.imshow(image)
        one.set_title(title, fontsize=9)
    return figure, axes
