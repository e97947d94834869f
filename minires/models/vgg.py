"""VGG (Simonyan and Zisserman 2015, table 1): 3x3 convolutions and nothing else, under torchvision's names.

    output     features                            vgg11   vgg13   vgg16   vgg19   channels
    224x224    3x3 convolutions, then max pool         1       2       2       2         64
    112x112    3x3 convolutions, then max pool         1       2       2       2        128
     56x56     3x3 convolutions, then max pool         2       2       3       4        256
     28x28     3x3 convolutions, then max pool         2       2       3       4        512
     14x14     3x3 convolutions, then max pool         2       2       3       4        512
      7x7      classifier: 4,096, 4,096, num_classes

Each convolution is followed by ReLU, in the networks with _bn by batch norm before it. For 1,000 classes:

    parameters              vgg11         vgg13         vgg16         vgg19
                      132,863,336   133,047,848   138,357,544   143,667,240
    with _bn          132,868,840   133,053,736   138,365,992   143,678,248
"""

from itertools import pairwise
from typing import Any

import numpy as np

from minires.layers import (
    AdaptiveAvgPool2d,
    BatchNormReLU2d,
    Conv2d,
    Dropout,
    GlobalAvgPool2d,
    Linear,
    MaxPool2d,
    ReLU,
)
from minires.layers.checks import check_least_size, check_sizes
from minires.models.blocks import flatten_channels_first, initialise_convolutions, initialise_linear, named, seed_of
from minires.models.features import cut, feature_maps
from minires.module import Module
from minires.sequential import Sequential, in_sequence
from minires.types import Array, Backward, Operation, Rng

CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
CHANNELS = (64, 128, 256, 512, 512)
HIDDEN = 4096  # numbers in each of the classifier's hidden layers


class VGG(Module):
    """features, the means of 7x7 parts of the image, classifier.

    Input (N, H, W, 3), H and W at least 32, output (N, num_classes). depth: a key of CONVOLUTIONS, the number of
    layers with weights.   batch_norm: one after each convolution.   rng: a Generator or a seed.
    small_input: the form for images of 32x32 pixels, of which one pixel is left: classifier is one Linear from the
    mean of all pixels, its 512 channels, without hidden layers and dropout.
    return_features: the output is C1 to C5, a tuple of what stands before each max pool, with H and W of the image and
    a 2nd, 4th, 8th and 16th of it. backward takes a tuple of their gradients, None where there is none, and returns dx.
    classifier is there and not used.
    Convolutions start as normal numbers of variance 2 / (O * KH * KW), the classifier's weights with standard deviation
    0.01, all biases as 0, as torchvision's do. Raises ValueError for an unknown depth.
    """

    least_size = 32

    def __init__(
        self,
        depth: int,
        num_classes: int = 1000,
        batch_norm: bool = False,
        small_input: bool = False,
        return_features: bool = False,
        rng: Rng = None,
    ) -> None:
        if depth not in CONVOLUTIONS:
            raise ValueError(f"VGG: depth must be one of {', '.join(map(str, CONVOLUTIONS))}, got {depth}")
        check_sizes("VGG", num_classes=num_classes)
        rng = np.random.default_rng(rng)
        self.features = _features(CONVOLUTIONS[depth], batch_norm, rng)
        self.avgpool = GlobalAvgPool2d() if small_input else AdaptiveAvgPool2d((7, 7))
        self.classifier = Linear(512, num_classes, rng=rng) if small_input else _classifier(num_classes, rng)
        self.head_name = "classifier" if small_input else "classifier.6"
        self.small_input, self.return_features = small_input, return_features
        initialise_convolutions(self, rng)
        for module in self.modules():
            if isinstance(module, Linear):
                initialise_linear(module, rng, std=0.01)

    def forward(self, x: Array, lean: bool = False) -> tuple[Any, Backward]:
        if self.return_features:
            steps = list(self.features)
            before_pools = [step for step, pool in pairwise(steps) if isinstance(pool, MaxPool2d)]
            return feature_maps("VGG", cut(steps, *before_pools)[:-1], x)
        check_least_size("VGG", x, self.least_size)
        flatten: list[tuple[Operation, list[Module]]] = [] if self.small_input else [(flatten_channels_first, [])]
        features, avgpool, classifier = ((part, [part]) for part in (self.features, self.avgpool, self.classifier))
        return in_sequence([features, avgpool, *flatten, classifier], x, lean)


