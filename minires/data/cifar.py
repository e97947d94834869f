"""CIFAR-10 from the files of either official archive.

    cifar-10-batches-bin    data_batch_1.bin .. data_batch_5.bin, test_batch.bin, batches.meta.txt
    cifar-10-batches-py     data_batch_1 .. data_batch_5, test_batch, batches.meta       (pickles)

Both hold an image as 3072 bytes: 1024 red, 1024 green, 1024 blue, each row by row. A pickle is a program that builds
objects; `minires.pickles` runs it on a bounded machine, and the few names that it may call are stand-ins that can make
arrays of integers and nothing else.

Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
"""

import hashlib
import math
from pathlib import Path

import numpy as np

from minires import pickles
from minires.data.dataset import Dataset, DatasetError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

BINARY_FOLDER = "cifar-10-batches-bin"
PYTHON_FOLDER = "cifar-10-batches-py"
BATCHES = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch")
BINARY_FILES = (*(f"{batch}.bin" for batch in BATCHES), "batches.meta.txt")
PYTHON_FILES = (*BATCHES, "batches.meta")

# MD5 of each batch in the official Python archive, in the order of BATCHES
PYTHON_MD5 = (
    "c99cafc152244af753f735de768cd75f",
    "d4bba439e000b95fd0a9bffe97cbabec",
    "54ebc095f3ab1f0389bbae665268c751",
    "634d18415352ddfa80567beed471001a",
    "482c414d41f54cd18b22e5b47cb7c3cb",
    "40351d587109b95175f43aff81a1287e",
)

PIXELS = 3 * 32 * 32
RECORD = 1 + PIXELS  # bytes of one image in the binary layout: its label, then its pixels


def find_layout(folder: str | Path) -> tuple[Path, str] | None:
    """The folder that holds the files and `"bin"` or `"py"`; None where there is neither.

    folder may be the layout's own folder or the one above it. Where both layouts are there, the binary one wins.
    A single file is enough to be recognised: that others are missing is for the reader to say, by name.
    """
    folder = Path(folder)
    for kind, subfolder, files in (("bin", BINARY_FOLDER, BINARY_FILES), ("py", PYTHON_FOLDER, PYTHON_FILES)):
        for place in (folder, folder / subfolder):
            if any((place / file).is_file() for file in files):
                return place, kind
    return None


def read_cifar10(folder: str | Path) -> Dataset:
    """CIFAR-10 as a Dataset, from either layout.

    folder: `cifar-10-batches-bin`, `cifar-10-batches-py`, or a folder that contains one of them.

    A file may hold any number of images (a cut-down copy is fine), but whole ones, at least one, with labels 0..9.
    The label says what the pixels are: the words before the first comma in the folder's file `COMPLETE` where there
    is one, "CIFAR-10" where the files' checksums are the official ones, else "CIFAR-10 (copy, not verified)".

    Raises DatasetError naming the file that is missing, cut short or damaged, and the cure.
    """
    found = find_layout(folder)
    if found is None:
        raise DatasetError(
            f"no CIFAR-10 in {folder}: expected {BINARY_FOLDER} or {PYTHON_FOLDER} with its files; "
            "give the folder that contains one of them, or download the data"
        )
    place, kind = found
    if kind == "bin":
        _check_classes(place / "batches.meta.txt", _read(place / "batches.meta.txt").decode("ascii", "replace").split())
        parts = [_read_binary_batch(place / f"{batch}.bin") for batch in BATCHES]
    else:
        meta = _read_pickle(place / "batches.meta")
        _check_classes(place / "batches.meta", _texts(_entry(meta, "label_names")))
        parts = [_read_python_batch(place / batch) for batch in BATCHES]
    images, labels = zip(*parts, strict=True)
    return Dataset(
        name="cifar10",
        label=_label(place, kind),
        classes=CLASSES,
        train_images=np.concatenate(images[:5]),
        train_labels=np.concatenate(labels[:5]),
        test_images=images[5],
        test_labels=labels[5],
    )


def _damaged(path, what):
    """The DatasetError for a file: what is wrong with it, and what to do."""
    return DatasetError(f"{path}: {what}; delete the folder {path.parent} and download the data again")


