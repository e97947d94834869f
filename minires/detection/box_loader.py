"""Batches of images and of what each position is to find in them, mirrored together."""

from collections.abc import Iterable, Iterator

import numpy as np

from minires.backend import to_device, to_numpy
from minires.data.augment import flip
from minires.data.loader import Loader
from minires.detection.loss import Targets
from minires.detection.positions import Positions, positions
from minires.detection.scenes import BoxedImages
from minires.detection.targets import assign_targets, left_without
from minires.types import Array

_MIRROR = 5  # the second number of a stream's seed, as in minires.data.loader


def mirrored(boxes: np.ndarray, width: int) -> np.ndarray:
    """The boxes of an image of this width once it is mirrored: x1 becomes width - x2, x2 becomes width - x1."""
    x1, y1, x2, y2, label = boxes.T
    return np.stack([width - x2, y1, width - x1, y2, label], axis=1)


class BoxLoader:
    """Batches (x, Targets) of boxed images, on one device; else as `Loader`, which has the images' order.

    mirror: whether half of the images, drawn anew in each epoch, are mirrored, and their boxes with them; which ones
    in batch b of epoch e comes from a stream seeded with (seed, e, b).
    """

    def __init__(
        self,
        boxed: BoxedImages,
        batch_size: int,
        mean: Iterable[float],
        std: Iterable[float],
        mirror: bool = False,
        shuffle: bool = False,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        numbers = np.arange(len(boxed.images))
        self._loader = Loader(
            boxed.images, numbers, batch_size, mean, std, shuffle=shuffle, seed=seed, device=device, least_last=2
        )
        self.boxes, self.mirror, self.seed = boxed.boxes, mirror, seed
        self.images, self.mean, self.std, self.device = (
            getattr(self._loader, name) for name in ("images", "mean", "std", "device")
        )
        self.positions: Positions = positions(boxed.images.shape[1])

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self._loader)

    @property
    def labels(self) -> np.ndarray:
        """All boxes as whole numbers, image by image, by which a run knows its data again: 256ths of a pixel."""
        rows = [np.column_stack([np.full(len(one), n), one * 256]) for n, one in enumerate(self.boxes)]
        return np.rint(np.concatenate(rows)).astype(np.int64)

    def epoch(self, number: int, start: int = 0) -> Iterator[tuple[Array, Targets]]:
        """Yield (x, Targets) for the batches start, start + 1, ... of epoch `number`.

        x: float32 (B, S, S, 3), normalised. Raises ValueError as `Loader`.
        """
        for b, (x, numbers) in enumerate(self._loader.epoch(number, start), start):
            boxes = [self.boxes[n] for n in to_numpy(numbers)]
            if self.mirror:
                turned = np.random.default_rng([self.seed, _MIRROR, number, b]).random(len(x)) < 0.5
                x = flip(x, to_device(turned, self.device))
                width = x.shape[2]
                boxes = [mirrored(one, width) if turn else one for one, turn in zip(boxes, turned, strict=True)]
            yield x, self._targets(boxes)

    def _targets(self, boxes):
        labels, distances = zip(*(assign_targets(one, self.positions) for one in boxes), strict=True)
        return Targets(*(to_device(np.stack(arrays), self.device) for arrays in (labels, distances)))

    def left_without(self) -> int:
        """How many boxes no position is to find."""
        return sum(left_without(one, self.positions) for one in self.boxes)
