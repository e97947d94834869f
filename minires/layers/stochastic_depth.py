"""Stochastic depth: in training a block's branch is left out with probability p, of each image for itself.

Derivation: docs/layers/stochastic_depth.md.
"""

import numpy as np

from minires.backend import array_module, device_of, empty, for_each_block, to_device, widened
from minires.layers.checks import check_float, check_gradient, check_p
from minires.module import Module
from minires.types import Array, Backward, Rng


def stochastic_depth(x: Array, p: float, training: bool = True, rng: Rng = None) -> tuple[Array, Backward]:
    """y[n] = x[n] / (1 - p) for images that are kept, each with probability 1 - p, else 0; y = x where not training

    x (N, ...), floating-point: the end of a block's branch, before the residual sum.   p: in [0, 1).   rng: a NumPy
    Generator or a seed; which images are kept is drawn on the CPU, so that every device keeps the same.
    Returns y and backward(dy) -> dx[n] = dy[n] / (1 - p) where x[n] was kept, else 0 (whatever x and dy are there:
    infinity and NaN are dropped, too); dx = dy itself, no copy, where not training. Raises ValueError for another p.
    Source: Huang et al. 2016, section 3 (there scaled in testing instead of training, and drawn once for a batch);
    torchvision's stochastic_depth(mode="row").
    """
    xp = array_module(x)
    check_float("stochastic_depth", x)
    check_p("stochastic_depth", p)
    if x.ndim == 0:
        raise ValueError("stochastic_depth: x has no axes: give it the batch axis, whose items are kept or dropped")
    shape, dtype, wide = x.shape, x.dtype, widened(x.dtype)
    if not training or p == 0:

        def hand_on(dy):
            check_gradient("stochastic_depth", dy, shape, dtype)
            return dy

        return xp.array(x), hand_on
    scale = 1 / (1 - float(p))
    drawn = np.random.default_rng(rng).random(len(x), np.float32) >= p
    kept = to_device(drawn.reshape(-1, *[1] * (x.ndim - 1)), device_of(x))

    def keep(values):
        y = empty(shape, like=values)

        def keep_block(block):
            y[block] = array_module(values).where(kept[block], values[block].astype(wide, copy=False) * scale, 0)

        for_each_block(keep_block, values)
        return y

    def backward(dy):
        check_gradient("stochastic_depth", dy, shape, dtype)
        return keep(dy)

    return keep(x), backward


class StochasticDepth(Module):
    """`stochastic_depth` with a generator of its own, whose state is saved in checkpoints. rng: a Generator or a seed.

    It belongs at the end of a block's branch: y = x + StochasticDepth(p)(F(x)).
    """

    def __init__(self, p: float, rng: Rng = None) -> None:
        check_p("StochasticDepth", p)
        self.p = p
        self.rng = np.random.default_rng(rng)

    def extra_repr(self) -> str:
        return f"p={self.p}"

    def forward(self, x: Array) -> tuple[Array, Backward]:
        return stochastic_depth(x, self.p, self.training, self.rng)