def _read(path):
    """The bytes of a file."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise _damaged(path, "the file is missing") from None
    except OSError as error:
        reason = error.strerror or error
        raise DatasetError(f"{path}: cannot be read ({reason}); check the disk and the permissions") from None


def _check_classes(path, names):
    if tuple(names) != CLASSES:
        found = ", ".join(names)[:80] or "nothing"
        raise _damaged(path, f"expected the ten class names {CLASSES[0]} .. {CLASSES[-1]}, found {found}")


def _batch(path, pixels, labels):
    """pixels uint8 (N, 3072), planar, and labels (N,) -> images uint8 (N, 32, 32, 3) and labels int64 (N,)."""
    if len(labels) == 0:
        raise _damaged(path, "the file holds no image")
    wrong = labels[(labels < 0) | (labels > 9)]
    if len(wrong):
        raise _damaged(path, f"expected labels 0 to 9, found {wrong[0]}")
    planes = pixels.reshape(-1, 3, 32, 32)  # (N, 3072) -> (N, C, H, W)
    images = np.empty((len(planes), 32, 32, 3), np.uint8)
    for channel in range(3):  # a transposition, five times as fast as transpose() followed by a copy
        images[..., channel] = planes[:, channel]
    return images, labels.astype(np.int64)


def _read_binary_batch(path):
    data = np.frombuffer(_read(path), np.uint8)
    if len(data) % RECORD:
        raise _damaged(path, f"{len(data)} bytes are no whole number of images of {RECORD} bytes")
    records = data.reshape(-1, RECORD)
    return _batch(path, records[:, 1:], records[:, 0])


def _read_python_batch(path):
    content = _read_pickle(path)
    pixels, labels = _entry(content, "data"), _entry(content, "labels")
    if isinstance(pixels, ArrayRecord):
        pixels = pixels.array
    if isinstance(labels, ArrayRecord):
        labels = labels.array
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != PIXELS:
        found = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise _damaged(path, f"expected 'data' to be uint8 (N, {PIXELS}), found {found}")
    if isinstance(labels, list) and all(type(label) is int and abs(label) < 2**31 for label in labels):
        labels = np.array(labels, np.int64)
    if not isinstance(labels, np.ndarray) or labels.shape != (len(pixels),):
        number = len(labels) if isinstance(labels, (list, np.ndarray)) else type(labels).__name__
        raise _damaged(path, f"expected {len(pixels)} integers as 'labels', one for each image, found {number}")
    return _batch(path, pixels, labels)


def _entry(content, name):
    """content[name], where Python 2 wrote the name as bytes and Python 3 as text; None where it is missing."""
    if not isinstance(content, dict):
        return None
    return content.get(name.encode(), content.get(name))


def _text(name):
    """A word of either Python; "" for what is none."""
    return name.decode("ascii", "replace") if isinstance(name, bytes) else name if isinstance(name, str) else ""


def _texts(names):
    return [_text(name) for name in names] if isinstance(names, list) else []


def _label(place, kind):
    """What is printed beside accuracies: see read_cifar10."""
    if (place / "COMPLETE").is_file():
        words = _read(place / "COMPLETE").decode("utf-8", "replace").split(",")[0].splitlines()
        if words and words[0].strip():
            return words[0].strip()[:80]
    if kind == "py":
        checksums = (hashlib.md5(_read(place / batch), usedforsecurity=False).hexdigest() for batch in BATCHES)
        if all(found == official for found, official in zip(checksums, PYTHON_MD5, strict=True)):
            return "CIFAR-10"
    return "CIFAR-10 (copy, not verified)"


# --- pickles -------------------------------------------------------------------------------------------------------


class DtypeRecord:
    """Stands in for `numpy.dtype` in a pickle: plain integers only, so objects and fields never come to life."""

    allowed = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8")

    def __init__(self, name: object, align: object = False, copy: object = False) -> None:
        self.name, self.order = _text(name), "|"
        if self.name not in self.allowed:
            raise pickles.Refused(f"refused an array of dtype {self.name[:20]!r}: only integers are read")

    def __setstate__(self, state):
        self.order = _text(state[1])
        if self.order not in ("<", ">", "|", "="):
            raise pickles.Refused(f"refused the byte order {self.order[:20]!r}")


class ArrayRecord:
    """Stands in for `numpy.ndarray` in a pickle; `array` is set once its shape, dtype and bytes have arrived."""

    array = None

    def __setstate__(self, state):
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, DtypeRecord) or not isinstance(data, bytes):
            raise pickles.Refused("refused an array whose dtype or contents are not plain bytes")
        values = np.frombuffer(data, np.dtype(dtype.name).newbyteorder(dtype.order))
        if not isinstance(shape, tuple) or len(shape) > 2 or any(type(n) is not int or n < 0 for n in shape):
            raise pickles.Refused("refused an array whose shape is not one or two numbers")
        if math.prod(shape) != values.size:
            raise pickles.Refused(f"an array of shape {shape} cannot hold {values.size} values")
        self.array = values.reshape(shape, order="F" if fortran else "C")


def _reconstruct(kind, shape, code):
    """Stands in for `numpy._core.multiarray._reconstruct`, which makes an empty array for __setstate__ to fill."""
    if kind is not ArrayRecord:
        raise pickles.Refused("refused to build anything but an array")
    return ArrayRecord()


STAND_INS = {
    "numpy.ndarray": ArrayRecord,
    "numpy.dtype": DtypeRecord,
    "numpy.core.multiarray._reconstruct": _reconstruct,
    "numpy._core.multiarray._reconstruct": _reconstruct,
    "_codecs.encode": pickles.encode,
}


def _read_pickle(path):
    """The content of a pickle, with Python 2's strings as bytes."""
    try:
        with open(path, "rb") as file:
            return pickles.read_pickle(file, path.stat().st_size, STAND_INS, "arrays of integers and plain values")
    except FileNotFoundError:
        raise _damaged(path, "the file is missing") from None
    except Exception as error:  # a damaged pickle can raise any exception there is
        raise _damaged(path, f"not a readable pickle ({str(error)[:200] or type(error).__name__})") from error
