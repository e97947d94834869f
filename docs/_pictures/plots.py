"""Draws the curves of the pages into docs/images: python docs/_pictures/plots.py [NAME ...]

What is drawn is what the pages' own blocks compute or print, or the tables that stand on them. A picture with words is
drawn in Chinese as well, as NAME-zh, for which this machine needs a font with Chinese characters.
"""

import argparse
import functools
import re
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(DOCS.parent), str(DOCS / "_ext"), str(DOCS.parent / "examples" / "experiments")]

import numpy as np  # noqa: E402
from blocks import python_blocks  # noqa: E402

from minires import data  # noqa: E402
from minires.inspection.pictures.figures import (  # noqa: E402
    BLUE,
    GREEN,
    GREY,
    RED,
    image_grid,
    new_figure,
    write_png,
)

CHINESE = {
    "plain": "普通",
    "momentum": "动量",
    "step": "步",
    "training loss": "训练损失",
    "validation loss": "验证损失",
    "variance": "方差",
    "root mean square of {}": "{} 的均方根",
    "layers": "层数",
    "training": "训练",
    "test": "测试",
}


def in_chinese(words):
    return CHINESE.get(words, words)


def names_of(page, *wanted, **names):
    """The names that a page's blocks define, of those blocks that contain one of these lines; and what they print."""
    printed = []
    names |= {"print": lambda *words: printed.append(" ".join(map(str, words))), "np": np}
    for block in python_blocks((DOCS / page).read_text(encoding="utf-8")):
        if any(line in block.code for line in wanted):
            exec(compile(block.code, page, "exec"), names)
    return names, printed


def titled(axes, title, xlabel="", **more):
    axes.set_title(title, fontsize=10)
    axes.set(xlabel=xlabel, **more)
    axes.grid(alpha=0.3)


# Optimizers -----------------------------------------------------------------------------------------------------------


def bowl(say=str):
    """A valley ten times as steep as it is flat: the ways of the three methods, and the distance on the page's bowl."""
    names, _ = names_of("optim.md", "def steps_to(")
    figure = new_figure(10, 3.2)
    way, distance = figure.subplots(1, 2, width_ratios=(1.4, 1))
    side, up = np.linspace(-0.4, 1.1, 200), np.linspace(-1.6, 1.3, 200)
    height = 0.5 * (side[None] ** 2 + 10 * up[:, None] ** 2)
    way.contour(side, up, height, levels=np.geomspace(0.02, 12, 10), colors="#cccccc", linewidths=0.8)
    for (label, color, options), (_, _, steep) in zip(methods(10), methods(100), strict=True):
        places = walk(names, np.array([[1.0, 10]]), 60, options)
        way.plot(*places.T, color=color, marker=".", markersize=5, linewidth=1, label=say(label))
        far = np.linalg.norm(walk(names, np.array([[1.0, 10, 100]]), 380, steep), axis=1)
        last = int(np.argmax(far < 1e-3))
        distance.plot(far[: last + 1], color=color, label=f"{say(label)}: {last}")
    titled(way, "h = 1, 10", "w1", ylabel="w2", xlim=(-0.4, 1.1), ylim=(-1.6, 1.3))
    titled(distance, "h = 1, 10, 100: |w|", say("step"), yscale="log")
    way.legend(fontsize=8)
    distance.legend(fontsize=8)
    return figure


def methods(kappa):
    """Each method with the learning rate and momentum that the page derives for curvatures of 1 to kappa."""
    root = np.sqrt(kappa)
    momentum = (root - 1) / (root + 1)
    return [
        ("plain", GREY, {"lr": 2 / (1 + kappa)}),
        ("momentum", BLUE, {"lr": (2 / (1 + root)) ** 2, "momentum": momentum**2}),
        ("nesterov", RED, {"lr": 1 / kappa, "momentum": momentum, "nesterov": True}),
    ]


def walk(names, h, steps, options):
    """The places from (1, 1, ...) on, on L = sum of h * w^2 / 2."""
    w, places = names["Parameter"](np.ones_like(h)), []
    optimizer = names["SGD"]([w], **options)
    for _ in range(steps):
        places.append(w.data[0])
        w.grad = h * w.data
        optimizer.step()
    return np.array(places)


# Training -------------------------------------------------------------------------------------------------------------

LINE = re.compile(r"step +(\d+) +training ([\d.]+) .* validation ([\d.]+)")


