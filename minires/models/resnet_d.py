"""ResNet-D (He et al. 2019, figure 2c and section 4): nothing is thrown away where the image gets smaller.

A 1x1 convolution at stride 2, as the shortcut of a ResNet has it, never sees three quarters of the pixels: here a mean
over 2x2 pixels comes first. And the first convolution, 7x7, is three of 3x3.

resnet50d for 1,000 classes has 25,576,264 parameters. Names are timm's, whose `resnet50d` these weights fit.
"""

import numpy as np

from minires.layers import AvgPool2d, BatchNorm2d, BatchNormReLU2d, Conv2d, ReLU
from minires.layers.checks import check_sizes
from minires.models.blocks import Bottleneck, Identity
from minires.models.imagenet import BLOCKS
from minires.models.staged import Staged, make_stages
from minires.sequential import Sequential
from minires.types import Rng


class BottleneckD(Bottleneck):
    """Bottleneck whose shortcut, where it changes the size, takes the mean over 2x2 pixels before its convolution."""

    def __init__(self, in_channels: int, channels: int, stride: int, rng: Rng) -> None:
        super().__init__(in_channels, channels, stride, "torchvision", rng)
        if self.changes_shape:
            mean = Identity() if stride == 1 else AvgPool2d(stride, ceil_mode=True, count_include_pad=False)
            conv = Conv2d(in_channels, 4 * channels, 1, bias=False, rng=rng)
            self.downsample = Sequential(mean, conv, BatchNorm2d(4 * channels))


def deep_stem(small_input: bool, rng: Rng) -> tuple[Sequential, BatchNormReLU2d]:
    """(conv1, bn1): three 3x3 convolutions to 32, 32 and 64 channels, the first at stride 2, or 1 with small_input."""
    conv1 = Sequential(
        Conv2d(3, 32, 3, 1 if small_input else 2, padding=1, bias=False, rng=rng),
        BatchNorm2d(32),
        ReLU(),
        Conv2d(32, 32, 3, padding=1, bias=False, rng=rng),
        BatchNorm2d(32),
        ReLU(),
        Conv2d(32, 64, 3, padding=1, bias=False, rng=rng),
    )
    return conv1, BatchNormReLU2d(64)


def resnet50d(
    num_classes: int = 1000, small_input: bool = False, return_features: bool = False, rng: Rng = None
) -> Staged:
    """resnet50 with deep_stem and of BottleneckDs, 25,576,264 parameters.

    small_input: conv1 is at stride 1 and there is no max pool: for images of 32x32 pixels. return_features: as in
    Staged. rng: a NumPy Generator or a seed.
    """
    check_sizes("resnet50d", num_classes=num_classes)
    rng = np.random.default_rng(rng)
    stem = deep_stem(small_input, rng)

    def block(in_channels, channels, stride):
        return BottleneckD(in_channels, channels, stride, rng)

    stages = make_stages(block, 64, (64, 128, 256, 512), BLOCKS[50], 4)
    return Staged(stem, stages, 2048, num_classes, rng, not small_input, return_features)
