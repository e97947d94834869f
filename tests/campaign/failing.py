"""A file system on which the n-th change of a folder fails, for processes that are forked to try it."""

import builtins
import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

LASTING = (errno.ENOSPC, errno.EDQUOT)  # from the n-th on; errors of the disk come and go
_FOR_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_OPENERS = {"open": builtins.open}
_CALLS = {name: getattr(os, name) for name in ("open", "write", "ftruncate", "fsync", "replace", "mkdir", "unlink")}


class FailingDisk:
    """Counts the calls that change `folder`, and has the one of this number, from 0, raise OSError(error).

    error: of LASTING, all later ones raise it as well, but for what frees space.   error 0: only counts, in `count`.
    """

    def __init__(self, folder: Path, number: int = -1, error: int = 0) -> None:
        self.folder, self.number, self.error = str(folder), number, error
        self.count = 0

    def install(self) -> None:
        """Stand before Python's functions, for the rest of the process."""
        for name in _CALLS:
            setattr(os, name, self._instead_of(name))
        builtins.open = io.open = self._open  # type: ignore[assignment]

    def change(self, what: str, place: Any) -> None:
        """Count a call, and fail if it is its turn."""
        if isinstance(place, int):
            place = os.readlink(f"/proc/self/fd/{place}")
        place = os.path.abspath(os.fspath(place))
        if not place.startswith(self.folder):
            return
        now, self.count = self.count, self.count + 1
        fails = now == self.number or (now > self.number and self.error in LASTING)
        if self.error and fails and self.number >= 0 and not (what == "unlink" and self.error in LASTING):
            raise OSError(self.error, os.strerror(self.error), place)

    def _instead_of(self, name: str) -> Callable[..., Any]:
        call = _CALLS[name]

        def instead(path, *arguments, **options):
            flags = arguments[0] if arguments else options.get("flags", 0)
            if name != "open" or flags & _FOR_WRITING:
                self.change(name, path)
            return None if name == "fsync" else call(path, *arguments, **options)  # no power is cut here

        return instead

    def _open(self, file, mode="r", *arguments, **options):
        changes = set(mode) & set("wax+")
        if changes and not isinstance(file, int):
            self.change("open", file)
        opened = _OPENERS["open"](file, mode, *arguments, **options)
        return _Written(opened, self, file) if changes else opened


class _Written:
    """A file whose writes and whose end are the disk's to refuse."""

    def __init__(self, file: Any, disk: FailingDisk, place: Any) -> None:
        self.file, self.disk = file, disk
        self.place = os.readlink(f"/proc/self/fd/{place}") if isinstance(place, int) else place

    def write(self, content):
        self.disk.change("write", self.place)
        return self.file.write(content)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)
