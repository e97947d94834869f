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

import numpy as np

from minires.layers.checks import check_sizes
from minires.models.blocks import BasicBlock
from minires.models.staged import Staged, make_stages, make_stem
from minires.types import Rng

SHORTCUTS = ("A", "B", "none", "A-end")


class ResNet(Staged):
    """conv1, bn1, relu, three stages of n blocks, the mean of all pixels, fc.

    Input (N, H, W, 3), output (N, num_classes). depth: 6n + 2. shortcut: as in BasicBlock. rng: a Generator or a seed.
    return_features: as in Staged, C2 to C4.
    Convolutions start as normal numbers of variance 2 / (O * KH * KW), as torchvision's do (He et al. 2015b,
    "Delving deep into rectifiers", equation 14).
    """

    def __init__(
        self,
        depth: int,
        num_classes: int = 10,
        shortcut: str = "A",
        rng: Rng = None,
        return_features: bool = False,
    ) -> None:
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"ResNet: depth must be 6n + 2 (8, 14, 20, ...), got {depth}")
        if shortcut not in SHORTCUTS:
            raise ValueError(f"ResNet: unknown shortcut {shortcut!r}: choose one of {', '.join(SHORTCUTS)}")
        check_sizes("ResNet", num_classes=num_classes)
        rng, n = np.random.default_rng(rng), (depth - 2) // 6
        stem = make_stem(16, True, rng)

        def block(in_channels, channels, stride):
            return BasicBlock(in_channels, channels, stride, shortcut, rng)

        stages = make_stages(block, 16, (16, 32, 64), (n, n, n))
        super().__init__(stem, stages, 64, num_classes, rng, return_features=return_features)


def resnet8(num_classes: int = 10, shortcut: str = "A", rng: Rng = None, return_features: bool = False) -> ResNet:
    """ResNet with 8 layers, 75,290 parameters (option A). rng: a NumPy Generator or a seed."""
    return ResNet(8, num_classes, shortcut, rng, return_features)


def resnet20(num_classes: int = 10, shortcut: str = "A", rng: Rng = None, return_features: bool = False) -> ResNet:
    """ResNet with 20 layers, 269,722 parameters (option A). rng: a NumPy Generator or a seed."""
    return ResNet(20, num_classes, shortcut, rng, return_features)


def resnet32(num_classes: int = 10, shortcut: str = "A", rng: Rng = None, return_features: bool = False) -> ResNet:
    """ResNet with 32 layers, 464,154 parameters (option A). rng: a NumPy Generator or a seed."""
    return ResNet(32, num_classes, shortcut, rng, return_features)


def resnet44(num_classes: int = 10, shortcut: str = "A", rng: Rng = None, return_features: bool = False) -> ResNet:
    """ResNet with 44 layers, 658,586 parameters (option A). rng: a NumPy Generator or a seed."""
    return ResNet(44, num_classes, shortcut, rng, return_features)


def resnet56(num_classes: int = 10, shortcut: str = "A", rng: Rng = None, return_features: bool = False) -> ResNet:
    """ResNet with 56 layers, 853,018 parameters (option A). rng: a NumPy Generator or a seed."""
    return ResNet(56, num_classes, shortcut, rng, return_features)


def resnet110(num_classes: int = 10, shortcut: str = "A", rng: Rng = None, return_features: bool = False) -> ResNet:
    """ResNet with 110 layers, 1,727,962 parameters (option A). rng: a NumPy Generator or a seed."""
    return ResNet(110, num_classes, shortcut, rng, return_features)


def plain8(num_classes: int = 10, rng: Rng = None, return_features: bool = False) -> ResNet:
    """resnet8 without its shortcuts."""
    return ResNet(8, num_classes, "none", rng, return_features)


def plain20(num_classes: int = 10, rng: Rng = None, return_features: bool = False) -> ResNet:
    """resnet20 without its shortcuts."""
    return ResNet(20, num_classes, "none", rng, return_features)


def plain32(num_classes: int = 10, rng: Rng = None, return_features: bool = False) -> ResNet:
    """resnet32 without its shortcuts."""
    return ResNet(32, num_classes, "none", rng, return_features)


def plain44(num_classes: int = 10, rng: Rng = None, return_features: bool = False) -> ResNet:
    """resnet44 without its shortcuts."""
    return ResNet(44, num_classes, "none", rng, return_features)


def plain56(num_classes: int = 10, rng: Rng = None, return_features: bool = False) -> ResNet:
    """resnet56 without its shortcuts."""
    return ResNet(56, num_classes, "none", rng, return_features)


def plain110(num_classes: int = 10, rng: Rng = None, return_features: bool = False) -> ResNet:
    """resnet110 without its shortcuts."""
    return ResNet(110, num_classes, "none", rng, return_features)
