"""The entries of a zip file, read without trust in what it says of itself: PyTorch and NumPy write such files.

Python's zipfile reads them. It would unpack one to any size, by methods that know no bounds; so all entries' sizes are
checked first, and what is neither stored nor deflated is refused. Nothing is ever unpacked onto the disk, and an
entry's name is a word to look up, never a path.
"""

import contextlib
import zipfile
from collections import Counter
from collections.abc import Iterator
from typing import BinaryIO, cast

import numpy as np

from minires.pretrained.errors import WeightsError
from minires.pretrained.files import size_of
from minires.wording import shown

MAX_GROWTH, ALWAYS_ALLOWED = 2, 2**27  # unpacked, a file may be twice as large and 128 MiB more
MAX_DIRECTORY = 2**23  # bytes; 100,000 entries of PyTorch's take six million
_CHUNK = 2**18
_END, _LOCATOR, _END_64, _MAX_COMMENT = 22, 20, 56, 2**16  # bytes of the records at the end, and of the comment


def open_zip(file: BinaryIO) -> zipfile.ZipFile:
    """The ZipFile of an open file. Its entries can be read into memory: they do not overlap or grow beyond measure.

    Raises WeightsError for one that unpacks to more than MAX_GROWTH allows, has entries of one name or a directory of
    more than MAX_DIRECTORY, and any exception for a damaged one.
    """
    size = size_of(file)
    if (length := _directory_length(file, size)) > MAX_DIRECTORY:
        raise WeightsError(
            f"its zip directory has {length:,} bytes, the most is {MAX_DIRECTORY:,}; check where it is from"
        )
    archive = zipfile.ZipFile(file)
    entries = archive.infolist()
    names = Counter(entry.filename for entry in entries)
    for name, count in names.most_common(1):
        if count > 1:
            raise WeightsError(
                f"{count} of its entries are called {shown(name, 80)}, one would be right; save it again"
            )
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


def _directory_length(file, size):
    """Bytes of the directory, by the records at the end of the file that zipfile goes by; 0 where there are none."""
    start = max(0, size - _END - _MAX_COMMENT)
    file.seek(start)
    tail = file.read()
    plain = tail[-_END:].startswith(b"PK\5\6") and tail.endswith(b"\0\0")
    at = len(tail) - _END if plain else tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) < at + _END:
        return 0
    length = int.from_bytes(tail[at + 12 : at + 16], "little")
    file.seek(max(0, start + at - _LOCATOR - _END_64))
    before = file.read(_LOCATOR + _END_64)  # a longer length, if there is one
    if before[-_LOCATOR:].startswith(b"PK\6\7") and before.startswith(b"PK\6\6"):
        length = int.from_bytes(before[40:48], "little")
    return length


@contextlib.contextmanager
def open_entry(archive: zipfile.ZipFile, name: str) -> Iterator[zipfile.ZipExtFile]:
    """The entry of that name, open for reading; its end is checked by its CRC-32."""
    try:
        with archive.open(name) as entry:
            yield cast(zipfile.ZipExtFile, entry)
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
