"""RandAugment: a few of fourteen changes to each image, drawn evenly, all in one strength.

On bytes, before they are normalised, and on the host: a loader that has one keeps its images there. Page:
docs/strong_training.md.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np

from minires.data import operations as to

Size: TypeAlias = tuple[int, int]
LARGEST = 30  # of the magnitudes, which are 31


class _Operation(NamedTuple):
    """strength(m, (H, W)) of a magnitude m from 0 to 1; signed: as often in the other direction."""

    change: Callable[[np.ndarray, np.ndarray, Sequence[int]], np.ndarray]
    strength: Callable[[float, Size], float]
    signed: bool


def _of_colours(change, strength, signed):
    return _Operation(lambda images, strengths, fill: change(images, strengths), strength, signed)


def _of_places(matrices, strength):
    def change(images, strengths, fill):
        return to.warp(images, matrices(strengths, images.shape[1:3]), fill)

    return _Operation(change, strength, True)


OPERATIONS: dict[str, _Operation] = {
    "identity": _of_colours(to.identity, lambda m, size: 0.0, False),
    "shear x": _of_places(lambda s, size: to.matrices_of(len(s), xy=s), lambda m, size: 0.3 * m),
    "shear y": _of_places(lambda s, size: to.matrices_of(len(s), yx=s), lambda m, size: 0.3 * m),
    "translate x": _of_places(
        lambda s, size: to.matrices_of(len(s), x1=s), lambda m, size: int(150 / 331 * size[1] * m)
    ),
    "translate y": _of_places(
        lambda s, size: to.matrices_of(len(s), y1=s), lambda m, size: int(150 / 331 * size[0] * m)
    ),
    "rotate": _of_places(to.rotations, lambda m, size: math.radians(30 * m)),
    "brightness": _of_colours(to.brightness, lambda m, size: 0.9 * m, True),
    "color": _of_colours(to.color, lambda m, size: 0.9 * m, True),
    "contrast": _of_colours(to.contrast, lambda m, size: 0.9 * m, True),
    "sharpness": _of_colours(to.sharpness, lambda m, size: 0.9 * m, True),
    "posterize": _of_colours(to.posterize, lambda m, size: 8 - round(4 * m), False),
    "solarize": _of_colours(to.solarize, lambda m, size: 255 * (1 - m), False),
    "autocontrast": _of_colours(to.autocontrast, lambda m, size: 0.0, False),
    "equalize": _of_colours(to.equalize, lambda m, size: 0.0, False),
}


@dataclass(frozen=True)
class RandAugment:
    """Changes images (N, H, W, C) of bytes, each by `num_ops` of OPERATIONS, one after the other.

    num_ops     how many; an operation may come twice
    magnitude   of all of them, from 0 to 30
    fill        the colour that comes in from outside where pixels are moved, C bytes

    Operations, strengths and defaults are torchvision's. Raises ValueError for numbers out of range.
    Source: Cubuk et al. 2020, RandAugment: practical automated data augmentation with a reduced search space,
    section 3.
    """

    num_ops: int = 2
    magnitude: int = 9
    fill: tuple[int, ...] = (0, 0, 0)

    def __post_init__(self):
        if self.num_ops < 1:
            raise ValueError(f"RandAugment: num_ops is {self.num_ops}, expected at least 1")
        if not 0 <= self.magnitude <= LARGEST:
            raise ValueError(f"RandAugment: magnitude is {self.magnitude}, expected 0 to {LARGEST}")

    def draw(self, n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """What shall happen to n images: which operations (n, num_ops), and in which direction, 1 or -1."""
        operations = rng.integers(0, len(OPERATIONS), (n, self.num_ops))
        return {"operations": operations, "signs": 1 - 2 * rng.integers(0, 2, (n, self.num_ops))}

    def apply(self, images: np.ndarray, drawn: Mapping[str, np.ndarray]) -> np.ndarray:
        """A new batch of images to which this has happened."""
        y = images.copy()
        for operations, signs in zip(drawn["operations"].T, drawn["signs"].T, strict=True):
            for number in np.unique(operations).tolist():
                chosen = np.flatnonzero(operations == number)
                operation = list(OPERATIONS.values())[number]
                strength = operation.strength(self.magnitude / LARGEST, images.shape[1:3])
                strengths = strength * (signs[chosen] if operation.signed else np.ones(len(chosen)))
                y[chosen] = operation.change(y[chosen], strengths, self.fill)
        return y
