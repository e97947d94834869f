"""Squeeze and excitation: the means of an image's channels decide how much of each channel goes on.

Derivation: docs/layers/squeeze_excitation.md.
"""

import numpy as np

from minires.backend import array_module, empty, for_each_block, widened
from minires.layers.activations import relu, sigmoid
from minires.layers.checks import check_float, check_gradient, check_image, check_sizes
from minires.layers.conv import Conv2d
from minires.layers.linear import linear
from minires.module import Module
from minires.types import Array, Backward, Rng


def squeeze_excitation(x: Array, weight1: Array, bias1: Array, weight2: Array, bias2: Array) -> tuple[Array, Backward]:
    """y[n, h, w, c] = gate[n, c] * x[n, h, w, c],   gate = sigmoid(fc2(relu(fc1(mean of x over h, w))))

    x (N, H, W, C), weight1 (S, C, 1, 1), bias1 (S,), weight2 (C, S, 1, 1), bias2 (C,): fc1 and fc2 are 1x1 convolutions
    of an image of one pixel, which are linear layers. The gate is computed in float32 where x is of halves.
    Returns y, shaped as x, and backward(dy) -> (dx, dweight1, dbias1, dweight2, dbias2). x reaches y on two paths:
    dx = gate * dy + dmean / (H * W),   dmean being what comes back through the gate, dgate = sum of dy * x over h, w.
    Raises ValueError for shapes that do not fit.
    Source: Hu et al. 2018, section 3 (equations 2 to 4).
    """
    array_module(x, weight1, bias1, weight2, bias2)
    check_image("squeeze_excitation", x)
    check_float("squeeze_excitation", x, parameters=(weight1, bias1, weight2, bias2))
    _check_shapes(x, weight1, bias1, weight2, bias2)
    (_, H, W, C), S, wide = x.shape, len(weight1), widened(x.dtype)

    mean = _sums_of_images(lambda block: x[block].astype(wide, copy=False), x)  # (N, C)
    mean /= H * W
    hidden, fc1_backward = linear(mean, weight1.reshape(S, C), bias1)  # (N, S)
    hidden, relu_backward = relu(hidden)
    logits, fc2_backward = linear(hidden, weight2.reshape(C, S), bias2)  # (N, C)
    gate, sigmoid_backward = sigmoid(logits)
    y = empty(x.shape, like=x)

    def forward_block(block):
        y[block] = gate[block, None, None] * x[block].astype(wide, copy=False)

    for_each_block(forward_block, x, 3 * x[0].nbytes)
    shape, dtype = x.shape, x.dtype

    def backward(dy):
        check_gradient("squeeze_excitation", dy, shape, dtype)

        dgate = _sums_of_images(lambda block: dy[block].astype(wide, copy=False) * x[block].astype(wide, copy=False), x)
        dhidden, dweight2, dbias2 = fc2_backward(sigmoid_backward(dgate))
        dmean, dweight1, dbias1 = fc1_backward(relu_backward(dhidden))
        dmean /= H * W
        dx = empty(shape, like=dy)

        def backward_block(block):
            dx[block] = gate[block, None, None] * dy[block].astype(wide, copy=False) + dmean[block, None, None]

        for_each_block(backward_block, dx, 3 * x[0].nbytes)
        return dx, dweight1.reshape(weight1.shape), dbias1, dweight2.reshape(weight2.shape), dbias2

    return y, backward


def _sums_of_images(terms, x):
    """(N, C): the sums over rows and columns of terms(block), a block of images (n, H, W, C)."""
    blocks = for_each_block(lambda block: terms(block).sum(axis=(1, 2)), x, 3 * x[0].nbytes)
    return blocks[0] if len(blocks) == 1 else array_module(x).concatenate(blocks)


def _check_shapes(x, weight1, bias1, weight2, bias2):
    C, S = x.shape[-1], len(weight1) if weight1.ndim else 0
    named = {"weight1": (weight1, (S, C, 1, 1)), "bias1": (bias1, (S,))}
    named |= {"weight2": (weight2, (C, S, 1, 1)), "bias2": (bias2, (C,))}
    for name, (array, shape) in named.items():
        if array.shape != shape or not S:
            raise ValueError(
                f"squeeze_excitation: {C} input channels squeezed to {S}, {name} has shape {array.shape}: "
                f"expected {shape}"
            )


class SqueezeExcitation(Module):
    """`squeeze_excitation` with fc1 and fc2, two 1x1 convolutions with bias, named as torchvision and timm name them.

    channels -> squeeze_channels -> channels. rng: a NumPy Generator or a seed.
    """

    def __init__(self, channels: int, squeeze_channels: int, rng: Rng = None) -> None:
        check_sizes("SqueezeExcitation", channels=channels, squeeze_channels=squeeze_channels)
        rng = np.random.default_rng(rng)
        self.fc1 = Conv2d(channels, squeeze_channels, 1, rng=rng)
        self.fc2 = Conv2d(squeeze_channels, channels, 1, rng=rng)

    def forward(self, x: Array) -> tuple[Array, Backward]:
        parameters = self.parameters()  # weight and bias of fc1, then of fc2
        y, excitation_backward = squeeze_excitation(x, *(p.data for p in parameters))

        def backward(dy):
            dx, *gradients = excitation_backward(dy)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.add_grad(gradient, new=True)
            return dx

        return y, backward
