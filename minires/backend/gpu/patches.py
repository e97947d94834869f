"""Patches of images on the GPU: one kernel each way, compiled for the sizes of the images and windows."""

import functools

from minires.backend.gpu import source
from minires.backend.gpu.compiling import BLOCKS, INTEGER, address, compiled, contiguous, cupy, grid, index_type
from minires.backend.halves import widened
from minires.types import Array, Sides, Size

_NAMES = ("KH", "KW", "SH", "SW", "H", "W", "OH", "OW", "TOP", "LEFT", "DH", "DW", "C")


def im2col(
    x: Array, kernel: Size, stride: Size, padding: Sides, value: float, rows: slice, OW: int, dilation: Size
) -> Array:
    """patches (N, rows, OW, KH, KW, C) as in primitives.patches.im2col."""
    N, H, W, C = x.shape
    x, OH = contiguous(x), rows.stop - rows.start
    (top, _), (left, _) = padding
    sizes = (*kernel, *stride, H, W, OH, OW, top - rows.start * stride[0], left, *dilation)
    patches = cupy().empty((N, OH, OW, *kernel, C), x.dtype)
    _launch("im2col", source.IM2COL, sizes, C, x, patches, value)
    return patches


def factors(
    x: Array, weight: Array, stride: Size, padding: Sides, output: Size, turned: bool, dilation: Size
) -> tuple[Array, Array]:
    """(im2col(x) (N * OH * OW, KH * KW * C), weight (KH * KW * C, O)): both factors of a convolution in one kernel.

    weight (O, C, KH, KW); turned: (C, O, KH, KW), and `geometry.turned` of it is meant. The second factor is in the
    dtype of x, its columns in memory one after another.
    """
    N, H, W, C = x.shape
    O, kernel, xp = weight.shape[1 if turned else 0], weight.shape[2:], cupy()
    (top, _), (left, _) = padding
    patches, matrix = xp.empty((N, *output, *kernel, C), x.dtype), xp.empty((O, *kernel, C), x.dtype)
    text = f"#define TURNED {int(turned)}\n{source.FACTORS}"
    _launch(
        "factors",
        text,
        (*kernel, *stride, H, W, *output, top, left, *dilation),
        C,
        contiguous(x),
        patches,
        0,
        contiguous(weight),
        matrix,
    )
    return patches.reshape(N * output[0] * output[1], -1), matrix.reshape(O, -1).T


def col2im(patches: Array, size: Size, stride: Size, padding: Sides, out: Array | None, dilation: Size) -> Array:
    """dx (N, H, W, C) as in primitives.patches.col2im."""
    N, OH, OW, KH, KW, C = patches.shape
    (top, _), (left, _) = padding
    dx = out if out is not None and out.flags.c_contiguous else cupy().empty((N, *size, C), patches.dtype)
    _launch(
        "col2im", source.COL2IM, (KH, KW, *stride, *size, OH, OW, top, left, *dilation), C, contiguous(patches), dx, 0
    )
    return dx


def _launch(name, text, sizes, C, given, result, border, *beside):
    """Run a kernel; beside: for `factors`, the weight and its matrix."""
    real, index = result.dtype.char, index_type(max(array.size for array in (given, result, *beside)))
    together, integer = 16 // result.itemsize, INTEGER[index]
    width = together if C % together == 0 and address(given) % 16 == 0 else 1
    n, m = result.size // width, beside[-1].size if beside else 0
    if n:
        kernel = compiled(name, _text(text, width, *sizes, C // width), real, index)
        arguments = (given, result, integer(n), widened(result.dtype).type(border), *beside)
        kernel(grid(max(n, m), 8 * BLOCKS), (source.THREADS,), (*arguments, integer(m)) if beside else arguments)


@functools.lru_cache(maxsize=1024)
def _text(body, width, *sizes):
    """The kernel's text; C counts Items, of `width` numbers."""
    item = source.ITEM.format(aligned="ALIGNED" if width > 1 else "")
    return f"#define WIDTH {width}\n{item}{sized(body, *sizes)}"


def sized(body: str, *sizes: int) -> str:
    """A kernel's text with the sizes KH, KW, SH, ... as constants, by which it divides fast."""
    return "".join(f"#define {key} {value}\n" for key, value in zip(_NAMES, sizes, strict=True)) + body
