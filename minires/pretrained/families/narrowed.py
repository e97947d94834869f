"""Residual networks whose blocks were pruned to fewer inner channels: what they were before, by their shapes."""

import re

from minires.models.narrow import Widths
from minires.pretrained.skeletons import Shapes

_FIRST = re.compile(r"layer(\d{1,3})\.(\d{1,3})\.conv1\.weight")


def unpruned(shapes: Shapes) -> tuple[Shapes, Widths | None]:
    """(shapes, widths): the shapes of such a network before, and its inner channels; as they are and None of others.

    It is one if all shapes agree with each other, and no block has more inner channels than it had, of which at least
    one has fewer: a basic block had as many as it gives, a bottleneck a quarter of them.
    """
    whole, widths, before = dict(shapes), [], []
    numbers = sorted((int(found[1]), int(found[2])) for key in shapes if (found := _FIRST.fullmatch(key)))
    for block in [f"layer{stage}.{number}" for stage, number in numbers]:  # a file may have 10 before 2
        inside = _inside(shapes, block)
        if inside is None:
            return shapes, None
        widths += inside[0]
        before += [inside[1]] * len(inside[0])
        whole |= _widened(shapes, block, inside[1])
    narrower = any(width < most for width, most in zip(widths, before, strict=True))
    return (whole, tuple(widths)) if narrower else (shapes, None)


def _inside(shapes, block):
    """(inner channels, how many there were in each place) of a block whose shapes agree; None of others."""
    convolutions = [shapes.get(f"{block}.conv{number}.weight", ()) for number in (1, 2, 3)]
    convolutions = convolutions if convolutions[2] else convolutions[:2]
    if any(len(shape) != 4 for shape in convolutions):
        return None
    most = convolutions[-1][0] // (4 if len(convolutions) == 3 else 1)
    widths = [shape[0] for shape in convolutions[:-1]]
    agree = all(shape[1] == width for shape, width in zip(convolutions[1:], widths, strict=True))
    agree &= all(shapes.get(f"{block}.bn{number}.weight") == (width,) for number, width in enumerate(widths, 1))
    return (widths, most) if agree and all(1 <= width <= most for width in widths) else None


def _widened(shapes, block, most):
    """The shapes of a block's arrays with so many inner channels in each place."""
    last = 3 if f"{block}.conv3.weight" in shapes else 2
    widened = {}
    for key, shape in shapes.items():
        if found := re.fullmatch(rf"{re.escape(block)}\.(conv|bn)(\d)\.\w+", key):
            number = int(found[2])
            first = (most,) if number < last else shape[:1]
            second = (most,) if found[1] == "conv" and number > 1 and len(shape) == 4 else shape[1:2]
            widened[key] = (*first, *second, *shape[2:]) if shape else shape
    return widened
