"""Processes: what a fork takes along, and what it must not wait for; other ways to start them."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from test_backend import blas_counts, run_on_two_threads

from minires import backend, forks
from minires.backend.cpu import blocks, memory, workers
from minires.data import Loader, opened
from minires.data.stream import Kept, Pictures
from minires.forks import Locked
from minires.inspection.watching import watching
from minires.layers import Conv2d, Flatten, Linear
from minires.modes import no_grad
from minires.optim import SGD
from minires.sequential import Sequential
from minires.training import train_step

BLOCK = 2000  # bytes
SECONDS = 20  # after which a child hangs
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture(autouse=True)
def small_blocks(block_bytes):
    with block_bytes(BLOCK):
        yield


@pytest.fixture
def threads():
    """threads(n): compute on n threads until the test ends."""
    before = backend.get_threads()
    yield backend.set_threads
    backend.set_threads(before)


def child(work):
    """Exit code of a child, forked now, that works and leaves: 0 if all went well, -14 if it hangs."""
    process = os.fork()
    if process == 0:
        _leave(work)
    return ended(process)


def _leave(work):
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(SECONDS)  # which ends a child that hangs
        work()
        os._exit(0)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(1)


def ended(process):
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


@contextlib.contextmanager
def in_threads(*functions):
    """Within this block each function is called over and over in a thread of its own; none may hang."""
    stop = threading.Event()

    def repeat(function):
        while not stop.is_set():
            function()

    others = [threading.Thread(target=repeat, args=(function,), daemon=True) for function in functions]
    for other in others:
        other.start()
    try:
        yield
    finally:
        stop.set()
        for other in others:
            other.join(SECONDS)
    assert not any(other.is_alive() for other in others), "a thread of the parent hangs after a fork"


def trained():
    """Bytes of a small network's parameters after two steps, on blocks and on one block."""
    rng = np.random.default_rng(0)
    model = Sequential(Conv2d(3, 8, 3, padding=1, rng=rng), Flatten(), Linear(8 * 12 * 12, 5, rng=rng))
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    x, labels = rng.standard_normal((40, 12, 12, 3), np.float32), rng.integers(5, size=40)
    for _ in range(2):
        train_step(model, optimizer, x, labels)
    return b"".join(parameter.data.tobytes() for parameter in model.parameters())


# Forks while others work ----------------------------------------------------------------------------------------


def product():
    a = np.ones((300, 300), np.float32)
    backend.matmul(a, a)


def allocation():
    backend.empty((memory.POOLED_BYTES,), np.zeros(0))


OTHERS = {"multiply": product, "allocate": allocation, "train": trained}


@needs_fork
@pytest.mark.parametrize("other", OTHERS.values(), ids=list(OTHERS))
def test_forks_while_another_thread_works(threads, other):
    """Neither the child nor the parent hangs, and the child gets the bits of a process by itself."""
    threads(2)
    expected = trained()

    def work():
        assert trained() == expected

    with in_threads(other, other):
        for number in range(4):
            time.sleep(0.001 * number)
            assert child(work) == 0
    assert trained() == expected


@needs_fork
def test_a_fork_waits_until_nothing_is_half_done(threads):
    """Each lock: a fork comes after the thread that has it lets go, and the child can take it."""
    picture = Kept()
    owners = [workers._workers, picture, memory._pool]
    for owner in owners:
        inside, done = threading.Event(), threading.Event()

        def hold(owner=owner, inside=inside, done=done):
            with owner.lock:
                inside.set()
                time.sleep(0.1)
                done.set()

        def look(owner=owner, done=done):
            assert done.is_set()
            with owner.lock:
                trained()

        other = threading.Thread(target=hold)
        other.start()
        inside.wait(SECONDS)
        assert child(look) == 0
        other.join()
        with owner.lock:
            pass  # the parent has let go of it


@needs_fork
def test_a_fork_waits_for_no_thread_that_waits_for_it(monkeypatch):
    monkeypatch.setattr(forks, "PATIENCE", 0.2)
    owner = Locked("waiting")
    inside, forked = threading.Event(), threading.Event()

    def hold():
        with owner.lock:
            inside.set()
            forked.wait(SECONDS)

    def look():
        with owner.lock:
            pass

    other = threading.Thread(target=hold)
    other.start()
    inside.wait(SECONDS)
    with pytest.warns(RuntimeWarning, match=r"another thread has been waiting for 0.2 seconds.*'spawn'"):
        assert child(look) == 0
    assert not owner.lock.acquire(blocking=False)  # it is still the other's
    forked.set()
    other.join()
    look()


@needs_fork
def test_locks_are_taken_in_order(monkeypatch):
    """Whoever computes takes memory: a fork that took the pool's lock first would wait for the one who waits for it."""
    taken = []
    monkeypatch.setattr(Locked, "_take", lambda owner: taken.append(owner) or True)
    forks._before()
    places = [taken.index(owner) for owner in (workers._workers, opened._warnings, memory._pool)]
    assert places == sorted(places) and {owner._order for owner in taken} == {forks.FIRST, 1, forks.LAST}


@needs_fork
def test_forks_in_two_threads_at_once(threads):
    threads(2)
    codes = []
    with in_threads(product, lambda: codes.append(child(trained)), lambda: codes.append(child(trained))):
        until = time.monotonic() + 60
        while len(codes) <= 2 and time.monotonic() < until:
            time.sleep(0.05)
    assert len(codes) > 2 and set(codes) == {0}


