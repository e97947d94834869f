"""The networks, by name."""

from typing import Any

from minires.layers import BatchNorm2d, BatchNormReLU2d
from minires.models.fold import fold
from minires.models.imagenet import ImageNetResNet, resnet18, resnet34, resnet50, resnet101, resnet152
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
from minires.models.simple_cnn import SimpleCNN, simple_cnn
from minires.module import Module
from minires.names import unknown
from minires.types import Rng

RESNETS = (resnet8, resnet20, resnet32, resnet44, resnet56, resnet110)
PLAIN = (plain8, plain20, plain32, plain44, plain56, plain110)
IMAGENET = (resnet18, resnet34, resnet50, resnet101, resnet152)
MODELS = {function.__name__: function for function in (*RESNETS, *PLAIN, simple_cnn, *IMAGENET)}

__all__ = ["MODELS", "ImageNetResNet", "ResNet", "SimpleCNN", "build", "fold", *MODELS]


def build(
    name: str,
    num_classes: int = 10,
    shortcut: str = "A",
    small_input: bool = False,
    variant: str = "torchvision",
    rng: Rng = None,
    maxpool: bool | None = None,
    eps: float | None = None,
) -> Module:
    """The model of this name. Only the resnets for CIFAR have a `shortcut`, only those for ImageNet `small_input`,
    `variant` and `maxpool`.   eps: of every batch norm; None: the network's own, 1e-5 (1.001e-5 of variant "keras").

    Raises ValueError with the nearest name for an unknown one.
    """
    if name not in MODELS:
        raise ValueError(unknown("model", name, MODELS))
    options: dict[str, Any] = {"shortcut": shortcut} if MODELS[name] in RESNETS else {}
    if MODELS[name] in IMAGENET:
        options |= {"small_input": small_input, "variant": variant, "maxpool": maxpool}
    model = MODELS[name](num_classes=num_classes, rng=rng, **options)
    for module in model.modules() if eps is not None else ():
        if isinstance(module, (BatchNorm2d, BatchNormReLU2d)):
            module.eps = eps
    return model
