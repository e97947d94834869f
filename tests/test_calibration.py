"""Calibration: its error against a loop over images, the temperature against its derivative, calibrate.py on files."""

import importlib
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import scripts
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import save_file
from scripts import one_sentence

from minires import data, models
from minires.calibration import (
    TemperatureScaling,
    expected_calibration_error,
    fit_temperature,
    nll_by_inverse_temperature,
    reliability,
    temperature_scaling,
)
from minires.cli import held_out
from minires.cli.ensembles import Member, read_members
from minires.gradcheck import gradcheck
from minires.losses import cross_entropy
from minires.losses.distillation import softened


def drawn(seed, N=40, classes=4, sureness=2.0, T=1.7):
    """(logits, labels) of a network that is T times too sure."""
    rng = np.random.default_rng(seed)
    logits = sureness * rng.standard_normal((N, classes))
    return logits, np.array([rng.choice(classes, p=p) for p in softened(logits, T)])


# How sure, and how often right --------------------------------------------------------------------------------------


@given(st.integers(0, 1000), st.integers(1, 30), st.integers(1, 60))
def test_naive_loop(seed, bins, N):
    """Each image looks for its bin among all; the sum is over bins of |right - sure|, no share of images forgotten."""
    logits, labels = drawn(seed, N)
    probabilities, total = softened(logits), 0.0
    for b in range(bins):
        inside = [n for n in range(N) if b / bins < max(probabilities[n]) <= (b + 1) / bins]
        right = sum(probabilities[n].argmax() == labels[n] for n in inside)
        total += abs(right - sum(max(probabilities[n]) for n in inside)) / N
    assert expected_calibration_error(probabilities, labels, bins) == pytest.approx(total, abs=1e-12)


def test_by_hand():
    """Two images said with 0.9, one right; two with 0.6, both right: (|0.5 - 0.9| + |1 - 0.6|) / 2 = 0.4."""
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.6, 0.4]])
    found = reliability(probabilities, np.array([0, 1, 1, 0]), bins=10)
    assert found.error == pytest.approx(0.4)
    assert found.counts.tolist() == [0, 0, 0, 0, 0, 2, 0, 0, 2, 0]
    np.testing.assert_allclose(found.accuracy[[5, 8]], [1, 0.5])
    np.testing.assert_allclose(found.confidence[[5, 8]], [0.6, 0.9])
    assert np.isnan(found.accuracy[0])


def test_an_honest_network_has_next_to_no_error_and_a_boastful_one_has():
    logits, labels = drawn(0, N=20_000, T=1.0)
    assert expected_calibration_error(softened(logits), labels) < 0.015
    assert expected_calibration_error(softened(logits, 0.3), labels) > 0.1
    sure = np.eye(4)[np.zeros(8, int)]  # probability 1 falls into the last bin
    assert expected_calibration_error(sure, np.arange(8) % 4) == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: reliability(np.ones((2, 2)), np.array([0, 1])), "sum to 1: give softmax of logits"),
        (lambda: reliability(np.eye(2), np.array([0, 2])), "labels from 0 to 2: expected 0 to 1"),
        (lambda: reliability(np.eye(2), np.array([0.0, 1.0])), "N integers as labels, got"),
        (lambda: reliability(np.eye(2)[:0], np.array([], int)), "there is no image"),
        (lambda: reliability(np.eye(2), np.array([0, 1]), 0), "bins is 0, expected at least 1"),
        (lambda: fit_temperature(np.eye(2), np.array([0, 1])), "all 2 images are right"),
        (lambda: fit_temperature(np.eye(2), np.array([1, 0])), "no better than chance"),
        (lambda: fit_temperature(np.zeros((2, 2)), np.array([1, 0])), "no better than chance"),
        (lambda: fit_temperature(np.full((2, 2), np.nan), np.array([1, 0])), "NaN or infinite"),
        (lambda: TemperatureScaling(models.simple_cnn(), 0), "temperature is 0, expected a number above 0"),
        (lambda: TemperatureScaling(models.simple_cnn(), math.nan), "temperature is nan"),
        (lambda: temperature_scaling(np.ones((1, 2)), np.ones(2)), r"shape \(2,\), expected \(\): one number"),
    ],
)
def test_what_cannot_be(call, words):
    with pytest.raises(ValueError, match=words):
        call()


