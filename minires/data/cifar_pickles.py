"""The pickles of CIFAR's Python archives, without running them.

A pickle is a program that builds objects; `minires.pickles` runs it on a bounded machine, and the few names that it may
call are stand-ins that can make arrays of integers and nothing else.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np

from minires import pickles


class DtypeRecord:
    """Stands in for `numpy.dtype` in a pickle: plain integers only, so objects and fields never come to life."""

    allowed = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8")

    def __init__(self, name: object, align: object = False, copy: object = False) -> None:
        self.name, self.order = text(name), "|"
        if self.name not in self.allowed:
            raise pickles.Refused(f"refused an array of dtype {self.name[:20]!r}: only integers are read")

    def __setstate__(self, state):
        self.order = text(state[1])
        if self.order not in ("<", ">", "|", "="):
            raise pickles.Refused(f"refused the byte order {self.order[:20]!r}")


class ArrayRecord:
    """Stands in for `numpy.ndarray` in a pickle; `array` is set once its shape, dtype and bytes have arrived."""

    array = None

    def __setstate__(self, state):
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, DtypeRecord) or not isinstance(data, bytes):
            raise pickles.Refused("refused an array whose dtype or contents are not plain bytes")
        values = np.frombuffer(data, np.dtype(dtype.order + dtype.name))
        if not isinstance(shape, tuple) or len(shape) > 2 or any(type(n) is not int or n < 0 for n in shape):
            raise pickles.Refused("refused an array whose shape is not one or two numbers")
        if math.prod(shape) != values.size:
            raise pickles.Refused(f"an array of shape {shape} cannot hold {values.size} values")
        self.array = values.reshape(shape, order="F" if fortran else "C")


def _reconstruct(kind, shape, code):
    """Stands in for `numpy._core.multiarray._reconstruct`, which makes an empty array for __setstate__ to fill."""
    if kind is not ArrayRecord:
        raise pickles.Refused("refused to build anything but an array")
    return ArrayRecord()


def _frombuffer(data, dtype, shape, order="C"):
    """Stands in for `numpy._core.numeric._frombuffer`, by which protocol 5 makes an array of bytes."""
    record = ArrayRecord()
    record.__setstate__((1, shape, dtype, order == "F", data))
    return record


STAND_INS = {
    "numpy.ndarray": ArrayRecord,
    "numpy.dtype": DtypeRecord,
    "numpy.core.multiarray._reconstruct": _reconstruct,
    "numpy._core.multiarray._reconstruct": _reconstruct,
    "numpy.core.numeric._frombuffer": _frombuffer,
    "numpy._core.numeric._frombuffer": _frombuffer,
    "_codecs.encode": pickles.encode,
}


def text(name: Any) -> str:
    """A word of either Python; "" for what is none."""
    return name.decode("ascii", "replace") if isinstance(name, bytes) else name if isinstance(name, str) else ""


def read_pickle(path: Path) -> Any:
    """The content of a pickle, with Python 2's strings as bytes. Raises whatever a damaged pickle can raise."""
    with open(path, "rb") as file:
        return pickles.read_pickle(file, path.stat().st_size, STAND_INS, "arrays of integers and plain values")
