"""GoogLeNet and Inception v3, of each of which there is one network.

Their files hold heads that stand in the middle of the network and help to train it. They take no part in an answer.
"""

import re

from minires.pretrained.families.family import Family, Guess, proven, refuse_other_channels
from minires.pretrained.skeletons import Shapes


def _googlenet(shapes: Shapes) -> Guess:
    refuse_other_channels(shapes, "conv1.conv.weight", "googlenet")
    return proven(shapes, "googlenet", {"small_input": shapes.get("conv1.conv.weight", ())[2:] == (3, 3)})


def _inception_v3(shapes: Shapes) -> Guess:
    refuse_other_channels(shapes, "Conv2d_1a_3x3.conv.weight", "inception_v3")
    return proven(shapes, "inception_v3", {})


GOOGLENET = Family(
    "inception3a.branch1.conv.weight",
    re.compile(r"(conv[123]|inception[345][a-e])\."),
    _googlenet,
    features=lambda shapes: 1024,
    extra_heads=("aux1.", "aux2."),
)
INCEPTION = Family(
    "Mixed_5b.branch1x1.conv.weight",
    re.compile(r"(Conv2d_\d[ab]_[13]x[13]|Mixed_[567][a-e])\."),
    _inception_v3,
    features=lambda shapes: 2048,
    extra_heads=("AuxLogits.",),
)
