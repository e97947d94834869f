"""Arrays and numbers of NumPy in pickles: descriptions first, arrays once their shape fits their bytes.

    numpy.core.multiarray._reconstruct      an empty array, whose state is (version, shape, dtype, columns first, bytes)
    numpy._core.numeric._frombuffer         (bytes, dtype, shape, order), since protocol 5
    numpy.core.multiarray.scalar            (dtype, bytes): one number

Objects, texts and records are not read. Source: NumPy, numpy/_core/src/multiarray/methods.c, array_setstate.
"""

import math
from typing import Any

import numpy as np

from minires import pickles
from minires.pickles import LeftOut

_KINDS = "fiub"
_MAX_AXES = 32
MAX_TEXT = 100_000  # bytes of a string of Python 2 that may be text


class Python2Text(str):
    """A string of Python 2, which is text or bytes: nobody knows which before it is used."""

    raw: bytes

    def __new__(cls, raw: bytes) -> "Python2Text":
        text = super().__new__(cls, raw.decode("utf-8", "replace"))
        text.raw = raw
        return text


def python_2_string(raw: bytes) -> Python2Text | bytes:
    """What stands for a string of Python 2: one longer than any text that is kept is bytes, for memory."""
    return Python2Text(raw) if len(raw) <= MAX_TEXT else raw


class Dtype:
    """Stands in for `numpy.dtype`: its name ("f4"), and its byte order once that is known."""

    def __init__(self, name: object, align: object = False, copy: object = False) -> None:
        self.name, self.order = name, "="

    def __setstate__(self, state):
        self.order = state[1]

    def real(self) -> np.dtype | None:
        """The dtype of NumPy; None for all but plain numbers."""
        name, order = self.name, self.order
        if not isinstance(name, str) or name[:1] not in _KINDS or name[1:] not in ("1", "2", "4", "8"):
            return None
        if name in ("f1", "b2", "b4", "b8") or order not in ("<", ">", "=", "|"):
            return None
        return np.dtype(order + name)


class Array:
    """Stands in for `numpy.ndarray`: shape, dtype and bytes as the file has them."""

    shape: Any = None
    dtype: Any = None
    columns_first = False
    data: object = None

    def __setstate__(self, state):
        _, self.shape, self.dtype, self.columns_first, self.data = state

    def problem(self) -> str | None:
        """What it is if it is no array of numbers, in words; None if it is one. ValueError for one that is damaged."""
        dtype = self.dtype.real() if isinstance(self.dtype, Dtype) else None
        if dtype is None:
            return "NumPy array of objects or text"
        shape, data = self.shape, _bytes(self.data)
        if (
            not isinstance(shape, tuple)
            or len(shape) > _MAX_AXES
            or any(type(n) is not int or not 0 <= n < 2**63 for n in shape)
        ):
            raise ValueError("an array whose shape makes no sense")
        if data is None or math.prod(shape) * dtype.itemsize != len(data):
            raise ValueError(f"an array of shape {shape} whose bytes are others")
        return None

    def numbers(self) -> np.ndarray:
        """(n,): its numbers in the order of the file, a copy in the machine's byte order."""
        dtype = self.dtype.real()
        return np.frombuffer(_bytes(self.data), dtype).astype(dtype.newbyteorder("="))

    def view(self, numbers: np.ndarray) -> np.ndarray:
        """The array, a view of its numbers (n,)."""
        return np.reshape(numbers, self.shape, order="F" if self.columns_first else "C")


def _bytes(data):
    return data.raw if isinstance(data, Python2Text) else data if isinstance(data, bytes) else None


def _reconstruct(kind, shape, code):
    """_reconstruct: the array that its state will fill."""
    return Array() if kind is Array else LeftOut("NumPy array of a class of its own")


def _from_buffer(data, dtype, shape, order, *axes):
    """_frombuffer, in the order of C or Fortran."""
    array = Array()
    array.__setstate__((1, shape, dtype, order == "F", data))
    return array


def _scalar(dtype, data=b""):
    """A number of NumPy -> one of Python."""
    real, data = dtype.real() if isinstance(dtype, Dtype) else None, _bytes(data)
    if real is None or data is None or len(data) != real.itemsize:
        return LeftOut("NumPy scalar")
    return np.frombuffer(data, real)[0].item()


_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
NAMES = {
    "numpy.ndarray": Array,
    "numpy.dtype": Dtype,
    **{f"{module}._reconstruct": _reconstruct for module in _MODULES},
    **{f"{module}.scalar": _scalar for module in _MODULES},
    **{f"{module}._frombuffer": _from_buffer for module in ("numpy.core.numeric", "numpy._core.numeric")},
    "_codecs.encode": pickles.encode,
}
