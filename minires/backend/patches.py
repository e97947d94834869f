"""Patches of images as the rows of a matrix, and the adjoint of that.

A row of the patch matrix is one output pixel's window: KH rows of KW whole pixels of C channels. In NHWC the KW
pixels of a window's row lie next to each other in memory, so the CPU copies them as one item of KW * C numbers.
"""

import numpy as np

from minires.backend.arrays import array_module, zeros
from minires.backend.cpu import memory


def output_size(size, kernel, stride, padding, layer="im2col"):
    """(OH, OW) of a window sliding over an image:  OH = (top + H + bottom - KH) // stride + 1.

    Raises ValueError, in the name of `layer`, where the window is larger than the padded image.
    """
    padded = [before + length + after for length, (before, after) in zip(size, padding, strict=True)]
    if any(k > length for k, length in zip(kernel, padded, strict=True)):
        raise ValueError(
            f"{layer}: kernel {kernel[0]}x{kernel[1]} is larger than the padded image {padded[0]}x{padded[1]}: "
            "use a smaller kernel, more padding or a larger image"
        )
    return tuple((length - k) // s + 1 for length, k, s in zip(padded, kernel, stride, strict=True))


def im2col(x, kernel, stride=(1, 1), padding=((0, 0), (0, 0)), value=0, rows=None):
    """patches (N, OH, OW, KH, KW, C):  patches[n, oh, ow, i, j] = padded x[n, oh * stride + i, ow * stride + j].

    value: what the border is made of.   rows: a slice of output rows, where not all OH are wanted.
    On the CPU the result lies in scratch memory of this thread, which its next call overwrites.
    """
    (KH, KW), (SH, SW) = kernel, stride
    rows = rows or slice(0, output_size(x.shape[1:3], kernel, stride, padding)[0])
    xp = array_module(x)
    if kernel == (1, 1) and padding == ((0, 0), (0, 0)):
        return x[:, rows.start * SH : rows.stop * SH : SH, ::SW, None, None, :]  # a window is a pixel, nothing to copy
    if xp is np:
        geometry = (x.shape, x.dtype, kernel, stride, padding, value, rows.start, rows.stop)
        return memory.remembered("im2col", geometry, _Im2col)(x)
    x = _padded_rows(x, padding, value, slice(rows.start * SH, (rows.stop - 1) * SH + KH))
    N, H, W, C = x.shape
    image, row, pixel, number = x.strides
    shape, strides = (N, (H - KH) // SH + 1, (W - KW) // SW + 1, KH, KW, C), (image, SH * row, SW * pixel, row, pixel)
    return xp.lib.stride_tricks.as_strided(x, shape, (*strides, number)).copy()


class _Im2col:
    """im2col for images of one shape, on the CPU: its scratch memory and views of it, made once for many blocks.

    What is left for each block is two copies: of the images into a frame of `value`, which is written only here, and
    of every window's rows, KW * C numbers as one item each, from there into the patches.
    """

    def __init__(self, shape, dtype, kernel, stride, padding, value, first_row, last_row):
        (KH, KW), (SH, SW), (N, H, W, C) = kernel, stride, shape
        (top, _), (left, right) = padding
        first, last = first_row * SH - top, (last_row - 1) * SH + KH - top  # rows of x that are needed, and beyond
        self.rows = slice(min(max(first, 0), H), min(max(last, 0), H))
        rows, columns = last - first, left + W + right
        self.frame = self.inside = None
        if self.rows != slice(first, last) or columns > W:
            self.frame = memory.scratch("im2col frame", (N, rows, columns, C), dtype)
            self.frame[...] = value
            above = self.rows.start - first
            self.inside = self.frame[:, above : above + self.rows.stop - self.rows.start, left : left + W]
        number = dtype.itemsize  # not the strides of x, which may say anything of an axis of length 1
        image, row, pixel = rows * columns * C * number, columns * C * number, C * number
        OH, OW = last_row - first_row, (columns - KW) // SW + 1
        self.patches = memory.scratch("im2col patches", (N, OH, OW, KH, KW, C), dtype)
        item = f"V{KW * C * number}"
        self.items = np.ndarray((N, OH, OW, KH), item, self.patches)
        self.windows_of = lambda x: np.ndarray((N, OH, OW, KH), item, x, 0, (image, SH * row, SW * pixel, row))
        self.windows = self.windows_of(self.frame) if self.frame is not None else None

    def __call__(self, x):
        if self.inside is None:
            windows = self.windows_of(np.ascontiguousarray(x[:, self.rows]))
        else:
            self.inside[...], windows = x[:, self.rows], self.windows
        np.copyto(self.items, windows)
        return self.patches


def pad(x, padding, value=0):
    """x (N, H, W, C) with ((top, bottom), (left, right)) pixels of `value` around it; on the CPU in scratch memory."""
    (top, bottom), _ = padding
    return _padded_rows(x, padding, value, slice(0, top + x.shape[1] + bottom))


def window_views(padded, kernel, stride, size):
    """For each pixel of a window, in reading order, a view (N, OH, OW, C): that pixel of every window of `padded`."""
    (KH, KW), (SH, SW), (OH, OW) = kernel, stride, size
    return [padded[:, i : i + SH * OH : SH, j : j + SW * OW : SW] for i in range(KH) for j in range(KW)]


def col2im(patches, size, stride=(1, 1), padding=((0, 0), (0, 0))):
    """The adjoint of im2col: dx (N, H, W, C), each pixel the sum of all its copies in patches (N, OH, OW, KH, KW, C).

    size: (H, W) of the image.
    """
    N, OH, OW, KH, KW, C = patches.shape
    (H, W), (SH, SW), ((top, bottom), (left, right)) = size, stride, padding
    shape = (N, top + H + bottom, left + W + right, C)
    dx = zeros(shape, like=patches)
    for k, pixel in enumerate(window_views(dx, (KH, KW), (SH, SW), (OH, OW))):
        pixel += patches[:, :, :, k // KW, k % KW]
    return dx[:, top : top + H, left : left + W]


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
