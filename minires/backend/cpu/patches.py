"""Patches of images on the CPU, in scratch memory.

In NHWC the KW pixels of a window's row lie next to each other in memory: they are copied as one item of KW * C numbers.
Where a dilation leaves gaps between them, each is an item of its own.
"""

from typing import Any

import numpy as np

from minires.backend.cpu import memory
from minires.backend.geometry import extent
from minires.types import Array, Shape, Sides, Size


class Im2col:
    """im2col for N images of one shape, or fewer, on the CPU: its scratch memory and views of it, made once for many.

    What is left for each block is two copies: of the images into a frame of `value`, which is written only here, and
    of every window's rows, KW * C numbers as one item each, from there into the patches. Blocks of a batch differ by
    an image: the smaller ones take the first of the larger ones' views.
    """

    def __init__(
        self,
        N: int,
        image: Shape,
        dtype: np.dtype,
        kernel: Size,
        stride: Size,
        padding: Sides,
        value: float,
        first_row: int,
        last_row: int,
        dilation: Size = (1, 1),
    ) -> None:
        (KH, KW), (SH, SW), (DH, DW), (H, W, C) = kernel, stride, dilation, image
        EH, EW = extent(kernel, dilation)
        (top, _), (left, right) = padding
        first, last = first_row * SH - top, (last_row - 1) * SH + EH - top  # rows of x that are needed, and beyond
        self.rows = slice(min(max(first, 0), H), min(max(last, 0), H))
        rows, columns = last - first, left + W + right
        self.frame: Any = None
        self.inside: Any = None
        if self.rows != slice(first, last) or columns > W:
            self.frame = memory.scratch("im2col frame", (N, rows, columns, C), dtype)
            self.frame[...] = value
            above = self.rows.start - first
            self.inside = self.frame[:, above : above + self.rows.stop - self.rows.start, left : left + W]
        number = dtype.itemsize  # not the strides of x, which may say anything of an axis of length 1
        row, pixel = columns * C * number, C * number
        together = KW if DW == 1 else 1  # pixels that lie in memory one after another
        strides = (rows * row, SH * row, SW * pixel, DH * row, DW * pixel)
        OH, OW = last_row - first_row, (columns - EW) // SW + 1
        self.patches = memory.scratch("im2col patches", (N, OH, OW, KH, KW, C), dtype)
        item, inner = f"V{together * pixel}", (OH, OW, KH, KW // together)
        self.items = np.ndarray((N, *inner), item, self.patches)
        self.patches = self.patches.view()
        self.patches.flags.writeable = False
        self.windows_of = lambda x: np.ndarray((len(x), *inner), item, x, 0, strides)
        self.windows: Any = self.windows_of(self.frame) if self.frame is not None else None

    def __call__(self, x: Array) -> Array:
        N = len(x)
        if self.inside is None:
            windows = self.windows_of(np.ascontiguousarray(x[:, self.rows]))
        else:
            self.inside[:N] = x[:, self.rows]
            windows = self.windows[:N]
        np.copyto(self.items[:N], windows)
        return self.patches[:N]
