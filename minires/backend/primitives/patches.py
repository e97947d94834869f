"""Patches of images as the rows of a matrix, and the adjoint of that.

A row of the patch matrix is one output pixel's window: KH rows of KW whole pixels of C channels. What has `borrow` in
its name hands out memory that is not the caller's: it is to be read at once, within a block.
"""

import numpy as np

from minires.backend.arrays import array_module
from minires.backend.cpu import memory
from minires.backend.cpu.patches import Im2col
from minires.backend.geometry import extent
from minires.backend.gpu import patches as gpu
from minires.backend.gpu.parameters import takes
from minires.backend.halves import widened
from minires.backend.primitives.devices import zeros
from minires.types import Array, Sides, Size


def output_size(
    size: Size, kernel: Size, stride: Size, padding: Sides, layer: str = "im2col", dilation: Size = (1, 1)
) -> Size:
    """(OH, OW) of a window sliding over an image:  OH = (top + H + bottom - EH) // stride + 1.

    EH = dilation * (KH - 1) + 1 is the window's height.
    Raises ValueError, in the name of `layer`, where the window is larger than the padded image.
    """
    padded = [before + length + after for length, (before, after) in zip(size, padding, strict=True)]
    window = extent(kernel, dilation)
    if any(k > length for k, length in zip(window, padded, strict=True)):
        dilated = "" if window == tuple(kernel) else f", dilated to {window[0]}x{window[1]},"
        raise ValueError(
            f"{layer}: kernel {kernel[0]}x{kernel[1]}{dilated} is larger than the padded image "
            f"{padded[0]}x{padded[1]}: use a smaller kernel, more padding or a larger image"
        )
    OH, OW = ((length - k) // s + 1 for length, k, s in zip(padded, window, stride, strict=True))
    return OH, OW


def factors(
    x: Array,
    weight: Array,
    stride: Size,
    padding: Sides,
    output: Size,
    turned: bool = False,
    dilation: Size = (1, 1),
) -> tuple[Array, Array] | None:
    """A convolution's two factors, whole and at once, on a GPU; None where they are to be made one by one.

    im2col(x) (N * OH * OW, KH * KW * C), and weight (O, C, KH, KW) as (KH * KW * C, O) in the dtype of x. turned: the
    weight, (C, O, KH, KW), is turned by 180 degrees. None also for windows that are a pixel: nothing is to be copied.
    """
    if array_module(x, weight) is np or weight.shape[2:] == (1, 1) or weight.dtype != widened(x.dtype) or not takes(x):
        return None
    return gpu.factors(x, weight, stride, padding, output, turned, dilation)


def im2col(
    x: Array,
    kernel: Size,
    stride: Size = (1, 1),
    padding: Sides = ((0, 0), (0, 0)),
    value: float = 0,
    rows: slice | None = None,
    dilation: Size = (1, 1),
) -> Array:
    """patches (N, OH, OW, KH, KW, C):  patches[n, oh, ow, i, j] = padded x[n, oh * stride + i, ow * stride + j].

    A new array, which is the caller's. dilation: i and j times that, the step from one pixel of a window to the next.
    value: what the border is made of.   rows: a slice of output rows, where not all OH are wanted.
    """
    patches = borrow_patches(x, kernel, stride, padding, value, rows, dilation)
    return patches.copy() if array_module(x) is np or _are_pixels(kernel, padding) else patches  # a GPU's are new


def borrow_patches(
    x: Array,
    kernel: Size,
    stride: Size = (1, 1),
    padding: Sides = ((0, 0), (0, 0)),
    value: float = 0,
    rows: slice | None = None,
    dilation: Size = (1, 1),
) -> Array:
    """`im2col` for use within a block: read-only, and valid until this thread's next call.

    On the CPU it lies in scratch memory, or is a view of x where a window is a pixel.
    """
    (KH, KW), (SH, SW), (DH, DW) = kernel, stride, dilation
    EH, EW = extent(kernel, dilation)
    rows = rows or slice(0, output_size(x.shape[1:3], kernel, stride, padding, dilation=dilation)[0])
    xp = array_module(x)
    if _are_pixels(kernel, padding):
        pixels = x[:, rows.start * SH : rows.stop * SH : SH, ::SW, None, None, :]  # nothing to copy
        return _read_only(pixels)
    if xp is np:
        geometry = (x.shape[1:], x.dtype, kernel, stride, padding, value, rows.start, rows.stop, dilation)
        return memory.remembered("im2col", len(x), geometry, Im2col)(x)
    if takes(x):
        OW = output_size(x.shape[1:3], kernel, stride, padding, dilation=dilation)[1]
        return gpu.im2col(x, kernel, stride, padding, value, rows, OW, dilation)
    x = _padded_rows(x, padding, value, slice(rows.start * SH, (rows.stop - 1) * SH + EH))
    N, H, W, C = x.shape
    image, row, pixel, number = x.strides
    shape = (N, (H - EH) // SH + 1, (W - EW) // SW + 1, KH, KW, C)
    strides = (image, SH * row, SW * pixel, DH * row, DW * pixel, number)
    return xp.lib.stride_tricks.as_strided(x, shape, strides).copy()


def _are_pixels(kernel, padding):
    """Whether windows are pixels of x, of which there is nothing to copy."""
    return kernel == (1, 1) and padding == ((0, 0), (0, 0))


def pad(x: Array, padding: Sides, value: float = 0) -> Array:
    """x (N, H, W, C) with ((top, bottom), (left, right)) pixels of `value` around it: a new array."""
    return borrow_padded(x, padding, value).copy()


def borrow_padded(x: Array, padding: Sides, value: float = 0) -> Array:
    """`pad` for use within a block: read-only, and valid until this thread's next call; x itself without padding."""
    (top, bottom), _ = padding
    return _read_only(_padded_rows(x, padding, value, slice(0, top + x.shape[1] + bottom)))


def _read_only(array):
    """A view that refuses to be written to; CuPy has no such thing."""
    if array_module(array) is np:
        array = array.view()
        array.flags.writeable = False
    return array


def window_views(padded: Array, kernel: Size, stride: Size, size: Size, dilation: Size = (1, 1)) -> list[Array]:
    """For each pixel of a window, in reading order, a view (N, OH, OW, C): that pixel of every window of `padded`."""
    (SH, SW), (OH, OW) = stride, size
    rows, columns = (range(0, d * k, d) for d, k in zip(dilation, kernel, strict=True))
    return [padded[:, i : i + SH * OH : SH, j : j + SW * OW : SW] for i in rows for j in columns]


def col2im(
    patches: Array,
    size: Size,
    stride: Size = (1, 1),
    padding: Sides = ((0, 0), (0, 0)),
    out: Array | None = None,
    dilation: Size = (1, 1),
) -> Array:
    """The adjoint of im2col: dx (N, H, W, C), each pixel the sum of all its copies in patches (N, OH, OW, KH, KW, C).

    size: (H, W) of the image.   out: where it is to go; None for a new array.   Halves are added up in float32.
    """
    if array_module(patches) is not np and takes(patches):
        dx = gpu.col2im(patches, size, stride, padding, out, dilation)
        return dx if out is None or dx is out else _put(dx, out)
    N, OH, OW, KH, KW, C = patches.shape
    (H, W), (SH, SW), ((top, bottom), (left, right)) = size, stride, padding
    shape = (N, top + H + bottom, left + W + right, C)
    dx = zeros(shape, like=patches, dtype=widened(patches.dtype))
    for k, pixel in enumerate(window_views(dx, (KH, KW), (SH, SW), (OH, OW), dilation)):
        pixel += patches[:, :, :, k // KW, k % KW]
    dx = dx[:, top : top + H, left : left + W]
    return dx.astype(patches.dtype, copy=False) if out is None else _put(dx, out)


def _put(x, out):
    out[...] = x
    return out


def _padded_rows(x, padding, value, rows):
    """Rows `rows` (a slice) of x (N, H, W, C) with ((top, bottom), (left, right)) pixels of `value` around it.

    Contiguous on the CPU; x itself where nothing is to be added.
    """
    xp = array_module(x)
    (top, _), (left, right) = padding
    N, H, W, C = x.shape
    first = min(max(rows.start - top, 0), H)  # of x; a band may lie wholly in the padding
    last = max(first, min(rows.stop - top, H))
    if left == right == 0 and last - first == rows.stop - rows.start:
        x = x[:, first:last]
        return np.ascontiguousarray(x) if xp is np else x
    shape = (N, rows.stop - rows.start, left + W + right, C)
    above = min(max(top - rows.start, 0), rows.stop - rows.start)
    inside = (slice(None), slice(above, above + last - first), slice(left, left + W))
    padded = memory.framed(shape, x.dtype, inside, value) if xp is np else xp.full(shape, value, x.dtype)
    padded[inside] = x[:, first:last]
    return padded
