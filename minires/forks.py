"""Locks that a fork waits for.

A child has only the thread that forked. What another thread had begun stays half done there, and a lock that it held
is held for ever. So a fork takes these locks first: in the child what they guard is whole, and they are free.
"""

import os
import threading
import warnings
import weakref

PATIENCE = 10.0  # seconds; who holds a lock for longer may itself be waiting for the thread that forks
FIRST, LAST = 0, 2  # in this order a fork takes locks: a thread may hold one while it waits for a later one


class Locked:
    """Has a `lock`, re-entrant, for `with self.lock:`.

    what: what a thread is doing that holds it, "opening a picture".   order: FIRST, LAST or 1, between them.
    """

    def __init__(self, what: str, order: int = 1) -> None:
        self.lock = threading.RLock()
        self._what, self._order = what, order
        self._forking: dict[int, bool] = {}  # threads that fork now: whether they have the lock
        _all.add(self)

    def free_to_fork(self) -> bool:
        """Whether the calling thread is to fork without the lock."""
        return False

    def _take(self):
        """Whether the lock, where it is needed, could be had."""
        if self.free_to_fork():
            return True
        taken = self._forking[threading.get_ident()] = self.lock.acquire(timeout=PATIENCE)
        return taken

    def _give_back(self):
        if self._forking.pop(threading.get_ident(), False):
            self.lock.release()

    def _renew(self):
        self.lock = threading.RLock()
        self._forking = {}


_all: weakref.WeakSet[Locked] = weakref.WeakSet()


def _before():
    late = [owner._what for owner in sorted(_all, key=lambda owner: owner._order) if not owner._take()]
    if late:
        warnings.warn(
            f"a fork while another thread has been {late[0]} for {PATIENCE:g} seconds, half of which the child has: "
            "fork before threads work, or start processes by multiprocessing's 'spawn'",
            RuntimeWarning,
            stacklevel=2,
        )


def _in_parent():
    for owner in list(_all):
        owner._give_back()


def _in_child():
    for owner in list(_all):
        owner._renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
