"""Files that are whole or not there: written beside and renamed, so that what stood there before stays until then."""

import contextlib
import errno
import os
from pathlib import Path


def write_atomically(path: str | Path, content: bytes) -> None:
    """Write bytes beside `path`, make sure they are on the disk, and rename: there is never half a file.

    Raises OSError where that fails; what stood at `path` before stands there still.
    """
    path = Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
        _sync_folder(path.parent)
    except OSError as error:
        before = ", its previous version is whole" if path.exists() else ""
        cures = {errno.ENOSPC: "free some space", errno.ENOENT: f"make the folder {path.parent} first"}
        cure = cures.get(error.errno or 0, "check the folder's permissions")
        raise OSError(f"{path} could not be written ({error.strerror}){before}: {cure}") from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def _sync_folder(folder):
    """Put a rename on the disk, where the system can."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
