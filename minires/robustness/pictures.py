"""Pictures of robustness: what the corruptions look like, and how accuracy falls with their strength."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from minires.columns import cut
from minires.inspection.pictures.figures import new_figure
from minires.robustness.accuracy import CLEAN, Row
from minires.robustness.corruptions import CORRUPTIONS, STRENGTHS, corrupt
from minires.robustness.tables import MEAN, attack_words, summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLORS = ("#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd", "#7f7f7f", "#8c564b", "#17becf")


def draw_corruptions(images: np.ndarray, kinds: Sequence[str] = tuple(CORRUPTIONS), seed: int = 0) -> Figure:
    """A row for each kind: an image as it is and in all strengths, the next image in the next row.

    images: uint8 (N, H, W, 3), RGB, as many of them as there are, over and over. Returns a Figure.
    """
    figure = new_figure(1.05 * (len(STRENGTHS) + 2), 1.05 * len(kinds) + 0.3)
    grid = figure.subplots(len(kinds), len(STRENGTHS) + 1, squeeze=False)
    for number, (kind, row) in enumerate(zip(kinds, grid, strict=True)):
        image = number % len(images)
        for strength, axes in zip((0, *STRENGTHS), row, strict=True):
            axes.imshow(corrupt(images[image : image + 1], kind, strength, seed, image)[0], interpolation="nearest")
            axes.set_xticks([], [])
            axes.set_yticks([], [])
            if number == 0:
                axes.set_title(str(strength) if strength else "as it is", fontsize=9)
            if strength:
                axes.set_xlabel(f"{CORRUPTIONS[kind].amounts[strength - 1]:g}", fontsize=7, labelpad=1)
        row[0].set_ylabel(kind.replace("_", " "), fontsize=8)
        row[0].set_xlabel(CORRUPTIONS[kind].unit, fontsize=6, labelpad=1)
    return figure


def draw_adversarial(images: np.ndarray, attacked: np.ndarray, before: Sequence[str], after: Sequence[str]) -> Figure:
    """A column for each image: as it is, the change enlarged until its largest number fills the range, and attacked.

    images, attacked: (N, H, W, 3), RGB, 0 to 255.   before, after: what the network says of each. Returns a Figure.
    """
    figure = new_figure(1.35 * len(images) + 0.4, 5.0)
    grid = figure.subplots(3, len(images), squeeze=False)
    change = attacked.astype(np.float64) - images
    largest = np.abs(change).max(axis=(1, 2, 3), keepdims=True)
    enlarged = 127.5 + 127.5 * change / np.where(largest > 0, largest, 1)
    titles = (before, [f"times {127.5 / each:.0f}" if each else "no change" for each in largest.ravel()], after)
    for row, shown, texts in zip(grid, (images, enlarged, attacked), titles, strict=True):
        for axes, image, text in zip(row, shown, texts, strict=True):
            axes.imshow(np.rint(image).astype(np.uint8), interpolation="nearest")
            axes.set_title(cut(text, 20).replace("$", r"\$"), fontsize=8)
            axes.set_axis_off()
    return figure


def draw_accuracies(rows: Sequence[Row]) -> Figure:
    """A panel for each corruption, and one for their mean: accuracy by strength, 0 as it is, a line for each model."""
    models = list(dict.fromkeys(row["model"] for row in rows))
    found = {model: summary(rows, model) for model in models}
    kinds = [kind for kind in found[models[0]] if kind != CLEAN]
    columns = min(3, len(kinds))
    lines = -(-len(kinds) // columns)
    figure = new_figure(3.4 * columns, 2.5 * lines + 0.6)
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axes, kind in zip(grid, kinds, strict=False):
        for model, color in zip(models, _colors(len(models)), strict=True):
            _draw_line(axes, found[model][CLEAN][MEAN], found[model][kind], color, cut(model, 40))
        axes.set_title("mean of all" if kind == MEAN else kind.replace("_", " "), fontsize=10)
        axes.grid(alpha=0.3)
        axes.set_ylim(0, 102)
    for axes in grid[len(kinds) :]:
        axes.set_visible(False)
    figure.supxlabel("strength", fontsize=10)
    figure.supylabel("accuracy, %", fontsize=10)
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, fontsize=8)
    return figure


def draw_attacks(rows: Sequence[Row], clean: Mapping[str, float]) -> Figure:
    """Accuracy by eps, a line for each model and attack.   clean: each model's accuracy as the images are."""
    figure = new_figure(7, 4.2)
    axes = figure.subplots()
    lines = list(dict.fromkeys((row["model"], row["attack"], row["norm"], row["steps"]) for row in rows))
    for (model, *attack), color in zip(lines, _colors(len(lines)), strict=True):
        own = [row for row in rows if [row["model"], row["attack"], row["norm"], row["steps"]] == [model, *attack]]
        accuracies = {row["eps"]: row["correct"] / row["images"] for row in own}
        _draw_line(axes, clean[model], accuracies, color, f"{cut(model, 40)}: {attack_words(*attack)}")
    axes.set_xlabel("eps, of 255")
    axes.set_ylabel("accuracy, %")
    axes.set_ylim(0, 102)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def _draw_line(axes, clean, accuracies, color, label):
    strengths = sorted(strength for strength in accuracies if not isinstance(strength, str) and strength > 0)
    values = [100 * value for value in (clean, *(accuracies[strength] for strength in strengths))]
    axes.plot([0, *strengths], values, ".-", color=color, label=label.replace("$", r"\$"))


def _colors(number):
    return [COLORS[n % len(COLORS)] for n in range(number)]
