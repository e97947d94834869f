"""Positions: the pixels of a pyramid's maps, each of which looks for one object around it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

STRIDES = (4, 8, 16)  # pixels of the image from one position to the next, level by level


class Positions(NamedTuple):
    """The M positions of an image, level by level and row by row.

    x, y (M,) float32: the middles of their cells, in pixels of the image.   stride (M,) float32: a cell's side.
    """

    x: np.ndarray
    y: np.ndarray
    stride: np.ndarray


def positions(size: int, strides: Sequence[int] = STRIDES) -> Positions:
    """x = (column + 1/2) * stride, y = (row + 1/2) * stride, of every level of a square image.

    Raises ValueError for a size that the largest stride does not divide.
    """
    if size < 1 or size % max(strides):
        raise ValueError(f"positions: size {size} must be a multiple of the largest stride, {max(strides)}")
    rows = []
    for stride in strides:
        middles = (np.arange(size // stride, dtype=np.float32) + 0.5) * stride
        y, x = np.meshgrid(middles, middles, indexing="ij")
        rows.append([x.ravel(), y.ravel(), np.full(x.size, stride, np.float32)])
    return Positions(*(np.concatenate(parts) for parts in zip(*rows, strict=True)))