@needs_fork
def test_a_child_of_a_child(threads):
    threads(2)
    expected = trained()

    def work():
        assert trained() == expected
        assert child(lambda: trained() == expected or os._exit(2)) == 0

    with in_threads(product):
        assert child(work) == 0


# Forks within a block -------------------------------------------------------------------------------------------


def in_a_block(act, here):
    """Two blocks meet on two threads; `act` is called in that of the calling thread, or in the other one.

    The other block ends after that.
    """
    meeting, over, caller = threading.Barrier(2, timeout=SECONDS), threading.Event(), threading.get_ident()

    def work(block):
        meeting.wait()
        if (threading.get_ident() == caller) != here:
            over.wait(SECONDS)
            return None
        try:
            return act()
        finally:
            over.set()

    return next(result for result in workers.run(work, [0, 1]) if result is not None)


@needs_fork
@pytest.mark.parametrize("here", [True, False], ids=["the caller's", "a worker's"])
def test_a_fork_within_a_block(threads, here):
    threads(2)
    before, expected = blas_counts(), trained()

    def work():
        assert run_on_two_threads() == 2
        backend.set_threads(2)
        assert blas_counts() == before
        assert trained() == expected

    assert in_a_block(lambda: child(work), here) == 0
    assert blas_counts() == before
    assert trained() == expected


@needs_fork
@pytest.mark.parametrize("here", [True, False], ids=["the caller's", "a worker's"])
def test_a_child_that_returns_from_the_block_is_told_and_ends(threads, here, capfd):
    threads(2)
    parent = os.getpid()

    def fork():
        process = os.fork()
        if process == 0:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(SECONDS)
        return process or "child"

    try:
        process = in_a_block(fork, here)
    except RuntimeError as error:
        assert os.getpid() != parent, "the parent's blocks are all there"
        print(error, file=sys.stderr, flush=True)
        os._exit(1)
    finally:
        if os.getpid() != parent:
            os._exit(2)
    assert ended(process) == 1
    assert "forked within a block, whose other threads it does not have: leave it by os._exit" in capfd.readouterr().err
    assert run_on_two_threads() == 2


# Pictures that are decoded ahead --------------------------------------------------------------------------------


def pictures():
    """Sixty pictures; each is decoded slowly, so that a fork finds some half done."""

    def decode(path):
        time.sleep(0.001)
        return np.full((4, 4, 3), int(path), np.uint8)

    return Pictures([str(number) for number in range(60)], decode, 4, workers=3)


@needs_fork
@pytest.mark.parametrize("taken", [0, 1, 5, 14, 15])
def test_a_fork_while_a_loader_streams(taken):
    """Parent and child each get the rest of the epoch; leaving it unfinished is no trouble either."""
    loader = Loader(pictures(), np.arange(60), 4, (0.0,) * 3, (1.0,) * 3, shuffle=True)
    expected = [labels.tolist() for _, labels in loader.epoch(0)][taken:]
    epoch = loader.epoch(0)
    for _ in range(taken):
        next(epoch)

    def rest():
        batches = list(epoch)
        assert [labels.tolist() for _, labels in batches] == expected
        for x, labels in batches:
            np.testing.assert_allclose(x[:, 0, 0, 0] * 255, labels, atol=1e-3)

    assert child(rest) == 0
    assert child(epoch.close) == 0
    rest()


@needs_fork
def test_forks_while_pictures_are_decoded_and_watched():
    """What else has a lock: the store of decoded pictures, the opening of files, the watching of a model."""
    shown, model = pictures(), Linear(2, 2, rng=np.random.default_rng(0))

    def decode():
        shown.kept.pictures.clear()
        shown[:]

    def watch():
        with watching(model):
            model(np.zeros((1, 2), np.float32))

    def work():
        decode()
        watch()

    with in_threads(decode, watch):
        for _ in range(10):
            assert child(work) == 0


# Processes of multiprocessing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_processes_of_multiprocessing(threads, method):
    """They train to the bits of this process, while another thread of it computes, and end."""
    threads(2)
    expected = trained()
    with in_threads(product), ProcessPoolExecutor(1, mp_context=get_context(method), initializer=begin) as pool:
        assert [future.result(60) == expected for future in [pool.submit(trained) for _ in range(3)]] == [True] * 3


def begin():
    """What the fixtures here did in the parent."""
    backend.set_threads(2)
    blocks.BLOCK_BYTES = BLOCK


def test_a_model_shared_by_threads_in_inference(threads):
    """Each thread gets the bits of one alone, under no_grad() and after eval()."""
    threads(2)
    rng = np.random.default_rng(0)
    model = Sequential(Conv2d(3, 8, 3, padding=1, rng=rng), Flatten(), Linear(8 * 12 * 12, 5, rng=rng))
    model.eval()
    inputs = [rng.standard_normal((20, 12, 12, 3), np.float32) for _ in range(4)]

    def infer(x):
        with no_grad():
            return model(x)[0].tobytes()

    expected, wrong = [infer(x) for x in inputs], []

    def check(place):
        if infer(inputs[place]) != expected[place]:
            wrong.append(place)

    with in_threads(*[lambda place=place: check(place) for place in range(4)]):
        time.sleep(0.3)
    assert not wrong
