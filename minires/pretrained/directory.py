"""Folders of weights: Hugging Face's, with files beside the weights that say what they mean, and weights in shards.

    config.json, preprocessor_config.json, model.safetensors      what `huggingface` reads, and the weights
    model.safetensors.index.json                                  {"weight_map": {"key": "name of a shard", ...}}
    model-00001-of-00002.safetensors, ...                         the shards

What a file in the folder names must lie in the folder: nothing else is opened.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from minires.names import some
from minires.pretrained.errors import WeightsError
from minires.pretrained.files import inside, named
from minires.pretrained.huggingface import read_json, said_beside
from minires.pretrained.kinds import SUFFIXES

Reader: TypeAlias = Callable[[Path], tuple[dict[str, np.ndarray], dict[str, Any], str]]  # of formats.read_file
INDEX = ".index.json"
MOST_FILES, MOST_SHARDS = 10_000, 1000
_SAME_NETWORK = ("model.safetensors", "pytorch_model.bin", "tf_model.h5", "flax_model.msgpack")  # best first


def read_directory(path: str | Path, read_file: Reader) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """-> (state, info) of the one file of weights, or set of shards, in a folder.   read_file: reads a file in it.

    info: the file's own, and of what stands beside it "preprocessing" (fields of a Preprocessing), "classes" (names).
    Of the formats in which Hugging Face keeps one network, safetensors is taken. Raises WeightsError for a folder
    without weights, or with several: which is meant cannot be guessed.
    """
    folder = Path(path)
    with named(folder):
        chosen = _choose(folder, _names(folder))
        beside = said_beside(folder)
    state, info, source = read_file(chosen)
    return state, {**info, **beside, "source": source}


def read_shards(path: str | Path, read_file: Reader) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """-> (state, info) of an index and the shards that it names: {key: array} of all, and the names that are left out.

    Raises WeightsError for a shard that is missing, lies outside the index's folder, or holds other keys than the index
    says.
    """
    path = Path(path)
    with named(path):
        shards = _shards(read_json(path))
        places = {name: inside(path.parent, name) for name in shards}
        for name, place in places.items():
            if not place.is_file() or name.endswith(INDEX):  # indices of indices could name each other for ever
                raise WeightsError(
                    f"names {ascii(name)[:80]}, which is missing or no file of weights; download it again"
                )
    state: dict[str, np.ndarray] = {}
    left_out: list[str] = []
    for name, keys in shards.items():
        arrays, info, _ = read_file(places[name])
        if set(arrays) != set(keys):
            odd = some(sorted(set(arrays) ^ set(keys)), 3)[:150]
            raise WeightsError(f"{path}: {name!a} does not hold what the index says ({odd}); download both again")
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
    """The path of the one file of weights, or index of shards, among the names in a folder."""
    if "saved_model.pb" in names:
        raise WeightsError("is a SavedModel of TensorFlow; save the network as one file: model.save('model.keras')")
    if "data.pkl" in names:
        raise WeightsError("is an unpacked PyTorch file, as browsers unpack it; download it again and keep it packed")
    indices = [name for name in names if name.endswith(INDEX)]
    shards = {shard for name in indices for shard in _shards(read_json(inside(folder, name)))}
    found = [name for name in names if name not in shards and (name.lower().endswith(SUFFIXES) or name in indices)]
    found = [name for name in found if not (folder / name).is_dir()]
    alike = [name for name in _SAME_NETWORK if {name, name + INDEX} & set(found)]
    if "config.json" in names and alike and {name.removesuffix(INDEX) for name in found} <= set(alike):
        found = [alike[0]] if alike[0] in found else [alike[0] + INDEX]
    if len(found) > 1:
        raise WeightsError(f"is a folder of several files of weights ({some(found, 5)[:150]}); name one of them")
    if not found:
        raise WeightsError("is a folder without a run's best.safetensors or a file of weights; name one")
    return inside(folder, found[0])


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
