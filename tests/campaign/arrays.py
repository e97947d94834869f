"""Files of arrays: safetensors, NumPy's, Keras's, folders; and what they say of themselves."""

import base64
import copy
import gzip
import json
import math
import random
import subprocess
import zipfile
import zlib
from functools import partial
from unittest import mock

import h5py
import keras_files
import numpy as np
import weights_cases as cases
from spoiling import nothing_reached, spoilt

from campaign.attack import Attack, Target
from campaign.bounds import bounded
from minires.data.images import Preprocessing
from minires.pretrained import hdf5_arrays, hdf5_table
from minires.pretrained.errors import WeightsError
from minires.pretrained.files import named, read_at
from minires.pretrained.formats import read_file
from minires.pretrained.huggingface import said_beside
from minires.pretrained.keras_file import read_keras
from minires.pretrained.metadata import FORMAT, said
from minires.pretrained.npz_file import read_npz
from minires.pretrained.safetensors_file import read_safetensors

VALUES = (
    None, True, 0, -1, 0.5, 1e308, float("nan"), float("inf"), 2**31, 2**63, 2**64, 10**400, "", "a", "\x1b[2J",
    "\u202e", "\ud800", "../../etc/passwd", "/etc/passwd", "F64", "I4", [], {},
    [[]], [0], ["a", "a"], {"": {}}, [0.5, 0.5, 0.5],
    "x" * 5000,
)  # fmt: skip
HEADER = {
    "__metadata__": {"format": "pt"},
    **{f"layer{n}.weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [24 * n, 24 * n + 24]} for n in range(4)},
}
METADATA = {
    "model": "resnet20", "classes": ["cat", "dog"], "source": "minires", "assumed": ["maxpool"],
    "preprocessing": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "order": "RGB", "size": 32, "resize": 32},
    "options": {"shortcut": "A"}, "left_out": [],
}  # fmt: skip
BESIDE = {
    "config.json": {
        "id2label": {"0": "cat", "1": "dog"},
        "pretrained_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3, "input_size": [3, 32, 32], "crop_pct": 0.9},
    },
    "preprocessor_config.json": {
        "do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": {"shortest_edge": 40},
        "crop_size": {"height": 32, "width": 32}, "resample": 3, "crop_pct": 0.9, "rescale_factor": 1 / 255,
    },
    "model.safetensors.index.json": {"weight_map": {"a": "model-1.safetensors", "b": "model-1.safetensors"}},
}  # fmt: skip
SHARD = cases.safetensors(cases.HEADER, cases.A.tobytes() + cases.B.tobytes())


def changed(content, rng):
    """A copy of lists and dictionaries in which one to three values are others, or have another's name."""
    content = copy.deepcopy(content)
    for _ in range(rng.integers(1, 4)):
        place = content
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = keys[rng.integers(len(keys))]
            if isinstance(place[key], (dict, list)) and rng.random() < 0.8:
                place = place[key]
                continue
            value = copy.deepcopy(VALUES[rng.integers(len(VALUES))])
            if type(place[key]) is int and rng.random() < 0.5:
                value = place[key] + int(rng.integers(-8, 9))
            if isinstance(place, dict) and rng.random() < 0.2:
                place[str(VALUES[rng.integers(len(VALUES))])] = place.pop(key)
            else:
                place[key] = value
            break
    return content


def as_json(content, rng):
    """JSON of it, in a few cases with a name twice, or spoilt."""
    text = json.dumps(content)
    if rng.random() < 0.1 and text.startswith("{"):
        text = text[:-1] + ", " + text[1:] if len(text) > 2 else text
    data = text.encode()
    return spoilt(data, [data], rng) if rng.random() < 0.2 else data


def checked(read, path):
    """bounded(read), and the arrays that come out are arrays of numbers; nothing is started, written or reached."""

    def reading(path):
        state = read(path)[0]
        for key, array in state.items():
            assert isinstance(key, str) and array.dtype.kind in "fiub" and array.dtype.isnative, (
                key,
                array.dtype,
            )
            array.sum()

    with nothing_reached(path.parent), np.errstate(all="ignore"):
        return bounded(reading, path, allowed=(WeightsError,))


# Files with headers -----------------------------------------------------------------------------------------------


def headers(prepared, rng, number, folder):
    """A safetensors file whose header lies."""
    path = folder / "a.safetensors"
    content = rng.bytes(96)
    data = cases.safetensors(as_json(changed(HEADER, rng), rng), content)
    path.write_bytes(spoilt(data, [data], rng) if rng.random() < 0.2 else data)
    outcome = checked(read_safetensors, path)
    if outcome == "read":
        _as_the_packages_own_reader(path)
    return outcome


