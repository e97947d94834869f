"""Batches of an epoch, the same ones whether the epoch was begun at its start or in its middle."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from minires.backend import array_module, resolve_device, to_device, to_numpy
from minires.data.augment import Augment, normalizer
from minires.data.stream import Pictures
from minires.shards import Batch, cut
from minires.types import Array

# The purpose of a random stream, the second number of its seed. None is 0: [s] and [s, 0] seed the same stream.
_SHUFFLE, _AUGMENT = 1, 2


class _Piece(NamedTuple):
    """A batch, or a shard of it: where it lies in the order of the epoch, and where in the batch."""

    batch: int
    span: slice
    inside: slice
    shard: int | None = None

    @property
    def place(self):
        return (self.batch,) if self.shard is None else (self.batch, self.shard)


class Loader:
    """Batches of normalised images and their labels, on one device.

    images         uint8 (N, H, W, C); moved to the device once, as bytes; on the CPU the given array, only read. Or
                   `Pictures`, decoded batch by batch in worker threads
    labels         integers (N,)
    batch_size     images in a batch; the last one of an epoch is smaller where N is no multiple of it
    mean, std      C floats each, of the training set: see channel_mean_std
    augment        None, or a function (images, rng) -> images, such as Augment(); it gets normalised images
    shuffle        a new order in every epoch
    seed           of the order and of the augmentation
    device         "cpu", "gpu", "gpu:1" or "auto"
    drop_last      leave a smaller last batch out
    least_last     a last batch of fewer images joins the one before it: 2 for batch norm behind which an image is a
                   single pixel, since it learns nothing from one value a channel
    balanced       with shuffle: an epoch has N images still, but as many of each class, to one: those of a rare class
                   several times, of a common one only some, others in every epoch

    A loader has no state. The order of epoch e comes from a stream seeded with (seed, e), the augmentation of its
    batch b from one seeded with (seed, e, b): any batch can be made without making those before it.

    Raises ValueError for an empty set, as many labels as there are not images, or a batch size that gives no batch.
    """

    def __init__(
        self,
        images: Array | Pictures,
        labels: Array,
        batch_size: int,
        mean: Iterable[float],
        std: Iterable[float],
        augment: Callable[[Array, np.random.Generator], Array] | None = None,
        shuffle: bool = False,
        seed: int = 0,
        device: str = "cpu",
        drop_last: bool = False,
        balanced: bool = False,
        least_last: int = 1,
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
        if balanced and not shuffle:
            raise ValueError("Loader: balanced draws the images of an epoch: give shuffle=True as well")
        self.device = resolve_device(device)
        self.images = images if isinstance(images, Pictures) else to_device(images, self.device)
        self.labels = to_device(labels.astype(np.int64), self.device)
        self.balanced, self.least_last = balanced, least_last
        self.batch_size, self.drop_last = batch_size, drop_last
        self.mean, self.std, self.augment = tuple(mean), tuple(std), augment
        self._normalize = normalizer(self.mean, self.std, images.shape[2:], self.device)
        self.shuffle, self.seed = shuffle, seed

    def __len__(self) -> int:
        """Batches in an epoch."""
        whole, rest = divmod(len(self.images), self.batch_size)
        return (
            whole if self.drop_last or (whole and rest < self.least_last) else -(-len(self.images) // self.batch_size)
        )

    def epoch(self, number: int, start: int = 0, step: int = 1) -> Iterator[tuple[Array, Array]]:
        """Yield `(x, labels)` for the batches start, start + step, ... of epoch `number`.

        x: float32 (B, H, W, C), normalised and augmented.   labels: int64 (B,).   Both on the loader's device, and the
        caller's own: what is written into them changes no later batch.
        Raises ValueError for a start beyond the epoch's end; at its end there is simply nothing to yield.
        """
        self._check_start(start)
        spans = self._spans()
        whole = [_Piece(b, spans[b], slice(0, spans[b].stop - spans[b].start)) for b in range(start, len(self), step)]
        return self._made(number, whole, self._order(number))

    def sharded(
        self, number: int, start: int = 0, shards: int = 1, mine: Callable[[int], Sequence[int]] = range
    ) -> Iterator[Batch]:
        """Yield the batches start, start + 1, ... of epoch `number`, each cut into `shards` of nearly one size.

        mine(count): which of a batch's `count` shards are made here; of those of others nothing but the labels is. A
        Batch's shards are taken before the next Batch. An `Augment` does to an image what it does to it in an uncut
        batch; another function gets a generator seeded with (seed, epoch, batch, shard). Raises ValueError as `epoch`.
        """
        self._check_start(start)
        return self._cut(number, start, shards, mine)

    def _cut(self, number, start, shards, mine):
        order, spans = self._order(number), self._spans()
        cuts = [cut(span.stop - span.start, shards) for span in spans]
        pieces = [
            _Piece(b, slice(spans[b].start + inside.start, spans[b].start + inside.stop), inside, shard)
            for b in range(start, len(self))
            for shard, inside in enumerate(cuts[b])
            if shard in mine(len(cuts[b]))
        ]
        made = self._made(number, pieces, order)
        labels = to_numpy(self.labels)
        labels = labels if order is None else labels[order]
        for b in range(start, len(self)):
            yield Batch(labels[spans[b]], cuts[b], mine(len(cuts[b])), lambda shard: next(made))

    def _check_start(self, start):
        if not 0 <= start <= len(self):
            raise ValueError(f"Loader: start is {start}, expected 0 to {len(self)}, the batches of an epoch")

    def _spans(self):
        """Where in the order of an epoch each batch lies."""
        ends = [(b + 1) * self.batch_size for b in range(len(self))]
        if not self.drop_last:
            ends[-1] = len(self.images)
        return [slice(b * self.batch_size, end) for b, end in enumerate(ends)]

    def _made(self, number, pieces, order):
        """Yield (x, labels) for each of the pieces of epoch `number`, whose images come in this order."""
        chosen = [piece.span if order is None else order[piece.span] for piece in pieces]
        places = None if order is None else to_device(order, self.device)
        images = self.images.batches(chosen) if isinstance(self.images, Pictures) else None
        augment = self._augmentation(number, pieces)
        for index, piece in enumerate(pieces):
            array_module(self.labels)  # of several GPUs it is theirs that computes
            batch = piece.span if places is None else places[piece.span]
            pixels = self.images[batch] if images is None else to_device(next(images), self.device)
            x, labels = augment(index, self._normalize(pixels)), self.labels[batch]
            yield x, labels.copy() if places is None else labels  # what is written into them changes no later batch

    def _augmentation(self, number, pieces):
        """function(index, x) -> piece `index` augmented. What can be drawn beforehand goes to the device in one go."""
        augment = self.augment
        if augment is None or not pieces:
            return lambda index, x: x
        if type(augment) is not Augment:  # a subclass may do otherwise
            seeds = [[self.seed, _AUGMENT, number, *piece.place] for piece in pieces]
            return lambda index, x: augment(x, np.random.default_rng(seeds[index]))
        size, spans, drawn = self.images.shape[1:3], self._spans(), []
        for b, of_batch in itertools.groupby(pieces, lambda piece: piece.batch):
            rng = np.random.default_rng([self.seed, _AUGMENT, number, b])
            all_of_it = augment.draw(spans[b].stop - spans[b].start, size, rng)
            drawn += [{name: array[piece.inside] for name, array in all_of_it.items()} for piece in of_batch]
        ends = np.cumsum([0] + [piece.span.stop - piece.span.start for piece in pieces]).tolist()
        whole = {name: to_device(np.concatenate([each[name] for each in drawn]), self.device) for name in drawn[0]}

        def apply(index, x):
            part = slice(ends[index], ends[index + 1])
            return augment.apply(x, {name: array[part] for name, array in whole.items()})

        return apply

    def _order(self, number):
        """The images' numbers in the order of an epoch, on the host; None: as they stand."""
        if not self.shuffle:
            return None
        rng = np.random.default_rng([self.seed, _SHUFFLE, number])
        return draw_evenly(to_numpy(self.labels), rng) if self.balanced else rng.permutation(len(self.images))


def draw_evenly(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """N numbers of images in random order, as many of each class that occurs in labels (N,), to one.

    A class with too few images gives all of them again and again, each time in another order; one with too many gives
    some of them, drawn without replacement.
    """
    classes = rng.permutation(np.unique(labels))  # the first ones get what does not divide evenly
    drawn = []
    for place, label in enumerate(classes):
        count = len(labels) // len(classes) + (place < len(labels) % len(classes))
        images = np.flatnonzero(labels == label)
        rounds = [rng.permutation(images) for _ in range(-(-count // len(images)))]
        drawn += [order[: count - done] for order, done in zip(rounds, range(0, count, len(images)), strict=True)]
    return rng.permutation(np.concatenate(drawn))
