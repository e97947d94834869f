"""Blocks of a batch on the CPU's cores.

NumPy's element-wise loops run on one thread, but they let go of Python's lock, as copies and BLAS do. So a few threads
work through the blocks, each with a BLAS of one thread. Nothing here knows what the blocks compute.

BLAS's number of threads is the process's, not a thread's, and results depend on it. So one thread of the program
computes at a time: another waits for its turn.
"""

import collections
import contextvars
import functools
import itertools
import os
import queue
import threading
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minires.backend.cpu.blas import has_one_thread, libraries, setter
from minires.backend.cpu.machine import can_start_threads, default_threads
from minires.forks import FIRST, Locked

FORKED = (
    "this process was forked within a block, whose other threads it does not have: leave it by os._exit, as "
    "multiprocessing does, before the block's function returns"
)


class _Worker(threading.Thread):
    """A thread that sleeps until work is put in its inbox, does it, and puts the exception, or None, in its outbox.

    An executor does the same and more; its queue, futures and conditions cost several times this hand-over.
    """

    def __init__(self):
        super().__init__(name="minires", daemon=True)
        self.inbox: queue.SimpleQueue = queue.SimpleQueue()
        self.outbox: queue.SimpleQueue = queue.SimpleQueue()
        self.forked = False  # whether this is a child of the process whose block it was at

    def run(self):
        while (work := self.inbox.get()) is not None:
            error = None
            try:
                work()
            except BaseException as caught:  # share raises it in the thread that called
                error = caught
            if self.forked:  # as multiprocessing would have
                traceback.print_exception(error or RuntimeError(FORKED))
                os._exit(1)
            del work  # and the arrays it holds, before the caller goes on
            self.outbox.put(error)
            del error


class _Workers(Locked):
    """The threads that share blocks with the calling one, and BLAS held to one thread each while they do.

    Ctrl-C may strike in any call. What must be undone is noted before it is done and undone in a `finally`; where a
    second Ctrl-C ends that, the next call finds the note. Only locks of C are taken, by `with`, which cannot be split.
    """

    def __init__(self):
        super().__init__("computing", FIRST)  # who has the lock has its turn
        self.threads = default_threads()
        self.blas: list | None = None  # its libraries
        self.found: list | None = None  # (setter, threads) of each while they are held to one
        self.pool: list[_Worker] = []
        self.in_use = False
        self.running: int | None = None  # the thread whose turn it is

    def start(self):
        self.in_use = True  # until all are there
        self.blas = libraries()
        while len(self.pool) < self.threads - 1:
            self.pool.append(_Worker())
            _as_ctrl_c(self.pool[-1].start)
        self.in_use = False

    def stop(self):
        """Let each thread finish the block it is at, and end."""
        self.in_use = True  # until all have ended
        for worker in self.pool:
            worker.inbox.put(None)
        for worker in self.pool:
            if worker.is_alive():  # Ctrl-C may have come before it was started
                _as_ctrl_c(worker.join)
        self.pool, self.blas, self.in_use = [], None, False

    def forget(self):
        """After a fork: the child has no threads, whatever the parent had. Within a block it can never end that."""
        for worker in self.pool:
            worker.forked = True
            worker.outbox.put(RuntimeError(FORKED))
        self.pool, self.blas, self.in_use = [], None, False
        self.running = None

    def free_to_fork(self):
        """A thread that is at a block for another, which has the lock, would wait for ever."""
        return self.within_block()

    def within_block(self):
        """Whether the calling thread is at a block."""
        return self.running == threading.get_ident() or threading.current_thread() in self.pool

    def run(self, function, pieces):
        """`[function(piece) for piece in pieces]`, on all threads; a single one here, with all of BLAS's."""
        if self.found is not None and self.within_block():
            return [function(piece) for piece in pieces]
        with self.lock:
            before = self.running
            try:
                self.running = threading.get_ident()
                self.let_blas_go()  # if an interrupt, or a fork, left it held
                if len(pieces) == 1 and not (has_one_thread() and self.threads > 1):
                    return [function(pieces[0])]
                if self.in_use:
                    self.stop()
                if self.blas is None:
                    self.start()
                return self.one_blas_thread_each(function, pieces)
            finally:
                self.running = before

    def one_blas_thread_each(self, function, pieces):
        try:
            self.found = [(setter(library), library.num_threads) for library in self.blas or ()]
            for set_count, _ in self.found:
                set_count(1)
            return self.share(function, pieces)
        finally:
            try:
                self.let_blas_go()
            except BaseException:  # Ctrl-C has come in there: once more
                self.let_blas_go()
                raise

    def let_blas_go(self):
        if self.found is not None:
            for set_count, count in self.found:
                set_count(count)
            self.found = None

    def share(self, function, blocks):
        """Every thread has a share, of neighbouring blocks, and helps the others with theirs when it has done its own.

        So it mostly reads what it wrote itself in the call before, from the cache of its own core. An exception in one
        reaches the caller. What the caller has set for itself, such as np.errstate, is set in all of them.
        """
        threads = max(1, min(len(blocks), 1 + len(self.pool)))
        results, shares = [None] * len(blocks), _shares(blocks, threads)

        def work(number):
            others = shares[number + 1 :] + shares[:number]
            while (taken := _next(shares[number], others)) is not None:
                place, block = taken
                results[place] = function(block)

        helpers, self.in_use = self.pool[: threads - 1], True
        try:
            for number, helper in enumerate(helpers, start=1):
                helper.inbox.put(functools.partial(contextvars.copy_context().run, work, number))
            work(0)
            errors = [helper.outbox.get() for helper in helpers]
        except BaseException:  # here, or Ctrl-C while waiting: what the others still say is for nobody
            for share in shares:
                share.clear()
            self.stop()  # the next call starts others; if this is interrupted, it stops these first
            raise
        self.in_use = False
        for error in errors:
            if error is not None:
                raise error
        return results


