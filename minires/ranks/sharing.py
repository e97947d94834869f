"""Arrays that several processes of one host have in memory once: in a file that all of them map."""

import mmap
import pickle
import tempfile
from pathlib import Path
from typing import Any

LEAST = 2**20  # bytes of an array for which it is worth it
_ALIGNED = 4096


def arrays_in_a_file(thing: Any) -> tuple[bytes, Path, list[int]]:
    """(all but its large arrays, a temporary file that holds those, their lengths), for `arrays_of_a_file`.

    Raises OSError where the temporary folder has no room for them.
    """
    large: list[memoryview] = []

    def keep(buffer):  # whether it stays with all the rest
        view = buffer.raw()
        if view.nbytes < LEAST:
            return True
        large.append(view)
        return False

    plain = pickle.dumps(thing, protocol=5, buffer_callback=keep)
    with tempfile.NamedTemporaryFile(prefix="minires-", delete=False) as file:
        path = Path(file.name)
        try:
            for view in large:
                file.write(view)
                file.write(bytes(-view.nbytes % _ALIGNED))
        except OSError as error:
            path.unlink(missing_ok=True)
            raise OSError(
                f"{path.parent} has no room for the images, which the ranks of a host share ({error.strerror}): free "
                "some space, or name another folder as TMPDIR"
            ) from error
    return plain, path, [view.nbytes for view in large]


def arrays_of_a_file(plain: bytes, path: Path, lengths: list[int]) -> Any:
    """What `arrays_in_a_file` was given; its large arrays are the file's pages, and read-only."""
    views, start = [], 0
    if lengths:
        with open(path, "rb") as file:
            whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        for length in lengths:
            views.append(whole[start : start + length])
            start += length + -length % _ALIGNED
    return pickle.loads(plain, buffers=views)
