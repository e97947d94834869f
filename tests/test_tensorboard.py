"""What --tensorboard writes, read back: the values of the run, each once a step, whenever the run was stopped."""

import io
import json
import os
import signal
import struct
import sys

import numpy as np
import pytest
import scripts
from PIL import Image
from scripts import table

from minires import checkpoint, models
from minires.cli.events import EventFile, events, masked, record, records
from minires.cli.recording import Recorder
from minires.modes import no_grad

FAST = ("--model", "simple_cnn", "--batch-size", 16, "--epochs", 2, "--seed", 3, "--lr", 0.05, "--device", "cpu")


@pytest.fixture
def script(monkeypatch):
    """train_cifar.py, which draws no pictures of its own."""
    loaded = scripts.load("train_cifar")
    monkeypatch.setattr(loaded.runs.Recorder, "picture", lambda self, name, draw: None)
    return loaded


@pytest.fixture
def main(script, cifar, monkeypatch, capsys):
    return lambda *flags: scripts.call(script, monkeypatch, capsys, *flags, "--data-dir", cifar)


@pytest.fixture
def board(monkeypatch):
    """minires.cli.tensorboard, where tensorboardX is installed; numbers of each second step."""
    monkeypatch.setenv("CRC32C_SW_MODE", "auto")  # which tensorboardX sets
    pytest.importorskip("tensorboardX", reason="pip install tensorboardX")
    from minires.cli import tensorboard

    monkeypatch.setattr(tensorboard, "EVERY", 2)
    return tensorboard


def read(folder):
    """{(tag, step): Summary.Value or bytes of a graph} of the only file in a folder; none may be there twice."""
    (path,) = folder.iterdir()
    found = {}
    for number, event in enumerate(events(path)):
        if number == 0:
            assert event.file_version == "brain.Event:2"
            continue
        value = event.graph_def or event.summary.value[0]
        key = ("graph" if event.graph_def else value.tag), event.step
        assert key not in found
        found[key] = value
    return found


def numbers(found):
    """{(tag, step): number} of the curves, without how fast the run was."""
    curves = {key: value for key, value in found.items() if not isinstance(value, bytes)}
    return {
        key: value.simple_value
        for key, value in curves.items()
        if value.HasField("simple_value") and key[0] != "images_per_second"
    }


def lasting(found):
    """All contents but how fast the run was, and the gradients, of which a checkpoint has none."""
    left = {key: value for key, value in found.items() if not key[0].startswith(("images_per", "gradient", "_hparams"))}
    return {key: value if isinstance(value, bytes) else value.SerializeToString() for key, value in left.items()}


# The record format ----------------------------------------------------------------------------------------------


def test_the_checksum():
    crc = 0xE3069283  # of these digits: RFC 3720's CRC-32C
    assert masked(b"123456789") == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    assert masked(b"") == 0xA282EAD8


def test_records_are_read_back_up_to_the_first_that_is_not_whole():
    written = [b"", b"one", bytes(range(256)) * 3]
    whole = b"".join(map(record, written))
    ends = np.cumsum([len(record(data)) for data in written]).tolist()
    for size in range(len(whole) + 1):
        assert list(records(whole[:size])) == written[: sum(end <= size for end in ends)]
    for place in range(len(whole)):
        broken = whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :]
        assert list(records(broken)) == written[: sum(end <= place for end in ends)]


def test_a_length_that_no_file_has():
    length = struct.pack("<Q", 2**62)
    assert not list(records(length + struct.pack("<I", masked(length)) + b"data"))


