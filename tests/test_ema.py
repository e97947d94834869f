"""The average of the weights: its formula, and a run that keeps one, stopped, resumed, in float16 and in shards."""

import json
import sys

import cupy_double
import numpy as np
import pytest
import scripts
from scripts import one_sentence, table
from test_shards import trained
from test_train_cifar import FAST
from test_training import StopAt, make_model, make_trainer, without_times

from minires import checkpoint, models, optim
from minires.backend import to_device
from minires.cli.recording import draw_curves
from minires.ema import AveragedModel
from minires.position import SINCE_THEN, Position
from minires.recorded_step import RecordedStep
from minires.training import Interrupted, evaluate, train_step


def averaged_by_hand(states, decay):
    """d * a + (1 - d) * w, number by number in float64, of the states after 0, 1, 2, ... steps."""
    average = {key: array.astype(np.float64) for key, array in states[0].items()}
    for t, state in enumerate(states[1:]):
        d = min(decay, (1 + t) / (10 + t))
        average = {key: d * a + (1 - d) * state[key].astype(np.float64) for key, a in average.items()}
    return average


def steps(model, count=4, step=train_step, **options):
    """States after 0 .. count steps on batches of noise; `after(t)` is called after each."""
    after = options.pop("after", lambda t: None)
    optimizer, rng, states = optim.SGD(model.parameters(), 0.1, momentum=0.9), np.random.default_rng(0), []
    states.append(model.state_dict())
    for t in range(count):
        x, labels = rng.standard_normal((6, 8, 8, 3)).astype(np.float32), rng.integers(0, 10, 6)
        train_step(model, optimizer, x, labels, **options)
        after(t)
        states.append(model.state_dict())
    return states


@pytest.mark.parametrize("decay", [0.05, 0.15, 0.999])
def test_the_formula_with_its_beginning(decay):
    model = models.resnet8(rng=0).train()
    average = AveragedModel(model, decay)
    states = steps(model, after=average.update)
    expected = averaged_by_hand(states, decay)
    found = average.averaged.state_dict()
    assert found.keys() == expected.keys()  # batch norm's running statistics among them
    for key, array in found.items():
        np.testing.assert_allclose(array, expected[key], rtol=2e-5, atol=2e-6, err_msg=key)
    assert not np.array_equal(found["conv1.weight"], states[-1]["conv1.weight"])
    assert not np.array_equal(found["bn1.running_mean"], states[-1]["bn1.running_mean"])
    for key, array in model.state_dict().items():
        np.testing.assert_array_equal(array, states[-1][key])  # the model itself is left as it is


def test_what_no_longer_changes_is_its_own_average():
    model = models.resnet8(rng=0)
    average = AveragedModel(model, 0.9)
    for t in range(50):
        average.update(t)
    for key, array in model.state_dict().items():
        np.testing.assert_array_equal(average.averaged.state_dict()[key], array)


@pytest.mark.parametrize("decay", [0, 1, -0.1, 1.5, float("nan"), float("inf")])
def test_a_decay_that_is_none(decay):
    with pytest.raises(ValueError, match=r"decay must be a number above 0 and below 1, got .*: 0\.999 is usual"):
        AveragedModel(make_model(), decay)


@pytest.mark.parametrize("recorded", [False, True])
def test_on_a_gpu_an_update_is_one_launch_and_waits_for_nobody(monkeypatch, recorded):
    monkeypatch.setitem(sys.modules, "cupy", cupy_double)
    model = models.resnet8(rng=0).to("gpu")
    optimizer = optim.SGD(model.parameters(), 0.1)
    average = AveragedModel(model, 0.9)
    step, rng, found, states = RecordedStep(model, optimizer), np.random.default_rng(0), [], [model.state_dict()]
    for t in range(4):
        x = to_device(rng.standard_normal((4, 8, 8, 3)).astype(np.float32), "gpu")
        labels = to_device(rng.integers(0, 10, 4), "gpu")
        step(x, labels) if recorded else train_step(model, optimizer, x, labels)
        states.append(model.state_dict())
        with cupy_double.telling(lambda kind, name, *sizes: found.append((kind, name))):
            average.update(t)
    assert {event for event in found if event[0] != "memory"} == {("kernel", "fused_many")}
    assert sum(kind == "kernel" for kind, _ in found) == 4
    for key, array in average.averaged.state_dict().items():
        expected = averaged_by_hand(states, 0.9)[key]
        np.testing.assert_allclose(array, expected, rtol=1e-4, atol=1e-5, err_msg=key)


