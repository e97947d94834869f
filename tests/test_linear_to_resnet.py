"""The experiment behind docs/linear_to_resnet.md: its quick form, receptive fields, the page's table."""

import importlib.util
import re
import subprocess
import sys

import numpy as np
import pytest
from scripts import EXAMPLES, table

from minires.layers import GlobalAvgPool2d
from minires.sequential import Sequential

SCRIPT = EXAMPLES / "experiments" / "linear_to_resnet.py"
PAGE = EXAMPLES.parent / "docs" / "linear_to_resnet.md"


@pytest.fixture(scope="module")
def tour():
    spec = importlib.util.spec_from_file_location("linear_to_resnet", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_quick_form_resumes(tmp_path):
    command = [sys.executable, SCRIPT, "--quick", "--threads", "1", "--out", tmp_path, "--networks", "linear"]
    first = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    second = subprocess.run([*command, "batch_norm"], capture_output=True, text=True, check=True).stdout
    assert second.splitlines()[:3] == first.splitlines()  # seconds, too: it was not trained again
    rows = table(tmp_path / "results.csv")
    assert [(row["network"], row["parameters"]) for row in rows] == [("linear", "30730"), ("batch_norm", "24346")]
    assert all(0 <= float(row["test_acc"]) <= 1 for row in rows)


@pytest.mark.parametrize("name", ["convolution", "pooling", "batch_norm"])
def test_receptive_field_is_what_the_backward_pass_reaches(tour, name):
    model = tour.NETWORKS[name][0](0)
    layers = [layer for _, layer in model.children()]
    pooled = [k for k, layer in enumerate(layers) if isinstance(layer, GlobalAvgPool2d)]
    features = Sequential(*layers[: pooled[0] if pooled else 2]).eval()
    y, backward = features(np.random.default_rng(0).standard_normal((100, 32, 32, 3)).astype(np.float32))
    dy = np.zeros_like(y)
    dy[:, y.shape[1] // 2, y.shape[2] // 2] = 1
    rows = np.flatnonzero(backward(dy).any(axis=(0, 2, 3)))
    assert rows[-1] - rows[0] + 1 == tour.receptive_field(model)


def test_the_pages_table_is_about_these_networks(tour):
    """| `name` | parameters | receptive field | lr | ..."""
    rows = re.findall(r"^\| `(\w+)` \| ([\d,]+) \| (\w+) \| ([\d.]+) \|", PAGE.read_text(encoding="utf-8"), re.M)
    assert [row[0] for row in rows] == list(tour.NETWORKS)
    for name, parameters, field, lr in rows:
        build, highest = tour.NETWORKS[name]
        model = build(0)
        assert (int(parameters.replace(",", "")), float(lr)) == (sum(p.size for p in model.parameters()), highest)
        wanted = field if field == "all" else f"{tour.receptive_field(model)}x{tour.receptive_field(model)}"
        assert field == wanted
