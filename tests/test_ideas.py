"""benchmarks/ideas.py: every rung computes what minires does, and leaves minires as it was; nothing is timed."""

import inspect
import json
import multiprocessing
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import ideas  # noqa: E402
import older_forms  # noqa: E402
import turns  # noqa: E402
from cases import Network  # noqa: E402
from peers import textbook  # noqa: E402

from minires import backend, layers, models  # noqa: E402
from minires.backend.cpu import blocks as cpu  # noqa: E402
from minires.backend.cpu import memory  # noqa: E402
from minires.backend.primitives import convolution  # noqa: E402
from minires.losses import cross_entropy  # noqa: E402
from minires.models import resnet  # noqa: E402

TINY = Network("resnet8", True, 4, seconds=0)


def everything():
    """Every function, class attribute and constant of minires: {(owner, name): value}."""
    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] == "minires"]
    owners = [*modules, *{value for module in modules for value in vars(module).values() if inspect.isclass(value)}]
    return {(owner, name): value for owner in owners for name, value in vars(owner).items()}


def gradients_of(model, x, labels):
    model.zero_grad()
    logits, model_backward = model(x)
    loss, loss_backward = cross_entropy(logits, labels)
    model_backward(loss_backward())
    return loss, {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.fixture(scope="module")
def batch():
    x, labels = TINY.arrays()
    return x.astype(np.float64), labels


@pytest.fixture(scope="module")
def expected(batch):
    return gradients_of(models.resnet8(rng=0).to(np.float64), *batch)


@pytest.mark.parametrize("rung", [rung for rung in ideas.RUNGS if rung != "textbook"])
@pytest.mark.parametrize("block_size", [2**21, 2**14], ids=["large blocks", "small blocks"])
def test_a_rung_computes_the_same(rung, block_size, batch, expected, block_bytes):
    with ideas.standing_on(rung), block_bytes(block_size):
        loss, gradients = gradients_of(models.resnet8(rng=0).to(np.float64), *batch)
    assert loss == pytest.approx(expected[0], rel=1e-12)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, expected[1][name], rtol=1e-9, atol=1e-12, err_msg=name)


