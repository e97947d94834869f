"""The experiment that measures one network rightly and wrongly: its right figures are those of `evaluate`."""

import csv
import subprocess
import sys

from safetensors.numpy import save_file
from scripts import EXAMPLES

from minires import data, models, pretrained
from minires.training import evaluate


def test_measuring(tmp_path):
    save_file(models.resnet8(rng=0).state_dict(), tmp_path / "weights.safetensors")
    command = [sys.executable, EXAMPLES / "experiments" / "measuring.py", "--weights", tmp_path / "weights.safetensors"]
    command += ["--dataset", "synthetic", "--quick", "--out", tmp_path / "out"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    with open(tmp_path / "out" / "results.csv", newline="") as file:
        found = {row["way"]: float(row["accuracy"]) for row in csv.DictReader(file)}
    assert all(f"{100 * value:.2f} %" in printed for value in found.values()) and len(found) == 12

    model, metadata = pretrained.build(tmp_path / "weights.safetensors")
    constants = metadata["preprocessing"]["mean"], metadata["preprocessing"]["std"]
    dataset, _ = data.load("synthetic")
    for name, images, labels in (
        ("test images", dataset.test_images, dataset.test_labels),
        ("training images", dataset.train_images, dataset.train_labels),
    ):
        right = evaluate(model, data.Loader(*data.limit(images, labels, 200), 50, *constants), 10).accuracy
        assert found[f"{name}, model.eval()"] == right
    assert found["test images by class, model.eval()"] == found["test images, model.eval()"]
