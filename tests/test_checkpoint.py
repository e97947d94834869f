"""Checkpoints: what comes back is what was saved, and nothing is lost on the way."""

import errno
import json
import os

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from minires import checkpoint, optim, pretrained
from minires.layers import Dropout, Linear
from minires.models import resnet8
from minires.pretrained.safetensors_file import read_safetensors
from minires.sequential import Sequential
from minires.training import train_step


def trained(seed=0, steps=2):
    """A small model with dropout and its optimizer, some steps on."""
    model = Sequential(Linear(6, 8, rng=seed), Dropout(0.5, rng=seed), Linear(8, 3, rng=seed))
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    for step in range(steps):
        one_step(model, optimizer, step)
    return model, optimizer


def one_step(model, optimizer, step):
    rng = np.random.default_rng(step)
    return train_step(model, optimizer, rng.standard_normal((5, 6)).astype(np.float32), rng.integers(0, 3, 5))


def test_everything_comes_back(tmp_path):
    model, optimizer = trained()
    position = {"epoch": 3, "loss_sum": 0.1 + 0.2, "history": [{"val_acc": None}]}
    checkpoint.save(tmp_path / "a.safetensors", model, optimizer, position, {"name": "größe"})
    loaded = checkpoint.load(tmp_path / "a.safetensors")
    assert loaded.position == position
    assert loaded.info == {"name": "größe"}
    for key, array in model.state_dict().items():
        np.testing.assert_array_equal(loaded.model[key], array)

    other, other_optimizer = trained(seed=1, steps=0)
    other.load_state_dict(loaded.model)
    other_optimizer.load_state_dict(loaded.optimizer)
    checkpoint.restore_generators(other, loaded.generators)
    for step in range(2, 5):  # the same bits from here on, dropout's masks included
        assert one_step(model, optimizer, step)[0] == one_step(other, other_optimizer, step)[0]
    for key, array in model.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[key], array)


def test_any_reader_of_safetensors_finds_the_state_dict(tmp_path):
    model = resnet8(rng=0)
    checkpoint.save(tmp_path / "a.safetensors", model)
    arrays = load_file(tmp_path / "a.safetensors")
    assert set(arrays) == set(model.state_dict())
    np.testing.assert_array_equal(arrays["layer2.0.conv1.weight"], model.state_dict()["layer2.0.conv1.weight"])


@pytest.mark.parametrize("kept", [0, 1, 8, 100, 0.5, 0.99])
def test_a_file_cut_short_is_named(tmp_path, kept):
    path = tmp_path / "last.safetensors"
    checkpoint.save(path, *trained())
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    with pytest.raises(checkpoint.CheckpointError, match=r"last\.safetensors: damaged.*another copy"):
        checkpoint.load(path)


