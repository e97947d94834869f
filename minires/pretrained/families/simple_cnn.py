"""The small network of tutorials, told by the shapes of its two convolutions."""

import re

from minires.pretrained.families.family import Family, Guess
from minires.pretrained.skeletons import Shapes

CONVOLUTIONS = {"conv1.weight": (32, 3, 3, 3), "conv2.weight": (64, 32, 3, 3)}


def is_simple_cnn(shapes: Shapes, prefix: str) -> bool:
    """Whether both are there behind this prefix."""
    return all(shapes.get(prefix + key) == shape for key, shape in CONVOLUTIONS.items())


def _likeliest(shapes: Shapes) -> Guess:
    return "simple_cnn", {}


SIMPLE_CNN = Family("conv2.weight", re.compile(r"conv\d+(\.|$)"), _likeliest, features=lambda shapes: None)
