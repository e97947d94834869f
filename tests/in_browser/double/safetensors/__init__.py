"""What the tests use of the package safetensors, which is compiled and is not made for browsers.

The tests make files by it, and minires writes and reads checkpoints; tests/test_browser.py holds it beside the package.
"""

import json
import math

import numpy as np

# As the format names them, the widest first: in that order their arrays lie in a file, so that all are aligned.
DTYPES = {"U64": "<u8", "I64": "<i8", "F64": "<f8", "F32": "<f4", "U32": "<u4", "I32": "<i4", "F16": "<f2"}
DTYPES |= {"U16": "<u2", "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?"}
SIZES = {"BF16": 2, "F8_E5M2": 1, "F8_E4M3": 1} | {name: np.dtype(dtype).itemsize for name, dtype in DTYPES.items()}
LARGEST_HEADER = 100_000_000


class SafetensorError(Exception):
    """What is no file of this format."""


def read(content):
    """The bytes of a file -> (its metadata or None, {key: (dtype, shape, bytes)})."""
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > LARGEST_HEADER or 8 + length > len(content):
        raise SafetensorError("header too short, too large, or longer than the file")
    try:
        header = json.loads(content[8 : 8 + length].decode())
        metadata, places = header.pop("__metadata__", None), {}
        for key, record in header.items():
            places[key] = (record["dtype"], record["shape"], *record["data_offsets"])
        _check(places, len(content) - 8 - length)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise SafetensorError(f"invalid header: {error}") from error
    start = 8 + length
    order = sorted(places, key=lambda key: places[key][2:])
    return metadata, {
        key: (dtype, shape, content[start + begin : start + end])
        for key, (dtype, shape, begin, end) in ((key, places[key]) for key in order)
    }


def _check(places, size):
    at = 0
    for dtype, shape, begin, end in sorted(places.values(), key=lambda place: place[2:]):
        if dtype not in SIZES or begin != at or end - begin != math.prod(shape) * SIZES[dtype]:
            raise ValueError("an array of an unknown dtype, of another size than its shape's, or at another place")
        if not all(isinstance(n, int) and n >= 0 for n in shape):
            raise ValueError("a shape of something else than lengths")
        at = end
    if at != size:
        raise ValueError("a file of another length")


def deserialize(content):
    """The arrays of a file's bytes, as [(key, {"dtype", "shape", "data"})]."""
    return [
        (key, {"dtype": dtype, "shape": shape, "data": bytearray(data)})
        for key, (dtype, shape, data) in read(content)[1].items()
    ]


def as_array(dtype, shape, data):
    """An array of its own."""
    return np.frombuffer(data, DTYPES[dtype]).reshape(shape).copy()


class safe_open:
    """A file, with `metadata`, `keys` and `get_tensor`."""

    def __init__(self, path, framework):
        with open(path, "rb") as file:
            self._metadata, self._records = read(file.read())

    def __enter__(self):
        return self

    def __exit__(self, *of_an_error):
        return None

    def metadata(self):
        return self._metadata

    def keys(self):
        return sorted(self._records)

    def get_tensor(self, key):
        if key not in self._records:
            raise SafetensorError(f"File does not contain tensor {key}")
        return as_array(*self._records[key])