class TestEventFile:
    def number(self, value):
        return lambda: {"simple_value": value}

    def test_each_tag_once_a_step_over_all_processes(self, board, tmp_path):
        for until in (0, 10, 10):
            one = EventFile(tmp_path / "events", until)
            for step in range(12):
                one.add(step, "a", self.number(step))
                one.add(step, "a", self.number(-1))
            one.write()
        assert numbers(read(tmp_path / "events")) == {("a", step): step for step in range(12)}

    def test_what_lies_after_the_checkpoint_goes(self, board, tmp_path):
        one = EventFile(tmp_path / "events", 0)
        for step in range(6):
            one.add(step, "a", self.number(step))
        one.write()
        EventFile(tmp_path / "events", 3).write()
        assert numbers(read(tmp_path / "events")) == {("a", step): step for step in range(4)}

    def test_after_a_kill_at_any_byte_and_between_any_two_steps(self, board, tmp_path):
        one = EventFile(tmp_path / "events", 0)
        one.add(1, "a", self.number(1))
        one.add(2, "a", self.number(2))
        one.write()
        content = one.path.read_bytes()
        for size in (len(content) - 1, len(content) - 20, 5, 0):
            one.path.write_bytes(content[:size])
            for path in (tmp_path / "events").iterdir():
                if path != one.path:
                    path.unlink()
            two = EventFile(tmp_path / "events", 9)
            for step in (1, 2):
                two.add(step, "a", self.number(step))
            two.write()
            assert numbers(read(tmp_path / "events")) == {("a", 1): 1, ("a", 2): 2}
            one.path.write_bytes(content)  # the new one was written, and the old one not yet removed
            EventFile(tmp_path / "events", 9).write()
            assert numbers(read(tmp_path / "events")) == {("a", 1): 1, ("a", 2): 2}

    def test_names_come_in_the_order_of_time(self, board, tmp_path):
        names = []
        for _ in range(3):
            one = EventFile(tmp_path / "events", 0)
            one.write()
            names.append(one.path.name)
        assert names == sorted(set(names))

    @pytest.mark.skipif(os.name == "nt", reason="links need rights there")
    def test_links_lead_nowhere(self, board, tmp_path):
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "linked").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(ValueError, match="is a link: move it away"):
            EventFile(tmp_path / "linked", 0)
        (tmp_path / "secret").write_bytes(b"?")
        (tmp_path / "events").mkdir()
        (tmp_path / "events" / "events.out.tfevents.1.x").symlink_to(tmp_path / "secret")
        EventFile(tmp_path / "events", 0).write()
        assert (tmp_path / "secret").read_bytes() == b"?"


# A run ----------------------------------------------------------------------------------------------------------


def test_a_run_as_tensorboard_shows_it(board, main, tmp_path):
    code, _, err = main(*FAST, "--tensorboard", "--out", tmp_path / "run")
    assert code == 0 and not err
    found, state = read(tmp_path / "run" / "tensorboard"), checkpoint.load(tmp_path / "run" / "last.safetensors").model
    curves = numbers(found)
    for row in table(tmp_path / "run" / "log.csv"):
        for tag, column in board.EPOCH.items():
            if column != "images_per_second" and row[column]:
                assert curves[tag, int(row["iteration"])] == pytest.approx(float(row[column]), rel=1e-6)
    layers = {key.rpartition(".")[0] for key in state}
    assert {tag for tag, _ in curves if tag.startswith("gradient")} == {f"gradient_norm/{layer}" for layer in layers}
    assert {step for tag, step in curves if tag == "learning_rate"} == {2, 4, 6, 8}
    assert curves["accuracy/test", 8] == pytest.approx(
        json.loads((tmp_path / "run" / "result.json").read_text())["test_acc"], rel=1e-6
    )
    model = models.simple_cnn(rng=0)
    for path, parameter in model.named_parameters():
        histogram = found[f"weights/{path}", 8].histo
        assert histogram.num == parameter.size == sum(histogram.bucket)
        assert (histogram.min, histogram.max) == (state[path].min(), state[path].max())
        assert found[f"weights/{path}", 0].histo.num == parameter.size  # and of the beginning
    for step in (0, 4, 8):
        picture = Image.open(io.BytesIO(found["predictions", step].image.encoded_image_string))
        assert picture.size == (found["predictions", step].image.width, found["predictions", step].image.height)
    assert {tag for tag, _ in found if tag.startswith("_hparams")} == {
        f"_hparams_/{part}" for part in ("experiment", "session_start_info", "session_end_info")
    }


