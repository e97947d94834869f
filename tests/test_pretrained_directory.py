"""Folders of weights: what stands beside them is believed, shards are put together, and nothing outside is opened."""

import json
import os
import re
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from minires import models, pretrained

NAMES = [f"kind {number}" for number in range(10)]
PROCESSOR = {
    "do_normalize": True,
    "do_resize": True,
    "image_mean": [0.1, 0.2, 0.3],
    "image_std": [0.4, 0.5, 0.6],
    "resample": 3,
    "size": {"shortest_edge": 40},
    "crop_size": {"height": 32, "width": 32},
    "do_center_crop": True,
}


@pytest.fixture(scope="module")
def model():
    return models.build("resnet8", 10, rng=0)


@pytest.fixture(scope="module")
def state(model):
    return {key: np.ascontiguousarray(array) for key, array in model.state_dict().items()}


def write_json(path, content):
    path.write_text(json.dumps(content), encoding="utf-8")


def hugging_face(folder, state, processor=PROCESSOR, **config):
    folder.mkdir(exist_ok=True)
    save_file(state, folder / "model.safetensors")
    write_json(folder / "config.json", {"id2label": {str(n): name for n, name in enumerate(NAMES)}, **config})
    write_json(folder / "preprocessor_config.json", processor)
    return folder


def in_shards(folder, state, shards=2):
    """The index of weights kept in shards, in a folder."""
    folder.mkdir(exist_ok=True)
    places = {}
    for number in range(shards):
        name = f"model-{number + 1:05}-of-{shards:05}.safetensors"
        part = dict(list(state.items())[number::shards])
        save_file(part, folder / name)
        places |= dict.fromkeys(part, name)
    index = folder / "model.safetensors.index.json"
    write_json(index, {"metadata": {"total_size": 1}, "weight_map": places})
    return index


def refused(path):
    """The message about a path that is refused, in one sentence and in short time."""
    start = time.process_time(), time.monotonic()
    with pytest.raises(pretrained.WeightsError) as caught:
        pretrained.read(path)
    assert time.process_time() - start[0] < 5 and time.monotonic() - start[1] < 20
    text = str(caught.value)
    assert text.startswith(f"{path}"), text
    message = text.replace(str(path), "PATH")
    assert len(message) < 400 and message.isprintable(), message
    assert re.search("[;:] (name|download|give|check|save)", message), message
    return message


def answers(path):
    network, metadata = pretrained.build(path)
    images = np.random.default_rng(0).standard_normal((2, 32, 32, 3), np.float32)
    return network.eval()(images)[0], metadata


# --- What stands beside the weights ---------------------------------------------------------------------------------


def test_what_stands_beside_the_weights_is_known_and_not_assumed(tmp_path, state):
    found, metadata = pretrained.read(hugging_face(tmp_path, state))
    assert metadata["preprocessing"] == {
        "mean": (0.1, 0.2, 0.3),
        "std": (0.4, 0.5, 0.6),
        "size": 32,
        "resize": 40,
        "interpolation": "bicubic",
        "order": "RGB",
    }
    assert metadata["classes"] == NAMES
    assert set(metadata["assumptions"]) & {"mean", "std", "size", "resize", "interpolation", "classes"} == set()
    assert "order" in metadata["assumptions"]
    assert all(np.array_equal(found[key], array) for key, array in state.items())
    text = pretrained.identify(tmp_path)
    assert "32x32 cut out after scaling to 40, bicubic, RGB, mean (0.1000, 0.2000, 0.3000)" in text
    assert "; assumed: order\n" in text and "kind 0, kind 1" in text


def test_a_folder_without_them_is_assumed_as_a_file_is(tmp_path, state):
    save_file(state, tmp_path / "model.safetensors")
    of_folder, of_file = (pretrained.read(path)[1] for path in (tmp_path, tmp_path / "model.safetensors"))
    assert of_folder == of_file and set(of_folder["assumptions"]) >= {"mean", "std", "size", "classes"}


