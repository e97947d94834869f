"""Which network a set of arrays belongs to, from their names and shapes alone."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from minires.pretrained.errors import WeightsError

_IMAGENET = {  # blocks in layer1 to layer4, and whether they are bottlenecks
    ((2, 2, 2, 2), False): "resnet18",
    ((3, 4, 6, 3), False): "resnet34",
    ((3, 4, 6, 3), True): "resnet50",
    ((3, 4, 23, 3), True): "resnet101",
    ((3, 8, 36, 3), True): "resnet152",
}


@dataclass(frozen=True)
class Architecture:
    """`models.build(model, num_classes, **options)` makes the network; num_classes is None without a head."""

    model: str
    num_classes: int | None
    options: dict


def normalised(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays under torchvision's names: without wrappers' prefixes, with other names of the same layers replaced.

    Other names are a head called `linear` and a projection called `shortcut`, both usual for CIFAR, and what
    keeps a count, which only training uses, is left out.
    """
    for prefix in ("module.", "_orig_mod.", "model.", "backbone.", "encoder."):
        if state and all(key.startswith(prefix) for key in state):
            state = {key[len(prefix) :]: array for key, array in state.items()}
    if any(key.startswith("layer1.") for key in state):
        state = {re.sub(r"^linear\.", "fc.", re.sub(r"\.shortcut\.", ".downsample.", k)): a for k, a in state.items()}
    return {key: array for key, array in state.items() if not key.endswith("num_batches_tracked")}


def recognise(state: Mapping[str, np.ndarray]) -> Architecture:
    """The Architecture of a normalised state. Raises WeightsError with what was found where it is none of ours."""
    shape = {key: tuple(array.shape) for key, array in state.items()}
    first, head = shape.get("conv1.weight"), shape.get("fc.weight")
    num_classes = head[0] if head and len(head) == 2 else None
    blocks = tuple(_blocks(shape, layer) for layer in (1, 2, 3, 4))
    if first == (32, 3, 3, 3) and shape.get("conv2.weight") == (64, 32, 3, 3):
        return Architecture("simple_cnn", num_classes, {})
    if first == (16, 3, 3, 3) and blocks[0] >= 1 and blocks == (blocks[0],) * 3 + (0,):
        projections = any(".downsample." in key for key in shape)
        return Architecture(f"resnet{6 * blocks[0] + 2}", num_classes, {"shortcut": "B" if projections else "A"})
    if first in ((64, 3, 7, 7), (64, 3, 3, 3)):
        name = _IMAGENET.get((blocks, "layer1.0.conv3.weight" in shape))
        if name is not None:
            variant = "keras" if "conv1.bias" in shape else "torchvision"
            return Architecture(name, num_classes, {"small_input": first[2] == 3, "variant": variant})
    some = ", ".join(f"{key} {shape[key]}" for key in list(shape)[:3])
    raise WeightsError(
        f"these {len(shape)} arrays ({some}, ...) belong to no network that is known here: known are simple_cnn, the "
        "resnets for CIFAR (6n + 2 layers) and resnet18 to resnet152 for ImageNet"
    )


def _blocks(shape, layer):
    """How many blocks a stage has: one more than the largest index in `layer1.INDEX.`."""
    indices = [int(found[1]) for key in shape if (found := re.match(rf"layer{layer}\.(\d{{1,3}})\.", key))]
    return max(indices, default=-1) + 1
