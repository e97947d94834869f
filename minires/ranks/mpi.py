"""Ranks on MPI, through mpi4py: the one place that knows of it.

No call blocks, so that nothing waits without being seen to wait: each is begun, and asked for until it has ended, with
pauses that grow, in which the processor is free.
"""

from __future__ import annotations

import pickle
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from minires.backend import Links, can_link, device_of, to_device, to_numpy
from minires.ranks.adding import add_over_ranks
from minires.ranks.alone import Ranks
from minires.ranks.guarded import Guarded, start_guard
from minires.ranks.sharing import arrays_in_a_file, arrays_of_a_file
from minires.shards import Node, TreeSum
from minires.types import Array

T = TypeVar("T")
PATIENT = 50  # times that are asked without a pause
LONGEST = 1e-3  # seconds of a pause


class LostRank(ConnectionError):
    """Another rank is no longer there."""


class MPIRanks(Ranks):
    """The processes of MPI's communicator `comm`, all of which make the same calls in the same order.

    calls: how many have been begun.   waiting: whether one is going on.   waited: seconds in them.
    """

    def __init__(self, comm: Any) -> None:
        from mpi4py import MPI

        self._mpi, self._comm = MPI, comm.Dup()  # messages of others cannot get between ours
        self._local = comm.Split_type(MPI.COMM_TYPE_SHARED)
        self.calls, self.waiting, self.waited = 0, False, 0.0
        self._guarded: Guarded | None = None
        self._links: Any = NotImplemented  # until they are asked for
        self.rank, self.size = comm.rank, comm.size
        self.local_rank, self.local_size = self._local.rank, self._local.size
        self.hosts = self.gather(MPI.Get_processor_name())

    # Sums -------------------------------------------------------------------------------------------------------

    def sum(self, sums: TreeSum, count: int, numbers: Sequence[int] = ()) -> tuple[list[Array], list[int]]:
        given, summed = np.array(numbers, np.int64), np.zeros(len(numbers), np.int64)
        counting = self._comm.Iallreduce(given, summed)  # whole numbers have one sum in any order
        shards = [range(r * count // self.size, (r + 1) * count // self.size) for r in range(self.size)]
        if not sums.nodes:
            raise ValueError(f"rank {self.rank} has none of a batch's {count} shards: give it larger batches")
        device = device_of(sums.nodes[0].value[0])
        if device != "cpu" and (links := self._between_gpus()) is not None:
            total = add_over_ranks(sums, shards, links.exchange, links.spread)
        else:
            held = TreeSum()
            held.nodes = [Node(node.first, node.level, list(map(to_numpy, node.value))) for node in sums.nodes]
            found = add_over_ranks(held, shards, self._exchange, self._spread)
            total = [to_device(array, device) for array in found]
        self._wait(counting)
        return total, summed.tolist()

    def _between_gpus(self):
        """The Links of the ranks' GPUs; None where one of them lacks NCCL, and numbers go through the hosts' memory."""
        if self._links is NotImplemented:
            self._links = Links(self.rank, self.size, self.broadcast) if all(self.gather(can_link())) else None
            if self._links is None and self.first:
                warnings.warn("NCCL is missing on a rank, and gradients go through the hosts' memory", stacklevel=2)
        return self._links

    def _exchange(self, parts: Array, rows: Sequence[int]) -> Array:
        received = np.empty((sum(rows), parts.shape[2]), parts.dtype)
        places = np.split(received, np.cumsum(rows)[:-1])
        places[self.rank][...] = parts[self.rank]
        others = [*range(self.rank + 1, self.size), *range(self.rank)]  # not all of them the same one first
        # not Ialltoallv, of which MPICH moves 8 KB each time it is asked
        begun = [self._comm.Irecv(places[rank], rank) for rank in reversed(others)]
        begun += [self._comm.Isend(parts[rank], rank) for rank in others]
        self._wait(*begun)
        return received

    def _spread(self, part: Array) -> Array:
        whole = np.empty(self.size * len(part), part.dtype)
        self._wait(self._comm.Iallgather(part, whole))
        return whole

    # Things -----------------------------------------------------------------------------------------------------

    def gather(self, thing: T) -> list[T]:
        return self._gathered(thing, self._comm)

    def broadcast(self, thing: T) -> T:
        return self._broadcast(thing, self._comm)

    def on_first(self, function: Callable[[], T]) -> T:
        try:
            return self._on_its_first(function, self._comm)
        except Exception as error:
            error.of_rank = 0  # type: ignore[attr-defined]
            raise

    def once_per_host(self, function: Callable[[], T]) -> T:
        plain, path, lengths = self._on_its_first(lambda: arrays_in_a_file(function()), self._local)
        try:
            return arrays_of_a_file(plain, path, lengths)
        finally:
            self._gathered(None, self._local)  # all have it open
            if self._local.rank == 0:
                path.unlink(missing_ok=True)

    # What watches over them -------------------------------------------------------------------------------------

    def watch(self) -> None:
        self._guarded = Guarded(self, self.on_first(lambda: start_guard(self.size)))

    def training(self, go_on: str, timeout: float, log: Path) -> None:
        if self._guarded and self.first:
            self._guarded.training(go_on, timeout, str(log.resolve()))

    def failed(self, sentence: str, code: int, error: BaseException | None = None) -> bool:
        if self._guarded:
            lost = isinstance(error, (LostRank, self._mpi.Exception))
            if self._guarded.failed(sentence, code, getattr(error, "of_rank", None), lost):
                self.close()
                return True
        self._mpi.COMM_WORLD.Abort(code)
        return False

    def close(self) -> None:
        self._wait(self._comm.Ibarrier())
        if self._guarded:
            self._guarded.close()
        self._mpi.Finalize()  # else `python -m mpi4py` would abort for an exit code that is not 0

    # How --------------------------------------------------------------------------------------------------------

    def _gathered(self, thing, comm):
        own = np.frombuffer(pickle.dumps(thing), np.uint8)
        lengths = np.empty(comm.size, np.int64)
        self._wait(comm.Iallgather(np.array([len(own)]), lengths))
        whole = np.empty(lengths.sum(), np.uint8)
        self._wait(comm.Iallgatherv(own, [whole, (lengths.tolist(), None)]))
        return [pickle.loads(part.data) for part in np.split(whole, lengths.cumsum()[:-1])]

    def _broadcast(self, thing, comm):
        whole = np.frombuffer(pickle.dumps(thing) if comm.rank == 0 else b"", np.uint8)
        length = np.array([len(whole)])
        self._wait(comm.Ibcast(length))
        whole = whole.copy() if comm.rank == 0 else np.empty(int(length[0]), np.uint8)
        self._wait(comm.Ibcast(whole))
        return thing if comm.rank == 0 else pickle.loads(whole.data)

    def _on_its_first(self, function, comm):
        result, error = None, None
        if comm.rank == 0:
            try:
                result = function()
            except Exception as caught:
                error = caught
        result, other = self._broadcast((result, portable(error)), comm)
        if error or other:
            raise error or other
        return result

    def _wait(self, *requests):
        self.calls += 1
        self.waiting, began, asked = True, time.perf_counter(), 0
        try:
            while not self._mpi.Request.Testall(requests):
                asked += 1
                if asked > PATIENT:
                    time.sleep(min(LONGEST, (asked - PATIENT) * 1e-5))
        except self._mpi.Exception as error:
            raise LostRank(f"MPI no longer reaches another rank ({error})") from error
        self.waiting = False
        self.waited += time.perf_counter() - began


def portable(error: Exception | None) -> Exception | None:
    """An exception that reaches another process with its text: itself, or the next above it of Python's."""
    if error is None:
        return None
    try:
        if str(pickle.loads(pickle.dumps(error))) == str(error):
            return error
    except Exception:  # any that its own code raises
        pass
    kinds = [kind for kind in type(error).__mro__ if kind.__module__ == "builtins"]
    return kinds[0](str(error))
