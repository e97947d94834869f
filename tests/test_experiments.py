"""The experiments' quick forms: they run, write their table and picture, and do nothing twice."""

import csv
import subprocess
import sys

from PIL import Image
from safetensors.numpy import save_file
from scripts import EXAMPLES

from minires import models


def test_finetuning_on_shapes(tmp_path):
    save_file(models.resnet8(rng=0).state_dict(), tmp_path / "weights.safetensors")
    command = [sys.executable, EXAMPLES / "experiments" / "finetuning.py", "shapes", "--quick", "--seeds", "0"]
    command += ["--weights", tmp_path / "weights.safetensors", "--out", tmp_path / "out"]
    first = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = list(csv.DictReader((tmp_path / "out" / "results.csv").open()))
    assert [row["way"] for row in rows] == ["fine-tuned", "head alone", "from scratch"]
    assert all(row["images of a class"] == "10" and 0 <= float(row["test_acc"]) <= 1 for row in rows)
    assert Image.open(tmp_path / "out" / "results.png").size == (825, 440)
    assert "images/s" in first.stdout
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "images/s" not in again.stdout  # no run
    assert again.stdout.splitlines()[-4:] == first.stdout.splitlines()[-4:]
