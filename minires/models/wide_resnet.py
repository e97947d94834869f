"""Wide residual networks (Zagoruyko and Komodakis 2016): fewer blocks, each of many more channels.

For CIFAR they are pre-activation networks of two-layer blocks with 16k, 32k and 64k channels, of 6n + 4 layers by the
paper's count, which numbers the shortcuts' convolutions in. For ImageNet they are bottlenecks whose 3x3 convolution has
twice the channels.

    name                wide_resnet28_10    wide_resnet50_2
    parameters                36,479,194         68,883,240

wide_resnet50_2 has torchvision's names; no package's published files have those of wide_resnet28_10.
"""

from minires.models.preact import PreActBlock, PreActResNet
from minires.models.resnext import ResNeXt
from minires.types import Rng


def wide_resnet28_10(num_classes: int = 10, rng: Rng = None, return_features: bool = False) -> PreActResNet:
    """PreActResNet with four blocks a stage, ten times as wide, 36,479,194 parameters; without the paper's dropout.

    rng: a NumPy Generator or a seed. return_features: as in PreActResNet.
    """
    return PreActResNet(4, PreActBlock, num_classes, width=10, rng=rng, return_features=return_features)


def wide_resnet50_2(
    num_classes: int = 1000, small_input: bool = False, return_features: bool = False, rng: Rng = None
) -> ResNeXt:
    """resnet50 whose 3x3 convolutions have twice the channels, 68,883,240 parameters: a ResNeXt of one group.

    small_input, return_features: as in ResNeXt. rng: a NumPy Generator or a seed.
    """
    return ResNeXt(50, 1, 128, num_classes, small_input, return_features, rng)
