"""GoogLeNet (Szegedy et al. 2015, table 1) with batch norm, under torchvision's names.

    output     layers                                         channels
    112x112    conv1, 7x7, stride 2                                 64
     56x56     max pool; conv2, 1x1; conv3, 3x3                    192
     28x28     max pool; inception3a, 3b                      256, 480
     14x14     max pool; inception4a to 4e     512, 512, 512, 528, 832
      7x7      max pool; inception5a, 5b                    832, 1,024
      1x1      mean of all pixels, dropout, fc             num_classes

6,624,904 parameters for 1,000 classes, and 6,379,984 more in the two heads that help to train it.
"""

from typing import Any

import numpy as np

from minires.layers import AdaptiveAvgPool2d, Dropout, GlobalAvgPool2d, Linear, MaxPool2d, ReLU
from minires.layers.checks import check_least_size, check_sizes
from minires.models.blocks import flatten_channels_first, seed_of
from minires.models.branches import ConvNormReLU, initialise_normal, side_by_side
from minires.models.features import cut, feature_maps
from minires.module import Module
from minires.sequential import Sequential, in_sequence
from minires.types import Array, Backward, Rng


class Inception(Module):
    """y = [1x1, 1x1 and 3x3, 1x1 and 3x3, max pool and 1x1], four branches side by side.

    reduced3x3 and reduced5x5 channels are what the 1x1 convolutions before the larger ones leave. The paper's third
    branch has a 5x5 convolution; torchvision's a 3x3 one, by mistake, which its published weights have learned: here,
    too, and its number of channels keeps the paper's name, n5x5.
    Source: Szegedy et al. 2015, figure 2b.
    """

    def __init__(
        self,
        in_channels: int,
        n1x1: int,
        reduced3x3: int,
        n3x3: int,
        reduced5x5: int,
        n5x5: int,
        pooled: int,
        rng: Rng = None,
    ) -> None:
        self.branch1 = ConvNormReLU(in_channels, n1x1, 1, rng=rng)
        self.branch2 = Sequential(
            ConvNormReLU(in_channels, reduced3x3, 1, rng=rng), ConvNormReLU(reduced3x3, n3x3, 3, padding=1, rng=rng)
        )
        self.branch3 = Sequential(
            ConvNormReLU(in_channels, reduced5x5, 1, rng=rng), ConvNormReLU(reduced5x5, n5x5, 3, padding=1, rng=rng)
        )
        self.branch4 = Sequential(MaxPool2d(3, 1, padding=1), ConvNormReLU(in_channels, pooled, 1, rng=rng))

    def forward(self, x: Array) -> tuple[Array, Backward]:
        return side_by_side((self.branch1, self.branch2, self.branch3, self.branch4), x)


class ExtraHead(Module):
    """Logits from the middle of the network: means of 4x4 parts, 1x1 convolution, fc1, relu, dropout, fc2.

    Source: Szegedy et al. 2015, section 5, with torchvision's pooling.
    """

    def __init__(self, in_channels: int, num_classes: int, rng: np.random.Generator) -> None:
        self.pool = AdaptiveAvgPool2d((4, 4))
        self.conv = ConvNormReLU(in_channels, 128, 1, rng=rng)
        self.fc1 = Linear(2048, 1024, rng=rng)
        self.relu = ReLU()
        self.dropout = Dropout(0.7, rng=seed_of(rng))
        self.fc2 = Linear(1024, num_classes, rng=rng)

    def forward(self, x: Array) -> tuple[Array, Backward]:
        y, conv_backward = Sequential(self.pool, self.conv)(x)
        y, flatten_backward = flatten_channels_first(y)
        y, head_backward = Sequential(self.fc1, self.relu, self.dropout, self.fc2)(y)
        return y, lambda dy: conv_backward(flatten_backward(head_backward(dy)))


