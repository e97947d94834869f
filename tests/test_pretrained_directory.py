"""Folders of weights: Hugging Face's, shards with an index, and what may be named in them."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from minires import models, pretrained
from minires.pretrained import directory, huggingface
from minires.pretrained.formats import read_file

STATE = {key: array for key, array in models.resnet8(num_classes=3, rng=0).state_dict().items()}
KEYS = list(STATE)
PROCESSOR = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.1], "do_normalize": True, "do_resize": True}


def read_directory(path):
    return directory.read_directory(path, read_file)


def read_shards(path):
    return directory.read_shards(path, read_file)


def write_json(path, content):
    path.write_text(json.dumps(content), encoding="utf-8")


def shards(folder, index="model.safetensors.index.json", names=("a.safetensors", "b.safetensors")):
    """Write the state in two files, and the index. -> the index's path"""
    halves = KEYS[:10], KEYS[10:]
    for name, keys in zip(names, halves, strict=True):
        save_file({key: STATE[key] for key in keys}, folder / name)
    places = {key: name for name, keys in zip(names, halves, strict=True) for key in keys}
    write_json(folder / index, {"metadata": {"total_size": 3}, "weight_map": places})
    return folder / index


def assert_whole(state):
    assert set(state) == set(STATE)
    for key, array in STATE.items():
        np.testing.assert_array_equal(state[key], array, key)


def refusal(read, path):
    with pytest.raises(pretrained.WeightsError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}"), message
    assert message.isprintable() and len(message) < len(str(path)) + 300
    return message


# Shards -------------------------------------------------------------------------------------------------------------


def test_shards_are_one_network_by_their_index_or_folder(tmp_path):
    index = shards(tmp_path)
    assert_whole(read_shards(index)[0])
    state, info, source = read_file(tmp_path)
    assert_whole(state)
    assert source == "safetensors" and info["left_out"] == []
    for path in (index, tmp_path):
        model, metadata = pretrained.build(path)
        assert metadata["model"] == "resnet8" and metadata["num_classes"] == 3
        np.testing.assert_array_equal(model.state_dict()["fc.weight"], STATE["fc.weight"])


def test_shards_of_pytorch(tmp_path):
    torch = pytest.importorskip("torch")
    index = shards(tmp_path, "pytorch_model.bin.index.json", ("a.bin", "b.bin"))
    for name, keys in (("a.bin", KEYS[:10]), ("b.bin", KEYS[10:])):
        torch.save({key: torch.from_numpy(np.array(STATE[key])) for key in keys}, tmp_path / name)
    state, _, source = read_file(index)
    assert_whole(state)
    assert source == "PyTorch"


@pytest.mark.parametrize(
    "name",
    ["../secret", "/etc/passwd", "..", ".", "", "a/../../secret", "x\\y", "C:x", "a\0b", "link", "https://a.b/c"],
)
def test_nothing_outside_of_the_folder_is_opened(tmp_path, name, monkeypatch):
    folder = tmp_path / "folder"
    folder.mkdir()
    index = shards(folder)
    save_file({KEYS[0]: STATE[KEYS[0]]}, tmp_path / "secret")
    if name == "link":
        (folder / "link").symlink_to(tmp_path / "secret")
    places = json.loads(index.read_text(encoding="utf-8"))["weight_map"] | {KEYS[0]: name}
    write_json(index, {"weight_map": places})
    opened, real = [], open
    monkeypatch.setattr(
        "builtins.open", lambda path, *args, **names: opened.append(str(path)) or real(path, *args, **names)
    )
    message = refusal(read_shards, index)
    assert (
        "which is not in its folder; download the folder again" in message or "which is missing or no file" in message
    )
    assert not [path for path in opened if "secret" in path or "passwd" in path]


