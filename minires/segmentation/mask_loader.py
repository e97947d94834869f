"""Batches of images and their masks, which are moved together.

The mask goes through the loader as a fourth channel of its image: whatever shifts, mirrors or blanks out the pixels
does the same to the mask, by construction. As class + 1, so that the 0 that lies beyond an image's edge is a class that
does not count.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from minires.backend import array_module
from minires.data.loader import Loader
from minires.losses.pixel_cross_entropy import IGNORE
from minires.types import Array


class MaskLoader:
    """Batches (x, masks): float32 (B, H, W, 3), normalised and augmented, and int64 (B, H, W), classes or IGNORE.

    images uint8 (N, H, W, 3).   masks uint8 (N, H, W), classes from 0 up, or IGNORE, 255.
    The others are those of Loader, whose order and draws these batches have.
    Raises ValueError for masks of another shape than the images', and as Loader does.
    """

    def __init__(
        self, images: np.ndarray, masks: np.ndarray, batch_size: int, mean: Any, std: Any, **options: Any
    ) -> None:
        if masks.shape != images.shape[:3] or masks.dtype != np.uint8:
            raise ValueError(
                f"MaskLoader: masks are {masks.dtype} of shape {masks.shape}, expected uint8 of {images.shape[:3]}: "
                "one class for each pixel of the images"
            )
        both = np.concatenate([images, masks[..., None] + np.uint8(1)], axis=-1)  # 255 + 1 is 0 in bytes
        plain = (*mean, 0.0), (*std, 1 / 255)  # a mask's numbers stay what they are: x / 255 / (1 / 255)
        self.loader = Loader(both, np.zeros(len(both), np.int64), batch_size, *plain, **options)
        self.masks = masks
        self.images, self.labels, self.device = self.loader.images, self.loader.labels, self.loader.device
        self.mean, self.std = tuple(mean), tuple(std)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.loader)

    def epoch(self, number: int, start: int = 0, step: int = 1) -> Iterator[tuple[Array, Array]]:
        """Yield (x, masks) for the batches start, start + step, ... of epoch `number`, as Loader does."""
        for both, _ in self.loader.epoch(number, start, step):
            xp = array_module(both)
            shifted = xp.rint(both[..., 3]).astype("int64")
            yield xp.ascontiguousarray(both[..., :3]), xp.where(shifted == 0, IGNORE, shifted - 1)

    def counts(self, classes: int) -> np.ndarray:
        """int64 (classes,): how many pixels of the masks each class has."""
        return np.bincount(self.masks.reshape(-1), minlength=classes)[:classes]
