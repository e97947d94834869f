"""Matrix products, within blocks and outside of them."""

import numpy as np

from minires.backend.arrays import array_module
from minires.backend.cpu import workers
from minires.backend.gpu import products
from minires.types import Array


def product(a: Array, b: Array, out: Array | None = None) -> Array:
    """a @ b within a block.   a (M, K), b (K, N), out: None for a new array, or where it is to go, (M, N)."""
    xp = array_module(a, b)
    if xp is not np:
        result = products.product(a, b, out)
        if result is not NotImplemented:
            return result
    return a @ b if out is None else xp.matmul(a, b, out=out)


def matmul(a: Array, b: Array) -> Array:
    """a @ b, for a product that is not part of a block: a new array.

    a (M, K) and b (K, N) of one dtype and device, or stacks of such. On the CPU BLAS takes all threads, whatever other
    threads of the program compute meanwhile; within a block, where BLAS has one thread, this is a @ b.
    """
    return workers.undisturbed(lambda: a @ b) if array_module(a, b) is np else product(a, b)
