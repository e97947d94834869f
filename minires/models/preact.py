"""Residual networks with pre-activation for CIFAR (He et al. 2016): batch norm and ReLU stand before each convolution.

    output   layers                                    channels, of two-layer blocks     of bottlenecks
    32x32    conv1                                                             16                    16
    32x32    layer1                                                            16                    64
    16x16    layer2                                                            32                   128
     8x8     layer3, bn1                                                       64                   256
     1x1     mean of all pixels, fc                                   num_classes           num_classes

The sum is the last thing in a block: nothing stands on the way of y = x + F(x), and so the gradient of each block's
output is that of the last one's and something more. 6n + 2 layers of two-layer blocks, 9n + 2 of bottlenecks.

    depth              110          164          1001
    parameters   1,730,522    1,703,258    10,327,706

Names are torchvision's as far as it has them; no package's published files have these.
"""

from typing import Any

import numpy as np

from minires.layers import BatchNormReLU2d, Conv2d, GlobalAvgPool2d, Linear, add
from minires.layers.checks import check_sizes
from minires.models.blocks import initialise_convolutions
from minires.models.features import cut, feature_maps
from minires.models.staged import make_stages
from minires.module import Module
from minires.sequential import in_sequence
from minires.types import Array, Backward, Rng


class PreActBlock(Module):
    """y = x + F(x),  F = conv2 . relu . bn2 . conv1 . relu . bn1   (He et al. 2016, figure 1b and figure 4e).

    Where the shape changes the shortcut is a 1x1 convolution of relu(bn1(x)), not of x, and without batch norm.
    """

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int, rng: Rng) -> None:
        self.bn1 = BatchNormReLU2d(in_channels)  # with the ReLU after it
        self.conv1 = Conv2d(in_channels, channels, 3, stride, padding=1, bias=False, rng=rng)
        self.bn2 = BatchNormReLU2d(channels)
        self.conv2 = Conv2d(channels, channels, 3, padding=1, bias=False, rng=rng)
        self.make_shortcut(in_channels, channels, stride, rng)

    def make_shortcut(self, in_channels: int, out_channels: int, stride: int, rng: Rng) -> None:
        """Sets `downsample`, None where the shape stays."""
        changes_shape = stride != 1 or in_channels != out_channels
        self.downsample = Conv2d(in_channels, out_channels, 1, stride, bias=False, rng=rng) if changes_shape else None

    def after_activation(self) -> list[Module]:
        """The layers of F after bn1 and its ReLU."""
        return [self.conv1, self.bn2, self.conv2]

    def forward(self, x: Array) -> tuple[Array, Backward]:
        a, activation_backward = self.bn1(x)
        y, residual_backward = in_sequence([(layer, [layer]) for layer in self.after_activation()], a)
        if self.downsample is None:
            y, add_backward = add(x, y)

            def backward(dy):
                dshortcut, dy = add_backward(dy)
                dx, _ = add(dshortcut, activation_backward(residual_backward(dy)))  # x was used twice
                return dx

            return y, backward
        shortcut, shortcut_backward = self.downsample(a)
        y, add_backward = add(shortcut, y)

        def projecting_backward(dy):
            dshortcut, dy = add_backward(dy)
            da, _ = add(shortcut_backward(dshortcut), residual_backward(dy))  # a was used twice
            return activation_backward(da)

        return y, projecting_backward


class PreActBottleneck(PreActBlock):
    """y = x + F(x),  F = conv3 . relu . bn3 . conv2 . relu . bn2 . conv1 . relu . bn1.

    conv1 (1x1) leads to `channels`, conv2 (3x3) works there, conv3 (1x1) leads to 4 * channels. Shortcut: as in
    PreActBlock. Source: He et al. 2016, section 4.
    """

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int, rng: Rng) -> None:
        self.bn1 = BatchNormReLU2d(in_channels)
        self.conv1 = Conv2d(in_channels, channels, 1, bias=False, rng=rng)
        self.bn2 = BatchNormReLU2d(channels)
        self.conv2 = Conv2d(channels, channels, 3, stride, padding=1, bias=False, rng=rng)
        self.bn3 = BatchNormReLU2d(channels)
        self.conv3 = Conv2d(channels, 4 * channels, 1, bias=False, rng=rng)
        self.make_shortcut(in_channels, 4 * channels, stride, rng)

    def after_activation(self) -> list[Module]:
        return [self.conv1, self.bn2, self.conv2, self.bn3, self.conv3]


class PreActResNet(Module):
    """conv1, three stages of n blocks, bn1, relu, the mean of all pixels, fc.

    Input (N, H, W, 3), output (N, num_classes). block: PreActBlock or PreActBottleneck. width: of the stages, 1 for 16,
    32 and 64 channels (4 times as many at the ends of bottlenecks). rng: a Generator or a seed.
    return_features: the output is C2 to C4, a tuple of what the stages give, the last after bn1 and ReLU, with H and W
    of the image, its half and its quarter. backward takes a tuple of their gradients, None where there is none, and
    returns dx. fc is there and not used.
    Convolutions start as normal numbers of variance 2 / (O * KH * KW).
    """

    head_name = "fc"

    def __init__(
        self,
        n: int,
        block: type[PreActBlock],
        num_classes: int = 10,
        width: int = 1,
        rng: Rng = None,
        return_features: bool = False,
    ) -> None:
        check_sizes("PreActResNet", n=n, num_classes=num_classes, width=width)
        rng = np.random.default_rng(rng)

        def make(in_channels, channels, stride):
            return block(in_channels, channels, stride, rng)

        channels = (16 * width, 32 * width, 64 * width)
        self.conv1 = Conv2d(3, 16, 3, padding=1, bias=False, rng=rng)
        self.layer1, self.layer2, self.layer3 = make_stages(make, 16, channels, (n, n, n), block.expansion)
        self.bn1 = BatchNormReLU2d(block.expansion * channels[2])  # the last block's sum has no ReLU after it
        self.avgpool = GlobalAvgPool2d()
        self.fc = Linear(block.expansion * channels[2], num_classes, rng=rng)
        self.return_features = return_features
        initialise_convolutions(self, rng)

    def forward(self, x: Array, lean: bool = False) -> tuple[Any, Backward]:
        layers = [layer for _, layer in self.children()]
        if self.return_features:
            return feature_maps("PreActResNet", cut(layers, self.layer1, self.layer2, self.bn1)[:-1], x)
        return in_sequence([(layer, [layer]) for layer in layers], x, lean)


def preact_resnet110(num_classes: int = 10, rng: Rng = None, return_features: bool = False) -> PreActResNet:
    """PreActResNet of 110 layers in two-layer blocks, 1,730,522 parameters. rng: a NumPy Generator or a seed."""
    return PreActResNet(18, PreActBlock, num_classes, rng=rng, return_features=return_features)


def preact_resnet164(num_classes: int = 10, rng: Rng = None, return_features: bool = False) -> PreActResNet:
    """PreActResNet of 164 layers in bottlenecks, 1,703,258 parameters. rng: a NumPy Generator or a seed."""
    return PreActResNet(18, PreActBottleneck, num_classes, rng=rng, return_features=return_features)


def preact_resnet1001(num_classes: int = 10, rng: Rng = None, return_features: bool = False) -> PreActResNet:
    """PreActResNet of 1,001 layers in bottlenecks, 10,327,706 parameters. rng: a NumPy Generator or a seed."""
    return PreActResNet(111, PreActBottleneck, num_classes, rng=rng, return_features=return_features)
