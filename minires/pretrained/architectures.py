"""Which network a set of arrays belongs to, from their names and shapes alone."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from minires.pretrained.errors import WeightsError
from minires.pretrained.misfits import IMAGENET, KNOWN, family, misfit
from minires.wording import shown


@dataclass(frozen=True)
class Architecture:
    """`models.build(model, num_classes, **options)` makes the network; num_classes is None without a head."""

    model: str
    num_classes: int | None
    options: dict


def recognise(state: Mapping[str, np.ndarray]) -> Architecture:
    """The Architecture of arrays under torchvision's names, the head under `fc`.

    Raises WeightsError with the likeliest network, and the first reason why it is not that, where it is none of ours.
    """
    shape = {key: tuple(array.shape) for key, array in state.items()}
    head = shape.get("fc.weight")
    num_classes = head[0] if head and len(head) == 2 else None
    if shape.get("conv1.weight") == (32, 3, 3, 3) and shape.get("conv2.weight") == (64, 32, 3, 3):
        return Architecture("simple_cnn", num_classes, {})
    blocks = tuple(_blocks(shape, layer) for layer in (1, 2, 3, 4))
    if not blocks[0]:
        raise WeightsError(nothing_known(state))
    if reason := misfit(shape, blocks):
        raise WeightsError(f"its arrays {reason}; {KNOWN}")
    if not blocks[3]:
        projections = any(".downsample." in key for key in shape)
        return Architecture(f"resnet{6 * blocks[0] + 2}", num_classes, {"shortcut": "B" if projections else "A"})
    bottlenecks = "layer1.0.conv3.weight" in shape
    options = {
        "small_input": shape["conv1.weight"][2] == 3,
        "variant": "keras" if "conv1.bias" in shape else "torchvision",
    }
    return Architecture(IMAGENET[blocks, bottlenecks], num_classes, options)


def nothing_known(state: Mapping[str, np.ndarray]) -> str:
    """The sentence for arrays among which there is no network."""
    some = ", ".join(f"{shown(key, 60)} {tuple(state[key].shape)}" for key in list(state)[:3])
    looks = family(list(state))
    looks = f" and look like {looks}" if looks else ""
    return f"these {len(state)} arrays ({some}, ...) belong to no network that is known here{looks}: {KNOWN}"


def _blocks(shape, layer):
    """How many blocks a stage has: one more than the largest index in `layer1.INDEX.`."""
    indices = [int(found[1]) for key in shape if (found := re.match(rf"layer{layer}\.(\d{{1,3}})\.", key))]
    return max(indices, default=-1) + 1
