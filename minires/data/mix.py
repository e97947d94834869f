"""Two images in one, and of their labels as much of each: mixup and CutMix.

The functions are pure: what happens to a batch is an argument, and `Mix` draws it. Derivation: docs/strong_training.md.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np

from minires.backend import array_module, elementwise
from minires.types import Array

Box: TypeAlias = tuple[int, int, int, int]


def mixup(images: Array, others: Array, share: float) -> Array:
    """y = share * images + (1 - share) * others

    images, others: floating-point (N, H, W, C), normalised.   Returns a new array of their shape and dtype.
    Source: Zhang et al. 2018, mixup: beyond empirical risk minimization, section 2.
    """
    return elementwise(_mixed, images, others, share=float(share))


def _mixed(image, other, share):
    return share * image + (1 - share) * other


def cutmix(images: Array, others: Array, box: Box) -> Array:
    """images, of which the rows top to bottom - 1 and the columns left to right - 1 are those of others.

    images, others: (N, H, W, C), any dtype.   box: (top, bottom, left, right).   Returns a new array.
    Source: Yun et al. 2019, CutMix: regularization strategy to train strong classifiers with localizable features,
    section 3.1.
    """
    top, bottom, left, right = box
    y = array_module(images, others).array(images)
    y[:, top:bottom, left:right] = others[:, top:bottom, left:right]
    return y


def mixed_labels(labels: Array, others: Array, share: float, num_classes: int) -> Array:
    """share * one-hot(labels) + (1 - share) * one-hot(others): float32 (N, classes), for `cross_entropy`.

    labels, others: integers (N,), on one device.
    """
    classes = array_module(labels, others).arange(num_classes)
    first, second = ((one[:, None] == classes).astype(np.float32) for one in (labels, others))
    return share * first + (1 - share) * second


class Mixing(NamedTuple):
    """What happens to one batch: with whom image n is mixed (N,), how much of it stays, CutMix's Box or None."""

    partners: np.ndarray
    share: float
    box: Box | None


@dataclass(frozen=True)
class Mix:
    """Mix each image of a batch with another of the batch, all by one share, which is drawn anew for each batch.

    num_classes   of the labels
    mixup         alpha of the Beta(alpha, alpha) that mixup's share comes from; 0: no mixup
    cutmix        the same of CutMix. Where both are given, each batch has one of them, drawn evenly

    Raises ValueError for an alpha below 0, for both 0, and for fewer than two classes.
    """

    num_classes: int
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self):
        for name in ("mixup", "cutmix"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"Mix: {name} is {getattr(self, name)}, expected 0 (off) or a number above: 0.2, or 1")
        if self.mixup == self.cutmix == 0:
            raise ValueError("Mix: mixup and cutmix are both 0, and nothing would be mixed: give one of them")
        if self.num_classes < 2:
            raise ValueError(f"Mix: num_classes is {self.num_classes}, expected at least 2")

    def draw(self, n: int, size: tuple[int, int], rng: np.random.Generator) -> Mixing:
        """What shall happen to a batch of n images of this size (H, W)."""
        partners, cuts = rng.permutation(n), rng.random() < 0.5
        if not self.mixup or (self.cutmix and cuts):
            box = draw_box(float(rng.beta(self.cutmix, self.cutmix)), size, rng)
            top, bottom, left, right = box
            return Mixing(partners, 1 - (bottom - top) * (right - left) / (size[0] * size[1]), box)
        return Mixing(partners, float(rng.beta(self.mixup, self.mixup)), None)

    def images(self, images: Array, others: Array, mixing: Mixing) -> Array:
        """A new batch of images mixed with `others`, which are their partners."""
        if mixing.box is None:
            return mixup(images, others, mixing.share)
        return cutmix(images, others, mixing.box)

    def labels(self, labels: Array, others: Array, mixing: Mixing) -> Array:
        """The labels of that batch, (N, num_classes)."""
        return mixed_labels(labels, others, mixing.share, self.num_classes)


def draw_box(share: float, size: tuple[int, int], rng: np.random.Generator) -> Box:
    """A box of the image's shape and of 1 - share of its area, anywhere; what sticks out over a border is cut off.

    side = sqrt(1 - share) * side of the image, rounded down; the centre is any pixel.
    """
    sides = []
    for whole in size:
        half, centre = int(whole * math.sqrt(1 - share)) / 2, int(rng.integers(whole))
        sides += [max(0, math.ceil(centre - half)), min(whole, math.ceil(centre + half))]
    top, bottom, left, right = sides
    return top, bottom, left, right
