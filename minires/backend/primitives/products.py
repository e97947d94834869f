"""Matrix products outside of blocks."""

import numpy as np

from minires.backend.arrays import array_module
from minires.backend.cpu import workers
from minires.types import Array


def matmul(a: Array, b: Array) -> Array:
    """a @ b, for a product that is not part of a block: a new array.

    a (M, K) and b (K, N) of one dtype and device, or stacks of such. On the CPU BLAS takes all threads, whatever other
    threads of the program compute meanwhile; within a block, where BLAS has one thread, this is a @ b.
    """
    return workers.undisturbed(lambda: a @ b) if array_module(a, b) is np else a @ b
