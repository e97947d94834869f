"""A picture that a script was asked to look at, with what its user should know of it."""

import math
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from minires.data.images import deep_range, open_image
from minires.data.inspect import plain
from minires.data.opened import with_image

if TYPE_CHECKING:
    from PIL.Image import Image


def chosen_range(given: Sequence[float] | None, metadata: Mapping[str, Any]) -> tuple[float, float] | None:
    """(low, high) of pictures of more than 8 bits: --range, or what the run that made the weights had, or None."""
    found = given if given is not None else metadata.get("run", {}).get("range")
    return None if found is None else check_range(found)


def check_range(given: Sequence[float]) -> tuple[float, float]:
    """(low, high). Raises ValueError unless they are finite, and low is below high."""
    low, high = given
    if not -math.inf < low < high < math.inf:
        raise ValueError(f"--range {low:g} {high:g}: give two numbers, the lower one first")
    return low, high


def open_and_say(name: str, value_range: tuple[float, float] | None) -> "Image":
    """The picture in a file, as `open_image` reads it; a note says how numbers of more than 8 bits were taken."""
    image = open_image(name, value_range)
    deep = with_image(name, deep_range)
    if deep is not None:
        low, high = value_range or deep[1:]
        print(
            f"note: {name}: {deep[0]}: {plain(low)} is black and {plain(high)} white; --range LOW HIGH says otherwise",
            file=sys.stderr,
        )
    return image
