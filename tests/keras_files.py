"""Files in Keras's layouts, made with h5py alone.

Arrays are holes in the file (zeros that take no disk), but for two numbers that no other array has: n first and
n + 1/2 last.
"""

import re

import h5py
import numpy as np

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
NORM = ("gamma", "beta", "moving_mean", "moving_variance")
BEFORE_KERAS_2 = {"kernel": "W", "bias": "b", "moving_mean": "running_mean", "moving_variance": "running_std"}
OURS = {"kernel": "weight", "gamma": "weight", "beta": "bias", "moving_mean": "running_mean"}
OURS["moving_variance"] = "running_var"


def network(depth, classes=None, head="predictions"):
    """{layer: {array: shape}} of keras.applications' ResNet, in the order of its model.layers."""
    layers = {}

    def convolution(name, *kernel):
        layers[f"{name}_conv"] = {"kernel": kernel, "bias": kernel[-1:]}
        layers[f"{name}_bn"] = {array: kernel[-1:] for array in NORM}

    convolution("conv1", 7, 7, 3, 64)
    before = 64
    for stage, blocks in enumerate(BLOCKS[depth], start=2):
        middle = 2 ** (stage + 4)
        for block in range(1, blocks + 1):
            name = f"conv{stage}_block{block}"
            convolution(f"{name}_1", 1, 1, before, middle)
            convolution(f"{name}_2", 3, 3, middle, middle)
            if block == 1:
                convolution(f"{name}_0", 1, 1, before, 4 * middle)
            convolution(f"{name}_3", 1, 1, middle, 4 * middle)
            before = 4 * middle
    if classes:
        layers[head] = {"kernel": (2048, classes), "bias": (classes,)}
    return layers


def key(layer, array):
    """conv2_block1_0_conv, kernel -> layer1.0.downsample.0.weight"""
    array = OURS.get(array, array)
    match = re.fullmatch(r"conv(\d)_block(\d+)_(\d)_(conv|bn)", layer)
    if not match:
        return f"{dict(conv1_conv='conv1', conv1_bn='bn1').get(layer, 'fc')}.{array}"
    stage, block, number, kind = match.groups()
    place = kind + number if number != "0" else {"conv": "downsample.0", "bn": "downsample.1"}[kind]
    return f"layer{int(stage) - 1}.{int(block) - 1}.{place}.{array}"


# Layouts: {path in the file: (key, shape)} ------------------------------------------------------------------------


def by_name(layers, inside=""):
    """As weights files since 2019; inside: "model_weights/" for whole models."""
    arrays = [(layer, array) for layer in layers for array in layers[layer]]
    return {f"{inside}{layer}/{layer}/{array}:0": (key(layer, array), layers[layer][array]) for layer, array in arrays}


def by_older_name(layers):
    """As weights files before 2019, with Keras 1's names of arrays."""
    paths = {}
    for layer, arrays in layers.items():
        older = dict(conv1_conv="conv1", conv1_bn="bn_conv1", predictions="fc1000").get(layer, layer)
        match = re.fullmatch(r"conv(\d)_block(\d)_(\d)_(conv|bn)", layer)
        if match:
            stage, block, number, kind = match.groups()
            branch = {"0": "1", "1": "2a", "2": "2b", "3": "2c"}[number]
            older = f"{'res' if kind == 'conv' else 'bn'}{stage}{' abcdef'[int(block)]}_branch{branch}"
        for array, shape in arrays.items():
            paths[f"{older}/{older}_{BEFORE_KERAS_2.get(array, array)}_1:0"] = key(layer, array), shape
    return paths


def by_number(layers, inside=""):
    """As Keras 3's .weights.h5; inside: "layers/functional/" for a network in another model."""
    paths, numbers = {}, {}
    for layer, arrays in layers.items():
        kind = {4: "batch_normalization"}.get(len(arrays), "conv2d" if "conv" in layer else "dense")
        number = numbers[kind] = numbers.get(kind, -1) + 1
        folder = f"{inside}layers/{kind}{f'_{number}' if number else ''}/vars"
        paths |= {f"{folder}/{i}": (key(layer, array), arrays[array]) for i, array in enumerate(arrays)}
    return paths


# Writing ----------------------------------------------------------------------------------------------------------


def write(path, paths, dtype=np.float16):
    """Write a file of these arrays. -> {key: (shape, first number, last number)}"""
    plain = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plain.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plain.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    written = {}
    with h5py.File(path, "w") as file:
        for number, (name, (key, shape)) in enumerate(paths.items()):
            dataset = file.create_dataset(name, shape, dtype, dcpl=plain)
            dataset[(0,) * len(shape)], dataset[tuple(n - 1 for n in shape)] = number, number + 0.5
            written[key] = shape, number, number + 0.5
    return written
