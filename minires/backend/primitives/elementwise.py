"""Element-wise functions of arrays: called as they are on a CPU, one kernel each on a GPU.

Such a function uses operators and the functions of `array_module` of its arguments, and sees one number of each array.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from minires.backend.arrays import array_module
from minires.backend.gpu import kernels
from minires.types import Array


def elementwise(function: Callable[..., Any], *arrays: Array | None, **named: Any) -> Any:
    """function(*arrays, **named), element-wise in all arrays among its arguments, which are of one shape.

    It returns an array or a tuple of them, and may change its arguments in place, as with x *= 2. The other arguments
    are Python's: numbers, truth values, None.
    """
    present = [array for array in (*arrays, *named.values()) if hasattr(array, "dtype")]
    if array_module(*present) is np or not kernels.takes(*present):
        return function(*arrays, **named)
    return kernels.fused(function, arrays, named)


def let_through(dy: Array, where: Array, out: Array) -> None:
    """out = dy where `where` is true and 0 elsewhere, also where dy is infinity or NaN, of which 0 times is NaN.

    out must not share memory with dy.
    """
    xp = array_module(dy)
    if xp is not np:
        out[...] = xp.where(where, dy, 0)
        return
    bits = f"i{dy.itemsize}"  # as whole numbers they are as quick to multiply, and 0 times any of those is 0
    gate = out.view(bits)
    gate[...] = where  # 1 or 0: quicker than to leave it to the product
    np.multiply(gate, dy.view(bits), out=gate)
