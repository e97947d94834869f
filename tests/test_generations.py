"""A run's files belong together: what is lost, damaged or swapped, the next --resume mends, or says what to do."""

import dataclasses
import hashlib
import json
import os
import shutil
import signal

import numpy as np
import pytest
import scripts
from safetensors.numpy import load_file, save_file
from scripts import one_sentence, table
from test_data_cifar import make_batches, write_binary

from minires import checkpoint
from minires.cli import identity, runs
from minires.cli.recording import Recorder
from minires.data import Loader
from minires.data.stream import Pictures
from minires.trainer import Trainer

FAST = ("--batch-size", 16, "--model", "simple_cnn", "--seed", 3, "--lr", 0.05, "--device", "cpu", "--epochs", 3)


@pytest.fixture(scope="module")
def script():
    return scripts.load("train_cifar")


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr(Recorder, "picture", lambda self, name, draw: (self.folder / name).write_bytes(b"a picture"))


@pytest.fixture
def main(script, cifar, monkeypatch, capsys):
    """main("--flag", ...) -> (exit code, stdout, stderr), on the tiny copy or on another."""

    def call(*flags, data_dir=cifar):
        return scripts.call(script, monkeypatch, capsys, *flags, "--data-dir", data_dir)

    return call


@pytest.fixture(scope="module")
def whole(script, cifar, tmp_path_factory):
    """The folder of a run of three epochs that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("sys.argv", ["train_cifar.py", *map(str, (*FAST, "--data-dir", cifar, "--out", folder))])
        patched.setattr(Recorder, "picture", lambda self, name, draw: (self.folder / name).write_bytes(b"a picture"))
        assert script.main() == 0
    return folder


@pytest.fixture
def run(whole, tmp_path):
    """A copy of it."""
    return shutil.copytree(whole, tmp_path / "run")


def load(folder, name="last"):
    return checkpoint.load(folder / f"{name}.safetensors")


def bits(folder, name="last"):
    return {key: array.tobytes() for key, array in load(folder, name).model.items()}


def flip(path, place=-1):
    """One bit of a file."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


# Files made from the checkpoint -------------------------------------------------------------------------------------


def test_killed_after_the_last_checkpoint_every_other_file_is_made(whole, main, run):
    for name in ("log.csv", "result.json", "config.json", "curves.png", "confusion.png", "mistakes.png"):
        (run / name).unlink()
    assert main("--resume", run)[0] == 0
    assert {path.name for path in run.iterdir()} == {path.name for path in whole.iterdir()}
    assert (run / "log.csv").read_bytes() == (whole / "log.csv").read_bytes()
    assert (run / "config.json").read_bytes() == (whole / "config.json").read_bytes()
    found, expected = (json.loads((folder / "result.json").read_text()) for folder in (run, whole))
    assert {**found, "peak_memory_mb": 0} == {**expected, "peak_memory_mb": 0}


def test_a_log_that_is_an_epoch_short_is_made_whole(main, run):
    (run / "last.safetensors").write_bytes((run / "previous.safetensors").read_bytes())  # after epoch 2
    rows = (run / "log.csv").read_text().splitlines(keepends=True)
    (run / "log.csv").write_text("".join(rows[:2]))  # of epoch 1 alone
    lines = (run / "train.log").read_text().splitlines(keepends=True)
    second = next(number for number, line in enumerate(lines) if line.split()[:1] == ["2"])
    (run / "train.log").write_text("".join(lines[:second]) + "half a li")
    assert main("--resume", run)[0] == 0
    assert [row["epoch"] for row in table(run / "log.csv")] == ["1", "2", "3"]
    text = (run / "train.log").read_text()
    assert "half a li\n" in text and text.count(lines[second]) == 1


def test_config_says_after_going_on_what_it_said_before(whole, main, run):
    (run / "last.safetensors").write_bytes((run / "previous.safetensors").read_bytes())
    assert main("--resume", run)[0] == 0
    expected = (whole / "config.json").read_text()  # "dataset": "auto" among it
    assert '"auto"' in expected and (run / "config.json").read_text() == expected.replace(str(whole), str(run))


# Two generations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "harm",
    [
        "flip",
        "cut",
        "gone",
        pytest.param("pipe", marks=pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes have names here")),
    ],
)
def test_without_last_the_run_goes_on_from_previous(whole, main, run, harm):
    path = run / "last.safetensors"
    if harm == "flip":
        flip(path)
    elif harm == "cut":
        path.write_bytes(path.read_bytes()[:1000])
    else:
        path.unlink()
    if harm == "pipe":
        os.mkfifo(path)
    code, printed, err = main("--resume", run)
    assert code == 0 and "the run goes on from previous.safetensors, after epoch 2" in err
    assert "going on after epoch 2" in printed
    for name in ("last", "best", "previous"):
        assert bits(run, name) == bits(whole, name)
    assert {path.name for path in run.iterdir()} == {path.name for path in whole.iterdir()}


