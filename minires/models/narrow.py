"""Residual blocks whose inner channels are fewer than the stream's: what is left when filters were pruned.

    x (C) ----------------------------- shortcut ----------------------------- + -- y (O)
      \\-- conv1: C -> width -- bn1, relu -- conv2: width -> O -- bn2 ---------/

Only between conv1 and conv2 is a block free to choose; its output is a term of the stage's sum, whose terms all have
the same channels. A bottleneck has two such places, behind conv1 and behind conv2. Derivation: docs/compression.md.
"""

import itertools
from collections.abc import Sequence
from typing import Any, TypeAlias

from minires.models.blocks import BasicBlock, Bottleneck
from minires.module import Module

Widths: TypeAlias = tuple[int, ...]  # of the inner channels, in the order of `inner_channels`
INNER = {  # of each kind of block, for each place: the convolution whose filters they are, its norm, and who reads them
    BasicBlock: (("conv1", "bn1", "conv2"),),
    Bottleneck: (("conv1", "bn1", "conv2"), ("conv2", "bn2", "conv3")),
}


def inner_channels(model: Module) -> list[tuple[str, str, str]]:
    """(convolution, norm, reader) of every place between two convolutions of a block, their paths, in order of use.

    Raises ValueError where there is none, or where a block's convolutions are in groups.
    """
    places = []
    for path, module in model.named_modules():
        for names in INNER.get(type(module), ()):
            convolution, norm, reader = (f"{path}.{name}" for name in names)
            if getattr(module, names[0]).groups != 1 or getattr(module, names[2]).groups != 1:
                raise ValueError(
                    f"{convolution} is in groups, whose channels depend on each other: give another network"
                )
            places.append((convolution, norm, reader))
    if not places:
        kinds = " or ".join(kind.__name__ for kind in INNER)
        raise ValueError(f"{type(model).__name__} has no {kinds}, whose inner channels could differ from the stream's")
    return places


def widths_of(model: Module) -> Widths:
    """How many inner channels there are, place by place."""
    modules = dict(model.named_modules())
    return tuple(modules[convolution].weight.shape[0] for convolution, _, _ in inner_channels(model))  # type: ignore


def in_words(widths: Sequence[int]) -> str:
    """The numbers with equal neighbours together: "9 of 4, 9 of 20, 40"."""
    runs = [(width, len(list(equal))) for width, equal in itertools.groupby(widths)]
    return ", ".join(f"{count} of {width}" if count > 1 else f"{width}" for width, count in runs)


def is_as_wide(model: Module, widths: Sequence[int]) -> bool:
    """Whether a model has places for inner channels, and these numbers of them."""
    has_places = any(type(module) in INNER for module in model.modules())
    return has_places and widths_of(model) == tuple(widths)


def narrow(model: Module, widths: Sequence[int]) -> Module:
    """`model`, its inner channels cut to these numbers, place by place: the first of each stay. Returns the model.

    Raises ValueError for another number of widths than there are places, and for one that is not from 1 to the width
    that is there.
    """
    places, present = inner_channels(model), widths_of(model)
    if len(widths) != len(places):
        raise ValueError(
            f"widths: {len(widths)} numbers, {type(model).__name__} has {len(places)} places: give one each"
        )
    for (convolution, _, _), width, most in zip(places, widths, present, strict=True):
        if not isinstance(width, int) or not 1 <= width <= most:
            raise ValueError(f"widths: {width} for {convolution}, which has {most} filters: give 1 to {most}")
    return keep_channels(model, [range(width) for width in widths])


def keep_channels(model: Module, kept: Sequence[Sequence[int]]) -> Module:
    """`model` with only these inner channels, the numbers of those that stay, place by place. Returns the model."""
    modules = dict(model.named_modules())
    for (convolution, norm, reader), channels in zip(inner_channels(model), kept, strict=True):
        _keep(modules[convolution], modules[norm], modules[reader], list(channels))
    return model


def _keep(convolution: Any, norm: Any, reader: Any, channels: list[int]) -> None:
    for parameter in (convolution.weight, convolution.bias, norm.weight, norm.bias):
        if parameter is not None:
            parameter.data, parameter.grad = parameter.data.take(channels, axis=0), None
    norm.running_mean, norm.running_var = (each.take(channels) for each in (norm.running_mean, norm.running_var))
    reader.weight.data, reader.weight.grad = reader.weight.data.take(channels, axis=1), None
