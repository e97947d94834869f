"""benchmarks/pipeline.py: it measures the loader's own parts, and its JSON holds shares; nothing is timed."""

import json
import sys
from pathlib import Path

import cupy_double
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import pipeline

from minires import backend, data

FIGURES = {"model", "batch_size", "cutout", "batch_ms", "step_ms", "share", "spread"}


@pytest.fixture
def dataset(monkeypatch):
    """Few images, and small batches of them for one small network."""
    few = data.make_synthetic(train=20, test=1)
    monkeypatch.setattr(pipeline, "load_dataset", lambda data_dir: few)
    monkeypatch.setattr(pipeline, "MODELS", ("resnet8",))
    monkeypatch.setattr(pipeline, "BATCH_SIZES", (2, 5))
    monkeypatch.setattr(pipeline, "QUICK_BATCH_SIZES", (3,))
    return few


@pytest.fixture
def run(dataset, tmp_path):
    """run(*arguments): the JSON of a run."""

    def run_and_read(*arguments):
        pipeline.main([*arguments, "--json", str(tmp_path / "figures.json")])
        return json.loads((tmp_path / "figures.json").read_text())

    return run_and_read


def check(content, batch_sizes):
    assert set(content) == {"machine", "dataset", "rounds", "shares", "largest_share"}
    cases = [(batch_size, cutout) for batch_size in batch_sizes for cutout in (0, 16)]
    assert [(row["batch_size"], row["cutout"]) for row in content["shares"]] == cases
    for row in content["shares"]:
        assert set(row) == FIGURES and row["model"] == "resnet8"
        low, high = row["spread"]
        assert 0 < low <= row["share"] <= high
        assert min(row["batch_ms"], row["step_ms"]) > 0
    assert content["largest_share"] == max(row["share"] for row in content["shares"])


def test_the_json_of_a_run(run, monkeypatch, capsys):
    batch_ms = iter([9, 1, 1, 3] * 4)  # the first of each turn is the warm-up

    def pretend(device, function, *arguments):
        return next(batch_ms) if function is next else 20, function(*arguments)

    monkeypatch.setattr(pipeline, "timed", pretend)
    content = run("--rounds", "3")
    check(content, (2, 5))
    for row in content["shares"]:
        assert (row["batch_ms"], row["step_ms"], row["share"], row["spread"]) == (1, 20, 0.05, [0.05, 0.15])
    assert content["machine"]["threads"] == backend.get_threads() and content["rounds"] == 3
    printed = capsys.readouterr().out
    assert "resnet8" in printed and "largest share of a step" in printed and content["dataset"] in printed


def test_the_json_of_a_quick_run(run):
    content = run("--quick")
    check(content, (3,))
    assert content["rounds"] == 5


def test_a_run_on_a_gpu(run, monkeypatch):
    """With the double of CuPy: whatever is left on the host raises."""
    monkeypatch.setitem(sys.modules, "cupy", cupy_double)
    content = run("--quick", "--rounds", "1", "--device", "gpu")
    check(content, (3,))
    assert content["machine"]["device"] == "gpu"


def test_what_is_measured_is_what_the_recipe_trains_with(dataset):
    loader = pipeline.make_loader(pipeline.settings_of("resnet20", 3, 16), dataset, "cpu")
    assert loader.augment == data.Augment(padding=4, flip=True, cutout=16)
    assert loader.shuffle and loader.batch_size == 3


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [(["--json", "nowhere/at/all.json"], "make it first"), (["--data-dir", "nowhere/at/all"], "nowhere/at/all")],
)
def test_a_bad_argument_is_named(arguments, sentence):
    with pytest.raises(SystemExit) as stopped:
        pipeline.main(arguments)
    assert str(stopped.value).startswith("error: ") and sentence in str(stopped.value)