def _features(convolutions, batch_norm, rng):
    """Convolutions and max pools under torchvision's numbers, where a batch norm's ReLU has one of its own."""
    modules: dict[str, Module] = {}
    number, in_channels = 0, 3
    for count, channels in zip(convolutions, CHANNELS, strict=True):
        for _ in range(count):
            modules[str(number)] = Conv2d(in_channels, channels, 3, padding=1, rng=rng)
            modules[str(number + 1)] = BatchNormReLU2d(channels) if batch_norm else ReLU()
            number, in_channels = number + (3 if batch_norm else 2), channels
        modules[str(number)] = MaxPool2d(2)
        number += 1
    return named(modules)


def _classifier(num_classes, rng):
    def layer(in_features):
        return Linear(in_features, HIDDEN, rng=rng), ReLU(), Dropout(0.5, rng=seed_of(rng))

    return Sequential(*layer(512 * 7 * 7), *layer(HIDDEN), Linear(HIDDEN, num_classes, rng=rng))


def vgg11(num_classes: int = 1000, small_input: bool = False, return_features: bool = False, rng: Rng = None) -> VGG:
    """VGG with 11 layers, 132,863,336 parameters. rng: a NumPy Generator or a seed."""
    return VGG(11, num_classes, False, small_input, return_features, rng)


def vgg13(num_classes: int = 1000, small_input: bool = False, return_features: bool = False, rng: Rng = None) -> VGG:
    """VGG with 13 layers, 133,047,848 parameters. rng: a NumPy Generator or a seed."""
    return VGG(13, num_classes, False, small_input, return_features, rng)


def vgg16(num_classes: int = 1000, small_input: bool = False, return_features: bool = False, rng: Rng = None) -> VGG:
    """VGG with 16 layers, 138,357,544 parameters. rng: a NumPy Generator or a seed."""
    return VGG(16, num_classes, False, small_input, return_features, rng)


def vgg19(num_classes: int = 1000, small_input: bool = False, return_features: bool = False, rng: Rng = None) -> VGG:
    """VGG with 19 layers, 143,667,240 parameters. rng: a NumPy Generator or a seed."""
    return VGG(19, num_classes, False, small_input, return_features, rng)


def vgg11_bn(num_classes: int = 1000, small_input: bool = False, return_features: bool = False, rng: Rng = None) -> VGG:
    """VGG with 11 layers and batch norm, 132,868,840 parameters. rng: a NumPy Generator or a seed."""
    return VGG(11, num_classes, True, small_input, return_features, rng)


def vgg13_bn(num_classes: int = 1000, small_input: bool = False, return_features: bool = False, rng: Rng = None) -> VGG:
    """VGG with 13 layers and batch norm, 133,053,736 parameters. rng: a NumPy Generator or a seed."""
    return VGG(13, num_classes, True, small_input, return_features, rng)


def vgg16_bn(num_classes: int = 1000, small_input: bool = False, return_features: bool = False, rng: Rng = None) -> VGG:
    """VGG with 16 layers and batch norm, 138,365,992 parameters. rng: a NumPy Generator or a seed."""
    return VGG(16, num_classes, True, small_input, return_features, rng)


def vgg19_bn(num_classes: int = 1000, small_input: bool = False, return_features: bool = False, rng: Rng = None) -> VGG:
    """VGG with 19 layers and batch norm, 143,678,248 parameters. rng: a NumPy Generator or a seed."""
    return VGG(19, num_classes, True, small_input, return_features, rng)
