"""NumPy's archives (.npz): a zip file with an array in each entry, read without its pickles.

    an entry: b"\\x93NUMPY", version (2 bytes), the header's length (2 bytes, later 4), header, numbers
    a header: {'descr': '<f4', 'fortran_order': False, 'shape': (16, 3, 3, 3), }

NumPy's own reader makes an array of whatever shape the header claims before it looks for the numbers, and takes the
header for an expression of Python; here the header is matched letter by letter and the numbers are counted first.

Source: NumPy, numpy/lib/_format_impl.py.
"""

import math
import re

import numpy as np

from minires.pretrained.errors import WeightsError
from minires.pretrained.files import opened
from minires.pretrained.zip_file import read_directory, read_entry

_HEADER = re.compile(
    rb"\{'descr': '([<>|][fiub]\d\d?)', 'fortran_order': (True|False), 'shape': \(([\d, ]{0,200})\),? ?\}\s*"
)


def read_npz(path):
    """-> (state, info) of an .npz file: {name: NumPy array}, and {}, since the format has no room for more.

    Arrays of numbers of either byte order; all others, objects above all, are refused.
    Raises WeightsError for a file that is missing, damaged, cut short, of another kind, or that unpacks to more than
    zip_file.MAX_GROWTH allows.
    """
    with opened(path) as file:
        entries = read_directory(file)
        state = {name.removesuffix(".npy"): _array(name, read_entry(file, entries[name])) for name in entries}
    return state, {}


def _array(name, data):
    """The content of an entry, uint8 (n,) -> its array."""
    width = 2 if data[6:7] == 1 else 4  # of the header's length, by version
    start = 8 + width + int.from_bytes(data[8 : 8 + width].tobytes(), "little")
    header = _HEADER.fullmatch(data[8 + width : start].tobytes())
    if data[:6].tobytes() != b"\x93NUMPY" or header is None:
        raise WeightsError(f"{ascii(name)[:80]} in it is no array of numbers; save it as np.savez(path, **state)")
    dtype, order = np.dtype(header[1].decode()), "F" if header[2] == b"True" else "C"
    shape = [int(n) for n in header[3].replace(b",", b" ").split()]
    if len(data) - start != math.prod(shape) * dtype.itemsize:
        raise WeightsError(f"the shape of {ascii(name)[:80]} does not fit its bytes; download it again")
    numbers = data[start:].view(dtype)
    return numbers.astype(dtype.newbyteorder("="), copy=False).reshape(shape, order=order)
