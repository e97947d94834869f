"""CIFAR as others keep it: an .npz file of four arrays, or folders of pictures."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from minires.data.dataset import Dataset, DatasetError
from minires.data.images import Preprocessing
from minires.data.parts import parts_in
from minires.data.scan import sub_folders
from minires.wording import shown

NPZ = {"cifar10": "cifar10.npz"}
AS_THEY_ARE = Preprocessing((0.5,) * 3, (0.5,) * 3, size=32, resize=None)


def read_npz_file(path: Path, name: str, label: str, classes: Sequence[str]) -> Dataset:
    """A Dataset of x_train, y_train, x_test and y_test in an .npz file.

    x: uint8 (N, 32, 32, 3) or (N, 3, 32, 32).   y: integers (N,) or (N, 1), labels of `classes`.
    Raises DatasetError for anything else, and for a damaged file.
    """
    from minires.pretrained.errors import WeightsError
    from minires.pretrained.npz_file import read_npz

    try:
        arrays, _ = read_npz(path)
    except WeightsError as error:
        raise DatasetError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error
    parts = [_part(path, arrays, part, len(classes)) for part in ("train", "test")]
    return Dataset(name, label, tuple(classes), *parts[0], *parts[1])


def _part(path, arrays, part, number):
    """(images, labels) of a part."""
    lacking = [key for key in (f"x_{part}", f"y_{part}") if key not in arrays]
    if lacking:
        found = shown(", ".join(sorted(arrays)), 80)
        raise DatasetError(
            f"{path}: lacks {lacking[0]}, it holds {found}: name its arrays x_train, y_train, x_test, y_test"
        )
    images, labels = arrays[f"x_{part}"], arrays[f"y_{part}"]
    if images.ndim == 4 and images.shape[1:] == (3, 32, 32):
        images = images.transpose(0, 2, 3, 1)
    if images.dtype != np.uint8 or images.shape[1:] != (32, 32, 3) or len(images) == 0:
        raise DatasetError(
            f"{path}: x_{part} is {images.dtype} of shape {images.shape}, expected uint8 (N, 32, 32, 3): save the bytes"
        )
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if labels.dtype.kind not in "iu" or labels.shape != (len(images),):
        raise DatasetError(
            f"{path}: y_{part} is {labels.dtype} of shape {labels.shape}, expected {len(images)} integers, one for "
            "each image"
        )
    if labels.min() < 0 or labels.max() >= number:
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise DatasetError(f"{path}: y_{part} holds the label {wrong}, expected 0 to {number - 1}")
    return np.ascontiguousarray(images), labels.astype(np.int64)


def has_pictures_of(folder: Path, number: int, classes: Sequence[str] | None) -> bool:
    """Whether a folder has parts, train and test, with a folder for each class: these, or so many."""
    try:
        parts = parts_in(folder) if folder.is_dir() else None
        if parts is None or "test" not in parts:
            return False
        found = sub_folders(folder / parts["train"])
    except DatasetError:
        return False
    return found == list(classes) if classes is not None else len(found) == number


def read_pictures(folder: Path, name: str, label: str) -> Dataset:
    """A Dataset of the pictures in a folder's parts, of 32x32 pixels; what should be known is said on stderr."""
    from minires.data.folders import read_image_folder

    dataset = read_image_folder(folder, AS_THEY_ARE, tell=lambda line: print(line, file=sys.stderr, flush=True))
    return replace(dataset, name=name, label=label)
