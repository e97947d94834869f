"""Inception v3 (Szegedy et al. 2016, table 1), under torchvision's names.

    output     layers                                                   channels
    149x149    Conv2d_1a_3x3, stride 2                                        32
    147x147    Conv2d_2a_3x3, Conv2d_2b_3x3                               32, 64
     73x73     max pool; Conv2d_3b_1x1                                        80
     71x71     Conv2d_4a_3x3                                                 192
     35x35     max pool; Mixed_5b to 5d, InceptionA                256, 288, 288
     17x17     Mixed_6a, InceptionB; Mixed_6b to 6e, InceptionC              768
      8x8      Mixed_7a, InceptionD; Mixed_7b, 7c, InceptionE      1,280, 2,048
      1x1      mean of all pixels, dropout, fc                       num_classes

23,834,568 parameters for 1,000 classes, and 3,326,696 more in the head that helps to train it. Images have 299x299
pixels: without padding in the first layers and with windows that end at the border none is left over.
"""

from typing import Any

import numpy as np

from minires.layers import AvgPool2d, Dropout, GlobalAvgPool2d, Linear, MaxPool2d
from minires.layers.checks import check_least_size, check_sizes
from minires.models.blocks import initialise_linear, seed_of
from minires.models.branches import ConvNormReLU, initialise_normal
from minires.models.features import cut, feature_maps
from minires.models.inception_blocks import InceptionA, InceptionB, InceptionC, InceptionD, InceptionE
from minires.module import Module
from minires.sequential import in_sequence
from minires.types import Array, Backward, Rng


class ExtraHead(Module):
    """Logits from the middle of the network: mean of 5x5 at stride 3, conv0 (1x1), conv1 (5x5), mean of all, fc.

    Source: Szegedy et al. 2016, section 4 and figure 8.
    """

    def __init__(self, in_channels: int, num_classes: int, rng: np.random.Generator) -> None:
        self.pool = AvgPool2d(5, 3)
        self.conv0 = ConvNormReLU(in_channels, 128, 1, rng=rng)
        self.conv1 = ConvNormReLU(128, 768, 5, rng=rng)
        self.avgpool = GlobalAvgPool2d()
        self.fc = Linear(768, num_classes, rng=rng)

    def forward(self, x: Array) -> tuple[Array, Backward]:
        return in_sequence([(m, [m]) for m in (self.pool, self.conv0, self.conv1, self.avgpool, self.fc)], x)


