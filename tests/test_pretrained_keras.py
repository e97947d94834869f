"""Keras's files: what is read is what Keras saved, in every layout; what is no such file is refused with a sentence."""

import os
import re
import shutil
import struct
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from minires.models import resnet50
from minires.modes import no_grad
from minires.pretrained import hdf5_arrays, hdf5_table
from minires.pretrained.errors import WeightsError
from minires.pretrained.keras_file import read_keras

h5py = pytest.importorskip("h5py", reason="h5py, of the extra convert, is not installed")
from keras_files import NORM, by_name, by_number, by_older_name, key, network, write  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own
WHOLE = network(50, classes=10)
PART, HEAD = dict(list(WHOLE.items())[:4]), WHOLE["predictions"]
KERNEL_ARRAY = np.random.default_rng(0).standard_normal((3, 3, 512, 512)).astype("f4")
KERNEL = "conv5_block1_2_conv/conv5_block1_2_conv/kernel:0"


# What Keras itself writes -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keras():
    """Keras, on PyTorch unless KERAS_BACKEND names another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", os.environ.get("KERAS_BACKEND", "torch"))
        try:
            import keras
        except ImportError as error:
            pytest.skip(f"Keras cannot be imported ({error})")
    return keras


@pytest.fixture(scope="module")
def network_of_keras(keras):
    """keras.applications' ResNet50 without softmax; weights, biases and statistics are all of some consequence."""
    model = keras.applications.ResNet50(weights=None, input_shape=(64, 64, 3), classes=10, classifier_activation=None)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        weights = layer.get_weights()
        if len(weights) == 4:
            C = len(weights[0])
            layer.set_weights(
                [rng.uniform(0.3, 0.7, C), rng.normal(0, 0.3, C), rng.normal(0, 0.3, C), rng.uniform(0.5, 2, C)]
            )
        elif weights:
            layer.set_weights([weights[0], rng.normal(0, 0.3, weights[1].shape)])
    return model


@pytest.fixture(scope="module")
def saved(network_of_keras, tmp_path_factory):
    """{name: what read_keras makes of the file that Keras has saved under it}"""
    folder = tmp_path_factory.mktemp("saved")
    network_of_keras.save_weights(folder / "a.weights.h5")
    network_of_keras.save(folder / "a.h5")
    network_of_keras.save(folder / "a.keras")
    return {path.name: read_keras(path) for path in folder.iterdir()}


@pytest.mark.parametrize(("name", "source"), [("a.weights.h5", "order"), ("a.h5", "name"), ("a.keras", "order")])
def test_what_keras_saves_is_what_is_read(network_of_keras, saved, name, source):
    state, info = saved[name]
    source = f"keras, layers by {source}"
    assert info == {"architecture": "resnet50", "variant": "keras", "classes": 10, "source": source}
    expected = {}
    for layer in network_of_keras.layers:
        weights = layer.get_weights()
        arrays = NORM if len(weights) == 4 else ("kernel", "bias")
        expected |= {key(layer.name, array): weight for array, weight in zip(arrays, weights, strict=False)}
    assert set(state) == set(expected)
    for name, weight in expected.items():
        np.testing.assert_array_equal(state[name], np.transpose(weight, (3, 2, 0, 1) if weight.ndim == 4 else None))
        assert state[name].dtype == np.float32
        assert state[name].flags.c_contiguous


def test_logits_are_those_of_keras(network_of_keras, saved):
    state, info = saved["a.weights.h5"]
    model = resnet50(info["classes"], variant=info["variant"]).load_state_dict(state).eval()
    x = np.random.default_rng(1).standard_normal((2, 64, 64, 3)).astype(np.float32)
    with no_grad():
        logits, _ = model(x)
    expected = network_of_keras.predict_on_batch(x)
    assert np.ptp(expected) > 0.5
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)


# Layouts ----------------------------------------------------------------------------------------------------------


