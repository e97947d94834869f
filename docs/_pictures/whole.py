"""Drawings of more than one operation: three gates, a residual block, batch norm in stages, the map of the pages."""

import itertools

import numpy as np
from drawing import CELL, Drawing, number

from minires import layers
from minires.models.blocks import BasicBlock

# Three gates ----------------------------------------------------------------------------------------------------------


def multiply(a, b):
    return a * b, lambda dc: (dc * b, dc * a)


def plus(a, b):
    return a + b, lambda dc: (dc, dc)


def larger(a, b):
    return max(a, b), lambda dc: (dc, 0.0) if a >= b else (0.0, dc)


def gates(upright=False):
    """L = max(x y + z, w): numbers forwards above the lines, gradients backwards below; upright: right and left."""
    x, y, z, w = 3.0, -2.0, 10.0, 1.0
    product, multiply_backward = multiply(x, y)
    total, plus_backward = plus(product, z)
    loss, larger_backward = larger(total, w)
    dtotal, dw = larger_backward(1.0)
    dproduct, dz = plus_backward(dtotal)
    dx, dy = multiply_backward(dproduct)
    drawing = Drawing(320, 740) if upright else Drawing(740, 320)
    places = {"x": (60, 30), "y": (60, 150), "z": (60, 220), "w": (60, 290)}
    places |= {"\u00d7": (240, 90), "+": (400, 140), "max": (560, 200), "L": (700, 200)}
    if upright:
        places = {name: place[::-1] for name, place in places.items()}
    edges = [
        ("x", "\u00d7", x, dx),
        ("y", "\u00d7", y, dy),
        ("z", "+", z, dz),
        ("w", "max", w, dw),
        ("\u00d7", "+", product, dproduct),
        ("+", "max", total, dtotal),
        ("max", "L", loss, 1.0),
    ]
    for source, target, value, gradient in edges:
        (x1, y1), (x2, y2) = places[source], places[target]
        along = np.array([x2 - x1, y2 - y1]) / np.hypot(x2 - x1, y2 - y1)
        start, end = np.array([x1, y1]) + 24 * along, np.array([x2, y2]) - 24 * along
        drawing.arrow(tuple(start), tuple(end), kind="forward soft")
        at = start + 0.42 * (end - start)
        across = np.array([along[1], -along[0]])
        drawing.text(*(at + 15 * across), number(value), "forward number")
        drawing.text(*(at - 15 * across), number(gradient), "backward number")
    for name, (x1, y1) in places.items():
        if name in ("\u00d7", "+", "max"):
            drawing.add("circle", cx=x1, cy=y1, r=24)
        drawing.text(x1, y1, name, "code")
    return drawing


# The residual block ---------------------------------------------------------------------------------------------------


