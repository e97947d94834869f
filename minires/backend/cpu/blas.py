"""How many threads BLAS has: the process's, whatever thread asks, and its results depend on it."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator
from typing import Any

from minires.backend.cpu.machine import can_start_threads

_one_thread = contextvars.ContextVar("minires_one_blas_thread", default=False)


@contextlib.contextmanager
def one_blas_thread(one: bool = True) -> Iterator[None]:
    """Within this block BLAS has one thread even where there is one block only: no result depends on set_threads.

    one: False for a block in which that is as ever.
    """
    before = _one_thread.get()
    try:  # Ctrl-C may come as soon as anything has been changed
        _one_thread.set(one)
        yield
    finally:
        _one_thread.set(before)


def has_one_thread() -> bool:
    """Whether that holds."""
    return _one_thread.get()


def libraries() -> list[Any]:
    """Those in this process whose threads can be counted and set; none where a process has one thread anyway."""
    if not can_start_threads():
        return []
    import threadpoolctl

    return threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers


def setter(library: Any) -> Callable[[int], Any]:
    """What sets its number of threads: newer versions of threadpoolctl let only the first thread that asked do so."""
    return getattr(library, "_real_set_num_threads", library.set_num_threads)
