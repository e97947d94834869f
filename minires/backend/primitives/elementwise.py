"""Element-wise functions of arrays: called as they are on a CPU, one kernel each on a GPU.

Such a function uses operators and the functions of `array_module` of its arguments, and sees one number of each array.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from minires.backend.arrays import array_module
from minires.backend.gpu import fusing
from minires.backend.gpu.parameters import kind_of, takes
from minires.types import Array

Set: TypeAlias = tuple[Sequence[Array], Mapping[str, Array]]  # arguments by position, and by name


def elementwise(function: Callable[..., Any], *arrays: Array | None, **named: Any) -> Any:
    """function(*arrays, **named), element-wise in all arrays among its arguments, which are of one shape.

    It returns an array or a tuple of them, and may change its arguments in place, as with x *= 2. The other arguments
    are Python's: numbers, truth values, None.
    """
    present = [array for array in (*arrays, *named.values()) if hasattr(array, "dtype")]
    if array_module(*present) is not np and takes(*present) and kind_of(present) in "fd":
        result = fusing.fused(function, arrays, named)
        if result is not NotImplemented:
            return result
    return function(*arrays, **named)


def elementwise_each(function: Callable[..., Any], sets: list[Set], **named: Any) -> Iterator[Any]:
    """function(*arrays, **more, **named) for each (arrays, more) of sets: `elementwise`, on a GPU all in one kernel.

    Within a set the arrays are of one shape; among the named there may be arrays of one number, (), the same for all.
    sets is emptied on the way, so that nothing is kept longer than needed.
    """
    present = [array for arrays, more in sets for array in (*arrays, *more.values())]
    numbers = [value for value in named.values() if hasattr(value, "dtype")]
    on_gpu = array_module(*present, *numbers) is not np
    if on_gpu and (len(sets) > 1 or numbers) and takes(*present) and kind_of(present) in "fd":
        results = fusing.fused_each(function, sets, named)
        if results is not NotImplemented:
            yield from results
            return
    del present
    sets.reverse()
    while sets:
        arrays, more = sets.pop()
        yield elementwise(function, *arrays, **more, **named)


def lies_well(array: Array) -> bool:
    """Whether an array need not be copied for `elementwise_each`: on a GPU that copies all of its arrays at once."""
    return array.flags.c_contiguous or array_module(array) is not np


def all_finite(arrays: Sequence[Array]) -> Array:
    """Whether no number of these arrays, of one dtype, is infinite or NaN: an array (), for which nobody has waited."""
    if array_module(*arrays) is not np and takes(*arrays) and kind_of(arrays) in "fd":
        return fusing.all_finite(arrays)
    xp, found = array_module(*arrays), True
    for array in arrays:
        found = found & xp.isfinite(array).all()
    return xp.asarray(found)


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


def choose(where: Array, x: Array, y: Array, out: Array) -> None:
    """out = x where `where` is true and y elsewhere, bit by bit. out may be x or y."""
    xp = array_module(x)
    if xp is not np:
        out[...] = xp.where(where, x, y)
        return
    bits = f"i{x.itemsize}"  # in whole numbers y + (x - y) is x to the bit, whatever these are; where() branches
    difference = x.view(bits) - y.view(bits)
    difference *= where
    np.add(y.view(bits), difference, out=out.view(bits))
