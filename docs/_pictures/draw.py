"""Draws the operations into docs/images/drawings, with numbers that the library computes: python docs/_pictures/draw.py

Most show an operation above and its adjoint below. Above: a thick edge around one number of the output, and around
every number of the input that it depends on. Below: a gradient that arrives, and where the backward pass sends it.
"""

import argparse
from pathlib import Path

import graphs
import numpy as np
import whole
from drawing import CELL, Drawing

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


def operation(name, f, x, dy, at, weight=None):
    """-> the drawing of y, backward = f(x). at: where the marked number of y is. weight: drawn beside the arrows."""
    y, backward = f(x)
    assert y.shape == dy.shape, (name, y.shape)
    marked_y = np.zeros(y.shape, bool)
    marked_y[at] = True
    shapes = [np.atleast_2d(flat(array)).shape for array in (x, y)]
    (tall_x, wide_x), (tall_y, wide_y) = shapes
    gap = max(GAP, 8.2 * len(name) + 60, 0 if weight is None else flat(weight).shape[1] * CELL + 60)
    tall = max(tall_x, tall_y) * CELL
    below = (
        0 if weight is None else max(0, 24 + flat(weight).shape[0] * CELL - tall / 2)
    )  # of the weight, in the middle
    width = (wide_x + wide_y) * CELL + gap + 40
    drawing = Drawing(width, 2 * tall + below + 110)
    left, right = 20 + wide_x * CELL / 2, width - 20 - wide_y * CELL / 2
    middle = 20 + wide_x * CELL + gap / 2
    for kind, row, names in (("forward", 0, ("x", "y")), ("backward", 1, ("dx", "dy"))):
        centre = 34 + tall / 2 + row * (tall + below + 60)
        arrays = (x, y) if row == 0 else (first(backward(dy)), dy)
        marks = (depends(backward, y, at), marked_y) if row == 0 else (None, None)
        for place, rows, array, mark, label in zip((left, right), (tall_x, tall_y), arrays, marks, names, strict=True):
            drawing.array(place, centre, flat(array), kind, None if mark is None else flat(mark))
            drawing.text(place, centre - rows * CELL / 2 - 16, label, f"code {kind}")
        ends = [(middle - gap / 2 + 14, centre), (middle + gap / 2 - 14, centre)]
        drawing.arrow(*(ends if row == 0 else ends[::-1]), kind=kind)
        drawing.text(middle, centre - 15, name if row == 0 else "backward(dy)", f"code {kind}")
        if weight is not None and row == 0:
            drawing.array(middle, centre + 24 + flat(weight).shape[0] * CELL / 2, flat(weight), kind)
    return drawing


def image(values):
    return np.array(values, dtype=float)[None, :, :, None]


def convolution():
    x = image([[1, 0, 2, 1], [0, 3, 1, 0], [2, 1, 0, 1], [1, 0, 1, 2]])
    weight = image([[1, 2, 1], [1, 1, 1], [-1, -2, -1]])
    return operation(
        "conv2d(x, weight)",
        lambda x: layers.conv2d(x, weight[0].transpose(2, 0, 1)[None]),
        x,
        image([[1, 0], [0, 2]]),
        (0, 0, 0, 0),
        weight,
    )


def max_pooling():
    x = image([[1, 3, 2, 0], [0, 2, 5, 1], [4, 1, 0, 2], [2, 0, 1, 3]])
    return operation("max_pool2d(x, 2)", lambda x: layers.max_pool2d(x, 2), x, image([[1, 2], [3, 4]]), (0, 0, 1, 0))


def average_pooling():
    x = image([[1, 3, 2, 0], [0, 4, 5, 1], [4, 1, 0, 2], [3, 0, 1, 5]])
    return operation("avg_pool2d(x, 2)", lambda x: layers.avg_pool2d(x, 2), x, image([[4, 8], [0, -4]]), (0, 0, 1, 0))


