"""Residual networks for CIFAR, and their plain twins (He et al. 2015, section 4.2).

    output   layers                          channels
    32x32    conv1, then 2n layers in layer1       16
    16x16    2n layers in layer2                   32
     8x8     2n layers in layer3                   64
     1x1     mean of all pixels, fc       num_classes

6n + 2 layers with weights. Parameters for ten classes:

    depth        20        32        44        56         110
    A       269,722   464,154   658,586   853,018   1,727,962
"""

import math

import numpy as np

from minires.backend import add_to
from minires.layers import BatchNorm2d, BatchNormReLU2d, Conv2d, GlobalAvgPool2d, Linear, pad_shortcut
from minires.layers.batch_norm_relu import conv_norm_relu
from minires.layers.checks import check_sizes
from minires.module import Module, Sequential, in_sequence, wants_input_gradient

SHORTCUTS = ("A", "B", "none")


class BasicBlock(Module):
    """y = relu(F(x) + shortcut(x)),  F = bn2 . conv2 . relu . bn1 . conv1   (He et al. 2015, figure 2).

    shortcut "A": the identity, or every second pixel with zero channels added where the shape changes.
    shortcut "B": the identity, or a 1x1 convolution and batch norm where the shape changes.
    shortcut "none": no shortcut and no sum, y = relu(F(x)): the plain twin.
    """

    def __init__(self, in_channels, out_channels, stride, shortcut, rng):
        self.conv1 = Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False, rng=rng)
        self.bn1 = BatchNormReLU2d(out_channels)  # with the ReLU after it
        self.conv2 = Conv2d(out_channels, out_channels, 3, 1, padding=1, bias=False, rng=rng)
        self.bn2 = BatchNormReLU2d(out_channels)  # with the sum and the ReLU after it
        self.kind, self.stride, self.out_channels = shortcut, stride, out_channels
        self.changes_shape = stride != 1 or in_channels != out_channels
        if shortcut == "B" and self.changes_shape:
            self.downsample = Sequential(
                Conv2d(in_channels, out_channels, 1, stride, bias=False, rng=rng), BatchNorm2d(out_channels)
            )

    def shortcut(self, x):
        """-> (y, backward): x in the shape of the block's output."""
        if not self.changes_shape:
            return x, lambda dy: dy
        if self.kind == "A":
            return pad_shortcut(x, self.out_channels, self.stride)
        return self.downsample(x)

    def forward(self, x):
        y, layer1_backward = conv_norm_relu(self.conv1, self.bn1, x)
        if self.kind == "none":
            y, layer2_backward = conv_norm_relu(self.conv2, self.bn2, y)
            return y, lambda dy: layer1_backward(layer2_backward(dy))
        shortcut, shortcut_backward = self.shortcut(x)
        y, layer2_backward = conv_norm_relu(self.conv2, self.bn2, y, shortcut)

        def backward(dy):
            dy, dshortcut = layer2_backward(dy)
            dx = layer1_backward(dy)
            add_to(dx, shortcut_backward(dshortcut))  # x was used twice: its gradients add up
            return dx

        return y, backward


