"""minires.pretrained: files recognised, loaded and written, against PyTorch's own files and figures."""

import argparse
import hashlib
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from minires import checkpoint, models, no_grad, pretrained
from minires.data.images import Preprocessing

REAL = Path(__file__).resolve().parents[2] / "shared" / "weights" / "resnet20-12fca82f.th"


def same(state, expected):
    assert set(state) == set(expected)
    for key, array in expected.items():
        np.testing.assert_array_equal(state[key], array, err_msg=key)


def without_counts(model):
    return {key: array for key, array in model.state_dict().items() if not key.endswith("num_batches_tracked")}


# Which network it is -----------------------------------------------------------------------------------------------

NETWORKS = [
    ("resnet8", {"shortcut": "A"}),
    ("resnet20", {"shortcut": "B"}),
    ("resnet32", {"shortcut": "A"}),
    ("resnet110", {"shortcut": "A"}),
    ("resnet14", {"shortcut": "B"}),
    ("resnet26", {"shortcut": "A"}),
    ("simple_cnn", {}),
    ("resnet18", {"small_input": False, "variant": "torchvision"}),
    ("resnet18", {"small_input": True, "variant": "torchvision"}),
    ("resnet34", {"small_input": False, "variant": "torchvision"}),
    ("resnet50", {"small_input": False, "variant": "keras"}),
    ("resnet101", {"small_input": False, "variant": "torchvision"}),
    ("resnet152", {"small_input": False, "variant": "torchvision"}),
]


@pytest.mark.parametrize(("name", "options"), NETWORKS, ids=lambda value: "-".join(map(str, value.values())) or "plain"
                         if isinstance(value, dict) else value)  # fmt: skip
def test_every_network_is_recognised(name, options):
    from minires.pretrained.architectures import recognise

    class Shape:
        def __init__(self, shape):
            self.shape = shape

    model = models.build(name, 7, rng=0, **options)
    state = {key: Shape(parameter.shape) for key, parameter in model.named_parameters()}
    found = recognise(state)
    assert (found.model, found.num_classes, found.options) == (name, 7, options)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "model.", "backbone."])
def test_prefixes_and_other_names_of_the_same_layers(tmp_path, prefix):
    state = without_counts(models.build("resnet8", 10, "B", rng=0))
    renamed = {
        prefix + key.replace("fc.", "linear.").replace("downsample", "shortcut"): array for key, array in state.items()
    }
    renamed[prefix + "bn1.num_batches_tracked"] = np.array(3)
    save_file(renamed, tmp_path / "a.safetensors")
    read, metadata = pretrained.read(tmp_path / "a.safetensors")
    assert (metadata["model"], metadata["options"]) == ("resnet8", {"shortcut": "B"})
    assert {key: array.tobytes() for key, array in read.items()} == {k: a.tobytes() for k, a in state.items()}


def test_a_network_that_is_not_known(tmp_path):
    save_file({"conv1.weight": np.zeros((8, 3, 3, 3), np.float32)}, tmp_path / "a.safetensors")
    with pytest.raises(pretrained.WeightsError, match=r"a.safetensors: these 1 arrays \(conv1.weight \(8, 3, 3, 3\)"):
        pretrained.read(tmp_path / "a.safetensors")


def test_the_width_of_wide_resnets_is_listed(tmp_path):
    state = without_counts(models.build("resnet18", 3, rng=0))
    state["layer1.0.conv1.weight"] = np.zeros((128, 64, 3, 3), np.float32)
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(pretrained.WeightsError, match=r"misshapen: layer1.0.conv1.weight has \(128, 64, 3, 3\)"):
        pretrained.build(tmp_path / "a.safetensors")


# Loading -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("kind", ["safetensors", "npz"])
def test_load_casts_and_fills(tmp_path, dtype, kind):
    source = models.resnet8(rng=0)
    state = {key: array.astype(dtype) for key, array in without_counts(source).items()}
    path = tmp_path / f"a.{kind}"
    save_file(state, path) if kind == "safetensors" else np.savez(path, **state)
    read, metadata = pretrained.read(path)
    assert {array.dtype for array in read.values()} == {np.dtype(dtype)}
    assert metadata["source"] == {"safetensors": "safetensors", "npz": "NumPy"}[kind]
    model = models.resnet8(rng=1)
    pretrained.load(model, path)
    for key, array in model.state_dict().items():
        np.testing.assert_array_equal(array, state[key].astype(np.float32))
        assert array.dtype == np.float32


