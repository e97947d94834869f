"""The ResNets of keras.applications from Keras's HDF5 files, read without Keras.

An array's path says what it is, in every layout that Keras has written:

    conv2_block1_0_conv/conv2_block1_0_conv/kernel:0    by layers' names; whole models have them in model_weights/,
                                                        Keras 3 leaves out :0, and a network that is a layer of
                                                        another has resnet50/conv2_block1_0_conv/kernel:0
    res2a_branch1/res2a_branch1_W:0                     by the names that ResNet-50's layers had before 2019
    layers/conv2d_3/vars/0                              by number (.weights.h5): the fourth convolution in the order
                                                        of model.layers, where a projection stands before the last
                                                        convolution of its block

An archive of Keras 3 (.keras) has the last of these in it, beside config.json and metadata.json. Nothing in a file is
run; the description of the model in it is not even read.
"""

import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from minires.names import misfits, some
from minires.pretrained.errors import WeightsError
from minires.pretrained.files import opened, read_at, size_of
from minires.pretrained.hdf5_arrays import check_storage, read_array, stored_arrays
from minires.pretrained.kinds import zip_archive
from minires.pretrained.zip_file import open_zip, read_entry

BLOCKS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3), "resnet152": (3, 8, 36, 3)}
FEATURES = 2048
EPSILON, OLDER_EPSILON = 1.001e-5, 1e-3
ARCHIVED = "model.weights.h5"  # in an archive of Keras 3
_ENDINGS = {
    **dict.fromkeys(("kernel", "W", "gamma"), "weight"),
    **dict.fromkeys(("bias", "b", "beta"), "bias"),
    **dict.fromkeys(("moving_mean", "running_mean"), "running_mean"),
    **dict.fromkeys(("moving_variance", "running_std"), "running_var"),  # a variance, whatever its name
}
_NUMBERED = {"0": "weight", "1": "bias", "2": "running_mean", "3": "running_var"}
_AXES = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}  # (KH, KW, I, O) -> (O, I, KH, KW); (in, out) -> (out, in)
_NO_LAYERS = ("optimizer", "optimizer_weights", "metrics")


