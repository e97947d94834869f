"""Ten classes of shapes, drawn by code: something to train on where CIFAR-10 cannot be had.

Every image is one shape on a background. What the shape is decides the class; everything else is drawn at random and
says nothing about it: position, size, rotation, both colours (either may be the lighter), stripes on the shape, waves
and a gradient on the background, a bar that hides part of it, noise. No single pixel tells the classes apart, so a
linear classifier gets nowhere, while a small convolutional network learns the shapes in a few epochs.
"""

import numpy as np
from numpy.typing import ArrayLike

from minires.data.dataset import Dataset

LABEL = "synthetic shapes (drawn by code, not photographs)"

# Each shape: how deep the point (u, v) lies inside it, negative outside, in units of the shape's radius.


def _disc(u, v):
    return 0.85 - np.hypot(u, v)


def _ring(u, v):
    return 0.18 - np.abs(np.hypot(u, v) - 0.75)


def _square(u, v):
    return 0.75 - np.maximum(np.abs(u), np.abs(v))


def _frame(u, v):
    return 0.16 - np.abs(np.maximum(np.abs(u), np.abs(v)) - 0.68)


def _triangle(u, v):
    half = np.float32(3**0.5 / 2)
    return 0.5 - np.maximum(-v, np.maximum(0.5 * v + half * u, 0.5 * v - half * u))


def _star(u, v):
    """Five points: folded onto one half point, which is bounded by the line from its tip to its inner corner."""
    sector = np.float32(np.pi / 5)
    angle = np.abs(np.mod(np.arctan2(v, u), 2 * sector) - sector)  # 0 at an inner corner, pi/5 at a tip
    radius = np.hypot(u, v)
    x, y = radius * np.cos(angle), radius * np.sin(angle)
    tip_x, tip_y, corner_x = np.float32(np.cos(sector)), np.float32(np.sin(sector)), np.float32(0.38)
    length = np.float32(np.hypot(tip_x - corner_x, tip_y))
    return (tip_y * (corner_x - x) + (tip_x - corner_x) * y) / length


def _cross(u, v):
    across, along = np.minimum(0.26 - np.abs(u), 0.95 - np.abs(v)), np.minimum(0.26 - np.abs(v), 0.95 - np.abs(u))
    return np.maximum(across, along)


def _bar(u, v):
    return np.minimum(0.26 - np.abs(u), 1.0 - np.abs(v))


def _crescent(u, v):
    return np.minimum(0.95 - np.hypot(u, v), np.hypot(u - 0.5, v) - 0.75)


def _dots(u, v):
    return 0.38 - np.hypot(np.abs(u) - 0.58, v)


SHAPES = {
    "disc": _disc,
    "ring": _ring,
    "square": _square,
    "frame": _frame,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "bar": _bar,
    "crescent": _crescent,
    "dots": _dots,
}


def make_synthetic(train: int = 10_000, test: int = 2_000, seed: int = 0) -> Dataset:
    """A Dataset of ten classes of shapes, as many images of each as numbers allow.

    train, test: numbers of images.   seed: the same one draws the same images; training and test images come from
    independent streams, so neither depends on how many there are of the other.
    Raises ValueError for less than one image.
    """
    for name, count in (("train", train), ("test", test)):
        if count < 1:
            raise ValueError(f"make_synthetic: {name} is {count}, expected at least 1 image")
    train_images, train_labels = _draw(train, np.random.default_rng([seed, 1]))
    test_images, test_labels = _draw(test, np.random.default_rng([seed, 2]))
    return Dataset("synthetic", LABEL, tuple(SHAPES), train_images, train_labels, test_images, test_labels)


def _draw(n, rng):
    """n images uint8 (n, 32, 32, 3) and their labels int64 (n,), in random order."""
    labels = rng.permutation(np.arange(n, dtype=np.int64) % len(SHAPES))
    images = np.empty((n, 32, 32, 3), np.uint8)
    for label, shape in enumerate(SHAPES.values()):
        for chosen in np.array_split(np.flatnonzero(labels == label), max(1, n // 2000)):  # small enough for caches
            images[chosen] = _draw_shape(shape, len(chosen), rng)
    return images, labels


def _draw_shape(shape, n, rng):
    """n images uint8 (n, 32, 32, 3) of one shape. All arrays below are float32 (n, 32, 32) or broadcast to it."""

    def uniform(low, high, *more):
        return rng.uniform(low, high, (n, 1, 1, *more)).astype(np.float32)

    y, x = np.mgrid[0:32, 0:32].astype(np.float32) - 15.5

    # The shape: the pixel's place in the shape's own coordinates, then how much of the pixel the shape covers.
    radius, angle = uniform(8.5, 13.5), uniform(0, 2 * np.pi)
    cos, sin = np.cos(angle) / radius, np.sin(angle) / radius
    dx, dy = x - uniform(-1, 1) * (15 - radius), y - uniform(-1, 1) * (15 - radius)
    cover = np.clip(shape(cos * dx + sin * dy, cos * dy - sin * dx) * radius + 0.5, 0, 1)

    # A bar across the image hides part of a third of the shapes: covered pixels show the background again.
    angle = uniform(0, 2 * np.pi)
    distance = np.abs(np.cos(angle) * x + np.sin(angle) * y - uniform(-10, 10))
    cover *= 1 - (uniform(0, 3) < 1) * np.clip(uniform(0.5, 1.5) - distance + 0.5, 0, 1)

    # Two colours that differ enough to be told apart, either of them the lighter.
    background, offset = uniform(40, 215, 3), uniform(-1, 1, 3)
    offset *= uniform(90, 180, 1) / np.sqrt((offset**2).sum(axis=-1, keepdims=True))
    foreground = np.clip(background + offset, 0, 255)
    foreground = np.where(np.abs(foreground - background).sum(-1, keepdims=True) < 90, background - offset, foreground)

    stripes = uniform(0, 25) * wave(x, y, uniform(0.8, 2.2), uniform(0, 2 * np.pi), uniform(0, 2 * np.pi))
    waves = uniform(0, 15) * wave(x, y, uniform(0.15, 1.5), uniform(0, 2 * np.pi), uniform(0, 2 * np.pi))
    waves += uniform(-1.5, 1.5) * x + uniform(-1.5, 1.5) * y
    image = rng.standard_normal((n, 32, 32, 3), np.float32)
    image *= uniform(2, 10, 1)
    image += (waves + cover * (stripes - waves))[..., None]
    image += background
    image += cover[..., None] * (foreground - background)
    return np.clip(image, 0, 255).astype(np.uint8)


def wave(x: np.ndarray, y: np.ndarray, frequency: ArrayLike, angle: ArrayLike, phase: ArrayLike) -> np.ndarray:
    """A plane wave of values -1..1 that runs in the direction of `angle`."""
    return np.sin(frequency * (np.cos(angle) * x + np.sin(angle) * y) + phase)
