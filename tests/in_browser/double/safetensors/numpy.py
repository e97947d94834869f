"""NumPy's arrays in files of safetensors."""

import json
import os

import numpy as np

from safetensors import DTYPES, as_array, read

_NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}


def save(arrays, metadata=None):
    """The bytes of a file."""
    order = sorted(arrays, key=lambda key: (list(DTYPES).index(_NAMES[arrays[key].dtype]), key))
    header, pieces, at = {"__metadata__": metadata} if metadata is not None else {}, [], 0
    for key in order:
        array = np.ascontiguousarray(arrays[key]).reshape(np.shape(arrays[key]))
        places = [at, at + array.nbytes]
        header[key] = {"dtype": _NAMES[array.dtype], "shape": list(array.shape), "data_offsets": places}
        pieces.append(array.tobytes())
        at += array.nbytes
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(pieces)


def save_file(arrays, path, metadata=None):
    """Write a file."""
    with open(path, "wb") as file:
        file.write(save(arrays, metadata))


def load(content):
    """{key: array} of the bytes of a file."""
    return {key: as_array(*record) for key, record in read(content)[1].items()}


def load_file(path):
    """{key: array} of a file."""
    with open(os.fspath(path), "rb") as file:
        return load(file.read())