def test_what_a_damaged_file_says_is_shown_short_and_escaped(tmp_path):
    """The package safetensors quotes the file in its own words."""
    path = tmp_path / "last.safetensors"
    header = json.dumps({"x": {"dtype": "\x1b[2J\u202e" + "y" * 5000, "shape": [], "data_offsets": [0, 0]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(checkpoint.CheckpointError, match="no safetensors file") as raised:
        checkpoint.load(path)
    assert str(raised.value).isprintable() and len(str(raised.value)) < 300 + len(str(path))


def test_a_missing_file_and_a_foreign_file_are_named(tmp_path):
    with pytest.raises(checkpoint.CheckpointError, match="no such checkpoint"):
        checkpoint.load(tmp_path / "a.safetensors")
    save_file({"x": np.zeros(3)}, tmp_path / "b.safetensors")
    with pytest.raises(checkpoint.CheckpointError, match=r"b\.safetensors: a safetensors file, but no checkpoint"):
        checkpoint.load(tmp_path / "b.safetensors")


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_full_disk_leaves_the_previous_checkpoint_whole(tmp_path, monkeypatch, failing):
    path = tmp_path / "last.safetensors"
    checkpoint.save(path, *trained(steps=1))
    before = path.read_bytes()

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(path, *trained(steps=2))
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["last.safetensors"]  # no half-written file stays


def test_parameters_that_are_not_finite_are_not_saved(tmp_path):
    path = tmp_path / "last.safetensors"
    model, optimizer = trained()
    checkpoint.save(path, model, optimizer)
    before = path.read_bytes()
    model.parameters()[0].data[0, 0] = np.nan
    with pytest.raises(ValueError, match=r"not saved.*0\.weight"):
        checkpoint.save(path, model, optimizer)
    assert path.read_bytes() == before


def signed(path, text, format="minires-checkpoint-2"):
    """A file whose metadata is this text, with the checksum that fits."""
    arrays, metadata = {"x": np.zeros(1, np.float32)}, {"format": format, "minires": text}
    save_file(arrays, path, metadata | {"sha256": checkpoint.digest(arrays, metadata)})
    return path


@pytest.mark.parametrize(
    "text",
    [
        "[" * 900 + "]" * 900,
        "[" * 10**6,
        '{"optimizer": null, "optimizer": null, "position": null, "generators": {}, "info": {}}',
        '{"optimizer": null, "position": NaN, "generators": {}, "info": {}}',
        '{"optimizer": 1, "position": null, "generators": {}, "info": {}}',
        '{"optimizer": null, "position": null, "generators": []}',
        '{"optimizer": {"kind": "SGD"}, "position": null, "generators": {}, "info": {}}',
        "null",
        "",
    ],
)
def test_metadata_that_is_none_though_the_checksum_fits(tmp_path, text):
    with pytest.raises(checkpoint.DamagedError, match=r"a\.safetensors: damaged"):
        checkpoint.load(signed(tmp_path / "a.safetensors", text))


def test_metadata_that_are_null_are_none_as_safetensors_reads_them(tmp_path):
    path, header = tmp_path / "a.safetensors", b'{"__metadata__": null, "a": '
    header += b'{"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header + np.float32(1.5).tobytes())
    with safe_open(path, "np") as file:
        assert file.metadata() is None
    with pytest.raises(checkpoint.CheckpointError, match="but no checkpoint of this program"):
        checkpoint.load(path)
    state, info = read_safetensors(path)
    assert (state["a"].tolist(), info) == ([1.5], {})


def test_a_checkpoint_of_a_later_version_is_not_called_damaged(tmp_path):
    with pytest.raises(checkpoint.CheckpointError, match="another version, 'minires-checkpoint-3'") as found:
        checkpoint.load(signed(tmp_path / "a.safetensors", "{}", "minires-checkpoint-3"))
    assert not isinstance(found.value, checkpoint.DamagedError)


def test_every_bit_of_the_file_counts(tmp_path):
    """Each in turn of the header, and every seventh of the rest."""
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, Sequential(Linear(2, 2, rng=0)), info={"epoch": 3})
    content = path.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    for place in [*range(8 * header), *range(8 * header, 8 * len(content), 7)]:
        changed = bytearray(content)
        changed[place // 8] ^= 1 << place % 8
        path.write_bytes(changed)
        with pytest.raises(checkpoint.CheckpointError):
            checkpoint.load(path)


def test_what_could_not_be_read_is_not_written(tmp_path):
    with pytest.raises(OSError, match=r"its metadata takes .* bytes, at most 4194304 are read"):
        checkpoint.save(tmp_path / "a.safetensors", Sequential(Linear(2, 2, rng=0)), info={"a": "x" * 2**22})
    assert not list(tmp_path.iterdir())


def test_the_longest_header_that_is_written_is_read_as_weights_too(tmp_path):
    path, room = tmp_path / "a.safetensors", checkpoint.MAX_HEADER - 20_000
    checkpoint.save(path, resnet8(rng=0), position={"history": "a" * room})
    assert len(checkpoint.load(path).position["history"]) == room
    assert pretrained.read(path)[1]["num_classes"] == 10


def test_weights_whose_header_could_not_be_read_are_not_written(tmp_path):
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, resnet8(rng=0))
    state, metadata = pretrained.read(path)
    pretrained.write(path, state, metadata)
    before = path.read_bytes()
    with pytest.raises(OSError, match=r"a.safetensors could not be written: its metadata takes .* shorter names"):
        pretrained.write(path, state, {**metadata, "classes": ["a" * 10**6] * 10})
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1
