"""DenseNet (Huang et al. 2017, table 1), under torchvision's names, and DenseNet-BC for CIFAR.

    output     features                                               layers of 121   161   169   201
    112x112    conv0, 7x7, stride 2; norm0
     56x56     max pool; denseblock1                                              6     6     6     6
     28x28     transition1; denseblock2                                          12    12    12    12
     14x14     transition2; denseblock3                                          24    36    32    48
      7x7      transition3; denseblock4; norm5                                   16    24    32    32
      1x1      mean of all pixels; classifier

A layer adds k channels to those that are there, a transition halves their number and the image's sides.
For 1,000 classes:

    densenet               121          161          169          201
    k                       32           48           32           32
    channels of conv0       64           96           64           64
    parameters       7,978,856   28,681,000   14,149,480   20,013,928
"""

import math
from typing import Any

import numpy as np

from minires.layers import (
    AvgPool2d,
    BatchNormReLU2d,
    Conv2d,
    GlobalAvgPool2d,
    Linear,
    MaxPool2d,
    add,
    concat,
)
from minires.layers.checks import check_least_size, check_sizes
from minires.models.blocks import conv_norm_relu, named
from minires.models.features import cut, feature_maps
from minires.module import Module
from minires.sequential import in_sequence
from minires.types import Array, Backward, Rng


class DenseLayer(Module):
    """y = [x, F(x)],  F = conv2 . relu . norm2 . conv1 . relu . norm1: k new channels beside those of x.

    Where a residual block adds, y = x + F(x), this one concatenates: every later layer sees all that was made before.
    conv1 (1x1) leads to 4k channels, conv2 (3x3) to k.   Source: Huang et al. 2017, equation 2 and section 3.
    """

    def __init__(self, in_channels: int, k: int, rng: np.random.Generator) -> None:
        self.norm1 = BatchNormReLU2d(in_channels)  # with the ReLU after it
        self.conv1 = Conv2d(in_channels, 4 * k, 1, bias=False, rng=rng)
        self.norm2 = BatchNormReLU2d(4 * k)
        self.conv2 = Conv2d(4 * k, k, 3, padding=1, bias=False, rng=rng)

    def forward(self, x: Array) -> tuple[Array, Backward]:
        y, norm1_backward = self.norm1(x)
        y, conv1_backward = conv_norm_relu(self.conv1, self.norm2, y)
        new, conv2_backward = self.conv2(y)
        y, concat_backward = concat(x, new)

        def backward(dy):
            dx, dnew = concat_backward(dy)  # of x, what all later layers want of it
            dnew = norm1_backward(conv1_backward(conv2_backward(dnew)))
            dx, _ = add(dx, dnew)  # and what this one wants: x was used twice, its gradients add up
            return dx

        return y, backward


