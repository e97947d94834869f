"""Arrays in HDF5 files, whole or in chunks packed by gzip, read without trust in what the file says of them.

The library that reads HDF5 only says where the arrays' bytes are, in a process of its own (`hdf5_table`). They are read
here, from the same open file. Each chunk is unpacked by zlib, and no further than its array has room; and before
anything is unpacked, the sizes of all arrays are added up and compared with the file's.
"""

import base64
import itertools
import json
import math
import os
import re
import subprocess
import sys
import zlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import BinaryIO

import numpy as np

from minires.pretrained import hdf5_table
from minires.pretrained.errors import WeightsError
from minires.pretrained.zip_file import ALWAYS_ALLOWED, MAX_GROWTH
from minires.wording import shown

Fetch = Callable[[int, int], np.ndarray]  # (start, count) -> uint8 (count,) of the file
SECONDS, MEMORY = 4, 2**27  # of the processor, and bytes, that HDF5 may take; an honest file needs 0.1 s
_PATIENCE = 120  # seconds on the clock, for a machine that has much else to do
_GZIP, _SHUFFLE = 1, 2  # HDF5's numbers of its filters
_LARGEST = 2**63
_DTYPE = re.compile(r"[<>|][fiu]\d{1,2}")
_SAVE_AGAIN = "load the file in Keras and save it again"
_AGAIN = "download or save the file again"


@dataclass(frozen=True)
class StoredArray:
    """What `hdf5_table.table` says of an array."""

    name: str
    shape: tuple[int, ...] = ()
    dtype: str | None = None
    odd: str = ""
    offset: int | None = None
    size: int | None = None
    content: str | None = None
    chunks: Sequence[int] | None = None
    filters: Sequence[int] = ()
    pieces: Sequence[tuple[Sequence[int], int, int, int]] = ()

    @property
    def nbytes(self) -> int:
        """Of the whole array, unpacked."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    @property
    def chunk_bytes(self) -> int:
        """Of a chunk, unpacked."""
        return math.prod(self.chunks or ()) * np.dtype(self.dtype).itemsize


def stored_arrays(content: BinaryIO | np.ndarray, leave_out: Collection[str] = ()) -> list[StoredArray]:
    """What arrays an HDF5 file holds, by name, but for those in the outermost groups named in leave_out.

    content: the open file, or its bytes.   Raises WeightsError, without the file's name, for one that is damaged, or
    that HDF5 cannot make sense of within SECONDS of the processor and MEMORY bytes, and where h5py is missing.
    """
    if find_spec("h5py") is None:
        raise WeightsError("files of Keras are read with h5py, which a browser cannot have: pip install h5py")
    given = {"path": sys.path, "leave_out": list(leave_out), "seconds": SECONDS, "memory": MEMORY}
    command = [sys.executable, "-I", hdf5_table.__file__, json.dumps(given)]
    answer = _answer(command, content)
    if "refused" in answer:
        raise WeightsError(shown(answer["refused"], 500))
    if "damaged" in answer:
        reason = shown(answer["damaged"].partition("\n")[0], 150)
        raise WeightsError(f"damaged or no HDF5 file ({reason}): download or save it again")
    return [_stored(array) for array in answer["arrays"]]


def _stored(told):
    """A StoredArray of what is told of it, of words that can be printed and numbers that count something.

    What damage has made of HDF5 may tell anything: an array of -1 bytes would make room for another of any size.
    """
    told = {**told, "name": shown(told["name"], 300), "odd": shown(told.get("odd", ""))}
    array = StoredArray(**{**told, "shape": tuple(told["shape"] or ())})
    numbers = [*array.shape, *(array.chunks or ()), *array.filters, array.offset, array.size]
    for start, *others in array.pieces:
        numbers += [*start, *others]
    counts = all(number is None or (type(number) is int and 0 <= number < _LARGEST) for number in numbers)
    if not counts or (array.dtype is not None and not _DTYPE.fullmatch(array.dtype)):
        raise WeightsError(f"HDF5 says of {array.name} what makes no sense: {_AGAIN}")
    return array


def _answer(command, content):
    """What the process says of a file or its bytes; {"damaged": why} where it ends otherwise."""
    env = os.environ | {"HDF5_PLUGIN_PRELOAD": "::"}  # HDF5's word for: load no plugin
    run = partial(subprocess.run, command, capture_output=True, timeout=_PATIENCE, check=False, env=env)
    try:
        done = run(input=content.data) if isinstance(content, np.ndarray) else _with_file(run, content)
    except subprocess.TimeoutExpired:
        return {"damaged": "HDF5 comes to no end"}
    return json.loads(done.stdout) if done.returncode == 0 else {"damaged": "HDF5 ends without an answer"}


def _with_file(run, file):
    """run(stdin=file), and the file stands where it stood: else this process's buffer would not know of the move."""
    place = os.lseek(file.fileno(), 0, os.SEEK_CUR)
    try:
        return run(stdin=file)
    finally:
        os.lseek(file.fileno(), place, os.SEEK_SET)