# A run ------------------------------------------------------------------------------------------------------------


def assert_same_files(one, other):
    for name in ("last", "best"):
        a, b = (checkpoint.load(folder / f"{name}.safetensors") for folder in (one, other))
        for mine, theirs in ((a.model, b.model), (a.averaged or {}, b.averaged or {})):
            assert mine.keys() == theirs.keys()
            for key in mine:
                np.testing.assert_array_equal(mine[key], theirs[key], err_msg=f"{name} {key}")


@pytest.mark.parametrize("stop", [(1,), (3,), (4, 5), tuple(range(1, 10))])
def test_stopped_anywhere_it_goes_on_with_the_same_bits(tmp_path, stop):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    straight = make_trainer(whole, ema=0.7)
    straight.run()
    trainer = make_trainer(parts, watcher=StopAt(stop), ema=0.7)
    for _ in stop:
        with pytest.raises(Interrupted):
            trainer.run()
        trainer = make_trainer(parts, watcher=StopAt(stop), ema=0.7)
        trainer.resume(checkpoint.load(parts / "last.safetensors"))
    trainer.run()
    assert without_times(trainer.position.history) == without_times(straight.position.history)
    assert_same_files(whole, parts)


def test_it_changes_nothing_about_the_model_and_is_what_is_kept(tmp_path):
    for name in ("plain", "ema"):
        (tmp_path / name).mkdir()
    plain, with_average = make_trainer(tmp_path / "plain"), make_trainer(tmp_path / "ema", ema=0.8)
    plain.run()
    with_average.run()
    columns = ("train_loss", "train_acc", "val_loss", "val_acc")
    rows = with_average.position.history
    assert [[row[name] for name in columns] for row in plain.position.history] == [
        [row[name] for name in columns] for row in rows
    ]
    assert all(row["ema_val_loss"] is row["ema_val_acc"] is None for row in plain.position.history)
    last, before = (checkpoint.load(tmp_path / name / "last.safetensors") for name in ("ema", "plain"))
    assert before.averaged is None and last.model.keys() == before.model.keys() == last.averaged.keys()
    for key, array in before.model.items():
        np.testing.assert_array_equal(array, last.model[key])
    chosen = max(range(3), key=lambda n: (rows[n]["ema_val_acc"], -rows[n]["ema_val_loss"]))
    position, best = with_average.position, checkpoint.load(tmp_path / "ema" / "best.safetensors")
    assert (position.best_epoch, position.best_val_loss) == (chosen + 1, rows[chosen]["ema_val_loss"])
    assert position.best_model == checkpoint.digest(best.model) and best.averaged is None
    model = make_model()
    model.load_state_dict(best.model)
    assert evaluate(model, with_average.val_loader, 4).loss == rows[chosen]["ema_val_loss"]
    assert rows[0]["ema_val_loss"] != rows[0]["val_loss"]


@pytest.mark.parametrize("kept", [None, 0.8])
def test_a_checkpoint_of_the_other_kind_is_refused_and_nothing_is_changed(tmp_path, kept):
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
    make_trainer(tmp_path / "a", epochs=1, ema=kept).run()
    other = make_trainer(tmp_path / "b", ema=None if kept else 0.8)
    before = other.model.state_dict()
    with pytest.raises(checkpoint.CheckpointError, match=r"averaged weights, and ema asks for .*: give the ema of its"):
        other.resume(checkpoint.load(tmp_path / "a" / "last.safetensors"))
    assert other.position == Position()
    for key, array in other.model.state_dict().items():
        np.testing.assert_array_equal(array, before[key])


