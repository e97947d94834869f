"""What is known of a family of networks whose arrays are named alike."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from minires.pretrained.skeletons import Shapes, difference

Guess: TypeAlias = tuple[str, dict[str, Any]]  # a model and its options, for `models.build`


class Misfit(Exception):
    """Arrays are none of the networks that are known.   likely: what they are most like.   reason: why they are not."""

    def __init__(self, likely: str, reason: str) -> None:
        super().__init__(likely, reason)
        self.likely, self.reason = likely, reason


def _fc(shapes: Shapes) -> str:
    return "fc"


@dataclass(frozen=True)
class Family:
    """Names are those that are usual here, torchvision's.

    anchor: the key that tells it, which each of its networks has.   body: what the keys of its arrays begin with, those
    of the last layer and of extra heads aside.   likeliest: of {key: shape} the network that they are likeliest, or a
    Misfit.   head: the name of the last layer beside these arrays.   features: how many numbers the network gives it;
    None where only the layer itself says so.   extra_heads: what the keys of heads begin with that help in training.
    """

    anchor: str
    body: re.Pattern
    likeliest: Callable[[Shapes], Guess]
    features: Callable[[Shapes], int | None]
    head: Callable[[Shapes], str] = _fc
    extra_heads: tuple[str, ...] = ()


def proven(shapes: Shapes, model: str, options: Mapping[str, Any], called: str | None = None) -> Guess:
    """The network (model, options), where the shapes are not another's. Raises Misfit of it, or of what is `called`."""
    if reason := difference(shapes, model, options):
        raise Misfit(called or model, reason)
    return model, dict(options)


def refuse_other_channels(shapes: Shapes, first: str, likely: str) -> None:
    """Raise Misfit where the convolution of this key does not take three channels."""
    shape = shapes.get(first, ())
    if len(shape) != 4 or shape[1] == 3:
        return
    cure = f": for grey pictures save {first} as weight.repeat(1, 3, 1, 1) / 3" if shape[1] == 1 else ""
    channels = "channel" if shape[1] == 1 else "channels"
    raise Misfit(likely, f"its {first} {shape} takes images of {shape[1]} {channels}, here they have 3{cure}")


def channels_of(shapes: Shapes, key: str) -> int | None:
    """The first number of a shape; None where there is none."""
    shape = shapes.get(key, ())
    return shape[0] if shape else None


def number_of(shapes: Shapes, pattern: str) -> int:
    """One more than the largest number of up to three digits that `(\\d{1,3})` finds in the keys, from 0."""
    numbers = [int(found[1]) for key in shapes if (found := re.match(pattern, key))]
    return max(numbers, default=-1) + 1
