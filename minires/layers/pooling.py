"""Pooling: the largest or the mean value of each window, and the mean of the whole image."""

from minires.backend import (
    array_module,
    borrow_patches,
    col2im,
    empty,
    for_each_block,
    give_to_largest,
    im2col,
    max_of_windows,
    output_size,
    pad,
    widened,
)
from minires.layers.checks import check_float, check_gradient, check_image, padding_of, pair
from minires.module import Module
from minires.types import Array, Backward, Padding, Pair

_NONE = ((0, 0), (0, 0))  # no padding


def max_pool2d(
    x: Array, kernel_size: Pair, stride: Pair | None = None, padding: Padding = 0, ceil_mode: bool = False
) -> tuple[Array, Backward]:
    """y[n, oh, ow, c] = max over the window of x_padded[n, oh * stride + i, ow * stride + j, c]

    x (N, H, W, C). kernel_size: a number or (rows, columns); stride: the same, by default kernel_size; padding: as in
    conv2d, with minus infinity, at most half the kernel. ceil_mode: where whole windows leave something over there is
    one more, which reaches beyond the border, unless it would begin behind the image: OH and OW are rounded up.
    Returns y (N, OH, OW, C) and backward(dy) -> dx: dy goes to the pixel that was the maximum, the first of equals in
    reading order, as in PyTorch. Raises ValueError for shapes that do not fit.
    """
    kernel, strides, sides = _window("max_pool2d", x, kernel_size, stride, padding)
    sides = _reach(x.shape[1:3], kernel, strides, sides) if ceil_mode else sides
    size = output_size(x.shape[1:3], kernel, strides, sides, "max_pool2d")
    y, chosen = max_of_windows(x, kernel, strides, sides, size)
    shape, dtype = y.shape, y.dtype

    def backward(dy):
        check_gradient("max_pool2d", dy, shape, dtype)
        return give_to_largest(dy, chosen)

    return y, backward


def avg_pool2d(
    x: Array,
    kernel_size: Pair,
    stride: Pair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> tuple[Array, Backward]:
    """y[n, oh, ow, c] = sum over the window of x_padded[n, oh * stride + i, ow * stride + j, c], over its pixels' count

    x (N, H, W, C). kernel_size, stride, padding, ceil_mode: as in max_pool2d, with zeros. count_include_pad: the zeros
    of `padding` count as pixels of the window; else those of the image alone do. What ceil_mode adds never counts.
    Returns y (N, OH, OW, C) and backward(dy) -> dx: every pixel of a window receives dy / count, which is KH * KW
    wherever the whole window counts. Raises ValueError for shapes that do not fit.
    """
    kernel, strides, padded = _window("avg_pool2d", x, kernel_size, stride, padding)
    xp, wide = array_module(x), widened(x.dtype)
    (N, H, W, C), (KH, KW) = x.shape, kernel
    sides = _reach((H, W), kernel, strides, padded) if ceil_mode else padded
    OH, OW = output_size((H, W), kernel, strides, sides, "avg_pool2d")
    counted = padded if count_include_pad else _NONE
    count = KH * KW if counted == sides else _count(xp.ones((1, H, W, 1), wide), kernel, strides, counted, sides)
    y = empty((N, OH, OW, C), like=x)

    def forward_block(images):
        total = borrow_patches(x[images], kernel, strides, sides).sum(axis=(3, 4), dtype=wide)
        y[images] = total / count

    shape, dtype, patches_bytes = x.shape, x.dtype, OH * OW * KH * KW * C * x.itemsize
    for_each_block(forward_block, x, 2 * patches_bytes)

    def backward(dy):
        check_gradient("avg_pool2d", dy, (N, OH, OW, C), dtype)
        dx = empty(shape, like=dy)

        def backward_block(images):
            share = (dy[images] / count).astype(dtype, copy=False)[:, :, :, None, None, :]
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


def _reach(size, kernel, stride, sides):
    """The padding, with as much border behind the image as ceil_mode's last windows reach over."""
    rows, columns = (
        (before, after + _over(before, length, after, k, s))
        for length, k, s, (before, after) in zip(size, kernel, stride, sides, strict=True)
    )
    return rows, columns


def _over(before, length, after, kernel, stride):
    """Pixels by which one more window is too long; 0 where it would begin behind the image, or all is covered."""
    room = before + length + after - kernel  # for the first window to slide
    over = -room % stride
    return over if 0 <= room + over < before + length else 0


def _count(ones, kernel, stride, counted, sides):
    """How many pixels of each window count, (1, OH, OW, 1): those of the image and of its padding `counted`."""
    rows, columns = ((a - c, b - d) for (a, b), (c, d) in zip(sides, counted, strict=True))
    return im2col(pad(ones, counted, 1), kernel, stride, (rows, columns)).sum(axis=(3, 4))


class _Pool2d(Module):
    def __init__(
        self, kernel_size: Pair, stride: Pair | None = None, padding: Padding = 0, ceil_mode: bool = False
    ) -> None:
        _sizes(type(self).__name__, kernel_size, stride, padding)
        self.kernel_size, self.stride, self.padding, self.ceil_mode = kernel_size, stride, padding, ceil_mode

    def extra_repr(self) -> str:
        ceil = ", ceil_mode=True" if self.ceil_mode else ""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}{ceil}"


class MaxPool2d(_Pool2d):
    """`max_pool2d` as a module."""

    def forward(self, x: Array) -> tuple[Array, Backward]:
        return max_pool2d(x, self.kernel_size, self.stride, self.padding, self.ceil_mode)


class AvgPool2d(_Pool2d):
    """`avg_pool2d` as a module."""

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Padding = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode)
        self.count_include_pad = count_include_pad

    def extra_repr(self) -> str:
        return super().extra_repr() + ("" if self.count_include_pad else ", count_include_pad=False")

    def forward(self, x: Array) -> tuple[Array, Backward]:
        window = self.kernel_size, self.stride, self.padding
        return avg_pool2d(x, *window, self.ceil_mode, self.count_include_pad)


class GlobalAvgPool2d(Module):
    """`global_avg_pool2d` as a module."""

    def forward(self, x: Array) -> tuple[Array, Backward]:
        return global_avg_pool2d(x)
