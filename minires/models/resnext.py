"""ResNeXt (Xie et al. 2017): the residual function is a sum of many small ones, all of one shape.

Such a sum of G bottlenecks is one bottleneck whose 3x3 convolution is cut into G groups (the paper's figure 3c), which
is how it is computed. "32x4d" says 32 groups of 4 channels each in the first stage, and twice as many in each
stage after it.

    name               resnext50_32x4d    resnext101_32x8d    resnext29_8x64d (CIFAR)
    parameters              25,028,904          88,791,336                 34,426,698

Those for ImageNet have torchvision's names; no package's published files have those of resnext29_8x64d.
"""

import numpy as np

from minires.layers.checks import check_sizes
from minires.models.blocks import Bottleneck
from minires.models.imagenet import BLOCKS
from minires.models.staged import Staged, make_stages, make_stem
from minires.types import Rng


class ResNeXt(Staged):
    """Staged, of bottlenecks with grouped 3x3 convolutions, for ImageNet.

    depth: 50, 101 or 152.   groups: how many.   width_per_group: channels of each in the first stage.
    small_input: conv1 is 3x3 at stride 1 and there is no max pool: for images of 32x32 pixels.
    num_classes, return_features: as in Staged.   rng: a Generator or a seed.
    """

    def __init__(
        self,
        depth: int,
        groups: int,
        width_per_group: int,
        num_classes: int = 1000,
        small_input: bool = False,
        return_features: bool = False,
        rng: Rng = None,
    ) -> None:
        check_sizes("ResNeXt", groups=groups, width_per_group=width_per_group, num_classes=num_classes)
        if depth not in (50, 101, 152):
            raise ValueError(f"ResNeXt: depth must be one of 50, 101, 152, got {depth}")
        rng = np.random.default_rng(rng)
        stem = make_stem(64, small_input, rng)
        block = _block(groups, width_per_group, rng)
        stages = make_stages(block, 64, (64, 128, 256, 512), BLOCKS[depth], 4)
        super().__init__(stem, stages, 2048, num_classes, rng, not small_input, return_features)


class CifarResNeXt(Staged):
    """Staged, of three stages of n bottlenecks with grouped 3x3 convolutions, for CIFAR (Xie et al. 2017, section 5.3).

    9n + 2 layers. groups, width_per_group, num_classes, rng: as in ResNeXt. return_features: as in Staged, C2 to C4.
    """

    def __init__(
        self,
        n: int,
        groups: int,
        width_per_group: int,
        num_classes: int = 10,
        rng: Rng = None,
        return_features: bool = False,
    ) -> None:
        check_sizes("CifarResNeXt", n=n, groups=groups, width_per_group=width_per_group, num_classes=num_classes)
        rng = np.random.default_rng(rng)
        stem = make_stem(64, True, rng)
        block = _block(groups, width_per_group, rng)
        stages = make_stages(block, 64, (64, 128, 256), (n, n, n), 4)
        super().__init__(stem, stages, 1024, num_classes, rng, return_features=return_features)


def _block(groups, width_per_group, rng):
    """The function that makes a block, for `make_stages`."""

    def block(in_channels, channels, stride):
        width = groups * width_per_group * channels // 64
        return Bottleneck(in_channels, channels, stride, "torchvision", rng, width, groups)

    return block


def resnext50_32x4d(
    num_classes: int = 1000, small_input: bool = False, return_features: bool = False, rng: Rng = None
) -> ResNeXt:
    """ResNeXt with 50 layers, 32 groups of 4 channels, 25,028,904 parameters. rng: a NumPy Generator or a seed."""
    return ResNeXt(50, 32, 4, num_classes, small_input, return_features, rng)


def resnext101_32x8d(
    num_classes: int = 1000, small_input: bool = False, return_features: bool = False, rng: Rng = None
) -> ResNeXt:
    """ResNeXt with 101 layers, 32 groups of 8 channels, 88,791,336 parameters. rng: a NumPy Generator or a seed."""
    return ResNeXt(101, 32, 8, num_classes, small_input, return_features, rng)


def resnext29_8x64d(num_classes: int = 10, rng: Rng = None, return_features: bool = False) -> CifarResNeXt:
    """CifarResNeXt with 29 layers, 8 groups of 64 channels, 34,426,698 parameters. rng: a NumPy Generator or a seed."""
    return CifarResNeXt(3, 8, 64, num_classes, rng, return_features)