class InceptionV3(Module):
    """Five convolutions, eleven Inception modules, the mean of all pixels, dropout, fc.

    Input (N, H, W, 3), H and W at least 75, output (N, num_classes). rng: a Generator or a seed. The published weights
    were learned on pixels (p - 0.5) / 0.5, p from 0 to 1: images are to be normalised with mean and standard deviation
    0.5 a channel. (torchvision, which normalises all images alike, turns them into that by `transform_input`.)
    aux_logits: there is a head behind Mixed_6e, too. In training the output is then (logits, aux), and backward takes
    a tuple of their gradients; see `head_weights`. In inference it is the logits.
    return_features: the output is C1 to C5, a tuple of what Conv2d_2b_3x3, Conv2d_4a_3x3, Mixed_5d, 6e and 7c give,
    with H and W of nearly a 2nd to 32nd of the image's. backward takes a tuple of their gradients, None where there is
    none, and returns dx. The heads are there and not used.
    Weights start as normal numbers of standard deviation 0.1, those of the extra head's fc of 0.001, as torchvision's.
    """

    head_name, extra_heads, least_size = "fc", ("AuxLogits",), 75
    head_weights = (1.0, 0.4)  # of logits and aux in the loss: TensorFlow's slim, where the published weights are from

    def __init__(
        self, num_classes: int = 1000, return_features: bool = False, rng: Rng = None, aux_logits: bool = False
    ) -> None:
        check_sizes("InceptionV3", num_classes=num_classes)
        rng = np.random.default_rng(rng)
        self.Conv2d_1a_3x3 = ConvNormReLU(3, 32, 3, stride=2, rng=rng)
        self.Conv2d_2a_3x3 = ConvNormReLU(32, 32, 3, rng=rng)
        self.Conv2d_2b_3x3 = ConvNormReLU(32, 64, 3, padding=1, rng=rng)
        self.maxpool1 = MaxPool2d(3, 2)
        self.Conv2d_3b_1x1 = ConvNormReLU(64, 80, 1, rng=rng)
        self.Conv2d_4a_3x3 = ConvNormReLU(80, 192, 3, rng=rng)
        self.maxpool2 = MaxPool2d(3, 2)
        self.Mixed_5b = InceptionA(192, 32, rng)
        self.Mixed_5c = InceptionA(256, 64, rng)
        self.Mixed_5d = InceptionA(288, 64, rng)
        self.Mixed_6a = InceptionB(288, rng)
        self.Mixed_6b = InceptionC(768, 128, rng)
        self.Mixed_6c = InceptionC(768, 160, rng)
        self.Mixed_6d = InceptionC(768, 160, rng)
        self.Mixed_6e = InceptionC(768, 192, rng)
        self.AuxLogits = ExtraHead(768, num_classes, rng) if aux_logits else None
        self.Mixed_7a = InceptionD(768, rng)
        self.Mixed_7b = InceptionE(1280, rng)
        self.Mixed_7c = InceptionE(2048, rng)
        self.avgpool = GlobalAvgPool2d()
        self.dropout = Dropout(0.5, rng=seed_of(rng))
        self.fc = Linear(2048, num_classes, rng=rng)
        self.return_features = return_features
        initialise_normal(self, rng, std=0.1)
        if self.AuxLogits is not None:
            initialise_linear(self.AuxLogits.fc, rng, std=0.001)

    def forward(self, x: Array, lean: bool = False) -> tuple[Any, Backward]:
        check_least_size("InceptionV3", x, self.least_size)
        if self.return_features:
            ends = self.Conv2d_2b_3x3, self.Conv2d_4a_3x3, self.Mixed_5d, self.Mixed_6e, self.Mixed_7c
            return feature_maps("InceptionV3", cut(self.steps(), *ends)[:-1], x)
        if self.training and self.AuxLogits is not None:
            return self.two_heads(self.AuxLogits, x, lean)
        return in_sequence([(step, [step]) for step in self.steps()], x, lean)

    def two_heads(self, head: Module, x: Array, lean: bool = False) -> tuple[Any, Backward]:
        """-> ((logits, aux), backward), backward((dlogits, daux)) -> dx."""
        stages = cut(self.steps(), self.Mixed_6e)
        (map6e, logits), stages_backward = feature_maps("InceptionV3", stages, x, lean)
        aux, head_backward = head(map6e)

        def backward(dheads):
            dlogits, daux = dheads
            return stages_backward((head_backward(daux), dlogits))

        return (logits, aux), backward

    def steps(self) -> list[Module]:
        """What forward calls, in this order."""
        stem = [self.Conv2d_1a_3x3, self.Conv2d_2a_3x3, self.Conv2d_2b_3x3, self.maxpool1]
        stem += [self.Conv2d_3b_1x1, self.Conv2d_4a_3x3, self.maxpool2]
        at35 = [self.Mixed_5b, self.Mixed_5c, self.Mixed_5d]
        at17 = [self.Mixed_6a, self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e]
        at8 = [self.Mixed_7a, self.Mixed_7b, self.Mixed_7c]
        return [*stem, *at35, *at17, *at8, self.avgpool, self.dropout, self.fc]


def inception_v3(
    num_classes: int = 1000, return_features: bool = False, rng: Rng = None, aux_logits: bool = False
) -> InceptionV3:
    """InceptionV3, 23,834,568 parameters, 27,161,264 with its extra head. rng: a NumPy Generator or a seed."""
    return InceptionV3(num_classes, return_features, rng, aux_logits)
