"""Event files, as TensorBoard reads them: records of the protocol buffers that tensorboardX has the types of.

A record is   length (8 bytes), checksum of these, data, checksum of the data,   all little-endian; the checksum is a
CRC-32C, masked. A process that is killed leaves at most its last record unfinished, and nothing after that is read.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from minires.data.regular import read_regular
from minires.files import write_atomically

MOST_BYTES = 2**30  # of a file that is read again
PATTERN = "events.out.tfevents.*"
_POLYNOMIAL = 0x82F63B78  # of CRC-32C, its bits reversed
APPEND = os.O_WRONLY | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


class EventFile:
    """The events of one run in `folder`, each tag once a step: `add` takes what is not there yet, and nothing twice.

    Events of earlier processes up to step `until` are kept, later ones are dropped: the run goes on from there. All
    that is kept is written into one new file, whole, before the others are removed; what is left of a process that was
    killed in between is put right by the next. Raises OSError and ValueError where that cannot be done.
    """

    def __init__(self, folder: Path, until: int) -> None:
        if folder.is_symlink():
            raise ValueError(f"{folder} is a link: move it away")
        folder.mkdir(exist_ok=True)
        files = sorted(path for path in folder.glob(PATTERN) if path.is_file() and not path.is_symlink())
        kept = {key: event for file in files for event in events(file) if (key := _key(event)) and event.step <= until}
        self.there = set(kept)
        self.path = folder / f"events.out.tfevents.{_later_than(files)}.minires"
        write_atomically(
            self.path, b"".join(map(record, [_version(), *(one.SerializeToString() for one in kept.values())]))
        )
        for file in files:
            file.unlink()
        self.added: list[bytes] = []

    def add(self, step: int, tag: str, content: Callable[[], Mapping[str, Any]]) -> None:
        """Add an event, unless it is there.   content() -> one field of Summary.Value, or a graph's graph_def."""
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        if (tag, step) in self.there:
            return
        field = content()
        more = field if "graph_def" in field else {"summary": Summary(value=[Summary.Value(tag=tag, **field)])}
        self.added.append(record(Event(step=step, wall_time=time.time(), **more).SerializeToString()))
        self.there.add((tag, step))

    def write(self) -> None:
        """Append what was added to the file; from then on a process that is killed loses none of it."""
        added, self.added = self.added, []
        with open(os.open(self.path, APPEND), "ab") as file:
            file.write(b"".join(added))


def events(path: Path) -> Iterator[Any]:
    """The Events of a file, up to the first that is not whole."""
    from google.protobuf.message import DecodeError
    from tensorboardX.proto.event_pb2 import Event

    for data in records(read_regular(path, MOST_BYTES)):
        try:
            yield Event.FromString(data)
        except DecodeError:
            return


def records(content: bytes) -> Iterator[bytes]:
    """The data of a file's records, up to the first that is not whole."""
    position = 0
    while len(header := content[position : position + 12]) == 12:
        length, checksum = struct.unpack("<QI", header)
        data, end = content[position + 12 : position + 12 + length], content[position + 12 + length :][:4]
        if checksum != masked(header[:8]) or len(end) < 4 or struct.unpack("<I", end)[0] != masked(data):
            return
        yield data
        position += 12 + length + 4


def record(data: bytes) -> bytes:
    """The bytes of a record."""
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked(length)) + data + struct.pack("<I", masked(data))


def masked(data: bytes) -> int:
    """The checksum of a record: its CRC-32C turned by 15 bits, plus a constant."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _table():
    """What each byte does to a CRC."""
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (_POLYNOMIAL if byte & 1 else 0)
        table.append(byte)
    return table


_TABLE = _table()


def _key(event):
    """What an event is told from others by, (tag, step); None for one that says nothing of the run."""
    if event.HasField("graph_def"):
        return "graph", event.step
    return (event.summary.value[0].tag, event.step) if event.HasField("summary") and event.summary.value else None


def _version():
    from tensorboardX.proto.event_pb2 import Event

    return Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString()


def _later_than(files):
    """The time for a file's name, after those of all others, since TensorBoard reads them in the order of names."""
    times = [int(number) for file in files if (number := file.name.split(".")[3]).isdigit()]
    return f"{max(int(time.time()), 1 + max(times, default=0)):010d}"
