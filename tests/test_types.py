"""The type checker can fail: on wrong uses of the public functions, and within functions that have no annotations."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy")
ROOT = Path(__file__).resolve().parent.parent

RIGHT = """
import numpy as np
from minires import Module, Parameter, Sequential
from minires.layers import Conv2d, ReLU, conv2d
from minires.losses import cross_entropy
from minires.models import resnet20
from minires.optim import SGD

x = np.zeros((2, 8, 8, 3), np.float32)
y, backward = conv2d(x, np.zeros((4, 3, 3, 3), np.float32), stride=(2, 1), padding=((1, 0), (1, 1)))
model = resnet20(rng=np.random.default_rng(0))
logits, model_backward = model(x)
loss, loss_backward = cross_entropy(logits, np.array([0, 1]), label_smoothing=0.1)
optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
optimizer.step()
Sequential(Conv2d(3, 4, 3, padding=1, rng=0), ReLU())[0:1]
Parameter(np.ones(3))
"""
WRONG = {  # a line that is wrong, and the checker's word for it
    "SGD(model.parameters(), lr='0.1')": "arg-type",
    "SGD(model.parameters(), lr=0.1, moment=0.9)": "call-arg",
    "conv2d([1.0, 2.0], x)": "arg-type",
    "conv2d(x, x, padding='same')": "arg-type",
    "Conv2d(3, 4, 3, bias=None)": "arg-type",
    "cross_entropy(logits, [0, 1])": "arg-type",
    "y, backward, more = conv2d(x, x)": "misc",
    "Parameter([1.0])": "arg-type",
    "resnet20(depth=20)": "call-arg",
    "Sequential(3)": "arg-type",
    "model.load_state_dict([1])": "arg-type",
    "model.parametres()": "attr-defined",
    "logits, = model(x)": "misc",
}


def checked(tmp_path, *targets):
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "setup.cfg")]
    done = subprocess.run([*command, "--cache-dir", str(tmp_path / "cache"), *targets], capture_output=True, text=True)
    assert not done.stderr
    return done.stdout


def test_right_uses_pass_and_wrong_ones_do_not(tmp_path, monkeypatch):
    monkeypatch.setenv("MYPYPATH", str(ROOT))
    program = tmp_path / "program.py"
    program.write_text(RIGHT + "\n".join(WRONG) + "\n", encoding="utf-8")
    lines = checked(tmp_path, str(program)).splitlines()
    first = RIGHT.count("\n") + 1
    for number, (line, word) in enumerate(WRONG.items(), first):
        found = [said for said in lines if f"program.py:{number}:" in said and "error:" in said]
        assert any(f"[{word}]" in said for said in found), (line, found)
    assert not [said for said in lines if "error:" in said and int(said.split(":")[1]) < first], lines


def test_a_body_without_annotations_is_checked_too(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "minires", tmp_path / "minires", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.chdir(tmp_path)
    with open(tmp_path / "minires" / "names.py", "a", encoding="utf-8") as file:
        file.write('\n\ndef wrong(x):\n    return 1 + "a"\n')
    out = checked(tmp_path, "minires/names.py")
    assert "Unsupported operand types" in out