def test_strict_lists_every_key_that_does_not_fit_and_changes_nothing(tmp_path):
    state = without_counts(models.resnet8(rng=0))
    del state["layer2.0.bn1.bias"]
    state |= {"fc.weight": np.zeros((7, 64), np.float32), "extra": np.zeros(1, np.float32)}
    save_file(state, tmp_path / "a.safetensors")
    model = models.resnet8(rng=1)
    before = model.state_dict()
    with pytest.raises(pretrained.WeightsError) as error:
        pretrained.load(model, tmp_path / "a.safetensors")
    for part in ("a.safetensors", "missing: layer2.0.bn1.bias", "unexpected: extra", "fc.weight has (7, 64)"):
        assert part in str(error.value)
    same(model.state_dict(), before)
    with pytest.raises(pretrained.WeightsError, match=r"missing: layer2.0.bn1.bias; unexpected: extra$"):
        pretrained.load(model, tmp_path / "a.safetensors", head="new")


def test_a_new_head_is_the_one_exception(tmp_path):
    source, model = models.resnet8(rng=0), models.resnet8(num_classes=3, rng=1)
    save_file(without_counts(source), tmp_path / "a.safetensors")
    head = model.fc.weight.data.copy()
    with pytest.raises(pretrained.WeightsError, match=r"give head='new' if only the classes differ"):
        pretrained.load(model, tmp_path / "a.safetensors")
    pretrained.load(model, tmp_path / "a.safetensors", head="new")
    np.testing.assert_array_equal(model.fc.weight.data, head)
    np.testing.assert_array_equal(model.layer3[0].conv2.weight.data, source.layer3[0].conv2.weight.data)
    with pytest.raises(ValueError, match=r"unknown head 'old': give 'new'"):
        pretrained.load(model, tmp_path / "a.safetensors", head="old")


def test_weights_without_a_head(tmp_path):
    state = {key: array for key, array in without_counts(models.resnet8(rng=0)).items() if not key.startswith("fc.")}
    save_file(state, tmp_path / "a.safetensors")
    assert pretrained.read(tmp_path / "a.safetensors")[1]["num_classes"] is None
    with pytest.raises(pretrained.WeightsError, match=r"has no head, so it predicts nothing: fine-tune it"):
        pretrained.build(tmp_path / "a.safetensors")
    pretrained.load(models.resnet8(rng=1), tmp_path / "a.safetensors", head="new")


# Metadata ------------------------------------------------------------------------------------------------------------