@pytest.mark.parametrize(
    ("processor", "expected"),
    {
        "a share of ConvNext's": ({"size": 28, "crop_pct": 0.875, "resample": 2}, (28, 32, "bilinear")),
        "whole": ({"size": {"height": 32, "width": 32}, "resample": 2}, (32, None, "bilinear")),
        "whole, with a cut that cuts nothing": (
            {"size": {"height": 32, "width": 32}, "crop_size": {"height": 32, "width": 32}, "resample": 2},
            (32, None, "bilinear"),
        ),
        "neither scaled nor cut": ({"do_resize": False, "size": 48}, (32, 32, "bilinear")),
        "a number and a number": ({"size": 48, "crop_size": 32, "resample": "bicubic"}, (32, 48, "bicubic")),
    }.values(),
)
def test_sizes(tmp_path, state, processor, expected):
    preprocessing = pretrained.read(hugging_face(tmp_path, state, processor))[1]["preprocessing"]
    assert tuple(preprocessing[name] for name in ("size", "resize", "interpolation")) == expected


@pytest.mark.parametrize(
    "processor",
    [
        {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]},
        {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "rescale_factor": 1 / 127.5},
        {"image_mean": [10, 20, 30], "image_std": [40, 50, 60], "do_rescale": False},
        {"do_normalize": False, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]},
        {"do_normalize": False, "do_rescale": False},
    ],
)
def test_pixels_become_what_the_processor_makes_of_them(tmp_path, state, processor):
    """Against its steps: times rescale_factor, less image_mean, by image_std, each where it is done."""
    preprocessing = pretrained.read(hugging_face(tmp_path, state, processor))[1]["preprocessing"]
    pixels = np.array([0.0, 100, 255])
    ours = (pixels / 255 - preprocessing["mean"]) / preprocessing["std"]
    theirs = pixels * (processor.get("rescale_factor", 1 / 255) if processor.get("do_rescale", True) else 1)
    if processor.get("do_normalize", True):
        theirs = (theirs - processor["image_mean"]) / processor["image_std"]
    np.testing.assert_allclose(ours, theirs)


def test_a_mean_without_a_deviation_says_nothing(tmp_path, state):
    assumptions = pretrained.read(hugging_face(tmp_path, state, {"image_mean": [0.1, 0.2, 0.3]}))[1]["assumptions"]
    assert {"mean", "std"} <= set(assumptions)


def test_order_of_channels(tmp_path, state):
    for flip, order in ((True, "BGR"), (False, "RGB")):
        _, metadata = pretrained.read(hugging_face(tmp_path, state, {**PROCESSOR, "do_flip_channel_order": flip}))
        assert metadata["preprocessing"]["order"] == order and "order" not in metadata["assumptions"]


def test_timm(tmp_path, state):
    trained = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "input_size": [3, 32, 32], "crop_pct": 0.8}
    folder = hugging_face(tmp_path, state, {}, pretrained_cfg={**trained, "interpolation": "bicubic"}, id2label=None)
    write_json(folder / "config.json", {"pretrained_cfg": trained, "label_names": NAMES})
    (folder / "preprocessor_config.json").unlink()
    _, metadata = pretrained.read(folder)
    assert metadata["preprocessing"]["mean"] == (0.1, 0.2, 0.3) and metadata["classes"] == NAMES
    assert (metadata["preprocessing"]["size"], metadata["preprocessing"]["resize"]) == (32, 40)


def test_what_transformers_calls_the_layers(tmp_path, state):
    resnet = models.build("resnet18", 10, rng=0)
    renamed = {theirs(key): np.ascontiguousarray(array) for key, array in resnet.state_dict().items()}
    found, metadata = pretrained.read(hugging_face(tmp_path, renamed))
    assert metadata["model"] == "resnet18" and metadata["classes"] == NAMES
    assert all(np.array_equal(found[key], array) for key, array in resnet.state_dict().items())


