"""Pooling: the largest or the mean value of each window, and the mean of the whole image."""

from minires.backend import (
    array_module,
    borrow_patches,
    col2im,
    empty,
    for_each_block,
    give_to_largest,
    max_of_windows,
    output_size,
    widened,
)
from minires.layers.checks import check_float, check_gradient, check_image, padding_of, pair
from minires.module import Module
from minires.types import Array, Backward, Padding, Pair


def max_pool2d(x: Array, kernel_size: Pair, stride: Pair | None = None, padding: Padding = 0) -> tuple[Array, Backward]:
    """y[n, oh, ow, c] = max over the window of x_padded[n, oh * stride + i, ow * stride + j, c]

    x (N, H, W, C). kernel_size: a number or (rows, columns); stride: the same, by default kernel_size; padding: as in
    conv2d, with minus infinity, at most half the kernel.
    Returns y (N, OH, OW, C) and backward(dy) -> dx: dy goes to the pixel that was the maximum, the first of equals in
    reading order, as in PyTorch. Raises ValueError for shapes that do not fit.
    """
    kernel, strides, sides = _window("max_pool2d", x, kernel_size, stride, padding)
    size = output_size(x.shape[1:3], kernel, strides, sides, "max_pool2d")
    y, chosen = max_of_windows(x, kernel, strides, sides, size)
    shape, dtype = y.shape, y.dtype

    def backward(dy):
        check_gradient("max_pool2d", dy, shape, dtype)
        return give_to_largest(dy, chosen)

    return y, backward


def avg_pool2d(x: Array, kernel_size: Pair, stride: Pair | None = None, padding: Padding = 0) -> tuple[Array, Backward]:
    """y[n, oh, ow, c] = mean over the window of x_padded[n, oh * stride + i, ow * stride + j, c]

    x (N, H, W, C). kernel_size, stride, padding: as in max_pool2d, with zeros, which count as pixels of the window
    (PyTorch's count_include_pad=True). Returns y (N, OH, OW, C) and backward(dy) -> dx: every pixel of the window
    receives dy / (KH * KW). Raises ValueError for shapes that do not fit.
    """
    kernel, strides, sides = _window("avg_pool2d", x, kernel_size, stride, padding)
    xp = array_module(x)
    (N, H, W, C), (KH, KW) = x.shape, kernel
    OH, OW = output_size((H, W), kernel, strides, sides, "avg_pool2d")
    y = empty((N, OH, OW, C), like=x)

    def forward_block(images):
        y[images] = borrow_patches(x[images], kernel, strides, sides).mean(axis=(3, 4), dtype=widened(x.dtype))

    shape, dtype, patches_bytes = x.shape, x.dtype, OH * OW * KH * KW * C * x.itemsize
    for_each_block(forward_block, x, 2 * patches_bytes)

    def backward(dy):
        check_gradient("avg_pool2d", dy, (N, OH, OW, C), dtype)
        dx = empty(shape, like=dy)

        def backward_block(images):
            share = (dy[images][:, :, :, None, None, :] / (KH * KW)).astype(dtype, copy=False)
            dx[images] = col2im(xp.broadcast_to(share, (len(share), OH, OW, KH, KW, C)), (H, W), strides, sides)

        for_each_block(backward_block, dx, 2 * patches_bytes)
        return dx

    return y, backward


def global_avg_pool2d(x: Array) -> tuple[Array, Backward]:
    """y[n, c] = mean over all pixels of x[n, :, :, c]

    x (N, H, W, C). Returns y (N, C) and backward(dy) -> dx (N, H, W, C): every pixel receives dy / (H * W).
    Source: Lin et al. 2014, section 3.2.
    """
    check_image("global_avg_pool2d", x)
    check_float("global_avg_pool2d", x)
    xp = array_module(x)
    (N, H, W, C), dtype = x.shape, x.dtype
    y = x.mean(axis=(1, 2), dtype=widened(x.dtype)).astype(x.dtype, copy=False)

    def backward(dy):
        check_gradient("global_avg_pool2d", dy, (N, C), dtype)
        share = (dy / (H * W)).astype(dtype, copy=False)
        return xp.broadcast_to(share[:, None, None, :], (N, H, W, C)).copy()

    return y, backward


def _window(layer, x, kernel_size, stride, padding):
    """The checked (KH, KW), (rows, columns) of stride, and four-sided padding."""
    check_image(layer, x)
    check_float(layer, x)
    return _sizes(layer, kernel_size, stride, padding)


def _sizes(layer, kernel_size, stride, padding):
    kernel = pair(layer, "kernel_size", kernel_size, least=1)
    stride = kernel if stride is None else pair(layer, "stride", stride, least=1)
    sides = padding_of(layer, padding)
    if any(2 * side > k for k, both in zip(kernel, sides, strict=True) for side in both):
        raise ValueError(
            f"{layer}: padding {padding!r} is more than half of kernel_size {kernel_size!r}: a window could lie "
            "outside the image; use less padding"
        )
    return kernel, stride, sides


class _Pool2d(Module):
    def __init__(self, kernel_size: Pair, stride: Pair | None = None, padding: Padding = 0) -> None:
        _sizes(type(self).__name__, kernel_size, stride, padding)
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxPool2d(_Pool2d):
    """`max_pool2d` as a module."""

    def forward(self, x: Array) -> tuple[Array, Backward]:
        return max_pool2d(x, self.kernel_size, self.stride, self.padding)


class AvgPool2d(_Pool2d):
    """`avg_pool2d` as a module."""

    def forward(self, x: Array) -> tuple[Array, Backward]:
        return avg_pool2d(x, self.kernel_size, self.stride, self.padding)


class GlobalAvgPool2d(Module):
    """`global_avg_pool2d` as a module."""

    def forward(self, x: Array) -> tuple[Array, Backward]:
        return global_avg_pool2d(x)
