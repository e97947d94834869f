"""DenseNets, told by how many layers their dense blocks have."""

import re

from minires.pretrained.families.family import (
    Family,
    Guess,
    Misfit,
    channels_of,
    number_of,
    proven,
    refuse_other_channels,
)
from minires.pretrained.skeletons import Shapes

FIRST, LAST = "features.conv0.weight", "features.norm5.weight"
LAYERS = {  # in each dense block
    (6, 12, 24, 16): "densenet121",
    (6, 12, 36, 24): "densenet161",
    (6, 12, 32, 32): "densenet169",
    (6, 12, 48, 32): "densenet201",
    (16, 16, 16): "densenet_bc100",
}


def _likeliest(shapes: Shapes) -> Guess:
    counts = [number_of(shapes, rf"features\.denseblock{block}\.denselayer(\d{{1,3}})\.") - 1 for block in (1, 2, 3, 4)]
    layers = tuple(count for count in counts if count > 0)
    likely = LAYERS.get(layers, "a DenseNet")
    refuse_other_channels(shapes, FIRST, likely)
    if layers not in LAYERS:
        found = ", ".join(map(str, layers))
        raise Misfit(likely, f"it has {found} layers in its dense blocks, as none of the known has them")
    small = {"small_input": shapes.get(FIRST, ())[2:] == (3, 3)} if len(layers) == 4 else {}
    return proven(shapes, likely, small)


DENSENET = Family(
    "features.denseblock1.denselayer1.conv1.weight",
    re.compile(r"features\."),
    _likeliest,
    features=lambda shapes: channels_of(shapes, LAST),
    head=lambda shapes: "classifier",
)
