"""What the updates have in common."""

import numpy as np

from minires.backend import array_module, empty
from minires.types import Array


def penalised(w: Array, g: Array, weight_decay: float, l1: float) -> Array:
    """g + weight_decay * w + l1 * sign(w): the gradient of loss + weight_decay/2 * |w|_2^2 + l1 * |w|_1."""
    if weight_decay:
        g = g + weight_decay * w
    if l1:
        g = g + l1 * array_module(w).sign(w)
    return g


def moved(w: Array, lr: float, u: Array) -> Array:
    """w - lr * u, in a new array."""
    xp, y = array_module(w), empty(w.shape, like=w)
    xp.multiply(u, lr, out=y)
    return xp.subtract(w, y, out=y)


def length(x: Array) -> Array:
    """The norm of x as one long vector, summed in float64: an array (), for which nobody has waited."""
    xp = array_module(x)
    return xp.sqrt(xp.asarray(xp.square(x).sum(dtype=np.float64)))


def layer_ratio(w: Array, above: Array, below: Array, beside: Array | float = 0.0) -> Array:
    """above / (below + beside), an array () of w's dtype: 1 where `above` or `below` is 0."""
    xp = array_module(w)
    counts = (above > 0) & (below > 0)
    return xp.where(counts, above / xp.where(counts, below + beside, 1), 1).astype(w.dtype)
