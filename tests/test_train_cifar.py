"""examples/train_cifar.py as its user meets it: flags, files, stopping and going on, and what goes wrong."""

import importlib.util
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import cupy_double
import numpy as np
import pytest
from scripts import table
from test_data_cifar import make_batches, write_binary

from minires import checkpoint, data, models
from minires.cli import legs
from minires.cli.ensembles import Member
from minires.cli.recording import FILES
from minires.training import evaluate

SCRIPT = Path(__file__).resolve().parent.parent / "examples" / "train_cifar.py"
FAST = (
    "--batch-size",
    "16",
    "--model",
    "simple_cnn",
    "--epochs",
    "2",
    "--seed",
    "3",
    "--lr",
    "0.05",
    "--device",
    "cpu",
)


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("train_cifar", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def main(example, cifar, monkeypatch, capsys):
    """main("--flag", ...) -> (exit code, stdout, stderr), on the tiny copy."""

    def call(*flags, data_dir=cifar):
        given = [*flags, *(["--data-dir", str(data_dir)] if data_dir else [])]
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, given)])
        try:
            code = example.main()
        except SystemExit as exit:  # argparse
            code = exit.code
        return code, *capsys.readouterr()

    return call


@pytest.fixture(autouse=True)
def no_curves(example, request, monkeypatch):
    """Drawing takes longer than these runs do: only the tests marked "curves" draw."""
    if "curves" not in request.keywords:
        monkeypatch.setattr(example.runs.Recorder, "picture", lambda self, name, draw: None)


def one_sentence(err):
    """The error must be one line, no traceback."""
    lines = err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    return lines[0]


# A run and its files ---------------------------------------------------------------------------------------------


@pytest.mark.curves
def test_a_run_writes_all_its_files(main, tmp_path):
    out = tmp_path / "run"
    code, printed, _ = main(*FAST, "--out", out)
    assert code == 0
    of_other_scripts = {"found.png", "overlays.png"}
    assert {file.name for file in out.iterdir()} == set(FILES) - of_other_scripts

    config = json.loads((out / "config.json").read_text())
    assert config["settings"]["batch_size"] == 16
    assert config["settings"]["seed"] == 3
    assert config["dataset"]["name"] == "cifar10"
    assert config["device"] == "cpu"
    assert config["versions"]["numpy"] == np.__version__
    assert config["sizes"] == {"train": 56, "val": 6, "test": 13}
    assert "commit" in config

    rows = table(out / "log.csv")
    assert (out / "log.csv").read_text().splitlines()[0] == (
        "epoch,iteration,lr,train_loss,train_acc,val_loss,val_acc,seconds,images_per_second,"
        "ema_val_loss,ema_val_acc,shards,ranks"
    )
    assert [(row["epoch"], row["iteration"]) for row in rows] == [("1", "4"), ("2", "8")]
    for name in ("curves", "confusion", "mistakes"):
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    result = json.loads((out / "result.json").read_text())
    assert result["test_total"] == 13
    assert result["test_acc"] == result["test_correct"] / 13
    assert set(result["class_acc"]) == set(data.CLASSES)
    assert result["peak_memory_mb"] > 10
    assert f"{float(rows[1]['train_loss']):.4f}" in printed
    assert config["dataset"]["label"] in (out / "train.log").read_text()
    assert "\r" not in printed  # no terminal: plain lines


def test_the_result_is_that_of_the_best_model(main, tmp_path, cifar):
    out = tmp_path / "run"
    main(*FAST, "--out", out)
    result = json.loads((out / "result.json").read_text())
    loaded = checkpoint.load(out / "best.safetensors")
    model = models.simple_cnn()
    model.load_state_dict(loaded.model)
    dataset = data.read_cifar10(cifar)
    normalisation = loaded.info["config"]["normalisation"]
    again = evaluate(model, data.Loader(dataset.test_images, dataset.test_labels, 12, **normalisation), 10)
    assert again.accuracy == result["test_acc"]
    assert again.loss == pytest.approx(result["test_loss"], rel=1e-6)


def test_evaluate_prints_loss_accuracy_and_classes(main, tmp_path):
    out = tmp_path / "run"
    main(*FAST, "--out", out)
    result = json.loads((out / "result.json").read_text())
    code, printed, _ = main("--evaluate", out / "best.safetensors", "--device", "cpu")
    assert code == 0
    assert f"test loss {result['test_loss']:.4f}" in printed
    assert f"({result['test_correct']} of 13)" in printed
    assert all(f"  {name}" in printed for name in data.CLASSES)


