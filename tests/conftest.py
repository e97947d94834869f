"""What the tests share: Hypothesis's settings, PyTorch where it is installed, and the checks every operation passes.

A longer search for counterexamples: pytest --hypothesis-profile=thorough
"""

import contextlib
import os
import signal
import threading

import numpy as np
import pytest
from hypothesis import settings

from minires import backend
from minires.backend.cpu import blocks as cpu
from minires.gradcheck import gradcheck
from minires.protocol import check_protocol

CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CACHES = {"__pycache__", ".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache"}
# Environment variables that pytest, and once and for good threadpoolctl and PyTorch, set by themselves.
SET_BY_OTHERS = {"PYTEST_CURRENT_TEST", "KMP_DUPLICATE_LIB_OK", "TORCHINDUCTOR_CACHE_DIR"}

settings.register_profile("minires", max_examples=15, deadline=None, derandomize=True)
settings.register_profile("thorough", max_examples=300, deadline=None)
settings.load_profile("minires")
with contextlib.suppress(ImportError):  # there is none in a browser
    from tqdm import tqdm

    tqdm.monitor_interval = 0  # without the thread that redraws bars which have stalled


def pytest_configure(config):
    """pytest-randomly draws the order and no more: tests draw numbers from generators that they seed themselves.

    One of several processes of pytest-xdist, and the programs that it starts, compute on its share of the cores.
    """
    config.option.randomly_reset_seed = False
    if "PYTEST_XDIST_WORKER" in os.environ:
        share = max(1, backend.get_threads() // int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))
        os.environ["OMP_NUM_THREADS"] = str(share)
        backend.set_threads(share)


def _process():
    """What a test could leave to those after it: {kind: {name: value}}."""
    folders = {CHECKOUT, os.path.join(CHECKOUT, "tests"), os.getcwd()}
    environment = {name: value for name, value in os.environ.items() if name not in SET_BY_OTHERS}
    return {
        "the working directory": {"": os.getcwd()},
        "NumPy's error state": {"": np.geterr()},
        "the environment variable ": environment,
        "the handler of ": {number.name: signal.getsignal(number) for number in signal.Signals},
        "the file ": {
            f"{folder}/{name}": True for folder in folders for name in os.listdir(folder) if name not in CACHES
        },
        "the thread ": {thread: True for thread in threading.enumerate() if not thread.name.startswith("minires")},
    }


def _changed(before, after):
    """-> [(kind, name)] of what is not as it was; a thread may have ended."""
    return [
        (kind, name)
        for kind in before
        for name in {**after[kind], **before[kind]}
        if before[kind].get(name) != after[kind].get(name) and not (kind == "the thread " and name in before[kind])
    ]


def _put_back(before):
    os.chdir(before["the working directory"][""])
    np.seterr(**before["NumPy's error state"][""])
    for name in os.environ.keys() - before["the environment variable "].keys() - SET_BY_OTHERS:
        del os.environ[name]
    os.environ.update(before["the environment variable "])
    for name, handler in before["the handler of "].items():
        if signal.getsignal(signal.Signals[name]) != handler:
            signal.signal(signal.Signals[name], handler)


@pytest.fixture(autouse=True)
def process_as_it_was():
    """A test that leaves threads, signal handlers, environment variables or files behind fails, and says which.

    So does one that leaves another working directory or NumPy error state. All but threads and files is then put back.
    The number of threads, which a script called within this process sets, is as before in any case.

    Ctrl-C raises KeyboardInterrupt even where the tests run in a shell's background, which has it ignored.
    """
    threads = backend.get_threads()
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    before = _process()
    yield
    for thread in threading.enumerate():
        if thread not in before["the thread "] and not thread.name.startswith("minires"):
            thread.join(5)  # it may be about to end
    changed = _changed(before, _process())
    if changed:
        _put_back(before)
    signal.signal(signal.SIGINT, handler)
    if backend.get_threads() != threads:
        backend.set_threads(threads)
    if changed:
        left = ", ".join(f"{kind}{name}" for kind, name in changed)
        pytest.fail(f"left behind for the tests after it: {left}; a test puts back what it changes", pytrace=False)


@pytest.fixture(scope="session")
def torch():
    """PyTorch on one thread; tests that ask for it are skipped where it is not installed."""
    module = pytest.importorskip("torch")
    module.set_num_threads(1)
    return module


def _as_list(gradients):
    return list(gradients) if isinstance(gradients, tuple) else [gradients]


def _every_second(x):
    """The values of x in an array that is not contiguous: every second number of a larger one."""
    return np.repeat(x, 2, axis=-1)[..., ::2] if x.ndim else x


def _columns_first(x):
    """The values of x in Fortran's order, where that differs from C's."""
    y = np.asfortranarray(x)
    return x.copy() if y.flags.c_contiguous else y


def _check_strides(op, inputs, dtype):
    """Results do not depend on the inputs' strides."""
    inputs = [x.astype(dtype) if x.dtype.kind == "f" else x for x in inputs]
    y, backward = op(*inputs)
    dy = np.asarray(np.random.default_rng(1).standard_normal(y.shape)).astype(dtype)
    gradients = _as_list(backward(dy))
    for order in (_every_second, _columns_first):
        y2, backward2 = op(*map(order, inputs))
        tolerance = 1e-10 if dtype == np.float64 else 1e-4
        np.testing.assert_allclose(y2, y, rtol=tolerance, atol=tolerance)
        for dx2, dx in zip(_as_list(backward2(order(dy))), gradients, strict=True):
            np.testing.assert_allclose(dx2, dx, rtol=tolerance, atol=tolerance)


@pytest.fixture(scope="session")
def check_operation():
    """check_operation(op, *inputs): op's gradients are right (float64), and it keeps to the rules of the house."""

    def check(op, *inputs, max_elements=40):
        gradcheck(op, *inputs, max_elements=max_elements)
        for dtype in (np.float64, np.float32):
            check_protocol(op, *(x.astype(dtype) if x.dtype.kind == "f" else x for x in inputs))
            _check_strides(op, inputs, dtype)

    return check


@pytest.fixture(scope="session")
def block_bytes():
    """with block_bytes(n): blocks on the CPU hold at most n bytes, so that small arrays are cut into many."""

    @contextlib.contextmanager
    def changed(n):
        before, cpu.BLOCK_BYTES = cpu.BLOCK_BYTES, n
        try:
            yield
        finally:
            cpu.BLOCK_BYTES = before

    return changed


@pytest.fixture(scope="session")
def check_blocks(block_bytes):
    """check_blocks(op, *inputs): cut into many blocks or bands, op gives what it gives in one piece."""

    def results(op, inputs, dy):
        y, backward = op(*inputs)
        return [y, *_as_list(backward(dy))]

    def check(op, *inputs, sizes=(1, 300, 1500, 5000)):
        y, _ = op(*inputs)
        dy = np.asarray(np.random.default_rng(2).standard_normal(y.shape))
        with block_bytes(2**40):
            whole = results(op, inputs, dy)
        for size in sizes:
            with block_bytes(size):
                pieces = results(op, inputs, dy)
            for piece, one in zip(pieces, whole, strict=True):
                np.testing.assert_allclose(piece, one, rtol=1e-12, atol=1e-12, err_msg=f"blocks of {size} bytes")

    return check


@pytest.fixture(scope="module")
def cifar(tmp_path_factory):
    """A tiny copy of CIFAR-10: 62 random images, and 13 to test."""
    from test_data_cifar import make_batches, write_binary

    folder = tmp_path_factory.mktemp("cifar")
    write_binary(folder, make_batches(12))
    return folder
