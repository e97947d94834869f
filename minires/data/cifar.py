"""CIFAR-10 and CIFAR-100 from the files of the official archives, and from what others made of them.

    cifar-10-batches-bin    data_batch_1.bin .. data_batch_5.bin, test_batch.bin, batches.meta.txt
    cifar-10-batches-py     data_batch_1 .. data_batch_5, test_batch, batches.meta       (pickles)
    cifar-100-binary        train.bin, test.bin, fine_label_names.txt, coarse_label_names.txt
    cifar-100-python        train, test, meta                                            (pickles)
    cifar10.npz             x_train, y_train, x_test, y_test
    train/cat/1.png, ...    a folder of pictures for each class, in train and in test

The first four hold an image as 3072 bytes: 1024 red, 1024 green, 1024 blue, each row by row.

Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
"""

import hashlib
from pathlib import Path

import numpy as np

from minires.data.cifar_kinds import CIFAR10, CLASSES, Cifar, find_layout
from minires.data.cifar_others import NPZ, read_npz_file, read_pictures
from minires.data.cifar_pickles import ArrayRecord, read_pickle, text
from minires.data.dataset import Dataset, DatasetError
from minires.wording import shown

PIXELS = 3 * 32 * 32


def read_cifar10(folder: str | Path) -> Dataset:
    """CIFAR-10 as a Dataset, from any of its forms: `read_cifar(folder, CIFAR10)`."""
    return read_cifar(folder, CIFAR10)


def read_cifar(folder: str | Path, kind: Cifar) -> Dataset:
    """CIFAR10, CIFAR100 or CIFAR100_COARSE as a Dataset.

    folder: one of those above, or a folder that contains it, itself or in one of its folders.

    A file may hold any number of images (a cut-down copy is fine), but whole ones, at least one, with labels that are
    classes. The label says what the pixels are: the words before the first comma in the folder's file `COMPLETE` where
    there is one, "CIFAR-10" where the files' checksums are the official ones, else "CIFAR-10 (copy, not verified)".

    Raises DatasetError naming the file that is missing, cut short or damaged, and the cure.
    """
    found = find_layout(folder, kind)
    if found is None:
        raise DatasetError(
            f"no {kind.label} in {folder}: expected {kind.binary.folder} or {kind.python.folder} with its files; "
            "give the folder that contains one of them, or download the data"
        )
    place, form = found
    copy = f"{kind.label} (copy, not verified)"
    if form == "npz":
        return read_npz_file(place / NPZ[kind.name], kind.name, copy, kind.classes or ())
    if form == "pictures":
        return read_pictures(place, kind.name, copy)
    layout = kind.binary if form == "bin" else kind.python
    if form == "bin":
        classes = tuple(_read(place / layout.meta).decode("ascii", "replace").split())
        parts = [_read_binary_batch(place / batch, kind) for batch in layout.batches]
    else:
        classes = _read_python_names(place / layout.meta, kind)
        parts = [_read_python_batch(place / batch, kind) for batch in layout.batches]
    _check_classes(place / layout.meta, classes, kind)
    images, labels = zip(*parts, strict=True)
    return Dataset(
        name=kind.name,
        label=_label(place, form, kind),
        classes=classes,
        train_images=np.concatenate(images[:-1]),
        train_labels=np.concatenate(labels[:-1]),
        test_images=images[-1],
        test_labels=labels[-1],
    )


def damaged(path: Path, what: str) -> DatasetError:
    """The DatasetError for a file: what is wrong with it, and what to do."""
    return DatasetError(f"{path}: {what}; put a whole copy there, or download the data into another folder")


