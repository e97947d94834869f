"""VGG: convolutions and batch norms under the numbers of an nn.Sequential, `features`."""

import re

from minires.pretrained.families.family import Family, Guess, Misfit, channels_of, proven, refuse_other_channels
from minires.pretrained.skeletons import Shapes

FIRST = "features.0.weight"
DEPTHS = {8: 11, 10: 13, 13: 16, 16: 19}  # by the number of convolutions
HIDDEN = ("classifier.0.weight", "classifier.3.weight")  # linear layers; timm's are convolutions of the same numbers


def is_vgg(shapes: Shapes, prefix: str) -> bool:
    """Whether a 3x3 convolution leads from an image, and another follows: others have features.0.weight, too."""
    first, following = (shapes.get(f"{prefix}features.{number}.weight", ()) for number in (0, 1))
    after = [shapes.get(f"{prefix}features.{number}.weight", ()) for number in (2, 3, 4)]
    is_norm = len(following) == 1 or not following
    return first[2:] == (3, 3) and is_norm and any(shape[1:] == (first[0], 3, 3) for shape in after)


def _likeliest(shapes: Shapes) -> Guess:
    kernels = [key for key, shape in shapes.items() if key.startswith("features.") and len(shape) == 4]
    norms = any(".running_" in key or (len(shapes[key]) == 1 and key.endswith("weight")) for key in shapes)
    suffix = "_bn" if norms else ""
    nearest = min(DEPTHS, key=lambda count: abs(count - len(kernels)))
    likely = f"vgg{DEPTHS[nearest]}{suffix}"
    refuse_other_channels(shapes, FIRST, likely)
    if len(kernels) not in DEPTHS:
        known = ", ".join(map(str, DEPTHS))
        raise Misfit(likely, f"it has {len(kernels)} convolutions, known are {known}")
    return proven(shapes, likely, {"small_input": not _has_hidden_layers(shapes)})


def _has_hidden_layers(shapes):
    return HIDDEN[0] in shapes


def _features(shapes: Shapes) -> int | None:
    return channels_of(shapes, HIDDEN[1]) if _has_hidden_layers(shapes) else 512


VGG = Family(
    FIRST,
    re.compile(r"features\.\d+\.|classifier\.[03]\."),
    _likeliest,
    _features,
    head=lambda shapes: "classifier.6" if _has_hidden_layers(shapes) else "classifier",
)
