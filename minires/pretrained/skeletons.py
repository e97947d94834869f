"""The names and shapes of a network's arrays, without the arrays: what a file's names and shapes are held against.

A network of 138 million numbers is built in a few milliseconds where none of them is drawn: its generator hands out
zeros that are one zero in memory.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from minires import models
from minires.models.last_layer import head_name
from minires.types import Rng
from minires.wording import shown

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Skeleton:
    """shapes: {key: shape} of a network's state.   eps: its batch norms'; None where it has none.   head_name: its."""

    shapes: Shapes
    eps: float | None
    head_name: str


def skeleton(model: str, options: Mapping[str, Any]) -> Skeleton:
    """The Skeleton of `models.build(model, 1, **options)`, of one class."""
    return _skeleton(model, tuple(sorted(options.items())))


@lru_cache(maxsize=64)
def _skeleton(model, options):
    network: Any = models.build(model, 1, rng=without_numbers(0), **dict(options))
    eps = next((module.eps for module in network.modules() if hasattr(module, "running_mean")), None)
    return Skeleton(network.state_shapes(), eps, head_name(network))


def without_numbers(rng: Rng) -> np.random.Generator:
    """A generator for building a network whose every array is to be replaced: of normal and uniform numbers it draws
    zeros that are one in memory. Others, such as seeds of dropout, are those of `rng`.
    """
    return _NoNumbers(np.random.default_rng(rng).bit_generator)


def difference(shapes: Shapes, model: str, options: Mapping[str, Any]) -> str | None:
    """The first array that such a network does not have, or not in that shape; None where there is none.

    The head may be for any number of classes, and what is missing is no difference: the file may be incomplete.
    """
    known = skeleton(model, options)
    head = known.head_name + "."
    for key, shape in shapes.items():
        if key not in known.shapes:
            return f"unexpected: {shown(key)}"
        if shape != known.shapes[key] and not key.startswith(head):
            return f"misshapen: {shown(key)} has {shape}, known here is {known.shapes[key]}"
    return None


class _Zeros(np.ndarray):
    """Zeros of any shape in the memory of one; cast to another dtype they stay what they are."""

    def astype(self, *args, **options):
        return self


class _NoNumbers(np.random.Generator):
    """What `without_numbers` gives."""

    def normal(self, loc=0.0, scale=1.0, size=None):
        return np.broadcast_to(np.zeros((), np.float32), size).view(_Zeros)

    uniform = normal
