"""Files that are whole or not there: written beside and renamed, so that what stood there before stays until then."""

import contextlib
import errno
import os
from pathlib import Path

CURES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space, your share of the disk is used up",
    errno.EFBIG: "this process may write no larger files: raise the limit (ulimit -f)",
    errno.EMFILE: "too many files are open in this process: raise the limit (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine: close some programs",
    errno.EIO: "the disk or the network failed: look after it before you go on",
    errno.ENOENT: "check the name",
    errno.EISDIR: "a folder of that name is in its way: move it",
    errno.EROFS: "the disk takes no writes: name another folder",
}
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EBADF)  # systems on which a folder cannot be synced


def cure(error: OSError) -> str:
    """What to do about an error of the system."""
    return CURES.get(error.errno or 0, "check the permissions")


def write_atomically(path: str | Path, content: bytes) -> None:
    """Write bytes beside `path`, make sure they are on the disk, and rename: there is never half a file.

    Raises OSError where that fails; what stood at `path` before stands there still, or what is new does, whole.
    """
    path = Path(path)
    beside, replaced = path.with_name(f".{path.name}.{os.getpid()}.part"), False
    try:
        with _new(beside) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
        replaced = True
        _sync_folder(path.parent)
    except OSError as error:
        before = ", its previous version is whole" if path.is_file() and not replaced else ""
        what = f"make the folder {path.parent} first" if error.errno == errno.ENOENT else cure(error)
        raise OSError(f"{path} could not be written ({error.strerror}){before}: {what}") from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def _new(path):
    """A file opened for writing that was not there: what is, left half written or a link to any other, goes first."""
    try:
        return open(path, "xb")
    except FileExistsError:
        path.unlink()
        return open(path, "xb")


def _sync_folder(folder):
    """Put a rename on the disk, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