def residual(fork_word="fork", upright=False):
    """A block of resnet20, its two gates, and the arrows back with the sizes of their gradients.

    From left to right, or upright, for a phone, from top to bottom.
    """
    rng = np.random.default_rng(0)
    block = BasicBlock(16, 16, stride=1, shortcut="A", rng=0)
    block.to(np.float64)
    x = np.maximum(rng.standard_normal((8, 8, 8, 16)), 0)
    y, backward = block(x)
    dy = rng.standard_normal(y.shape)
    dx, ds = backward(dy), dy * (y > 0)
    size = {
        name: f"{np.sqrt(np.mean(np.square(array))):.2f}"
        for name, array in {"dy": dy, "ds": ds, "branch": dx - ds, "dx": dx}.items()
    }
    turn = (lambda along, across: (across, along)) if upright else (lambda along, across: (along, across))
    drawing = Drawing(*turn(900, 336 if upright else 310))
    line, back, top = (150, 186, 34) if upright else (190, 226, 60)
    fork, gate, relu = 145, 630, 775
    middle, side = (line + back) / 2, 26
    boxes = {240: "conv1", 330: "bn1\nReLU", 420: "conv2", 510: "bn2", relu: "ReLU"}
    for place, words in boxes.items():
        drawing.box(*turn(place, middle), 64, 62 if upright else 70, words, "code")
    for place, words in ((fork, fork_word), (gate, "+")):
        x1, y1 = turn(place, middle)
        drawing.add("circle", cx=x1, cy=y1, r=side)
        drawing.text(x1, y1, words)
    stops = sorted(
        [(40, 40), (860, 860), *((p - 26, p + 26) for p in (fork, gate)), *((p - 32, p + 32) for p in boxes)]
    )
    for (_, left), (right, _) in itertools.pairwise(stops):
        drawing.arrow(turn(left + 1, line), turn(right - 1, line), kind="forward")
        drawing.arrow(turn(right - 1, back), turn(left + 1, back), kind="backward")
    up, down = middle - side, top + 34
    there = [(fork - 8, up), (fork - 8, top), (gate + 8, top), (gate + 8, up)]
    again = [(gate - 8, up), (gate - 8, down), (fork + 8, down), (fork + 8, up)]
    drawing.arrow(*(turn(*place) for place in there), kind="forward")
    drawing.arrow(*(turn(*place) for place in again), kind="backward")
    half = (fork + gate) / 2
    for kind, words, at, across, of in (
        ("forward", "x", 22, line, None),
        ("forward", "x", half, top - 14, None),
        ("forward", "F(x)", 572, line - 14, None),
        ("forward", "F(x) + x", 700, line - 14, None),
        ("forward", "y", 876, line, None),
        ("backward", "dy", 878, back, "dy"),
        ("backward", "ds = dy [y > 0]", 700, back + 50, "ds"),
        ("backward", "ds", 572, back + 16, None),
        ("backward", "ds", half, down + 16, None),
        ("backward", "J\u1d40ds", 190, back + 50, "branch"),
        ("backward", "dx = ds + J\u1d40ds", 72, back + 50, "dx"),
        ("backward", "dx", 20, back, None),
    ):
        if upright and len(words) > 2:  # beside its arrow, and not across it
            across = line - 8 - 4 * len(words) if kind == "forward" else back + 20 + 4 * len(words)
        x1, y1 = turn(at, across)
        drawing.text(x1, y1, words, kind)
        if of:
            drawing.text(x1, y1 + 20, size[of], "backward number")
    return drawing


# Batch norm in stages -------------------------------------------------------------------------------------------------


def batch_norm(upright=False):
    """One channel's eight values, forwards in three stages, and one gradient backwards through the same three.

    The way back stands beside the way forward, or upright, for a phone, below it.
    """
    x = np.array([2.0, 4, 4, 4, 5, 5, 7, 9])
    gamma, beta = 2.0, 1.0
    mean, deviation = x.mean(), x.std()
    xhat = (x - mean) / deviation
    y = gamma * xhat + beta
    dy = np.zeros(8)
    dy[0] = 8
    dxhat = gamma * dy
    dcentred = dxhat - xhat * np.mean(xhat * dxhat)  # through the deviation as well
    dx = (dcentred - dcentred.mean()) / deviation  # through the mean as well
    parameters = {"weight": np.full(1, gamma), "bias": np.full(1, beta), "training": True, "eps": 1e-12}
    there, back = layers.batch_norm(x[:, None], None, None, **parameters)
    np.testing.assert_allclose(there.ravel(), y, atol=1e-9)
    np.testing.assert_allclose(back(dy[:, None])[0].ravel(), dx, atol=1e-9)
    wide = 8 * CELL
    drawing = Drawing(wide + 8, 910) if upright else Drawing(2 * wide + 60, 470)
    left, right, below = (wide / 2 + 4, wide / 2 + 4, 470) if upright else (wide / 2 + 10, 1.5 * wide + 50, 0)
    forward = [
        ("x", x),
        ("x \u2212 \u03bc", x - mean),
        ("x\u0302 = (x \u2212 \u03bc) / \u03c3", xhat),
        ("y = \u03b3 x\u0302 + \u03b2", y),
    ]
    backward = [
        ("dx = (d \u2212 mean(d)) / \u03c3", dx),
        ("d = dx\u0302 \u2212 x\u0302 mean(x\u0302 dx\u0302)", dcentred),
        ("dx\u0302 = \u03b3 dy", dxhat),
        ("dy", dy),
    ]
    for i, ((name, values), (dname, gradients)) in enumerate(zip(forward, backward, strict=True)):
        height = 50 + i * 120
        back = height + below
        drawing.array(left, height, values, "forward")
        drawing.array(right, back, gradients, "backward")
        drawing.text(left, height - CELL / 2 - 14, name, "forward")
        drawing.text(right, back - CELL / 2 - 14, dname, "backward")
        if i < 3:
            drawing.arrow((left, height + 26), (left, height + 72), kind="forward")
            drawing.arrow((right, back + 72), (right, back + 26), kind="backward")
    return drawing


