"""How far a picture may be changed: balls of two norms, and in each the way up, the way back, and a point at random.

linf     max over all numbers of |delta|        every number by at most eps
l2       sqrt(sum of delta^2)                   all together by at most eps

Each image is one vector: norms are over all but the first axis. Derivations: docs/robustness.md.
"""

from collections.abc import Sequence

import numpy as np

from minires.backend import array_module
from minires.names import unknown
from minires.types import Array

NORMS = ("linf", "l2")


def check_norm(norm: str) -> str:
    """The norm. Raises ValueError for one that is not in NORMS."""
    if norm not in NORMS:
        raise ValueError(unknown("norm", norm, NORMS))
    return norm


def steepest(dx: Array, norm: str) -> Array:
    """d[n], of norm 1 at most, for which <dx[n], d[n]> is largest.

        linf: sign(dx)            l2: dx / ||dx||,  0 where dx is 0

    dx (N, ...). Returns an array of its shape and dtype.
    """
    xp = array_module(dx)
    if check_norm(norm) == "linf":
        return xp.sign(dx)
    largest = _largest(dx)  # first, so that squares neither overflow nor vanish
    scaled = dx / xp.where(largest > 0, largest, 1)
    return scaled / xp.maximum(_length(scaled), 1)  # the length of what is not 0 is at least 1


def project(delta: Array, eps: float, norm: str) -> Array:
    """What in the ball lies nearest to delta[n], by the Euclidean distance: delta[n] itself if it lies inside.

    linf: clip(delta, -eps, eps)        l2: delta * min(1, eps / ||delta||)
    """
    xp = array_module(delta)
    if check_norm(norm) == "linf":
        return xp.clip(delta, -eps, eps)
    length = _length(delta)
    return delta * xp.where(length > eps, eps / xp.where(length > 0, length, 1), 1).astype(delta.dtype)


def norms(delta: Array, norm: str) -> Array:
    """||delta[n]||, (N,)."""
    length = _largest(delta) if check_norm(norm) == "linf" else _length(delta)
    return length.reshape(len(delta))


def drawn(shape: Sequence[int], eps: float, norm: str, rngs: Sequence[np.random.Generator]) -> np.ndarray:
    """delta, float64 (N, ...), drawn evenly from the ball, by a generator of its own for each image.

    In l2 the direction is that of a normal vector, and the length eps * u^(1/D), u from 0 to 1: as much of the ball of
    D dimensions lies within it.
    """
    check_norm(norm)
    if len(rngs) != shape[0]:
        raise ValueError(f"drawn: {len(rngs)} generators for {shape[0]} images: give one for each")
    if norm == "linf":
        return np.stack([rng.uniform(-eps, eps, shape[1:]) for rng in rngs])
    normal = np.stack([rng.standard_normal(shape[1:]) for rng in rngs])
    D = int(np.prod(shape[1:]))
    radius = np.array([eps * rng.random() ** (1 / D) for rng in rngs])
    return normal * (radius.reshape(-1, *[1] * (len(shape) - 1)) / _length(normal))


def _length(delta):
    """(N, 1, ..., 1)"""
    return array_module(delta).sqrt((delta * delta).sum(axis=tuple(range(1, delta.ndim)), keepdims=True))


def _largest(delta):
    """(N, 1, ..., 1)"""
    return abs(delta).max(axis=tuple(range(1, delta.ndim)), keepdims=True)
