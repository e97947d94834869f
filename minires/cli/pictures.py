"""Pictures that a script was asked to look at, with what its user should know of them, and pictures that it makes."""

import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minires.data.images import deep_range, open_image
from minires.data.inspect import plain
from minires.data.opened import with_image
from minires.wording import readable

if TYPE_CHECKING:
    from PIL.Image import Image

DRAWN = (b"\x89PNG", b"%PDF", b"<?xml")  # how the pictures begin that the scripts draw and mark: PNG, PDF and SVG


def chosen_range(given: Sequence[float] | None, metadata: Mapping[str, Any]) -> tuple[float, float] | None:
    """(low, high) of pictures of more than 8 bits: --range, or what the run that made the weights had, or None."""
    found = given if given is not None else metadata.get("run", {}).get("range")
    return None if found is None else check_range(found)


def check_range(given: Sequence[float]) -> tuple[float, float]:
    """(low, high). Raises ValueError unless they are finite, and low is below high."""
    low, high = given
    if not -math.inf < low < high < math.inf:
        raise ValueError(f"--range {low:g} {high:g}: give two finite numbers, the lower one first")
    return low, high


def open_and_say(name: str, value_range: tuple[float, float] | None) -> "Image":
    """The picture in a file, as `open_image` reads it; a note says how numbers of more than 8 bits were taken."""
    image = open_image(name, value_range)
    deep = with_image(name, deep_range)
    if deep is not None:
        low, high = value_range or deep[1:]
        meant = f"{deep[0]}: {plain(low)} is black and {plain(high)} white; --range LOW HIGH says otherwise"
        print(f"note: {readable(str(name), 4096)}: {meant}", file=sys.stderr)
    return image


def made_by(mark: str, path: str | Path) -> bool:
    """Whether a file is a picture that says, in its metadata, that the script of this mark has made it."""
    if not Path(path).is_file():
        return False
    with open(path, "rb") as file:
        return file.peek(8).startswith(DRAWN) and mark.encode() in file.read()


def refuse_to_replace(path: str | Path, mark: str, flag: str) -> None:
    """Raise ValueError where something stands at `path` that the script of this mark has not made."""
    if os.path.lexists(path) and not made_by(mark, path):
        raise ValueError(f"{path} is there, and not a picture of this script: name another file with {flag}")
