"""Bilinear upsampling: an image of another size, each pixel a mean of the four it falls between.

Derivation: docs/layers/upsample.md.
"""

import math
from typing import Any

from minires.backend import array_module, empty, for_each_block, matmul, widened
from minires.layers.checks import check_float, check_gradient, check_image, pair
from minires.module import Module
from minires.types import Array, Backward, Pair, Size


def upsample_bilinear2d(
    x: Array,
    size: Pair | None = None,
    scale_factor: float | tuple[float, float] | None = None,
    align_corners: bool = False,
) -> tuple[Array, Backward]:
    """y[n, :, :, c] = rows @ x[n, :, :, c] @ columns^T: two small matrices, which `interpolation` makes.

    x (N, H, W, C), float32, float64 or of halves, which are added up in float32.
    size: (OH, OW) or a number, or else scale_factor: numbers or one, OH = floor(H * scale_factor).
    align_corners: whether the corner pixels' middles lie on each other, or the corners of the images.
    Returns y (N, OH, OW, C) and backward(dy) -> dx[n, :, :, c] = rows^T @ dy[n, :, :, c] @ columns.
    Raises ValueError for an empty batch, and for neither or both of size and scale_factor.
    Source: PyTorch's F.interpolate(mode="bilinear"), whose numbers these are.
    """
    check_image("upsample_bilinear2d", x)
    check_float("upsample_bilinear2d", x)
    (H, W), scales = x.shape[1:3], _scales("upsample_bilinear2d", size, scale_factor)
    OH, OW = _size(x, size, scales)
    rows = interpolation(H, OH, x, align_corners, scales and scales[0])
    columns = interpolation(W, OW, x, align_corners, scales and scales[1])
    y = _map_images(rows, columns, x)
    shape, dtype = y.shape, y.dtype

    def backward(dy):
        check_gradient("upsample_bilinear2d", dy, shape, dtype)
        return _map_images(rows.T, columns.T, dy)

    return y, backward


def interpolation(length: int, out: int, like: Array, align_corners: bool = False, scale: float | None = None) -> Array:
    """matrix (out, length): weight[o, i] = max(0, 1 - |p[o] - i|), p[o] being where pixel o of the result lies in x.

    A hat over each pixel of x, as high as 1 and as wide as its two neighbours: of the pixels on both sides of p[o] the
    nearer weighs more, and both weigh 1. With the middles of pixels at i + 1/2, p[o] = (o + 1/2) / scale - 1/2, where
    scale is out / length unless it is given; with align_corners, p[o] = o * (length - 1) / (out - 1). What lies beyond
    the outermost middles is drawn to them.
    """
    xp = array_module(like)
    o = xp.arange(out, dtype="float64")
    if align_corners:
        position = o * ((length - 1) / (out - 1) if out > 1 else 0.0)
    else:
        position = (o + 0.5) * (1 / scale if scale else length / out) - 0.5
    distance = abs(xp.clip(position, 0, length - 1)[:, None] - xp.arange(length, dtype="float64"))
    return xp.clip(1 - distance, 0, 1).astype(widened(like.dtype))


def _map_images(rows, columns, x):
    """rows @ x[n, :, :, c] @ columns^T for every image and channel."""
    N, H, W, C = x.shape
    xp, OH, OW = array_module(x), len(rows), len(columns)
    y = empty((N, OH, OW, C), like=x)

    def map_block(images):
        wide = x[images].astype(rows.dtype, copy=False)
        n = len(wide)
        higher = matmul(xp.broadcast_to(rows, (n, OH, H)), wide.reshape(n, H, W * C))
        pixels = matmul(xp.broadcast_to(columns, (n * OH, OW, W)), higher.reshape(n * OH, W, C))
        y[images] = pixels.reshape(n, OH, OW, C)

    for_each_block(map_block, x, (x.nbytes + 2 * y.nbytes) // N)
    return y


def _scales(layer: str, size: Any, scale_factor: Any) -> tuple[float, float] | None:
    """The two scale factors, or None where it is the size that is given."""
    if (size is None) == (scale_factor is None):
        raise ValueError(f"{layer}: give either size or scale_factor, got size={size!r}, scale_factor={scale_factor!r}")
    if scale_factor is None:
        pair(layer, "size", size, least=1)
        return None
    both: Any = scale_factor if isinstance(scale_factor, (tuple, list)) else (scale_factor, scale_factor)
    if len(both) != 2 or not all(
        isinstance(s, (int, float)) and not isinstance(s, bool) and 0 < s < math.inf for s in both
    ):
        raise ValueError(f"{layer}: scale_factor must be a number above 0 or a pair of them, got {scale_factor!r}")
    return float(both[0]), float(both[1])


def _size(x: Array, size: Pair | None, scales: tuple[float, float] | None) -> Size:
    """(OH, OW)"""
    layer = "upsample_bilinear2d"
    if scales is None:
        return pair(layer, "size", size, least=1)
    OH, OW = (math.floor(length * scale) for length, scale in zip(x.shape[1:3], scales, strict=True))
    if min(OH, OW) < 1:
        raise ValueError(f"{layer}: scale_factor {scales} leaves nothing of {x.shape[1:3]} pixels: give a larger one")
    return OH, OW


class UpsampleBilinear2d(Module):
    """`upsample_bilinear2d` as a module."""

    def __init__(
        self,
        size: Pair | None = None,
        scale_factor: float | tuple[float, float] | None = None,
        align_corners: bool = False,
    ) -> None:
        _scales("UpsampleBilinear2d", size, scale_factor)
        self.size, self.scale_factor, self.align_corners = size, scale_factor, align_corners

    def extra_repr(self) -> str:
        how = f"size={self.size}" if self.scale_factor is None else f"scale_factor={self.scale_factor}"
        return f"{how}, align_corners={self.align_corners}"

    def forward(self, x: Array) -> tuple[Array, Backward]:
        return upsample_bilinear2d(x, self.size, self.scale_factor, self.align_corners)