def _as_the_packages_own_reader(path):
    """What is read of a file is what the package of the format reads, if it reads it."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        theirs = load_file(path)
    except (SafetensorError, KeyError, ValueError, OverflowError, AttributeError):
        return
    ours = read_safetensors(path)[0]
    assert ours.keys() == theirs.keys(), f"other names: {sorted(ours)!a}, {sorted(theirs)!a}"
    assert all(np.array_equal(ours[key], theirs[key], equal_nan=ours[key].dtype.kind == "f") for key in ours)


def archives(prepared, rng, number, folder):
    """An .npz file, its entries or the archive spoilt."""
    kind, path = "npz", folder / "a.npz"
    data = cases.damaged(kind, random.Random(int(rng.integers(2**62))), folder / "sentinel")
    path.write_bytes(spoilt(data, [data], rng) if data and rng.random() < 0.3 else data)
    return checked(read_npz, path)


# HDF5 -------------------------------------------------------------------------------------------------------------


def keras_parts(folder):
    """Small files in Keras's layouts, and their bytes: never a whole network, but read a hundred times as fast."""
    part = dict(list(keras_files.network(50, classes=10).items())[:4])
    made = {}
    for name, layout in (
        ("named", keras_files.by_name),
        ("older", keras_files.by_older_name),
        ("numbered", keras_files.by_number),
    ):
        keras_files.write(folder / "a.h5", layout(part))
        made[name] = (folder / "a.h5").read_bytes()
    with h5py.File(folder / "b.h5", "w", libver="latest") as file:
        file.create_dataset("a/whole", data=np.arange(30, dtype="f4").reshape(5, 6))
        file.create_dataset(
            "a/packed", data=np.arange(30, dtype="f8").reshape(5, 6), compression="gzip", shuffle=True, chunks=(2, 4)
        )
        file.create_dataset("a/b/pieces", data=np.arange(30, dtype=">f2").reshape(5, 6), chunks=(5, 1))
        settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        settings.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((3,))
        small = h5py.Dataset(h5py.h5d.create(file.id, b"small", h5py.h5t.IEEE_F32LE, space, settings))
        small[...] = 1
    made["packed"] = (folder / "b.h5").read_bytes()
    return made


def hdf5(prepared, rng, number, folder):
    """A file in one of Keras's layouts, spoilt, packed by gzip or in an archive; HDF5 has a process of its own."""
    names = list(prepared)
    data = spoilt(prepared[names[number % len(names)]], list(prepared.values()), rng)
    path, way = folder / "a.h5", rng.integers(6)
    if way == 0:
        path.write_bytes(gzip.compress(data, 1))
    elif way == 1:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("model.weights.h5", data)
    else:
        path.write_bytes(data)
    reader = read_file if way == 0 else read_keras
    return bounded(reader, path, allowed=(WeightsError,))


def tables(prepared, rng, number, folder):
    """What HDF5 says of a file is spoilt, too: a file may have brought it to say anything."""
    path, data = folder / "b.h5", prepared["packed"]
    path.write_bytes(data if rng.random() < 0.5 else spoilt(data, [data], rng))
    with open(folder / "c.h5", "wb") as file:
        file.write(data)
    with open(folder / "c.h5", "rb") as file:
        answer = changed(json.loads(json.dumps(hdf5_table.answer(file))), rng)

    def read(path):
        with named(path), open(path, "rb") as file, mock.patch.object(hdf5_arrays, "_answer", lambda *_: answer):
            arrays = hdf5_arrays.stored_arrays(file)
            hdf5_arrays.check_storage(arrays, path.stat().st_size)
            found = [hdf5_arrays.read_array(each, partial(read_at, file)) for each in arrays]
            return {str(n): array.astype(array.dtype.newbyteorder("=")) for n, array in enumerate(found)}, {}

    return checked(read, path)


def _answers():
    """-> (bytes, an answer of HDF5 about arrays of every kind in them, one about a whole network in a larger file)."""
    numbers = np.arange(6, dtype="<f4")
    shuffled = np.frombuffer(numbers.tobytes(), np.uint8).reshape(6, 4).T.tobytes()
    pieces, content = [], numbers.tobytes()
    for number, piece in enumerate((zlib.compress(shuffled), shuffled)):  # the second did not go through gzip
        pieces.append([[0, 3 * number], len(content), len(piece), 2 * number])
        content += piece
    packed = {"shape": [2, 6], "dtype": "<f4", "chunks": [2, 3], "filters": [2, 1], "pieces": pieces}
    arrays = [
        {"name": "/whole", "shape": [2, 3], "dtype": "<f4", "offset": 0, "size": 24},
        {"name": "/packed", **packed},
        {"name": "/small", "shape": [3], "dtype": ">f8", "content": base64.b64encode(bytes(24)).decode()},
        {"name": "/empty", "shape": [0], "dtype": "<f2", "offset": None, "size": 0},
    ]
    network, end = [], 0
    for name, (_, shape) in keras_files.by_number(keras_files.network(50, classes=10)).items():
        size = 2 * math.prod(shape)
        network.append({"name": f"/{name}", "shape": shape, "dtype": "<f2", "offset": end, "size": size})
        end += size
    return content, {"arrays": arrays}, {"arrays": network}


