"""What the updates have in common."""

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