def test_the_test_set_never_chooses(main, tmp_path, cifar):
    """With other test images everything but the test result is the same."""
    other = tmp_path / "other"
    batches = make_batches(12)
    name = next(name for name in batches if "test" in name)
    batches[name] = make_batches(12, seed=9)[name]
    write_binary(other, batches)
    main(*FAST, "--out", tmp_path / "a")
    main(*FAST, "--out", tmp_path / "b", data_dir=other)
    same_arrays(tmp_path / "a", tmp_path / "b")
    results = [json.loads((tmp_path / run / "result.json").read_text()) for run in "ab"]
    assert results[0]["model_of_epoch"] == results[1]["model_of_epoch"]
    assert results[0]["test_loss"] != results[1]["test_loss"]


def test_limits_and_validation_split(main, tmp_path):
    out = tmp_path / "run"
    main(*FAST, "--out", out, "--limit-train", 40, "--val-split", 8, "--limit-test", 5, "--epochs", 1)
    assert json.loads((out / "config.json").read_text())["sizes"] == {"train": 32, "val": 8, "test": 5}


def test_a_misspelt_flag(main):
    code, _, err = main("--ephocs", 3)
    assert code == 2 and "did you mean --epochs?" in err


def test_without_batch_norm_the_rate_is_lower(main, tmp_path):
    for flags, lr in (((), 0.05), (("--lr", "0.2"), 0.2), (("--optimizer", "adam"), 0.001)):
        out = tmp_path / f"run-{lr}"
        code, _, _ = main(
            "--model", "simple_cnn", "--batch-size", 16, "--epochs", 1, "--device", "cpu", "--out", out, *flags
        )
        assert code == 0 and json.loads((out / "config.json").read_text())["settings"]["lr"] == lr


def test_no_validation_split(main, tmp_path):
    code, printed, _ = main(*FAST, "--out", tmp_path / "run", "--val-split", 0)
    assert code == 0
    assert "no validation images" in printed and "nan" not in printed


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "rmsprop"])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_every_optimizer_and_schedule(main, tmp_path, optimizer, schedule):
    flags = ("--optimizer", optimizer, "--schedule", schedule, "--epochs", 1, "--warmup", 2, "--cutout", 8)
    assert main(*FAST, "--out", tmp_path / "run", *flags)[0] == 0