def parting(say=str):
    """The two runs of the page: their losses part without weight decay, and hardly with it."""
    names, printed = names_of("training.md", "def loss_and_accuracy(")
    names["train"](weight_decay=0.3)
    rows = np.array([[float(number) for number in LINE.match(line).groups()] for line in printed])
    figure = new_figure(8, 3)
    runs = {"weight_decay=0": rows[:5], "weight_decay=0.3": rows[5:]}
    for axes, (title, run) in zip(figure.subplots(1, 2, sharey=True), runs.items(), strict=True):
        steps, train, validation = run.T
        axes.fill_between(steps, train, validation, color="#eeeeee")
        axes.plot(steps, train, color=BLUE, marker="o", markersize=3, label=say("training loss"))
        axes.plot(steps, validation, color=RED, marker="o", markersize=3, label=say("validation loss"))
        axes.axhline(np.log(10), color=GREY, linestyle=":", linewidth=1, label="ln 10")
        titled(axes, title, say("step"))
    axes.set_ylim(0, None)
    axes.legend(fontsize=8, loc="lower left")
    return figure


# Activations ----------------------------------------------------------------------------------------------------------


def slopes():
    """Three activations and their slopes, as their backward passes give them for dy = 1."""
    from minires.layers import relu, sigmoid, tanh

    x = np.linspace(-4, 4, 801)
    figure = new_figure(8, 2.6)
    for axes, function in zip(figure.subplots(1, 3, sharey=True), (relu, sigmoid, tanh), strict=True):
        y, backward = function(x)
        slope = backward(np.ones_like(x))
        if function is relu:
            slope[400] = np.nan  # the jump at 0 is no line
        axes.plot(x, y, color=BLUE, label="y")
        axes.plot(x, slope, color=RED, linestyle="--", label="dy/dx")
        titled(axes, function.__name__, "x", ylim=(-1.2, 2.2))
    axes.legend(fontsize=8, loc="lower right")
    return figure


def sizes(say=str):
    """How numbers and gradients grow or shrink with depth, for first weights of three sizes: the page's chain."""
    names, _ = names_of("layers/activations.md", "def chain(", "from minires.layers import")
    figure = new_figure(8, 2.8)
    panels = figure.subplots(1, 2, sharey=True)
    depths = np.arange(1, 21)
    for factor, color in ((1, RED), (2, BLUE), (4, GREEN)):
        found = [names["chain"](names["relu"], factor / names["C"], depth) for depth in depths]
        for axes, numbers in zip(panels, zip(*found, strict=True), strict=True):
            axes.plot(depths, numbers, color=color, marker=".", label=f"{say('variance')} {factor} / C")
    for axes, title in zip(panels, ("y", "dx"), strict=True):
        titled(axes, say("root mean square of {}").format(title), say("layers"), yscale="log")
        axes.set_xticks([1, 5, 10, 15, 20])
    axes.legend(fontsize=8, loc="upper left")
    return figure


# Batch norm -----------------------------------------------------------------------------------------------------------


def projection():
    """Three values of one channel as a vector: dy, the plane of 1 and x_hat that is taken off it, and dx."""
    from minires.layers import batch_norm

    x, dy = np.array([1.0, 2, 6]), np.array([-1.2, 2.2, 1.0])
    gamma = x.std()  # so that the factor in front is 1
    y, backward = batch_norm(x[:, None], None, None, np.array([gamma]), np.zeros(1), training=True, eps=0.0)
    ones, x_hat, dx = np.ones(3), y.ravel() / gamma, backward(dy[:, None])[0].ravel()
    figure = new_figure(4.4, 3.6)
    axes = figure.add_subplot(projection="3d", computed_zorder=False)
    corners = [a * ones + b * x_hat for a, b in ((-0.5, -0.7), (1.3, -0.7), (1.3, 1.3), (-0.5, 1.3))]
    axes.plot_trisurf(*np.array(corners).T, triangles=[(0, 1, 2), (0, 2, 3)], color="#bbbbbb", alpha=0.35)
    for vector, color, label in ((ones, GREY, "1"), (x_hat, GREY, "x\u0302"), (dy, RED, "dy"), (dx, BLUE, "dx")):
        axes.quiver(0, 0, 0, *vector, color=color, arrow_length_ratio=0.1, linewidth=2)
        axes.text(*(1.12 * vector), label, color=color, fontsize=12)
    axes.plot(*np.stack([dy, dy - dx]).T, color=RED, linestyle=":")
    axes.plot(*np.stack([dy, dx]).T, color=BLUE, linestyle=":")
    axes.set_aspect("equal")
    axes.set_box_aspect(None, zoom=1.5)
    axes.set_axis_off()
    axes.view_init(elev=20, azim=90)
    return figure


