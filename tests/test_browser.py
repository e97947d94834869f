"""What runs in a browser: minires on one thread, with NumPy alone; and what is run there."""

import json
import subprocess
import sys

import pytest

from minires import plain

ALONE = """
import sys, threading
import numpy as np

sys.platform = "emscripten"  # as Python has it in a browser
sys.modules |= dict.fromkeys({absent}, None)  # an import of these fails

def start(thread):
    raise RuntimeError("can't start new thread")

threading.Thread.start = start

import minires
from minires import backend, gradcheck, layers, losses, models, optim, training

backend.set_threads(3)
assert backend.get_threads() == 1
rng = np.random.default_rng(0)
x = rng.standard_normal((2, 5, 5, 3))
print(gradcheck.gradcheck(layers.conv2d, x, rng.standard_normal((4, 3, 3, 3))))
model = models.resnet8(10, rng=0)
optimizer = optim.SGD(model.parameters(), lr=0.1)
x, labels = rng.standard_normal((64, 32, 32, 3)).astype(np.float32), np.arange(64) % 10
first, _ = training.train_step(model, optimizer, x, labels)
second, _ = training.train_step(model, optimizer, x, labels)
assert second < first
"""
ABSENT = ["matplotlib", "PIL", "pooch", "requests", "safetensors", "threadpoolctl", "tqdm"]


def test_one_thread_and_numpy_alone_are_enough():
    done = subprocess.run([sys.executable, "-c", ALONE.format(absent=ABSENT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("gradcheck passed: 258 elements")


@pytest.mark.parametrize(
    "text", ["[" * 1000, '{"a":' * 1000, '["' + "[" * 40 + '",' + "[" * 32, "[1," * 33 + "1" + "]" * 33]
)
def test_lists_too_deep_are_refused_before_they_are_read(monkeypatch, text):
    """Python's reader calls itself for each, and in a browser the end of the stack is the end of Python."""
    monkeypatch.setattr(json, "loads", lambda *arguments, **options: pytest.fail("it was read"))
    for form in (text, text.encode(), text.encode("utf-16")):
        with pytest.raises(ValueError, match="lists within lists, over 32 deep"):
            plain.read_json(form)


@pytest.mark.parametrize("value", ["[" * 40, "\\" * 3 + '"[[[' * 20, {"[[" * 20: ["{" * 40, "\\"]}, [[[]] * 50]])
def test_brackets_within_texts_are_no_lists(value):
    text = json.dumps(value)
    assert plain.read_json(text) == plain.read_json(text.encode("utf-16")) == value
