"""What a test leaves behind for others is an error of that test, and one sentence names it."""

from pathlib import Path

pytest_plugins = ["pytester"]

CONFTEST = Path(__file__).with_name("conftest.py")

TESTS = """
import os
import signal
import threading
import time

import numpy as np
import pytest


def test_thread():
    threading.Thread(target=time.sleep, args=(20,), name="sleeper", daemon=True).start()


def test_handler():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def test_interrupt():
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def test_new_variable():
    os.environ["MINIRES_LEFT"] = "1"


def test_other_variable():
    os.environ["MINIRES_THERE"] = "other"


def test_lost_variable():
    del os.environ["MINIRES_THERE"]


def test_directory():
    os.chdir("tests")


def test_error_state():
    np.seterr(over="raise")


def test_file_in_checkout():
    open("left.txt", "w").close()


def test_folder_in_tests():
    os.mkdir("tests/left")


def test_lost_file():
    os.remove("there.txt")


def test_two_kinds():
    os.environ["MINIRES_LEFT"] = "1"
    os.chdir("tests")


def test_all_put_back(monkeypatch, tmp_path):
    assert "MINIRES_LEFT" not in os.environ and os.environ["MINIRES_THERE"] == "there"
    assert np.geterr()["over"] == "warn" and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler and os.path.exists("tests")
    monkeypatch.setenv("MINIRES_LEFT", "1")
    monkeypatch.chdir(tmp_path)
    open("here.txt", "w").close()
    with np.errstate(all="raise"):
        pass
    threading.Thread(target=time.sleep, args=(0.01,)).start()  # ends by itself, and soon
    threading.Thread(target=time.sleep, args=(20,), name="minires", daemon=True).start()


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    before = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("elsewhere"))
    yield
    os.chdir(before)


def test_file_in_working_directory(elsewhere):
    open("here.txt", "w").close()
"""

LEFT = {
    "thread": "the thread <Thread(sleeper, started daemon *)>",
    "handler": "the handler of SIGTERM",
    "interrupt": "the handler of SIGINT",
    "new_variable": "the environment variable MINIRES_LEFT",
    "other_variable": "the environment variable MINIRES_THERE",
    "lost_variable": "the environment variable MINIRES_THERE",
    "directory": "the working directory",
    "error_state": "NumPy's error state",
    "file_in_checkout": "the file */left.txt",
    "folder_in_tests": "the file */tests/left",
    "lost_file": "the file */there.txt",
    "file_in_working_directory": "the file */here.txt",
    "two_kinds": "the working directory, the environment variable MINIRES_LEFT",
}


def test_what_a_test_leaves_behind_fails_it(pytester, monkeypatch):
    """Every kind, one after the other, in another process; one that puts back all it changes passes."""
    monkeypatch.setenv("MINIRES_THERE", "there")
    tests = pytester.mkdir("tests")
    (tests / "conftest.py").write_text(CONFTEST.read_text())
    (tests / "test_it.py").write_text(TESTS)
    (pytester.path / "there.txt").touch()
    result = pytester.runpytest_subprocess("-p", "no:randomly", "-p", "no:cacheprovider", "tests", timeout=60)
    result.assert_outcomes(passed=len(LEFT) + 1, errors=len(LEFT))
    for name, left in LEFT.items():
        sentence = f"left behind for the tests after it: {left}; a test puts back what it changes"
        result.stdout.fnmatch_lines([f"*ERROR at teardown of test_{name} *", sentence], consecutive=True)
