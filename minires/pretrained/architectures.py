"""Which network a set of arrays belongs to, from their names and shapes alone."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from minires.pretrained.errors import WeightsError
from minires.pretrained.families import family_of
from minires.pretrained.families.family import Misfit
from minires.pretrained.misfits import KNOWN, looks_like
from minires.wording import shown


@dataclass(frozen=True)
class Architecture:
    """`models.build(model, num_classes, **options)` makes the network; num_classes is None without a head."""

    model: str
    num_classes: int | None
    options: dict


def recognise(state: Mapping[str, np.ndarray]) -> Architecture:
    """The Architecture of arrays under torchvision's names, the head where the network has it.

    Raises WeightsError with the likeliest network, and the first reason why it is not that, where it is none of ours.
    """
    shapes = {key: tuple(array.shape) for key, array in state.items()}
    family = family_of(shapes)
    if family is None:
        raise WeightsError(nothing_known(state))
    shapes = {key: shape for key, shape in shapes.items() if not key.startswith(family.extra_heads)}
    try:
        model, options = family.likeliest(shapes)
    except Misfit as misfit:
        raise WeightsError(f"its arrays are most like {misfit.likely}, but {misfit.reason}; {KNOWN}") from None
    head = shapes.get(f"{family.head(shapes)}.weight", ())
    return Architecture(model, head[0] if len(head) == 2 else None, options)


def nothing_known(state: Mapping[str, np.ndarray]) -> str:
    """The sentence for arrays among which there is no network."""
    some = ", ".join(f"{shown(key, 60)} {tuple(state[key].shape)}" for key in list(state)[:3])
    looks = looks_like(list(state))
    looks = f" and look like {looks}" if looks else ""
    return f"these {len(state)} arrays ({some}, ...) belong to no network that is known here{looks}: {KNOWN}"