def seen(state):
    """As keras_files.write tells it: {key: (the file's shape, first number, last number)}."""
    axes = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}
    return {name: (a.transpose(axes[a.ndim]).shape, a.flat[0], a.flat[-1]) for name, a in state.items()}


@pytest.mark.parametrize(
    ("paths", "stored", "architecture", "classes"),
    [
        (by_name(network(50, 7), "model_weights/"), "<f8", "resnet50", 7),
        (by_name(network(50), "resnet50/") | by_name({"mine": HEAD}), ">f4", "resnet50", 10),
        (by_number(network(50), "layers/functional/") | by_number({"mine": HEAD}), "<f4", "resnet50", 10),
        (by_number(network(101)), "<f2", "resnet101", None),
        (by_name(network(152, 7)), "<f2", "resnet152", 7),
    ],
    ids=["whole model", "in another model", "in another model, by number", "101 by number, no head", "152"],
)
def test_layouts(tmp_path, paths, stored, architecture, classes):
    written = write(tmp_path / "a.h5", paths, stored)
    with h5py.File(tmp_path / "a.h5", "a") as file:  # what stands in such files besides
        file["optimizer/vars/1"] = file["optimizer_weights/adam/kernel"] = np.zeros((2048, 10), np.float32)
        file["metrics/mean/vars/0"] = np.float32(1)
        file["layers/dropout/seed_generator/vars/0"] = np.zeros(2, np.uint32)
    state, info = read_keras(tmp_path / "a.h5")
    assert seen(state) == written
    assert {array.dtype for array in state.values()} == {np.dtype("f8" if stored == "<f8" else "f4")}
    assert (info["architecture"], info["classes"]) == (architecture, classes)


def test_names_before_2019(tmp_path):
    """running_var + 1.001e-5 is what running_var + 1e-3 was."""
    written = write(tmp_path / "a.h5", by_older_name(WHOLE))
    state, info = read_keras(tmp_path / "a.h5")
    assert info["source"] == "keras, layers by name (before 2019)"
    for name, array in state.items():
        if name.endswith("running_var"):
            np.testing.assert_allclose(array[[0, -1]] + 1.001e-5, np.add(written[name][1:], 1e-3), rtol=0, atol=3e-5)
            state[name] = array.round(1)
    assert seen(state) == written


# What is refused --------------------------------------------------------------------------------------------------


def refusal(path):
    with pytest.raises(WeightsError) as caught:
        read_keras(path)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ({}, "holds no arrays: only ResNet-50, 101 and 152"),
        (
            {f"block{i}_conv1/block{i}_conv1/kernel:0": ("", (3, 3, 4, 4)) for i in range(7)},
            "holds block0_conv1/block0_conv1, .* and 2 more: only ResNet-50",
        ),
        (by_number(network(50) | {"one_conv": WHOLE["conv1_conv"]}), "holds layers/batch_norm.*: only ResNet-50"),
        (
            {path: arrays for path, arrays in by_name(WHOLE).items() if "conv1_bn/gamma" not in path},
            r"does not fit resnet50 \(missing: bn1.weight\): save the network with one Dense",
        ),
        (
            by_name(WHOLE) | {KERNEL: ("", (3, 3, 512, 4))},
            r"resnet50 \(misshapen: layer4.0.conv2.weight has \(4, 512, 3, 3\), the model \(512, 512, 3, 3\)\)",
        ),
        (by_name(network(50) | {"head": {"kernel": (2048, 3)}}), r"\(missing: fc.bias\)"),
        (by_name(PART | {"head": {"kernel": (512, 3), "bias": (3,)}}), r"misshapen: fc.weight has \(3, 512\)"),
        (by_name(PART | {"head": HEAD, "more": HEAD}), r"unexpected: head/head, more/more\)"),
        (by_name(PART | {"mean": {"kernel": (3,)}}), r"unexpected: mean/mean\)"),
        (by_name(PART) | {"conv1_bn/extra": ("", (64,))}, r"unexpected: /conv1_bn/extra\)"),
        (by_name(PART) | by_name(PART, "other/"), "are both bias of one layer: save one network"),
    ],
)
def test_other_layers(tmp_path, paths, message):
    write(tmp_path / "a.h5", paths)
    assert re.search(message, refusal(tmp_path / "a.h5"))


