"""Dropout: in training every number is dropped with probability p, the others scaled up to keep the mean."""

import numpy as np

from minires.backend import array_module, device_of, to_device
from minires.layers.checks import check_float, check_gradient
from minires.module import Module


def dropout(x, p=0.5, training=True, rng=None):
    """y = x * mask / (1 - p), each number of mask 1 with probability 1 - p, else 0; y = x where not training

    x: any shape, floating-point.   p: in [0, 1).   rng: a NumPy Generator or a seed; the mask is drawn on the CPU, so
    that every device gets the same. Returns y and backward(dy) -> dx = dy * mask / (1 - p).
    Source: Srivastava et al. 2014, section 4 (scaled in training instead of testing).
    """
    check_float("dropout", x)
    if not 0 <= p < 1:
        raise ValueError(f"dropout: p must be in [0, 1), got {p}")
    if not training or p == 0:
        return array_module(x).array(x), lambda dy: dy
    kept = np.random.default_rng(rng).random(x.shape, np.float32) >= p
    mask = to_device((kept / (1 - p)).astype(x.dtype), device_of(x))
    y = x * mask

    def backward(dy):
        check_gradient("dropout", dy, mask.shape)
        return dy * mask

    return y, backward


class Dropout(Module):
    """`dropout` with a generator of its own, whose state is saved in checkpoints. rng: a Generator or a seed."""

    def __init__(self, p=0.5, rng=None):
        self.p = p
        self.rng = np.random.default_rng(rng)

    def forward(self, x):
        return dropout(x, self.p, self.training, self.rng)
