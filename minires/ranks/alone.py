"""A training's processes, its ranks, seen from one of them; and the only one where there are no others."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from minires.shards import TreeSum, places
from minires.types import Array
from minires.wording import shown

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
        if [(node.first, node.level) for node in sums.nodes] != places(range(count)):
            raise ValueError(f"of a batch's {count} shards not all are there, and no other rank has them: compute all")
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

    def agree(self, what: str, thing: Any, cure: str) -> None:
        """Raise ValueError, on every rank, where a rank has another `thing` than rank 0.   what: in words."""
        of_all = self.gather(thing)
        for rank, its in enumerate(of_all):
            if its != of_all[0]:
                ours, theirs = difference(of_all[0], its)
                raise ValueError(
                    f"rank {rank} on {self.hosts[rank]} has other {what} than rank 0 on {self.hosts[0]} "
                    f"({theirs}, not {ours}): {cure}"
                )

    def once_per_host(self, function: Callable[[], T]) -> T:
        """What function() returns on one rank of each host; its arrays are in that host's memory once, read-only."""
        return function()

    # What watches over them -------------------------------------------------------------------------------------

    def watch(self) -> None:
        """Have a process beside the ranks see which of them fails first."""

    def training(self, go_on: str, timeout: float, log: Path) -> None:
        """From now on a rank that makes no call for `timeout` seconds has stalled.

        go_on: what is said of a failure besides.   log: a file on the first rank's host to which that is appended.
        """

    def failed(self, sentence: str, code: int, error: BaseException | None = None) -> bool:
        """Have a failure told, and all ranks ended; whether it has been told.   error: which says whose it is."""
        return False

    def close(self) -> None:
        """All ranks have come to their end: none fails any more."""


def difference(one: Any, other: Any) -> tuple[str, str]:
    """Where two things differ that are not equal, of each what stands there: the first entry, the words from there."""
    if isinstance(one, dict) and isinstance(other, dict):
        key = next(key for key in (*one, *other) if one.get(key) != other.get(key))
        return f"{key} {shown(str(one.get(key)), 60)}", f"{key} {shown(str(other.get(key)), 60)}"
    if isinstance(one, list) and isinstance(other, list):
        alike = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
        one, other = (" ".join(map(str, words[max(0, alike - 1) :])) or "none" for words in (one, other))
    return shown(str(one), 60), shown(str(other), 60)


ALONE = Ranks()