def adaptive_pooling():
    x = image([[6, 0, 2, 4, 1]])
    return operation(
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
    return operation(name, lambda x: layers.upsample_bilinear2d(x, (4, 4)), x, dy, (0, 1, 1, 0))


def transposed_convolution():
    x = image([[1, 2], [0, 3]])
    weight = image([[1, 0, -1], [2, 0, -2], [1, 0, -1]])
    dy = image([[1, 0, 2, 1], [0, 3, 1, 0], [2, 1, 0, 1], [1, 0, 1, 2]])
    kernel = weight[0].transpose(2, 0, 1)[None]
    name = "conv_transpose2d(x, weight)"
    return operation(name, lambda x: layers.conv_transpose2d(x, kernel), x, dy, (0, 1, 1, 0), weight)


def dilated_convolution():
    x = image([[1, 0, 2, 1, 3, 0, 1]])
    weight = image([[1, -2, 1]])
    kernel = weight[0].transpose(2, 0, 1)[None]
    name = "conv2d(x, weight, dilation=2)"
    return operation(name, lambda x: layers.conv2d(x, kernel, dilation=2), x, image([[1, 0, 2]]), (0, 0, 1, 0), weight)


def linear():
    weight = np.array([[1.0, 0, 2], [-1, 1, 2]])
    x, dy = np.array([[2.0, 3, 1]]), np.array([[1.0, -2]])
    return operation("linear(x, weight)", lambda x: layers.linear(x, weight), x, dy, (0, 1), weight)


def rowwise(name, f, x, dy, at):
    """An operation on the numbers of a row."""
    return operation(name, f, np.array([x], dtype=float), np.array([dy], dtype=float), (0, at))


def cross_entropy_gradient():
    """The loss of one row of logits, and its gradient: softmax minus one-hot."""
    logits = np.array([[2.0, 1.0, 0.0, -1.0]])
    loss, backward = losses.cross_entropy(logits, np.array([1]))
    return operation(
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
    return operation("squeeze_excitation(x, ...)", f, x, np.array([[1.0, 0, 0], [0, 0, 0]]), (0, 0))


def normalised_and_clipped():
    """One channel of eight values: where y is 0 the gate is closed, but the mean and variance let gradients through."""

    def f(x):
        y, backward = layers.batch_norm_relu(x.T, None, None, training=True, eps=1e-12)
        return y.T, lambda dy: first(backward(dy.T)).T

    x, dy = np.array([[2.0, 4, 4, 4, 5, 5, 7, 9]]), np.array([[8.0, 8, 8, 8, 8, 8, 8, 0]])
    return operation("batch_norm_relu(x, ...)", f, x, dy, (0, 6))


def normalised_groups():
    x = np.array([[1.0, 3], [5, 3], [0, 2], [0, 2]])
    ones, zeros = np.ones(4), np.zeros(4)
    dy = np.array([[1.0, 0], [0, 0], [0, 0], [0, 1]])
    return operation("group_norm(x, 2, ...)", channels_as_rows(layers.group_norm, 2, ones, zeros), x, dy, (0, 0))


def normalised_pixels():
    x = np.array([[1.0, 0], [5, 2], [3, 4]])
    f = channels_as_rows(layers.layer_norm, np.ones(3), np.zeros(3))
    return operation("layer_norm(x, ...)", f, x, np.array([[1.0, 0], [0, 0], [0, 1]]), (0, 0))


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
    return operation(name, f, x, dy, (0, 1))


# The drawings ---------------------------------------------------------------------------------------------------------

DRAWINGS = {
    "map": whole.map_of_pages,
    "map-zh": lambda: whole.map_of_pages(chinese=True),
    "narrow-map": lambda: whole.map_of_pages(columns=3),
    "narrow-map-zh": lambda: whole.map_of_pages(chinese=True, columns=3),
    "gates": whole.gates,
    "residual": whole.residual,
    "residual-zh": lambda: whole.residual("分叉"),
    "residual_paths": graphs.paths,
    "residual_paths-zh": lambda: graphs.paths("该项"),
    "batch_norm": whole.batch_norm,
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
        (out / f"{name}.svg").write_text(draw().written(), encoding="utf-8")


if __name__ == "__main__":
    main()