def test_the_textbook_computes_the_same(batch, expected):
    x, labels = batch
    network = textbook.ResNet(models.resnet8(rng=0).to(np.float64).state_dict(), 8)
    logits, backward = network(x.transpose(0, 3, 1, 2))
    loss, loss_backward = cross_entropy(logits, labels)
    backward(loss_backward())
    assert loss == pytest.approx(expected[0], rel=1e-12)
    for name, gradient in network.gradients.items():
        np.testing.assert_allclose(gradient, expected[1][name], rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("shortcut", ["A", "B", "none"])
def test_the_lowest_rung_knows_every_shortcut(shortcut, batch):
    results = []
    for rung in ("nhwc", "lean"):
        with ideas.standing_on(rung):
            results.append(gradients_of(resnet.ResNet(8, shortcut=shortcut, rng=0).to(np.float64), *batch)[1])
    for name, gradient in results[0].items():
        np.testing.assert_allclose(gradient, results[1][name], rtol=1e-9, atol=1e-12, err_msg=name)


def test_older_forms_are_in_place_and_everything_is_put_back():
    before = everything()
    with pytest.raises(ZeroDivisionError), ideas.standing_on("nhwc"):
        assert memory.empty is np.empty
        assert backend.borrow_patches is convolution.borrow_patches is older_forms.patches_by_pixels
        assert cpu.for_each_block is older_forms.whole_batch
        assert layers.BatchNormReLU2d.forward is older_forms.separate_norm_add_relu
        1 / 0  # noqa: B018
    with ideas.standing_on("rows"):
        assert backend.borrow_patches is older_forms.patches_by_pixels
        assert cpu.for_each_block is before[cpu, "for_each_block"]
    with ideas.standing_on("lean"):
        assert everything() == before
    after = everything()
    assert after.keys() == before.keys()
    assert all(after[place] is value for place, value in before.items())


def test_every_idea_changes_something():
    names = list(ideas.RUNGS)[1:]
    found = []
    for rung in names:
        with ideas.standing_on(rung):
            found.append(everything())
    for rung, below, above in zip(names[1:], found, found[1:], strict=False):
        assert any(below[place] is not value for place, value in above.items()), rung


@pytest.mark.parametrize("rows", [None, slice(1, 3)], ids=["all rows", "a band"])
@pytest.mark.parametrize(("kernel", "stride"), [((3, 3), (1, 1)), ((3, 2), (2, 1)), ((1, 1), (2, 2))])
def test_patches_copied_by_pixels(kernel, stride, rows):
    x, padding = np.random.default_rng(0).standard_normal((2, 9, 8, 5)), ((1, 0), (2, 1))
    expected = backend.im2col(x, kernel, stride, padding, value=7, rows=rows)
    np.testing.assert_array_equal(older_forms.patches_by_pixels(x, kernel, stride, padding, 7, rows), expected)


# A run -----------------------------------------------------------------------------------------------------------


def run(tmp_path, *arguments):
    file = tmp_path / "figures.json"
    ideas.main(["--quick", "--rounds", "1", *arguments, "--json", str(file)])
    return json.loads(file.read_text())


def test_the_json_and_the_chart_of_a_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ideas, "QUICK", TINY)
    monkeypatch.setattr(ideas, "Process", ideas.Runner)
    monkeypatch.setattr(ideas, "PAUSE", 0)
    monkeypatch.setattr(ideas, "PYTORCH", {})
    chart = tmp_path / "chart.png"
    content = run(tmp_path, "--plot", str(chart))
    assert set(content) == {"machine", "network", "rounds", "rungs", "pytorch"}
    assert (content["network"], content["rounds"], content["pytorch"]) == ("resnet8-train-4", 1, {})
    assert [row["rung"] for row in content["rungs"]] == list(ideas.RUNGS)
    printed = capsys.readouterr().out
    for row in content["rungs"]:
        assert row["title"] in printed
        assert row["images_per_second"] > 0
        assert row["page_faults"] >= 0
        assert row["loss"] == pytest.approx(content["rungs"][-1]["loss"], rel=1e-4)
        if row["rung"] == "textbook":
            assert row["ratio"] is row["spread"] is None
        else:
            low, high = row["spread"]
            assert 0 < low <= row["ratio"] <= high
    assert chart.read_bytes().startswith(b"\x89PNG")


def test_a_rung_that_computes_something_else_is_found(monkeypatch):
    class Liar(ideas.Runner):
        def turn(self, steps):
            found = super().turn(steps)
            found.losses = [(1 if self.rung else 1.1) * loss for loss in found.losses]
            return found

    monkeypatch.setattr(ideas, "PAUSE", 0)
    with pytest.raises(AssertionError, match="textbook computes something else"):
        ideas.climb(TINY, ["textbook", "lean"], 1, 1, Liar)


def test_other_tables(tmp_path, monkeypatch):
    monkeypatch.setattr(ideas, "QUICK", TINY)
    monkeypatch.setattr(ideas, "TURN_SECONDS", 0)
    monkeypatch.setattr(turns, "PAUSE", 0)
    content = run(tmp_path, "--blocks", "--winograd")
    assert set(content) == {"machine", "network", "rounds", "blocks", "winograd"}
    assert list(content["blocks"]) == ["0.125", "0.25", "0.5", "1", "2", "4", "8"]
    assert len(content["winograd"]) == 6 + 4
    assert cpu.BLOCK_BYTES == 2**21
    assert backend.winograd.LEAST_CHANNELS == 128


def test_a_process_of_its_own():
    process = ideas.Process("lean", TINY, 1)
    turn = process.turn(1)
    process.stop()
    assert len(turn.losses) == 1
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--json", "nowhere/at/all.json"], "make it first"),
        (["--plot", "chart.png", "--blocks"], "run it alone"),
    ],
)
def test_a_bad_argument_is_named(arguments, sentence):
    with pytest.raises(SystemExit) as stopped:
        ideas.parse(arguments)
    assert sentence in str(stopped.value)
