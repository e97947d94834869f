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

import numpy as np

from minires.layers.checks import check_sizes
from minires.models.blocks import KERAS_NORM, BasicBlock, Bottleneck
from minires.models.staged import Staged, make_stages, make_stem
from minires.types import Rng

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
WITH_BOTTLENECKS = (50, 101, 152)
VARIANTS = ("torchvision", "keras", "v1")


class ImageNetResNet(Staged):
    """Staged, of blocks of two 3x3 convolutions or of bottlenecks.

    depth: a key of BLOCKS.   num_classes, return_features: as in Staged.   rng: a Generator or a seed.
    small_input: conv1 is 3x3 at stride 1 and there is no max pool: for images of 32x32 pixels.
    maxpool: whether there is a max pool after conv1; None: as small_input says.
    variant "torchvision": names, shapes, order and meaning of torchvision's state_dict.   "v1": the same with the
    stride of a bottleneck in its first 1x1 convolution.   "keras": ResNet50, 101 and
    152 of keras.applications, under the same names, with `conv1.bias` and so on besides; see Bottleneck. Its zeros
    around conv1 are torchvision's padding, at even sizes too; around the max pool, after a ReLU, zeros and minus
    infinity come to the same. (Its running variance is the biased one, here it is the unbiased one, as PyTorch's.)
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
        block, kind, expansion = (Bottleneck, variant, 4) if depth in WITH_BOTTLENECKS else (BasicBlock, "B", 1)
        stem = make_stem(64, small_input, rng, bias=keras, **(KERAS_NORM if keras else {}))

        def make(in_channels, channels, stride):
            return block(in_channels, channels, stride, kind, rng)

        stages = make_stages(make, 64, (64, 128, 256, 512), BLOCKS[depth], expansion)
        pools = not small_input if maxpool is None else maxpool
        super().__init__(stem, stages, 512 * expansion, num_classes, rng, pools, return_features)


def _check(depth, variant):
    if depth not in BLOCKS:
        raise ValueError(f"ImageNetResNet: depth must be one of {', '.join(map(str, BLOCKS))}, got {depth}")
    if variant not in VARIANTS:
        raise ValueError(f"ImageNetResNet: unknown variant {variant!r}: choose one of {', '.join(VARIANTS)}")
    if variant != "torchvision" and depth not in WITH_BOTTLENECKS:
        depths = ", ".join(map(str, WITH_BOTTLENECKS))
        raise ValueError(f"ImageNetResNet: {variant} has depths {depths}, got {depth}: use variant='torchvision'")


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