def test_a_shard_that_is_another_index_or_a_folder_is_refused(tmp_path):
    index = shards(tmp_path)
    (tmp_path / "sub").mkdir()
    for name in (index.name, "sub"):
        write_json(index, {"weight_map": {"a": name}})
        assert f"names '{name}', which is missing or no file of weights; download" in refusal(read_shards, index)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({}, "is JSON text and no index of weights"),
        ([], "is JSON text and no index of weights"),
        ({"weight_map": {}}, "is JSON text and no index of weights"),
        ({"weight_map": {"a": 3}}, "is JSON text and no index of weights"),
        ({"weight_map": {"a": "missing.safetensors"}}, "names 'missing.safetensors', which is missing or no file"),
        ({"weight_map": {"a": "a.safetensors"}}, "'a.safetensors' does not hold what the index says (a, bn1.bias,"),
        ({"weight_map": {str(n): str(n) for n in range(1001)}}, "is an index of 1,001 shards, more than 1,000"),
    ],
)
def test_an_index_that_lies(tmp_path, content, sentence):
    index = shards(tmp_path)
    write_json(index, content)
    assert sentence in refusal(read_shards, index)


def test_an_index_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface, "MAX_JSON", 1000)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(" " * 1001, encoding="utf-8")
    assert "has more than 1,000 bytes; download it again" in refusal(read_shards, index)
    for text in ("[" * 990, '{"weight_map"', "\xff"):
        index.write_text(text, encoding="latin1")
        assert "damaged (" in refusal(read_shards, index)


# Folders of Hugging Face --------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    save_file(STATE, tmp_path / "model.safetensors")
    write_json(tmp_path / "config.json", {"id2label": {"0": "cat", "1": "dog", "2": "猫"}, "model_type": "resnet"})
    return tmp_path


def test_a_folder_says_its_classes_and_preprocessing(folder):
    write_json(folder / "preprocessor_config.json", PROCESSOR | {"size": 24, "crop_pct": 0.75, "resample": 3})
    state, info = read_directory(folder)
    assert_whole(state)
    assert info["classes"] == ["cat", "dog", "猫"]
    said = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.1), "size": 24, "resize": 32, "interpolation": "bicubic"}
    assert info["preprocessing"].keys() == said.keys()
    _, metadata = pretrained.read(folder)
    assert metadata["classes"] == ["cat", "dog", "猫"]
    for name, value in said.items():
        assert metadata["preprocessing"][name] == (pytest.approx(value) if isinstance(value, tuple) else value)
        assert name not in metadata["assumptions"]


@pytest.mark.parametrize(
    ("processor", "said"),
    [
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.875}, {"size": 224, "resize": 256}),
        ({"size": {"shortest_edge": 384}, "crop_pct": 0.875}, {"size": 384, "resize": None}),
        ({"size": {"height": 224, "width": 224}}, {"size": 224, "resize": None}),
        ({"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}}, {"size": 224, "resize": 256}),
        ({"size": 256, "crop_size": 224, "do_center_crop": True}, {"size": 224, "resize": 256}),
        ({"size": 256, "crop_size": 224, "do_center_crop": False}, {"size": 256, "resize": 256}),
        ({"do_resize": False, "size": 224}, {}),
        ({"resample": 2}, {"interpolation": "bilinear"}),
        ({"resample": 0}, {}),
        ({"do_flip_channel_order": True}, {"order": "BGR"}),
        ({"do_normalize": False}, {"mean": None}),
        (
            {"do_rescale": False, "image_mean": [127.5] * 3, "image_std": [51] * 3},
            {"mean": (0.5,) * 3, "std": (0.2,) * 3},
        ),
        (
            {"rescale_factor": 2 / 255, "image_mean": [1] * 3, "image_std": [2] * 3},
            {"mean": (0.5,) * 3, "std": (1,) * 3},
        ),
    ],
)
def test_what_processors_say(folder, processor, said):
    write_json(folder / "preprocessor_config.json", PROCESSOR | processor)
    fields = read_directory(folder)[1].get("preprocessing", {})
    usual = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.1)}
    expected = {name: value for name, value in {**usual, **said}.items() if value is not None or name == "resize"}
    if "mean" in said and said["mean"] is None:
        expected = {}
    assert fields.keys() == expected.keys()
    for name, value in expected.items():
        assert fields[name] == (pytest.approx(value) if isinstance(value, tuple) else value)


def test_a_folder_of_timm(folder):
    trained = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "input_size": [3, 176, 176], "crop_pct": 0.95}
    config = {"pretrained_cfg": {**trained, "interpolation": "bicubic"}, "label_names": ["a", "b", "c"]}
    write_json(folder / "config.json", config)
    info = read_directory(folder)[1]
    assert info["classes"] == ["a", "b", "c"]
    assert (info["preprocessing"]["size"], info["preprocessing"]["resize"]) == (176, 185)
    assert info["preprocessing"]["interpolation"] == "bicubic" and info["preprocessing"]["mean"] == (0.5,) * 3


