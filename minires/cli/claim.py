"""A run's folder is its own: begun only where nothing else lies, and held by one process at a time.

The process that is at work in a folder holds a lock on `.lock` in it, which says who that is. The lock is the system's
and goes with the process, however that ends, so that nothing has to be removed by hand after a crash or a power cut.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from minires.cli.output import note
from minires.cli.recording import FILES
from minires.columns import listed
from minires.leavings import is_leaving
from minires.locks import stands_at, try_to_lock
from minires.plain import check, read_json
from minires.wording import readable

LOCK = ".lock"
_TRIES, _PAUSE = 5, 0.1  # another process that only asks who holds a folder holds it for a moment
_CURES = {
    "--out": "name another folder",
    "--resume": "copy the folder to where you may write, and give --resume the copy",
}


@contextlib.contextmanager
def claimed(folder: str | Path, flag: str = "--out") -> Iterator[None]:
    """Within this block the folder is this process's alone, for a new run ("--out") or one that goes on ("--resume").

    Makes the folder of a new run; what a process left half written that was killed at work here is removed.
    Raises ValueError where another process is at work in it or where a new run's folder holds anything but hidden
    files and what systems put anywhere; OSError with the cure where nothing can be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _lock(folder, flag, os.O_CREAT)
    except OSError as error:
        raise OSError(f"{flag} {folder} cannot be written ({error.strerror}): {_CURES[flag]}") from error
    try:
        _begin(folder, flag, descriptor)
        yield
    finally:
        _let_go(folder, descriptor)


def refuse_held(folder: str | Path, flag: str) -> None:
    """Raise ValueError where another process is at work in the folder, before anything is read that takes long."""
    with contextlib.suppress(OSError):  # nobody has been at work here, or it cannot be known before `claimed`
        os.close(_lock(Path(folder), flag, 0))


def new_folder(what: str) -> Path:
    """Make a folder that was not there: runs/<time>-<what>, or for another run of that second ...-2.

    No other process gets the same one. Raises OSError with the cure where none can be made.
    """
    first = Path("runs") / f"{time.strftime('%Y%m%d-%H%M%S')}-{what}"
    number = 1
    while True:
        folder = first if number == 1 else first.with_name(f"{first.name}-{number}")
        try:
            folder.parent.mkdir(exist_ok=True)
            folder.mkdir()
            return folder
        except FileExistsError as error:
            if not folder.parent.is_dir():
                raise OSError(f"{folder.parent} is no folder: name another one with --out") from error
            number += 1
        except OSError as error:
            raise OSError(f"{folder} cannot be made ({error.strerror}): name another one with --out") from error


# What is there ------------------------------------------------------------------------------------------------------


def _refuse_what_is_there(folder):
    there = sorted(os.listdir(folder))
    of_a_run = [name for name in FILES if name in there]
    if "last.safetensors" in of_a_run:
        raise ValueError(f"--out {folder} already holds a run: go on with --resume {folder}, or name another folder")
    if of_a_run:
        raise ValueError(f"--out {folder} already holds {', '.join(of_a_run)} of a run: name another folder")
    others = [readable(name) for name in there if not is_leaving(name)]
    if others:
        raise ValueError(
            f"--out {folder} holds other files ({listed(others, 60)}): name another folder, a run has one of its own"
        )


def _begin(folder, flag, descriptor):
    """Remove what the process before left half written, see that files can be written, and say who is at work."""
    before = _holder(descriptor)
    try:
        if flag == "--out":
            _refuse_what_is_there(folder)
        if before is not None:
            for left in folder.glob(f".*.{before['pid']}.part"):
                left.unlink()
        with tempfile.TemporaryFile(dir=folder):
            pass
        _write(descriptor, json.dumps({"pid": os.getpid(), "host": platform.node()}).encode() + b"\n")
    except OSError as error:
        raise OSError(f"{flag} {folder} cannot be written ({error.strerror}): {_CURES[flag]}") from error


def _write(descriptor, content):
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, content)


def _holder(descriptor):
    """{"pid", "host"} of the process that holds or last held the folder, or None where the file does not say."""
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        told = read_json(os.read(descriptor, 1000))
        check(told, {"pid": int, "host": str}, LOCK)
    except (OSError, ValueError):
        return None
    return told if re.fullmatch(r"[\w.-]{1,100}", told["host"]) else None


# The lock -----------------------------------------------------------------------------------------------------------


def _lock(folder, flag, more):
    """The descriptor of the folder's lock, which this process now holds.   more: flags for os.open."""
    path = folder / LOCK
    for attempt in range(_TRIES):
        # a link in a folder that came from elsewhere could name any file of the user's
        descriptor = os.open(path, os.O_RDWR | more | getattr(os, "O_NOFOLLOW", 0), 0o666)
        try:
            if _try_to_lock(descriptor, bool(more)) and stands_at(path, descriptor):
                return descriptor
            holder = _holder(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if attempt + 1 < _TRIES:
            time.sleep(_PAUSE)
    who = "" if holder is None else f" (process {holder['pid']} on {holder['host']})"
    cure = "wait until it has ended, or stop it" if flag == "--resume" else "name another folder"
    raise ValueError(f"{flag} {folder}: another process is at work there{who}: {cure}")


def _try_to_lock(descriptor, tell):
    """Whether this process has the lock now; where the file system knows no locks it has, which is told."""
    try:
        return try_to_lock(descriptor)
    except OSError as error:
        if tell:
            note(f"this file system has no locks ({error.strerror}): start no second process in the run's folder")
        return True


def _let_go(folder, descriptor):
    """Remove the file while it is locked, so that nobody else's is; Windows removes no open file, and keeps it."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            if stands_at(folder / LOCK, descriptor):
                os.unlink(folder / LOCK)
    os.close(descriptor)
