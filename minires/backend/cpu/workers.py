"""Blocks of a batch on the CPU's cores.

NumPy's element-wise loops run on one thread, but they let go of Python's lock, as copies and BLAS do. So a batch
is cut into blocks small enough that what a block touches stays in a core's cache, and a few threads work through
them, each with a BLAS of one thread. Nothing here knows what the blocks compute.
"""

import collections
import contextlib
import functools
import itertools
import os
import queue
import sys
import threading

# What a block may touch: little beside the last-level cache, much beside what handing over Python's lock costs.
BLOCK_BYTES = 2 * 1024 * 1024


def default_threads():
    """Physical cores among those this process may use: two threads of one core share the arithmetic both need."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    return len({_siblings(cpu) for cpu in os.sched_getaffinity(0)})


def _siblings(cpu):
    """Name of the physical core of a logical one, as Linux tells it; its own number where it does not."""
    try:
        with open(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return str(cpu)


class _Worker(threading.Thread):
    """A thread that sleeps until work is put in its inbox, does it, and puts the exception, or None, in its outbox.

    An executor does the same and more; its queue, futures and conditions cost several times this hand-over.
    """

    def __init__(self):
        super().__init__(name="minires", daemon=True)
        self.inbox, self.outbox = queue.SimpleQueue(), queue.SimpleQueue()
        self.start()

    def run(self):
        while (work := self.inbox.get()) is not None:
            error = None
            try:
                work()
            except BaseException as caught:  # share raises it in the thread that called
                error = caught
            del work  # and the arrays it holds, before the caller goes on
            self.outbox.put(error)
            del error


class _Workers:
    """The threads that share blocks with the calling one, and BLAS held to one thread each while they do."""

    def __init__(self):
        self.threads = default_threads()
        self.pool = None
        self.blas = None
        self.busy = threading.Lock()

    def start(self):
        import threadpoolctl

        self.blas = threadpoolctl.ThreadpoolController().select(user_api="blas")
        self.pool = [_Worker() for _ in range(self.threads - 1)]

    def forget(self):
        """After a fork: the child has no threads, whatever the parent had."""
        self.pool = self.blas = None
        self.busy = threading.Lock()

    def stop(self):
        """Let each thread finish the block it is at, and end."""
        pool, self.pool = self.pool or [], None
        for worker in pool:
            worker.inbox.put(None)
        for worker in pool:
            worker.join()

    @contextlib.contextmanager
    def one_blas_thread_each(self):
        before = [library.num_threads for library in self.blas.lib_controllers]
        for library in self.blas.lib_controllers:
            library.set_num_threads(1)
        try:
            yield
        finally:
            for library, count in zip(self.blas.lib_controllers, before, strict=True):
                library.set_num_threads(count)

    def share(self, function, blocks):
        """Every thread takes the next block until none is left; an exception in one reaches the caller."""
        results, todo = [None] * len(blocks), collections.deque(enumerate(blocks))

        def work():
            while (taken := _next(todo)) is not None:
                number, block = taken
                results[number] = function(block)

        helpers = self.pool[: len(blocks) - 1]
        try:
            for helper in helpers:
                helper.inbox.put(work)
            work()
            errors = [helper.outbox.get() for helper in helpers]
        except BaseException:  # here, or Ctrl-C while waiting: what the others still say is for nobody
            todo.clear()
            self.stop()  # the next call starts others
            raise
        for error in errors:
            if error is not None:
                raise error
        return results


def _next(todo):
    """The next entry of a deque that several threads empty, None at its end."""
    try:
        return todo.popleft()
    except IndexError:
        return None


_workers = _Workers()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_workers.forget)


def get_threads():
    """Number of threads that blocks run on."""
    return _workers.threads


def set_threads(count):
    """Run blocks, and BLAS where there is one block only, on `count` threads (at least 1).

    Results of several blocks do not depend on it at all; BLAS's own may in the last digits.
    """
    if count < 1:
        raise ValueError(f"threads must be at least 1, got {count}")
    import threadpoolctl

    threadpoolctl.threadpool_limits(int(count), user_api="blas")
    with _workers.busy:
        _workers.stop()
        _workers.threads = int(count)


def block_slices(n, item_bytes, block_bytes=None):
    """Slices of `range(n)` that hold at most `block_bytes` (None: BLOCK_BYTES) each, but at least one item.

    All are of nearly one size, the larger ones first, and unless there is one only their number is even, so that two
    threads, or with many slices any few, finish together.
    """
    return _cut(n, max(1, (block_bytes or BLOCK_BYTES) // max(1, item_bytes)))


@functools.lru_cache(maxsize=256)
def _cut(n, largest):
    count = -(-n // largest)
    count = min(count + count % 2, n) if count > 1 else count
    size, larger = divmod(n, count) if count else (0, 0)
    starts = [block * size + min(block, larger) for block in range(count + 1)]
    return [slice(start, stop) for start, stop in itertools.pairwise(starts)]


def for_each_block(function, n, item_bytes, block_bytes=None):
    """`[function(block) for block in block_slices(n, item_bytes, block_bytes)]`, on all threads."""
    return _for_each(function, block_slices(n, item_bytes, block_bytes))


def for_each_band(function, n, rows, row_bytes, least_bytes=0):
    """`function(images, rows)` for slices that together cover n images of `rows` rows each, `row_bytes` a row.

    Several whole images to a block where they are small, a band of one image's rows where they are large; at least
    `least_bytes` to a block.
    """
    block_bytes = max(BLOCK_BYTES, least_bytes)
    bands = block_slices(rows, row_bytes, block_bytes)
    if len(bands) == 1:
        images = block_slices(n, rows * row_bytes, block_bytes)
        return _for_each(lambda block: function(block, bands[0]), images)
    pieces = [(slice(image, image + 1), band) for image in range(n) for band in bands]
    return _for_each(lambda piece: function(*piece), pieces)


def _for_each(function, pieces):
    if len(pieces) == 1 or not _workers.busy.acquire(blocking=False):
        return [function(piece) for piece in pieces]  # too little to share, or called from within a block
    try:
        if _workers.pool is None:
            _workers.start()
        with _workers.one_blas_thread_each():
            return _workers.share(function, pieces)
    finally:
        _workers.busy.release()


def memory_peak():
    """Largest resident memory of this process so far, in bytes; 0 where the system does not tell."""
    try:  # getrusage would do, but on Linux a new process inherits its parent's figure
        with open("/proc/self/status", encoding="ascii") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
