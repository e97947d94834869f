"""The drawings of docs/detection.md that need no trained network, from the functions that they are about.

    python examples/experiments/detection_pictures.py --out DIR

Writes targets.png, a scene and the positions that are to find its objects; focal.png, the derivatives of cross-entropy
and of focal loss; and pyramid.png, numbers that go through a pyramid forwards and backwards.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that a fresh clone runs without being installed

import numpy as np

from minires.cli import runs
from minires.cli.console import Parser
from minires.detection import FeaturePyramid, assign_targets, positions
from minires.detection.positions import STRIDES
from minires.detection.scenes import drawn_scenes
from minires.inspection.pictures.detections import COLOURS
from minires.inspection.pictures.figures import BLUE, GREEN, GREY, RED, new_figure, write_png
from minires.losses import sigmoid_focal_loss


def main():
    """Run the command line; returns the exit code."""
    return runs.call(run, lambda: command_line().parse_args())


def run(args):
    """Draw everything; returns the exit code."""
    args.out.mkdir(parents=True, exist_ok=True)
    for name, draw in (("targets", draw_targets), ("focal", draw_focal), ("pyramid", draw_pyramid)):
        write_png(draw(), args.out / f"{name}.png", colours=64 if name != "targets" else 256)
    print(f"wrote {args.out}/targets.png, focal.png and pyramid.png")
    return 0


def draw_targets(number=9, seed=1):
    """The positions of each level over a scene: grey, or in the colour of the class that they are to find."""
    from matplotlib.patches import Rectangle

    boxed, where = drawn_scenes(number + 1, 64, seed), positions(64)
    image, boxes = boxed.images[number], boxed.boxes[number]
    labels, _ = assign_targets(boxes, where)
    figure = new_figure(9.6, 3.4)
    for axes, stride in zip(figure.subplots(1, 3), STRIDES, strict=True):
        axes.imshow(image, extent=(0, 64, 64, 0), alpha=0.75)
        for x1, y1, x2, y2, label in boxes:
            colour = COLOURS[int(label) % len(COLOURS)]
            axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=1.8))
        of_level = where.stride == stride
        axes.scatter(where.x[of_level], where.y[of_level], s=9, color="white", edgecolors=GREY, linewidths=0.5)
        for label in set(labels[of_level & (labels >= 0)]):
            own = of_level & (labels == label)
            colour = COLOURS[label % len(COLOURS)]
            axes.scatter(where.x[own], where.y[own], s=30, color=colour, edgecolors="white", linewidths=0.8)
        reach = f"to {4 * stride} pixels" if stride != STRIDES[-1] else f"over {2 * stride} pixels"
        axes.set_title(f"stride {stride}: boxes {reach}", fontsize=9)
        axes.set_axis_off()
    return figure


def draw_focal():
    """Loss and derivative over the probability of what is true, of focal loss with gamma 0, 1, 2 and 5."""
    figure = new_figure(9.2, 3.6)
    p = np.linspace(0.005, 0.995, 397)
    logits = np.log(p / (1 - p))
    losses, slopes = figure.subplots(1, 2)
    for gamma, colour in ((0, GREY), (1, GREEN), (2, RED), (5, BLUE)):
        pairs = [sigmoid_focal_loss(np.array([logit]), np.array([1]), None, gamma) for logit in logits]
        name = "cross-entropy" if gamma == 0 else f"gamma {gamma}"
        losses.plot(p, [float(loss) for loss, _ in pairs], color=colour, label=name)
        slopes.semilogy(p, [-float(backward()[0]) for _, backward in pairs], color=colour, label=name)
    losses.set_ylabel("loss")
    slopes.set_ylabel("length of its derivative")
    slopes.set_ylim(1e-6, 3)
    for axes in (losses, slopes):
        axes.set_xlabel("p, the probability of what is true")
        axes.grid(alpha=0.3)
    losses.legend(fontsize=8)
    return figure


def draw_pyramid():
    """Three levels of one pixel and weights of 1: what goes up and down, as FeaturePyramid itself finds it."""
    pyramid = FeaturePyramid((1, 1, 1), 1, rng=0).to(np.float64)
    for parameter in pyramid.parameters():
        parameter.data = np.zeros_like(parameter.data)
        if parameter.data.ndim == 4:
            parameter.data[..., parameter.shape[2] // 2, parameter.shape[3] // 2] = 1
    maps, doutputs = ([np.full((1, 1, 1, 1), value) for value in of] for of in ((1.0, 10.0, 100.0), (1.0, 2.0, 4.0)))
    outputs, backward = pyramid(maps)
    dmaps = backward(doutputs)
    figure = new_figure(9.6, 3.8, layout=None)
    for n, (title, left, right, forward) in enumerate(
        (("forward: sums of maps", maps, outputs, True), ("backward: sums of gradients", dmaps, doutputs, False))
    ):
        axes = figure.add_axes((0.5 * n, 0, 0.5, 0.9))
        axes.set_xlim(0, 10)
        axes.set_ylim(0, 9.6)
        axes.set_axis_off()
        axes.set_title(title, fontsize=10)
        _levels(axes, left, right, forward)
    return figure


def _levels(axes, left, right, forward):
    """Boxes and arrows of one direction; the coarsest level is on top."""
    ink, d = (BLUE, "") if forward else (RED, "d")
    middle = right if forward else left  # what is summed: M forwards, dM backwards; their outputs have the same numbers
    for level in range(3):
        y = 1.3 + 3 * level
        for x, name, value in ((1.6, "C", left[level]), (5, "M", middle[level]), (8.4, "P", right[level])):
            text = f"{d}{name}{level + 4}\n{value.item():g}"
            box = {"boxstyle": "round,pad=0.45", "facecolor": "white", "edgecolor": ink}
            axes.text(x, y, text, ha="center", va="center", fontsize=10, bbox=box)
        for start, end in ((2.5, 4.1), (5.9, 7.5)):
            _arrow(axes, (start, y), (end, y), forward, ink)
        if level < 2:
            _arrow(axes, (5, y + 2.1), (5, y + 0.9), forward, ink)
            axes.text(5.25, y + 1.5, "up" if forward else "up, transposed", fontsize=8, va="center", color=ink)


def _arrow(axes, start, end, forward, ink):
    first, last = (start, end) if forward else (end, start)
    axes.annotate("", xy=last, xytext=first, arrowprops={"arrowstyle": "->", "color": ink, "linewidth": 1.4})


def command_line():
    """The parser."""
    parser = Parser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/detection-pictures"), metavar="DIR")
    return parser


if __name__ == "__main__":
    sys.exit(main())
