"""What RandAugment does to images of bytes: each operation to many images at once, to each in its own strength.

operation(images, strengths) -> images, uint8 (n, H, W, C) -> a new array of that kind; strengths: float64 (n,). What
happens to an image does not depend on those beside it. Rounding is Pillow's, whose operations RandAugment's authors
used. On the host alone.
"""

from collections.abc import Sequence

import numpy as np

from minires.backend import count_each


def identity(images: np.ndarray, strengths: np.ndarray) -> np.ndarray:
    """Nothing."""
    return images.copy()


# Pixels moved -------------------------------------------------------------------------------------------------------


def warp(images: np.ndarray, matrices: np.ndarray, fill: Sequence[int]) -> np.ndarray:
    """y[n, i, j] = images[n] at the pixel in which (x, y) = matrices[n] (j + 1/2, i + 1/2, 1) lies, fill outside.

    matrices: float64 (n, 2, 3), from places in the new image to places in the old.   fill: C numbers of a byte.
    """
    n, height, width, channels = images.shape
    ones = np.ones(height * width)
    i, j = np.divmod(np.arange(height * width), width)
    places = np.floor(matrices @ np.stack([j + 0.5, i + 0.5, ones])).astype(np.intp)  # (n, 2, H*W)
    x, y = places[:, 0], places[:, 1]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    pixels = np.arange(n)[:, None] * height * width + np.where(inside, y * width + x, 0)
    warped = images.reshape(-1, channels).take(pixels, axis=0)  # (n, H*W, C)
    warped[~inside] = np.asarray(fill, np.uint8)
    return warped.reshape(images.shape)


def matrices_of(n: int, **entries: np.ndarray | float) -> np.ndarray:
    """n matrices (2, 3) of the identity, but for these entries: xx, xy, x1, yx, yy, y1."""
    matrices = np.tile(np.eye(2, 3), (n, 1, 1))
    for name, values in entries.items():
        matrices[:, "xy".index(name[0]), "xy1".index(name[1])] = values
    return matrices


def rotations(radians: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Matrices of turns about the centre of images of this size (H, W)."""
    cos, sin, (y, x) = np.cos(radians), np.sin(radians), (side / 2 for side in size)
    return matrices_of(
        len(radians), xx=cos, xy=-sin, x1=x - cos * x + sin * y, yx=sin, yy=cos, y1=y - sin * x - cos * y
    )


# Colours changed ----------------------------------------------------------------------------------------------------


def blend(images: np.ndarray, others: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """others + factor * (images - others), cut off at 0 and 255: beyond 1 it leads away from the others."""
    others = others.astype(np.float32)
    mixed = others + factors.astype(np.float32)[:, None, None, None] * (images - others)
    return np.clip(mixed, 0, 255).astype(np.uint8)


def brightness(images: np.ndarray, strengths: np.ndarray) -> np.ndarray:
    """Away from black: 1 + strength times as bright."""
    return blend(images, np.zeros(1, np.uint8), 1 + strengths)


def color(images: np.ndarray, strengths: np.ndarray) -> np.ndarray:
    """Away from grey: 1 + strength times as colourful."""
    return blend(images, grey(images), 1 + strengths)


def contrast(images: np.ndarray, strengths: np.ndarray) -> np.ndarray:
    """Away from the image's mean grey: 1 + strength times the contrast."""
    means = grey(images).mean(axis=(1, 2, 3), keepdims=True, dtype=np.float64)
    return blend(images, np.floor(means + 0.5), 1 + strengths)


def sharpness(images: np.ndarray, strengths: np.ndarray) -> np.ndarray:
    """Away from the image smoothed: each pixel 5 times and its neighbours once, over 13; the border stays."""
    if min(images.shape[1:3]) < 3:
        return images.copy()
    height, width = images.shape[1:3]
    smooth, wide = images.copy(), images.astype(np.int32)
    rows = [wide[:, i : height - 2 + i] for i in range(3)]
    total = sum(row[:, :, j : width - 2 + j] for row in rows for j in range(3))
    smooth[:, 1:-1, 1:-1] = (total + 4 * wide[:, 1:-1, 1:-1]) / 13 + 0.5
    return blend(images, smooth, 1 + strengths)


def grey(images: np.ndarray) -> np.ndarray:
    """uint8 (n, H, W, 1): 0.299 R + 0.587 G + 0.114 B, in whole numbers; of another number of channels the mean."""
    if images.shape[3] != 3:
        return np.rint(images.mean(axis=3, keepdims=True)).astype(np.uint8)
    sums = images.astype(np.int32) @ np.array([19595, 38470, 7471], np.int32)
    return ((sums + 0x8000) >> 16).astype(np.uint8)[..., None]


def posterize(images: np.ndarray, strengths: np.ndarray) -> np.ndarray:
    """Of each byte's bits the first `strength`."""
    masks = 256 - 2 ** (8 - np.rint(strengths).astype(np.intp))
    return images & masks.astype(np.uint8)[:, None, None, None]


def solarize(images: np.ndarray, strengths: np.ndarray) -> np.ndarray:
    """What is at least as bright as `strength` inverted."""
    return np.where(images >= strengths[:, None, None, None], 255 - images, images)


def autocontrast(images: np.ndarray, strengths: np.ndarray) -> np.ndarray:
    """Each channel stretched until it goes from 0 to 255; one of a single value stays."""
    low, high = (found(images, axis=(1, 2), keepdims=True).astype(np.float64) for found in (np.min, np.max))
    scale = 255 / np.maximum(high - low, 1)
    stretched = np.clip(images * scale + -low * scale, 0, 255).astype(np.uint8)
    return np.where(high > low, stretched, images)


def equalize(images: np.ndarray, strengths: np.ndarray) -> np.ndarray:
    """Each channel's values spread until all are about as frequent; one of a single value stays."""
    n, height, width, channels = images.shape
    rows = images.transpose(0, 3, 1, 2).reshape(n * channels, height * width).astype(np.intp)
    at = np.arange(n * channels)[:, None]
    counts = count_each(at * 256 + rows, 256 * n * channels).reshape(-1, 256)
    of_the_largest = counts[at[:, 0], rows.max(axis=1)]
    step = (height * width - of_the_largest)[:, None] // 255
    below = counts.cumsum(axis=1) - counts
    spread = np.minimum((step // 2 + below) // np.maximum(step, 1), 255)
    table = np.where(step > 0, spread, np.arange(256)).astype(np.uint8)
    return np.ascontiguousarray(table[at, rows].reshape(n, channels, height, width).transpose(0, 2, 3, 1))
