"""A batch cut into shards, and sums over shards in one order, whoever adds which part.

Derivation: docs/scaling.md.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from minires.backend import elementwise_each, to_numpy
from minires.types import Array


def cut(count: int, shards: int) -> list[slice]:
    """Slices that cover range(count) in order, as many as `shards`, but none empty.

        shard s holds  s * count // shards  up to  (s + 1) * count // shards - 1

    so that their sizes differ by at most one. Raises ValueError for less than one shard.
    """
    if shards < 1:
        raise ValueError(f"cut: shards is {shards}, expected at least 1")
    shards = min(shards, count)
    ends = [s * count // max(shards, 1) for s in range(shards + 1)]
    return [slice(start, end) for start, end in itertools.pairwise(ends)]


class Shard(NamedTuple):
    """A part of a batch: its number in the batch, from 0, its images x (n, H, W, C) and its labels (n,)."""

    number: int
    x: Array
    labels: Array


@dataclass(frozen=True)
class Batch:
    """A batch cut into shards.   labels: of all its images, on the host.   parts: where in it each shard lies.

    Iterating gives the Shards that are asked for here, `mine`, each made when its turn comes.
    """

    labels: np.ndarray
    parts: Sequence[slice]
    mine: Sequence[int]
    make: Callable[[int], tuple[Array, Array]]

    @classmethod
    def of(cls, x: Array, labels: Array, shards: int, mine: Callable[[int], Sequence[int]] = range) -> "Batch":
        """A batch x (N, ...) that is there as a whole, cut into `shards`, of which mine(count) are taken here."""
        parts = cut(len(x), shards)
        return cls(to_numpy(labels), parts, mine(len(parts)), lambda shard: (x[parts[shard]], labels[parts[shard]]))

    def __len__(self) -> int:
        """Images in the whole batch."""
        return len(self.labels)

    def __iter__(self) -> Iterator[Shard]:
        for number in self.mine:
            yield Shard(number, *self.make(number))

    def share(self, number: int, class_weights: np.ndarray | None = None) -> float:
        """What a shard counts in the mean over the batch: n_s / N; with class weights (classes,) and integer labels

        sum of weight[labels of the shard] / sum of weight[labels of the batch],  as in `cross_entropy`.
        """
        part = self.parts[number]
        if class_weights is None or self.labels.ndim == 2:
            return (part.stop - part.start) / len(self.labels)
        weights = class_weights[self.labels].astype(np.float64)
        return float(weights[part].sum() / weights.sum())


class Node(NamedTuple):
    """A sum over the shards first .. first + 2^level - 1, those of them that there are: arrays, in one order."""

    first: int
    level: int
    value: list[Array]

    def is_left_of(self, other: "Node") -> bool:
        """Whether the two are the halves of one node of the tree."""
        size = 2**self.level
        return self.level == other.level and self.first + size == other.first and self.first % (2 * size) == 0


class TreeSum:
    """A sum of terms, one for each shard, that is added up one tree, whoever adds which part of it.

    Neighbours are added, then neighbours of the sums, level by level; an odd last one passes up as it is:

        ((t0 + t1) + (t2 + t3)) + (t4 + t5)          of six

    Terms come in order, each a list of arrays, which must stay as they are. What can be added is at once, so that of
    n terms in a row at most log2(n) + 1 are kept. Raises ValueError for a term out of order, and for the total of none.
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []

    def put(self, first: int, value: list[Array], level: int = 0) -> None:
        """Take the term of shard `first` or, with a level, the sum over 2^level shards from there."""
        if self.nodes and first != (due := self.nodes[-1].first + 2 ** self.nodes[-1].level):
            raise ValueError(f"TreeSum: the term of shard {first} has come, expected that of shard {due}")
        node = Node(first, level, value)
        while self.nodes and self.nodes[-1].is_left_of(node):
            left = self.nodes.pop()
            node = Node(left.first, left.level + 1, _added(left.value, node.value))
        self.nodes.append(node)

    def total(self) -> list[Array]:
        """The sum of all terms, once the last has come."""
        if not self.nodes:
            raise ValueError("TreeSum: the total of no terms: put at least one")
        *lefts, total = [node.value for node in self.nodes]
        for left in reversed(lefts):
            total = _added(left, total)
        return total


def places(shards: Iterable[int]) -> list[tuple[int, int]]:
    """(first, level) of the sums that a TreeSum has once it was given the terms of these shards."""
    sums = TreeSum()
    for shard in shards:
        sums.put(shard, [])
    return [(node.first, node.level) for node in sums.nodes]


def _added(left, right):
    return list(elementwise_each(_add, [((a, b), {}) for a, b in zip(left, right, strict=True)]))


def _add(a, b):
    return a + b
