"""Draws the operations into docs/images/drawings, with numbers that the library computes: python docs/_pictures/draw.py

Most show an operation above and its adjoint below. Above: a thick edge around one number of the output, and around
every number of the input that it depends on. Below: a gradient that arrives, and where the backward pass sends it.
"""

import argparse
from pathlib import Path

import graphs
import numpy as np
import whole
from drawing import CELL, PHONE, Drawing

from minires import layers, losses

IMAGES = Path(__file__).resolve().parents[1] / "images" / "drawings"
GAP = 190  # between input and output: room for the operation's name


# An operation and its adjoint -----------------------------------------------------------------------------------------


def flat(array):
    """An array of one image and one channel, or of rows, as a matrix."""
    array = np.asarray(array)
    return array[0, :, :, 0] if array.ndim == 4 else array


def depends(backward, y, at):
    """Which numbers of the input the output's number `at` depends on: where its gradient is not 0."""
    dy = np.zeros_like(y)
    dy[at] = 1
    return np.abs(first(backward(dy))) > 1e-12


def first(gradients):
    return gradients[0] if isinstance(gradients, tuple) else gradients


class Operation:
    """y, backward = f(x). at: where the marked number of y is. weight: drawn beside the arrows."""

    def __init__(self, name, f, x, dy, at, weight=None):
        y, backward = f(x)
        assert y.shape == dy.shape, (name, y.shape)
        marked = np.zeros(y.shape, bool)
        marked[at] = True
        self.name, self.weight = name, None if weight is None else flat(weight)
        self.x, self.y, self.dx, self.dy = (np.atleast_2d(flat(a)) for a in (x, y, first(backward(dy)), dy))
        self.marks = [np.atleast_2d(flat(mark)) for mark in (depends(backward, y, at), marked)]

    # What is drawn of each direction: the arrays of x and of y, with their names and marks, and the arrow's name.

    def rows(self):
        yield "forward", (self.x, self.y), self.marks, ("x", "y"), self.name
        yield "backward", (self.dx, self.dy), (None, None), ("dx", "dy"), "backward(dy)"

    def drawing(self):
        """x on the left, y on the right."""
        (tall_x, wide_x), (tall_y, wide_y) = self.x.shape, self.y.shape
        rows, columns = (0, 0) if self.weight is None else self.weight.shape
        gap = max(GAP, 8.2 * len(self.name) + 60, columns * CELL + 60)
        tall = max(tall_x, tall_y) * CELL
        below = 0 if self.weight is None else max(0, 24 + rows * CELL - tall / 2)  # of the weight, in the middle
        width = (wide_x + wide_y) * CELL + gap + 40
        drawing = Drawing(width, 2 * tall + below + 110)
        places = 20 + wide_x * CELL / 2, width - 20 - wide_y * CELL / 2
        middle = 20 + wide_x * CELL + gap / 2
        for row, (kind, arrays, marks, labels, name) in enumerate(self.rows()):
            centre = 34 + tall / 2 + row * (tall + below + 60)
            for place, array, mark, label in zip(places, arrays, marks, labels, strict=True):
                drawing.array(place, centre, array, kind, mark)
                drawing.text(place, centre - len(array) * CELL / 2 - 16, label, f"code {kind}")
            ends = [(middle - gap / 2 + 14, centre), (middle + gap / 2 - 14, centre)]
            drawing.arrow(*(ends if row == 0 else ends[::-1]), kind=kind)
            drawing.text(middle, centre - 15, name, f"code {kind}")
            if self.weight is not None and row == 0:
                drawing.array(middle, centre + 24 + rows * CELL / 2, self.weight, kind)
        return drawing

    def upright(self):
        """x above y, as a phone shows it."""
        rows, columns = (0, 0) if self.weight is None else self.weight.shape
        name = 8.2 * len(self.name)
        width = max(CELL * max(self.x.shape[1], self.y.shape[1]), 24 + max(name, columns * CELL)) + 4
        drawing, top = Drawing(width, 0), 12
        for kind, arrays, marks, labels, name in self.rows():
            long = 56 + rows * CELL * (kind == "forward")
            for place, (array, mark, label) in enumerate(zip(arrays, marks, labels, strict=True)):
                tall = len(array) * CELL
                drawing.text(width / 2, top, label, f"code {kind}")
                drawing.array(width / 2, top + 14 + tall / 2, array, kind, mark)
                top += tall + 22
                if place == 0:
                    left = (width - 24 - 8.2 * len(name)) / 2 + 6
                    ends = [(left, top), (left, top + long - 8)]
                    drawing.arrow(*(ends if kind == "forward" else ends[::-1]), kind=kind)
                    drawing.text(left + 14, top + 20, name, f"code start {kind}")
                    if kind == "forward" and self.weight is not None:
                        drawing.array(left + 14 + columns * CELL / 2, top + 38 + rows * CELL / 2, self.weight, kind)
                    top += long + 8
            top += 28
        drawing.height = top - 34
        return drawing


