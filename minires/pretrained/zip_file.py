"""The entries of a zip file, read without trust in what it says of itself: PyTorch and NumPy write such files.

    header of an entry, its content, ..., directory with a record for each entry, record of the directory

The directory says where everything is, so that an entry is read straight into memory. Nothing is ever unpacked onto
the disk, and an entry's name is a word to look up, never a path.

Source: PKWARE, APPNOTE.TXT, sections 4.3 and 4.4.
"""

import struct
import zlib
from dataclasses import dataclass

import numpy as np

from minires.pretrained.errors import WeightsError
from minires.pretrained.files import read_at, size_of

STORED, DEFLATED = 0, 8
MAX_GROWTH, ALWAYS_ALLOWED = 16, 2**24  # unpacked, a file may be 16 times as large and 16 MiB more

_END = struct.Struct("<4s4x2H2L2x")  # signature, entries (twice), bytes of the directory, where it starts
_RECORD = struct.Struct("<4s6xH4x3L3H8xL")  # signature, method, CRC, packed, size, lengths of three texts, start
_HEADER = struct.Struct("<4s22x2H")  # signature, lengths of two texts


@dataclass(frozen=True)
class Entry:
    """An entry: where its header starts, its bytes in the file and unpacked, how it is packed, its CRC-32."""

    start: int
    packed: int
    size: int
    method: int
    checksum: int


def read_directory(file):
    """{name: Entry} of an open zip file, in its order.

    Raises WeightsError for a damaged one, one of 4 GiB or more, and one that unpacks to more than MAX_GROWTH allows.
    """
    size = size_of(file)
    if size >= 2**32:
        raise WeightsError(f"has {size / 2**30:.1f} GiB, and zip files are read below 4; save it as .safetensors")
    last = max(0, size - 2**16 - _END.size)  # a comment of up to 2**16 bytes may follow
    tail = read_at(file, last, size - last).tobytes()
    end = tail.rfind(b"PK\5\6")
    if not 0 <= end <= len(tail) - _END.size:
        raise WeightsError("not a whole zip file: its directory is missing; download it again")
    _, _, count, length, start = _END.unpack_from(tail, end)
    directory = read_at(file, start, length).tobytes()
    entries, at = {}, 0
    for _ in range(count):
        signature, method, checksum, packed, unpacked, *lengths, header = _RECORD.unpack_from(directory, at)
        if signature != b"PK\1\2":
            raise WeightsError("its zip directory is damaged; download it again")
        name = directory[at + _RECORD.size : at + _RECORD.size + lengths[0]].decode("utf-8", "replace")
        entries[name] = Entry(header, packed, unpacked, method, checksum)
        at += _RECORD.size + sum(lengths)
    if at != length:
        raise WeightsError("its zip directory is damaged; download it again")
    _check_sizes(entries.values(), size)
    return entries


def _check_sizes(entries, size):
    """Refuse entries that overlap or that grow beyond measure."""
    packed, unpacked = sum(entry.packed for entry in entries), sum(entry.size for entry in entries)
    limit = MAX_GROWTH * size + ALWAYS_ALLOWED
    if packed > size:
        raise WeightsError(f"its entries overlap: {packed} bytes in a file of {size}; download it again")
    if unpacked > limit:
        raise WeightsError(
            f"would unpack to {unpacked} bytes, more than the {limit} allowed a file of {size}; save it uncompressed"
        )


def read_entry(file, entry):
    """The content of an entry as uint8 (entry.size,), checked by its CRC-32."""
    signature, *lengths = _HEADER.unpack(read_at(file, entry.start, _HEADER.size))
    data = read_at(file, entry.start + _HEADER.size + sum(lengths), entry.packed)
    if entry.method == DEFLATED:
        inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, entry.size + 1)
        data = np.frombuffer(bytearray(inflated), np.uint8)
    elif entry.method != STORED:
        raise WeightsError(f"is packed by method {entry.method}: only stored and deflated are read; save it again")
    if signature != b"PK\3\4" or len(data) != entry.size or zlib.crc32(data) != entry.checksum:
        raise WeightsError("damaged: an entry of this zip file does not match its checksum; download it again")
    return data
