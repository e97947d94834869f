"""The network of docs/two_layers.md before, during and after its training: python docs/_pictures/two_layers.py

The program is the page's own, its first block; this draws what it makes, once in English and once in Chinese.
"""

import argparse
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(DOCS.parent), str(DOCS / "_ext")]

import numpy as np  # noqa: E402
from blocks import python_blocks  # noqa: E402

from minires.inspection.pictures.figures import BLUE, GREY, RED, new_figure, write_png  # noqa: E402

STEPS = (0, 100, 1000)
WORDS = {"two-layers.png": ("step {}", "loss", "step"), "two-layers-zh.png": ("第 {} 步", "损失", "步")}


def program():
    """The names that the page's first block defines; what it prints is not wanted here."""
    (first, *_) = python_blocks((DOCS / "two_layers.md").read_text(encoding="utf-8"))
    names = {"print": lambda *words: None}
    exec(compile(first.code, "two_layers.md", "exec"), names)
    return names


def draw(page, words, path):
    """Three squares of the plane and the curve of the loss."""
    at_step, loss, step = words
    figure = new_figure(11, 3)
    *squares, curve = figure.subplots(1, 4)
    for axes, steps in zip(squares, STEPS, strict=True):
        parameters, _ = page["train"](page["network"], page["start"], steps)
        plane(axes, page, parameters)
        axes.set_title(at_step.format(steps), fontsize=10)
    curve.plot(page["losses"], color=BLUE)
    curve.set(title=loss, xlabel=step, ylim=(0, None))
    curve.title.set_fontsize(10)
    curve.grid(alpha=0.3)
    write_png(figure, path, colours=128)


def plane(axes, page, parameters):
    """The points, what the network takes for inside, the circle and the line of each hidden unit."""
    side = np.linspace(-1, 1, 201)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    logits, _ = page["network"](grid, *parameters)
    inside = (logits[:, 1] - logits[:, 0]).reshape(201, 201)
    if inside.min() < 0 < inside.max():
        axes.contour(side, side, inside, levels=[0], colors="black", linewidths=1.2)
    axes.contourf(side, side, inside, levels=[-np.inf, 0, np.inf], colors=["#ffffff", "#cfe3f5"])
    for label, colour in ((0, RED), (1, BLUE)):
        axes.scatter(*page["x"][page["labels"] == label].T, s=3, color=colour, linewidths=0)
    angle = np.linspace(0, 2 * np.pi, 200)
    axes.plot(0.8 * np.cos(angle), 0.8 * np.sin(angle), color=GREY, linestyle=":", linewidth=1)
    for weight, bias in zip(*parameters[:2], strict=True):
        hidden_unit(axes, weight, bias)
    axes.set(xlim=(-1, 1), ylim=(-1, 1), aspect="equal", xticks=[-1, 0, 1], yticks=[-1, 0, 1])


def hidden_unit(axes, weight, bias):
    """The line weight @ x + bias = 0, and a tick on it to where it is positive."""
    normal = weight / np.hypot(*weight)
    foot = -bias / np.hypot(*weight) * normal
    along = np.array([-normal[1], normal[0]])
    axes.plot(*np.stack([foot - 3 * along, foot + 3 * along]).T, color=GREY, linewidth=0.8)
    axes.plot(*np.stack([foot, foot + 0.12 * normal]).T, color="black", linewidth=1.6)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=DOCS / "images", help="the folder to write to")
    out, page = parser.parse_args(argv).out, program()
    out.mkdir(parents=True, exist_ok=True)
    for name, words in WORDS.items():
        draw(page, words, out / name)


if __name__ == "__main__":
    main()
