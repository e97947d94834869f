"""What most residual networks have in common: a stem, stages of blocks, the mean of all pixels, fc.

Source: He et al. 2015, table 1 and section 4.2.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minires.layers import BatchNormReLU2d, Conv2d, GlobalAvgPool2d, Linear, MaxPool2d
from minires.models.blocks import conv_norm_relu, initialise_convolutions
from minires.models.features import feature_maps
from minires.module import Module
from minires.sequential import Sequential, in_sequence
from minires.types import Array, Backward


def make_stem(
    channels: int, small_input: bool, rng: np.random.Generator, bias: bool = False, **norm: float
) -> tuple[Conv2d, BatchNormReLU2d]:
    """(conv1, bn1): 7x7 at stride 2, or 3x3 at stride 1 for images of 32x32 pixels. norm: of bn1."""
    kernel, stride = (3, 1) if small_input else (7, 2)
    conv1 = Conv2d(3, channels, kernel, stride, padding=kernel // 2, bias=bias, rng=rng)
    return conv1, BatchNormReLU2d(channels, **norm)


def make_stages(
    block: Callable[[int, int, int], Module],
    in_channels: int,
    channels: Sequence[int],
    blocks: Sequence[int],
    expansion: int = 1,
) -> list[Sequential]:
    """Stages of so many blocks each; the first block of each but the first stage halves H and W.

    block(in_channels, channels, stride) makes one, with expansion * channels channels at its output.
    """
    stages = []
    for number, (width, count) in enumerate(zip(channels, blocks, strict=True)):
        first = block(in_channels, width, 1 if number == 0 else 2)
        in_channels = expansion * width
        stages.append(Sequential(first, *(block(in_channels, width, 1) for _ in range(count - 1))))
    return stages


class Staged(Module):
    """conv1, bn1 with its ReLU, perhaps a max pool, layer1, layer2, ..., the mean of all pixels, fc.

    Named as in torchvision. Input (N, H, W, 3), output (N, num_classes).
    stem: conv1 and bn1.   stages: layer1, layer2, ...   channels: of the last stage's output.
    return_features: the output is a tuple of what the stages give: C2 to C5 of a network of four, with H and W of a
    4th, 8th, 16th and 32nd of the image's (from the whole of it on, where the stem makes them no less). backward takes
    a tuple of their gradients, None where there is none, and returns dx. fc is there and not used.
    Convolutions start as normal numbers of variance 2 / (O * KH * KW), as torchvision's do (He et al. 2015b,
    "Delving deep into rectifiers", equation 14), their biases as 0.
    """

    head_name = "fc"
    conv1: Conv2d  # a Sequential of convolutions in networks that say so
    layer1: Sequential
    layer2: Sequential
    layer3: Sequential
    layer4: Sequential  # where there is a fourth

    def __init__(
        self,
        stem: tuple[Any, BatchNormReLU2d],
        stages: Sequence[Module],
        channels: int,
        num_classes: int,
        rng: np.random.Generator,
        maxpool: bool = False,
        return_features: bool = False,
    ) -> None:
        self.conv1, self.bn1 = stem
        self.maxpool = MaxPool2d(3, 2, padding=1) if maxpool else None
        for number, stage in enumerate(stages, 1):
            setattr(self, f"layer{number}", stage)
        self.avgpool = GlobalAvgPool2d()
        self.fc = Linear(channels, num_classes, rng=rng)
        self.return_features = return_features
        initialise_convolutions(self, rng)

    def stages(self) -> list[Module]:
        """layer1, layer2, ..."""
        return [child for name, child in self.children() if name.startswith("layer")]

    def forward(self, x: Array, lean: bool = False) -> tuple[Any, Backward]:
        return self.features(x) if self.return_features else self.logits(x, lean)

    def stem(self, x: Array, lean: bool = False) -> tuple[Array, Backward]:
        """-> (y, backward): conv1, bn1, relu and the max pool."""
        y, conv_backward = conv_norm_relu(self.conv1, self.bn1, x, lean=lean)
        if self.maxpool is None:
            return y, conv_backward
        y, pool_backward = self.maxpool(y)
        return y, lambda dy: conv_backward(pool_backward(dy))

    def logits(self, x: Array, lean: bool = False) -> tuple[Array, Backward]:
        """-> (logits, backward)"""
        steps = [*self.stages(), self.avgpool, self.fc]
        return in_sequence([(self.stem, [self.conv1, self.bn1]), *((step, [step]) for step in steps)], x, lean)

    def features(self, x: Array) -> tuple[tuple[Array, ...], Backward]:
        """-> ((C2, C3, ...), backward), backward((dC2, dC3, ...)) -> dx."""
        first, *others = self.stages()

        def stem_and_first(x):
            return in_sequence([(self.stem, [self.conv1, self.bn1]), (first, [first])], x)

        return feature_maps(type(self).__name__, [stem_and_first, *others], x)