# A temperature ------------------------------------------------------------------------------------------------------


@given(st.integers(0, 1000), st.floats(0.3, 20))
def test_gradient_and_purity(check_operation, seed, T):
    logits = np.random.default_rng(seed).standard_normal((3, 4))
    check_operation(temperature_scaling, logits, np.array(T))


@given(st.integers(0, 1000), st.floats(0.3, 5))
def test_the_derivative_of_the_likelihood(seed, T):
    """d nll / dT by the chain of the two operations, by finite differences, and as -f'(beta) / T^2 of the page."""
    logits, labels = drawn(seed, N=5)

    def nll(temperature):
        z, scaling_backward = temperature_scaling(logits, temperature)
        loss, loss_backward = cross_entropy(z, labels)
        return loss, lambda dloss: scaling_backward(dloss * loss_backward())[1]

    gradcheck(nll, np.array(T))
    loss, backward = nll(np.array(T))
    f, slope, _ = nll_by_inverse_temperature(logits, labels, 1 / T)
    assert f == pytest.approx(float(loss), rel=1e-12)
    assert backward(1.0) == pytest.approx(-slope / T**2, rel=1e-9, abs=1e-12)


@given(st.integers(0, 1000), st.floats(0.05, 5))
def test_convex_in_the_inverse_temperature(seed, beta):
    """The slope's own difference is the curvature, which is a variance: 0 or more."""
    logits, labels = drawn(seed, N=5)
    _, slope, curvature = nll_by_inverse_temperature(logits, labels, beta)
    (_, after, _), (_, before, _) = (nll_by_inverse_temperature(logits, labels, beta + d) for d in (1e-5, -1e-5))
    assert curvature >= 0
    assert (after - before) / 2e-5 == pytest.approx(curvature, rel=1e-4, abs=1e-7)


@given(st.integers(0, 1000), st.sampled_from([1e-6, 1e-2, 1.0, 1e3, 1e8]))
@settings(deadline=None)
def test_no_temperature_is_better(seed, scale):
    """At the minimum the slope is 0; a grid around it finds nothing better, whatever the logits' unit."""
    logits, labels = drawn(seed, N=60)
    try:
        T = fit_temperature(scale * logits, labels)
    except ValueError:
        return  # no better than chance, as drawn
    least, slope, _ = nll_by_inverse_temperature(scale * logits, labels, 1 / T)
    assert abs(slope) < 1e-9 * scale
    assert all(nll_by_inverse_temperature(scale * logits, labels, k / T)[0] >= least for k in (0.3, 0.9, 1.1, 1.5, 4))


def test_newton_is_quick(monkeypatch):
    """Halving alone would take some fifty evaluations to the last digit."""
    asked = []

    def counted(*given):
        asked.append(given)
        return nll_by_inverse_temperature(*given)

    monkeypatch.setattr("minires.calibration.nll_by_inverse_temperature", counted)
    fit_temperature(*drawn(0, N=500))
    assert len(asked) <= 15