class GoogLeNet(Module):
    """conv1 to conv3, nine Inception modules, the mean of all pixels, dropout, fc.

    Input (N, H, W, 3), H and W at least 15, output (N, num_classes). rng: a Generator or a seed. The published weights
    were learned on pixels (p - 0.5) / 0.5, p from 0 to 1: images are to be normalised with mean and standard deviation
    0.5 a channel. (torchvision, which normalises all images alike, turns them into that by `transform_input`.)
    aux_logits: there are heads behind inception4a and 4d, too. In training the output is then (logits, aux2, aux1), and
    backward takes a tuple of their gradients; see `head_weights`. In inference it is the logits.
    small_input: conv1 is 3x3 at stride 1, and the two max pools after it are not there: for images of 32x32 pixels.
    return_features: the output is C1 to C5, a tuple of what conv1, conv3, inception3b, 4e and 5b give, with H and W of
    a 2nd to 32nd of the image's (small_input: 1st, 1st, 1st, 2nd, 4th). backward takes a tuple of their gradients, None
    where there is none, and returns dx. The heads are there and not used.
    Weights start as normal numbers of standard deviation 0.01, as torchvision's do.
    """

    head_name, extra_heads = "fc", ("aux1", "aux2")
    head_weights = (1.0, 0.3, 0.3)  # of logits, aux2 and aux1 in the loss: Szegedy et al. 2015, section 5

    def __init__(
        self,
        num_classes: int = 1000,
        small_input: bool = False,
        return_features: bool = False,
        rng: Rng = None,
        aux_logits: bool = False,
    ) -> None:
        check_sizes("GoogLeNet", num_classes=num_classes)
        rng = np.random.default_rng(rng)
        kernel, stride, self.least_size = (3, 1, 2) if small_input else (7, 2, 15)
        self.conv1 = ConvNormReLU(3, 64, kernel, stride, padding=kernel // 2, rng=rng)
        self.maxpool1 = None if small_input else MaxPool2d(3, 2, ceil_mode=True)
        self.conv2 = ConvNormReLU(64, 64, 1, rng=rng)
        self.conv3 = ConvNormReLU(64, 192, 3, padding=1, rng=rng)
        self.maxpool2 = None if small_input else MaxPool2d(3, 2, ceil_mode=True)
        self.inception3a = Inception(192, 64, 96, 128, 16, 32, 32, rng)
        self.inception3b = Inception(256, 128, 128, 192, 32, 96, 64, rng)
        self.maxpool3 = MaxPool2d(3, 2, ceil_mode=True)
        self.inception4a = Inception(480, 192, 96, 208, 16, 48, 64, rng)
        self.inception4b = Inception(512, 160, 112, 224, 24, 64, 64, rng)
        self.inception4c = Inception(512, 128, 128, 256, 24, 64, 64, rng)
        self.inception4d = Inception(512, 112, 144, 288, 32, 64, 64, rng)
        self.inception4e = Inception(528, 256, 160, 320, 32, 128, 128, rng)
        self.maxpool4 = MaxPool2d(2, 2, ceil_mode=True)
        self.inception5a = Inception(832, 256, 160, 320, 32, 128, 128, rng)
        self.inception5b = Inception(832, 384, 192, 384, 48, 128, 128, rng)
        self.aux1 = ExtraHead(512, num_classes, rng) if aux_logits else None
        self.aux2 = ExtraHead(528, num_classes, rng) if aux_logits else None
        self.avgpool = GlobalAvgPool2d()
        self.dropout = Dropout(0.2, rng=seed_of(rng))
        self.fc = Linear(1024, num_classes, rng=rng)
        self.return_features = return_features
        initialise_normal(self, rng, std=0.01)

    def forward(self, x: Array, lean: bool = False) -> tuple[Any, Backward]:
        check_least_size("GoogLeNet", x, self.least_size)
        if self.return_features:
            ends = self.conv1, self.conv3, self.inception3b, self.inception4e, self.inception5b
            return feature_maps("GoogLeNet", cut(self.steps(), *ends)[:-1], x)
        if self.training and self.aux1 is not None and self.aux2 is not None:
            return self.three_heads(self.aux1, self.aux2, x, lean)
        return in_sequence([(step, [step]) for step in self.steps()], x, lean)

    def three_heads(self, aux1: Module, aux2: Module, x: Array, lean: bool = False) -> tuple[Any, Backward]:
        """-> ((logits, aux2, aux1), backward), backward((dlogits, daux2, daux1)) -> dx."""
        stages = cut(self.steps(), self.inception4a, self.inception4d)
        (map4a, map4d, logits), stages_backward = feature_maps("GoogLeNet", stages, x, lean)
        logits1, aux1_backward = aux1(map4a)
        logits2, aux2_backward = aux2(map4d)

        def backward(dheads):
            dlogits, dlogits2, dlogits1 = dheads
            return stages_backward((aux1_backward(dlogits1), aux2_backward(dlogits2), dlogits))

        return (logits, logits2, logits1), backward

    def steps(self) -> list[Module]:
        """What forward calls, in this order."""
        stem = [self.conv1, self.maxpool1, self.conv2, self.conv3, self.maxpool2]
        at28 = [self.inception3a, self.inception3b, self.maxpool3]
        at14 = [self.inception4a, self.inception4b, self.inception4c, self.inception4d, self.inception4e, self.maxpool4]
        at7 = [self.inception5a, self.inception5b, self.avgpool, self.dropout, self.fc]
        return [step for step in (*stem, *at28, *at14, *at7) if step is not None]


def googlenet(
    num_classes: int = 1000,
    small_input: bool = False,
    return_features: bool = False,
    rng: Rng = None,
    aux_logits: bool = False,
) -> GoogLeNet:
    """GoogLeNet, 6,624,904 parameters, 13,004,888 with its extra heads. rng: a NumPy Generator or a seed."""
    return GoogLeNet(num_classes, small_input, return_features, rng, aux_logits)