def test_recipes_are_defaults_that_flags_override(example):
    paper = example.settings_of({"recipe": "paper"})
    assert (paper["lr"], paper["momentum"], paper["weight_decay"], paper["nesterov"]) == (0.1, 0.9, 1e-4, False)
    schedule = legs.make_schedule(paper, paper["iterations"])
    assert [schedule(i) for i in (0, 31_999, 32_000, 47_999, 48_000, 63_999)] == pytest.approx(
        [0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    )
    standard = example.settings_of({"recipe": "standard"})
    assert (standard["epochs"], standard["schedule"], standard["model"]) == (30, "one-cycle", "resnet20")
    assert example.settings_of({"recipe": "standard", "epochs": 2, "lr": 0.7})["lr"] == 0.7
    assert example.settings_of({"recipe": "standard", "optimizer": "adam"})["lr"] == 1e-3
    assert example.settings_of({"model": "resnet20", "epochs": 10})["lr"] == 0.4


def test_one_batch_is_learned_by_heart(main):
    code, printed, _ = main("--overfit-one-batch", "--model", "resnet8", "--batch-size", 8, "--device", "cpu")
    assert code == 0
    assert "by heart" in printed


# No data ---------------------------------------------------------------------------------------------------------


def test_without_data_it_trains_on_synthetic_shapes_and_nobody_can_miss_it(example, main, tmp_path, monkeypatch):
    def nothing(*args, **options):
        raise data.DatasetUnavailable("no host answered")

    titles = []
    monkeypatch.setattr(sys.modules["minires.data.load"], "find_cifar10", nothing)
    small = data.make_synthetic(train=60, test=20)
    monkeypatch.setattr(sys.modules["minires.data.load"], "make_synthetic", lambda **options: small)
    monkeypatch.setattr(example.runs.Recorder, "curves", lambda self, history, title, measure: titles.append(title))
    out = tmp_path / "run"
    code, printed, err = main(*FAST, "--out", out, data_dir=None)
    assert code == 0
    assert "NOT CIFAR-10" in err
    assert "no host answered" in err
    assert "synthetic" in printed
    config = json.loads((out / "config.json").read_text())
    assert config["dataset"]["name"] == "synthetic"
    assert "NOT CIFAR-10" in config["dataset"]["notice"]
    assert "NOT CIFAR-10" in (out / "train.log").read_text()
    assert "synthetic" in titles[-1]
    assert "synthetic" in json.loads((out / "result.json").read_text())["dataset"]
    assert main(*FAST, "--dataset", "cifar10", "--out", tmp_path / "b", data_dir=None)[0] == 1


def test_errors_and_the_notice_name_flags_not_arguments(main, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)  # nothing can be downloaded
    small = data.make_synthetic(train=60, test=20)
    monkeypatch.setattr(sys.modules["minires.data.load"], "make_synthetic", lambda **options: small)
    code, _, err = main(*FAST, "--dataset", "cifar10", "--out", tmp_path / "a", data_dir=None)
    sentence = one_sentence(err)
    assert code == 1
    assert main(*FAST, "--out", tmp_path / "b", data_dir=None)[0] == 0
    notice = json.loads((tmp_path / "b" / "config.json").read_text())["dataset"]["notice"]
    assert {len(line) for line in notice.splitlines()} == {80}
    assert notice in (tmp_path / "b" / "train.log").read_text()
    for text in (sentence, " ".join(notice.replace("#", "").split())):
        for flag in ("with --data-dir", "with --data-url", "--dataset synthetic"):
            assert flag in text
        for argument in ("data_dir", "data_url", "make_synthetic"):
            assert argument not in text


# Stopping and going on -------------------------------------------------------------------------------------------


def same_arrays(a, b):
    for name in ("last", "best"):
        one, other = (checkpoint.load(run / f"{name}.safetensors") for run in (a, b))
        assert one.model.keys() == other.model.keys()
        for key in one.model:
            np.testing.assert_array_equal(one.model[key], other.model[key], err_msg=f"{name} {key}")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_prints_the_command_that_goes_on(example, main, tmp_path, monkeypatch, number, code):
    main(*FAST, "--out", tmp_path / "whole")
    batch = example.runs.Watcher.batch

    def stop_at_three(self, trainer):
        batch(self, trainer)
        if trainer.position.iteration == 3:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(example.runs.Watcher, "batch", stop_at_three)
    before = signal.getsignal(number)
    got, printed, _ = main(*FAST, "--out", tmp_path / "run")
    assert signal.getsignal(number) is before
    assert got == code
    assert f"--resume {tmp_path / 'run'}" in printed.splitlines()[-1]
    monkeypatch.setattr(example.runs.Watcher, "batch", batch)
    got, printed, _ = main("--resume", tmp_path / "run")
    assert got == 0
    same_arrays(tmp_path / "whole", tmp_path / "run")
    logs = [table(tmp_path / run / "log.csv") for run in ("whole", "run")]
    timeless = [
        [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in log] for log in logs
    ]
    assert timeless[0] == timeless[1]


@pytest.mark.parametrize("at_least", [0, 1])
def test_killed_without_warning_it_goes_on(main, cifar, tmp_path, at_least):
    """SIGKILL in a process of its own: before anything was learned, and in the middle of an epoch."""
    flags = [*FAST, "--epochs", "12", "--data-dir", cifar]
    main(*flags, "--out", tmp_path / "whole", data_dir=None)
    out = tmp_path / "run"
    command = [sys.executable, SCRIPT, *flags, "--out", out, "--save-every", "3"]
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    reached = -1
    while time.monotonic() < deadline and reached < at_least:
        time.sleep(0.005)
        if (out / "last.safetensors").exists():
            reached = checkpoint.load(out / "last.safetensors").position["iteration"]
    process.kill()
    process.wait()
    assert at_least <= checkpoint.load(out / "last.safetensors").position["iteration"] < 48
    assert main("--resume", out / "last.safetensors")[0] == 0
    same_arrays(tmp_path / "whole", out)


def test_a_finished_run_can_be_resumed_to_no_effect(main, tmp_path):
    main(*FAST, "--out", tmp_path / "run")
    before = (tmp_path / "run" / "last.safetensors").read_bytes()
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert main("--resume", tmp_path / "run")[0] == 0
    assert (tmp_path / "run" / "last.safetensors").read_bytes() == before
    assert json.loads((tmp_path / "run" / "result.json").read_text())["test_loss"] == result["test_loss"]


def test_a_bar_on_a_terminal(cifar, tmp_path):
    """On a pseudo-terminal the bar shows loss, accuracy, images/s and time left."""
    pty, fcntl, termios = (pytest.importorskip(name) for name in ("pty", "fcntl", "termios"))
    command = [str(word) for word in (sys.executable, SCRIPT, *FAST, "--data-dir", cifar, "--out", tmp_path / "run")]
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 110, 0, 0))  # 24 rows of 110 columns
    with subprocess.Popen(command, stdout=follower, stderr=follower) as process:
        os.close(follower)
        shown = b""
        while True:
            try:
                part = os.read(leader, 4096)
            except OSError:
                break
            if not part:
                break
            shown += part
    os.close(leader)
    assert process.returncode == 0
    text = shown.decode()
    assert "epoch 1/2 |" in text
    assert "images/s" in text
    assert " left" in text
    line = text[: text.index("test loss")].rpartition("\n")[2]
    assert line.rpartition("\r")[2] == "", "the bar still stands where the test's lines begin"


