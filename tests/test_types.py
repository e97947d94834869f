"""Every public signature has types, and the checker can fail: on wrong uses, and in functions without annotations."""

import importlib
import inspect
import os
import pkgutil
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import minires

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
for layer in Sequential(ReLU()):
    layer.train()
resnet20().to(np.float64).eval().conv1.stride
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


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What the checker says of a program, and of minires with a wrong line in a function without annotations."""
    folder = tmp_path_factory.mktemp("types")
    shutil.copytree(ROOT / "minires", folder / "minires", ignore=shutil.ignore_patterns("__pycache__"))
    with open(folder / "minires" / "names.py", "a", encoding="utf-8") as file:
        file.write('\n\ndef wrong(x):\n    return 1 + "a"\n')
    (folder / "program.py").write_text(RIGHT + "\n".join(WRONG) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "setup.cfg"), "minires/names.py", "program.py"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env={**os.environ, "MYPYPATH": "."})
    assert not done.stderr
    return done.stdout.splitlines()


def test_right_uses_pass_and_wrong_ones_do_not(said):
    first = RIGHT.count("\n") + 1
    for number, (line, word) in enumerate(WRONG.items(), first):
        found = [words for words in said if words.startswith(f"program.py:{number}:") and "error:" in words]
        assert any(f"[{word}]" in words for words in found), (line, found)
    of_program = [words for words in said if words.startswith("program.py:") and "error:" in words]
    assert not [words for words in of_program if int(words.split(":")[1]) < first]


def test_a_body_without_annotations_is_checked_too(said):
    assert any("names.py" in words and "Unsupported operand types" in words for words in said)


def public_functions():
    """(name, function) of every function, and method of a class, that a module of minires offers."""
    for info in pkgutil.walk_packages(minires.__path__, "minires."):
        if info.name.endswith("__main__"):
            continue
        module = importlib.import_module(info.name)
        for name, thing in vars(module).items():
            if name[0] == "_" or getattr(thing, "__module__", None) != module.__name__:
                continue
            inside = vars(thing).values() if inspect.isclass(thing) else [thing]
            for function in (getattr(method, "fget", None) or getattr(method, "__func__", method) for method in inside):
                if inspect.isfunction(function) and (function.__name__[0] != "_" or function.__name__ == "__init__"):
                    yield f"{function.__module__}.{function.__qualname__}", inspect.unwrap(function)


def test_every_public_signature_has_types():
    functions = {name: function for name, function in public_functions() if name.startswith("minires.")}
    assert len(functions) > 400
    lacking = []
    for name, function in functions.items():
        signature = inspect.signature(function)
        kinds = [each.annotation for each in signature.parameters.values() if each.name not in ("self", "cls")]
        if inspect.Signature.empty in (*kinds, signature.return_annotation):
            lacking.append(name)
    lacking = [name for name in lacking if not name.startswith("minires.textbook.")]  # exercises have it word for word
    assert not lacking