def test_metadata_travel_with_written_weights(tmp_path):
    model = models.resnet8(num_classes=3, rng=0)
    state = without_counts(model)
    preprocessing = Preprocessing((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "BGR", 30, 31, "bicubic")
    metadata = {"model": "resnet8", "classes": ["a", "b", "c"], "preprocessing": vars(preprocessing), "source": "here"}
    path = tmp_path / "a.safetensors"
    pretrained.write(path, state, {**metadata, "assumed": False})
    read, got = pretrained.read(path)
    same(read, state)
    assert got["classes"] == ["a", "b", "c"]
    assert Preprocessing(**got["preprocessing"]) == preprocessing
    assert (got["assumed"], got["source"], got["num_classes"]) == (False, "here", 3)
    assert {key for key in load_file(path) if key.endswith("num_batches_tracked")} == {
        key.replace("running_mean", "num_batches_tracked") for key in state if key.endswith("running_mean")
    }
    text = pretrained.identify(path)
    for part in ("resnet8", "3 classes: a, b, c", "here", "30x30", "scaling to 31", "bicubic", "BGR", "0.1000, 0.2000"):
        assert part in text
    assert "assumed" not in text


def test_what_a_file_does_not_say_is_assumed_and_said(tmp_path):
    save_file(without_counts(models.resnet8(rng=0)), tmp_path / "a.safetensors")
    assert "assumed, the file does not say" in pretrained.identify(tmp_path / "a.safetensors")
    metadata = pretrained.read(tmp_path / "a.safetensors")[1]
    assert metadata["assumed"]
    pretrained.write(tmp_path / "b.safetensors", *pretrained.read(tmp_path / "a.safetensors"))
    assert pretrained.read(tmp_path / "b.safetensors")[1]["assumed"]  # a guess does not become a fact by conversion


@pytest.mark.parametrize(
    "header",
    [
        '{"model": 3, "classes": null, "source": ""}',
        '{"model": "resnet8", "classes": [1], "source": ""}',
        '{"model": "resnet8", "classes": ["a"], "source": ""}',
        '{"model": "resnet20", "classes": null, "source": ""}',
        '{"model": "resnet8", "classes": 5, "source": ""}',
        '{"model": "resnet8", "classes": null, "source": "", "preprocessing": {"mean": [1]}}',
        '{"model": "resnet8", "classes": null, "source": "", "preprocessing": {"mean": "abc", "std": [1, 1, 1]}}',
        '{"model": "resnet8", "model": "resnet20", "classes": null, "source": ""}',
        "[" * 100_000,
        "nonsense",
        "{}",
    ],
)
def test_damaged_metadata(tmp_path, header):
    metadata = {"format": "minires-weights-1", "minires": header}
    save_file(without_counts(models.resnet8(rng=0)), tmp_path / "a.safetensors", metadata)
    with pytest.raises(pretrained.WeightsError, match=r"a.safetensors: .*damaged"):
        pretrained.read(tmp_path / "a.safetensors")


CONFIG = {
    "dataset": {"name": "cifar10", "label": "CIFAR-10"},
    "sizes": {"test": 100},
    "settings": {"model": "resnet8", "range": None},
    "preprocessing": {"mean": [0.5] * 3, "std": [0.5] * 3, "size": 32, "resize": 32},
    "classes": [str(number) for number in range(10)],
}


def checkpoint_of(path, **settings):
    """A run's checkpoint with these settings, its checksum right."""
    arrays = without_counts(models.resnet8(rng=0))
    config = {**CONFIG, "settings": {**CONFIG["settings"], **settings}}
    metadata = {"format": checkpoint.FORMAT, "minires": json.dumps({"info": {"config": config}})}
    save_file(arrays, path, metadata | {"sha256": checkpoint.digest(arrays, metadata)})
    return path


@pytest.mark.parametrize("value_range", [[1.0, 0.0], [0.0, 0.0], [0.0], [0.0, 1.0, 2.0]])
def test_a_range_of_pixels_that_is_none(tmp_path, value_range):
    path = checkpoint_of(tmp_path / "a.safetensors", range=[0.0, 2501.0])
    assert pretrained.read(path)[1]["run"]["range"] == [0.0, 2501.0]
    with pytest.raises(
        pretrained.WeightsError, match=r"a.safetensors: its metadata is damaged \(ValueError: range is \["
    ):
        pretrained.read(checkpoint_of(path, range=value_range))


def test_a_bit_turned_in_a_runs_checkpoint_is_noticed(tmp_path):
    path = checkpoint_of(tmp_path / "a.safetensors")
    content = bytearray(path.read_bytes())
    content[-7] ^= 1
    path.write_bytes(content)
    with pytest.raises(pretrained.WeightsError, match=r"a.safetensors: damaged \(.*\): give another copy of the file"):
        pretrained.read(path)


def test_objects_beside_a_network_are_named(tmp_path):
    """What is no array is left out, and the notes say so."""
    arrays = {key: array.copy() for key, array in without_counts(models.resnet8(rng=0)).items()}
    arguments = argparse.Namespace(lr=0.1)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"net": arrays, "args": arguments}, 4))
    state, metadata = pretrained.read(tmp_path / "a.pkl")
    same(state, arrays)
    assert "left out, as no arrays: argparse.Namespace" in metadata["notes"]


@pytest.mark.parametrize("content", [b"", b"PK", b"\x89HDF\r\n\x1a\n", b"hello, world", b"\x80\x02}q\x00."])
def test_other_files(tmp_path, content):
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(pretrained.WeightsError, match=r"a\.pth"):
        pretrained.read(tmp_path / "a.pth")