def test_a_resnet_of_version_2(tmp_path):
    """It norms before it convolves, and most of its convolutions have no biases."""
    layers = {f"conv2_block{i}_preact_bn": WHOLE["conv1_bn"] for i in (1, 2, 3)} | WHOLE
    del layers["conv1_bn"]
    write(tmp_path / "a.h5", by_name(layers))
    message = refusal(tmp_path / "a.h5")
    assert "missing: bn1.weight, bn1.bias, bn1.running_mean, bn1.running_var;" in message
    assert "unexpected: conv2_block1_preact_bn" in message


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("keras") / "whole.h5"
    write(path, by_name(WHOLE))
    return path


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ({"external": "/dev/zero", "dtype": "f4"}, "is in another file, which Keras never does"),
        ({"dtype": "f4"}, f"/{KERNEL} is not whole"),
        ({"dtype": "f4", "chunks": (3, 3, 256, 256)}, f"/{KERNEL} is not whole"),
        ({"dtype": "S4"}, f"/{KERNEL} holds no numbers: give numbers"),
        ({"dtype": "i4"}, r"\(missing: layer4.0.conv2.weight\)"),
        ({"compression": "lzf", "data": KERNEL_ARRAY}, f"/{KERNEL} is packed by another method than gzip"),
        ({"fletcher32": True, "data": KERNEL_ARRAY}, f"/{KERNEL} is packed by another method than gzip"),
        ({"chunks": (3, 3, 1, 1), "dtype": "f4"}, "are cut into 262,144 chunks, more than 100,000"),
        ({"chunks": (3, 3, 512, 16384), "maxshape": (None,) * 4, "dtype": "f4"}, "would unpack to 301,989,888 bytes"),
        (
            {"chunks": (3, 3, 2**13, 2**13), "maxshape": (None,) * 4, "dtype": "f4"},
            "would unpack to 2,415,919,104 bytes",
        ),
    ],
)
def test_what_is_not_stored_as_keras_does(whole, tmp_path, stored, message):
    shutil.copy(whole, tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file[KERNEL]
        file.create_dataset(KERNEL, (3, 3, 512, 512), **stored)
    assert re.search(message, refusal(tmp_path / "a.h5"))


@pytest.mark.parametrize(
    "stored",
    [
        {"compression": "gzip"},
        {"compression": "gzip", "chunks": (2, 3, 100, 300)},
        {"compression": "gzip", "shuffle": True, "dtype": ">f8"},
        {"compression": "gzip", "dtype": "f2"},
        {"chunks": (3, 3, 512, 100)},
        {"shuffle": True, "chunks": (1, 3, 512, 512)},
    ],
)
def test_arrays_in_chunks_and_packed_by_gzip(whole, tmp_path, stored):
    shutil.copy(whole, tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file[KERNEL]
        file.create_dataset(KERNEL, data=KERNEL_ARRAY, **stored)
        expected = file[KERNEL][()]
    state, _ = read_keras(tmp_path / "a.h5")
    np.testing.assert_array_equal(state["layer4.0.conv2.weight"].transpose(2, 3, 1, 0), expected)


def test_packed_arrays_stay_within_bounds(tmp_path):
    """Each array of a network of 170 MB is a few bytes of gzip."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for path, (_, shape) in by_name(network(101)).items():
            file.create_dataset(path, shape, np.float32, compression="gzip", chunks=shape)
    assert re.search("would unpack to 170,[0-9,]* bytes, more than ", refusal(tmp_path / "a.h5"))


def test_a_chunk_that_unpacks_to_more_than_its_array(whole, tmp_path):
    bomb = zlib.compress(bytes(9 * 512 * 512 * 4 + 1))
    shutil.copy(whole, tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file[KERNEL]
        kernel = file.create_dataset(KERNEL, (3, 3, 512, 512), "f4", compression="gzip", chunks=(3, 3, 512, 512))
        kernel.id.write_direct_chunk((0, 0, 0, 0), bomb)
    assert f"/{KERNEL} has a chunk that unpacks to more than its 9,437,184 bytes" in refusal(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file[KERNEL].id.write_direct_chunk((0, 0, 0, 0), zlib.compress(bytes(100)))
    assert f"/{KERNEL} has a chunk of 100 bytes, not 9,437,184" in refusal(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file[KERNEL].id.write_direct_chunk((0, 0, 0, 0), b"no gzip")
    assert "damaged" in refusal(tmp_path / "a.h5")


def archive(path, name="model.weights.h5", content=b"", method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("config.json", "{}")
        file.writestr(name, content)


def test_archives_of_keras_3(whole, tmp_path):
    archive(tmp_path / "a.keras", content=whole.read_bytes())
    state, info = read_keras(tmp_path / "a.keras")
    assert info["architecture"] == "resnet50" and len(state) == 320
    archive(tmp_path / "a.keras")
    assert refusal(tmp_path / "a.keras").startswith("damaged or no HDF5 file (")
    archive(tmp_path / "a.keras", name="variables.h5")
    assert "is a zip archive of 'variables.h5' and so on; unpack it" in refusal(tmp_path / "a.keras")
    archive(tmp_path / "a.keras", content=bytes(2**28), method=zipfile.ZIP_DEFLATED)
    assert "would unpack to 268435458 bytes, more than the " in refusal(tmp_path / "a.keras")


@pytest.mark.parametrize("link", [h5py.SoftLink("/conv1_conv"), h5py.ExternalLink("whole.h5", "/conv5_block1_2_conv")])
def test_links_are_not_followed(whole, tmp_path, link):
    shutil.copy(whole, tmp_path / "a.h5")
    shutil.copy(whole, tmp_path / "whole.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file["conv5_block1_2_conv"]
        file["conv5_block1_2_conv"] = link
    assert "missing: layer4.0.conv2.weight, layer4.0.conv2.bias)" in refusal(tmp_path / "a.h5")


def test_arrays_that_share_their_bytes(tmp_path):
    """A small file whose arrays all lie in the same place would be a network of 94 MB."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for path, (_, shape) in by_name(WHOLE).items():
            file.create_dataset(path, shape, np.float32)
        file["bytes"] = np.zeros((3, 3, 512, 512), np.int32)
        place = file["bytes"].id.get_offset()
    content = (tmp_path / "a.h5").read_bytes()
    contiguous = b"\x03\x01"  # of the layout message, version 3; then the address, where 8 times ff is none
    (tmp_path / "a.h5").write_bytes(content.replace(contiguous + 8 * b"\xff", contiguous + struct.pack("<Q", place)))
    assert re.search("lies where another array does", refusal(tmp_path / "a.h5"))


def test_a_file_of_very_many_groups(tmp_path):
    """Each of them would take a quarter of a millisecond and 15 kB in HDF5."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for number in range(hdf5_table.MOST_OBJECTS + 1):
            file.create_group(str(number))
    assert "has too many groups and arrays" in refusal(tmp_path / "a.h5")


def test_what_an_optimizer_keeps_does_not_count(whole, tmp_path):
    shutil.copy(whole, tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        for number in range(hdf5_table.MOST_OBJECTS + 1):
            file.create_group(f"optimizer_weights/{number}")
    assert len(read_keras(tmp_path / "a.h5")[0]) == 320


def test_groups_in_each_other(tmp_path):
    """3,000 levels took half a minute: each name holds all those above it."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        group = file
        for _ in range(3000):
            group = group.create_group("a")
    assert "its groups lie in each other more than 32 levels deep" in refusal(tmp_path / "a.h5")


@pytest.mark.parametrize("what", ["/", "/conv1_conv", f"/{KERNEL}"])
def test_two_names_for_one_thing(whole, tmp_path, what):
    """A hard link: a circle of groups, or one array for two layers. Keras writes none."""
    shutil.copy(whole, tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["another"] = file[what]
    assert "has another name in the file, too" in refusal(tmp_path / "a.h5")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
@pytest.mark.parametrize("kind", ["virtual", "external"])
def test_arrays_in_other_files_are_not_looked_for(tmp_path, kind):
    """The other file is a pipe: whoever opens it waits without end. HDF5 does, to know a virtual array's shape."""
    other = tmp_path / "other.h5"
    with h5py.File(tmp_path / "a.h5", "w", libver="latest") as file:
        if kind == "external":
            file.create_dataset("conv1_conv/kernel:0", (10,), "f4", external=str(other))
        else:
            layout = h5py.VirtualLayout((10, 4), "f4", maxshape=(None, 4))
            source = h5py.VirtualSource(str(other), "d", (10, 4), maxshape=(None, 4))
            layout[0 : h5py.h5s.UNLIMITED, :] = source[0 : h5py.h5s.UNLIMITED, :]
            file.create_virtual_dataset("conv1_conv/kernel:0", layout)
    os.mkfifo(other)
    assert "/conv1_conv/kernel:0 is in another file" in refusal(tmp_path / "a.h5")


def test_a_process_that_crashes_hangs_or_takes_all_memory_is_a_damaged_file(whole, tmp_path, monkeypatch):
    """What the library in C may do with a damaged file, done here by a few lines in the place of hdf5_table."""
    monkeypatch.setattr(hdf5_arrays, "SECONDS", 1)
    limited = "import sys; sys.path[:0] = [PATH]; import hdf5_table; hdf5_table._limit(1, 2**27)\n"
    limited = limited.replace("PATH", repr(str(Path(hdf5_table.__file__).parent)))
    for code in ("import os; os.abort()", limited + "while True: pass", limited + "bytearray(2**32)"):
        (tmp_path / "code.py").write_text(code)
        monkeypatch.setattr(hdf5_table, "__file__", str(tmp_path / "code.py"))
        assert refusal(whole) == ("damaged or no HDF5 file (HDF5 ends without an answer): download or save it again")
    (tmp_path / "code.py").write_text("import time; time.sleep(60)")
    monkeypatch.setattr(hdf5_arrays, "_PATIENCE", 0.5)
    assert "(HDF5 comes to no end)" in refusal(whole)


def test_names_in_a_file_are_shown_escaped(whole, tmp_path):
    shutil.copy(whole, tmp_path / "a.h5")
    for name in ("other\x1b[2J\u202e\n", b"other\xff"):
        with h5py.File(tmp_path / "a.h5", "a") as file:
            file.create_dataset(name, data=np.zeros(3, "f4"))
        assert refusal(tmp_path / "a.h5").isprintable()
        with h5py.File(tmp_path / "a.h5", "a") as file:
            del file[name]


def test_small_arrays_in_their_own_description(whole, tmp_path):
    shutil.copy(whole, tmp_path / "a.h5")
    name = "conv1_conv/conv1_conv/bias:0"
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file[name]
        settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        settings.set_layout(h5py.h5d.COMPACT)
        dataset = h5py.Dataset(
            h5py.h5d.create(file.id, name.encode(), h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((64,)), settings)
        )
        dataset[...] = np.arange(64)
    np.testing.assert_array_equal(read_keras(tmp_path / "a.h5")[0]["conv1.bias"], np.arange(64))


def test_what_is_no_file_of_keras(tmp_path, monkeypatch):
    assert "no such file" in refusal(tmp_path / "a.h5")
    assert "no such file" in refusal(tmp_path)
    for content in (b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(100), b"\0weights"):
        (tmp_path / "a.h5").write_bytes(content)
        assert refusal(tmp_path / "a.h5").startswith("damaged or no HDF5 file (")
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert refusal(tmp_path / "a.h5").startswith("files of Keras are read with h5py, ")
