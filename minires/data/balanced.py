"""The order of an epoch in which all classes come alike."""

import numpy as np


def draw_evenly(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """N numbers of images in random order, as many of each class that occurs in labels (N,), to one.

    A class with too few images gives all of them again and again, each time in another order; one with too many gives
    some of them, drawn without replacement.
    """
    classes = rng.permutation(np.unique(labels))  # the first ones get what does not divide evenly
    drawn = []
    for place, label in enumerate(classes):
        count = len(labels) // len(classes) + (place < len(labels) % len(classes))
        images = np.flatnonzero(labels == label)
        rounds = [rng.permutation(images) for _ in range(-(-count // len(images)))]
        drawn += [order[: count - done] for order, done in zip(rounds, range(0, count, len(images)), strict=True)]
    return rng.permutation(np.concatenate(drawn))
