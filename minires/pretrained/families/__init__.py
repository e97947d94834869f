"""The families of networks that are known, and which of them arrays belong to.

Each has a file here, which says by which key it is told, which arrays are its own, and what they are most like.
"""

from collections.abc import Iterable

from minires.pretrained.families.densenet import DENSENET
from minires.pretrained.families.family import Family
from minires.pretrained.families.inception import GOOGLENET, INCEPTION
from minires.pretrained.families.resnet import RESNET
from minires.pretrained.families.simple_cnn import SIMPLE_CNN
from minires.pretrained.families.vgg import VGG

__all__ = ["FAMILIES", "Family", "family_of"]

FAMILIES = (RESNET, VGG, GOOGLENET, INCEPTION, DENSENET, SIMPLE_CNN)


def family_of(keys: Iterable[str]) -> Family | None:
    """The family of arrays under the names that are usual here; None where there is none."""
    keys = set(keys)
    return next((family for family in FAMILIES if family.anchor in keys), None)