def test_a_folder_in_the_way_of_last_is_named(main, run):
    (run / "last.safetensors").unlink()
    (run / "last.safetensors").mkdir()
    code, _, err = main("--resume", run)
    assert code == 1 and err.splitlines()[-1].endswith("a folder of that name is in its way: move it")


def test_advice_never_names_a_file_that_is_damaged_too(main, run):
    for name in ("last", "previous"):
        flip(run / f"{name}.safetensors")
    code, _, err = main("--resume", run)
    assert code == 1 and "previous.safetensors is damaged, too: put back" in one_sentence(err) and "--evaluate" in err
    flip(run / "best.safetensors")
    code, _, err = main("--resume", run)
    assert code == 1 and "start a new run" in one_sentence(err) and "best.safetensors" not in err


def test_previous_is_the_end_of_the_epoch_before(whole):
    assert load(whole, "previous").position["epoch"] == 2 and load(whole).position["epoch"] == 3


def test_a_disk_without_links_keeps_a_copy(whole, main, tmp_path, monkeypatch):
    def no_links(source, target):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", no_links)
    assert main(*FAST, "--out", tmp_path / "run")[0] == 0
    assert bits(tmp_path / "run", "previous") == bits(whole, "previous")
    assert not list((tmp_path / "run").glob(".*.part"))


@pytest.mark.parametrize("harm", [lambda path: path.unlink(), flip], ids=["missing", "damaged"])
def test_a_previous_that_is_lost_is_said_once_and_a_copy_of_last_takes_its_place(whole, main, run, harm):
    harm(run / "previous.safetensors")
    code, _, err = main("--resume", run)
    assert code == 0 and "previous.safetensors" in err and "a copy of last.safetensors takes its place" in err
    assert bits(run, "previous") == bits(whole) and load(run, "previous").position == load(whole).position
    code, _, err = main("--resume", run)
    assert code == 0 and "previous" not in err
    flip(run / "last.safetensors")
    code, _, err = main("--resume", run)
    assert code == 0 and "the run goes on from previous.safetensors, after epoch 3" in err and bits(run) == bits(whole)


def test_a_previous_that_cannot_be_there_yet_is_not_missed(main, tmp_path, monkeypatch):
    def killed(self):
        raise OSError("killed before its first step")

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_epoch", killed)
        assert main(*FAST, "--out", tmp_path / "run")[0] == 1
    assert load(tmp_path / "run").position["epoch"] == 0
    assert not (tmp_path / "run" / "previous.safetensors").exists()
    code, _, err = main("--resume", tmp_path / "run")
    assert code == 0 and "previous" not in err


def test_what_was_read_before_the_folder_was_locked_is_read_again_only_if_it_has_changed(main, run, monkeypatch):
    read, load_it = [], checkpoint.load

    def loaded(path):
        read.append(os.path.basename(path))
        return load_it(path)

    monkeypatch.setattr(checkpoint, "load", loaded)
    assert main("--resume", run)[0] == 0
    assert read.count("last.safetensors") == 1
    read.clear()
    claim = runs.claimed

    def claimed(*arguments):
        shutil.copy(run / "previous.safetensors", run / "last.safetensors")
        return claim(*arguments)

    monkeypatch.setattr(runs, "claimed", claimed)
    code, printed, _ = main("--resume", run)
    assert code == 0 and read.count("last.safetensors") == 2 and "going on after epoch 2" in printed


# The best -----------------------------------------------------------------------------------------------------------


def test_a_best_that_last_holds_is_made_again(main, tmp_path):
    out = tmp_path / "run"
    main(*FAST, "--val-split", 0, "--out", out)  # the last is the best
    before = load(out, "best").info, bits(out, "best")
    for harm in (lambda path: path.unlink(), flip):
        harm(out / "best.safetensors")
        code, _, err = main("--resume", out)
        assert code == 0 and "made again from last.safetensors" in err
        assert (load(out, "best").info, bits(out, "best")) == before


