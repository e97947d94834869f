"""Drawings of graphs: batch norm's seven steps with the numbers of its page, the ways through three residual blocks."""

import itertools

import numpy as np
from drawing import CELL, Drawing, number

from minires import layers

# Batch norm, step by step ---------------------------------------------------------------------------------------------


def stages():
    """Every number of the example of docs/layers/batch_norm.md: forward above, its gradient below."""
    steps = batch_norm_steps(np.array([1.0, 1, 5, 5]), np.array([1.0, 2, 3, 6]), weight=2.0, bias=10.0)
    places = {
        "x": (110, 75),
        "x \u2212 mean": (345, 75),
        "x\u0302": (620, 75),
        "y": (855, 75),
        "mean": (215, 275),
        "square": (400, 275),
        "var": (550, 275),
        "std": (640, 275),
    }
    drawing = Drawing(965, 365)
    for name, (x, y) in places.items():
        values, gradients = steps[name]
        drawing.text(x, y - CELL / 2 - 14, name, "code")
        drawing.array(x, y, values, "forward")
        drawing.array(x, y + CELL + 6, gradients, "backward")
    row, below, under = 75, 75 + 1.5 * CELL + 10, 275 - CELL / 2 - 26
    side, one = 2 * CELL + 4, CELL / 2 + 4
    for left, right in itertools.pairwise(("x", "x \u2212 mean", "x\u0302", "y")):
        drawing.arrow((places[left][0] + side, row), (places[right][0] - side, row))
    drawing.arrow((165, below), (205, under))
    drawing.arrow((225, under), (275, below))
    drawing.arrow((380, below), (395, under))
    drawing.arrow((400 + side, 275), (550 - one, 275))
    drawing.arrow((550 + one, 275), (640 - one, 275))
    drawing.arrow((638, under), (628, below))
    return drawing


def batch_norm_steps(x, dy, weight, bias):
    """name: (values, gradients) of every step; the result is the library's."""
    m, mean = len(x), x.mean()
    centred = x - mean
    square = centred**2
    var = square.mean()
    std = np.sqrt(var)
    x_hat = centred / std
    y = weight * x_hat + bias
    dx_hat = weight * dy
    dstd = -(dx_hat * centred).sum() / std**2
    dvar = dstd / (2 * std)
    dsquare = np.full(m, dvar / m)
    dcentred = dx_hat / std + dsquare * 2 * centred
    dmean = -dcentred.sum()
    dx = dcentred + dmean / m
    parameters = {"weight": np.full(1, weight), "bias": np.full(1, bias), "training": True, "eps": 0.0}
    library_y, backward = layers.batch_norm(x[:, None], None, None, **parameters)
    np.testing.assert_allclose(library_y.ravel(), y, atol=1e-12)
    np.testing.assert_allclose(backward(dy[:, None])[0].ravel(), dx, atol=1e-12)
    return {
        "x": (x, dx),
        "mean": (mean, dmean),
        "x \u2212 mean": (centred, dcentred),
        "square": (square, dsquare),
        "var": (var, dvar),
        "std": (std, dstd),
        "x\u0302": (x_hat, dx_hat),
        "y": (y, dy),
    }


# The ways through three blocks ----------------------------------------------------------------------------------------


TRANSPOSED = ("J\u2081\u1d40", "J\u2082\u1d40", "J\u2083\u1d40")


def paths(term_word="term"):
    """dx of three blocks y = x + F(x), as a sum over the eight ways back, and how long each term is."""
    rng, width, L = np.random.default_rng(0), 64, 3
    J = [0.5 * rng.standard_normal((width, width)) / np.sqrt(width) for _ in range(L)]
    dx_L = rng.standard_normal(width)
    subsets = sorted(itertools.product((False, True), repeat=L), key=lambda through: (sum(through), through[::-1]))
    drawing = Drawing(760, 60 + 44 * (len(subsets) + 1))
    columns, total = [250, 390, 530], np.zeros(width)
    drawing.text(60, 24, f"|{term_word}| / |dx\u2083|", "small soft-text")
    for row, through in enumerate(subsets):
        height = 62 + 44 * row
        term, name, right = dx_L, "dx\u2083", 640
        for l in reversed(range(L)):
            if through[l]:
                term, name = J[l].T @ term, f"{TRANSPOSED[l]} {name}"
                drawing.box(columns[l], height, 46, 28, TRANSPOSED[l], "backward small")
                drawing.arrow((right, height), (columns[l] + 24, height), kind="backward")
                right = columns[l] - 24
        drawing.arrow((right, height), (180, height), kind="backward")
        drawing.text(60, height, number(np.linalg.norm(term) / np.linalg.norm(dx_L)), "backward number")
        drawing.text(700, height, name, "backward small")
        total = total + term
    whole = dx_L
    for l in reversed(range(L)):
        whole = whole + J[l].T @ whole
    np.testing.assert_allclose(total, whole)
    height = 62 + 44 * len(subsets)
    drawing.add("path", d=f"M 20 {height - 24} L 740 {height - 24}", class_="soft")
    drawing.text(60, height, number(np.linalg.norm(whole) / np.linalg.norm(dx_L)), "backward number")
    drawing.text(
        390, height, "dx\u2080 = (I + J\u2081\u1d40)(I + J\u2082\u1d40)(I + J\u2083\u1d40) dx\u2083", "backward"
    )
    return drawing