class ResNet(Module):
    """conv1, bn1, relu, three stages of n blocks, the mean of all pixels, fc.

    Input (N, H, W, 3), output (N, num_classes). depth: 6n + 2. shortcut: as in BasicBlock. rng: a Generator or a seed.
    Convolutions start as normal numbers of variance 2 / (O * KH * KW), as torchvision's do (He et al. 2015b,
    "Delving deep into rectifiers", equation 14).
    """

    def __init__(self, depth, num_classes=10, shortcut="A", rng=None):
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"ResNet: depth must be 6n + 2 (8, 14, 20, ...), got {depth}")
        if shortcut not in SHORTCUTS:
            raise ValueError(f"ResNet: unknown shortcut {shortcut!r}: choose one of {', '.join(SHORTCUTS)}")
        check_sizes("ResNet", num_classes=num_classes)
        rng = np.random.default_rng(rng)
        self.conv1 = Conv2d(3, 16, 3, padding=1, bias=False, rng=rng)
        self.bn1 = BatchNormReLU2d(16)
        n = (depth - 2) // 6
        self.layer1 = _stage(16, 16, n, 1, shortcut, rng)
        self.layer2 = _stage(16, 32, n, 2, shortcut, rng)
        self.layer3 = _stage(32, 64, n, 2, shortcut, rng)
        self.avgpool = GlobalAvgPool2d()
        self.fc = Linear(64, num_classes, rng=rng)
        initialise_convolutions(self, rng)

    def forward(self, x):
        stages = [self.layer1, self.layer2, self.layer3, self.avgpool, self.fc]
        return in_sequence([(self._stem, [self.conv1, self.bn1]), *((stage, [stage]) for stage in stages)], x)

    def _stem(self, x):
        return conv_norm_relu(self.conv1, self.bn1, x, input_gradient=wants_input_gradient())


def initialise_convolutions(model, rng):
    """Weights become normal numbers of variance 2 / (O * KH * KW), biases 0."""
    for module in model.modules():
        if isinstance(module, Conv2d):
            O, _, KH, KW = module.weight.shape
            module.weight.data = rng.normal(0, math.sqrt(2 / (O * KH * KW)), module.weight.shape).astype(np.float32)
            if module.bias is not None:
                module.bias.data[:] = 0


def _stage(in_channels, out_channels, blocks, stride, shortcut, rng):
    """`blocks` blocks of one output shape; the first changes channels and size."""
    first = BasicBlock(in_channels, out_channels, stride, shortcut, rng)
    return Sequential(first, *(BasicBlock(out_channels, out_channels, 1, shortcut, rng) for _ in range(blocks - 1)))


def resnet8(num_classes=10, shortcut="A", rng=None):
    """ResNet with 8 layers, 75,290 parameters (option A). rng: a NumPy Generator or a seed."""
    return ResNet(8, num_classes, shortcut, rng)


def resnet20(num_classes=10, shortcut="A", rng=None):
    """ResNet with 20 layers, 269,722 parameters (option A). rng: a NumPy Generator or a seed."""
    return ResNet(20, num_classes, shortcut, rng)


def resnet32(num_classes=10, shortcut="A", rng=None):
    """ResNet with 32 layers, 464,154 parameters (option A). rng: a NumPy Generator or a seed."""
    return ResNet(32, num_classes, shortcut, rng)


def resnet44(num_classes=10, shortcut="A", rng=None):
    """ResNet with 44 layers, 658,586 parameters (option A). rng: a NumPy Generator or a seed."""
    return ResNet(44, num_classes, shortcut, rng)


def resnet56(num_classes=10, shortcut="A", rng=None):
    """ResNet with 56 layers, 853,018 parameters (option A). rng: a NumPy Generator or a seed."""
    return ResNet(56, num_classes, shortcut, rng)


def resnet110(num_classes=10, shortcut="A", rng=None):
    """ResNet with 110 layers, 1,727,962 parameters (option A). rng: a NumPy Generator or a seed."""
    return ResNet(110, num_classes, shortcut, rng)


def plain8(num_classes=10, rng=None):
    """resnet8 without its shortcuts."""
    return ResNet(8, num_classes, "none", rng)


def plain20(num_classes=10, rng=None):
    """resnet20 without its shortcuts."""
    return ResNet(20, num_classes, "none", rng)


def plain32(num_classes=10, rng=None):
    """resnet32 without its shortcuts."""
    return ResNet(32, num_classes, "none", rng)


def plain44(num_classes=10, rng=None):
    """resnet44 without its shortcuts."""
    return ResNet(44, num_classes, "none", rng)


def plain56(num_classes=10, rng=None):
    """resnet56 without its shortcuts."""
    return ResNet(56, num_classes, "none", rng)


def plain110(num_classes=10, rng=None):
    """resnet110 without its shortcuts."""
    return ResNet(110, num_classes, "none", rng)
