"""A network as a function of the picture's own numbers, so that "8 of 255" means what it says.

Derivation: docs/robustness.md.
"""

from collections.abc import Sequence

import numpy as np

from minires.backend import array_module, device_of, to_device
from minires.data.images import Preprocessing
from minires.layers.checks import check_float, check_image
from minires.module import Module
from minires.types import Array, Backward


def normalize_pixels(x: Array, mean: Sequence[float], std: Sequence[float]) -> tuple[Array, Backward]:
    """y[..., c] = (x[..., c] / 255 - mean[c]) / std[c];   backward: dy -> dx = dy / (255 * std)

    x (N, H, W, C), floating-point, from 0 to 255.   mean, std: C numbers, in units where a pixel is 0..1.
    Returns y of x's shape and dtype, and backward(dy) -> dx. Raises ValueError for an x that is no batch of images, for
    numbers of another count than the channels, and where a std is not positive.
    """
    check_image("normalize_pixels", x)
    check_float("normalize_pixels", x)
    if not len(mean) == len(std) == x.shape[3]:
        raise ValueError(f"normalize_pixels: {x.shape[3]} channels, got {len(mean)} means and {len(std)} deviations")
    if not min(std) > 0:
        raise ValueError(f"normalize_pixels: std is {tuple(std)}, expected positive numbers")
    m, s = (to_device(np.array(numbers, x.dtype), device_of(x)) for numbers in (mean, std))
    y = (x / 255 - m) / s

    def backward(dy):
        return dy / (255 * s)

    return y, backward


class OnPixels(Module):
    """x (N, H, W, 3) in RGB, floats from 0 to 255 -> the network's logits of it, normalised as the network wants it.

    preprocessing: the network's; where its order is BGR the channels are turned round first.
    """

    def __init__(self, network: Module, preprocessing: Preprocessing) -> None:
        self.network, self.preprocessing = network, preprocessing

    def forward(self, x: Array) -> tuple[Array, Backward]:
        own = self.preprocessing
        turn = -1 if own.order == "BGR" else 1
        contiguous = array_module(x).ascontiguousarray
        z, normalize_backward = normalize_pixels(contiguous(x[..., ::turn]), own.mean, own.std)
        logits, network_backward = self.network(z)

        def backward(dlogits):
            return normalize_backward(network_backward(dlogits))[..., ::turn]

        return logits, backward
