"""Matrix products, within blocks and outside of them.

Factors of 16 bits are multiplied exactly, two of their products fit into a float32, and added up in float32; so are
factors of float32 that are rounded to TF32, 11 bits of them, as a GPU's matrix units do it. A CPU has no such units: it
rounds, and multiplies as it does any float32.
"""

import numpy as np

from minires.backend.arrays import array_module
from minires.backend.cpu import workers
from minires.backend.gpu import products
from minires.backend.halves import is_half
from minires.types import Array


def product(a: Array, b: Array, out: Array | None = None, tf32: bool = False) -> Array:
    """a @ b within a block.   a (M, K), b (K, N), out: None for a new array, or where it is to go, (M, N).

    A new array is of their dtype, float32 where they are halves.   tf32: round factors of float32 to TF32.
    """
    xp = array_module(a, b)
    if xp is not np:
        result = products.product(a, b, out, tf32)
        if result is not NotImplemented:
            return result
    if not tf32 and not is_half(a.dtype):
        return a @ b if out is None else xp.matmul(a, b, out=out)
    y = factor(a, tf32) @ factor(b, tf32)
    if out is None:
        return y
    out[...] = y
    return out


def matmul(a: Array, b: Array, tf32: bool = False) -> Array:
    """a @ b, for a product that is not part of a block: a new array, of halves in float32.

    a (M, K) and b (K, N) of one dtype and device, or stacks of such. On the CPU BLAS takes all threads, whatever other
    threads of the program compute meanwhile; within a block, where BLAS has one thread, this is a @ b.
    tf32: round factors of float32 to TF32.
    """
    if array_module(a, b) is not np:
        return product(a, b, None, tf32)
    return workers.undisturbed(lambda: factor(a, tf32) @ factor(b, tf32))


def factor(x: Array, tf32: bool) -> Array:
    """What a matrix unit makes of a factor, as float32; another dtype as it is."""
    if is_half(x.dtype):
        return x.astype(np.float32)
    return to_tf32(x) if tf32 and x.dtype == np.float32 else x


def to_tf32(x: Array) -> Array:
    """x (float32) with the last 13 of 24 bits rounded off, to the nearest, of two as near to the even one.

    Source: NVIDIA 2020, A100 Tensor Core GPU Architecture, "TF32".
    """
    bits = np.ascontiguousarray(x).view(np.uint32)
    rounded = (bits + (0xFFF + (bits >> 13 & 1)).astype(np.uint32)) & np.uint32(0xFFFFE000)
    return np.where(np.isfinite(x), rounded.view(np.float32), x)
