"""Numbers from GPU to GPU, each another process's, through NVIDIA's NCCL: what goes from every rank to every other."""

import importlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from minires.backend.gpu.device import imported
from minires.types import Array


class Links:
    """The GPUs of `size` processes, of which this one is `rank`; all of them make the same calls in the same order.

    broadcast: thing -> rank 0's thing, by other means.   on: an array on this rank's GPU, which is the current one.
    Work is begun on the current stream, as all work on arrays is, and nobody waits for it.
    """

    def __init__(self, rank: int, size: int, broadcast: Callable[[Any], Any]) -> None:
        self._cupy, self._nccl = imported(), _nccl()
        self.rank, self.size = rank, size
        key: Any = broadcast(self._nccl.get_unique_id() if rank == 0 else None)
        self._links = self._nccl.NcclCommunicator(size, key, rank)

    def exchange(self, parts: Array, rows: Sequence[int]) -> Array:
        """parts (size, m, n), of which part r goes to rank r -> what came from all, (sum of rows, n).

        rows: how many each rank sends, this one m.
        """
        length = parts.shape[2]
        sent: Any = parts  # CuPy's arrays have an address, NumPy's type knows of none
        received: Any = self._cupy.empty((sum(rows), length), parts.dtype)
        stream, kind, start = self._stream(), self._kind(parts), 0
        self._nccl.groupStart()
        for rank, count in enumerate(rows):
            place = received[start : start + count]
            if rank == self.rank:
                place[...] = sent[rank]
            else:
                self._links.send(sent[rank].data.ptr, sent[rank].size, kind, rank, stream)
                self._links.recv(place.data.ptr, place.size, kind, rank, stream)
            start += count
        self._nccl.groupEnd()
        return received

    def spread(self, part: Array) -> Array:
        """A part (n,) of each rank -> all parts in order of rank, (size * n,), on each."""
        given: Any = part
        whole: Any = self._cupy.empty(self.size * part.size, part.dtype)
        self._links.allGather(given.data.ptr, whole.data.ptr, part.size, self._kind(part), self._stream())
        return whole

    def _stream(self):
        return self._cupy.cuda.get_current_stream().ptr

    def _kind(self, array):
        return {"f": self._nccl.NCCL_FLOAT32, "d": self._nccl.NCCL_FLOAT64}[array.dtype.char]


def can_link() -> bool:
    """Whether this CuPy has NCCL, and finds its library."""
    try:
        return bool(_nccl().available)
    except ImportError:
        return False


def _nccl():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # which CuPy gives where it does not find the library
        return importlib.import_module("cupy.cuda.nccl")