def image(values):
    return np.array(values, dtype=float)[None, :, :, None]


def convolution():
    x = image([[1, 0, 2, 1], [0, 3, 1, 0], [2, 1, 0, 1], [1, 0, 1, 2]])
    weight = image([[1, 2, 1], [1, 1, 1], [-1, -2, -1]])
    return Operation(
        "conv2d(x, weight)",
        lambda x: layers.conv2d(x, weight[0].transpose(2, 0, 1)[None]),
        x,
        image([[1, 0], [0, 2]]),
        (0, 0, 0, 0),
        weight,
    )


def max_pooling():
    x = image([[1, 3, 2, 0], [0, 2, 5, 1], [4, 1, 0, 2], [2, 0, 1, 3]])
    return Operation("max_pool2d(x, 2)", lambda x: layers.max_pool2d(x, 2), x, image([[1, 2], [3, 4]]), (0, 0, 1, 0))


def average_pooling():
    x = image([[1, 3, 2, 0], [0, 4, 5, 1], [4, 1, 0, 2], [3, 0, 1, 5]])
    return Operation("avg_pool2d(x, 2)", lambda x: layers.avg_pool2d(x, 2), x, image([[4, 8], [0, -4]]), (0, 0, 1, 0))


def adaptive_pooling():
    x = image([[6, 0, 2, 4, 1]])
    return Operation(
        "adaptive_avg_pool2d(x, (1, 3))",
        lambda x: layers.adaptive_avg_pool2d(x, (1, 3)),
        x,
        image([[2, 6, 4]]),
        (0, 0, 1, 0),
    )


def upsampling():
    x = image([[0, 4], [8, 4]])
    dy = image([[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 16, 0], [0, 0, 0, 0]])
    name = "upsample_bilinear2d(x, (4, 4))"
    return Operation(name, lambda x: layers.upsample_bilinear2d(x, (4, 4)), x, dy, (0, 1, 1, 0))


def transposed_convolution():
    x = image([[1, 2], [0, 3]])
    weight = image([[1, 0, -1], [2, 0, -2], [1, 0, -1]])
    dy = image([[1, 0, 2, 1], [0, 3, 1, 0], [2, 1, 0, 1], [1, 0, 1, 2]])
    kernel = weight[0].transpose(2, 0, 1)[None]
    name = "conv_transpose2d(x, weight)"
    return Operation(name, lambda x: layers.conv_transpose2d(x, kernel), x, dy, (0, 1, 1, 0), weight)


def dilated_convolution():
    x = image([[1, 0, 2, 1, 3, 0, 1]])
    weight = image([[1, -2, 1]])
    kernel = weight[0].transpose(2, 0, 1)[None]
    name = "conv2d(x, weight, dilation=2)"
    return Operation(name, lambda x: layers.conv2d(x, kernel, dilation=2), x, image([[1, 0, 2]]), (0, 0, 1, 0), weight)


def linear():
    weight = np.array([[1.0, 0, 2], [-1, 1, 2]])
    x, dy = np.array([[2.0, 3, 1]]), np.array([[1.0, -2]])
    return Operation("linear(x, weight)", lambda x: layers.linear(x, weight), x, dy, (0, 1), weight)


def rowwise(name, f, x, dy, at):
    """An operation on the numbers of a row."""
    return Operation(name, f, np.array([x], dtype=float), np.array([dy], dtype=float), (0, at))


def cross_entropy_gradient():
    """The loss of one row of logits, and its gradient: softmax minus one-hot."""
    logits = np.array([[2.0, 1.0, 0.0, -1.0]])
    loss, backward = losses.cross_entropy(logits, np.array([1]))
    return Operation(
        "cross_entropy(x, [1])",
        lambda x: (np.array([[float(loss)]]), lambda dy: backward(float(dy[0, 0]))),
        logits,
        np.array([[1.0]]),
        (0, 0),
    )


def channels_as_rows(layer, *parts):
    """A layer on an image of one row of pixels, drawn with a row for each channel."""

    def f(x):
        y, backward = layer(x.T[None, None], *parts)
        return y[0, 0].T, lambda dy: first(backward(dy.T[None, None]))[0, 0].T

    return f


def excited_channels():
    """Squeeze and excitation on three pixels: every number of a channel meets the whole image, through the gates."""
    x = np.array([[1.0, 2, 3], [2, 0, 1]])
    parts = [np.array([[1.0, -1]])[..., None, None], np.zeros(1), np.array([[1.0], [2]])[..., None, None], np.zeros(2)]
    f = channels_as_rows(layers.squeeze_excitation, *parts)
    return Operation("squeeze_excitation(x, ...)", f, x, np.array([[1.0, 0, 0], [0, 0, 0]]), (0, 0))


