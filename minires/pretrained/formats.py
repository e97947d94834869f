"""The arrays of a file of any format, by what the file begins with: its name says nothing certain."""

from pathlib import Path
from typing import Any

import numpy as np

from minires.pretrained.directory import INDEX, read_directory, read_shards
from minires.pretrained.errors import WeightsError
from minires.pretrained.files import opened
from minires.pretrained.zip_file import open_zip


def read_file(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any], str]:
    """-> (state, info, source) of a file of weights, an index of shards (by its name), or a folder.

    state, info: what its reader gives.   source: the kind of file: "PyTorch", "Keras", "NumPy" or "safetensors".
    Raises WeightsError as the readers do.
    """
    from minires.pretrained import keras_file, npz_file, safetensors_file

    path = Path(path)
    if path.is_dir():
        state, info = read_directory(path, read_file)
        return state, info, info["source"]
    if path.name.endswith(INDEX):
        return *read_shards(path, read_file), "safetensors" if ".safetensors" in path.name else "PyTorch"
    if path.exists() and not path.is_file():
        raise WeightsError(f"{path}: is no file but a pipe or device; name a file of weights")
    try:
        with open(path, "rb") as file:
            start = file.read(9)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}): name a file of weights") from error
    entries = _entries(path) if start.startswith(b"PK") else []
    if start.startswith(b"\x89HDF") or keras_file.ARCHIVED in entries:
        return *keras_file.read_keras(path), "Keras"
    if entries and all(name.endswith(".npy") for name in entries):
        return *npz_file.read_npz(path), "NumPy"
    if start[8:9] == b"{":
        return *safetensors_file.read_safetensors(path), "safetensors"
    return *_read_torch(path), "PyTorch"


def _read_torch(path):
    """(state, info) without what an optimizer keeps, which is much and no use here: its names are in "not_read"."""
    from minires.pretrained import torch_file

    not_read: dict[str, None] = {}

    def wanted(shapes):
        keys = [key for key in shapes if not key.startswith("optim")]
        not_read.update(dict.fromkeys(key.split(".")[0] for key in shapes if keys and key.startswith("optim")))
        return keys or list(shapes)

    state, info = torch_file.read_torch(path, wanted)
    return state, {**info, "not_read": list(not_read)}


def _entries(path):
    """The names of a zip file's entries."""
    with opened(path) as file:
        return open_zip(file).namelist()
