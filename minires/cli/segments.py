"""--recompute: how many segments of a network are computed a second time in its backward pass."""

from argparse import ArgumentTypeError
from collections.abc import Mapping
from typing import Any, TypeVar

from minires.module import Module
from minires.recompute import blocks, recompute

_Model = TypeVar("_Model", bound=Module)


def segments(text: str) -> str:
    """An argparse type: what `recompute_as_asked` takes."""
    if text not in ("sqrt", "blocks") and not (text.isascii() and text.isdigit() and 1 <= int(text) < 10**6):
        raise ArgumentTypeError(f"unknown segments '{text}': give their number, from 1 up, or sqrt, or blocks")
    return text


def recompute_as_asked(settings: Mapping[str, Any], model: _Model) -> _Model:
    """The model, cut into the segments that its settings ask for. Raises ValueError where it cannot be."""
    asked = settings["recompute"]
    if asked is None:
        return model
    number = None if asked == "sqrt" else max(1, len(blocks(model))) if asked == "blocks" else int(asked)
    try:
        return recompute(model, number)
    except ValueError as error:
        raise ValueError(f"--recompute {asked}: {str(error).removeprefix('recompute: ')}") from error
