"""One learned number that a branch is multiplied by: at 0, where it starts, a residual block is the identity.

Derivation: docs/layers/scale.md.
"""

import numpy as np

from minires.backend import array_module, empty, for_each_block, sum_blocks, widened
from minires.layers.checks import check_float, check_gradient, check_not_empty
from minires.module import Module, Parameter
from minires.types import Array, Backward


def scale(x: Array, weight: Array) -> tuple[Array, Backward]:
    """y = weight * x

    x (N, ...), weight () or (1,): one number.   Returns y, shaped as x, and backward(dy) -> (dx, dweight):
    dx = weight * dy,   dweight = sum of dy * x.   Raises ValueError for a weight of more than one number.
    Source: Bachlechner et al. 2020, equation 1; De and Smith 2020, section 3.
    """
    xp = array_module(x, weight)
    check_float("scale", x, parameters=(weight,))
    check_not_empty("scale", x)
    if weight.shape not in ((), (1,)):
        raise ValueError(f"scale: weight has shape {weight.shape}: expected () or (1,), one number")
    if x.ndim == 0:
        raise ValueError("scale: x has no axes: add the batch axis with x[None]")
    shape, dtype, wide = x.shape, x.dtype, widened(x.dtype)

    def times_weight(values):
        y = empty(shape, like=values)

        def forward_block(block):
            y[block] = weight * values[block].astype(wide, copy=False)

        for_each_block(forward_block, values)
        return y

    def backward(dy):
        check_gradient("scale", dy, shape, dtype)
        products = for_each_block(
            lambda block: (dy[block].astype(wide, copy=False) * x[block].astype(wide, copy=False)).sum(), x
        )
        return times_weight(dy), xp.asarray(sum_blocks(products)).reshape(weight.shape)

    return times_weight(x), backward


class Scale(Module):
    """`scale` with its weight (1,), which is `init` at first.

    It belongs at the end of a block's branch: y = x + Scale()(F(x)), which with init 0 is x.
    """

    def __init__(self, init: float = 0.0) -> None:
        self.weight = Parameter(np.full(1, init, np.float32))

    def forward(self, x: Array) -> tuple[Array, Backward]:
        y, scale_backward = scale(x, self.weight.data)

        def backward(dy):
            dx, dweight = scale_backward(dy)
            self.weight.add_grad(dweight, new=True)
            return dx

        return y, backward
