"""Clipping in a step: before the update, after the sum over shards, without waiting for a GPU."""

import sys

import cupy_double
import numpy as np
import pytest
import scripts
from scripts import one_sentence
from test_train_cifar import FAST

from minires import models, optim
from minires.backend import to_device, to_numpy
from minires.lr_finder import lr_find
from minires.optim import clip_grad_norm_, clip_to_norm
from minires.parameter import Parameter
from minires.precision import GradScaler, options_for
from minires.recorded_step import RecordedStep
from minires.sharded_step import sharded_step
from minires.shards import Batch
from minires.training import loss_and_gradients, train_step, update


def network(device="cpu"):
    model = models.resnet8(rng=0).to(device).train()
    return model, optim.SGD(model.parameters(), 0.1, momentum=0.9)


def batch(number, device="cpu"):
    rng = np.random.default_rng(number)
    images = rng.standard_normal((6, 8, 8, 3)).astype(np.float32)
    return to_device(images, device), to_device(rng.integers(0, 10, 6), device)


def norm_of(model):
    return np.sqrt(sum(float((to_numpy(p.grad).astype(np.float64) ** 2).sum()) for p in model.parameters()))


def gradients(dtype=np.float32, device="cpu"):
    rng, parameters = np.random.default_rng(1), []
    for shape in ((3, 4), (5,), (2, 2, 2)):
        parameter = Parameter(to_device(np.zeros(shape, dtype), device))
        parameter.grad = to_device(rng.standard_normal(shape).astype(dtype), device)
        parameters.append(parameter)
    return parameters


@pytest.mark.parametrize("max_norm", [0.1, 2.0, 1e3])
def test_on_a_gpu_nobody_waits_and_the_numbers_are_the_same(monkeypatch, max_norm):
    expected = gradients()
    norm = clip_grad_norm_(expected, max_norm)
    monkeypatch.setitem(sys.modules, "cupy", cupy_double)
    parameters, told = gradients(device="gpu"), []
    with cupy_double.telling(lambda kind, *rest: told.append(kind)):
        found = clip_to_norm(parameters, max_norm)
    assert "wait" not in told and "copy" not in told
    assert float(found) == pytest.approx(norm, rel=1e-12)
    for ours, theirs in zip(parameters, expected, strict=True):
        assert ours.grad.dtype == np.float32
        np.testing.assert_allclose(to_numpy(ours.grad), theirs.grad, rtol=1e-6)


def test_a_norm_that_is_none():
    for bad, left in ((np.inf, np.nan), (np.nan, np.nan)):
        parameters = gradients()
        before = parameters[1].grad
        parameters[0].grad[0, 0] = bad
        norm = float(clip_to_norm(parameters, 1.0))
        assert np.array_equal(norm, bad, equal_nan=True)
        assert np.isnan(parameters[0].grad[0, 0]) == np.isnan(left)
        np.testing.assert_array_equal(parameters[1].grad, 0 * before if bad == np.inf else before)
    assert float(clip_to_norm([], 1.0)) == 0


def test_train_step_clips_between_the_gradients_and_the_update():
    (model, optimizer), (by_hand, its) = network(), network()
    for number in range(3):
        train_step(model, optimizer, *batch(number), clip_norm=0.5)
        loss_and_gradients(by_hand, *batch(number))
        assert norm_of(by_hand) > 0.6
        clip_grad_norm_(by_hand.parameters(), 0.5)
        its.step()
        assert norm_of(model) == pytest.approx(0.5, rel=1e-5)
    for key, array in model.state_dict().items():
        np.testing.assert_array_equal(array, by_hand.state_dict()[key], err_msg=key)


def test_a_long_limit_changes_no_bit():
    (model, optimizer), (plain, its) = network(), network()
    train_step(model, optimizer, *batch(0), clip_norm=1e6)
    train_step(plain, its, *batch(0))
    for key, array in model.state_dict().items():
        np.testing.assert_array_equal(array, plain.state_dict()[key], err_msg=key)


def test_of_shards_the_sum_is_clipped():
    model, optimizer = network()
    x, labels = batch(0)
    sharded_step(model, optimizer, Batch.of(x, labels, 3))
    assert norm_of(model) > 0.3
    model, optimizer = network()
    sharded_step(model, optimizer, Batch.of(x, labels, 3), clip_norm=0.25)
    assert norm_of(model) == pytest.approx(0.25, rel=1e-5)


def test_recorded_steps_are_clipped_alike(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", cupy_double)
    (model, optimizer), (plain, its) = network("gpu"), network("gpu")
    step = RecordedStep(model, optimizer, clip_norm=0.5)
    for number in range(4):
        found = step(*batch(number, "gpu"))
        expected = train_step(plain, its, *batch(number, "gpu"), clip_norm=0.5)
        assert [float(one) for one in found] == [float(one) for one in expected]
    assert step.whynot is None
    for key, array in model.state_dict().items():
        np.testing.assert_array_equal(array, plain.state_dict()[key], err_msg=key)


def test_scaled_gradients_are_divided_first():
    model, optimizer = network()
    train_step(model, optimizer, *batch(0), **options_for(model, "float16"), clip_norm=0.5)
    assert norm_of(model) == pytest.approx(0.5, rel=1e-3)


def test_a_step_with_infinite_gradients_is_still_left_out():
    model, optimizer = network()
    loss_and_gradients(model, *batch(0))
    next(iter(model.parameters())).grad[0] = np.inf
    before, scaler = model.state_dict(), GradScaler()
    update(optimizer, scaler, clip_norm=1.0)
    assert float(scaler.scale) == 32768
    for key, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[key], err_msg=key)


@pytest.fixture
def main(cifar, monkeypatch, capsys):
    script = scripts.load("train_cifar")
    monkeypatch.setattr(script.runs.Recorder, "picture", lambda self, name, draw: None)
    return lambda *flags: scripts.call(script, monkeypatch, capsys, *flags, "--data-dir", cifar)


def test_the_flag(main, tmp_path):
    for value in (0, -1, "nan", "inf"):
        code, _, err = main(*FAST, "--clip-norm", value, "--out", tmp_path / "none")
        assert code == 1 and "--clip-norm must be a number above 0, got" in one_sentence(err)
    assert not (tmp_path / "none").exists()
    losses = []
    for name, flags in (("plain", ()), ("clipped", ("--clip-norm", 1e-3))):
        code, _, err = main(*FAST, *flags, "--out", tmp_path / name)
        assert (code, err) == (0, "")
        losses.append(scripts.table(tmp_path / name / "log.csv")[-1]["train_loss"])
    assert losses[0] != losses[1]
    code, _, err = main("--resume", tmp_path / "plain", "--clip-norm", 1, "--epochs", 3, "--lr", 0.1)
    assert code == 1 and "--clip-norm 1.0 (was none): leave them out" in one_sentence(err)


def test_the_range_test_trains_as_the_run_does():
    model, optimizer = network()
    expected, its = network()

    class Batches:
        def epoch(self, number):
            return iter([batch(number)])

    found = lr_find(model, optimizer, Batches(), start=1e-3, end=1e-2, iterations=10, clip_norm=0.1)
    plain = lr_find(expected, its, Batches(), start=1e-3, end=1e-2, iterations=10)
    assert found.losses[0] == plain.losses[0] and found.losses[1:] != plain.losses[1:]
