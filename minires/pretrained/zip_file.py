"""The entries of a zip file, read without trust in what it says of itself: PyTorch and NumPy write such files.

Python's zipfile reads them. It would unpack one to any size, by methods that know no bounds; so all entries' sizes are
checked first, and what is neither stored nor deflated is refused. Nothing is ever unpacked onto the disk, and an
entry's name is a word to look up, never a path.
"""

import contextlib
import zipfile
from collections.abc import Iterator
from typing import IO, BinaryIO

import numpy as np

from minires.pretrained.errors import WeightsError
from minires.pretrained.files import size_of

MAX_GROWTH, ALWAYS_ALLOWED = 16, 2**24  # unpacked, a file may be 16 times as large and 16 MiB more
_CHUNK = 2**18


def open_zip(file: BinaryIO) -> zipfile.ZipFile:
    """The ZipFile of an open file. Its entries can be read into memory: they do not overlap or grow beyond measure.

    Raises WeightsError for one that unpacks to more than MAX_GROWTH allows, and any exception for a damaged one.
    """
    archive, size = zipfile.ZipFile(file), size_of(file)
    entries = archive.infolist()
    file.seek(-12 - len(archive.comment), 2)  # where the last record has the number of entries
    if int.from_bytes(file.read(2), "little") != min(len(entries), 2**16 - 1):
        raise WeightsError("its zip directory is damaged; download it again")
    packed, unpacked = sum(entry.compress_size for entry in entries), sum(entry.file_size for entry in entries)
    limit = MAX_GROWTH * size + ALWAYS_ALLOWED
    if packed > size:
        raise WeightsError(f"its entries overlap: {packed} bytes in a file of {size}; download it again")
    if unpacked > limit:
        raise WeightsError(
            f"would unpack to {unpacked} bytes, more than the {limit} allowed a file of {size}; save it uncompressed"
        )
    for method in {entry.compress_type for entry in entries} - {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise WeightsError(f"is packed by method {method}: only stored and deflated are read; save it again")
    return archive


@contextlib.contextmanager
def open_entry(archive: zipfile.ZipFile, name: str) -> Iterator[IO[bytes]]:
    """The entry of that name, open for reading; its end is checked by its CRC-32."""
    try:
        with archive.open(name) as entry:
            yield entry
    except zipfile.BadZipFile as error:
        raise WeightsError(
            "damaged: an entry of this zip file does not match its checksum; download it again"
        ) from error


def read_entry(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """The content of an entry as uint8 (size,)."""
    data, at = np.empty(archive.getinfo(name).file_size, np.uint8), 0
    with open_entry(archive, name) as entry:
        while chunk := entry.read(_CHUNK):
            data[at : at + len(chunk)] = np.frombuffer(chunk, np.uint8)
            at += len(chunk)
    if at != len(data):
        raise WeightsError("damaged: an entry of this zip file is cut short; download it again")
    return data