def test_a_folder_is_its_runs_best_model(tmp_path):
    with pytest.raises(pretrained.WeightsError, match="folder without a run"):
        pretrained.identify(tmp_path)
    save_file(models.resnet8(rng=0).state_dict(), tmp_path / "best.safetensors")
    assert pretrained.identify(tmp_path) == pretrained.identify(tmp_path / "best.safetensors")


def test_no_file(tmp_path):
    with pytest.raises(pretrained.WeightsError, match=r"none\.pth: cannot be read \(No such file"):
        pretrained.read(tmp_path / "none.pth")


# Real weights, made by PyTorch and not by us -------------------------------------------------------------------------


@pytest.mark.skipif(not REAL.exists(), reason="the published weights of ResNet-20 are not here")
class TestPublishedResNet20:
    def test_is_what_it_is(self):
        state, metadata = pretrained.read(REAL)
        assert (metadata["model"], metadata["options"], metadata["num_classes"]) == ("resnet20", {"shortcut": "A"}, 10)
        assert sum(array.size for key, array in state.items() if ".running_" not in key) == 269_722

    def test_gives_pytorchs_logits(self, torch):
        """Against torch.load and a network in PyTorch's own operations, on images that are no network's."""
        x = np.random.default_rng(0).standard_normal((4, 32, 32, 3)).astype(np.float32)
        state = torch.load(REAL, map_location="cpu", weights_only=True)["state_dict"]
        state = {key.removeprefix("module."): tensor for key, tensor in state.items()}
        model, _ = pretrained.build(REAL)
        with no_grad():
            logits, _ = model.eval()(x)
        expected = logits_of_option_a(torch, state, torch.tensor(x.transpose(0, 3, 1, 2)))
        np.testing.assert_allclose(logits, expected.numpy(), rtol=0, atol=1e-4)

    def test_goes_through_a_conversion_unharmed(self, tmp_path):
        state, metadata = pretrained.read(REAL)
        pretrained.write(tmp_path / "a.safetensors", state, metadata)
        again, _ = pretrained.read(tmp_path / "a.safetensors")
        digest = lambda arrays: {key: hashlib.sha256(array.tobytes()).hexdigest() for key, array in arrays.items()}  # noqa: E731
        assert digest(again) == digest(state)


def logits_of_option_a(torch, state, x):
    """ResNet-20 with shortcuts of option A, in functions of PyTorch: He et al. 2015, section 4.2."""
    F = torch.nn.functional

    def norm(x, name):
        names = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(state[f"{name}.{part}"] for part in names))

    x = F.relu(norm(F.conv2d(x, state["conv1.weight"], padding=1), "bn1"))
    for layer in (1, 2, 3):
        for index in range(3):
            name, stride = f"layer{layer}.{index}", 2 if layer > 1 and index == 0 else 1
            y = F.relu(norm(F.conv2d(x, state[f"{name}.conv1.weight"], stride=stride, padding=1), f"{name}.bn1"))
            y = norm(F.conv2d(y, state[f"{name}.conv2.weight"], padding=1), f"{name}.bn2")
            if stride == 2:
                more = x.shape[1] // 2
                x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, more, more))
            x = F.relu(x + y)
    return F.linear(x.mean((2, 3)), state["linear.weight"], state["linear.bias"])


def test_what_is_not_finite_is_refused(tmp_path):
    state = models.resnet8(rng=0).state_dict()
    state["layer1.0.conv1.weight"][0, 0, 0, 0] = np.nan
    save_file(state, tmp_path / "nan.safetensors")
    with pytest.raises(pretrained.WeightsError, match=r"layer1\.0\.conv1\.weight holds NaN or infinity"):
        pretrained.build(tmp_path / "nan.safetensors")


def test_a_file_that_lacks_an_array_is_not_told_to_build_another_model(tmp_path):
    state = models.resnet8(rng=0).state_dict()
    del state["layer2.0.bn2.running_var"]
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(pretrained.WeightsError, match=r"missing: layer2\.0\.bn2\.running_var: the file is incomplete"):
        pretrained.build(tmp_path / "a.safetensors")
    with pytest.raises(pretrained.WeightsError, match="build the model that `identify` names"):
        pretrained.load(models.resnet20(rng=0), tmp_path / "a.safetensors")
