"""What the layers refuse, in one sentence each: the value, the limit and the cure."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from minires.backend import array_module, is_half
from minires.types import Array, Padding, Shape, Sides, Size


def pair(layer: str, name: str, value: Any, least: int = 0) -> Size:
    """(rows, columns) from a number or a pair of whole numbers, each at least `least`."""
    values = (value, value) if isinstance(value, (int, np.integer)) else value
    try:
        rows, columns = (int(v) for v in values if v == int(v))
    except (TypeError, ValueError):
        four = " or ((top, bottom), (left, right))" if name == "padding" else ""
        raise ValueError(f"{layer}: {name} must be a whole number or a pair of them{four}, got {value!r}") from None
    if min(rows, columns) < least:
        raise ValueError(f"{layer}: {name} must be at least {least}, got {value!r}")
    return rows, columns


def padding_of(layer: str, value: Padding) -> Sides:
    """((top, bottom), (left, right)) from a number, (rows, columns) or all four."""
    if isinstance(value, (tuple, list)) and len(value) == 2 and all(isinstance(v, (tuple, list)) for v in value):
        vertical, horizontal = (pair(layer, "padding", v) for v in value)
        return vertical, horizontal
    rows, columns = pair(layer, "padding", value)
    return (rows, rows), (columns, columns)


def check_image(layer: str, x: Array) -> None:
    """x must be a batch of images (N, H, W, C) with nothing empty."""
    array_module(x)
    if x.ndim != 4:
        raise ValueError(f"{layer}: x must have shape (N, H, W, C), got {x.shape}: add the batch axis with x[None]")
    check_not_empty(layer, x)


def check_least_size(network: str, x: Array, least: int) -> None:
    """Images must have at least so many pixels a side: with fewer a network's last maps would have none."""
    check_image(network, x)
    if min(x.shape[1:3]) < least:
        if x.shape[1] == 3 != x.shape[3]:
            raise ValueError(
                f"{network}: x has shape {x.shape}, it takes (N, H, W, 3): if these are images (N, 3, H, W), give it "
                "x.transpose(0, 2, 3, 1)"
            )
        raise ValueError(
            f"{network}: images of {x.shape[1]}x{x.shape[2]} pixels, it needs at least {least}x{least}: give it larger "
            "ones, or take a network for small images"
        )


def check_not_empty(layer: str, x: Array) -> None:
    """x must hold at least one number."""
    array_module(x)
    if x.size == 0:
        raise ValueError(f"{layer}: empty batch, x has shape {x.shape}: give it at least one item")


def check_gradient(layer: str, dy: Array, shape: Shape, dtype: np.dtype) -> None:
    """dy must have the shape and dtype of y: broadcasting, or other bits, would give a wrong gradient in silence."""
    if dy is None:
        raise TypeError(f"{layer}: dy is None: a layer that is told of lean=True gives no dx, so leave lean out there")
    array_module(dy)
    if dy.shape != shape:
        raise ValueError(f"{layer}: dy has shape {dy.shape}, y {shape}: they must be equal")
    if dy.dtype != dtype:
        raise ValueError(f"{layer}: dy is {_name_of(dy.dtype)}, y {_name_of(dtype)}: use dy.astype(y.dtype)")


def check_sizes(layer: str, **sizes: int) -> None:
    """Each size must be at least 1."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{layer}: {name} must be at least 1, got {size}")


def check_groups(layer: str, groups: int, **channels: int) -> None:
    """Groups must be a whole number, at least 1, that divides each number of channels."""
    if not isinstance(groups, (int, np.integer)) or isinstance(groups, bool) or groups < 1:
        raise ValueError(f"{layer}: groups must be a whole number, at least 1, got {groups!r}")
    for name, count in channels.items():
        if count % groups:
            raise ValueError(f"{layer}: {name} is {count}, which {groups} groups do not divide: give another groups")


def check_number(layer: str, name: str, value: Any, least: float, most: float) -> None:
    """It must be a number from least to most."""
    if (
        not isinstance(value, (int, float, np.integer, np.floating))
        or isinstance(value, bool)
        or not least <= value <= most
    ):
        raise ValueError(f"{layer}: {name} must be a number from {least} to {most}, got {value!r}")


def check_p(layer: str, p: float) -> None:
    """A probability to leave something out must be less than 1: what is left is divided by 1 - p."""
    if not 0 <= p < 1:
        raise ValueError(f"{layer}: p must be in [0, 1), got {p}")


def check_float(layer: str, x: Array, *others: Array | None, parameters: Sequence[Array | None] = ()) -> None:
    """All arrays (None aside) must be of one device and one dtype: nothing is converted in silence.

    That is float32 or float64; or float16 or bfloat16, in which only what flows through a network is kept, while its
    parameters stay float32: an update of a weight is often less than a half can tell from nothing.
    """
    array_module(x, *others, *parameters)
    dtypes = {array.dtype for array in (x, *others) if array is not None}
    if len(dtypes) == 1 and is_half(x.dtype):
        of_parameters = {array.dtype for array in parameters if array is not None}
        if of_parameters - {np.dtype(np.float32)}:
            names = ", ".join(sorted(map(_name_of, of_parameters)))
            raise ValueError(
                f"{layer}: x is {_name_of(x.dtype)}, its parameters {names}: keep those in float32, to(np.float32)"
            )
        return
    dtypes |= {array.dtype for array in parameters if array is not None}
    if len(dtypes) > 1:
        names = ", ".join(sorted(map(_name_of, dtypes)))
        raise ValueError(f"{layer}: arrays of different dtypes ({names}): convert them with astype or to()")
    dtype = next(iter(dtypes))
    if dtype.isnative and dtype in (np.float32, np.float64):
        return
    if dtype.kind != "f":
        raise ValueError(f"{layer}: needs floating-point arrays, got {dtype}: convert with x.astype(np.float32)")
    raise ValueError(f"{layer}: needs float32 or float64, got {_name_of(dtype)}: convert with x.astype(np.float32)")


def check_wide(layer: str, x: Array) -> None:
    """x must not be of halves, in which a loss would lose what it says."""
    if is_half(x.dtype):
        raise ValueError(
            f"{layer}: {x.dtype.name} is too narrow to add numbers up in: convert with x.astype(np.float32)"
        )


def _name_of(dtype):
    return dtype.name if dtype.isnative else f"{dtype.name} in foreign byte order"
