"""xz files, unpacked in bounded memory: such a file says how much it needs, and Python's `lzma.open` knows no limit."""

import io
import lzma
from pathlib import Path
from typing import Any

from minires.data.dataset import DatasetError

MOST_WINDOW = 2**27  # bytes of memory to unpack an xz file, which says how many it needs; of `xz -9` 2**26
_CHUNK = 2**16


class Xz(io.RawIOBase):
    """The content of an xz file, of one stream or several. Seeking back begins from the start."""

    def __init__(self, path: Path, mode: str) -> None:
        self.file = path.open(mode)
        self._begin()

    def _begin(self):
        self.file.seek(0)
        self.unpacker, self.place = lzma.LZMADecompressor(lzma.FORMAT_XZ, MOST_WINDOW), 0

    def seekable(self) -> bool:
        """It is."""
        return True

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill some of the buffer; how much, 0 at the end.

        Raises EOFError for a file that is cut short, ValueError for a damaged one, DatasetError for too much memory.
        """
        content = b""
        while not content:
            packed = self.file.read(_CHUNK) if self.unpacker.needs_input and not self.unpacker.eof else b""
            if self.unpacker.eof:  # another stream may follow, after zeros
                packed = (self.unpacker.unused_data or self.file.read(_CHUNK)).lstrip(b"\0")
                if not packed:
                    return 0
                self.unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, MOST_WINDOW)
            elif self.unpacker.needs_input and not packed:
                raise EOFError("its end is missing")
            content = self._unpacked(packed, len(buffer))
        buffer[: len(content)] = content
        self.place += len(content)
        return len(content)

    def _unpacked(self, packed, most):
        try:
            return self.unpacker.decompress(packed, most)
        except lzma.LZMAError as error:
            if "limit" in str(error):
                raise DatasetError(f"unpacking takes more than {MOST_WINDOW:,} bytes of memory, the limit") from error
            raise ValueError(str(error)) from error

    def seek(self, place: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, counted from the start or from here."""
        place += self.place if whence == io.SEEK_CUR else 0
        if place < self.place:
            self._begin()
        while self.place < place and self.read(min(_CHUNK, place - self.place)):
            pass
        return self.place

    def tell(self) -> int:
        """The place."""
        return self.place

    def close(self) -> None:
        """Close the file."""
        self.file.close()
        super().close()


def open_xz(path: Path, mode: str) -> io.BufferedReader:
    """The content of an xz file, open for reading. Reading raises as `Xz.readinto` does."""
    return io.BufferedReader(Xz(path, mode))