def normalised_and_clipped():
    """One channel of eight values: where y is 0 the gate is closed, but the mean and variance let gradients through."""

    def f(x):
        y, backward = layers.batch_norm_relu(x.T, None, None, training=True, eps=1e-12)
        return y.T, lambda dy: first(backward(dy.T)).T

    x, dy = np.array([[2.0, 4, 4, 4, 5, 5, 7, 9]]), np.array([[8.0, 8, 8, 8, 8, 8, 8, 0]])
    return Operation("batch_norm_relu(x, ...)", f, x, dy, (0, 6))


def normalised_groups():
    x = np.array([[1.0, 3], [5, 3], [0, 2], [0, 2]])
    ones, zeros = np.ones(4), np.zeros(4)
    dy = np.array([[1.0, 0], [0, 0], [0, 0], [0, 1]])
    return Operation("group_norm(x, 2, ...)", channels_as_rows(layers.group_norm, 2, ones, zeros), x, dy, (0, 0))


def normalised_pixels():
    x = np.array([[1.0, 0], [5, 2], [3, 4]])
    f = channels_as_rows(layers.layer_norm, np.ones(3), np.zeros(3))
    return Operation("layer_norm(x, ...)", f, x, np.array([[1.0, 0], [0, 0], [0, 1]]), (0, 0))


def scaled_numbers():
    return rowwise("scale(x, [0.5])", lambda x: layers.scale(x, np.array([0.5])), [1, 4, 2], [2, -2, 6], 1)


def dropped_numbers():
    x, dy = [3, 1, 4, 1, 5, 9], [1, 2, 3, 4, 5, 6]
    name = "dropout(x, p=0.5, rng=1)"
    return rowwise(name, lambda x: layers.dropout(x, 0.5, rng=np.random.default_rng(1)), x, dy, 2)


def dropped_images():
    x, dy = np.array([[1.0, 2], [3, 4], [5, 6], [7, 8]]), np.ones((4, 2))
    name = "stochastic_depth(x, p=0.5, rng=1)"
    f = lambda x: layers.stochastic_depth(x, 0.5, rng=np.random.default_rng(1))  # noqa: E731
    return Operation(name, f, x, dy, (0, 1))


# The drawings ---------------------------------------------------------------------------------------------------------

DRAWINGS = {
    "map": whole.map_of_pages,
    "map-zh": lambda: whole.map_of_pages(chinese=True),
    "narrow-map": lambda: whole.map_of_pages(columns=3),
    "narrow-map-zh": lambda: whole.map_of_pages(chinese=True, columns=3),
    "gates": whole.gates,
    "narrow-gates": lambda: whole.gates(upright=True),
    "residual": whole.residual,
    "residual-zh": lambda: whole.residual("分叉"),
    "narrow-residual": lambda: whole.residual(upright=True),
    "narrow-residual-zh": lambda: whole.residual("分叉", upright=True),
    "residual_paths": graphs.paths,
    "residual_paths-zh": lambda: graphs.paths("该项"),
    "batch_norm": whole.batch_norm,
    "narrow-batch_norm": lambda: whole.batch_norm(upright=True),
    "batch_norm_stages": graphs.stages,
    "relu": lambda: rowwise("relu(x)", layers.relu, [-2, 3, 0.5, -1, 4], [10, 20, 30, 40, 50], 1),
    "silu": lambda: rowwise("silu(x)", layers.silu, [-4, -1, 0, 1, 4], [1, 1, 1, 1, 1], 3),
    "linear": linear,
    "conv": convolution,
    "dilated_conv": dilated_convolution,
    "conv_transpose": transposed_convolution,
    "upsample": upsampling,
    "max_pool": max_pooling,
    "avg_pool": average_pooling,
    "adaptive_avg_pool": adaptive_pooling,
    "batch_norm_relu": normalised_and_clipped,
    "group_norm": normalised_groups,
    "layer_norm": normalised_pixels,
    "squeeze_excitation": excited_channels,
    "scale": scaled_numbers,
    "dropout": dropped_numbers,
    "stochastic_depth": dropped_images,
    "cross_entropy": cross_entropy_gradient,
}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=IMAGES, help="the folder to write to")
    out = parser.parse_args(argv).out
    out.mkdir(parents=True, exist_ok=True)
    for name, draw in DRAWINGS.items():
        for file, drawing in forms(name, draw()):
            (out / f"{file}.svg").write_text(drawing.written(), encoding="utf-8")


def forms(name, drawn):
    """-> [(name, drawing)], and of an operation that is too wide for a phone a second one."""
    if not isinstance(drawn, Operation):
        return [(name, drawn)]
    wide = drawn.drawing()
    return [(name, wide), (f"narrow-{name}", drawn.upright())] if wide.width > PHONE else [(name, wide)]


if __name__ == "__main__":
    main()
