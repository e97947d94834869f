"""A network cut into stages: the maps that they give, each used by the next stage and by whoever asked for it."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from minires.layers import add
from minires.layers.checks import check_gradient
from minires.module import Module
from minires.sequential import Sequential, call
from minires.types import Array, Backward, Operation


def cut(steps: Iterable[Module], *ends: Module) -> list[Sequential]:
    """The modules that follow each other, in stages: each but the last ends with one of `ends`, in their order."""
    steps = list(steps)
    places = [0, *(steps.index(end) + 1 for end in ends), len(steps)]
    return [Sequential(*steps[first:last]) for first, last in pairwise(places)]


def feature_maps(
    name: str, stages: Sequence[Operation], x: Array, lean: bool = False
) -> tuple[tuple[Array, ...], Backward]:
    """maps[0] = stages[0](x), maps[k] = stages[k](maps[k - 1]);  backward(dmaps) -> dx

    dmaps: a gradient for each map, or None where there is none; what lies behind the last of them is not gone through.
    lean: for one backward pass, which returns None.   name: of the network, for its errors.
    Raises ValueError for gradients that do not fit, and where there is none at all.
    """
    maps: list[Array] = []
    backwards: list[Backward] = []
    for stage in stages:
        x, stage_backward = call(stage, x, lean=lean and not maps, once=lean)
        maps.append(x)
        backwards.append(stage_backward)
    kinds = [(y.shape, y.dtype) for y in maps]

    def backward(dmaps):
        _check_gradients(name, dmaps, kinds)
        dy = None
        for dmap, stage_backward in zip(reversed(dmaps), reversed(backwards), strict=True):
            if dy is None:
                dy = dmap
            elif dmap is not None:
                dy, _ = add(dy, dmap)  # a map is used twice: here and by the next stage
            dy = dy if dy is None else stage_backward(dy)
        return dy

    return tuple(maps), backward


def _check_gradients(name, dmaps, kinds):
    if len(dmaps) != len(kinds) or all(dmap is None for dmap in dmaps):
        given = ", ".join("None" if dmap is None else str(dmap.shape) for dmap in dmaps)
        raise ValueError(
            f"{name}: backward takes {len(kinds)} gradients, one for each of the maps, got ({given}): give at least "
            "one of them, and None for the others"
        )
    for dmap, kind in zip(dmaps, kinds, strict=True):
        if dmap is not None:
            check_gradient(name, dmap, *kind)
