"""What a data set is here: images as bytes, labels as integers, and the names of the classes."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from minires.data.stream import Pictures

Images: TypeAlias = np.ndarray | Pictures


class DatasetError(ValueError):
    """Data that is damaged or incomplete; the message names the file, what is wrong with it and the cure."""


class DatasetUnavailable(DatasetError):
    """No copy was found and none could be downloaded: nothing is damaged, it just is not here."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images, split into training and test parts.

    name           "cifar10" or "synthetic", as on the command line
    label          what is printed beside every accuracy, so that nobody takes one data set for another
    classes        the classes' names; label i is classes[i]
    train_images   uint8 (N, 32, 32, 3), RGB, 0..255;   train_labels  int64 (N,)
    test_images    likewise;                            test_labels   likewise
    val_images, val_labels    likewise, where the set has a part for validation of its own, else None
    groups         int (N,), training images with the same number have the same content; None: none is there twice
    fingerprint    of the files' names and contents, where images come from a folder of pictures, else None

    Images that are not all in memory are `Pictures`.
    """

    name: str
    label: str
    classes: tuple[str, ...]
    train_images: Images
    train_labels: np.ndarray
    test_images: Images
    test_labels: np.ndarray
    val_images: Images | None = None
    val_labels: np.ndarray | None = None
    groups: np.ndarray | None = None
    fingerprint: str | None = None


def channel_mean_std(images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, in units where a pixel is 0..1.

        mean = sum(x) / n,   std = sqrt(sum(x^2) / n - mean^2)     over all n pixels, x = byte / 255

    images: uint8 (N, H, W, C).   Returns two tuples of C floats. The sums are sums of integers and exact: they are
    taken from a histogram of the 256 values, so no image is ever converted to floats.
    Raises ValueError for images that are not bytes, and where there are none.
    """
    if images.dtype != np.uint8:
        raise ValueError(f"channel_mean_std: images are {images.dtype}, expected uint8: pass them before normalising")
    if 0 in images.shape:
        raise ValueError(f"channel_mean_std: images have shape {images.shape}: there is no pixel to average")
    channels = images.shape[-1]
    counts = np.zeros(channels * 256, np.int64)
    offsets = np.arange(channels, dtype=np.int16) * 256  # channel c counts in bins 256c .. 256c + 255
    for start in range(0, len(images), 64):
        values = images[start : start + 64].astype(np.int16)
        values += offsets
        counts += np.bincount(values.reshape(-1), minlength=channels * 256)
    mean, std = [], []
    for histogram in counts.reshape(channels, 256).tolist():  # Python's integers: nothing overflows
        n = sum(histogram)
        total = sum(value * count for value, count in enumerate(histogram))
        squares = sum(value * value * count for value, count in enumerate(histogram))
        mean.append(total / n / 255)
        std.append((n * squares - total * total) ** 0.5 / n / 255)
    return tuple(mean), tuple(std)


def split(dataset: Dataset, val_size: int, seed: int) -> tuple[tuple[Images, np.ndarray], tuple[Images, np.ndarray]]:
    """Set `val_size` training images, drawn at random, aside for validation.

    Returns (train_images, train_labels), (val_images, val_labels): together the training set, no image in both, each
    in the order of the file. The same seed draws the same images. val_size 0 gives an empty validation part.
    Images of one of the dataset's groups stay together; what that leaves no room for is not filled.
    Raises ValueError when val_size is negative or leaves nothing to train on.
    """
    images, labels = dataset.train_images, dataset.train_labels
    if not 0 <= val_size < len(images):
        raise ValueError(f"split: val_size is {val_size}, expected 0 to {len(images) - 1}: one image must be left")
    if val_size == 0:
        return (images, labels), (pick(images, slice(0)), labels[:0])
    order = np.random.default_rng(seed).permutation(len(images))
    held_out = np.zeros(len(images), bool)
    held_out[draw_groups(order, dataset.groups, val_size)] = True
    return (pick(images, ~held_out), labels[~held_out]), (pick(images, held_out), labels[held_out])


def draw_groups(order: np.ndarray, groups: np.ndarray | None, count: int) -> np.ndarray:
    """The first `count` numbers of `order`, but each with all others of its group, and no group that has no room.

    order: int (N,), numbers in the order in which they are drawn.   groups: int, groups[number] its group; None: each
    is a group of its own.   Returns at most `count` numbers.
    """
    if groups is None:
        return order[:count]
    members: dict[int, list[int]] = {}
    for number in order.tolist():
        members.setdefault(int(groups[number]), []).append(number)
    drawn: list[int] = []
    for group in members.values():
        if len(drawn) + len(group) <= count:
            drawn += group
    return np.array(drawn, np.int64)


def pick(images: Images, index: np.ndarray | slice) -> Images:
    """images[index], without decoding those that are pictures in files."""
    return images.subset(index) if isinstance(images, Pictures) else images[index]


def limit(images: Images, labels: np.ndarray, count: int | None) -> tuple[Images, np.ndarray]:
    """The first `count` images and labels; all of them when count is None or exceeds what there is."""
    if count is None:
        return images, labels
    if count < 1:
        raise ValueError(f"limit: count is {count}, expected at least 1 (or None for all images)")
    return pick(images, slice(count)), labels[:count]
