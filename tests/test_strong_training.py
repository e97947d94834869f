"""All that came after 2015 at once: a run stopped in the middle goes on with the same bits, in both scripts."""

import json
import signal

import numpy as np
import pytest
import scripts
from scripts import table
from test_train_cifar import FAST

from minires import checkpoint

EVERYTHING = ("--ema", 0.7, "--mixup", 0.4, "--cutmix", 1, "--random-erasing", 0.5, "--randaugment", 2, 9)
EVERYTHING += ("--clip-norm", 0.5, "--label-smoothing", 0.1)


def assert_same(one, other):
    for name in ("last", "best"):
        a, b = (checkpoint.load(folder / f"{name}.safetensors") for folder in (one, other))
        for mine, theirs in ((a.model, b.model), (a.averaged or {}, b.averaged or {})):
            assert mine.keys() == theirs.keys()
            for key in mine:
                np.testing.assert_array_equal(mine[key], theirs[key], err_msg=f"{name} {key}")


@pytest.mark.parametrize("script", ["train_cifar", "finetune"])
def test_stopped_and_gone_on_with(script, cifar, tmp_path, monkeypatch, capsys):
    module = scripts.load(script)
    monkeypatch.setattr(module.runs.Recorder, "picture", lambda self, name, draw: None)
    main = lambda *flags: scripts.call(module, monkeypatch, capsys, *flags)  # noqa: E731
    flags = (*FAST, *EVERYTHING, "--data-dir", cifar)
    if script == "finetune":
        assert (
            scripts.call(
                scripts.load("train_cifar"),
                monkeypatch,
                capsys,
                *FAST,
                "--data-dir",
                cifar,
                "--out",
                tmp_path / "before",
            )[0]
            == 0
        )
        flags = ("--weights", tmp_path / "before", "--dataset", "cifar10", "--batch-size", 16, "--epochs", 2)
        flags += (*EVERYTHING, "--device", "cpu", "--data-dir", cifar)
    code, _, err = main(*flags, "--out", tmp_path / "whole")
    assert code == 0, err
    batch = module.runs.Watcher.batch

    def stop_at_three(self, trainer):
        batch(self, trainer)
        if trainer.position.iteration == 3:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(module.runs.Watcher, "batch", stop_at_three)
        assert main(*flags, "--out", tmp_path / "parts")[0] == 130
    code, _, err = main("--resume", tmp_path / "parts")
    assert code == 0, err
    assert_same(tmp_path / "whole", tmp_path / "parts")
    settings = json.loads((tmp_path / "parts" / "config.json").read_text())["settings"]
    assert (settings["ema"], settings["randaugment"], settings["clip_norm"]) == (0.7, [2, 9], 0.5)
    assert all(float(row["ema_val_loss"]) > 0 for row in table(tmp_path / "parts" / "log.csv"))


def test_the_recipe(cifar, tmp_path, monkeypatch, capsys):
    script = scripts.load("train_cifar")
    monkeypatch.setattr(script.runs.Recorder, "picture", lambda self, name, draw: None)
    flags = ("--recipe", "strong", "--model", "resnet8", "--epochs", 1, "--batch-size", 16, "--device", "cpu")
    code, _, err = scripts.call(script, monkeypatch, capsys, *flags, "--data-dir", cifar, "--out", tmp_path / "run")
    assert (code, err) == (0, "")
    settings = json.loads((tmp_path / "run" / "config.json").read_text())["settings"]
    recipe = script.RECIPES["strong"]
    assert {name: settings[name] for name in recipe} == {**recipe, "model": "resnet8", "epochs": 1}
    flags = (*flags[:4], "--batch-size", 16, "--overfit-one-batch")
    code, _, err = scripts.call(script, monkeypatch, capsys, *flags, "--device", "cpu", "--data-dir", cifar)
    assert code == 0, err  # what a recipe does to images is left out there


@pytest.fixture
def main(cifar, monkeypatch, capsys):
    module = scripts.load("train_cifar")
    monkeypatch.setattr(module.runs.Recorder, "picture", lambda self, name, draw: None)
    return lambda *flags: scripts.call(module, monkeypatch, capsys, *flags, "--data-dir", cifar)


def test_the_header_names_what_is_on_and_none_takes_it_out(main, tmp_path):
    flags = (*FAST, "--recipe", "strong", "--epochs", 1)
    code, printed, _ = main(*flags, "--randaugment", 2, 9, "--no-decay-bias-and-norm", "--out", tmp_path / "a")
    line = "with --randaugment 2 9, --no-decay-bias-and-norm, --clip-norm 1.0, --ema 0.995"
    assert code == 0 and line in printed.splitlines()
    assert line in (tmp_path / "a" / "train.log").read_text().splitlines()
    off = ("--ema", "none", "--randaugment", "none", "--label-smoothing", 0, "--decay-bias-and-norm")
    off += ("--mixup", "none", "--cutmix", "none", "--clip-norm", "none")
    code, printed, _ = main(*flags, *off, "--out", tmp_path / "b")
    assert code == 0 and not any(line.startswith("with ") for line in printed.splitlines())
    assert main("--resume", tmp_path / "b")[0] == main("--resume", tmp_path / "a")[0] == 0


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--ema", "some"), "give a number, or none, got 'some'"),
        (("--randaugment", "2"), "give two whole numbers, or none, got '2'"),
        (("--overfit-one-batch", "--ema", "0.9", "--tensorboard"), "keeps nothing: leave --ema 0.9, --tensorboard out"),
        (("--find-lr", "--ema", "0.9"), "--find-lr tries rates and keeps no weights: leave --ema 0.9 out"),
        (("--evaluate", "x", "--ema", "0.9", "--epochs", "2"), "and trains nothing: leave --ema 0.9, --epochs 2 out"),
        (("--optimizer", "lars", "--nesterov"), "--nesterov is of --optimizer sgd, lars has none: leave it out"),
        (("--optimizer", "adam", "--momentum", "0.5"), "--momentum is of --optimizer sgd and lars, adam has none"),
    ],
)
def test_flags_that_mean_nothing_are_refused(main, flags, words):
    code, _, err = main(*flags)
    assert code and words in scripts.one_sentence(err)