def _as_ctrl_c(function):
    """`function()` of a thread, where Ctrl-C at a lock of Python's own ends as "release unlocked lock"."""
    try:
        function()
    except RuntimeError as error:
        raise error.__context__ if isinstance(error.__context__, KeyboardInterrupt) else error from None


def _shares(blocks, threads):
    """(place, block) of all blocks, cut into as many deques of neighbours as there are threads."""
    numbered = list(enumerate(blocks))
    cuts = [len(blocks) * thread // threads for thread in range(threads + 1)]
    return [collections.deque(numbered[start:stop]) for start, stop in itertools.pairwise(cuts)]


def _next(share, others):
    """The first entry of a thread's share; of another's the last, where its own is empty; None where all are.

    Several threads empty them.
    """
    try:
        return share.popleft()
    except IndexError:
        pass
    for other in others:
        try:
            return other.pop()
        except IndexError:
            pass
    return None


_workers = _Workers()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_workers.forget)


def get_threads() -> int:
    """Number of threads that blocks run on."""
    return _workers.threads


def set_threads(count: int) -> None:
    """Run blocks, and BLAS where there is one block only, on `count` threads (at least 1; in a browser always on one).

    Results of several blocks do not depend on it at all; BLAS's own may in the last digits. Waits until no other thread
    of the program computes. Raises ValueError for less than 1, and RuntimeError within a block.
    """
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or count < 1:
        raise ValueError(f"threads must be at least 1, got {count!r}: give a whole number, get_threads() is today's")
    if _workers.within_block():
        raise RuntimeError(
            f"set_threads({count}) was called within a block, whose threads it would end: call it outside"
        )
    with _workers.lock:
        _workers.let_blas_go()
        _workers.stop()
        for library in libraries():
            setter(library)(int(count))
        _workers.threads = int(count) if can_start_threads() else 1


def run(function: Callable[[Any], Any], pieces: Sequence[Any]) -> list[Any]:
    """`[function(piece) for piece in pieces]`, on all threads; within a block one after another, on this one."""
    return _workers.run(function, pieces)


def undisturbed(function: Callable[[], Any]) -> Any:
    """`function()` while no other thread of the program changes BLAS's number of threads."""
    return _workers.run(lambda _: function(), (None,))[0]