def spread():
    """What a first convolution makes of drawn shapes, four of its channels, before batch norm and after it."""
    from minires.layers import batch_norm, conv2d

    dataset = data.make_synthetic(train=64, test=1)
    weight = np.random.default_rng(3).standard_normal((4, 3, 3, 3)) * np.array([0.1, 0.4, 1, 2])[:, None, None, None]
    images = data.normalize(dataset.train_images, *data.channel_mean_std(dataset.train_images)).astype(np.float64)
    z, _ = conv2d(images, weight, np.array([0.0, 2, -1, 3]), padding=1)
    y, _ = batch_norm(z, None, None, training=True)
    figure = new_figure(8, 2.6)
    for axes, values, title in zip(figure.subplots(1, 2), (z, y), ("x", "x\u0302"), strict=True):
        for c, color in enumerate((BLUE, RED, GREEN, GREY)):
            low, high = np.percentile(values, (0.5, 99.5))
            axes.hist(values[..., c].ravel(), bins=120, range=(low, high), density=True, histtype="step", color=color)
        titled(axes, title, yticks=[])
    return figure


# From a linear classifier to ResNet-20 --------------------------------------------------------------------------------

ROW = re.compile(r"^\| `(\w+)` \| [\d,]+ \| \w+ \| [\d.]+ \| [\d.]+ \| ([\d.]+) % \| ([\d.]+) % \|$", re.M)


def accuracies(say=str):
    """The page's table as bars."""
    rows = ROW.findall((DOCS / "linear_to_resnet.md").read_text(encoding="utf-8"))
    figure = new_figure(8, 3.2)
    axes = figure.subplots()
    for i, (_, train, test) in enumerate(rows):
        axes.barh(i, float(train), 0.8, color="#cfe3f5", label="" if i else say("training"))
        axes.barh(i, float(test), 0.45, color=BLUE, label="" if i else say("test"))
    axes.axvline(10, color=GREY, linestyle=":", linewidth=1)
    titled(axes, "", "%", xlim=(0, 100))
    axes.set_yticks(range(len(rows)), [name for name, *_ in rows])
    axes.invert_yaxis()
    axes.legend(fontsize=8, loc="upper right")
    return figure


def templates():
    """The ten rows of weights of `linear`, as training left them, as images."""
    import linear_to_resnet as tour

    dataset = data.make_synthetic(train=5_000, test=10)
    model, _, _ = tour.train("linear", 0, dataset, 5, tour.NETWORKS["linear"][1])
    start, end = tour.linear(0)[1].weight.data, model[1].weight.data
    figure, panels = image_grid(10, 10, 0.95, 1.15)
    moved = (end - start).reshape(10, 32, 32, 3)
    for axes, template, name in zip(panels, moved, dataset.classes, strict=True):
        axes.imshow(0.5 + 0.5 * template / np.abs(moved).max())
        axes.set_title(name, fontsize=9)
    return figure


def fields():
    """One picture, and how much of it one number of the last feature map can depend on."""
    import linear_to_resnet as tour

    dataset = data.make_synthetic(train=40, test=10)
    image = dataset.train_images[np.flatnonzero(dataset.train_labels == dataset.classes.index("star"))[0]]
    networks = ("convolution", "pooling", "plain20")
    figure, panels = image_grid(3, 3, 2.1, 2.3)
    for axes, name in zip(panels, networks, strict=True):
        size = tour.receptive_field(tour.NETWORKS[name][0](0))
        axes.imshow(image)
        corner = 16 - size / 2
        square = np.array([[0, 0], [0, size], [size, size], [size, 0], [0, 0]]) + corner - 0.5
        axes.plot(*square.T, color="#ffffff", linewidth=3.5)
        axes.plot(*square.T, color="#000000", linewidth=1.5)
        room = max(0, (size - 32) / 2) + 2
        axes.set(xlim=(-room, 31 + room), ylim=(31 + room, -room))
        axes.set_title(f"{name}: {size}x{size}", fontsize=9)
    return figure


PICTURES = {
    "optim-bowl": bowl,
    "training-parting": parting,
    "activations-slopes": slopes,
    "activations-sizes": sizes,
    "batch-norm-projection": projection,
    "batch-norm-spread": spread,
    "linear-to-resnet-accuracies": accuracies,
    "linear-to-resnet-templates": templates,
    "linear-to-resnet-fields": fields,
}
WITH_WORDS = ("optim-bowl", "training-parting", "activations-sizes", "linear-to-resnet-accuracies")
ALL = PICTURES | {f"{name}-zh": functools.partial(PICTURES[name], in_chinese) for name in WITH_WORDS}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(ALL)}; default: all")
    parser.add_argument("--out", type=Path, default=DOCS / "images", help="the folder to write to")
    args = parser.parse_args(argv)
    if unknown := set(args.names) - set(ALL):
        parser.error(f"no picture is called {', '.join(sorted(unknown))}: there are {', '.join(ALL)}")
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.names or ALL:
        write_png(ALL[name](), args.out / f"{name}.png", colours=128)


if __name__ == "__main__":
    main()
