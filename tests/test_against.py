"""benchmarks/against.py: two checkouts of minires, each in its own process, compared in turn; nothing is timed."""

import json
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import against  # noqa: E402

CASES = ("resnet20-train-1", "resnet20-infer-1")


@pytest.fixture
def other(tmp_path):
    """A copy of minires in a folder of its own."""
    shutil.copytree(ROOT / "minires", tmp_path / "other" / "minires", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "other"


def test_the_json_of_a_quick_run(other, tmp_path, capsys):
    file = tmp_path / "figures.json"
    against.main([str(other), "--quick", "--rounds", "2", "--case", *CASES, "--json", str(file)])
    content = json.loads(file.read_text())
    assert set(content) == {"machine", "rounds", "results"}
    assert sorted(row["case"] for row in content["results"]) == sorted(CASES)
    for row in content["results"]:
        low, high = row["spread"]
        assert 0 < low <= row["ratio"] <= high
        assert min(row["this"], row["other"]) > 0
        assert 0 <= row["peak_mb"] < 500 and 0 <= row["other_peak_mb"] < 500
    printed = capsys.readouterr().out
    assert all(case in printed for case in CASES)


def test_each_process_runs_its_own_checkout(other):
    """The other's losses are twice as large: where they are not seen, it is not the other that was run."""
    with open(other / "minires" / "training.py", "a", encoding="utf-8") as file:
        file.write("\n\n_step = train_step\n\n\ndef train_step(*args, **options):\n")
        file.write("    loss, right = _step(*args, **options)\n    return 2 * loss, right\n")
    with pytest.raises(SystemExit, match=r"resnet20-train-1: this computes .*, the other "):
        against.main([str(other), "--quick", "--case", "resnet20-train-1"])


def test_a_checkout_that_cannot_run_is_named(other):
    (other / "minires" / "__init__.py").write_text("1 / 0\n")
    with pytest.raises(SystemExit, match=f"{other} could not run resnet20-infer-1"):
        against.main([str(other), "--quick", "--case", "resnet20-infer-1"])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere"], "error: PATH nowhere: there is no minires/ in it"),
        ([str(ROOT), "--case", "resnet20-trian-128"], "did you mean 'resnet20-train-128'?"),
        ([str(ROOT), "--json", "nowhere/at/all.json"], "make it first"),
    ],
)
def test_a_bad_argument_is_named(arguments, sentence):
    with pytest.raises(SystemExit) as stopped:
        against.main(arguments)
    assert sentence in str(stopped.value)
