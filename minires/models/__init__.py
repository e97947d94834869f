"""The networks, by name."""

import inspect
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from minires.layers import BatchNorm2d, BatchNormReLU2d
from minires.models.densenet import (
    DenseNet,
    densenet121,
    densenet161,
    densenet169,
    densenet201,
    densenet_bc100,
)
from minires.models.fold import fold
from minires.models.googlenet import GoogLeNet, googlenet
from minires.models.imagenet import ImageNetResNet, resnet18, resnet34, resnet50, resnet101, resnet152
from minires.models.inception_v3 import InceptionV3, inception_v3
from minires.models.narrow import narrow
from minires.models.preact import PreActResNet, preact_resnet110, preact_resnet164, preact_resnet1001
from minires.models.resnet import (
    ResNet,
    plain8,
    plain20,
    plain32,
    plain44,
    plain56,
    plain110,
    resnet8,
    resnet20,
    resnet32,
    resnet44,
    resnet56,
    resnet110,
)
from minires.models.resnet_d import resnet50d
from minires.models.resnext import CifarResNeXt, ResNeXt, resnext29_8x64d, resnext50_32x4d, resnext101_32x8d
from minires.models.rezero import rezero_resnet20
from minires.models.seresnet import seresnet50
from minires.models.simple_cnn import SimpleCNN, simple_cnn
from minires.models.vgg import VGG, vgg11, vgg11_bn, vgg13, vgg13_bn, vgg16, vgg16_bn, vgg19, vgg19_bn
from minires.models.wide_resnet import wide_resnet28_10, wide_resnet50_2
from minires.module import Module
from minires.names import unknown
from minires.types import Rng

RESNETS = (resnet8, resnet20, resnet32, resnet44, resnet56, resnet110)
PLAIN = (plain8, plain20, plain32, plain44, plain56, plain110)
IMAGENET = (resnet18, resnet34, resnet50, resnet101, resnet152)
PREACT = (preact_resnet110, preact_resnet164, preact_resnet1001)
WIDE = (wide_resnet28_10, wide_resnet50_2)
RESNEXT = (resnext29_8x64d, resnext50_32x4d, resnext101_32x8d)
OTHERS = (seresnet50, resnet50d, rezero_resnet20)
VGGS = (vgg11, vgg13, vgg16, vgg19, vgg11_bn, vgg13_bn, vgg16_bn, vgg19_bn)
INCEPTIONS = (googlenet, inception_v3)
DENSENETS = (densenet121, densenet161, densenet169, densenet201, densenet_bc100)
RESIDUAL = (*RESNETS, *PLAIN, simple_cnn, *IMAGENET, *PREACT, *WIDE, *RESNEXT, *OTHERS)
MODELS: dict[str, Callable[..., Module]] = {
    function.__name__: function for function in (*RESIDUAL, *VGGS, *INCEPTIONS, *DENSENETS)
}

LEAST_SIZES = {"inception_v3": InceptionV3.least_size}  # pixels a side; the other networks take 32x32

__all__ = [
    "LEAST_SIZES",
    "MODELS",
    "VGG",
    "CifarResNeXt",
    "DenseNet",
    "GoogLeNet",
    "ImageNetResNet",
    "InceptionV3",
    "PreActResNet",
    "ResNeXt",
    "ResNet",
    "SimpleCNN",
    "build",
    "fold",
    "narrow",
    "options_of",
    *MODELS,
]


def build(
    name: str,
    num_classes: int = 10,
    shortcut: str = "A",
    small_input: bool = False,
    variant: str = "torchvision",
    rng: Rng = None,
    maxpool: bool | None = None,
    eps: float | None = None,
    aux_logits: bool = False,
    widths: Sequence[int] | None = None,
) -> Module:
    """The model of this name: one of MODELS, or resnetN for CIFAR with another N = 6n + 2.

    shortcut, small_input, variant, maxpool and aux_logits go to the networks whose function takes them;
    `help(MODELS[name])` says which these are.
    eps: of every batch norm; None: the network's own, such as 1e-5 (1.001e-5 of variant "keras").
    widths: of a network whose filters were pruned, the inner channels of its blocks, as in `narrow`; None: all.
    Raises ValueError with the nearest name for an unknown one.
    """
    given = {"shortcut": shortcut, "small_input": small_input, "variant": variant, "maxpool": maxpool}
    given |= {"aux_logits": aux_logits}
    taken = options_of(name)
    model = _builder(name)(num_classes=num_classes, rng=rng, **{key: given[key] for key in given if key in taken})
    for module in model.modules():
        if eps is not None and isinstance(module, (BatchNorm2d, BatchNormReLU2d)):
            module.eps = float(eps)
    return model if widths is None else narrow(model, widths)


def options_of(name: str) -> dict[str, Any]:
    """{option: its default} of the function of this name, `num_classes` and `rng` among them. Raises as `build`."""
    return {key: option.default for key, option in inspect.signature(_builder(name)).parameters.items()}


def _builder(name: str) -> Callable[..., Module]:
    if name not in MODELS and _other_depth(name) is None:
        raise ValueError(unknown("model", name, MODELS))
    return MODELS.get(name) or partial(ResNet, _other_depth(name))


def _other_depth(name):
    """The N of a resnetN for CIFAR, from 8 to 1,202; None where there is none."""
    depth = int(found[1]) if (found := re.fullmatch(r"resnet(\d{1,4})", name)) else 0
    return depth if 8 <= depth <= 1202 and depth % 6 == 2 else None
