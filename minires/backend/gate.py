"""Letting gradients through, or not."""

import numpy as np

from minires.backend.arrays import array_module


def gate(dy, y, out):
    """out = 0 where y <= 0, else dy: relu's backward pass, within a block. Returns out.

    Not dy * (y > 0), which is NaN where dy is infinite and y is 0. dy, y, out: arrays of one shape and dtype.
    """
    xp = array_module(dy, y, out)
    if xp is not np:
        out[...] = xp.where(y <= 0, xp.zeros((), dy.dtype), dy)
        return out
    bits = f"i{dy.itemsize}"
    mask = np.less_equal(y, 0).view(np.int8)  # 1 where nothing passes, which becomes no bits, and 0 all bits
    mask -= 1
    np.bitwise_and(dy.view(bits), mask, out=out.view(bits))
    return out
