"""What runs in a browser: minires on one thread, with NumPy alone; and what is run there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from in_browser import cannot, pyodide
from in_browser.__main__ import runtime

from minires import plain

TESTS = Path(__file__).resolve().parent

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


# The tests in Pyodide -------------------------------------------------------------------------------------------------


@pytest.fixture
def within_pyodide():
    """call(arguments of pytest) -> (exit code, what it says)."""
    try:
        folder = pyodide.find(os.environ.get("PYODIDE"))
        runtime()
    except LookupError as error:
        pytest.skip(str(error))
    if not (pyodide.PACKAGES / "pytest").is_dir():
        pytest.skip(f"pytest is not in {pyodide.PACKAGES}: `make test-browser` puts it there")
    return lambda *arguments: run(["-m", "in_browser", "--pyodide", str(folder), "-q", *arguments])


def run(arguments, **options):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment, **options)
    return done.returncode, done.stdout + done.stderr


def test_an_operation_passes_its_tests_there(within_pyodide):
    code, said = within_pyodide("tests/test_linear.py", "tests/test_watching.py")
    assert code == 0, said
    assert "passed" in said and "failed" not in said


def test_kernels_that_were_built_for_the_machine_are_not_taken_for_the_browsers(within_pyodide):
    """They stay in a folder that both have in common, and a browser cannot load them."""
    test = ("tests/test_ema.py", "-k", "on_a_gpu")
    code, said = run(["-m", "pytest", "-q", "-n", "0", *test], cwd=TESTS.parent)
    assert code == 0, said
    code, said = within_pyodide(*test)
    assert code == 0 and "2 skipped" in said, said


TABLE = """
import pytest
from in_browser import cannot

cannot.TESTS.clear()
cannot.TESTS |= {"test_a.py::test_threads": cannot.THREADS, "test_a.py::test_by_now": cannot.THREADS}
cannot.FILES["test_b.py"] = cannot.PACKAGES
raise SystemExit(pytest.main(["-p", "in_browser.plugin", "-p", "no:randomly", "-rs", *ARGUMENTS]))
"""
CASES = """
import pytest

@pytest.mark.parametrize("which", ["can", "cannot", "fails"])
def test_threads(which):
    if which == "cannot":
        raise RuntimeError("can't start new thread")
    assert which == "can"

def test_by_now():
    pass
"""


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["-k", "test_threads and not fails"], 0, "1 passed, 2 skipped"),
        (["-k", "fails"], 1, "1 failed"),
        (["-k", "test_by_now"], 1, "test_a.py::test_by_now runs in a browser by now: take it out of tests/in_browser"),
    ],
)
def test_the_table_hides_no_failure_and_keeps_no_entry(tmp_path, arguments, code, says):
    (tmp_path / "test_a.py").write_text(CASES)
    (tmp_path / "test_b.py").write_text("raise ImportError(\"No module named 'h5py'\")")
    ended, said = run(["-c", TABLE.replace("ARGUMENTS", repr(arguments))], cwd=tmp_path)
    assert (ended, says in said) == (code, True), said


def test_the_table_names_tests_that_there_are():
    assert not {name for name in (*cannot.FILES, *cannot.LEFT_OUT, *cannot.LONG) if not (TESTS / name).is_file()}
    for entry in cannot.TESTS:
        name, _, function = entry.partition("::")
        assert f"def {function.rpartition('::')[2].partition('[')[0]}(" in (TESTS / name).read_text(encoding="utf-8")


def test_the_double_of_safetensors_writes_and_reads_what_the_package_does(tmp_path):
    arrays = {"b": np.arange(6, dtype=np.float16).reshape(2, 3), "a": np.array(7), "e": np.zeros((0, 2), bool)}
    arrays |= {"c\u00e9": np.arange(3, dtype=np.uint8), "d": np.ones((2, 1, 2), np.float32)}
    path = tmp_path / "a.safetensors"
    for metadata in (None, {"one": "text \u4e2d"}):
        path.write_bytes(safetensors.numpy.save(arrays, metadata))
        code, said = run(["-c", DOUBLE, str(path)], cwd=TESTS / "in_browser" / "double")
        assert (code, said) == (0, ""), said


DOUBLE = """
import sys
from safetensors import deserialize, safe_open
from safetensors.numpy import load_file, save
path = sys.argv[1]
content, arrays = open(path, "rb").read(), load_file(path)
with safe_open(path, "np") as file:
    assert save(arrays, file.metadata()) == content
    assert all((file.get_tensor(key) == arrays[key]).all() for key in file.keys())
assert [(key, bytes(record["data"])) for key, record in deserialize(content)] == [
    (key, array.tobytes()) for key, array in arrays.items()
]
"""