def test_settings_and_results_side_by_side(board):
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

    settings = {"lr": 0.1, "model": "resnet8", "nesterov": True, "patience": None, "range": [0.0, 1.0], "out": "secret"}
    experiment, start, end = (
        HParamsPluginData.FromString(value.metadata.plugin_data.content) for value in board.hyperparameters(settings)
    )
    values = start.session_start_info.hparams
    assert set(values) == {"lr", "model", "nesterov", "range"}
    assert (values["lr"].number_value, values["model"].string_value) == (0.1, "resnet8")
    assert values["nesterov"].bool_value and values["range"].string_value == "[0.0, 1.0]"
    assert {info.name.tag for info in experiment.experiment.metric_infos} == set(board.METRICS)
    assert end.session_end_info.status == 1  # success


def test_the_graph_is_the_network(board):
    from minires.cli.graph import graph_of

    model = models.resnet8(shortcut="A", rng=0)
    nodes = {node.name: node for node in graph_of(model, np.zeros((1, 32, 32, 3), np.float32)).node}
    leaves = [path for path, module in model.named_modules() if not list(module.children())]
    assert nodes.keys() == {"input", *(path.replace(".", "/") for path in leaves)}
    assert list(nodes["conv1"].input) == ["input"]
    assert list(nodes["layer1/0/bn2"].input) == ["layer1/0/conv2", "bn1"]
    assert list(nodes["layer2/0/bn2"].input) == ["layer2/0/conv2", "layer1/0/bn2"]  # the shortcut is a function
    assert list(nodes["fc"].input) == ["avgpool"]
    assert nodes["fc"].attr["parameters"].i == 650 and nodes["fc"].op == "Linear"
    shape = nodes["conv1"].attr["_output_shapes"].list.shape[0]
    assert [dim.size for dim in shape.dim] == [-1, 32, 32, 16]


def test_a_picture_of_predictions_changes_nothing(board, main, tmp_path):
    for name, flags in (("with", ["--tensorboard"]), ("without", [])):
        assert main(*FAST, *flags, "--out", tmp_path / name)[0] == 0
    one, other = (checkpoint.load(tmp_path / name / "last.safetensors") for name in ("with", "without"))
    assert {key: array.tobytes() for key, array in one.model.items()} == {
        key: array.tobytes() for key, array in other.model.items()
    }
    assert not (tmp_path / "without" / "tensorboard").exists()


# Stopping and going on ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("iteration", [1, 4, 6])
def test_a_run_that_was_stopped_has_the_events_of_one_that_was_not(
    board, script, main, monkeypatch, tmp_path, iteration
):
    assert main(*FAST, "--tensorboard", "--out", tmp_path / "whole")[0] == 0

    def stop(self, trainer, batch=board.TensorBoardWatcher.batch):
        batch(self, trainer)
        if trainer.position.iteration == iteration:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(board.TensorBoardWatcher, "batch", stop)
        assert main(*FAST, "--tensorboard", "--out", tmp_path / "parts")[0] == 130
    assert main("--resume", tmp_path / "parts")[0] == 0
    whole, parts = (read(tmp_path / name / "tensorboard") for name in ("whole", "parts"))
    assert numbers(parts) == numbers(whole)
    assert lasting(parts) == lasting(whole)


def test_what_a_killed_process_has_not_written_is_written_then(board, main, monkeypatch, tmp_path):
    """Killed when the first epoch's checkpoint was there, and its events were not."""
    assert main(*FAST, "--tensorboard", "--out", tmp_path / "whole")[0] == 0
    epoch = board.TensorBoardWatcher.epoch

    def killed(self, trainer, row):
        raise KeyboardInterrupt

    monkeypatch.setattr(board.TensorBoardWatcher, "epoch", killed)
    assert main(*FAST, "--tensorboard", "--out", tmp_path / "parts")[0] == 130
    monkeypatch.setattr(board.TensorBoardWatcher, "epoch", epoch)
    assert main("--resume", tmp_path / "parts")[0] == 0
    whole, parts = (read(tmp_path / name / "tensorboard") for name in ("whole", "parts"))
    assert lasting(parts) == lasting(whole)