def test_a_step_that_float16_leaves_out_draws_the_average_on_towards_the_weights(tmp_path):
    """With so large a scale the first steps are not taken; the average stays finite, and is the weights themselves."""
    trainer = make_trainer(tmp_path, precision="float16", ema=0.9)
    trainer.steps.scaler.scale = np.asarray(np.float32(2.0**60))
    before = trainer.model.state_dict()
    for batch in trainer.train_loader.epoch(0):
        trainer._step(batch)
    for key, array in before.items():
        np.testing.assert_array_equal(trainer.model.state_dict()[key], array)
        np.testing.assert_array_equal(trainer.steps.average.state_dict()[key], array)


def test_in_shards_it_is_the_average_of_the_shards_model(tmp_path):
    state, position = trained(tmp_path, 2, ema=0.9)
    loaded = checkpoint.load(tmp_path / "last.safetensors")
    assert loaded.averaged.keys() == state.keys()
    assert all(np.isfinite(array).all() for array in loaded.averaged.values())
    assert position.best_model == checkpoint.digest(loaded.averaged)  # without validation images the last is the best


def test_rows_of_earlier_versions():
    row = {"epoch": 1, "iteration": 3, "lr": 0.1, "train_loss": 1.0, "train_acc": 0.5, "val_loss": 1.0, "val_acc": 0.5}
    row |= {"seconds": 1.0, "images_per_second": 2.0}
    assert Position.of({"history": [row]}).history == [SINCE_THEN | row]


# The script -------------------------------------------------------------------------------------------------------


@pytest.fixture
def main(cifar, monkeypatch, capsys):
    script = scripts.load("train_cifar")
    monkeypatch.setattr(script.runs.Recorder, "picture", lambda self, name, draw: None)
    return lambda *flags: scripts.call(script, monkeypatch, capsys, *flags, "--data-dir", cifar)


def test_the_script_keeps_it_and_mends_what_is_lost(main, tmp_path):
    out = tmp_path / "run"
    code, printed, err = main(*FAST, "--ema", 0.9, "--out", out)
    assert (code, err) == (0, "")
    assert "ema loss ema acc" in printed
    rows, result = table(out / "log.csv"), json.loads((out / "result.json").read_text())
    assert all(float(row["ema_val_loss"]) > 0 and 0 <= float(row["ema_val_acc"]) <= 1 for row in rows)
    best = (out / "best.safetensors").read_bytes()
    position = checkpoint.load(out / "last.safetensors").position
    row = rows[position["best_epoch"] - 1]
    assert float(row["ema_val_acc"]) == position["best_val_acc"] == result["best_val_acc"]
    if position["best_epoch"] == 2:
        (out / "best.safetensors").unlink()
        code, _, err = main("--resume", out)
        assert code == 0 and "made again from last.safetensors" in err
        found = checkpoint.load(out / "best.safetensors")
        assert checkpoint.digest(found.model) == position["best_model"] and found.averaged is None
        assert len((out / "best.safetensors").read_bytes()) == len(best)
    code, printed, _ = main("--evaluate", out / "last.safetensors", "--device", "cpu")
    assert code == 0  # the model itself, without its average


def test_bad_values_are_one_sentence(main, tmp_path):
    for value in (0, 1, -1, "nan"):
        code, _, err = main(*FAST, "--ema", value, "--out", tmp_path / "none")
        assert code == 1 and "--ema must be a number above 0 and below 1, got" in one_sentence(err)
    assert not (tmp_path / "none").exists()
    main(*FAST, "--epochs", 1, "--out", tmp_path / "run")
    before = (tmp_path / "run" / "last.safetensors").read_bytes()
    code, _, err = main("--resume", tmp_path / "run", "--epochs", 2, "--lr", 0.01, "--ema", 0.9)
    assert code == 1 and "these differ: --ema 0.9 (was none): leave them out" in one_sentence(err)
    assert (tmp_path / "run" / "last.safetensors").read_bytes() == before


def test_its_curve_is_drawn(tmp_path):
    row = {"epoch": 1, "train_loss": 1.0, "train_acc": 0.5, "val_loss": 1.0, "val_acc": 0.5}
    for averaged, lines in ((None, 2), (0.4, 3)):
        figure = draw_curves([row | {"ema_val_loss": averaged, "ema_val_acc": averaged}], "")
        assert [len(axes.lines) for axes in figure.axes] == [lines, lines]
