"""What a data set is here: images as bytes, labels as integers, and the names of the classes."""

from dataclasses import dataclass

import numpy as np


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
    """

    name: str
    label: str
    classes: tuple[str, ...]
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


def channel_mean_std(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, in units where a pixel is 0..1.

        mean = sum(x) / n,   std = sqrt(sum(x^2) / n - mean^2)     over all n pixels, x = byte / 255

    images: uint8 (N, H, W, C).   Returns two tuples of C floats. The sums are sums of integers and exact: they are
    taken from a histogram of the 256 values, so no image is ever converted to floats.
    Raises ValueError for images that are not bytes, and where there are none.
    """
    if images.dtype != np.uint8:
        raise ValueError(f"channel_mean_std: images are {images.dtype}, expected uint8: pass them before normalising")
    if images.size == 0:
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


def split(
    dataset: Dataset, val_size: int, seed: int
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Set `val_size` training images, drawn at random, aside for validation.

    Returns (train_images, train_labels), (val_images, val_labels): together the training set, no image in both, each
    in the order of the file. The same seed draws the same images. val_size 0 gives an empty validation part.
    Raises ValueError when val_size is negative or leaves nothing to train on.
    """
    images, labels = dataset.train_images, dataset.train_labels
    if not 0 <= val_size < len(images):
        raise ValueError(f"split: val_size is {val_size}, expected 0 to {len(images) - 1}: one image must be left")
    if val_size == 0:
        return (images, labels), (images[:0], labels[:0])
    held_out = np.zeros(len(images), bool)
    held_out[np.random.default_rng(seed).permutation(len(images))[:val_size]] = True
    return (images[~held_out], labels[~held_out]), (images[held_out], labels[held_out])


def limit(images: np.ndarray, labels: np.ndarray, count: int | None) -> tuple[np.ndarray, np.ndarray]:
    """The first `count` images and labels; all of them when count is None or exceeds what there is."""
    if count is None:
        return images, labels
    if count < 1:
        raise ValueError(f"limit: count is {count}, expected at least 1 (or None for all images)")
    return images[:count], labels[:count]
