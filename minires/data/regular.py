"""Files of others, read whole: only regular ones, and only up to a size.

A folder may hold pipes, devices and sockets, and a link to one of them. To open a pipe waits until somebody writes into
it, to read a device may never end: neither is opened so that it waits, and neither is read.
"""

import os
import stat
from pathlib import Path


def read_regular(path: str | Path, most: int) -> bytes:
    """The bytes of a regular file, or of the one that a link leads to.

    Raises OSError where it cannot be opened, and ValueError, in a few words that name no file, where it is neither a
    file nor a folder, or has more than `most` bytes.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
    with open(path, "rb", opener=lambda name, _: os.open(name, flags)) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("is a pipe, a device or a socket, and no file")
        content = file.read(most + 1) if status.st_size <= most else b""
    if max(len(content), status.st_size) > most:
        raise ValueError(f"has more than {most:,} bytes, the limit")
    return content
