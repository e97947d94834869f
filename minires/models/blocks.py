"""What residual networks are built of: convolution with batch norm and ReLU, and blocks with a shortcut.

Derivation: docs/layers/residual.md.
"""

import math
from typing import Any

import numpy as np

from minires.backend import array_module
from minires.layers import BatchNorm2d, BatchNormReLU2d, Conv2d, Linear, add, pad_shortcut
from minires.layers.checks import check_gradient, check_image
from minires.module import Module
from minires.sequential import Sequential, call
from minires.types import Array, Backward, Rng

KERAS_NORM = {"eps": 1.001e-5, "momentum": 0.01}  # 1 - 0.99: Keras's momentum is the share of the old value


def conv_norm_relu(
    conv: Module, norm: Module, x: Array, shortcut: Array | None = None, lean: bool = False
) -> tuple[Array, Backward]:
    """norm(conv(x), shortcut) of a Conv2d and a BatchNormReLU2d: (y, backward), backward(dy) -> dx or (dx, dshortcut).

    lean: nobody looks at dx, which may be None.
    """
    y, conv_backward = call(conv, x, lean=lean)
    if shortcut is None:
        y, norm_backward = norm(y)
        return y, lambda dy: conv_backward(norm_backward(dy))
    y, norm_backward = norm(y, shortcut)

    def backward(dy):
        dy, dshortcut = norm_backward(dy)
        return conv_backward(dy), dshortcut

    return y, backward


class BasicBlock(Module):
    """y = relu(F(x) + shortcut(x)),  F = bn2 . conv2 . relu . bn1 . conv1   (He et al. 2015, figure 2).

    shortcut "A": the identity, or every second pixel with zero channels added where the shape changes.
    shortcut "A-end": the same with all zero channels after x's own, not half of them on either side.
    shortcut "B": the identity, or a 1x1 convolution and batch norm where the shape changes.
    shortcut "none": no shortcut and no sum, y = relu(F(x)): the plain twin.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, shortcut: str, rng: Rng) -> None:
        self.conv1 = Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False, rng=rng)
        self.bn1 = BatchNormReLU2d(out_channels)  # with the ReLU after it
        self.conv2 = Conv2d(out_channels, out_channels, 3, 1, padding=1, bias=False, rng=rng)
        self.bn2: BatchNorm2d = BatchNormReLU2d(out_channels)  # with the sum and the ReLU after it
        self.kind, self.stride, self.out_channels = shortcut, stride, out_channels
        self.changes_shape = stride != 1 or in_channels != out_channels
        if shortcut == "B" and self.changes_shape:
            self.downsample = Sequential(
                Conv2d(in_channels, out_channels, 1, stride, bias=False, rng=rng), BatchNorm2d(out_channels)
            )

    def shortcut(self, x: Array) -> tuple[Array, Backward]:
        """-> (y, backward): x in the shape of the block's output."""
        if not self.changes_shape:
            return x, lambda dy: dy
        if self.kind in ("A", "A-end"):
            return pad_shortcut(x, self.out_channels, self.stride, at_end=self.kind == "A-end")
        return self.downsample(x)

    def forward(self, x: Array) -> tuple[Array, Backward]:
        y, layer1_backward = conv_norm_relu(self.conv1, self.bn1, x)
        if self.kind == "none":
            y, layer2_backward = conv_norm_relu(self.conv2, self.bn2, y)
            return y, lambda dy: layer1_backward(layer2_backward(dy))
        shortcut, shortcut_backward = self.shortcut(x)
        y, layer2_backward = conv_norm_relu(self.conv2, self.bn2, y, shortcut)

        def backward(dy):
            dy, dshortcut = layer2_backward(dy)
            dx, _ = add(layer1_backward(dy), shortcut_backward(dshortcut))  # x was used twice: its gradients add up
            return dx

        return y, backward


