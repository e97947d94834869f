"""Dropout: in training every number is dropped with probability p, the others scaled up to keep the mean."""

import numpy as np

from minires.backend import array_module, device_of, let_through, map_blocks, to_device
from minires.layers.checks import check_float, check_gradient, check_p
from minires.module import Module
from minires.types import Array, Backward, Rng


def dropout(x: Array, p: float = 0.5, training: bool = True, rng: Rng = None) -> tuple[Array, Backward]:
    """y = x / (1 - p) for numbers that are kept, each with probability 1 - p, else 0; y = x where not training

    x: any shape, floating-point.   p: in [0, 1).   rng: a NumPy Generator or a seed; what is kept is drawn on the CPU,
    so that every device keeps the same. Returns y and backward(dy) -> dx = dy / (1 - p) where x was kept, else 0
    (whatever x and dy are there: infinity and NaN are dropped, too); dx = dy itself, no copy, where not training.
    Source: Srivastava et al. 2014, section 4 (scaled in training instead of testing).
    """
    check_float("dropout", x)
    check_p("dropout", p)
    xp, shape, dtype = array_module(x), x.shape, x.dtype
    if not training or p == 0:

        def hand_on(dy):
            check_gradient("dropout", dy, shape, dtype)
            return dy

        return xp.array(x), hand_on
    scale = 1 / (1 - float(p))
    kept = to_device(np.asarray(np.random.default_rng(rng).random(shape, np.float32) >= p), device_of(x))

    def drop_block(values, kept, out):
        let_through(values, kept, out)
        array_module(out).multiply(out, scale, out=out)

    def backward(dy):
        check_gradient("dropout", dy, shape, dtype)
        return map_blocks(drop_block, dy, kept)

    return map_blocks(drop_block, x, kept), backward


class Dropout(Module):
    """`dropout` with a generator of its own, whose state is saved in checkpoints. rng: a Generator or a seed."""

    def __init__(self, p: float = 0.5, rng: Rng = None) -> None:
        check_p("Dropout", p)
        self.p = p
        self.rng = np.random.default_rng(rng)

    def forward(self, x: Array) -> tuple[Array, Backward]:
        return dropout(x, self.p, self.training, self.rng)
