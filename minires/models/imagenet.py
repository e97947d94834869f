"""Residual networks for ImageNet (He et al. 2015, table 1), under torchvision's names or as Keras has them.

    output     layers                                             channels, of 18 and 34     of 50, 101 and 152
    112x112    conv1, 7x7, stride 2                                                 64                       64
     56x56     max pool 3x3, stride 2; layer1                                       64                      256
     28x28     layer2                                                              128                      512
     14x14     layer3                                                              256                    1,024
      7x7      layer4                                                              512                    2,048
      1x1      mean of all pixels, fc                                      num_classes              num_classes

18 and 34 consist of blocks of two 3x3 convolutions, the others of bottlenecks. For 1,000 classes:

    depth                         18            34            50           101           152
    blocks in layer1 to 4    2 2 2 2       3 4 6 3       3 4 6 3      3 4 23 3      3 8 36 3
    parameters            11,689,512    21,797,672    25,557,032    44,549,160    60,192,808
"""

from typing import Any

import numpy as np

from minires.layers import BatchNormReLU2d, Conv2d, GlobalAvgPool2d, Linear, MaxPool2d, add
from minires.layers.checks import check_gradient, check_sizes
from minires.models.blocks import KERAS_NORM, BasicBlock, Bottleneck, conv_norm_relu, initialise_convolutions
from minires.module import Module
from minires.sequential import Sequential, in_sequence
from minires.types import Array, Backward, Rng

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
WITH_BOTTLENECKS = (50, 101, 152)
VARIANTS = ("torchvision", "keras", "v1")


