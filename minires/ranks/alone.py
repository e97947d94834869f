"""A training's processes, its ranks, seen from one of them; and the only one where there are no others."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from minires.shards import TreeSum
from minires.types import Array

T = TypeVar("T")


class Ranks:
    """Who am I, how many are we, and sums over all. This one is alone, and what it says is all there is to say.

    rank: 0 .. size - 1.   local_rank, local_size: the same among those on this host.   hosts: of each rank.
    """

    rank, size, local_rank, local_size = 0, 1, 0, 1
    hosts: Sequence[str] = ("",)

    @property
    def first(self) -> bool:
        """Whether this rank is the one that writes files and talks."""
        return self.rank == 0

    def mine(self, count: int) -> range:
        """Which of `count` shards this rank computes: those of all ranks follow each other, in order of rank."""
        return range(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def sum(self, sums: TreeSum, count: int, numbers: Sequence[int] = ()) -> tuple[list[Array], list[int]]:
        """(the total over all ranks, the sums of `numbers`), on every rank.

        sums: of this rank's shards, mine(count).   The total's bits are those of one rank that computes all.
        """
        return sums.total(), list(numbers)

    def gather(self, thing: T) -> list[T]:
        """What every rank has given, by rank, on every rank."""
        return [thing]

    def broadcast(self, thing: T) -> T:
        """What rank 0 has given."""
        return thing

    def on_first(self, function: Callable[[], T]) -> T:
        """What function() returns on rank 0, alone; what it raises there, it raises on all."""
        return function()

    def once_per_host(self, function: Callable[[], T]) -> T:
        """What function() returns on one rank of each host; its arrays are in that host's memory once, read-only."""
        return function()


ALONE = Ranks()