# What goes wrong -------------------------------------------------------------------------------------------------


def test_aux_logits_trains_the_extra_heads(main, tmp_path):
    few = ("--limit-train", 4, "--limit-test", 2, "-b", 2, "--epochs", 1, "--weight-decay", 0, "--out", tmp_path)
    assert main("--recipe", "paper", "--model", "googlenet", "--aux-logits", *few)[0] == 0
    before = models.googlenet(10, small_input=True, rng=0, aux_logits=True).state_dict()
    after = checkpoint.load(tmp_path / "last.safetensors").model
    assert set(after) == set(before)
    for head in ("aux1", "aux2"):
        assert (after[f"{head}.fc2.weight"] != before[f"{head}.fc2.weight"]).any()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--model", "resnet21"), ("resnet21", "did you mean 'resnet20'")),
        (("--dataset", "cifar11"), ("cifar11", "did you mean 'cifar10'")),
        (("--epochs", "0"), ("--epochs", "at least 1", "0")),
        (("--batch-size", "0"), ("--batch-size", "at least 1")),
        (("--threads", "0"), ("--threads", "at least 1")),
        (("--seed", "-1"), ("--seed", "at least 0")),
        (("--val-split", "62"), ("62",)),
        (("--limit-train", "0"), ("--limit-train", "at least 1")),
        (("--lr", "nan"), ("--lr", "nan")),
        (("--lr", "-1"), ("lr", "-1")),
        (("--shortcut", "B"), ("--shortcut B", "simple_cnn")),
        (("--aux-logits",), ("--aux-logits", "simple_cnn", "googlenet")),
        (("--optimizer", "adam", "--momentum", "0.5"), ("--momentum", "adam")),
        (("--momentum", "0", "--nesterov"), ("--nesterov", "--momentum above 0")),
        (("--no-such-flag",), ("--no-such-flag",)),
        (("--resume", "nowhere"), ("nowhere", "no run there")),
        (("--evaluate", "nowhere.safetensors"), ("nowhere.safetensors", "No such file", "name a file of weights")),
    ],
)
def test_bad_flags_get_one_sentence(main, tmp_path, flags, words):
    if flags[0] in ("--resume", "--evaluate"):
        code, _, err = main(*flags)
    else:
        code, _, err = main(*FAST, "--out", tmp_path / "run", *flags)
    assert code != 0
    sentence = one_sentence(err)
    assert all(word in sentence for word in words), sentence
    assert not (tmp_path / "run" / "last.safetensors").exists()


