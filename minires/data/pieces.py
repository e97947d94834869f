"""What a loader makes at once: a batch, or a shard of one with the partners that its images are mixed with."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from minires.data.mix import Mixing


@dataclass(frozen=True)
class Piece:
    """The images `rows` of a batch, which begins at `start` in the order of the epoch.

    own: how many of them, the first, are the piece's own; behind them stand those that they are mixed with, where these
    are not in the piece anyway.   shard: None for a whole batch.   mixing: None, or what the batch is mixed by.
    """

    batch: int
    start: int
    rows: slice | np.ndarray
    own: int
    shard: int | None
    mixing: Mixing | None

    @classmethod
    def whole(cls, batch: int, start: int, size: int, mixing: Mixing | None) -> "Piece":
        """A batch of `size` images, which holds all partners."""
        return cls(batch, start, slice(0, size), size, None, mixing)

    @classmethod
    def of_shard(cls, batch: int, start: int, inside: slice, shard: int, mixing: Mixing | None) -> "Piece":
        """The shard that lies `inside` a batch: its partners lie in other shards, and are made here once more."""
        own = np.arange(inside.start, inside.stop)
        rows = inside if mixing is None else np.concatenate([own, mixing.partners[inside]])
        return cls(batch, start, rows, len(own), shard, mixing)

    @property
    def place(self) -> tuple[int, ...]:
        """What tells it apart from all others of the epoch."""
        return (self.batch,) if self.shard is None else (self.batch, self.shard)

    @property
    def span(self) -> slice | np.ndarray:
        """Where its images lie in the order of the epoch."""
        rows = self.rows
        return slice(self.start + rows.start, self.start + rows.stop) if isinstance(rows, slice) else self.start + rows

    @property
    def count(self) -> int:
        """How many images are made for it."""
        return self.rows.stop - self.rows.start if isinstance(self.rows, slice) else len(self.rows)


def parts_of(pieces: Sequence[Piece]) -> list[slice]:
    """Where each piece's images are among those of all of them."""
    ends = np.cumsum([0, *(piece.count for piece in pieces)]).tolist()
    return [slice(*pair) for pair in itertools.pairwise(ends)]
