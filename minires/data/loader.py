"""Batches of an epoch, the same ones whether the epoch was begun at its start or in its middle."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from minires.backend import resolve_device, to_device
from minires.data.augment import normalize
from minires.types import Array

# The purpose of a random stream, the second number of its seed. None is 0: [s] and [s, 0] seed the same stream.
_SHUFFLE, _AUGMENT = 1, 2


class Loader:
    """Batches of normalised images and their labels, on one device.

    images         uint8 (N, H, W, C); moved to the device once, as bytes; on the CPU the given array, only read
    labels         integers (N,)
    batch_size     images in a batch; the last one of an epoch is smaller where N is no multiple of it
    mean, std      C floats each, of the training set: see channel_mean_std
    augment        None, or a function (images, rng) -> images, such as Augment(); it gets normalised images
    shuffle        a new order in every epoch
    seed           of the order and of the augmentation
    device         "cpu", "gpu" or "auto"
    drop_last      leave a smaller last batch out

    A loader has no state. The order of epoch e comes from a stream seeded with (seed, e), the augmentation of its
    batch b from one seeded with (seed, e, b): any batch can be made without making those before it.

    Raises ValueError for an empty set, as many labels as there are not images, or a batch size that gives no batch.
    """

    def __init__(
        self,
        images: Array,
        labels: Array,
        batch_size: int,
        mean: Iterable[float],
        std: Iterable[float],
        augment: Callable[[Array, np.random.Generator], Array] | None = None,
        shuffle: bool = False,
        seed: int = 0,
        device: str = "cpu",
        drop_last: bool = False,
    ) -> None:
        if len(images) != len(labels):
            raise ValueError(f"Loader: {len(images)} images and {len(labels)} labels: there must be one for each image")
        if len(images) == 0:
            raise ValueError("Loader: the set is empty: it needs at least one image")
        if batch_size < 1:
            raise ValueError(f"Loader: batch_size is {batch_size}, expected at least 1")
        if drop_last and batch_size > len(images):
            raise ValueError(
                f"Loader: batch_size {batch_size} exceeds {len(images)} images and drop_last leaves no batch: "
                "make the batches smaller"
            )
        if seed < 0:
            raise ValueError(f"Loader: seed is {seed}, expected 0 or more")
        self.device = resolve_device(device)
        self.images = to_device(images, self.device)
        self.labels = to_device(labels.astype(np.int64), self.device)
        self.batch_size, self.drop_last = batch_size, drop_last
        self.mean, self.std, self.augment = tuple(mean), tuple(std), augment
        self.shuffle, self.seed = shuffle, seed

    def __len__(self) -> int:
        """Batches in an epoch."""
        n = len(self.images)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def epoch(self, number: int, start: int = 0) -> Iterator[tuple[Array, Array]]:
        """Yield `(x, labels)` for the batches start, start + 1, ... of epoch `number`.

        x: float32 (B, H, W, C), normalised and augmented.   labels: int64 (B,).   Both on the loader's device, and the
        caller's own: what is written into them changes no later batch.
        Raises ValueError for a start beyond the epoch's end; at its end there is simply nothing to yield.
        """
        if not 0 <= start <= len(self):
            raise ValueError(f"Loader: start is {start}, expected 0 to {len(self)}, the batches of an epoch")
        return self._batches(number, start)

    def _batches(self, number, start):
        order = None
        if self.shuffle:
            rng = np.random.default_rng([self.seed, _SHUFFLE, number])
            order = to_device(rng.permutation(len(self.images)), self.device)
        for b in range(start, len(self)):
            batch: slice | np.ndarray = slice(b * self.batch_size, (b + 1) * self.batch_size)
            if order is not None:
                batch = order[batch]
            x = normalize(self.images[batch], self.mean, self.std)
            if self.augment is not None:
                x = self.augment(x, np.random.default_rng([self.seed, _AUGMENT, number, b]))
            yield x, self.labels[batch].copy()  # a slice alone would let the caller write into the set
