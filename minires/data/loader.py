"""Batches of an epoch, the same ones whether the epoch was begun at its start or in its middle."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from minires.backend import array_module, count_each, resolve_device, to_device, to_numpy
from minires.data.augment import Augment, normalizer
from minires.data.balanced import draw_evenly
from minires.data.mix import Mix
from minires.data.pieces import Piece, parts_of
from minires.data.randaugment import RandAugment
from minires.data.stream import Pictures
from minires.shards import Batch, cut
from minires.types import Array

# The purpose of a random stream, the second number of its seed. None is 0: [s] and [s, 0] seed the same stream.
_SHUFFLE, _AUGMENT, _MIX, _DISTORT = 1, 2, 3, 4


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
    distort        None, or a RandAugment, which gets the bytes; images then stay on the host until they are asked for
    mix            None, or a Mix, after which labels are soft
    drop_last      leave a smaller last batch out
    least_last     a last batch of fewer images joins the one before it: 2 for batch norm behind which an image is a
                   single pixel, since it learns nothing from one value a channel
    balanced       with shuffle: an epoch has N images still, but as many of each class, to one: those of a rare class
                   several times, of a common one only some, others in every epoch

    A loader has no state. The order of epoch e comes from a stream seeded with (seed, e); how its batch b is distorted,
    augmented and mixed, from streams seeded with (seed, e, b): any batch can be made without making those
    before it.

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
        mix: Mix | None = None,
        distort: RandAugment | None = None,
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
        if mix is not None and labels.max() >= mix.num_classes:
            raise ValueError(
                f"Loader: labels up to {labels.max()}, and mix has {mix.num_classes} classes: give it more"
            )
        self.device = resolve_device(device)
        self.distort = distort
        self.images = images if isinstance(images, Pictures) or distort else to_device(images, self.device)
        self.labels = to_device(labels.astype(np.int64), self.device)
        self.balanced, self.least_last = balanced, least_last
        self.batch_size, self.drop_last = batch_size, drop_last
        self.mean, self.std, self.augment, self.mix = tuple(mean), tuple(std), augment, mix
        self._normalize = normalizer(self.mean, self.std, images.shape[2:], self.device)
        self.shuffle, self.seed = shuffle, seed

    def __len__(self) -> int:
        """Batches in an epoch."""
        whole, rest = divmod(len(self.images), self.batch_size)
        return (
            whole if self.drop_last or (whole and rest < self.least_last) else -(-len(self.images) // self.batch_size)
        )

    def counts(self, classes: int) -> np.ndarray:
        """int64 (classes,): how many images each class has."""
        return count_each(to_numpy(self.labels), classes)

    def epoch(self, number: int, start: int = 0, step: int = 1) -> Iterator[tuple[Array, Array]]:
        """Yield `(x, labels)` for the batches start, start + step, ... of epoch `number`.

        x: float32 (B, H, W, C), normalised and augmented.   labels: int64 (B,), or float32 (B, classes) with a Mix.
        Both on the loader's device, and the caller's own: what is written into them changes no later batch.
        Raises ValueError for a start beyond the epoch's end; at its end there is simply nothing to yield.
        """
        self._check_start(start)
        spans = self._spans()
        whole = []
        for b in range(start, len(self), step):
            size = spans[b].stop - spans[b].start
            whole.append(Piece.whole(b, spans[b].start, size, self._mixing(number, b, size)))
        return self._made(number, whole, self._order(number))

    def sharded(
        self, number: int, start: int = 0, shards: int = 1, mine: Callable[[int], Sequence[int]] = range
    ) -> Iterator[Batch]:
        """Yield the batches start, start + 1, ... of epoch `number`, each cut into `shards` of nearly one size.

        mine(count): which of a batch's `count` shards are made here; of those of others nothing but the labels is. A
        Batch's shards are taken before the next Batch. An `Augment` does to an image what it does to it in an uncut
        batch; another function gets a generator seeded with (seed, epoch, batch, shard). With a Mix an image has the
        partner of the uncut batch, which is made here once more. Raises ValueError as `epoch`.
        """
        self._check_start(start)
        return self._cut(number, start, shards, mine)

    def _cut(self, number, start, shards, mine):
        order, spans = self._order(number), self._spans()
        cuts = [cut(span.stop - span.start, shards) for span in spans]
        mixings = {b: self._mixing(number, b, cuts[b][-1].stop) for b in range(start, len(self))}
        pieces = [
            Piece.of_shard(b, spans[b].start, inside, shard, mixings[b])
            for b in range(start, len(self))
            for shard, inside in enumerate(cuts[b])
            if shard in mine(len(cuts[b]))
        ]
        made = self._made(number, pieces, order)
        labels = to_numpy(self.labels)
        labels = labels if order is None else labels[order]
        for b in range(start, len(self)):
            own, mixing = labels[spans[b]], mixings[b]
            if self.mix is not None and mixing is not None:
                own = self.mix.labels(own, own[mixing.partners], mixing)
            yield Batch(own, cuts[b], mine(len(cuts[b])), lambda shard: next(made))

    def _mixing(self, number, b, size):
        """What batch b of epoch `number`, of this size, is mixed by."""
        if self.mix is None:
            return None
        return self.mix.draw(size, self.images.shape[1:3], np.random.default_rng([self.seed, _MIX, number, b]))

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
        parts, places = parts_of(pieces), None
        if chosen and not isinstance(chosen[0], slice):
            places = to_device(np.concatenate(chosen), self.device)
        images = self._on_the_host(number, pieces, chosen)
        augment, mix = self._augmentation(number, pieces), self._mix_of(pieces)
        for index in range(len(pieces)):
            array_module(self.labels)  # of several GPUs it is theirs that computes
            batch = chosen[index] if places is None else places[parts[index]]
            pixels = self.images[batch] if images is None else to_device(next(images), self.device)
            x, labels = mix(index, augment(index, self._normalize(pixels)), self.labels[batch])
            yield x, labels.copy() if places is None else labels  # what is written into them changes no later batch

    def _on_the_host(self, number, pieces, chosen):
        """The pieces' pixels where they come from the host, distorted if they are to be; None where they do not."""
        if isinstance(self.images, Pictures):
            images = self.images.batches(chosen)
        elif self.distort is None:
            return None
        else:
            images = (self.images[its] for its in chosen)
        return images if self.distort is None else self._distorted(self.distort, number, pieces, images)

    def _distorted(self, distort, number, pieces, images):
        """The images of each piece distorted: an image as in an uncut batch, whoever makes it."""
        spans = self._spans()
        for piece, its in zip(pieces, images, strict=True):
            rng = np.random.default_rng([self.seed, _DISTORT, number, piece.batch])
            drawn = distort.draw(spans[piece.batch].stop - spans[piece.batch].start, rng)
            yield distort.apply(its, {name: array[piece.rows] for name, array in drawn.items()})

    def _mix_of(self, pieces):
        """function(index, x, labels) -> piece `index` mixed, which holds its partners or has them behind its own."""
        mix = self.mix
        if mix is None or not pieces:
            return lambda index, x, labels: (x, labels)
        others: Sequence[Any] = [slice(piece.own, 2 * piece.own) for piece in pieces]
        if pieces[0].shard is None:
            partners = to_device(np.concatenate([piece.mixing.partners for piece in pieces]), self.device)
            others = [partners[part] for part in parts_of(pieces)]

        def apply(index, x, labels):
            piece, its = pieces[index], others[index]
            images = mix.images(x[: piece.own], x[its], piece.mixing)
            return images, mix.labels(labels[: piece.own], labels[its], piece.mixing)

        return apply

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
            drawn += [{name: array[piece.rows] for name, array in all_of_it.items()} for piece in of_batch]
        parts = parts_of(pieces)
        whole = {name: to_device(np.concatenate([each[name] for each in drawn]), self.device) for name in drawn[0]}

        def apply(index, x):
            return augment.apply(x, {name: array[parts[index]] for name, array in whole.items()})

        return apply

    def _order(self, number):
        """The images' numbers in the order of an epoch, on the host; None: as they stand."""
        if not self.shuffle:
            return None
        rng = np.random.default_rng([self.seed, _SHUFFLE, number])
        return draw_evenly(to_numpy(self.labels), rng) if self.balanced else rng.permutation(len(self.images))
