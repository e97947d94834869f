"""What arrays an HDF5 file holds and where their bytes are, found out in a process of its own.

The library that reads HDF5 is written in C. What a damaged file makes of it (a crash, a loop, memory without end) ends
this process and no other; what it does learn comes back as text. It is asked for no array's numbers: so it unpacks
nothing, loads no filter, and opens neither the files that external and virtual arrays lie in nor those that links name.

    python -I hdf5_table.py '{"path": [...], ...}' < FILE        prints {"arrays": [...]} or {"refused": "why"}
"""

import base64
import io
import json
import os
import sys
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from h5py import File

MOST_OBJECTS = 10_000  # groups and arrays, which take 2.5 s; a ResNet-152 has a few thousand
MOST_LEVELS = 32  # of groups in each other
MOST_CHUNKS = 100_000  # of all arrays together
_SAVE_AGAIN = "load the file in Keras and save it again"


class Refused(Exception):
    """Why a file is not read."""


def main() -> None:
    """Print the table of the file on standard input."""
    given = json.loads(sys.argv[1])
    sys.path[:] = given["path"]
    import h5py  # noqa: F401  before the limits, which are for the file

    source: BinaryIO = open(0, "rb")  # noqa: SIM115  closed when the process ends
    if not source.seekable():
        source = io.BytesIO(source.read())
    _limit(given["seconds"], given["memory"])
    print(json.dumps(answer(source, given["leave_out"])), flush=True)
    os._exit(0)  # what is left open in a damaged file is not worth a crash


def answer(source: BinaryIO, leave_out: Collection[str] = ()) -> dict[str, Any]:
    """{"arrays": table} of an open binary file, or {"refused": why}, or {"damaged": what HDF5 says}."""
    import h5py

    try:
        with h5py.File(source, "r") as file:
            return {"arrays": table(file, leave_out)}
    except Refused as error:
        return {"refused": str(error)}
    except Exception as error:  # damage makes h5py raise nearly anything
        return {"damaged": str(error) or type(error).__name__}


def _limit(seconds, memory):
    """Let this process use so many seconds and bytes more, where the system can."""
    try:
        import resource

        with open("/proc/self/statm") as file:
            pages = int(file.read().split()[0])
    except (ImportError, OSError):
        return
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    most = pages * os.sysconf("SC_PAGE_SIZE") + memory
    for what, limit in ((resource.RLIMIT_CPU, int(used + seconds) + 1), (resource.RLIMIT_AS, most)):
        hard = resource.getrlimit(what)[1]
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(what, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def table(file: "File", leave_out: Collection[str] = ()) -> list[dict[str, Any]]:
    """[{"name", "shape", "dtype", ...}] of the arrays in an open file, by name; groups named in leave_out are skipped.

    name       its path, which begins with /
    dtype      NumPy's, such as "<f4", or None with "odd", what else it is
    offset     where its bytes are, if they are in one piece; "content" in its place: themselves, in base64
    chunks     else: the shape of a chunk; "filters": HDF5's numbers in their order; "pieces": for each chunk
               [first indices, offset, size, filters that it did not go through as bits]

    Raises Refused for a file of very many objects, levels or chunks, for one in which something has two names, and for
    an array whose numbers are in other files.
    """
    import h5py

    found, seen, left = [], set(), [MOST_OBJECTS, MOST_CHUNKS]
    groups = [(h5py.h5g.open(file.id, b"/"), "", 0)]
    while groups:
        group, path, level = groups.pop()
        if level > MOST_LEVELS:
            raise Refused(f"its groups lie in each other more than {MOST_LEVELS} levels deep: {_SAVE_AGAIN}")
        for name in _members(group, left):
            if not path and name.decode("utf-8", "replace") in leave_out:
                continue
            item = h5py.h5o.open(group, name)
            full = f"{path}/{name.decode('utf-8', 'backslashreplace')}"
            address = h5py.h5o.get_info(item).addr
            if address in seen:
                raise Refused(f"{full} has another name in the file, too: {_SAVE_AGAIN}")
            seen.add(address)
            if isinstance(item, h5py.h5g.GroupID):
                groups.append((item, full, level + 1))
            elif isinstance(item, h5py.h5d.DatasetID):
                found.append({"name": full, **_described(item, full, left)})
    return sorted(found, key=lambda array: array["name"])


def _members(group, left):
    """The names in a group that are no soft or external links, which may lead into other files."""
    import h5py

    names = []

    def visit(name, info):
        left[0] -= 1
        if info.type == h5py.h5l.TYPE_HARD:
            names.append(name)
        return True if left[0] < 0 else None  # None goes on

    group.links.iterate(visit, info=True)
    if left[0] < 0:
        raise Refused("has too many groups and arrays: save the network alone")
    return names


def _described(dataset, name, left):
    """What `table` says of a dataset."""
    import h5py

    settings = dataset.get_create_plist()
    layout = settings.get_layout()
    if layout not in (h5py.h5d.COMPACT, h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED) or settings.get_external_count():
        # asked for its shape, HDF5 would open the other files
        raise Refused(f"{name} is in another file, which Keras never does: {_SAVE_AGAIN}")
    kind = _dtype(dataset.get_type())
    told = {"shape": dataset.shape, **kind}
    if kind["dtype"] is None:
        return told
    if layout == h5py.h5d.CHUNKED:
        filters = [settings.get_filter(number)[0] for number in range(settings.get_nfilters())]
        return {**told, "chunks": settings.get_chunk(), "filters": filters, "pieces": _pieces(dataset, left)}
    if layout == h5py.h5d.COMPACT:
        return {**told, "content": base64.b64encode(h5py.Dataset(dataset)[()].tobytes()).decode()}
    return {**told, "offset": dataset.get_offset(), "size": dataset.get_storage_size()}


def _dtype(kind):
    """{"dtype": NumPy's} of a type that NumPy has bit for bit; {"dtype": None, "odd": what it is} of others."""
    import h5py

    if kind.get_class() not in (h5py.h5t.INTEGER, h5py.h5t.FLOAT):
        return {"dtype": None, "odd": "no numbers"}
    dtype = kind.dtype
    if kind != h5py.h5t.py_create(dtype):
        return {"dtype": None, "odd": "numbers of no usual layout"}
    return {"dtype": dtype.str}


def _pieces(dataset, left):
    pieces = []

    def visit(piece):
        left[1] -= 1
        pieces.append([piece.chunk_offset, piece.byte_offset, piece.size, piece.filter_mask])
        return True if left[1] < 0 else None

    dataset.chunk_iter(visit)
    if left[1] < 0:
        raise Refused(f"its arrays are cut into more than {MOST_CHUNKS:,} chunks: {_SAVE_AGAIN}")
    return pieces


if __name__ == "__main__":
    main()
