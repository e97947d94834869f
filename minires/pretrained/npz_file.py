"""NumPy's archives (.npz): a zip file with an array in each entry, read by NumPy without its pickles.

NumPy makes an array of whatever shape an entry's header claims before it looks for the numbers; so the header is read
first here, and compared with the bytes that the entry has.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np

from minires.pretrained.errors import WeightsError
from minires.pretrained.files import opened
from minires.pretrained.zip_file import open_entry, open_zip
from minires.wording import shown

MAX_HEADER = 1000  # characters; that of an array of numbers takes 128


def read_npz(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """-> (state, info) of an .npz file: {name: NumPy array}, and {}, since the format has no room for more.

    Arrays of numbers of either byte order; all others, objects above all, are refused.
    Raises WeightsError for a file that is missing, damaged, cut short, of another kind, or that unpacks to more than
    zip_file.MAX_GROWTH allows.
    """
    with opened(path) as file, open_zip(file) as archive:
        names = archive.namelist()
        keys = [name.removesuffix(".npy") for name in names]
        if len(set(keys)) < len(keys):
            twice = next(key for key in keys if keys.count(key) > 1)
            raise WeightsError(f"two of its arrays are called '{shown(twice, 80)}'; save it again")
        return {key: _array(archive, name) for key, name in zip(keys, names, strict=True)}, {}


def _array(archive, name):
    with open_entry(archive, name) as entry:
        shape, dtype = _header(name, entry)
        if math.prod(shape) * dtype.itemsize != archive.getinfo(name).file_size - entry.tell():
            raise WeightsError(f"the shape of '{shown(name, 80)}' does not fit its bytes; download it again")
        entry.seek(0)
        array = np.lib.format.read_array(entry, allow_pickle=False, max_header_size=MAX_HEADER)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _header(name, entry):
    """-> (shape, dtype), and the entry stands at its first number."""
    try:
        old = np.lib.format.read_magic(entry) == (1, 0)
        read = np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(entry, max_header_size=MAX_HEADER)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise _no_numbers(name) from error
    if dtype.kind not in "fiub":
        raise _no_numbers(name)
    return shape, dtype


def _no_numbers(name):
    return WeightsError(f"'{shown(name, 80)}' in it is no array of numbers; save it as np.savez(path, **state)")
