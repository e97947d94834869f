"""Residual networks: He's own for CIFAR and ImageNet, and their kin, each told by a sign in its keys or shapes.

The kin are few and exact: beside the sign, every array must be that of the network in its shape. Of He's networks a
first look must do; a file that has too few arrays, or others, is told when the network is to be filled.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from minires.pretrained.families.family import Family, Guess, Misfit, number_of, proven, refuse_other_channels
from minires.pretrained.families.narrowed import unpruned
from minires.pretrained.misfits import IMAGENET, likely_resnet, misfit, stands_before
from minires.pretrained.skeletons import Shapes

RESNEXT = {  # blocks in layer1 to 4, channels and groups of the first 3x3 convolution
    ((3, 4, 6, 3), 128, 32): "resnext50_32x4d",
    ((3, 4, 23, 3), 256, 32): "resnext101_32x8d",
    ((3, 4, 6, 3), 128, 1): "wide_resnet50_2",
}
PREACT = {  # blocks in each stage, and whether they are bottlenecks
    (18, False): "preact_resnet110",
    (18, True): "preact_resnet164",
    (111, True): "preact_resnet1001",
    (4, False): "wide_resnet28_10",
}
OF_RESNET50 = (3, 4, 6, 3)


@dataclass(frozen=True)
class Kin:
    """sign: whether arrays have what tells such a network, of (shapes, blocks).   likeliest: which one they are."""

    sign: Callable[[Shapes, tuple[int, ...]], bool]
    likeliest: Callable[[Shapes, tuple[int, ...]], Guess]


def _likeliest(shapes: Shapes) -> Guess:
    whole, widths = unpruned(shapes)
    model, options = _likeliest_unpruned(whole)
    return model, options if widths is None else {**options, "widths": widths}


def _likeliest_unpruned(shapes):
    blocks = tuple(number_of(shapes, rf"layer{stage}\.(\d{{1,3}})\.") for stage in (1, 2, 3, 4))
    for kin in KIN:
        if kin.sign(shapes, blocks):
            return kin.likeliest(shapes, blocks)
    if reason := misfit(shapes, blocks):
        raise Misfit(likely_resnet(shapes, blocks), reason)
    if not blocks[3]:
        projections = any(".downsample." in key for key in shapes)
        return f"resnet{6 * blocks[0] + 2}", {"shortcut": "B" if projections else "A"}
    variant = "keras" if "conv1.bias" in shapes else "torchvision"
    return IMAGENET[blocks, _has_bottlenecks(shapes)], {"small_input": _is_small(shapes), "variant": variant}


def _has_bottlenecks(shapes):
    return "layer1.0.conv3.weight" in shapes


def _is_small(shapes):
    return shapes.get("conv1.weight", ())[2:] == (3, 3)


def _width_and_groups(shapes):
    """Channels and groups of the first block's 3x3 convolution; (0, 0) where it is none."""
    first, second = (shapes.get(f"layer1.0.conv{number}.weight", ()) for number in (1, 2))
    if not (_has_bottlenecks(shapes) and len(first) == len(second) == 4 and second[1] and not first[0] % second[1]):
        return 0, 0
    return first[0], first[0] // second[1]


def _only(model, small_input=None, first="conv1.weight"):
    """Of one network, whose first convolution says whether it is for small images: small_input(shapes), or None."""

    def likeliest(shapes, blocks):
        options = {} if small_input is None else {"small_input": small_input(shapes)}
        refuse_other_channels(shapes, first, model)
        if any(blocks[3:]) and blocks != OF_RESNET50:
            found = f"{', '.join(map(str, blocks[:3]))} and {blocks[3]}"
            raise Misfit(model, f"it has {found} blocks, known here are 3, 4, 6 and 3")
        return proven(shapes, model, options)

    return likeliest


def _is_d(shapes, blocks):
    return "conv1.0.weight" in shapes and _has_bottlenecks(shapes) and any(".downsample.2." in key for key in shapes)


def _has_gates(shapes, blocks):
    return _has_bottlenecks(shapes) and any(".se.fc" in key for key in shapes)


def _is_other_width(shapes, blocks):
    return blocks[3] > 0 and "conv1.weight" in shapes and _width_and_groups(shapes) not in ((0, 0), (64, 1))


def _resnext(shapes, blocks):
    width, groups = _width_and_groups(shapes)
    model = RESNEXT.get((blocks, width, groups))
    likely = model or ("a ResNeXt" if groups > 1 else "a wide ResNet")
    refuse_other_channels(shapes, "conv1.weight", likely)
    if model is None:
        what = f"are in {groups} groups of {width // groups} channels" if groups > 1 else f"have {width} channels"
        found = f"{', '.join(map(str, blocks[:3]))} and {blocks[3]}"
        raise Misfit(likely, f"its first 3x3 convolutions {what}, with {found} blocks, as none of the known has them")
    return proven(shapes, model, {"small_input": _is_small(shapes)})


def _is_resnext_for_cifar(shapes, blocks):
    return not blocks[3] and _width_and_groups(shapes)[1] > 1


def _is_preact(shapes, blocks):
    return not blocks[3] and "conv1.weight" in shapes and stands_before(shapes)


def _preact(shapes, blocks):
    model = PREACT.get((blocks[0], _has_bottlenecks(shapes)))
    likely = model or "a pre-activation ResNet"
    refuse_other_channels(shapes, "conv1.weight", likely)
    if model is None:
        kind = "bottlenecks" if _has_bottlenecks(shapes) else "blocks of two convolutions"
        raise Misfit(likely, f"it has {blocks[0]} {kind} in a stage, as none of the known has them")
    return proven(shapes, model, {})


def _has_scales(shapes, blocks):
    return not blocks[3] and "layer1.0.scale.weight" in shapes


def _rezero(shapes, blocks):
    refuse_other_channels(shapes, "conv1.weight", "rezero_resnet20")
    projections = any(".downsample." in key for key in shapes)
    return proven(shapes, "rezero_resnet20", {"shortcut": "B" if projections else "A"})


KIN = (
    Kin(_is_d, _only("resnet50d", first="conv1.0.weight")),
    Kin(_has_gates, _only("seresnet50", _is_small)),
    Kin(_is_other_width, _resnext),
    Kin(_is_resnext_for_cifar, _only("resnext29_8x64d")),
    Kin(_is_preact, _preact),
    Kin(_has_scales, _rezero),
)


def _features(shapes: Shapes) -> int | None:
    last = re.compile(rf"layer\d+\.\d+\.conv{3 if _has_bottlenecks(shapes) else 2}\.weight")  # of each block
    return max((shape[0] for key, shape in shapes.items() if last.fullmatch(key) and shape), default=None)


RESNET = Family("layer1.0.conv1.weight", re.compile(r"(conv\d+|bn\d+|layer\d+)(\.|$)"), _likeliest, _features)
