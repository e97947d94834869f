"""Pictures that are decoded when they are asked for: a set may be larger than memory.

Worker threads decode, the next batches while the model works on this one; Pillow's decoders leave the other threads
running. What is decoded is kept as long as there is room (`Kept`). A picture's bytes depend on its file alone, so
neither the number of workers nor what was kept changes a bit.
"""

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np

from minires.backend import executor
from minires.forks import Locked

ROOM = 256 * 2**20  # bytes of decoded pictures that are kept
AHEAD = 2  # batches that are decoded before they are asked for
TOGETHER = 16  # pictures that a worker takes at a time


class Kept(Locked):
    """Decoded pictures by their number, up to `room` bytes: the first that came stay.

    Every epoch asks for every picture once, in a new order: to throw out what was used longest ago, for what is asked
    for now, would not bring one more hit.
    """

    def __init__(self, room: int = ROOM) -> None:
        super().__init__("keeping a picture")
        self.room = room
        self.pictures: dict[int, np.ndarray] = {}

    def keep(self, number: int, pixels: np.ndarray) -> None:
        """Keep a picture if there is room."""
        with self.lock:
            if pixels.nbytes <= self.room and number not in self.pictures:
                self.room -= pixels.nbytes
                self.pictures[number] = pixels


class Pictures:
    """A sequence of pictures of one size, which looks like an array uint8 (N, size, size, 3) and reads files.

    paths      the files
    decode     path -> uint8 (size, size, 3), called in several threads
    size       side of a picture
    workers    threads that decode
    kept       where decoded pictures are kept

    `pictures[index]` decodes what an array would give; `pictures.subset(index)` is another view, and decodes nothing.
    """

    dtype = np.dtype(np.uint8)

    def __init__(
        self,
        paths: Sequence[str],
        decode: Callable[[str], np.ndarray],
        size: int,
        workers: int = 1,
        kept: Kept | None = None,
        numbers: np.ndarray | None = None,
    ) -> None:
        self.paths, self.decode, self.size, self.workers = paths, decode, size, workers
        self.kept = Kept() if kept is None else kept
        self.numbers = np.arange(len(paths)) if numbers is None else numbers

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, size, size, 3)."""
        return (len(self.numbers), self.size, self.size, 3)

    def __len__(self) -> int:
        return len(self.numbers)

    def subset(self, index: Any) -> "Pictures":
        """The pictures that a slice, a mask or integers choose, in that order, not decoded."""
        return Pictures(self.paths, self.decode, self.size, self.workers, self.kept, self.numbers[index])

    def __getitem__(self, index: Any) -> np.ndarray:
        numbers = self.numbers[index]
        if numbers.ndim == 0:
            return self._picture(int(numbers)).copy()
        return next(self.batches([index])) if len(numbers) else np.empty((0, *self.shape[1:]), np.uint8)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or np.uint8, copy=False)

    def batches(self, indices: Iterable[Any]) -> Iterator[np.ndarray]:
        """`self[index]` for each of `indices`, of which the next AHEAD are decoded meanwhile."""
        process, pool = os.getpid(), self._threads()
        waiting: deque[tuple[np.ndarray, np.ndarray, list[Future]]] = deque()
        indices = iter(indices)
        try:
            while True:
                if os.getpid() != process:  # a child after a fork has none of the threads: begin again
                    process, pool = os.getpid(), self._threads()
                    waiting = deque(self._begin(pool, numbers) for numbers, _, _ in waiting)
                for index in itertools.islice(indices, AHEAD + 1 - len(waiting)):
                    waiting.append(self._begin(pool, self.numbers[index]))
                if not waiting:
                    return
                _, pixels, work = waiting.popleft()
                for future in work:
                    future.result()  # or the first error of any
                yield pixels
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _threads(self):
        return executor(self.workers, "minires-pictures")

    def _begin(self, pool, numbers):
        """The numbers, an array for their pictures, and the work that fills it."""
        pixels = np.empty((len(numbers), *self.shape[1:]), np.uint8)
        starts = range(0, len(numbers), TOGETHER)
        parts = [slice(start, start + TOGETHER) for start in starts]
        return numbers, pixels, [pool.submit(self._fill, pixels[part], numbers[part]) for part in parts]

    def _fill(self, pixels, numbers):
        for place, number in zip(pixels, numbers.tolist(), strict=True):
            place[...] = self._picture(number)

    def _picture(self, number):
        kept = self.kept.pictures.get(number)
        if kept is None:
            kept = self.decode(self.paths[number])
            self.kept.keep(number, kept)
        return kept
