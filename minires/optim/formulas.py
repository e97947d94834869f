"""What the updates have in common."""

from minires.backend import array_module, empty


def penalised(w, g, weight_decay, l1):
    """g + weight_decay * w + l1 * sign(w): the gradient of loss + weight_decay/2 * |w|_2^2 + l1 * |w|_1."""
    if weight_decay:
        g = g + weight_decay * w
    if l1:
        g = g + l1 * array_module(w).sign(w)
    return g


def moved(w, lr, u):
    """w - lr * u, in a new array."""
    xp, y = array_module(w), empty(w.shape, like=w)
    xp.multiply(u, lr, out=y)
    return xp.subtract(w, y, out=y)