def test_a_run_that_has_ended_is_tested_again_and_may_go_on(board, main, tmp_path):
    assert main(*FAST, "--tensorboard", "--out", tmp_path / "run")[0] == 0
    before = read(tmp_path / "run" / "tensorboard")
    assert main("--resume", tmp_path / "run")[0] == 0
    after = read(tmp_path / "run" / "tensorboard")
    assert {key: str(value) for key, value in after.items()} == {key: str(value) for key, value in before.items()}
    assert main("--resume", tmp_path / "run", "--epochs", 3, "--lr", 0.01)[0] == 0
    longer = numbers(read(tmp_path / "run" / "tensorboard"))
    assert numbers(before).items() <= longer.items()
    assert ("accuracy/test", 12) in longer


def test_a_run_may_begin_it_and_leave_it(board, main, tmp_path):
    assert main(*FAST, "--out", tmp_path / "run")[0] == 0
    longer = ("--lr", 0.01, "--schedule", "constant")
    assert main("--resume", tmp_path / "run", "--epochs", 3, *longer, "--tensorboard")[0] == 0
    curves = numbers(read(tmp_path / "run" / "tensorboard"))
    assert {step for tag, step in curves if tag == "loss/training"} == {4, 8, 12}  # the finished epochs, too
    assert main("--resume", tmp_path / "run", "--epochs", 4, *longer, "--no-tensorboard")[0] == 0
    assert numbers(read(tmp_path / "run" / "tensorboard")) == curves


# What goes wrong ------------------------------------------------------------------------------------------------


def test_without_the_package_it_says_which(main, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    code, _, err = main(*FAST, "--tensorboard", "--out", tmp_path / "run")
    assert code == 1 and not (tmp_path / "run").exists()
    sentence = scripts.one_sentence(err)
    assert sentence.startswith("error: --tensorboard needs tensorboardX (") and sentence.endswith(
        "): pip install tensorboardX"
    )


def test_who_does_not_ask_for_it_does_not_load_it(main, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    monkeypatch.setitem(sys.modules, "minires.cli.tensorboard", None)
    monkeypatch.setitem(sys.modules, "minires.cli.events", None)
    assert main(*FAST, "--epochs", 1, "--out", tmp_path / "run")[0] == 0


def test_a_disk_that_takes_no_more_ends_the_events_and_not_the_run(board, main, monkeypatch, tmp_path):
    add, calls = EventFile.add, []

    def full(self, step, tag, content):
        calls.append(step)
        if step:
            raise OSError(28, "No space left on device")
        add(self, step, tag, content)

    monkeypatch.setattr(EventFile, "add", full)
    code, _, err = main(*FAST, "--tensorboard", "--out", tmp_path / "run")
    assert code == 0 and sum(map(bool, calls)) == 1
    assert err == "note: tensorboard is left out (No space left on device): the run and its result stand\n"


def test_of_several_ranks_only_the_first_writes(board, tmp_path):
    config = {"settings": {"model": "m", "seed": 0, "no_progress": True}, "dataset": {"label": "l"}}
    watcher = board.TensorBoardWatcher(Recorder(tmp_path, writes=False), config)
    watcher._write(lambda events: 1 / 0)
    watcher.close()
    assert not list(tmp_path.iterdir())


def test_predictions_name_the_classes(board, monkeypatch):
    """The titles over a picture's images: what the network says, how sure it is, and what it is."""
    model, drawn = models.resnet8(num_classes=3, rng=0), []
    watcher = board.TensorBoardWatcher.__new__(board.TensorBoardWatcher)
    x = np.random.default_rng(0).standard_normal((2, 32, 32, 3)).astype(np.float32)
    with no_grad():
        said = model.eval()(x)[0].argmax(axis=1)
    labels = np.array([said[0], (said[1] + 1) % 3])
    watcher.sample = x, labels, [np.zeros((32, 32, 3), np.uint8)] * 2
    watcher.config = {"classes": ["cat", "dog", "owl"]}
    monkeypatch.setattr(board, "draw_images", lambda images, titles: drawn.append((images, titles)))
    monkeypatch.setattr(board, "image", lambda figure: None)
    watcher._predictions(type("Trainer", (), {"model": model.train()}))
    assert all(module.training for module in model.modules())
    ((_, (first, second)),) = drawn
    names = watcher.config["classes"]
    assert first.startswith(f"{names[labels[0]]} ") and first.endswith("%\nright")
    assert second.endswith(f"%\nis {names[labels[1]]}")