class ImageNetResNet(Module):
    """conv1, bn1, relu, max pool, four stages of blocks, the mean of all pixels, fc.

    Input (N, H, W, 3), output (N, num_classes). depth: a key of BLOCKS. rng: a Generator or a seed.
    small_input: conv1 is 3x3 at stride 1 and there is no max pool: for images of 32x32 pixels.
    maxpool: whether there is a max pool after conv1; None: as small_input says.
    return_features: the output is C2 to C5, a tuple of what layer1 to layer4 give, with H and W of a 4th, 8th, 16th and
    32nd of the image's (small_input: 1st to 8th). backward takes a tuple of their gradients, None where there is none,
    and returns dx. fc is there and not used.
    variant "torchvision": names, shapes, order and meaning of torchvision's state_dict.   "v1": the same with the
    stride of a bottleneck in its first 1x1 convolution.   "keras": ResNet50, 101 and
    152 of keras.applications, under the same names, with `conv1.bias` and so on besides; see Bottleneck. Its zeros
    around conv1 are torchvision's padding, at even sizes too; around the max pool, after a ReLU, zeros and minus
    infinity come to the same. (Its running variance is the biased one, here it is the unbiased one, as PyTorch's.)
    Convolutions start as normal numbers of variance 2 / (O * KH * KW), as torchvision's do (He et al. 2015b,
    "Delving deep into rectifiers", equation 14), their biases as 0.
    Raises ValueError for an unknown depth or variant, and for a variant that lacks the depth.
    """

    def __init__(
        self,
        depth: int,
        num_classes: int = 1000,
        small_input: bool = False,
        return_features: bool = False,
        variant: str = "torchvision",
        rng: Rng = None,
        maxpool: bool | None = None,
    ) -> None:
        _check(depth, variant)
        check_sizes("ImageNetResNet", num_classes=num_classes)
        rng, keras = np.random.default_rng(rng), variant == "keras"
        kernel, stride = (3, 1) if small_input else (7, 2)
        self.conv1 = Conv2d(3, 64, kernel, stride, padding=kernel // 2, bias=keras, rng=rng)
        self.bn1 = BatchNormReLU2d(64, **(KERAS_NORM if keras else {}))
        pools = not small_input if maxpool is None else maxpool
        self.maxpool = MaxPool2d(3, 2, padding=1) if pools else None
        block, kind, wider = (Bottleneck, variant, 4) if depth in WITH_BOTTLENECKS else (BasicBlock, "B", 1)

        def stage(in_channels, channels, blocks, stride):
            first = block(in_channels, channels, stride, kind, rng)
            return Sequential(first, *(block(wider * channels, channels, 1, kind, rng) for _ in range(blocks - 1)))

        n1, n2, n3, n4 = BLOCKS[depth]
        self.layer1 = stage(64, 64, n1, 1)
        self.layer2 = stage(64 * wider, 128, n2, 2)
        self.layer3 = stage(128 * wider, 256, n3, 2)
        self.layer4 = stage(256 * wider, 512, n4, 2)
        self.avgpool = GlobalAvgPool2d()
        self.fc = Linear(512 * wider, num_classes, rng=rng)
        self.return_features = return_features
        initialise_convolutions(self, rng)

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
        stages = [self.layer1, self.layer2, self.layer3, self.layer4, self.avgpool, self.fc]
        return in_sequence([(self.stem, [self.conv1, self.bn1]), *((stage, [stage]) for stage in stages)], x, lean)

    def features(self, x: Array) -> tuple[tuple[Array, ...], Backward]:
        """-> ((C2, C3, C4, C5), backward), backward((dC2, dC3, dC4, dC5)) -> dx."""
        y, stem_backward = self.stem(x)
        maps, backwards = [], []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            y, layer_backward = layer(y)
            maps.append(y)
            backwards.append(layer_backward)
        kinds = [(y.shape, y.dtype) for y in maps]

        def backward(dmaps):
            _check_gradients(dmaps, kinds)
            dy = None
            for dmap, layer_backward in zip(reversed(dmaps), reversed(backwards), strict=True):
                if dy is None:
                    dy = dmap
                elif dmap is not None:
                    dy, _ = add(dy, dmap)  # a map is used twice: here and by the next stage
                dy = dy if dy is None else layer_backward(dy)
            return stem_backward(dy)

        return tuple(maps), backward


def _check(depth, variant):
    if depth not in BLOCKS:
        raise ValueError(f"ImageNetResNet: depth must be one of {', '.join(map(str, BLOCKS))}, got {depth}")
    if variant not in VARIANTS:
        raise ValueError(f"ImageNetResNet: unknown variant {variant!r}: choose one of {', '.join(VARIANTS)}")
    if variant != "torchvision" and depth not in WITH_BOTTLENECKS:
        depths = ", ".join(map(str, WITH_BOTTLENECKS))
        raise ValueError(f"ImageNetResNet: {variant} has depths {depths}, got {depth}: use variant='torchvision'")


def _check_gradients(dmaps, kinds):
    if len(dmaps) != len(kinds) or all(dmap is None for dmap in dmaps):
        given = ", ".join("None" if dmap is None else str(dmap.shape) for dmap in dmaps)
        raise ValueError(
            f"ImageNetResNet: backward takes four gradients, of C2 to C5, got ({given}): give at least one of them, "
            "and None for the others"
        )
    for dmap, kind in zip(dmaps, kinds, strict=True):
        if dmap is not None:
            check_gradient("ImageNetResNet", dmap, *kind)


def resnet18(
    num_classes: int = 1000,
    small_input: bool = False,
    return_features: bool = False,
    variant: str = "torchvision",
    rng: Rng = None,
    maxpool: bool | None = None,
) -> ImageNetResNet:
    """ImageNetResNet with 18 layers, 11,689,512 parameters. rng: a NumPy Generator or a seed."""
    return ImageNetResNet(18, num_classes, small_input, return_features, variant, rng, maxpool)


def resnet34(
    num_classes: int = 1000,
    small_input: bool = False,
    return_features: bool = False,
    variant: str = "torchvision",
    rng: Rng = None,
    maxpool: bool | None = None,
) -> ImageNetResNet:
    """ImageNetResNet with 34 layers, 21,797,672 parameters. rng: a NumPy Generator or a seed."""
    return ImageNetResNet(34, num_classes, small_input, return_features, variant, rng, maxpool)


def resnet50(
    num_classes: int = 1000,
    small_input: bool = False,
    return_features: bool = False,
    variant: str = "torchvision",
    rng: Rng = None,
    maxpool: bool | None = None,
) -> ImageNetResNet:
    """ImageNetResNet with 50 layers, 25,557,032 parameters. rng: a NumPy Generator or a seed."""
    return ImageNetResNet(50, num_classes, small_input, return_features, variant, rng, maxpool)


def resnet101(
    num_classes: int = 1000,
    small_input: bool = False,
    return_features: bool = False,
    variant: str = "torchvision",
    rng: Rng = None,
    maxpool: bool | None = None,
) -> ImageNetResNet:
    """ImageNetResNet with 101 layers, 44,549,160 parameters. rng: a NumPy Generator or a seed."""
    return ImageNetResNet(101, num_classes, small_input, return_features, variant, rng, maxpool)


def resnet152(
    num_classes: int = 1000,
    small_input: bool = False,
    return_features: bool = False,
    variant: str = "torchvision",
    rng: Rng = None,
    maxpool: bool | None = None,
) -> ImageNetResNet:
    """ImageNetResNet with 152 layers, 60,192,808 parameters. rng: a NumPy Generator or a seed."""
    return ImageNetResNet(152, num_classes, small_input, return_features, variant, rng, maxpool)