def check_storage(arrays: Collection[StoredArray], size: int) -> None:
    """Refuse arrays that are no floating-point numbers in this file of `size` bytes, or more of them than it may hold.

    Whole arrays take no more than the file, packed ones no more than zip_file allows a file to grow; no two of them
    have a byte in common. Raises WeightsError, without the file's name.
    """
    packed = chunks = 0
    for array in arrays:
        _check_kind(array)
        if array.chunks is not None:
            number = math.prod(_grid(array))
            chunks += number
            packed += number * array.chunk_bytes
    limit = MAX_GROWTH * size + ALWAYS_ALLOWED
    if packed > limit:
        raise WeightsError(
            f"would unpack to {packed:,} bytes, more than {limit:,} of a file of {size:,}: {_SAVE_AGAIN}"
        )
    most = hdf5_table.MOST_CHUNKS
    if chunks > most:
        raise WeightsError(f"its arrays are cut into {chunks:,} chunks, more than {most:,}: {_SAVE_AGAIN}")
    end = 0
    for start, count, name in sorted(place for array in arrays for place in _places(array)):
        if start < end:
            raise WeightsError(f"{name} lies where another array does: {_AGAIN}")
        end = start + count
    if end > size:
        raise WeightsError(f"cut short: its arrays end at byte {end:,}, it has {size:,}: {_AGAIN}")


def read_array(array: StoredArray, fetch: Fetch) -> np.ndarray:
    """The numbers of an array that check_storage has let through, in a file of which `fetch` gives bytes."""
    dtype = np.dtype(array.dtype)
    if array.content is not None:
        return np.frombuffer(base64.b64decode(array.content), dtype).reshape(array.shape)
    if array.chunks is None:
        return fetch(array.offset or 0, array.nbytes).view(dtype).reshape(array.shape)
    whole = np.empty(array.shape, dtype)
    for start, offset, size, skipped in array.pieces:
        place = tuple(slice(at, at + length) for at, length in zip(start, array.chunks, strict=True))
        inside = tuple(slice(length) for length in whole[place].shape)  # those at the edges reach beyond it
        whole[place] = _chunk(array, fetch(offset, size).data, skipped)[inside]
    return whole


def _check_kind(array):
    """Refuse what is no array of floating-point numbers, all in this file, whole or packed by gzip."""
    dtype = None if array.dtype is None else np.dtype(array.dtype)
    if dtype is None or dtype.kind != "f" or dtype.itemsize > 8:
        raise WeightsError(f"{array.name} holds {dtype or array.odd}: give numbers of 16, 32 or 64 bits")
    if array.chunks is None:
        found = array.size if array.content is None else len(base64.b64decode(array.content))
        if found != array.nbytes or (found and array.offset is None and array.content is None):
            raise WeightsError(f"{array.name} is not whole: {_AGAIN}")
    elif not set(array.filters) <= {_GZIP, _SHUFFLE}:
        raise WeightsError(f"{array.name} is packed by another method than gzip: {_SAVE_AGAIN}")


def _grid(array):
    """The number of chunks along each axis."""
    return [-(-length // chunk) for length, chunk in zip(array.shape, array.chunks, strict=True)]


def _places(array):
    """[(start, count, name)] of the bytes in the file; of an array in chunks, each of which must be there once."""
    if array.chunks is None:
        return [(array.offset, array.nbytes, array.name)] if array.content is None and array.nbytes else []
    starts = {tuple(start) for start, *_ in array.pieces}
    axes = [range(0, length, step) for length, step in zip(array.shape, array.chunks, strict=True)]
    most = array.chunk_bytes + array.chunk_bytes // 100 + 1000  # what gzip cannot pack grows a little
    if len(array.pieces) != math.prod(_grid(array)) or starts != set(itertools.product(*axes)):
        raise WeightsError(f"{array.name} is not whole: {_AGAIN}")
    if any(offset is None or size > most for _, offset, size, _ in array.pieces):
        raise WeightsError(f"{array.name} is not whole: {_AGAIN}")
    return [(offset, size, array.name) for _, offset, size, _ in array.pieces]


def _chunk(array, data, skipped):
    """A chunk, unpacked; skipped: bits of the filters that it did not go through."""
    count = array.chunk_bytes
    for number, kind in reversed(list(enumerate(array.filters))):
        if skipped >> number & 1:
            continue
        if kind == _GZIP:
            unpacking = zlib.decompressobj()
            data = unpacking.decompress(data, count)
            if not unpacking.eof and unpacking.decompress(unpacking.unconsumed_tail, 1):
                raise WeightsError(
                    f"{array.name} has a chunk that unpacks to more than its {count:,} bytes: {_SAVE_AGAIN}"
                )
        elif len(data) == count:
            data = np.frombuffer(data, np.uint8).reshape(np.dtype(array.dtype).itemsize, -1).T.tobytes()
    if len(data) != count:
        raise WeightsError(f"{array.name} has a chunk of {len(data):,} bytes, not {count:,}: download it again")
    return np.frombuffer(data, array.dtype).reshape(array.chunks)
