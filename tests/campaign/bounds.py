"""Reads a file under the bounds that are promised: so much time, so much memory, and no exception of another kind."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECONDS = 5.0  # of the processor's time, beside what an honest file of that size needs
BYTES_A_SECOND = 20e6  # which an honest file is read with at the least
MEMORY_FACTOR, MEMORY_BESIDE = 2, 200e6  # times the file, and bytes beside


def bounded(
    read: Callable[[Path], Any],
    path: Path,
    seconds: float = SECONDS,
    allowed: tuple[type[Exception], ...] = (ValueError, OSError),
    size: float | None = None,
) -> str:
    """read(path) -> "read", or "refused" where it raised one of the exceptions allowed.

    size: bytes that count as the file's; default: those of the file, or of all files in the folder.
    Raises AssertionError where reading took longer than `seconds` and the time of an honest file, where memory grew by
    more than twice the file and 200 MB, and where a refusal is no single sentence of printable letters; any exception
    that is not allowed comes out.
    """
    if size is None:
        size = sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())
    memory, began = _reset_peak(), time.process_time()
    try:
        read(path)
        outcome = "read"
    except allowed as error:
        outcome = "refused"
        message = str(error)
        assert message, f"{type(error).__name__} says nothing"
        assert message.isprintable(), f"the message holds what a terminal would obey: {message!a}"
        assert len(message) < 1500, f"the message has {len(message):,} letters: {message[:200]!a}..."
    took, grew = time.process_time() - began, _peak() - memory
    assert took <= seconds + size / BYTES_A_SECOND, f"took {took:.1f} s for {size:,.0f} bytes"
    most = MEMORY_FACTOR * size + MEMORY_BESIDE
    assert grew <= most, f"took {grew / 1e6:,.0f} MB for {size:,.0f} bytes, {most / 1e6:,.0f} are allowed"
    return outcome


def _reset_peak():
    """Begin to measure the peak anew -> resident bytes now. Without Linux's /proc the peak is that of the process."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return _peak()
    return _of_status("VmRSS")


def _peak():
    try:
        return _of_status("VmHWM")
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _of_status(name):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {name}")
