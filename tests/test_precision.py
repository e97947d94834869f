"""`--precision` in the scripts: runs that stop and go on, what is refused, and that all kinds of training have it."""

import json

import numpy as np
import pytest
import scripts
from scripts import one_sentence

from minires import checkpoint, precision, trainer

pytest.importorskip("ml_dtypes")
FAST = ("--batch-size", 16, "--model", "resnet8", "--seed", 3, "--lr", 0.05, "--device", "cpu", "--no-progress")


@pytest.fixture(scope="module")
def script():
    return scripts.load("train_cifar")


@pytest.fixture
def main(script, cifar, monkeypatch, capsys):
    """main("--flag", ...) -> (exit code, stdout, stderr), on the tiny copy, without pictures."""
    monkeypatch.setattr(script.runs.Recorder, "picture", lambda self, name, draw: None)
    return lambda *flags: scripts.call(script, monkeypatch, capsys, *flags, "--data-dir", cifar)


def state(folder):
    """All arrays of the last checkpoint, and where it stands."""
    loaded = checkpoint.load(folder / "last.safetensors")
    return {**loaded.model, **loaded.optimizer["arrays"]}, loaded.position


def test_a_scaled_run_that_is_stopped_goes_on_with_the_same_bits(main, tmp_path, monkeypatch):
    """The loss scale is part of it: it has grown before the stop, and overflows in some step."""
    monkeypatch.setattr(precision.GradScaler.__init__, "__defaults__", (2.0**18, 2.0, 0.5, 3))
    flags = (*FAST, "--epochs", 3, "--precision", "float16")
    assert main(*flags, "--out", tmp_path / "whole")[0] == 0

    class Stopping(trainer.Trainer):
        def _step(self, batch):
            super()._step(batch)
            self.stop_requested = self.position.iteration == 5

    from minires.cli import runs

    with monkeypatch.context() as patch:
        patch.setattr(runs, "Trainer", Stopping)
        with pytest.raises(IndexError):  # no signal came
            main(*flags, "--out", tmp_path / "run")
    position = state(tmp_path / "run")[1]
    assert position["iteration"] == 5 and position["scaler"]["scale"] != 2.0**18
    code, _, err = main("--resume", tmp_path / "run", "--precision", "bfloat16")
    assert code == 1 and "--precision bfloat16 (was float16)" in one_sentence(err)
    assert main("--resume", tmp_path / "run")[0] == 0
    (whole, ended), (parts, went_on) = state(tmp_path / "whole"), state(tmp_path / "run")
    assert ended["scaler"] == went_on["scaler"]
    for name, array in whole.items():
        np.testing.assert_array_equal(array, parts[name], err_msg=name)


@pytest.mark.parametrize("name", precision.PRECISIONS)
def test_runs_differ_by_their_precision_alone(main, tmp_path, name):
    found = {}
    for folder, flags in ((tmp_path / "plain", ()), (tmp_path / "other", ("--precision", name))):
        assert main(*FAST, "--epochs", 1, *flags, "--out", folder)[0] == 0
        found[folder.name] = state(folder)
        settings = json.loads((folder / "config.json").read_text())["settings"]
        assert settings["precision"] == (name if flags else "float32")
    (plain, _), (other, position) = found["plain"], found["other"]
    assert all(array.dtype == np.float32 for array in other.values())
    assert ("scaler" in position) == (name == "float16")
    same = all((array == other[key]).all() for key, array in plain.items())
    assert same == (name == "float32")
    weight = "conv1.weight"
    assert np.linalg.norm(plain[weight] - other[weight]) < 0.05 * np.linalg.norm(plain[weight])


@pytest.mark.parametrize("mode", ["--find-lr", "--overfit-one-batch"])
def test_other_trainings_have_it_too(main, tmp_path, monkeypatch, mode):
    seen = []
    options_for = precision.options_for

    def noted(model, name):
        seen.append(name)
        return options_for(model, name)

    from minires import lr_finder

    for module in (lr_finder, scripts.load("train_cifar")):
        monkeypatch.setattr(module, "options_for", noted)
    more = ("--out", tmp_path / "out", "--iterations", 10) if mode == "--find-lr" else ()
    code, printed, err = main(*FAST, mode, *more, "--precision", "bfloat16")
    assert code == 0, (printed, err)
    assert seen == ["bfloat16"] or mode != "--find-lr"


def test_wrong_names(main):
    code, _, err = main(*FAST, "--precision", "half")
    assert code == 2 and "half" in one_sentence(err) and "bfloat16" in err


def test_bfloat16_without_its_package(main, monkeypatch, tmp_path):
    import sys

    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    code, _, err = main(*FAST, "--precision", "bfloat16", "--out", tmp_path / "out")
    assert code == 1 and "pip install ml_dtypes" in one_sentence(err)
    assert not (tmp_path / "out").exists()


def test_results_are_in_float32(main, tmp_path):
    code, _, err = main("--evaluate", tmp_path / "weights", "--precision", "float16")
    assert code == 1 and "--precision float16 is of a training, results are in float32" in one_sentence(err)