@pytest.mark.parametrize("does", [(), ("--find-lr",), ("--overfit-one-batch",)])
def test_a_network_for_larger_images_is_refused_before_there_is_data_or_a_folder(main, tmp_path, does):
    out = ("--out", tmp_path / "run") if does != ("--overfit-one-batch",) else ()  # which keeps nothing
    code, printed, err = main("--model", "inception_v3", *does, *out, data_dir=tmp_path / "none")
    assert code == 1 and not printed and not (tmp_path / "run").exists()
    sentence = one_sentence(err)
    assert "--model inception_v3, which needs 75x75 pixels or more, and these have 32x32: take another" in sentence
    assert "--size" not in sentence and "finetune.py" in sentence


def test_weights_of_other_classes_are_not_evaluated(main, tmp_path):
    """As many classes are not enough: a disc is no aeroplane."""
    assert main(*FAST, "--out", tmp_path / "run")[0] == 0
    code, printed, err = main("--evaluate", tmp_path / "run", "--dataset", "synthetic", "--device", "cpu")
    assert code == 1 and "accuracy" not in printed
    assert "and 9 others, none of which is a class of" in one_sentence(err) and "name its own --dataset" in err


def test_weights_for_larger_images_are_not_evaluated(main, example, tmp_path, monkeypatch):
    member = Member("x.pth", None, {"model": "inception_v3", "options": {}}, "")
    monkeypatch.setattr(example, "read_members", lambda *_: [member])
    code, printed, err = main("--evaluate", "x.pth", "--size", 32, data_dir=tmp_path / "none")
    assert code == 1 and not printed
    assert "--evaluate x.pth: holds inception_v3, which needs 75x75 pixels or more" in one_sentence(err)


def test_a_folder_that_cannot_be_written(main, tmp_path):
    (tmp_path / "file").write_text("in the way")
    code, _, err = main(*FAST, "--out", tmp_path / "file" / "run")
    assert code == 1
    assert "cannot be written" in one_sentence(err)


def test_a_run_is_never_overwritten(main, tmp_path):
    main(*FAST, "--out", tmp_path / "run")
    before = (tmp_path / "run" / "last.safetensors").read_bytes()
    code, _, err = main(*FAST, "--out", tmp_path / "run")
    assert code == 1
    assert f"--resume {tmp_path / 'run'}" in one_sentence(err)
    assert (tmp_path / "run" / "last.safetensors").read_bytes() == before


def test_resuming_with_other_settings_is_refused(main, tmp_path):
    main(*FAST, "--out", tmp_path / "run")
    code, _, err = main("--resume", tmp_path / "run", "--lr", "0.7")
    assert code == 1
    assert "--lr 0.7 (was 0.05)" in one_sentence(err)


def test_resuming_on_other_data_is_refused(main, tmp_path):
    main(*FAST, "--out", tmp_path / "run")
    other = tmp_path / "other"
    write_binary(other, make_batches(12))
    next(other.iterdir()).joinpath("COMPLETE").write_text("CIFAR-10 (other), copied\n")
    code, _, err = main("--resume", tmp_path / "run", data_dir=other)
    assert code == 1
    assert "CIFAR-10 (other)" in one_sentence(err)


