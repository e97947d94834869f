"""The mean and std that stand in a file as a layer before the network, as in programs of adversarial training."""

from collections.abc import Iterable, Mapping

import numpy as np

NAMES = (
    ("new_mean", "new_std"), ("mean", "std"), ("_mean", "_std"), ("mu", "sigma"), ("means", "sds"), ("means", "stds"),
    ("pixel_mean", "pixel_std"), ("image_mean", "image_std"), ("mean", "stdv"), ("mean", "sd"),
)  # fmt: skip


def find_normaliser(
    levels: Iterable[tuple[str, Mapping[str, np.ndarray]]],
) -> tuple[str, dict[str, tuple[float, ...]], frozenset[str]] | None:
    """(where it stands, {"mean", "std"} of pixels from 0 to 1, its keys), or None: that nearest to the network.

    Numbers above 1 are of pixels from 0 to 255. One number counts for all channels.
    """
    for prefix, level in levels:
        pairs = [pair for key in level for pair in _pairs(key, level)]
        for mean, std in sorted(pairs, key=lambda pair: pair[0].count(".")):
            values = [_three(level[key]) for key in (mean, std)]
            if None in values or min(values[1]) <= 0:
                continue
            scale = 255 if max(map(abs, values[0])) > 1.5 or max(values[1]) > 3 else 1
            numbers = [tuple(number / scale for number in each) for each in values]
            keys = frozenset((prefix + mean, prefix + std))
            return prefix + mean.rpartition(".")[0] or mean, {"mean": numbers[0], "std": numbers[1]}, keys
    return None


def _pairs(key, level):
    """(key of a mean, key of the std beside it)"""
    path, dot, last = key.rpartition(".")
    for mean, std in NAMES:
        if last == mean and path + dot + std in level:
            yield key, path + dot + std


def _three(array):
    """Three floats of an array of one or three numbers; None for others and for what is not finite."""
    if array.dtype.kind not in "fiu" or array.size not in (1, 3):
        return None
    numbers = np.asarray(array, np.float64).reshape(-1)
    return tuple(map(float, np.broadcast_to(numbers, 3))) if np.isfinite(numbers).all() else None