def read_keras(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """-> (state, info) of a ResNet-50, 101 or 152 (v1) of keras.applications, with or without its head.

    state: {key: array} under PyTorch's names and shapes: conv1.weight (O, I, KH, KW), conv1.bias, bn1.weight, bn1.bias,
    bn1.running_mean, bn1.running_var, layer1.0.conv1.weight, ..., layer1.0.downsample.0.weight, ..., fc.weight
    (classes, 2048), fc.bias; float32, or float64 where the file has that.
    info: "architecture" (resnet50, resnet101 or resnet152), "variant" ("keras"), "classes" (None without a head),
    "source" (the file's layout).

    The head is the one Dense layer beside the network's own layers, whatever its name. Files with the names of before
    2019 belong to networks whose batch norms had epsilon 1e-3 in place of 1.001e-5: running_var is given the
    difference, which makes inference the same.
    Raises WeightsError for a file that is missing, damaged or of other layers, and for arrays that it does not hold
    whole, as Keras writes them, or in chunks packed by gzip within the bounds of `hdf5_arrays.check_storage`.
    """
    with opened(path) as file:
        if file.read(2) != b"PK":
            return _read(_layers(stored_arrays(file, _NO_LAYERS)), size_of(file), partial(read_at, file))
        content = _archived(file)
        return _read(_layers(stored_arrays(content, _NO_LAYERS)), len(content), partial(_part, content))


def _archived(file):
    """uint8 (size,): the HDF5 file in an archive of Keras 3."""
    with open_zip(file) as archive:
        if ARCHIVED not in archive.namelist():
            raise WeightsError(zip_archive(archive.namelist()))
        return read_entry(archive, ARCHIVED)


def _part(content, start, count):
    """As `read_at`, of bytes in memory that check_storage has looked at."""
    return content[start : start + count]


def _read(layers, size, fetch):
    """-> (state, info) from {layer: {name: stored array}} in a file of `size` bytes, which `fetch` gives."""
    since = _older_names()
    older = not layers.keys().isdisjoint(since)
    layers = {since.get(layer, layer): arrays for layer, arrays in layers.items()}
    by_name = not layers.keys().isdisjoint(_places("resnet152"))
    if not by_name:
        layers = _named_by_order(layers)
    architecture = min(BLOCKS, key=lambda name: len(layers.keys() ^ _places(name).keys()))
    datasets, classes = _fitted(layers, architecture)
    check_storage(datasets.values(), size)
    state = {key: _converted(dataset, fetch) for key, dataset in datasets.items()}
    if older:
        for key in [key for key in state if key.endswith("running_var")]:
            state[key] += OLDER_EPSILON - EPSILON
    source = f"keras, layers by {'name (before 2019)' if older else 'name' if by_name else 'order'}"
    return state, {"architecture": architecture, "variant": "keras", "classes": classes, "source": source}


# The network ----------------------------------------------------------------------------------------------------


def _places(architecture):
    """{Keras's layer: (ours, shape of its first array)} in the order of Keras's model, its head aside."""
    places = {"conv1_conv": ("conv1", (64, 3, 7, 7)), "conv1_bn": ("bn1", (64,))}
    in_channels = 64
    for stage, blocks in enumerate(BLOCKS[architecture], start=1):
        channels, out_channels = 32 * 2**stage, 128 * 2**stage
        for block in range(blocks):
            theirs, ours = f"conv{stage + 1}_block{block + 1}", f"layer{stage}.{block}"
            convolutions = {
                "1": (f"{ours}.conv1", f"{ours}.bn1", (channels, in_channels, 1, 1)),
                "2": (f"{ours}.conv2", f"{ours}.bn2", (channels, channels, 3, 3)),
                "0": (f"{ours}.downsample.0", f"{ours}.downsample.1", (out_channels, in_channels, 1, 1)),
                "3": (f"{ours}.conv3", f"{ours}.bn3", (out_channels, channels, 1, 1)),
            }
            if block > 0:
                del convolutions["0"]
            for number, (convolution, norm, shape) in convolutions.items():
                places[f"{theirs}_{number}_conv"] = (convolution, shape)
                places[f"{theirs}_{number}_bn"] = (norm, shape[:1])
            in_channels = out_channels
    return places


def _shapes(architecture):
    """{our key: shape} of all that a file must hold: weight and bias of each layer, a norm's running statistics."""
    shapes: dict = {}
    for ours, shape in _places(architecture).values():
        shapes |= {f"{ours}.weight": shape, f"{ours}.bias": shape[:1]}
        if len(shape) == 1:
            shapes |= {f"{ours}.running_mean": shape, f"{ours}.running_var": shape}
    return shapes


def _older_names():
    """{name before 2019: name since} of ResNet-50's layers."""
    names = {"conv1": "conv1_conv", "bn_conv1": "conv1_bn"}
    for stage, blocks in enumerate(BLOCKS["resnet50"], start=2):
        for block in range(blocks):
            for branch, number in {"2a": 1, "2b": 2, "2c": 3, "1": 0}.items():
                older, since = f"{stage}{'abcdef'[block]}_branch{branch}", f"conv{stage}_block{block + 1}_{number}"
                names |= {f"res{older}": f"{since}_conv", f"bn{older}": f"{since}_bn"}
    return names


# The file -------------------------------------------------------------------------------------------------------


def _layers(stored):
    """{layer: {our name: stored array}} of all but whole numbers (random generators' states)."""
    known = _places("resnet152").keys() | _older_names().keys()
    layers: dict = {}
    for item in stored:
        *folders, last = item.name.removeprefix("/").split("/")
        if item.dtype is not None and np.dtype(item.dtype).kind in "iu":
            continue
        layer = next((folder for folder in folders if folder in known), "/".join(folders))
        arrays = layers.setdefault(layer, {})
        ours = _our_name(last)
        if ours in arrays:
            raise WeightsError(f"{arrays[ours].name} and {item.name} are both {ours} of one layer: save one network")
        arrays[ours] = item
    return layers


def _our_name(theirs):
    """kernel:0, res2a_branch2a_W_1:0 or 0 -> weight."""
    bare = re.sub(r"(_\d+)?(:0)?$", "", theirs)
    return _NUMBERED.get(bare) or next((ours for end, ours in _ENDINGS.items() if bare.endswith(end)), bare)


def _named_by_order(layers):
    """The layers under Keras's names: the nth convolution of the file is the nth of the network, as is the nth norm."""
    numbered = sorted((layer for layer in layers if layer.endswith("/vars")), key=_number)
    convolutions = [layer for layer in numbered if _dimensions(layers[layer]) == 4]
    norms = [layer for layer in numbered if "running_mean" in layers[layer]]
    for architecture in BLOCKS:
        names = list(_places(architecture))  # a convolution, its norm, a convolution, its norm, ...
        if len(names) == 2 * len(convolutions):
            renamed = dict(zip(convolutions, names[::2], strict=True)) | dict(zip(norms, names[1::2], strict=False))
            return {renamed.get(layer, layer): arrays for layer, arrays in layers.items()}
    raise WeightsError(
        f"holds {some(layers, 5) or 'no arrays'}: only ResNet-50, 101 and 152 (v1) of keras.applications are read"
    )


def _number(layer):
    """layers/conv2d_3/vars -> 3, layers/conv2d/vars -> 0."""
    match = re.search(r"_(\d+)/vars$", layer)
    return int(match[1]) if match else 0


def _dimensions(arrays):
    return len(arrays["weight"].shape) if "weight" in arrays else 0


# Its arrays -----------------------------------------------------------------------------------------------------


def _fitted(layers, architecture):
    """-> ({our key: dataset}, classes): all that the network needs, in its shapes, and nothing besides."""
    places, shapes, classes = _places(architecture), _shapes(architecture), None
    found = {f"{places[layer][0]}.{name}": layers[layer][name] for layer in places for name in layers.get(layer, ())}
    others = [layer for layer in layers if layer not in places]
    if len(others) == 1 and _dimensions(layers[others[0]]) == 2:
        head = layers[others.pop()]
        classes = head["weight"].shape[1]
        found |= {f"fc.{name}": dataset for name, dataset in head.items()}
        shapes |= {"fc.weight": (classes, FEATURES), "fc.bias": (classes,)}
    got = dict.fromkeys(others) | {key if key in shapes else d.name: _our_shape(d) for key, d in found.items()}
    if problems := misfits(got, shapes, "the model", most=5):
        raise WeightsError(
            f"does not fit {architecture} ({problems}): save the network with one Dense layer as its head, or none"
        )
    return found, classes


def _our_shape(dataset):
    return tuple(dataset.shape[axis] for axis in _AXES.get(len(dataset.shape), range(len(dataset.shape))))


def _converted(dataset, fetch):
    """The array in PyTorch's order of axes."""
    dtype = np.promote_types(np.dtype(dataset.dtype), np.float32)
    return np.ascontiguousarray(read_array(dataset, fetch).transpose(_AXES[len(dataset.shape)]), dtype)