class DenseNet(Module):
    """conv0, norm0, relu, max pool, dense blocks with transitions between, norm5, relu, the mean of all pixels.

    Input (N, H, W, 3), output (N, num_classes). blocks: layers in each dense block.   k: channels that a layer adds,
    the growth rate.   channels: of conv0.   rng: a Generator or a seed.
    small_input: conv0 is 3x3 at stride 1, without batch norm, ReLU and max pool after it: for images of 32x32 pixels.
    return_features: the output is C2 to C5, a tuple of what the dense blocks give, the last after norm5 and ReLU, with
    H and W of a 4th to 32nd of the image's (small_input: 1st to 8th). backward takes a tuple of their gradients, None
    where there is none, and returns dx. classifier is there and not used.
    Convolutions start as normal numbers of variance 2 / (C * KH * KW), the classifier's bias as 0, as torchvision's do.
    """

    head_name = "classifier"

    def __init__(
        self,
        blocks: tuple[int, ...] = (6, 12, 24, 16),
        k: int = 32,
        channels: int = 64,
        num_classes: int = 1000,
        small_input: bool = False,
        return_features: bool = False,
        rng: Rng = None,
    ) -> None:
        check_sizes("DenseNet", k=k, channels=channels, num_classes=num_classes)
        rng = np.random.default_rng(rng)
        parts: dict[str, Module] = {"conv0": Conv2d(3, channels, 3, padding=1, bias=False, rng=rng)}
        if not small_input:
            parts = {"conv0": Conv2d(3, channels, 7, 2, padding=3, bias=False, rng=rng)}
            parts |= {"norm0": BatchNormReLU2d(channels), "pool0": MaxPool2d(3, 2, padding=1)}
        for number, layers in enumerate(blocks, 1):
            if number > 1:
                parts[f"transition{number - 1}"] = _transition(channels, rng)
                channels //= 2
            parts[f"denseblock{number}"] = _dense_block(channels, layers, k, rng)
            channels += layers * k
        self.features = named(parts | {"norm5": BatchNormReLU2d(channels)})
        self.avgpool = GlobalAvgPool2d()
        self.classifier = Linear(channels, num_classes, rng=rng)
        self.return_features = return_features
        halved = 2 ** (len(blocks) - 1)  # by the transitions, which round down; the stem rounds up
        self.least_size = halved if small_input else 4 * (halved - 1) + 1
        _initialise(self, rng)

    def forward(self, x: Array, lean: bool = False) -> tuple[Any, Backward]:
        check_least_size("DenseNet", x, self.least_size)
        if self.return_features:
            children = dict(self.features.children())
            *blocks, _ = (part for name, part in children.items() if name.startswith("denseblock"))
            return feature_maps("DenseNet", cut(children.values(), *blocks), x)
        return in_sequence([(part, [part]) for part in (self.features, self.avgpool, self.classifier)], x, lean)


def _dense_block(channels, layers, k, rng):
    return named({f"denselayer{i + 1}": DenseLayer(channels + i * k, k, rng) for i in range(layers)})


def _transition(channels, rng):
    conv = Conv2d(channels, channels // 2, 1, bias=False, rng=rng)
    return named({"norm": BatchNormReLU2d(channels), "conv": conv, "pool": AvgPool2d(2)})


def _initialise(model, rng):
    for module in model.modules():
        if isinstance(module, Conv2d):
            _, C, KH, KW = module.weight.shape
            module.weight.data = rng.normal(0, math.sqrt(2 / (C * KH * KW)), module.weight.shape).astype(np.float32)
    model.classifier.bias.data = np.zeros_like(model.classifier.bias.data)


def densenet121(
    num_classes: int = 1000, small_input: bool = False, return_features: bool = False, rng: Rng = None
) -> DenseNet:
    """DenseNet with 121 layers, 7,978,856 parameters. rng: a NumPy Generator or a seed."""
    return DenseNet((6, 12, 24, 16), 32, 64, num_classes, small_input, return_features, rng)


def densenet161(
    num_classes: int = 1000, small_input: bool = False, return_features: bool = False, rng: Rng = None
) -> DenseNet:
    """DenseNet with 161 layers, 28,681,000 parameters. rng: a NumPy Generator or a seed."""
    return DenseNet((6, 12, 36, 24), 48, 96, num_classes, small_input, return_features, rng)


def densenet169(
    num_classes: int = 1000, small_input: bool = False, return_features: bool = False, rng: Rng = None
) -> DenseNet:
    """DenseNet with 169 layers, 14,149,480 parameters. rng: a NumPy Generator or a seed."""
    return DenseNet((6, 12, 32, 32), 32, 64, num_classes, small_input, return_features, rng)


def densenet201(
    num_classes: int = 1000, small_input: bool = False, return_features: bool = False, rng: Rng = None
) -> DenseNet:
    """DenseNet with 201 layers, 20,013,928 parameters. rng: a NumPy Generator or a seed."""
    return DenseNet((6, 12, 48, 32), 32, 64, num_classes, small_input, return_features, rng)


def densenet_bc100(num_classes: int = 10, return_features: bool = False, rng: Rng = None) -> DenseNet:
    """DenseNet-BC for CIFAR with 100 layers, k = 12, 769,162 parameters. rng: a NumPy Generator or a seed."""
    return DenseNet((16, 16, 16), 12, 24, num_classes, True, return_features, rng)
