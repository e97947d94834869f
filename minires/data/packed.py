"""Archives of others, tar and zip, read so far and no further: what is in them, and the bytes of one file in them.

A packed file of a megabyte may hold a thousand megabytes, a million empty files, or headers without end. All that is
read of an archive is read through `_Bounded`. Nothing is written here, links and devices are passed over, and a name
that is there twice has no meaning.
"""

import bz2
import contextlib
import gzip
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from minires.data.dataset import DatasetError
from minires.wording import readable

MOST_PACKED = 2**30  # bytes of an archive: CIFAR's have 163 to 170 MB
MOST_UNPACKED = 2**30  # bytes of all files in it: CIFAR's hold 186 MB
MOST_FILES = 100_000
MOST_HEADER = 4096  # bytes of a header of a tar beyond the usual 512, which hold long names and attributes
MOST_HEADERS = 2**20  # bytes of all of them
BROKEN = (
    tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, EOFError, zlib.error, NotImplementedError, struct.error,
    RecursionError, OverflowError, ValueError,
)  # fmt: skip


def _open_xz(path, mode):
    try:
        from minires.data.xz import open_xz
    except ImportError as error:
        raise DatasetError("it is packed by xz, and this Python comes without lzma: unpack it first") from error
    return open_xz(path, mode)


PACKED = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": _open_xz}


class _Bounded:
    """A file that is read up to a place, and, while `headers` is counted, in small pieces."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.headers, self.listing = file, 0, True

    def read(self, size: int = -1) -> bytes:
        """The next `size` bytes."""
        if self.listing and size > tarfile.BLOCKSIZE:
            self.headers += size
            if size > MOST_HEADER + tarfile.BLOCKSIZE or self.headers > MOST_HEADERS:
                raise DatasetError(
                    f"it has headers of more than {MOST_HEADER:,} bytes, or {MOST_HEADERS:,} in all, the limits"
                )
        self._check(self.file.tell() + max(size, 0))
        return self.file.read(size)

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        if whence == io.SEEK_SET:
            self._check(place)
        return self.file.seek(place, whence)

    def tell(self) -> int:
        """The place."""
        return self.file.tell()

    @staticmethod
    def _check(place):
        if place > MOST_UNPACKED + 2 * MOST_FILES * tarfile.BLOCKSIZE:
            raise _too_much()


class Tar:
    """A tar file, packed or not: its regular files, by their names."""

    def __init__(self, path: Path) -> None:
        with open(path, "rb") as file:
            start = file.read(6)
        unpacks: Any = next((opened for magic, opened in PACKED.items() if start.startswith(magic)), open)
        with contextlib.ExitStack() as stack:
            self.bounded = _Bounded(stack.enter_context(unpacks(path, "rb")))
            bounded: Any = self.bounded  # with all of a file that tarfile uses
            self.tar = stack.enter_context(tarfile.open(fileobj=bounded, mode="r:"))
            self.closing = stack.pop_all()

    def files(self) -> dict[str, Any]:
        """{name: what `open` wants}. Raises DatasetError for too much, and for a name that is there twice."""
        found: dict[str, Any] = {}
        total = 0
        for number, member in enumerate(self.tar):
            if member.size < 0:
                raise DatasetError("it has a file of less than no bytes")
            total += member.size
            _check_size(total, number)
            if member.isfile():
                _add(found, member.name, member)
        self.bounded.listing = False
        return found

    def open(self, member: Any) -> IO[bytes]:
        """The bytes of one."""
        return self.tar.extractfile(member)  # type: ignore[return-value]  # of regular files it is never None

    def finish(self) -> None:
        """Read what is left, so that a file that was cut short is known."""
        while self.bounded.read(1 << 20):
            pass

    def close(self) -> None:
        """Close it."""
        self.closing.close()


class Zip:
    """A zip file: its files, by their names. Each is checked as it is read."""

    def __init__(self, path: Path) -> None:
        _check_directory(path)
        self.zip = zipfile.ZipFile(path)

    def files(self) -> dict[str, Any]:
        """{name: what `open` wants}. Raises DatasetError for too much, and for a name that is there twice."""
        members = [member for member in self.zip.infolist() if not member.filename.endswith("/")]  # of "", too
        _check_size(sum(member.file_size for member in members), len(members))
        found: dict[str, Any] = {}
        for member in members:
            if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise DatasetError(f"{readable(member.filename)} in it is encrypted, or packed in an unusual way")
            if member.header_offset < 0:
                raise DatasetError(f"{readable(member.filename)} in it begins before the archive does")
            _add(found, member.filename, member)
        return found

    def open(self, member: Any) -> IO[bytes]:
        """The bytes of one."""
        return self.zip.open(member)

    def finish(self) -> None:
        """Nothing is left: the directory stands at the end."""

    def close(self) -> None:
        """Close it."""
        self.zip.close()


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Tar | Zip]:
    """The archive. Raises DatasetError, in a few words, or one of BROKEN."""
    if path.stat().st_size > MOST_PACKED:
        raise DatasetError(f"it has more than {MOST_PACKED:,} bytes, the limit")
    with contextlib.closing((Zip if path.name.lower().endswith(".zip") else Tar)(path)) as archive:
        yield archive


def _check_directory(path):
    """Of a zip, whose directory is read whole: how many files it lists. It ends with where it is, in 22 bytes."""
    with open(path, "rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(max(0, size - 2**16 - 22))
        end = file.read()
        at = end.rfind(b"PK\5\6")
        if at < 0 or len(end) < at + 22:
            raise zipfile.BadZipFile("it has no directory")
        length = int.from_bytes(end[at + 12 : at + 16], "little")
        if length > 128 * MOST_FILES:
            raise _too_much()
        file.seek(max(0, size - len(end) + at - length))
        if file.read(length).count(b"PK\1\2") > MOST_FILES:
            raise _too_much()


def _check_size(total, number):
    if total > MOST_UNPACKED or number > MOST_FILES:
        raise _too_much()


def _too_much():
    return DatasetError(f"it would unpack to more than {MOST_UNPACKED:,} bytes or {MOST_FILES:,} files")


def _add(found, name, member):
    """Under its name with a "/" before it."""
    name = "/" + name.replace("\\", "/").removeprefix("./").lstrip("/")
    if name in found:
        raise DatasetError(f"{readable(name)} is in it twice")
    found[name] = member
