"""Folders of weights: Hugging Face's, with files beside the weights that say what they mean, and weights in shards.

    config.json, preprocessor_config.json, model.safetensors      what `huggingface` reads, and the weights
    model.safetensors.index.json                                  {"weight_map": {"key": "name of a shard", ...}}
    model-00001-of-00002.safetensors, ...                         the shards

What a file in the folder names must lie in the folder: nothing else is opened.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from minires.names import some
from minires.pretrained.errors import WeightsError
from minires.pretrained.files import inside, named
from minires.pretrained.huggingface import read_json, said_beside
from minires.pretrained.kinds import SUFFIXES
from minires.wording import shown

Reader: TypeAlias = Callable[[Path], tuple[dict[str, np.ndarray], dict[str, Any], str]]  # of formats.read_file
INDEX = ".index.json"
MOST_FILES, MOST_SHARDS, MOST_INDICES = 10_000, 1000, 10
_BESIDE = re.compile(r"training_args\.bin|(optimizer|scheduler|scaler)\.(pt|bin)|rng_state.*\.pth")  # of a training
_SAME_NETWORK = ("model.safetensors", "pytorch_model.bin", "tf_model.h5", "flax_model.msgpack")  # best first


def read_directory(path: str | Path, read_file: Reader) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """-> (state, info) of the one file of weights, or set of shards, in a folder.   read_file: reads a file in it.

    info: the file's own, and of what stands beside it "preprocessing" (fields of a Preprocessing), "classes" (names).
    Of the formats in which Hugging Face keeps one network, safetensors is taken. Raises WeightsError for a folder
    without weights, or with several: which is meant cannot be guessed.
    """
    folder = Path(path)
    with named(folder):
        chosen, not_taken = _choose(folder, _names(folder))
        beside = said_beside(folder)
    state, info, source = read_file(chosen)
    not_read = info["not_read"] if isinstance(info.get("not_read"), list) else []
    not_read = [*not_read, *not_taken, *beside.get("not_read", [])]
    return state, {**info, **beside, "not_read": not_read, "source": source}


def read_shards(path: str | Path, read_file: Reader) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """-> (state, info) of an index and the shards that it names: {key: array} of all, and the names that are left out.

    Raises WeightsError for a shard that is missing, lies outside the index's folder, or holds other keys than the index
    says.
    """
    path = Path(path)
    with named(path):
        shards = _shards(read_json(path))
        places = {name: _place(path.parent, name) for name in shards}
    state: dict[str, np.ndarray] = {}
    left_out: list[str] = []
    for name, keys in shards.items():
        arrays, info, _ = read_file(places[name])
        if set(arrays) != set(keys):
            odd = shown(some(sorted(set(arrays) ^ set(keys)), 3), 100)
            raise WeightsError(
                f"{path}: '{shown(name, 80)}' does not hold what the index says ({odd}); download both again"
            )
        state |= arrays
        left_out += info.get("left_out", [])
    return {key: state[key] for keys in shards.values() for key in keys}, {"left_out": left_out}


def _names(folder):
    """The names of the files and folders in it."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry, _ in zip(entries, range(MOST_FILES + 1), strict=False))
    if len(names) > MOST_FILES:
        raise WeightsError(f"is a folder of more than {MOST_FILES:,} files; name the file of weights in it")
    return names


def _choose(folder, names):
    """-> (path, not_taken) of the one file of weights, or index of shards, among the names in a folder.

    not_taken: names of files that hold the same network in another format, or what training keeps beside it.
    """
    if "saved_model.pb" in names:
        raise WeightsError("is a SavedModel of TensorFlow; save the network as one file: model.save('model.keras')")
    if "data.pkl" in names:
        raise WeightsError("is an unpacked PyTorch file, as browsers unpack it; download it again and keep it packed")
    indices = [name for name in names if name.lower().removesuffix(INDEX).endswith(SUFFIXES) and name.endswith(INDEX)]
    if len(indices) > MOST_INDICES:
        raise WeightsError(f"is a folder of {len(indices):,} indices of weights; name one of them")
    shards = {shard for name in indices for shard in _shards_of(inside(folder, name))}
    found = [name for name in names if name not in shards and (name.lower().endswith(SUFFIXES) or name in indices)]
    found = everything = [name for name in found if not (folder / name).is_dir()]
    alike = [name for name in (*_SAME_NETWORK, *(name + INDEX for name in _SAME_NETWORK)) if name in found]
    if "config.json" in names and alike and all(name in alike or _BESIDE.fullmatch(name) for name in found):
        found = [min(alike, key=lambda name: _SAME_NETWORK.index(name.removesuffix(INDEX)))]
    if len(found) > 1:
        listed = shown(some(found, 5), 150)
        raise WeightsError(f"is a folder of several files of weights ({listed}); name one of them")
    if not found:
        raise WeightsError("is a folder without a run's best.safetensors or a file of weights; name one")
    return inside(folder, found[0]), [name for name in everything if name not in found]


def _place(folder, name):
    """The path of a shard. Raises WeightsError for what is no file in the folder, or an index itself."""
    path = inside(folder, name)
    if not path.is_file() or name.endswith(INDEX):
        raise WeightsError(f"names the shard '{shown(name, 80)}', which is no file in its folder; download all shards")
    return path


def _shards_of(path):
    """_shards of the index at `path`, in a folder: errors name the index."""
    content = read_json(path)
    try:
        return _shards(content)
    except WeightsError as error:
        raise WeightsError(f"{shown(path.name)} {error}") from error


def _shards(index):
    """{name of a shard: its keys} of an index."""
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
        raise WeightsError("is JSON text and no index of weights, which has a weight_map; name a file of weights")
    shards: dict[str, list[str]] = {}
    for key, name in places.items():
        shards.setdefault(name, []).append(key)
    if len(shards) > MOST_SHARDS:
        raise WeightsError(f"is an index of {len(shards):,} shards, more than {MOST_SHARDS:,}; name a file of weights")
    return shards