def theirs(key):
    """The key of a ResNet of basic blocks in Hugging Face's transformers."""
    kinds = {"conv": "convolution", "bn": "normalization"}
    if found := re.match(r"layer(\d)\.(\d)\.(conv|bn)(\d)\.(.*)", key):
        stage, block, kind, number, rest = found.groups()
        return f"resnet.encoder.stages.{int(stage) - 1}.layers.{block}.layer.{int(number) - 1}.{kinds[kind]}.{rest}"
    if found := re.match(r"layer(\d)\.(\d)\.downsample\.(\d)\.(.*)", key):
        stage, block, number, rest = found.groups()
        kind = list(kinds.values())[int(number)]
        return f"resnet.encoder.stages.{int(stage) - 1}.layers.{block}.shortcut.{kind}.{rest}"
    if found := re.match(r"(conv|bn)1\.(.*)", key):
        return f"resnet.embedder.embedder.{kinds[found[1]]}.{found[2]}"
    return key.replace("fc.", "classifier.1.")


@pytest.mark.parametrize(
    "labels", [{"0": 3}, {"1": "a"}, "text", 3, [None], {"0": "a\x1b[2J"}, {"0": ["a"]}, {"0": "\ud800"}]
)
def test_nonsense_for_names_is_left_out_and_said(tmp_path, state, labels):
    _, metadata = pretrained.read(hugging_face(tmp_path, state, id2label=labels))
    assert metadata["classes"] is None and "classes" in metadata["assumptions"]
    assert "left out: id2label of config.json, which is no list of names" in metadata["notes"]


def test_names_of_another_number_are_left_out_and_said(tmp_path, state):
    _, metadata = pretrained.read(hugging_face(tmp_path, state, id2label={"0": "a", "1": "b"}))
    assert metadata["classes"] is None
    assert "left out: 2 names of classes, its last layer has 10" in metadata["notes"]


def test_made_up_names_are_none(tmp_path, state):
    made_up = {str(number): f"LABEL_{number}" for number in range(10)}
    _, metadata = pretrained.read(hugging_face(tmp_path, state, id2label=made_up))
    assert metadata["classes"] is None and metadata["notes"] == []


# --- Which file -----------------------------------------------------------------------------------------------------


def test_of_one_network_in_two_formats_safetensors_is_taken_and_this_is_said(tmp_path, state):
    torch = pytest.importorskip("torch", reason="PyTorch writes the other file")
    folder = hugging_face(tmp_path, state)
    torch.save({key: torch.zeros(array.shape) for key, array in state.items()}, folder / "pytorch_model.bin")
    torch.save({"lr": 0.1}, folder / "training_args.bin")
    found, metadata = pretrained.read(folder)
    assert metadata["source"] == "safetensors" and np.array_equal(found["fc.weight"], state["fc.weight"])
    assert metadata["notes"] == ["left out: pytorch_model.bin, training_args.bin"]
    (folder / "model.safetensors").unlink()
    found, metadata = pretrained.read(folder)
    assert metadata["source"] == "PyTorch" and not found["fc.weight"].any() and metadata["classes"] == NAMES


def test_several_networks_are_asked_about(tmp_path, state):
    for name in ("a.safetensors", "b.safetensors"):
        save_file(state, tmp_path / name)
    assert "several files of weights (a.safetensors, b.safetensors); name one" in refused(tmp_path)
    (tmp_path / "b.safetensors").unlink()
    assert pretrained.read(tmp_path)[1]["model"] == "resnet8"
    hugging_face(tmp_path, state)  # beside model.safetensors still another
    assert "several files of weights (a.safetensors, model.safetensors); name one" in refused(tmp_path)