@pytest.mark.parametrize("name", ["last", "best", "previous"])
def test_a_file_of_another_run_is_refused(main, run, tmp_path, name):
    main(*FAST, "--seed", 4, "--out", tmp_path / "other")
    shutil.copy(tmp_path / "other" / f"{name}.safetensors", run)
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    code, _, err = main("--resume", run)
    other = json.loads((tmp_path / "other" / "config.json").read_text())["run"]
    assert code == 1 and f"{name}.safetensors: is of run {other}" in one_sentence(err)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


# Checksums ----------------------------------------------------------------------------------------------------------


def test_a_flipped_bit_is_refused_wherever_weights_are_read(main, run):
    flip(run / "best.safetensors", -5)
    code, _, err = main("--evaluate", run / "best.safetensors")
    assert code == 1 and "checksum" in one_sentence(err)


def test_a_file_of_an_earlier_version_is_read_and_that_is_said(main, run):
    """Without a checksum, a run's id, a hash of the data and the best model's digest."""
    for name in ("last", "best"):
        path, loaded = run / f"{name}.safetensors", load(run, name)
        config = {key: value for key, value in loaded.info["config"].items() if key not in ("run", "data")}
        position = loaded.position and {k: v for k, v in loaded.position.items() if k != "best_model"}
        optimizer = loaded.optimizer and {k: v for k, v in loaded.optimizer.items() if k != "arrays"}
        header = dataclasses.asdict(loaded) | {"position": position, "optimizer": optimizer}
        header = {key: header[key] for key in ("optimizer", "position", "generators", "info")}
        header["info"] = {**loaded.info, "config": config}
        save_file(load_file(path), path, {"format": "minires-checkpoint-1", "minires": json.dumps(header)})
    (run / "previous.safetensors").unlink()
    code, _, err = main("--resume", run)
    assert code == 0 and "last.safetensors: written by an earlier version, without a checksum" in err
    code, _, err = main("--evaluate", run / "best.safetensors", "--device", "cpu")
    assert code == 0
    assert main("--resume", run, "--epochs", 4, "--lr", 0.01)[0] == 0
    assert load(run).verified and len(load(run).info["config"]["run"]) == 16


def test_the_checksum_by_hand():
    array = np.arange(3, dtype=np.float32)
    text = b'[["a", "b"]]' + b'["x", "<f4", [3]]' + array.tobytes()
    assert checkpoint.digest({"x": array}, {"a": "b"}) == hashlib.sha256(text).hexdigest()


# The data -----------------------------------------------------------------------------------------------------------


def test_other_pictures_are_refused(main, run, tmp_path):
    write_binary(tmp_path / "data", make_batches(12))
    assert main("--resume", run, data_dir=tmp_path / "data")[0] == 0  # the same pictures elsewhere
    path = next((tmp_path / "data").rglob("test_batch.bin"))
    flip(path, 500)
    code, _, err = main("--resume", run, data_dir=tmp_path / "data")
    assert code == 1 and "the test images or their labels are not those" in one_sentence(err)


def test_what_the_hash_of_the_data_sees():
    images, labels = np.zeros((4, 2, 2, 3), np.uint8), np.zeros(4, np.int64)

    def of(images, labels, fingerprint="a"):
        loaders = (
            Loader(images, labels, 2, (0.5,) * 3, (0.2,) * 3),
            None,
            Loader(images, labels, 2, (0.5,) * 3, (0.3,) * 3),
        )
        return identity.of_data(loaders, fingerprint)["train"]

    other_images, other_labels = images.copy(), labels.copy()
    other_images[3, 1, 1, 2], other_labels[0] = 1, 1
    pictures = Pictures(["a", "b", "c", "d"], lambda path: images[0], 2)
    order = pictures.subset(np.array([1, 0, 2, 3]))
    found = [of(images, labels), of(other_images, labels), of(images, other_labels), of(images[:3], labels[:3])]
    found += [of(pictures, labels), of(order, labels), of(pictures, labels, "b")]
    assert len(set(found)) == len(found) and of(images.copy(), labels) == found[0]


# Files that are none --------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
@pytest.mark.parametrize("name", ["config.json", "train.log", "result.json"])
@pytest.mark.parametrize("kind", ["a pipe", "without end"])
def test_what_never_ends_in_a_run_of_somebody_else_is_not_waited_for(run, main, name, kind):
    (run / name).unlink()
    if kind == "a pipe":
        os.mkfifo(run / name)
    else:
        (run / name).symlink_to("/dev/zero")
    signal.alarm(60)  # ends the tests where this hangs
    try:
        code, _, err = main("--resume", run, "--epochs", 4, "--lr", 0.02)
    finally:
        signal.alarm(0)
    assert code == 0, err
    assert name == "train.log" or json.loads((run / name).read_text())
