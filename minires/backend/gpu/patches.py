"""Patches of images on the GPU: one kernel each way, compiled for the sizes of the images and windows."""

import functools

from minires.backend.gpu import source
from minires.backend.gpu.compiling import BLOCKS, INTEGER, address, compiled, contiguous, cupy, grid, index_type
from minires.backend.halves import widened
from minires.types import Array, Sides, Size

_NAMES = ("KH", "KW", "SH", "SW", "H", "W", "OH", "OW", "TOP", "LEFT", "C")


def im2col(x: Array, kernel: Size, stride: Size, padding: Sides, value: float, rows: slice, OW: int) -> Array:
    """patches (N, rows, OW, KH, KW, C) as in primitives.patches.im2col."""
    N, H, W, C = x.shape
    x, OH = contiguous(x), rows.stop - rows.start
    (top, _), (left, _) = padding
    sizes = (*kernel, *stride, H, W, OH, OW, top - rows.start * stride[0], left)
    patches = cupy().empty((N, OH, OW, *kernel, C), x.dtype)
    _launch("im2col", sizes, C, x, patches, value)
    return patches


def col2im(patches: Array, size: Size, stride: Size, padding: Sides) -> Array:
    """dx (N, H, W, C) as in primitives.patches.col2im."""
    N, OH, OW, KH, KW, C = patches.shape
    (top, _), (left, _) = padding
    dx = cupy().empty((N, *size, C), patches.dtype)
    _launch("col2im", (KH, KW, *stride, *size, OH, OW, top, left), C, contiguous(patches), dx, 0)
    return dx


def _launch(name, sizes, C, given, result, border):
    real, index = result.dtype.char, index_type(max(given.size, result.size))
    together = 16 // result.itemsize
    width = together if C % together == 0 and address(given) % 16 == 0 else 1
    n = result.size // width
    if n:
        kernel = compiled(name, _text(name, width, *sizes, C // width), real, index)
        arguments = (given, result, INTEGER[index](n), widened(result.dtype).type(border))
        kernel(grid(n, 8 * BLOCKS), (source.THREADS,), arguments)


@functools.lru_cache(maxsize=1024)
def _text(name, width, *sizes):
    """The kernel's text; C counts Items, of `width` numbers."""
    item = source.ITEM.format(aligned="ALIGNED" if width > 1 else "")
    body = source.IM2COL if name == "im2col" else source.COL2IM
    return f"#define WIDTH {width}\n{item}{sized(body, *sizes)}"


def sized(body: str, *sizes: int) -> str:
    """A kernel's text with the sizes KH, KW, SH, ... as constants, by which it divides fast."""
    return "".join(f"#define {key} {value}\n" for key, value in zip(_NAMES, sizes, strict=True)) + body