class Bottleneck(Module):
    """y = relu(F(x) + shortcut(x)),  F = bn3 . conv3 . relu . bn2 . conv2 . relu . bn1 . conv1.

    conv1 (1x1) leads to `width` channels, None for `channels`, conv2 (3x3, in `groups` groups) works there, conv3 (1x1)
    leads to 4 * channels. The shortcut is the identity, or a 1x1 convolution and batch norm where the shape changes.
    variant "torchvision": the stride is conv2's.   "v1": it is conv1's, as in the first published weights (Caffe).
    "keras": it is conv1's, convolutions have biases, KERAS_NORM.
    Source: He et al. 2015, figure 5; the stride in conv2: torchvision, "ResNet v1.5"; width and groups: Zagoruyko and
    Komodakis 2016, section 2; Xie et al. 2017, figure 3c.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int,
        variant: str,
        rng: Rng,
        width: int | None = None,
        groups: int = 1,
    ) -> None:
        keras, out_channels, width = variant == "keras", 4 * channels, width or channels
        strides = (1, stride) if variant == "torchvision" else (stride, 1)
        options: dict[str, Any] = {"bias": keras, "rng": rng}
        norm = KERAS_NORM if keras else {}
        self.conv1 = Conv2d(in_channels, width, 1, strides[0], **options)
        self.bn1 = BatchNormReLU2d(width, **norm)  # with the ReLU after it
        self.conv2 = Conv2d(width, width, 3, strides[1], padding=1, groups=groups, **options)
        self.bn2 = BatchNormReLU2d(width, **norm)
        self.conv3 = Conv2d(width, out_channels, 1, **options)
        self.bn3: BatchNorm2d = BatchNormReLU2d(out_channels, **norm)  # with the sum and the ReLU after it
        self.changes_shape = stride != 1 or in_channels != out_channels
        if self.changes_shape:
            self.downsample = Sequential(
                Conv2d(in_channels, out_channels, 1, stride, **options), BatchNorm2d(out_channels, **norm)
            )

    def shortcut(self, x: Array) -> tuple[Array, Backward]:
        """-> (y, backward): x in the shape of the block's output."""
        return self.downsample(x) if self.changes_shape else (x, lambda dy: dy)

    def forward(self, x: Array) -> tuple[Array, Backward]:
        y, layer1_backward = conv_norm_relu(self.conv1, self.bn1, x)
        y, layer2_backward = conv_norm_relu(self.conv2, self.bn2, y)
        shortcut, shortcut_backward = self.shortcut(x)
        y, layer3_backward = conv_norm_relu(self.conv3, self.bn3, y, shortcut)

        def backward(dy):
            dy, dshortcut = layer3_backward(dy)
            dx = layer1_backward(layer2_backward(dy))
            dx, _ = add(dx, shortcut_backward(dshortcut))  # x was used twice: its gradients add up
            return dx

        return y, backward


class Identity(Module):
    """y = x."""

    def forward(self, x: Array) -> tuple[Array, Backward]:
        return x, lambda dy: dy


def initialise_convolutions(model: Module, rng: np.random.Generator) -> None:
    """Weights become normal numbers of variance 2 / (O * KH * KW), biases 0."""
    for module in model.modules():
        if isinstance(module, Conv2d):
            O, _, KH, KW = module.weight.shape
            module.weight.data = rng.normal(0, math.sqrt(2 / (O * KH * KW)), module.weight.shape).astype(np.float32)
            if module.bias is not None:
                module.bias.data = np.zeros_like(module.bias.data)


def initialise_linear(module: Linear, rng: np.random.Generator, std: float) -> None:
    """Weights become normal numbers of this standard deviation, the bias 0."""
    module.weight.data = rng.normal(0, std, module.weight.shape).astype(np.float32)
    if module.bias is not None:
        module.bias.data = np.zeros_like(module.bias.data)


def seed_of(rng: np.random.Generator) -> int:
    """A seed for a module that draws numbers in training: its stream is its own, and not that of the weights."""
    return int(rng.integers(2**63))


def named(modules: dict[str, Module]) -> Sequential:
    """A Sequential of modules under these names: those of PyTorch, which counts ReLU, too, or says what they are."""
    sequence = Sequential()
    for name, module in modules.items():
        setattr(sequence, name, module)
    return sequence


def flatten_channels_first(x: Array) -> tuple[Array, Backward]:
    """y[n, (c * H + h) * W + w] = x[n, h, w, c]:  (N, H, W, C) -> (N, C * H * W), in the order of NCHW.

    For weights (O, C * H * W) that were learned on images (N, C, H, W). Returns y and backward(dy) -> dx, the same
    numbers in the shape of x.
    """
    check_image("flatten_channels_first", x)
    xp, (N, H, W, C), dtype = array_module(x), x.shape, x.dtype
    y = xp.ascontiguousarray(x.transpose(0, 3, 1, 2)).reshape(N, -1)  # (N, H, W, C) -> (N, C, H, W) -> (N, C*H*W)

    def backward(dy):
        check_gradient("flatten_channels_first", dy, (N, C * H * W), dtype)
        return xp.ascontiguousarray(dy.reshape(N, C, H, W).transpose(0, 2, 3, 1))

    return y, backward
