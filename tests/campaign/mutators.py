"""Changes what lies within a file's checksums and lengths, and makes those right: blind changes never get there."""

import gzip
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save
from spoiling import spoilt

from campaign.arrays import changed
from minires import checkpoint
from minires.data.headers import PNG, png_chunks

Change: TypeAlias = Callable[[bytes], bytes]  # of a piece of a file: libFuzzer's, which knows what led to new branches
MOST = 2**20  # bytes that are unpacked
BROKEN = (
    EOFError, LookupError, NotImplementedError, OSError, OverflowError, RuntimeError, SafetensorError, TypeError,
    ValueError, struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def within(data: bytes, rng: np.random.Generator, change: Change) -> bytes:
    """The file, one part of it changed; anywhere, where it is of no format that is known here, or broken already."""
    try:
        return _way(data)(data, rng, change)
    except BROKEN:
        return change(data)


def _way(data):
    """The function for a format, which its first bytes tell."""
    for start, way in ((b"PK", _entry), (PNG, _chunk), (b"\x1f\x8b", _packed), (b"{", _json)):
        if data.startswith(start):
            return way
    if data[8:9] == b"{":
        return _header
    return _tar if data[257:262] == b"ustar" else _spoilt


def _spoilt(data, rng, change):
    return spoilt(data, [data], rng)


def _packed(data, rng, change):
    with gzip.open(io.BytesIO(data)) as file:
        return gzip.compress(within(file.read(MOST), rng, change), 1)


def _entry(data, rng, change):
    """A zip: an entry's content or name is another, or the entry is gone, or there twice."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = [(entry.filename, archive.open(entry).read(MOST)) for entry in archive.infolist()[:50]]
    at, way = int(rng.integers(len(entries))), rng.integers(10)
    name, content = entries[at]
    if way == 0:
        del entries[at]
    elif way == 1:
        entries.append((name, change(content)))
    elif way == 2:
        entries[at] = (change(name.encode()).decode("latin1")[:100], content)
    else:
        entries[at] = (name, _npy(content, rng, change) if content.startswith(b"\x93NUMPY") else change(content))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED if rng.random() < 0.2 else zipfile.ZIP_STORED) as archive:
        for name, content in entries:
            with archive.open(zipfile.ZipInfo(name), "w") as entry:
                entry.write(content)
    return packed.getvalue()


def _npy(content, rng, change):
    """The header of an array changed, its length right."""
    (length,) = struct.unpack_from("<H", content, 8)
    header = change(content[10 : 10 + length])[: 2**16 - 1]
    return content[:8] + struct.pack("<H", len(header)) + header + content[10 + length :]


def _chunk(data, rng, change):
    """A PNG: what is in a chunk, or its name, is another, or the chunk is gone, or there twice."""
    chunks = [(name, data[at + 8 : end - 4]) for name, at, end in png_chunks(data)]
    at, way = int(rng.integers(len(chunks))), rng.integers(10)
    name, content = chunks[at]
    if way == 0:
        del chunks[at]
    elif way == 1:
        chunks.insert(int(rng.integers(len(chunks))), (name, content))
    elif way == 2:
        chunks[at] = (change(name)[:4].ljust(4, b"a"), content)
    else:
        chunks[at] = (name, change(content))
    packed = (struct.pack(">L", len(content)) + name + content + _sum(name + content) for name, content in chunks)
    return data[:8] + b"".join(packed)


def _sum(content):
    return struct.pack(">L", zlib.crc32(content))


def _tar(data, rng, change):
    """A tar: one of its headers is another, its checksum right."""
    headers = [at for at in range(0, len(data) - 511, 512) if data[at + 257 : at + 262] == b"ustar"]
    at = headers[rng.integers(len(headers))]
    fields = ((0, 100), (100, 24), (124, 12), (136, 12), (156, 1), (157, 100), (345, 155))
    start, length = fields[rng.integers(len(fields))]
    header = bytearray(data[at : at + 512])
    header[start : start + length] = change(bytes(header[start : start + length]))[:length].ljust(length, b"\0")
    header[148:156] = b" " * 8
    header[148:155] = f"{sum(header):06o}\0".encode()
    return data[:at] + bytes(header) + data[at + 512 :]


def _json(data, rng, change):
    """A text of JSON: some of its values, or their names, are others."""
    return _dumped(changed([json.loads(data)], rng)[0])


def _dumped(value):
    return json.dumps(value).encode()


def _header(data, rng, change):
    """A safetensors file: its header, in bytes or in values; of a checkpoint, the metadata, and the sum fits."""
    length = int.from_bytes(data[:8], "little")
    header, arrays = data[8 : 8 + length], data[8 + length :]
    way = rng.random()
    if way < 0.5 and b'"sha256"' in header:
        return _summed(data, str(json.loads(header)["__metadata__"]["minires"]).encode(), rng, change)
    header = change(header) if way < 0.7 else _json(header, rng, change)
    return len(header).to_bytes(8, "little") + header + arrays


def _summed(data, own, rng, change):
    """A checkpoint, its metadata another, and the sum fits."""
    arrays = load(data)
    own = change(own) if rng.random() < 0.3 else _json(own, rng, change)
    metadata = {"format": str(rng.choice(checkpoint.FORMATS)), "minires": own.decode("utf-8", "replace")}
    if metadata["format"] == checkpoint.FORMAT:
        metadata["sha256"] = checkpoint.digest(arrays, metadata)
    return save(arrays, metadata)
