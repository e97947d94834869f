"""Adaptive average pooling: windows are chosen so that an image of any size becomes one of a given size."""

from minires.backend import array_module, empty, for_each_block, widened, zeros
from minires.layers.checks import check_float, check_gradient, check_image, pair
from minires.module import Module
from minires.types import Array, Backward, Pair


def adaptive_avg_pool2d(x: Array, output_size: Pair) -> tuple[Array, Backward]:
    """y[n, oh, ow, c] = mean of x[n, h, w, c] over  h in [floor(oh H / OH), ceil((oh + 1) H / OH)),  w likewise

    x (N, H, W, C). output_size: a number or (OH, OW). Where H is a multiple of OH the windows are equal and touch, else
    some overlap; where H is less than OH pixels are repeated.
    Returns y (N, OH, OW, C) and backward(dy) -> dx: every pixel of a window receives dy / (pixels of the window), and
    a pixel of several windows their sum. Raises ValueError for shapes that do not fit.

    The mean over a rectangle is the mean over its columns of the means over its rows: one axis after the other.
    """
    check_image("adaptive_avg_pool2d", x)
    check_float("adaptive_avg_pool2d", x)
    OH, OW = pair("adaptive_avg_pool2d", "output_size", output_size, least=1)
    array_module(x)
    (N, H, W, C), dtype, wide = x.shape, x.dtype, widened(x.dtype)
    rows, columns = _windows(H, OH), _windows(W, OW)
    y = empty((N, OH, OW, C), like=x)

    def forward_block(images):
        bands = empty((len(y[images]), OH, W, C), like=x, dtype=wide)
        for oh, window in enumerate(rows):
            bands[:, oh] = x[images, window].mean(axis=1, dtype=wide)
        for ow, window in enumerate(columns):
            y[images, :, ow] = bands[:, :, window].mean(axis=2)

    image_bytes = (H + OH) * W * C * wide.itemsize
    for_each_block(forward_block, x, image_bytes)

    def backward(dy):
        check_gradient("adaptive_avg_pool2d", dy, (N, OH, OW, C), dtype)
        dx = zeros((N, H, W, C), like=dy, dtype=wide)

        def backward_block(images):
            dbands = zeros((len(dy[images]), OH, W, C), like=dy, dtype=wide)
            for ow, window in enumerate(columns):
                dbands[:, :, window] += dy[images, :, ow, None].astype(wide, copy=False) / _length(window)
            for oh, window in enumerate(rows):
                dx[images, window] += dbands[:, oh, None] / _length(window)

        for_each_block(backward_block, dx, image_bytes)
        return dx.astype(dtype, copy=False)

    return y, backward


def _windows(length, count):
    """`count` slices that cover an axis: from floor(i length / count) to ceil((i + 1) length / count)."""
    return [slice(i * length // count, -(-(i + 1) * length // count)) for i in range(count)]


def _length(window):
    return window.stop - window.start


class AdaptiveAvgPool2d(Module):
    """`adaptive_avg_pool2d` as a module."""

    def __init__(self, output_size: Pair) -> None:
        pair("AdaptiveAvgPool2d", "output_size", output_size, least=1)
        self.output_size = output_size

    def forward(self, x: Array) -> tuple[Array, Backward]:
        return adaptive_avg_pool2d(x, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"