def test_a_checkpoint_cut_in_half(main, tmp_path):
    main(*FAST, "--out", tmp_path / "run")
    path, previous = (tmp_path / "run" / f"{name}.safetensors" for name in ("last", "previous"))
    half = path.read_bytes()[: path.stat().st_size // 2]
    path.write_bytes(half)
    code, _, err = main("--evaluate", path)
    assert code == 1 and re.search(r"last.safetensors: .*damaged", one_sentence(err))
    code, _, err = main("--resume", path)
    assert code == 0 and re.search(r"note: .*last.safetensors: damaged.* goes on from previous.safetensors", err)
    path.write_bytes(half)
    previous.write_bytes(half)
    code, _, err = main("--resume", path)
    assert code == 1
    assert re.search(r"last.safetensors: damaged.*previous.safetensors is damaged, too.*--evaluate", one_sentence(err))


def test_the_checkpoint_of_another_model(main, tmp_path):
    """A file whose arrays are another model's than it says."""
    main(*FAST, "--out", tmp_path / "run")
    loaded = checkpoint.load(tmp_path / "run" / "last.safetensors")
    checkpoint.save(tmp_path / "run" / "best.safetensors", models.resnet8(), info=loaded.info)
    code, _, err = main("--evaluate", tmp_path / "run" / "best.safetensors")
    assert code == 1
    assert "says it is simple_cnn, its arrays are resnet8's: it is damaged" in one_sentence(err)


def test_damaged_data_is_named(main, tmp_path):
    write_binary(tmp_path, make_batches(12))
    path = next(tmp_path.rglob("data_batch_3.bin"))
    path.write_bytes(path.read_bytes()[:-100])
    code, _, err = main(*FAST, "--out", tmp_path / "run", data_dir=tmp_path)
    assert code == 1
    assert "data_batch_3.bin" in one_sentence(err)


def test_a_loss_that_is_not_finite(main, tmp_path):
    code, _, err = main(*FAST, "--out", tmp_path / "run", "--lr", "1e30", "--schedule", "constant")
    assert code == 1
    sentence = one_sentence(err)
    assert "epoch 1, iteration" in sentence
    assert "--lr" in sentence


def test_no_gpu(main, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    code, _, err = main(*FAST, "--device", "gpu", "--out", tmp_path / "run")
    assert code == 1
    sentence = one_sentence(err)
    assert "CuPy" in sentence
    assert "pip install" in sentence
    assert sentence.endswith("or use --device cpu")
    code, printed, _ = main(*FAST, "--device", "auto", "--out", tmp_path / "run")
    assert code == 0
    assert "device: cpu" in printed


def test_a_run_on_shapes_goes_on_with_shapes_when_cifar10_can_be_had(main, tmp_path, cifar, monkeypatch):
    load = sys.modules["minires.data.load"]
    small = data.make_synthetic(train=60, test=20)
    monkeypatch.setattr(load, "make_synthetic", lambda **options: small)
    with monkeypatch.context() as without_data:

        def nothing(*args, **options):
            raise data.DatasetUnavailable("no host answered")

        without_data.setattr(load, "find_cifar10", nothing)
        main(*FAST, "--out", tmp_path / "run", "--epochs", 1, data_dir=None)
    code, printed, err = main("--resume", tmp_path / "run", data_dir=cifar)
    assert (code, err) == (0, "")
    assert "synthetic" in printed
    assert "come to its end" in printed
    assert "NOT CIFAR-10" in json.loads((tmp_path / "run" / "config.json").read_text())["dataset"]["notice"]


def test_a_run_can_be_evaluated_by_its_folder(main, tmp_path):
    main(*FAST, "--out", tmp_path / "run", "--limit-test", 5)
    code, printed, err = main("--evaluate", tmp_path / "run", "--device", "cpu")
    assert code == 0
    assert "of 13)" in printed
    assert "itself tested on 5" in err
    assert "nan" not in printed


def test_evaluating_as_another_model_is_refused(main, tmp_path):
    main(*FAST, "--out", tmp_path / "run")
    code, _, err = main("--evaluate", tmp_path / "run" / "best.safetensors", "--model", "resnet20")
    assert code == 1
    assert "holds simple_cnn" in one_sentence(err)


def test_a_checkpoint_that_says_nothing_of_its_run(main, tmp_path):
    """It cannot be gone on with, but tested like any other weights."""
    checkpoint.save(tmp_path / "last.safetensors", models.resnet8())
    code, _, err = main("--resume", tmp_path / "last.safetensors")
    assert code == 1
    assert "does not say which run" in one_sentence(err)
    code, printed, _ = main("--evaluate", tmp_path / "last.safetensors", "--device", "cpu")
    assert code == 0
    assert "of 13)" in printed


def test_ctrl_c_twice_stops_at_once_and_says_how_to_go_on(example, main, tmp_path, monkeypatch):
    def twice(self, trainer):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(example.runs.Watcher, "batch", twice)
    code, _, err = main(*FAST, "--out", tmp_path / "run")
    assert code == 130
    assert f"--resume {tmp_path / 'run'}" in err.splitlines()[-1]
    assert "Traceback" not in err


def test_cutout_without_the_other_augmentation(example, cifar):
    settings = example.settings_of({"augment": False, "cutout": 8})
    loader = example.make_loaders(settings, data.read_cifar10(cifar), "cpu")[0]
    assert loader.augment == data.Augment(padding=0, flip=False, cutout=8)


def test_out_of_memory_names_a_smaller_batch(example, main, tmp_path, monkeypatch):
    def full(*args, **options):
        raise MemoryError

    monkeypatch.setattr(sys.modules["minires.stepping"], "train_step", full)
    code, _, err = main(*FAST, "--out", tmp_path / "run")
    assert code == 1
    assert one_sentence(err) == "error: out of memory with batch size 16: try --batch-size 8 or --shards 2"
    code, _, err = main(*FAST, "--batch-size", 1, "--out", tmp_path / "other")
    assert one_sentence(err) == "error: out of memory with batch size 1: try a smaller network"


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_a_graph_is_a_gpus(main, tmp_path, monkeypatch, device):
    monkeypatch.setitem(sys.modules, "cupy", None)
    code, _, err = main(*FAST, "--device", device, "--cuda-graph", "--out", tmp_path / "run")
    chosen = " (chosen by --device auto)" if device == "auto" else ""
    sentence = f"error: --cuda-graph is a GPU's, and the device is cpu{chosen}: give --device gpu, or leave it out"
    assert code == 1 and one_sentence(err) == sentence and not (tmp_path / "run").exists()
    assert main(*FAST, "--device", device, "--no-cuda-graph", "--epochs", 1, "--out", tmp_path / "run")[0] == 0


# The GPU path on the double --------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["gpu", "gpu:1"])
def test_the_same_run_on_the_double_of_a_gpu(main, tmp_path, monkeypatch, device):
    monkeypatch.setattr(cupy_double, "devices", 2)
    monkeypatch.setattr(cupy_double, "_current", 0)
    flags = ("--model", "resnet8", "--limit-train", 40, "--limit-test", 4, "--epochs", 1, "--no-augment")
    main(*FAST, *flags, "--out", tmp_path / "cpu")
    monkeypatch.setitem(sys.modules, "cupy", cupy_double)
    code, printed, _ = main(*FAST, *flags, "--out", tmp_path / "gpu", "--device", device)
    assert code == 0
    assert f"device: {device}\n" in printed
    cpu, gpu = (json.loads((tmp_path / run / "result.json").read_text()) for run in ("cpu", "gpu"))
    assert gpu["test_loss"] == pytest.approx(cpu["test_loss"], rel=1e-2)
    config = json.loads((tmp_path / "gpu" / "config.json").read_text())
    assert config["device"] == device and config["settings"]["device"] == device
    assert main("--resume", tmp_path / "gpu", "--device", "cpu")[0] == 0  # a run may change its device


# Recomputing ------------------------------------------------------------------------------------------------------

SMALL = ("--model", "resnet8", "--batch-size", "16", "--epochs", "1", "--lr", "0.05", "--device", "cpu")


def weights_of(folder):
    return {key: array.tobytes() for key, array in checkpoint.load(folder / "last.safetensors").model.items()}


def test_a_run_that_recomputes_ends_with_the_same_weights_and_may_go_on_without(main, tmp_path):
    runs = {"plain": (), "three": ("--recompute", "3"), "sqrt": ("--recompute", "sqrt")}
    for name, flags in {**runs, "blocks": ("--recompute", "blocks")}.items():
        assert main(*SMALL, *flags, "--out", tmp_path / name)[0] == 0
        assert weights_of(tmp_path / name) == weights_of(tmp_path / "plain")
    for name, flags in {**runs, "three": ("--recompute", "1")}.items():
        longer = ("--epochs", 2, "--lr", "0.01", "--schedule", "constant")
        assert main("--resume", tmp_path / name, *longer, *flags)[0] == 0
        assert weights_of(tmp_path / name) == weights_of(tmp_path / "plain")


def test_segments_that_there_cannot_be(main, tmp_path):
    for flag, model, why in (
        ("4", "resnet8", "segments is 4, of 3 blocks: give 1 to 3"),
        ("sqrt", "simple_cnn", "SimpleCNN is no chain of blocks, 0 were found: "),
        ("blocks", "simple_cnn", "SimpleCNN is no chain of blocks, 0 were found: "),
    ):
        code, _, err = main(*SMALL, "--model", model, "--recompute", flag, "--out", tmp_path / "run")
        assert code == 1 and one_sentence(err).startswith(f"error: --recompute {flag}: {why}")
        assert not (tmp_path / "run").exists()
    for flag in ("0", "-1", "two", "²", ""):
        code, _, err = main(*SMALL, f"--recompute={flag}", "--out", tmp_path / "run")
        assert code == 2 and f"unknown segments '{flag}': give their number, from 1 up, or sqrt, or blocks" in err
