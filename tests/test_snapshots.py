"""--schedule cosine-restarts: weights kept at the end of each cycle, whatever happens, and evaluated together."""

import json

import numpy as np
import pytest
import scripts
from scripts import one_sentence

from minires import checkpoint
from minires.cli import snapshots
from minires.cli.legs import make_schedule
from minires.cli.progress import Watcher

SHORT = ("--model", "simple_cnn", "--batch-size", 16, "--schedule", "cosine-restarts", "--cycles", 2)


@pytest.fixture
def main(cifar, monkeypatch, capsys):
    """main("--flag", ...) -> (exit code, stdout, stderr) of train_cifar.py on the tiny copy."""
    script = scripts.load("train_cifar")
    monkeypatch.setattr(script.runs.Recorder, "picture", lambda self, name, draw: None)  # slower than a run
    more = ("--data-dir", cifar, "--device", "cpu")
    return lambda *flags: scripts.call(script, monkeypatch, capsys, *flags, *more)


def model_of(path):
    return {key: array.tobytes() for key, array in checkpoint.load(path).model.items()}


def test_a_file_for_each_cycle_and_all_of_them_together(main, tmp_path):
    """The weights are those of the cycle's end: cycle 2's the run's last ones, cycle 1's those of a run of one."""
    code, printed, err = main(*SHORT, "--epochs", 4, "--out", tmp_path / "run")
    assert code == 0, err
    files = sorted((tmp_path / "run").glob("cycle-*"))
    assert [path.name for path in files] == ["cycle-1.safetensors", "cycle-2.safetensors"]
    assert f"together: train_cifar.py --evaluate {tmp_path / 'run' / 'cycle-*.safetensors'}" in printed
    assert "cosine-restarts in 2 cycles" in printed
    assert model_of(files[1]) == model_of(tmp_path / "run" / "last.safetensors") != model_of(files[0])
    main(*SHORT, "--epochs", 2, "--cycles", 1, "--out", tmp_path / "half")
    assert model_of(tmp_path / "half" / "last.safetensors") == model_of(files[0])
    losses = [
        json.loads(main("--evaluate", *some, "--json")[1])["test_loss"] for some in ([files[0]], [files[1]], files)
    ]
    assert losses[2] <= np.mean(losses[:2]) + 1e-6


@pytest.mark.parametrize("lost", ["last.safetensors", "cycle-1.safetensors"])
def test_a_run_that_was_killed_goes_on_to_the_same_files(main, tmp_path, monkeypatch, lost):
    """Killed as cycle 1 ended: before its weights were written, or so that the last checkpoint was damaged."""
    assert main(*SHORT, "--epochs", 4, "--out", tmp_path / "whole")[0] == 0
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("minires.cli.progress.Watcher.epoch", dies_after(2))
        assert main(*SHORT, "--epochs", 4, "--out", run)[0] == 9
    assert not list(run.glob("cycle-*"))
    (run / lost).unlink(missing_ok=True)  # without last.safetensors it goes on from an epoch earlier
    code, _, err = main("--resume", run)
    assert code == 0, err
    for name in ("cycle-1", "cycle-2", "last"):
        assert model_of(run / f"{name}.safetensors") == model_of(tmp_path / "whole" / f"{name}.safetensors")


def dies_after(epochs, usual=Watcher.epoch):
    """Watcher.epoch of a process that is killed when the checkpoint of that epoch has been written."""

    def epoch(self, trainer, row):
        if row["epoch"] == epochs:
            raise SystemExit(9)
        usual(self, trainer, row)

    return epoch


def test_a_longer_run_goes_on_in_cycles_of_that_length(main, tmp_path):
    run = tmp_path / "run"
    assert main(*SHORT, "--epochs", 2, "--out", run)[0] == 0
    code, _, err = main("--resume", run, "--epochs", 3)
    assert code == 0, err
    assert main(*SHORT, "--cycles", 3, "--epochs", 3, "--out", tmp_path / "three")[0] == 0
    assert model_of(run / "cycle-3.safetensors") == model_of(tmp_path / "three" / "cycle-3.safetensors")
    code, _, err = main("--resume", run, "--epochs", 4, "--lr", 0.1)
    assert code == 1 and "cycles of cosine-restarts are a whole run's" in one_sentence(err)
    code, _, err = main("--resume", run, "--epochs", 4, "--schedule", "constant", "--lr", 0.01)
    assert code == 0, err
    assert not (run / "cycle-4.safetensors").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--epochs", 5), "--epochs 5: cannot be cut into 2 equal cycles: give --epochs 4 or 6"),
        (("--epochs", 1), "--epochs 1: cannot be cut into 2 equal cycles: give --epochs 2"),
        (("--epochs", 4, "--cycles", 0), "--cycles must be at least 1, got 0"),
        (("--epochs", 4, "--iterations", 9), "--iterations 9: cycles are counted in epochs"),
        (("--schedule", "cosine"), "--cycles 2 is of --schedule cosine-restarts, not of cosine: give that too"),
    ],
)
def test_cycles_that_cannot_be(main, tmp_path, flags, words):
    code, _, err = main(*SHORT, *flags, "--out", tmp_path / "run")
    assert code == 1 and words in one_sentence(err)
    assert not (tmp_path / "run").exists()


def test_the_rate_falls_to_nearly_0_as_often():
    schedule = make_schedule({"lr": 0.4, "schedule": snapshots.SCHEDULE, "cycles": 3}, 30)
    assert [schedule(i) for i in (0, 10, 20)] == [0.4] * 3
    assert all(schedule(i) < 0.01 + 1e-9 for i in (9, 19, 29))