def test_no_weights(tmp_path):
    assert "is a folder without a run's best.safetensors or a file of weights; name one" in refused(tmp_path)
    write_json(tmp_path / "config.json", {})
    (tmp_path / "model.safetensors").mkdir()
    assert "is a folder without" in refused(tmp_path)


def test_folders_of_tensorflow_and_unpacked_ones(tmp_path):
    for name, message in (("saved_model.pb", "a SavedModel of TensorFlow"), ("data.pkl", "an unpacked PyTorch file")):
        folder = tmp_path / name.partition(".")[0]
        folder.mkdir()
        (folder / name).write_bytes(b"x")
        assert message in refused(folder)


def test_a_runs_folder_is_its_best(tmp_path, state):
    save_file({**state, "fc.bias": state["fc.bias"] + 1}, tmp_path / "best.safetensors")
    save_file(state, tmp_path / "last.safetensors")
    found, _ = pretrained.read(tmp_path)
    assert np.array_equal(found["fc.bias"], state["fc.bias"] + 1)


def test_a_snapshot_in_the_cache_of_hugging_face(tmp_path, state):
    """There the files are links to another folder."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "0a1b"
    hugging_face(blobs, state)
    snapshot.mkdir(parents=True)
    for name in os.listdir(blobs):
        (snapshot / name).symlink_to(Path("..", "..", "blobs", name))
    assert pretrained.read(snapshot)[1]["classes"] == NAMES


# --- Shards ---------------------------------------------------------------------------------------------------------


def test_shards_give_the_same_answers_as_the_whole_file(tmp_path, model, state):
    index = in_shards(hugging_face(tmp_path / "parts", state), state, 3)
    (tmp_path / "parts" / "model.safetensors").unlink()
    save_file(state, tmp_path / "whole.safetensors")
    expected, _ = answers(tmp_path / "whole.safetensors")
    for path in (index.parent, index):
        found, metadata = answers(path)
        assert np.array_equal(found, expected) and metadata["source"] == "safetensors"
    assert answers(index.parent)[1]["classes"] == NAMES


def test_shards_of_pytorch(tmp_path, state):
    torch = pytest.importorskip("torch", reason="PyTorch writes the files of this test")
    places = {}
    for number in range(2):
        name = f"pytorch_model-{number}.bin"
        part = dict(list(state.items())[number::2])
        torch.save({key: torch.from_numpy(array) for key, array in part.items()}, tmp_path / name)
        places |= dict.fromkeys(part, name)
    write_json(tmp_path / "pytorch_model.bin.index.json", {"weight_map": places})
    found, metadata = pretrained.read(tmp_path)
    assert metadata["source"] == "PyTorch" and all(np.array_equal(found[key], state[key]) for key in state)


def test_a_missing_shard_is_named(tmp_path, state):
    index = in_shards(tmp_path, state)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    for path in (tmp_path, index):
        assert "names the shard 'model-00002-of-00002.safetensors', which is no file" in refused(path)


def test_a_shard_with_other_keys_is_named(tmp_path, state):
    index = in_shards(tmp_path, state)
    save_file({"fc.other": state["fc.bias"]}, tmp_path / "model-00002-of-00002.safetensors")
    for path in (tmp_path, index):
        assert "'model-00002-of-00002.safetensors' does not hold what the index says (" in refused(path)


@pytest.mark.parametrize(
    "content",
    [[], {}, 3, None, {"weight_map": []}, {"weight_map": {}}, {"weight_map": {"a": 3}}, {"weight_map": {"a": ["b"]}}],
)
def test_an_index_that_is_none(tmp_path, content):
    index = tmp_path / "model.safetensors.index.json"
    write_json(index, content)
    for path in (tmp_path, index):
        assert "is JSON text and no index of weights" in refused(path)
    assert "PATH: model.safetensors.index.json is JSON" in refused(tmp_path)


def test_an_index_of_something_else_is_not_looked_at(tmp_path, state):
    write_json(hugging_face(tmp_path, state) / "search.index.json", ["no", "weights"])
    assert pretrained.read(tmp_path)[1]["model"] == "resnet8"


def test_too_many_shards_and_indices(tmp_path):
    index = tmp_path / "model.safetensors.index.json"
    write_json(index, {"weight_map": {str(n): f"{n}.safetensors" for n in range(1001)}})
    for path in (tmp_path, index):
        assert "is an index of 1,001 shards" in refused(path)
    for number in range(11):
        write_json(tmp_path / f"{number}.safetensors.index.json", {})
    assert "is a folder of 12 indices of weights; name one" in refused(tmp_path)


# --- Hostile --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "../outside.safetensors", "sub/../../outside.safetensors", "/ABSOLUTE", "..\\outside.safetensors", "C:x",
        "link.safetensors", "linked/outside.safetensors", "", ".", "..", "a\0b", "x" * 5000, "sub", "\ud800", "a\nb",
        "model.safetensors.index.json", "other.safetensors.index.json", "pipe", "circle", "pipe/a",
    ],
)  # fmt: skip
def test_shards_outside_of_the_folder_are_not_opened(tmp_path, state, name):
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    save_file(state, tmp_path / "outside.safetensors")
    (folder / "link.safetensors").symlink_to(tmp_path / "outside.safetensors")
    (folder / "linked").symlink_to(tmp_path)
    (folder / "circle").symlink_to(folder / "circle")
    os.mkfifo(folder / "pipe")
    index = folder / "model.safetensors.index.json"
    write_json(
        index, {"weight_map": dict.fromkeys(state, name.replace("/ABSOLUTE", f"{tmp_path}/outside.safetensors"))}
    )
    write_json(folder / "other.safetensors.index.json", {"weight_map": dict.fromkeys(state, index.name)})
    refused(index)


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "model.safetensors", "best.safetensors"])
def test_links_out_of_the_folder_are_not_followed(tmp_path, state, name):
    outside = hugging_face(tmp_path / "outside", state)
    folder = hugging_face(tmp_path / "folder", state)
    (outside / "best.safetensors").write_bytes((outside / "model.safetensors").read_bytes())
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(outside / name)
    if name == "best.safetensors":  # a run's, which its owner has linked and named
        assert pretrained.read(folder)[1]["model"] == "resnet8"
    else:
        assert f"names '{name}', which is not in its folder" in refused(folder)


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "model.safetensors.index.json"])
@pytest.mark.parametrize(
    ("content", "message"),
    {
        "20 MB": (b'{"a": "' + b"x" * 20_000_000 + b'"}', "has more than 4,194,304 bytes"),
        "brackets": (b"[" * 100_000 + b"]" * 100_000, "is no JSON ("),
        "open brackets": (b'{"a":' * 100_000, "is no JSON ("),
        "a list": (b"[1, 2]", "is "),
        "a number": (b"3", "is "),
        "a large number": (b"[" + b"9" * 100_000 + b"]", "is no JSON ("),
        "nothing": (b"", "is no JSON ("),
        "no text": (b"\xff\xfe\x00\xd8", "is no JSON ("),
        "half of it": (b'{"size": ', "is no JSON ("),
    }.values(),
)
def test_no_json(tmp_path, state, name, content, message):
    folder = hugging_face(tmp_path, state)
    (folder / name).write_bytes(content)
    assert f"{name} {message}" in refused(folder)


@pytest.mark.parametrize(
    "text",
    [
        '{"image_mean": [NaN, 0, 0], "image_std": [1, 1, 1]}',
        '{"image_mean": [0, 0, 0], "image_std": [1, NaN, 1]}',
        '{"image_mean": [0, 0, 0], "image_std": [Infinity, 1, 1]}',
        '{"image_mean": [1e300, 0, 0], "image_std": [1, 1, 1]}',
        '{"image_mean": [1e999, 0, 0], "image_std": [1, 1, 1]}',
        '{"image_mean": [0, 0, 0], "image_std": [1e-300, 1, 1]}',
        '{"image_mean": [0, 0, 0], "image_std": [0, 1, 1]}',
        '{"image_mean": [0, 0, 0], "image_std": [-1, 1, 1]}',
        '{"image_mean": [%s, 0, 0], "image_std": [1, 1, 1]}' % ("9" * 400),
        '{"image_mean": [0, 0, 0, 0], "image_std": [1, 1, 1, 1]}',
        '{"image_mean": [' + "0, " * 100_000 + '0], "image_std": [1, 1, 1]}',
        '{"image_mean": "abc", "image_std": "abc"}',
        '{"image_mean": 3, "image_std": 3}',
        '{"image_mean": {"a": 1}, "image_std": [1, 1, 1]}',
        '{"image_mean": [0, 0, 0], "image_std": [1, 1, 1], "rescale_factor": 0}',
        '{"image_mean": [0, 0, 0], "image_std": [1, 1, 1], "rescale_factor": "a"}',
        '{"image_mean": [0, 0, 0], "image_std": [1, 1, 1], "rescale_factor": NaN}',
        '{"size": -1}',
        '{"size": 0}',
        '{"size": 1000000000}',
        '{"size": "2\\n24"}',
        '{"size": [1, 2]}',
        '{"size": 224, "crop_pct": 0}',
        '{"size": 224, "crop_pct": NaN}',
        '{"size": 224, "crop_pct": 1e-320}',
        '{"size": 224, "crop_pct": "\\ud800"}',
        '{"size": {"height": 224, "width": 225}}',
        '{"size": {"height": {"a": 1}, "width": {"a": 1}}}',
        '{"size": 32, "crop_size": 64}',
        '{"size": 32, "resample": [1]}',
        '{"size": 32, "resample": {"a": 1}}',
    ],
)
def test_preprocessing_that_makes_no_sense(tmp_path, state, text):
    folder = hugging_face(tmp_path, state)
    (folder / "preprocessor_config.json").write_text(text)
    assert "preprocessor_config.json makes no sense (" in refused(folder)


@pytest.mark.parametrize(
    "trained",
    [
        {"mean": 3},
        {"mean": "abc"},
        {"mean": [0, 0, float("nan")]},
        {"std": [1e300, 1, 1]},
        {"input_size": []},
        {"input_size": {}},
        {"input_size": "abc"},
        {"input_size": 3},
        {"input_size": [3, 32, 32], "crop_pct": 0},
        {"input_size": [3, 32, 32], "crop_pct": None},
        {"interpolation": ["bicubic"]},
    ],
)
def test_timms_preprocessing_that_makes_no_sense(tmp_path, state, trained):
    assert "config.json makes no sense (" in refused(hugging_face(tmp_path, state, {}, pretrained_cfg=trained))


@pytest.mark.parametrize("kind", ["pipe", "folder", "circle", "nothing"])
@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "model.safetensors.index.json"])
def test_what_is_no_file(tmp_path, state, name, kind):
    folder = hugging_face(tmp_path, state)
    (folder / name).unlink(missing_ok=True)
    put(folder / name, kind)
    if not (name.endswith("index.json") and kind == "folder"):
        assert name in refused(folder)


@pytest.mark.parametrize("kind", ["pipe", "folder", "circle", "nothing"])
def test_weights_that_are_no_file(tmp_path, state, kind):
    folder = hugging_face(tmp_path, state)
    (folder / "model.safetensors").unlink()
    put(folder / "model.safetensors", kind)
    refused(folder)
    refused(folder / "model.safetensors")


def put(path, kind):
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(path.with_name(path.name if kind == "circle" else "nothing"))


def test_a_folder_of_very_many_files(tmp_path):
    for number in range(10_001):
        (tmp_path / f"{number}.pth").touch()
    assert "is a folder of more than 10,000 files; name the file of weights in it" in refused(tmp_path)