CONTENT, ANSWER, ANSWER_OF_NETWORK = _answers()
REFUSALS = (
    {"refused": "/a has another name in the file, too"},
    {"damaged": "file signature not found"},
    {"arrays": [{"name": "/a", "shape": None, "dtype": None, "odd": "no numbers"}]},
)


def _answered(read):
    """Reads what the process that asks HDF5 would write, about a small file that is always the same."""

    def reading(path):
        done = subprocess.CompletedProcess([], 0, path.read_bytes())
        place = path.with_name("answered.h5")
        place.write_bytes(CONTENT)
        with mock.patch.object(subprocess, "run", lambda *_, **__: done):
            return bounded(read, place, allowed=(WeightsError,))

    return reading


def _stored(path):
    """The arrays of a file, in whatever network."""
    with named(path), open(path, "rb") as file:
        arrays = hdf5_arrays.stored_arrays(file)
        hdf5_arrays.check_storage(arrays, path.stat().st_size)
        for each in arrays:
            assert hdf5_arrays.read_array(each, partial(read_at, file)).shape == each.shape


# What stands beside the arrays ------------------------------------------------------------------------------------


def folders(prepared, rng, number, folder):
    """A folder of Hugging Face whose files contradict each other, name others, or are no JSON."""
    place = folder / "model"
    place.mkdir()
    (place / "model-1.safetensors").write_bytes(SHARD)
    for name, content in BESIDE.items():
        if rng.random() < 0.8:
            (place / name).write_bytes(as_json(changed(content, rng) if rng.random() < 0.6 else content, rng))
    if rng.random() < 0.2:
        (place / "link.safetensors").symlink_to(
            rng.choice(["/etc/passwd", "..", "link.safetensors", "model-1.safetensors"])
        )
    (folder / "secret").write_bytes(SHARD)

    def read(path):
        state, info, _ = read_file(path)
        _sensible(info)
        assert set(state) <= {"a", "b"}
        return state, info

    return checked(read, place)


def metadata(prepared, rng, number, folder):
    """What a file says of its preprocessing and classes, changed: it is sensible, or refused."""
    texts = as_json(changed(METADATA, rng), rng).decode("utf-8", "replace")

    def read(path):
        _sensible(said(path, {"format": FORMAT, "minires": texts}))
        return {}, {}

    return checked(read, folder / "a.safetensors")


def _sensible(info):
    fields = {"mean": (0.0,) * 3, "std": (1.0,) * 3, **info.get("preprocessing", {})}
    preprocessing = Preprocessing(**fields)
    assert np.isfinite([*preprocessing.mean, *preprocessing.std]).all() and 1 <= preprocessing.size <= 10_000
    names = info.get("classes") or []
    assert isinstance(names, list) and all(isinstance(name, str) for name in names)
    json.dumps(info.get("preprocessing"), allow_nan=False)


def _nothing(folder):
    return None


def _fuzzed(read):
    return lambda path: bounded(read, path, allowed=(WeightsError,))


def _beside(path):
    place = path.parent / "folder"
    place.mkdir(exist_ok=True)
    for name in ("config.json", "preprocessor_config.json"):
        (place / name).write_bytes(path.read_bytes())
    return _sensible(said_beside(place))


FUZZ = {
    "safetensors": Target(
        lambda: [cases.GOOD["safetensors"], cases.safetensors(HEADER, bytes(96))], _fuzzed(read_safetensors)
    ),
    "npz": Target(lambda: [cases.GOOD["npz"]], _fuzzed(read_npz)),
    "HDF5's answers": Target(
        lambda: [json.dumps(answer).encode() for answer in (ANSWER, *REFUSALS)], _answered(_stored)
    ),
    "HDF5's answers of networks": Target(lambda: [json.dumps(ANSWER_OF_NETWORK).encode()], _answered(read_keras)),
    "what stands beside": Target(
        lambda: [json.dumps(content).encode() for content in BESIDE.values()], _fuzzed(_beside)
    ),
}
_PROMISE = "arrays of numbers, or a refusal in a sentence, within the bounds; nothing is started, written or reached"
ATTACKS = [
    Attack("headers of safetensors", f"{_PROMISE}; what is read is what the package safetensors reads",
           _nothing, headers, 30_000, 200),
    Attack("spoilt npz", _PROMISE, _nothing, archives, 20_000, 150),
    Attack("spoilt HDF5", "a network, or a refusal in a sentence, within the bounds, whatever HDF5 does with the file",
           keras_parts, hdf5, 2_000, 4),
    Attack("tables of HDF5", _PROMISE, keras_parts, tables, 10_000, 80),
    Attack("folders of weights", f"{_PROMISE}; preprocessing and classes that make sense", _nothing, folders,
           15_000, 100),
    Attack("metadata", "preprocessing and classes that make sense, or a refusal in a sentence", _nothing, metadata,
           20_000, 200),
]  # fmt: skip