def test_pytorchs_lbfgs_finds_the_same(torch):
    """As the authors' own code fits it: LBFGS on the temperature."""
    logits, labels = drawn(3, N=500)
    z, y = torch.tensor(logits), torch.tensor(labels)
    T = torch.ones((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([T], lr=0.1, max_iter=500, tolerance_grad=1e-12, tolerance_change=1e-14)

    def closure():
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(z / T, y)
        loss.backward()
        return loss

    optimizer.step(closure)
    assert fit_temperature(logits, labels) == pytest.approx(T.item(), rel=1e-5)


def test_the_temperature_that_was_put_in_is_found():
    logits, labels = drawn(0, N=10_000, T=2.5)
    T = fit_temperature(logits, labels)
    assert pytest.approx(2.5, rel=0.05) == T
    before, after = (expected_calibration_error(softened(logits, at), labels) for at in (1.0, T))
    assert after < before / 5


def test_a_network_at_a_temperature():
    x, network = np.random.default_rng(0).standard_normal((2, 32, 32, 3)).astype("f"), models.simple_cnn(rng=0).eval()
    scaled = TemperatureScaling(network, 2.5)
    np.testing.assert_allclose(scaled(x)[0], network(x)[0] / 2.5, rtol=1e-6)
    gradcheck(scaled.to(np.float64), x[:1].astype(float), max_elements=20)


# Files --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def script(monkeypatch, capsys):
    return lambda name, *flags: scripts.call(scripts.load(name), monkeypatch, capsys, *flags)


@pytest.fixture(scope="module")
def few():
    """In place of the shapes images of one colour each, by their class, of which one in six has another class's."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 1200)
    seen = np.where(rng.random(1200) < 1 / 6, rng.integers(0, 10, 1200), labels)
    colours = rng.integers(0, 256, (10, 1, 1, 3))
    images = np.clip(colours[seen] + rng.integers(-20, 21, (1200, 32, 32, 3)), 0, 255).astype(np.uint8)
    dataset = data.make_synthetic(1, 1)
    parts = {"train_images": images[:1000], "train_labels": labels[:1000]}
    dataset = replace(dataset, **parts, test_images=images[1000:], test_labels=labels[1000:])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.import_module("minires.data.load"), "make_synthetic", lambda seed: dataset)
        yield dataset


@pytest.fixture(scope="module")
def runs(tmp_path_factory, few):
    """{seed: the folder of a run} on these images, the last of which none has seen."""
    out = tmp_path_factory.mktemp("runs")
    script = scripts.load("train_cifar")
    flags = ("--dataset", "synthetic", "--model", "simple_cnn", "--epochs", 4, "--limit-train", 600)
    with pytest.MonkeyPatch.context() as context:
        context.setattr(script.runs.Recorder, "picture", lambda self, name, draw: None)  # slower than a run
        for seed in (0, 1):
            flags_of_one = [
                *flags,
                "--batch-size",
                32,
                "--device",
                "cpu",
                "--limit-test",
                50,
                "--seed",
                seed,
                "--out",
                out / str(seed),
                "--no-progress",
            ]
            context.setattr("sys.argv", ["train_cifar.py", *map(str, flags_of_one)])
            assert script.main() == 0
    return {seed: out / str(seed) for seed in (0, 1)}


@pytest.fixture
def calibrate(script, tmp_path):
    more = ("--device", "cpu", "--limit-test", 200, "--plot", tmp_path / "picture.png")
    return lambda *flags: script("calibrate", *flags, *more)


def test_the_images_that_a_run_set_aside(runs, few):
    """Those of its validation, and those that it left out: not one that it was trained on."""
    dataset = few
    members = read_members([runs[0], runs[1]], {}, "--weights")
    settings = {"seed": 0, "val_split": None, "limit_train": 600}
    of_first = held_out.seen(dataset, settings)
    assert of_first.sum() == 540 and not of_first[600:].any()
    images, labels = held_out.held_out(dataset, members)
    both = ~(of_first | held_out.seen(dataset, {**settings, "seed": 1}))
    np.testing.assert_array_equal(images, dataset.train_images[both])
    np.testing.assert_array_equal(labels, dataset.train_labels[both])


def test_a_temperature_beside_the_weights_and_what_uses_it(calibrate, script, runs, tmp_path):
    code, printed, err = calibrate("--weights", runs[0])
    assert code == 0, err
    path = runs[0] / "best.temperature.json"
    content = json.loads(path.read_text())
    held = next(value for name, value in content["figures"].items() if "held-out" in name)
    assert held["after"]["nll"] < held["before"]["nll"] and f"temperature {content['temperature']:.4f}" in printed
    assert scripts.picture(tmp_path / "picture.png").size[0] > 500
    flags = ("--evaluate", runs[0], "--limit-test", 200, "--device", "cpu", "--json")
    given = {}
    for value in (None, path, content["temperature"]):
        code, printed, err = script("train_cifar", *flags, *(() if value is None else ("--temperature", value)))
        assert code == 0, err
        given[value] = json.loads(printed)
    tested = next(value for name, value in content["figures"].items() if "test" in name)
    assert given[None]["test_loss"] == pytest.approx(tested["before"]["nll"], rel=1e-4)
    assert given[path]["test_loss"] == pytest.approx(tested["after"]["nll"], rel=1e-4)
    assert given[path] == given[content["temperature"]] and given[path]["test_acc"] == given[None]["test_acc"]
    assert calibrate("--weights", runs[0])[0] == 0  # again: its own file is replaced


def test_an_ensemble_has_a_temperature_of_its_own(calibrate, script, runs, tmp_path):
    out = tmp_path / "both.json"
    code, printed, err = calibrate("--weights", runs[0], runs[1], "--tta", "mirror", "--out", out)
    assert code == 0, err
    assert "the ensemble of 2" in printed and "the members' mean: accuracy" in printed
    losses = [float(line.split("likelihood ")[1].split(",")[0]) for line in printed.splitlines() if "member" in line]
    tested = next(value for name, value in json.loads(out.read_text())["figures"].items() if "test" in name)
    assert tested["before"]["nll"] <= losses[2] + 1e-4 and sum(losses[:2]) / 2 == pytest.approx(losses[2], abs=2e-4)
    evaluate = ("--evaluate", runs[1], runs[0], "--limit-test", 200, "--device", "cpu", "--temperature", out)
    assert script("train_cifar", *evaluate, "--tta", "mirror")[0] == 0
    code, _, err = script("train_cifar", *evaluate)
    assert code == 1 and "was fitted with --tta mirror, and this is --tta none: give the same" in one_sentence(err)
    code, _, err = script("train_cifar", "--evaluate", runs[0], "--device", "cpu", "--temperature", out)
    assert code == 1 and "was fitted for other weights than these" in one_sentence(err)
    code, _, err = calibrate("--weights", runs[0], "--out", out)
    assert code == 1 and "not the temperature of these weights: name another file with --out" in one_sentence(err)
    assert json.loads(out.read_text())["tta"] == "mirror"


def test_predict_at_a_temperature(script, runs, few, tmp_path):
    Image.fromarray(few.test_images[0]).save(tmp_path / "a.png")
    found = {}
    for T in (1, 4):
        flags = ("--weights", runs[0], "--temperature", T, "--json", "--top", 10, "--device", "cpu")
        code, printed, err = script("predict", tmp_path / "a.png", *flags)
        assert code == 0, err
        found[T] = {guess["label"]: guess["probability"] for guess in json.loads(printed)["top"]}
    powers = {label: p**0.25 for label, p in found[1].items()}
    for label, power in powers.items():
        assert found[4][label] == pytest.approx(power / sum(powers.values()), rel=1e-4)


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "hot", "{}", '{"temperature": 0}'])
def test_temperatures_that_cannot_be(script, runs, tmp_path, value):
    if value[0] == "{":
        (tmp_path / "t.json").write_text(value)
        value = tmp_path / "t.json"
    code, _, err = script("train_cifar", "--evaluate", runs[0], "--device", "cpu", "--temperature", value)
    assert code == 1 and "--temperature" in one_sentence(err) and "above 0" in err


def test_weights_of_unknown_training(calibrate, runs, tmp_path, cifar):
    save_file(models.simple_cnn(rng=0).state_dict(), tmp_path / "a.safetensors")
    where = ("--weights", tmp_path / "a.safetensors", "--dataset", "synthetic")
    code, _, err = calibrate(*where)
    assert code == 1 and "does not say which images it was trained on: fine-tune it" in one_sentence(err)
    code, _, err = calibrate(*where, "--held-out", 5)
    assert code == 1 and "--held-out 5: give 100 or more" in one_sentence(err)
    code, _, err = calibrate("--weights", runs[0], "--dataset", "cifar10", "--data-dir", cifar)
    assert code == 1 and "none of which is a class of CIFAR-10" in one_sentence(err)
    other = Member("a", None, {"run": {"label": "other photographs"}}, "")
    with pytest.raises(ValueError, match="a: was trained on other photographs: fine-tune it on"):
        held_out.held_out(data.make_synthetic(train=200, test=5), [other])
    code, _, err = calibrate("--weights", runs[0], "--bins", 0)
    assert code == 1 and "--bins must be at least 1" in one_sentence(err)
    assert not list(tmp_path.glob("*.json"))
