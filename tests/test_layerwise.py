"""LARS and LAMB against formulas written out number by number, and what their steps promise."""

import math
import sys

import cupy_double
import numpy as np
import pytest
import scripts
from scripts import one_sentence
from test_optim import give_gradients, parameters
from test_train_cifar import FAST

from minires.backend import to_device
from minires.optim import LAMB, LARS
from minires.parameter import Parameter


def norm(numbers):
    return math.sqrt(math.fsum(x * x for x in numbers))


def lars_by_hand(w, gradients, lr, momentum, weight_decay, trust, l1):
    """Lists of numbers; the paper's algorithm 1, with the learning rate outside."""
    buffer, layer = [0.0] * w.size, w.ndim >= 2
    w = w.ravel().tolist()
    for g in gradients:
        if g is None:
            continue
        g = [gi + l1 * ((wi > 0) - (wi < 0)) for gi, wi in zip(g.ravel().tolist(), w, strict=True)]
        ratio = trust * norm(w) / (norm(g) + weight_decay * norm(w)) if layer else 1.0
        buffer = [momentum * b + ratio * (gi + weight_decay * wi) for b, gi, wi in zip(buffer, g, w, strict=True)]
        w = [wi - lr * b for wi, b in zip(w, buffer, strict=True)]
    return w


def lamb_by_hand(w, gradients, lr, beta1, beta2, eps, weight_decay, l1):
    """Lists of numbers; the paper's algorithm 2."""
    m, v, t, layer = [0.0] * w.size, [0.0] * w.size, 0, w.ndim >= 2
    w = w.ravel().tolist()
    for g in gradients:
        if g is None:
            continue
        t += 1
        g = [gi + l1 * ((wi > 0) - (wi < 0)) for gi, wi in zip(g.ravel().tolist(), w, strict=True)]
        m = [beta1 * mi + (1 - beta1) * gi for mi, gi in zip(m, g, strict=True)]
        v = [beta2 * vi + (1 - beta2) * gi**2 for vi, gi in zip(v, g, strict=True)]
        r = [mi / (1 - beta1**t) / (math.sqrt(vi / (1 - beta2**t)) + eps) for mi, vi in zip(m, v, strict=True)]
        u = [ri + weight_decay * wi for ri, wi in zip(r, w, strict=True)]
        ratio = norm(w) / norm(u) if layer else 1.0
        w = [wi - lr * ratio * ui for wi, ui in zip(w, u, strict=True)]
    return w


CASES = [
    (LARS, {"lr": 0.7, "momentum": 0.9, "weight_decay": 0.05, "trust_coefficient": 0.02, "l1": 0.0}, lars_by_hand),
    (LARS, {"lr": 0.7, "momentum": 0.0, "weight_decay": 0.0, "trust_coefficient": 1e-3, "l1": 0.01}, lars_by_hand),
    (LAMB, {"lr": 0.02, "betas": (0.9, 0.999), "eps": 1e-6, "weight_decay": 0.1, "l1": 0.0}, lamb_by_hand),
    (LAMB, {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.0, "l1": 0.01}, lamb_by_hand),
]


@pytest.mark.parametrize(("cls", "options", "by_hand"), CASES)
def test_the_papers_formulas(cls, options, by_hand):
    ours, start = parameters(), [parameter.data for parameter in parameters()]
    optimizer, seen = cls(ours, **options), [[] for _ in ours]
    for iteration in range(12):
        give_gradients(ours, iteration)
        for parameter, gradients in zip(ours, seen, strict=True):
            gradients.append(parameter.grad)
        optimizer.step()
    numbers = [number for value in options.values() for number in (value if isinstance(value, tuple) else [value])]
    for parameter, w, gradients in zip(ours, start, seen, strict=True):
        np.testing.assert_allclose(parameter.data.ravel(), by_hand(w, gradients, *numbers), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(("cls", "options"), [(LARS, {"lr": 0.5, "momentum": 0.0}), (LAMB, {"lr": 5e-4})])
@pytest.mark.parametrize("factor", [1e-6, 1.0, 1e6])
def test_the_first_step_is_a_share_of_the_arrays_own_length(cls, options, factor):
    rng = np.random.default_rng(0)
    parameter = Parameter(rng.standard_normal((6, 5)))
    parameter.grad = factor * rng.standard_normal((6, 5))
    before = parameter.data
    cls([parameter], **options).step()
    assert np.linalg.norm(parameter.data - before) / np.linalg.norm(before) == pytest.approx(5e-4, rel=1e-3)


@pytest.mark.parametrize("cls", [LARS, LAMB])
def test_zeros_are_no_trouble(cls):
    nothing, still = Parameter(np.zeros((2, 2))), Parameter(np.ones((2, 2)))
    nothing.grad, still.grad = np.ones((2, 2)), np.zeros((2, 2))
    cls([nothing, still], lr=0.1).step()
    assert np.isfinite(nothing.data).all() and (nothing.data < 0).all()
    np.testing.assert_array_equal(still.data, np.ones((2, 2)))


@pytest.mark.parametrize("cls", [LARS, LAMB])
def test_on_a_gpu_nobody_waits(monkeypatch, cls):
    monkeypatch.setitem(sys.modules, "cupy", cupy_double)
    rng, told = np.random.default_rng(0), []
    params = [Parameter(to_device(rng.standard_normal(shape).astype(np.float32), "gpu")) for shape in ((4, 3), (5,))]
    optimizer = cls(params, lr=0.1, weight_decay=0.01)
    for _ in range(2):
        for parameter in params:
            parameter.grad = to_device(rng.standard_normal(parameter.shape).astype(np.float32), "gpu")
        with cupy_double.telling(lambda kind, *rest: told.append(kind)):
            optimizer.step()
    assert "kernel" in told and "wait" not in told and "copy" not in told


def test_lars_leaves_a_step_out_where_it_is_told_to():
    parameter = Parameter(np.ones((2, 2), np.float32))
    parameter.grad = np.full((2, 2), np.inf, np.float32)
    with np.errstate(invalid="ignore"):
        LARS([parameter], lr=0.1).step(where=np.asarray(False))
    np.testing.assert_array_equal(parameter.data, np.ones((2, 2)))


@pytest.fixture
def main(cifar, monkeypatch, capsys):
    script = scripts.load("train_cifar")
    monkeypatch.setattr(script.runs.Recorder, "picture", lambda self, name, draw: None)
    return lambda *flags: scripts.call(script, monkeypatch, capsys, *flags, "--data-dir", cifar)


@pytest.mark.parametrize("name", ["lars", "lamb"])
def test_the_script(main, tmp_path, name):
    flags = FAST[:-4]  # without its learning rate
    code, printed, err = main(*flags, "--optimizer", name, "--device", "cpu", "--out", tmp_path / name)
    assert (code, err) == (0, "") and f", {name}" in printed
    code, _, err = main(*flags, "--optimizer", name, "--nesterov", "--out", tmp_path / "none")
    assert code == 1 and "of --optimizer sgd" in one_sentence(err)
    rows = scripts.table(tmp_path / name / "log.csv")
    assert [row["epoch"] for row in rows] == ["1", "2"]
