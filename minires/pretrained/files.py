"""What the readers of weights files share: a file opened so that every failure names it, and bytes as numbers."""

import contextlib
import errno
import os
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

import numpy as np

from minires.pretrained.errors import WeightsError
from minires.pretrained.kinds import TELL_TALE, foreign
from minires.wording import shown

DTYPES = (
    "float64", "float32", "float16", "bfloat16",
    "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool",
)  # fmt: skip


@contextlib.contextmanager
def opened(path: str | Path) -> Iterator[BufferedReader]:
    """The file at `path`, open for reading; whatever goes wrong within becomes a WeightsError that names it.

    So does what is plainly no file of weights (`kinds.foreign`).
    """
    with named(path):
        if not Path(path).is_file():
            raise WeightsError("no such file; give the path of a weights file, or download it")
        with open(path, "rb") as file:
            if what := foreign(path, file.read(TELL_TALE)):
                raise WeightsError(what)
            file.seek(0)
            yield file


@contextlib.contextmanager
def named(path: str | Path) -> Iterator[None]:
    """Whatever goes wrong within becomes a WeightsError that names the file at `path`."""
    path = Path(path)
    try:
        yield
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error.__cause__
    except OSError as error:
        if error.errno == errno.EINVAL:  # of seek: no disk says so
            raise WeightsError(
                f"{path}: damaged (it speaks of places before its beginning); download it again"
            ) from error
        reason = error.strerror or error
        raise WeightsError(f"{path}: cannot be read ({reason}); check the disk and the permissions") from error
    except MemoryError as error:
        raise WeightsError(f"{path}: does not fit into memory; close other programs, or use a smaller model") from error
    except Exception as error:  # damaged bytes can raise any exception there is
        reason = shown(f"{type(error).__name__}: {error}".partition("\n")[0])
        raise WeightsError(f"{path}: damaged ({reason}); download it again") from error


def size_of(file: BinaryIO) -> int:
    """The bytes of an open file."""
    return os.fstat(file.fileno()).st_size


def read_at(file: BufferedReader, start: int, count: int) -> np.ndarray:
    """`count` bytes from `start` on, as uint8 (count,); nothing is allocated for bytes that the file does not have."""
    size = size_of(file)
    if not 0 <= start <= start + count <= size:
        raise WeightsError(f"cut short or damaged: it has {size} bytes and speaks of others; download it again")
    data = np.empty(count, np.uint8)
    file.seek(start)
    if file.readinto(data.data) != count:
        raise WeightsError(f"cut short while it was read: {count} bytes were expected; download it again")
    return data


def item_size(dtype: str) -> int:
    """The bytes of one value of a dtype of DTYPES."""
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


def as_numbers(data: np.ndarray, dtype: str) -> np.ndarray:
    """uint8 (n,) -> (n // item_size,) of a dtype of DTYPES: the whole values in it, least significant byte first.

    bfloat16, which NumPy lacks, becomes float32, whose upper half it is; all else is a view of data.
    """
    if dtype == "bfloat16":
        bits = as_numbers(data, "uint16").astype(np.uint32)
        bits <<= 16
        return bits.view(np.float32)
    whole = len(data) - len(data) % item_size(dtype)
    return data[:whole].view(np.dtype(dtype).newbyteorder("<"))


def inside(folder: Path, name: str) -> Path:
    """The file of that name in a folder. Raises WeightsError for one that lies elsewhere, by its name or by a link.

    A snapshot in Hugging Face's cache consists of links to the folder `blobs` above it; these are followed.
    """
    place = folder / name
    roots = [folder.resolve()]
    if folder.resolve().parent.name == "snapshots":
        roots.append(folder.resolve().parents[1] / "blobs")
    outside = "\0" in name or "\\" in name or ":" in name or place == folder
    try:
        real = folder if outside else place.resolve()
    except RuntimeError as error:  # of Python before 3.13
        raise WeightsError(f"'{shown(name, 80)}' is a link in a circle; download the folder again") from error
    if outside or not any(real.is_relative_to(root) for root in roots) or ".." in Path(name).parts:
        raise WeightsError(f"names '{shown(name, 80)}', which is not in its folder; download the folder again")
    return place
