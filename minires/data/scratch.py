"""Folders to work in beside the data, hidden, and gone in the end, also where their process was killed.

Each holds a locked file for as long as its process works in it. One whose lock nobody holds is what a dead process
left: the next to work at that place removes it. A folder without such a file is somebody else's, and stays.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from minires.locks import stands_at, try_to_lock

PREFIX = ".minires-"
LOCK = "lock"


@contextlib.contextmanager
def scratch(place: Path, what: str) -> Iterator[Path]:
    """A new folder .minires-<what>-<letters> in `place`, removed at the end; those of dead processes are removed first.

    Raises OSError where none can be made.
    """
    clear(place)
    folder, descriptor = _begin(place, what)
    try:
        yield folder
    finally:
        _remove(folder, descriptor)


def clear(place: Path) -> None:
    """Remove what processes that were killed have left in a folder; what cannot be removed stays."""
    with contextlib.suppress(OSError):
        for folder in place.glob(f"{PREFIX}*-*"):
            if folder.is_dir() and not folder.is_symlink():
                _clear_one(folder)


def _clear_one(folder):
    try:
        descriptor = _open(folder, 0)
    except FileNotFoundError:  # its process was killed before it had one
        with contextlib.suppress(OSError):
            folder.rmdir()  # if it is empty
        return
    except OSError:
        return
    dead = False
    with contextlib.suppress(OSError):  # without locks it cannot be known whether its process lives
        dead = try_to_lock(descriptor) and stands_at(folder / LOCK, descriptor)
    if dead:
        _remove(folder, descriptor)
    else:
        os.close(descriptor)


def _begin(place, what):
    """(a folder, the descriptor of its lock, which this process now holds)"""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{what}-", dir=place))
        try:
            descriptor = _open(folder, os.O_CREAT | os.O_EXCL)
        except FileNotFoundError:  # another process took it for one that was left
            continue
        with contextlib.suppress(OSError):  # without locks nobody takes it for one that was left
            if not (try_to_lock(descriptor) and stands_at(folder / LOCK, descriptor)):
                os.close(descriptor)
                continue
        return folder, descriptor


def _open(folder, more):
    return os.open(folder / LOCK, os.O_RDWR | more | getattr(os, "O_NOFOLLOW", 0), 0o600)


def _remove(folder, descriptor):
    shutil.rmtree(folder, ignore_errors=True)
    os.close(descriptor)
    shutil.rmtree(folder, ignore_errors=True)  # Windows removes no open file