def test_made_up_names_are_none(folder):
    write_json(folder / "config.json", {"id2label": {str(n): f"LABEL_{n}" for n in range(3)}})
    assert "classes" not in read_directory(folder)[1]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("preprocessor_config.json", PROCESSOR | {"image_std": [0, 0, 0]}),
        ("preprocessor_config.json", PROCESSOR | {"image_mean": "half"}),
        ("preprocessor_config.json", PROCESSOR | {"size": 10**9}),
        ("preprocessor_config.json", PROCESSOR | {"size": {"height": 224, "width": 160}}),
        ("preprocessor_config.json", PROCESSOR | {"size": 224, "crop_pct": 0}),
        ("preprocessor_config.json", PROCESSOR | {"rescale_factor": 0}),
        ("preprocessor_config.json", PROCESSOR | {"size": 1e400}),
        ("preprocessor_config.json", []),
        ("config.json", 3),
        ("config.json", {"pretrained_cfg": {"mean": 3}}),
        ("config.json", {"pretrained_cfg": {"input_size": []}}),
    ],
)
def test_side_files_that_make_no_sense(folder, name, content):
    write_json(folder / name, content)
    assert name in refusal(read_directory, folder)


def test_side_files_outside_of_the_folder_are_not_read(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other") / "config.json"
    write_json(other, {"id2label": {"0": "secret"}})
    (folder / "preprocessor_config.json").symlink_to(other)
    assert "names 'preprocessor_config.json', which is not in its folder" in refusal(read_directory, folder)


def test_links_in_hugging_faces_cache_are_followed(folder, tmp_path_factory):
    cache = tmp_path_factory.mktemp("models--a--b")
    snapshot = cache / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (cache / "blobs").mkdir()
    for name in ("model.safetensors", "config.json"):
        (folder / name).rename(cache / "blobs" / name)
        (snapshot / name).symlink_to(f"../../blobs/{name}")
    state, info = read_directory(snapshot)
    assert_whole(state)
    assert info["classes"] == ["cat", "dog", "猫"]


# Which file ---------------------------------------------------------------------------------------------------------


def test_of_the_formats_of_one_network_safetensors_is_read(folder):
    for name in ("pytorch_model.bin", "tf_model.h5", "flax_model.msgpack"):
        (folder / name).write_bytes(b"not read")
    assert_whole(read_directory(folder)[0])


def test_several_files_are_asked_about(folder):
    save_file(STATE, folder / "other.safetensors")
    message = refusal(read_directory, folder)
    assert "is a folder of several files of weights (model.safetensors, other.safetensors); name one of them" in message
    for number in range(40):
        (folder / f"{number:050}.pth").write_bytes(b"x")
    refusal(read_directory, folder)


def test_one_file_among_others_is_read(tmp_path):
    for name in ("README.md", "train.log", "results.json"):
        (tmp_path / name).write_text("x", encoding="utf-8")
    (tmp_path / "logs.pth").mkdir()
    np.savez(tmp_path / "weights.npz", **STATE)
    assert_whole(read_directory(tmp_path)[0])


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["saved_model.pb", "keras_metadata.pb"], "is a SavedModel of TensorFlow; save the network as one file"),
        (["data.pkl", "version"], "is an unpacked PyTorch file, as browsers unpack it; download it again"),
        ([], "is a folder without a run's best.safetensors or a file of weights; name one"),
        (["README.md"], "is a folder without a run's best.safetensors or a file of weights; name one"),
    ],
)
def test_other_folders(tmp_path, names, sentence):
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    assert sentence in refusal(pretrained.read, tmp_path)


def test_a_folder_of_very_many_files(tmp_path, monkeypatch):
    monkeypatch.setattr(directory, "MOST_FILES", 10)
    for number in range(11):
        (tmp_path / str(number)).write_bytes(b"")
    assert "is a folder of more than 10 files; name the file of weights in it" in refusal(read_directory, tmp_path)