def _read(path):
    """The bytes of a file."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path, error):
    """The DatasetError for an OSError."""
    if isinstance(error, FileNotFoundError):
        return damaged(path, "the file is missing")
    return DatasetError(f"{path}: cannot be read ({error.strerror or error}); check the disk and the permissions")


def _check_classes(path, names, kind):
    found = shown(", ".join(names[: kind.number + 1]), 80) or "nothing"
    if kind.classes is not None and names != kind.classes:
        raise damaged(path, f"expected the ten class names {CLASSES[0]} .. {CLASSES[-1]}, found {found}")
    if len(set(names)) != kind.number or len(names) != kind.number:
        raise damaged(path, f"expected {kind.number} class names, found {len(set(names))}: {found}")
    for name in names:
        if not name or not name.isprintable():
            raise damaged(path, f"expected names of classes that can be printed, found '{shown(name, 80)}'")


def _batch(path, pixels, labels, kind):
    """pixels uint8 (N, 3072), planar, and labels (N,) -> images uint8 (N, 32, 32, 3) and labels int64 (N,)."""
    if len(labels) == 0:
        raise damaged(path, "the file holds no image")
    wrong = labels[(labels < 0) | (labels >= kind.number)]
    if len(wrong):
        raise damaged(path, f"expected labels 0 to {kind.number - 1}, found {wrong[0]}")
    planes = pixels.reshape(-1, 3, 32, 32)  # (N, 3072) -> (N, C, H, W)
    images = np.empty((len(planes), 32, 32, 3), np.uint8)
    for channel in range(3):  # a transposition, five times as fast as transpose() followed by a copy
        images[..., channel] = planes[:, channel]
    return images, labels.astype(np.int64)


def _read_binary_batch(path, kind):
    data, record = np.frombuffer(_read(path), np.uint8), kind.bytes + PIXELS
    if len(data) % record:
        raise damaged(path, f"{len(data)} bytes are no whole number of images of {record} bytes")
    records = data.reshape(-1, record)
    return _batch(path, records[:, kind.bytes :], records[:, kind.byte], kind)


def _read_python_batch(path, kind):
    content = _read_pickle(path)
    pixels, labels = _entry(content, "data"), _entry(content, kind.labels)
    if isinstance(pixels, ArrayRecord):
        pixels = pixels.array
    if isinstance(labels, ArrayRecord):
        labels = labels.array
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[1] != PIXELS:
        found = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise damaged(path, f"expected 'data' to be uint8 (N, {PIXELS}), found {found}")
    if isinstance(labels, list) and all(type(label) is int and abs(label) < 2**31 for label in labels):
        labels = np.array(labels, np.int64)
    if not isinstance(labels, np.ndarray) or labels.shape != (len(pixels),):
        number = len(labels) if isinstance(labels, (list, np.ndarray)) else type(labels).__name__
        raise damaged(path, f"expected {len(pixels)} integers as {kind.labels!r}, one for each image, found {number}")
    return _batch(path, pixels, labels, kind)


def _entry(content, name):
    """content[name], where Python 2 wrote the name as bytes and Python 3 as text; None where it is missing."""
    if not isinstance(content, dict):
        return None
    return content.get(name.encode(), content.get(name))


def _read_python_names(path, kind):
    names = _entry(_read_pickle(path), kind.names)
    if not isinstance(names, list) or not all(isinstance(name, (str, bytes)) for name in names):
        raise damaged(path, f"expected {kind.names!r} to be a list of {kind.number} names")
    return tuple(map(text, names))


def _label(place, form, kind):
    """What is printed beside accuracies: see read_cifar."""
    if (place / "COMPLETE").is_file():
        words = _read(place / "COMPLETE").decode("utf-8", "replace").split(",")[0].splitlines()
        if words and words[0].strip():
            return shown(words[0].strip(), 80)
    if form == "py":
        files = [place / batch for batch in kind.python.batches]
        if all(
            hashlib.md5(_read(file), usedforsecurity=False).hexdigest() == official
            for file, official in zip(files, kind.md5, strict=True)
        ):
            return kind.label
    return f"{kind.label} (copy, not verified)"


def _read_pickle(path):
    """The content of a pickle."""
    try:
        return read_pickle(path)
    except OSError as error:
        raise _unreadable(path, error) from None
    except Exception as error:  # a damaged pickle can raise any exception there is
        raise damaged(path, f"not a readable pickle ({shown(str(error), 200) or type(error).__name__})") from error