# The map --------------------------------------------------------------------------------------------------------------

NETWORK = [
    ("convolution", "卷积", "layers/conv"),
    ("batch norm", "批归一化", "layers/batch_norm"),
    ("ReLU", "ReLU", "layers/activations"),
    ("residual block", "残差块", "layers/residual"),
    ("pooling", "池化", "layers/pooling"),
    ("linear layer", "线性层", "layers/linear"),
    ("cross-entropy", "交叉熵", "losses"),
]
STEP = [
    ("the rule:\nx \u2192 (y, backward)", "约定：\nx \u2192 (y, backward)", "protocol"),
    ("optimizers", "优化器", "optim"),
    ("training", "训练", "training"),
    ("training today", "今天的训练方法", "strong_training"),
    ("several processes", "多个进程", "scaling"),
    ("16-bit numbers", "16 位的数", "precision"),
    ("speed", "性能", "performance"),
]
AFTER = [
    ("other people's\nweights", "别处的权重", "pretrained"),
    ("fine-tuning", "微调", "finetuning"),
    ("distillation", "知识蒸馏", "distillation"),
    ("compression", "模型压缩", "compression"),
    ("robustness", "鲁棒性", "robustness"),
    ("segmentation", "语义分割", "segmentation"),
    ("detection", "目标检测", "detection"),
]
TITLES = [
    ("a network, forwards and backwards", "网络：前向与反向"),
    ("one step, many steps", "一步，许多步"),
    ("what a trained network can do", "训练好的网络能做什么"),
]


def map_of_pages(chinese=False, columns=7):
    """The pages as the network itself, its training and its uses: every box is a link. A phone has 3 columns."""
    wide, tall, gap = (118, 50, 16) if columns == 7 else (100, 46, 17)
    rows = -(-len(NETWORK) // columns)
    part = rows * (tall + gap) + 66
    drawing = Drawing(columns * (wide + gap) - gap + (20 if columns == 7 else 2), 3 * part - 16)
    left = (drawing.width - columns * (wide + gap) + gap) / 2
    for group, (title, boxes) in enumerate(zip(TITLES, (NETWORK, STEP, AFTER), strict=True)):
        drawing.text(left, 14 + group * part, title[chinese], "start soft-text")
        for i, box in enumerate(boxes):
            row, column = divmod(i, columns)
            x, y = left + wide / 2 + column * (wide + gap), 62 + group * part + row * (tall + gap)
            words = box[chinese] if columns == 7 else in_two_lines(box[chinese])
            drawing.box(x, y, wide, tall, words, "small" if group else "forward small", link=f"../../{box[2]}.md")
            if group == 0 and i < len(boxes) - 1 and column < columns - 1:
                edge = x + wide / 2
                drawing.arrow((edge + 1, y - 9), (edge + gap - 1, y - 9), kind="forward")
                drawing.arrow((edge + gap - 1, y + 9), (edge + 1, y + 9), kind="backward")
    return drawing


def in_two_lines(words):
    """A narrow box has room for twelve letters, and for no formula."""
    if "\u2192" in words:
        return words.partition("\n")[0].rstrip(":\uff1a")
    return words.replace(" ", "\n", 1) if "\n" not in words and len(words) > 12 else words
