"""Patches and their adjoint, blocks, bands, threads, and sums over channels."""

import pickle
import signal
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from minires import backend
from minires.backend import col2im, im2col, output_size
from minires.backend.cpu import blocks as cpu
from minires.backend.cpu import machine, memory
from minires.backend.cpu.patches import Im2col
from minires.layers import avg_pool2d, batch_norm, batch_norm_relu, conv2d, linear, max_pool2d, relu, sigmoid
from minires.models import resnet8
from minires.optim import SGD
from minires.training import train_step


@pytest.fixture
def threads(process_as_it_was):
    """set_threads, undone afterwards."""
    return backend.set_threads


@pytest.fixture
def small_blocks(block_bytes):
    with block_bytes(2000):
        yield


# Patches ------------------------------------------------------------------------------------------------------


@st.composite
def windows(draw):
    """(x's shape, kernel, stride, padding), every side's padding its own."""
    number = lambda least, most: draw(st.integers(least, most))  # noqa: E731
    N, H, W, C = number(1, 3), number(1, 8), number(1, 8), number(1, 3)
    kernel, stride = (number(1, 4), number(1, 4)), (number(1, 3), number(1, 3))
    padding = tuple((number(0, 3), number(0, 3)) for _ in range(2))
    assume(H + sum(padding[0]) >= kernel[0] and W + sum(padding[1]) >= kernel[1])
    return (N, H, W, C), kernel, stride, padding


def naive_im2col(x, kernel, stride, padding, value):
    (KH, KW), (SH, SW), ((top, bottom), (left, right)) = kernel, stride, padding
    N, H, W, C = x.shape
    OH, OW = (top + H + bottom - KH) // SH + 1, (left + W + right - KW) // SW + 1
    patches = np.full((N, OH, OW, KH, KW, C), value, x.dtype)
    for n, oh, ow, i, j, c in np.ndindex(patches.shape):
        h, w = oh * SH + i - top, ow * SW + j - left
        if 0 <= h < H and 0 <= w < W:
            patches[n, oh, ow, i, j, c] = x[n, h, w, c]
    return patches


@given(windows(), st.sampled_from([0, -np.inf]), st.sampled_from([np.float32, np.float64]))
def test_im2col_is_the_naive_loop(drawn, value, dtype):
    shape, *window = drawn
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    expected = naive_im2col(x, *window, value)
    np.testing.assert_array_equal(im2col(x, *window, value=value), expected)
    (KH, _), _, (rows, _) = window
    if max(rows) < KH:
        check_bands(x, window, value, expected)


def check_bands(x, window, value, expected):
    """Every band of rows is that part of the whole."""
    OH = expected.shape[1]
    for start in range(OH):
        for stop in range(start + 1, OH + 1):
            band = im2col(x, *window, value=value, rows=slice(start, stop))
            np.testing.assert_array_equal(band, expected[:, start:stop])


@pytest.mark.parametrize("rows", [(3, 0), (0, 3), (4, 4)], ids=str)
def test_im2col_of_bands_in_the_padding(rows):
    x = np.random.default_rng(0).standard_normal((2, 4, 3, 2))
    window = ((2, 2), (1, 1), (rows, (0, 0)))
    check_bands(x, window, 0, naive_im2col(x, *window, 0))


@given(windows())
@example(((2, 6, 5, 3), (3, 3), (2, 2), ((1, 1), (1, 1))))
def test_col2im_is_the_adjoint_of_im2col(drawn):
    """<im2col(x), c> == <x, col2im(c)>"""
    shape, *window = drawn
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape)
    patches = im2col(x, *window)
    c = rng.standard_normal(patches.shape)
    dx = col2im(c, shape[1:3], *window[1:])
    assert dx.shape == shape
    assert np.vdot(patches, c) == pytest.approx(np.vdot(x, dx), rel=1e-10, abs=1e-10)


@given(windows())
def test_output_size_counts_the_places_of_a_window(drawn):
    (_, H, W, _), kernel, stride, padding = drawn
    lengths = [H + sum(padding[0]), W + sum(padding[1])]
    places = [len(range(0, n - k + 1, s)) for n, k, s in zip(lengths, kernel, stride, strict=True)]
    assert list(output_size((H, W), kernel, stride, padding)) == places


@st.composite
def calls_that_share_memory(draw):
    """im2col calls whose padded images are of few sizes, so that each finds the frame of another in its memory."""
    number = lambda least, most: draw(st.integers(least, most))  # noqa: E731
    calls = []
    for _ in range(number(2, 8)):
        if calls and draw(st.booleans()):
            shape, kernel, stride, padding, value, dtype = draw(st.sampled_from(calls))
            value = draw(st.sampled_from([0, -np.inf]))
        else:
            padding = tuple((number(0, 2), number(0, 2)) for _ in range(2))
            size = [draw(st.sampled_from([6, 6, 7])) - sum(sides) for sides in padding]
            shape, dtype = (number(1, 2), *size, number(1, 2)), draw(st.sampled_from([np.float32, np.float64]))
            kernel, stride = (number(1, 3), number(1, 3)), (number(1, 2), number(1, 2))
            value = draw(st.sampled_from([0, -np.inf, 5.0]))
        calls.append((shape, kernel, stride, padding, value, dtype))
    return calls


@settings(max_examples=settings().max_examples * 3)
@given(calls_that_share_memory(), st.integers(1, 3))
def test_im2col_finds_the_right_border_whatever_was_called_before(calls, band):
    for number, (shape, *window, value, dtype) in enumerate(calls):
        x = np.random.default_rng(number).standard_normal(shape).astype(dtype)
        patches = im2col(x, *window, value=value)
        assert patches.dtype == dtype
        np.testing.assert_array_equal(patches, naive_im2col(x, *window, value), err_msg=f"call {number}")
        OH = patches.shape[1]
        rows = slice(min(band, OH) - 1, OH)
        part = im2col(x, *window, value=value, rows=rows)
        np.testing.assert_array_equal(part, naive_im2col(x, *window, value)[:, rows], err_msg=f"band of call {number}")


def test_fewer_images_take_a_part_of_what_was_made_for_more(monkeypatch):
    """Blocks of a batch differ by an image: no memory is sorted anew for the smaller ones."""
    made, real = [], Im2col.__init__
    monkeypatch.setattr(Im2col, "__init__", lambda self, N, *rest: made.append(N) or real(self, N, *rest))
    x = np.random.default_rng(0).standard_normal((5, 6, 7, 3)).astype(np.float32)
    window = (3, 2), (2, 1), ((1, 0), (2, 1)), -7.0
    expected = backend.im2col(x, *window)
    made.clear()
    memory._remembered.__dict__.clear()
    for N in (3, 2, 3, 1, 4, 2):
        np.testing.assert_array_equal(backend.borrow_patches(x[:N], *window), expected[:N])
    assert made == [3, 4]


def test_im2col_of_gray_images_given_their_channel_axis():
    images = np.random.default_rng(0).standard_normal((2, 5, 4))
    expected = naive_im2col(images.reshape(2, 5, 4, 1), (2, 2), (1, 1), ((0, 0), (0, 0)), 0)
    np.testing.assert_array_equal(im2col(images[..., None], (2, 2)), expected)


@given(windows(), st.booleans())
@example(((2, 4, 3, 2), (1, 1), (1, 1), ((0, 0), (0, 0))), False)
def test_what_im2col_and_pad_return_is_the_callers(drawn, in_bands):
    shape, *window = drawn
    x = np.random.default_rng(0).standard_normal(shape)
    before, rows = x.copy(), slice(0, 1) if in_bands else None
    calls = (lambda x: im2col(x, *window, rows=rows), lambda x: backend.pad(x, window[2]))
    for call in calls:
        first = call(x)
        kept = first.copy()
        second = call(x + 1)
        np.testing.assert_array_equal(first, kept)
        assert not np.shares_memory(first, second) and not np.shares_memory(first, x)
        first[...] = 7  # it may be written to
        np.testing.assert_array_equal(x, before)
        np.testing.assert_array_equal(call(x), kept)


@given(windows())
@example(((2, 4, 3, 2), (1, 1), (1, 1), ((0, 0), (0, 0))))
def test_what_is_borrowed_is_as_the_callers_own_and_refuses_to_be_written_to(drawn):
    shape, *window = drawn
    x = np.random.default_rng(0).standard_normal(shape)
    for _ in range(2):  # the second time from memory that is kept
        patches = backend.borrow_patches(x, *window)
        np.testing.assert_array_equal(patches, im2col(x, *window))
        padded = backend.borrow_padded(x, window[2])
        np.testing.assert_array_equal(padded, np.pad(x, ((0, 0), *window[2], (0, 0))))
        for array in (patches, padded):
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0


def test_scratch_memory_is_one_threads_own(threads, block_bytes):
    """Threads that ask for scratch memory under one name do not write into each other's."""
    threads(3)
    meeting = threading.Barrier(3, timeout=30)

    def work(block):
        array = memory.scratch("test", (100,), np.float64)
        array[:] = block.start
        meeting.wait()
        return array.copy()

    with block_bytes(1):
        results = cpu.for_each_block(work, 3, 1)
    assert [set(result) for result in results] == [{0.0}, {1.0}, {2.0}]


# Blocks and threads -------------------------------------------------------------------------------------------


@given(n=st.integers(0, 30), item_bytes=st.integers(0, 100), size=st.integers(1, 300))
def test_blocks_cover_everything_once(block_bytes, n, item_bytes, size):
    with block_bytes(size):
        blocks = cpu.block_slices(n, item_bytes)
    assert [item for block in blocks for item in range(n)[block]] == list(range(n))
    largest, sizes = max(1, size // max(1, item_bytes)), [block.stop - block.start for block in blocks]
    assert all(1 <= length <= largest for length in sizes)
    assert max(sizes, default=0) - min(sizes, default=0) <= 1  # nearly one size
    fewest = -(-n // largest)
    assert len(blocks) in (fewest, fewest + 1)
    assert len(blocks) <= 1 or len(blocks) % 2 == 0 or len(blocks) == n  # two threads finish together


@given(n=st.integers(1, 5), rows=st.integers(1, 9), row_bytes=st.integers(1, 100), size=st.integers(1, 1000))
def test_bands_cover_everything_once(block_bytes, n, rows, row_bytes, size):
    seen = np.zeros((n, rows), int)

    def work(images, band):
        assert images.stop - images.start == 1 or band == slice(0, rows)
        seen[images, band] += 1

    with block_bytes(size):
        cpu.for_each_band(work, n, rows, row_bytes)
    assert (seen == 1).all()


def test_one_image_is_cut_into_bands(block_bytes):
    pieces = []
    with block_bytes(100):
        cpu.for_each_band(lambda images, rows: pieces.append((images.start, rows.start, rows.stop)), 2, 5, 50)
    bands = [(0, 2), (2, 3), (3, 4), (4, 5)]  # three would do, but their number is even
    assert sorted(pieces) == [(image, *band) for image in (0, 1) for band in bands]


def test_two_threads_of_one_core_count_once(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "can_start_threads", lambda: True)
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda pid: {0, 1, 2, 5}, raising=False)
    monkeypatch.setattr(machine, "_siblings", {0: "0,4", 1: "1,5", 2: "2,6", 5: "1,5"}.get)
    assert machine.default_threads(environment={}, root=tmp_path) == 3


@pytest.mark.parametrize("count", [1, 2, 3])
def test_results_come_in_block_order(threads, small_blocks, count):
    threads(count)
    assert backend.for_each_block(lambda block: block.start, np.zeros(20), 1000) == list(range(0, 20, 2))


def test_blocks_run_on_other_threads(threads, small_blocks):
    threads(2)
    meeting = threading.Barrier(2, timeout=30)  # passed only if two blocks run at once
    names = backend.for_each_block(
        lambda block: (meeting.wait(), threading.current_thread().name)[1], np.zeros(2), 2000
    )
    assert len(set(names)) == 2


def test_each_thread_has_neighbouring_blocks_and_helps_with_the_rest(threads, small_blocks):
    """Of ten blocks each has five at first; where one thread is held up at its first, the other does the other four."""
    main, held_up, done = threading.main_thread(), threading.Event(), {True: [], False: []}

    def work(block):
        mine = threading.current_thread() is main
        done[mine].append(block.start // 2)
        if mine and block.start == 0:
            assert held_up.wait(30)
        if len(done[False]) == 9:
            held_up.set()
        return block.start

    threads(2)
    assert backend.for_each_block(work, np.zeros(20), 1000) == list(range(0, 20, 2))
    assert done == {True: [0], False: [5, 6, 7, 8, 9, 4, 3, 2, 1]}


def test_what_the_caller_has_set_for_itself_is_set_on_other_threads(threads, small_blocks):
    """Python's warnings are the process's, NumPy's errstate is the thread's."""
    threads(3)
    x, seen = np.full((64, 500), 1e30, np.float32), set()

    def overflow(block):
        seen.add(threading.get_ident())
        time.sleep(0.01)
        return x[block] * x[block]

    with np.errstate(over="ignore"):
        backend.for_each_block(overflow, x)
    assert len(seen) == 3
    with pytest.raises(FloatingPointError), np.errstate(over="raise"):
        backend.for_each_block(lambda block: time.sleep(0.01) or x[block] * x[block], x[:6])


def operations():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((7, 9, 8, 3)).astype(np.float32)
    weight = rng.standard_normal((4, 3, 3, 3)).astype(np.float32)
    bias = rng.standard_normal(4).astype(np.float32)
    vector = rng.uniform(0.5, 2, 3).astype(np.float32)
    return {
        "conv2d": lambda: conv2d(x, weight, bias, padding=1),
        "conv2d, stride 2": lambda: conv2d(x, weight, bias, 2, 1),
        "conv2d, winograd": lambda: conv2d(x, weight, bias, 1, 1, algorithm="winograd"),
        "conv2d, no input gradient": lambda: conv2d(x, weight, bias, padding=1, input_gradient=False),
        "batch_norm_relu": lambda: batch_norm_relu(x, None, None, vector, vector, x, training=True),
        "batch_norm": lambda: batch_norm(x, None, None, vector, vector, training=True),
        "relu": lambda: relu(x),
        "sigmoid": lambda: sigmoid(x),
        "max_pool2d": lambda: max_pool2d(x, 3, 2, 1),
        "avg_pool2d": lambda: avg_pool2d(x, 3, 2, 1),
    }


@pytest.mark.parametrize("name", operations())
def test_the_number_of_threads_does_not_change_a_bit(threads, small_blocks, name):
    def result():
        y, backward = operations()[name]()
        gradients = backward(np.random.default_rng(1).standard_normal(y.shape).astype(np.float32))
        gradients = gradients if isinstance(gradients, tuple) else (gradients,)
        return [y, *(gradient for gradient in gradients if gradient is not None)]

    threads(1)
    expected = [array.tobytes() for array in result()]
    for count in (2, 3):
        threads(count)
        for _ in range(3):
            assert [array.tobytes() for array in result()] == expected


@pytest.mark.parametrize("size", [2000, 100_000, 2**21])
def test_the_number_of_threads_changes_no_more_than_rounding_in_training(threads, block_bytes, size):
    """A step of resnet8 in float32: the same bits on as many threads, and nearly the same on others, whose BLAS may cut
    a product differently where there is one block only.
    """
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((6, 16, 16, 3)).astype(np.float32), rng.integers(0, 10, 6)

    def step():
        model = resnet8(rng=0)
        loss, _ = train_step(model, SGD(model.parameters(), lr=0.01, momentum=0.9), x, labels)
        return {"loss": np.asarray(loss), **model.state_dict()}

    results = {}
    with block_bytes(size):
        for count in (1, 2, 3):
            threads(count)
            results[count] = step()
            for _ in range(2):
                for name, array in step().items():
                    assert array.tobytes() == results[count][name].tobytes(), f"{name} on {count} threads"
    for count in (2, 3):
        for name, array in results[count].items():
            np.testing.assert_allclose(array, results[1][name], rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("bad", [0, 7, 19])
def test_an_exception_in_a_block_reaches_the_caller(threads, block_bytes, count, bad):
    def work(block):
        if block.start == bad:
            raise ZeroDivisionError(f"in block {bad}")
        return block.start

    threads(count)
    with block_bytes(1):
        with pytest.raises(ZeroDivisionError, match=f"in block {bad}"):
            cpu.for_each_block(work, 20, 1)
        assert cpu.for_each_block(lambda block: block.start, 20, 1) == list(range(20))  # and the next call works


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signal can be sent to a thread here")
def test_an_interrupt_while_waiting_leaves_the_threads_usable(threads, small_blocks):
    main, ended = threading.main_thread(), []

    def work(block):
        if threading.current_thread() is main:
            meeting.wait()  # so that the other block is on the other thread
            out.append(block)
        else:
            meeting.wait()
            while not out:  # an interrupt within wait would break the barrier
                time.sleep(0.001)
            signal.pthread_kill(main.ident, signal.SIGINT)  # Ctrl-C, when this thread has run out of blocks
            time.sleep(0.05)
            ended.append(block.start)
        return block.start

    threads(2)
    for _ in range(3):
        meeting, out = threading.Barrier(2, timeout=30), []
        with pytest.raises(KeyboardInterrupt):
            backend.for_each_block(work, np.zeros(2), 2000)
    assert len(ended) == 3  # nobody writes into an array after the interrupt has been raised
    assert backend.for_each_block(lambda block: block.start, np.zeros(20), 1000) == list(range(0, 20, 2))
    assert sum(thread.name == "minires" for thread in threading.enumerate()) == 1


def test_an_index_error_in_a_block_is_not_taken_for_the_end(threads, small_blocks):
    threads(2)
    with pytest.raises(IndexError, match="out of range"):
        backend.for_each_block(lambda block: [][block.start], np.zeros(20), 1000)


def test_blocks_within_blocks(threads, small_blocks):
    threads(2)
    sums = backend.for_each_block(
        lambda block: sum(backend.for_each_block(lambda inner: inner.start, np.zeros(5), 2000)), np.zeros(4), 2000
    )
    assert sums == [10] * 4


def test_blas_has_its_threads_back_afterwards(threads, small_blocks):
    import threadpoolctl

    def counts():
        return [library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]

    threads(2)
    with threadpoolctl.threadpool_limits(2, "blas"):
        before = counts()
        during = backend.for_each_block(lambda block: counts(), np.zeros(4), 2000)
        assert all(set(inside) <= {1} for inside in during)
        assert counts() == before


@pytest.mark.parametrize("count", [0, -1])
def test_bad_number_of_threads(count):
    with pytest.raises(ValueError, match=f"threads must be at least 1, got {count}"):
        backend.set_threads(count)


def blas_counts():
    import threadpoolctl

    return [library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]


def in_another_thread(function, seconds=30):
    """What it returns there; fails if it does not end."""
    result = []
    thread = threading.Thread(target=lambda: result.append(function()), daemon=True)
    thread.start()
    thread.join(seconds)
    assert result, "the other thread waits for ever, or failed"
    return result[0]


def run_on_two_threads():
    meeting = threading.Barrier(2, timeout=30)
    return len(set(backend.for_each_block(lambda block: (meeting.wait(), threading.get_ident())[1], np.zeros(2), 2000)))


def places(function, strike_at=None):
    """How many places it comes to where Python looks for Ctrl-C: entry into a function, return from C's.

    At number `strike_at` it is struck, and None is returned.
    """
    come_to = 0

    def strike(frame, event, argument):
        nonlocal come_to
        if event in ("call", "c_return"):
            come_to += 1
            if strike_at is not None and come_to > strike_at:
                raise KeyboardInterrupt

    sys.setprofile(strike)
    try:
        function()
    except KeyboardInterrupt:
        return None
    except RuntimeError as error:  # what Python's own Condition.wait makes of it, while a thread starts
        assert "release unlocked lock" in str(error) and isinstance(error.__context__, KeyboardInterrupt)
        return None
    finally:
        sys.setprofile(None)
    return come_to


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # one struck while a generator ended
@pytest.mark.parametrize("first", [False, True], ids=["threads there", "threads to be started"])
def test_ctrl_c_anywhere_leaves_threads_and_blas_usable(threads, small_blocks, first):
    import threadpoolctl

    threads(2)
    with threadpoolctl.threadpool_limits(2, "blas"):
        before = blas_counts()
        work = lambda: backend.for_each_block(lambda block: block.start, np.zeros(20), 1000)  # noqa: E731
        start = lambda: [backend.set_threads(2), threadpoolctl.threadpool_limits(2, "blas")]  # noqa: E731
        if first:
            in_another_thread(start)
        last = places(work)  # grows with the libraries that are loaded: at most 200 of them are struck
        for point in range(0, last, 1 + last // 200):
            if first:
                in_another_thread(start)
            places(work, point)
            assert blas_counts() == before, f"place {point}"
            assert in_another_thread(run_on_two_threads) == 2, f"place {point}"
            assert work() == list(range(0, 20, 2))
    assert last > 20
    in_another_thread(lambda: [threads(1)])  # which waits until nobody computes


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it struck while a file was opened
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer sends signals here")
def test_ctrl_c_at_any_time_leaves_threads_and_blas_usable(threads, small_blocks):
    def strike(number, frame):
        raise KeyboardInterrupt

    threads(2)
    before, rng, struck = blas_counts(), np.random.default_rng(0), 0
    handler = signal.signal(signal.SIGALRM, strike)
    try:
        for _ in range(200):
            try:
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, 1e-3))
                end = time.monotonic() + 0.1  # where it struck in a finaliser, Python reports it and goes on
                while time.monotonic() < end:
                    backend.for_each_block(lambda block: block.start, np.zeros(20), 1000)
            except KeyboardInterrupt:
                struck += 1
            assert blas_counts() == before
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
    assert struck > 20  # the others struck in a finaliser
    assert in_another_thread(run_on_two_threads) == 2


def test_ctrl_c_while_python_starts_a_thread_is_ctrl_c(threads, small_blocks, monkeypatch):
    """Python's own `with` lets go of a lock which the interrupt kept it from taking, and says only that."""

    def start(thread):
        lock = threading.Lock()
        try:
            raise KeyboardInterrupt
        finally:
            lock.release()

    threads(2)
    assert backend.get_threads() == 2
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(threading.Thread, "start", start)
        backend.for_each_block(lambda block: block.start, np.zeros(20), 1000)
    assert in_another_thread(run_on_two_threads) == 2


def test_another_thread_waits_for_its_turn(threads, small_blocks):
    """What it computes, in blocks or not, finds BLAS as it would alone."""
    import threadpoolctl

    threads(2)
    started, seen = threading.Event(), {}
    a = np.ones((3, 3))

    class Spy(np.ndarray):
        def __matmul__(self, other):
            seen["matmul"] = blas_counts()
            return np.asarray(self) @ other

    def others():
        started.wait(30)
        seen["one block"] = backend.for_each_block(lambda block: blas_counts(), np.zeros(1), 1)[0]
        backend.matmul(a.view(Spy), a)
        seen["blocks"] = backend.for_each_block(lambda block: blas_counts(), np.zeros(4), 2000)

    def work(block):
        started.set()
        time.sleep(0.1)
        return blas_counts()

    with threadpoolctl.threadpool_limits(2, "blas"):
        before = blas_counts()
        other = threading.Thread(target=others, daemon=True)
        other.start()
        mine = backend.for_each_block(work, np.zeros(4), 2000)
        other.join(30)
        assert not other.is_alive()
    assert seen["one block"] == seen["matmul"] == before
    assert [set(counts) for counts in [*mine, *seen["blocks"]] if set(counts) != {1}] == []


def test_threads_that_compute_at_once_get_the_bits_of_one_alone(threads, block_bytes):
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((40, 300), np.float32), rng.standard_normal((200, 300), np.float32)
    image, kernel = rng.standard_normal((4, 24, 24, 16), np.float32), rng.standard_normal((16, 16, 3, 3), np.float32)

    def result():
        y, backward = conv2d(image, kernel, padding=1)
        z, linear_backward = linear(x, weight)
        return b"".join(array.tobytes() for array in (y, *backward(y), z, *linear_backward(z)))

    threads(2)
    for size in (20_000, 2**30):
        with block_bytes(size):
            expected, wrong = result(), []

            def repeat(expected=expected, wrong=wrong):
                wrong.extend(number for number in range(15) if result() != expected)

            workers = [threading.Thread(target=repeat) for _ in range(3)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            assert wrong == []


def test_matmul_is_the_product_and_may_be_called_within_a_block(threads, small_blocks):
    threads(2)
    a, b = np.random.default_rng(0).standard_normal((2, 5, 5))
    np.testing.assert_array_equal(backend.matmul(a, b), a @ b)
    for product in backend.for_each_block(lambda block: backend.matmul(a, b), np.zeros(4), 2000):
        np.testing.assert_allclose(product, a @ b, rtol=1e-12)
    with pytest.raises(ZeroDivisionError):  # and an exception lets the next one have its turn
        backend.for_each_block(lambda block: 1 // 0, np.zeros(1))
    np.testing.assert_array_equal(in_another_thread(lambda: backend.matmul(a, b)), a @ b)


@pytest.mark.parametrize("n", [1, 4])
def test_set_threads_within_a_block_is_refused(threads, small_blocks, n):
    threads(2)
    with pytest.raises(RuntimeError, match=r"set_threads\(3\) was called within a block.*call it outside"):
        backend.for_each_block(lambda block: backend.set_threads(3), np.zeros(n), 2000)
    assert backend.get_threads() == 2 and run_on_two_threads() == 2


# How many threads ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, 8),
        ({"OMP_NUM_THREADS": "3"}, 3),
        ({"OMP_NUM_THREADS": "4,2"}, 4),
        ({"OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "5"}, 2),
        ({"MKL_NUM_THREADS": " 6 "}, 6),
        ({"OMP_NUM_THREADS": "100"}, 8),
        ({"OMP_NUM_THREADS": "0", "MKL_NUM_THREADS": "-1", "OPENBLAS_NUM_THREADS": "many"}, 8),
        ({"OMP_NUM_THREADS": "", "OPENBLAS_NUM_THREADS": "\u00b2"}, 8),
    ],
    ids=str,
)
def test_the_environment_may_ask_for_fewer_threads(monkeypatch, tmp_path, environment, expected):
    monkeypatch.setattr(machine, "_physical_cores", lambda: 8)
    monkeypatch.setattr(machine, "can_start_threads", lambda: True)
    assert machine.default_threads(environment, tmp_path) == expected


VERSION_1 = "4:cpuacct,cpu:/docker/a\n3:cpuset:/"
QUOTAS = {
    "version 2": ("0::/", {"cpu.max": "200000 100000"}, 2),
    "version 2, rounded up": ("0::/", {"cpu.max": "50000 100000"}, 1),
    "version 2, of the group above": ("0::/a/b", {"a/b/cpu.max": "max 100000", "a/cpu.max": "250000 100000"}, 3),
    "version 2, none": ("0::/", {"cpu.max": "max 100000"}, 8),
    "version 2, more than there are": ("0::/", {"cpu.max": "9900000 100000"}, 8),
    "version 2, outside of what is seen": ("0::/../other", {"cpu.max": "300000 100000"}, 3),
    "version 1": (VERSION_1, {"cpu/cpu.cfs_quota_us": "150000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
    "version 1, its own group": (
        VERSION_1,
        {"cpuacct,cpu/docker/a/cpu.cfs_quota_us": "400000", "cpuacct,cpu/docker/a/cpu.cfs_period_us": "100000"},
        4,
    ),
    "version 1, none": (VERSION_1, {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
    "nonsense": ("what?", {"cpu.max": "1 2 3"}, 8),
    "no period": ("0::/", {"cpu.max": "100000"}, 8),
    "a period of 0": ("0::/", {"cpu.max": "100000 0"}, 8),
}


@pytest.mark.parametrize(("groups", "files", "expected"), QUOTAS.values(), ids=list(QUOTAS))
def test_a_containers_quota_limits_the_threads(monkeypatch, tmp_path, groups, files, expected):
    monkeypatch.setattr(machine, "_physical_cores", lambda: 8)
    monkeypatch.setattr(machine, "can_start_threads", lambda: True)
    files = {"proc/self/cgroup": groups, **{f"sys/fs/cgroup/{name}": text for name, text in files.items()}}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert machine.default_threads({}, tmp_path) == expected


# In place -----------------------------------------------------------------------------------------------------

LAYOUTS = {
    "contiguous": lambda: np.zeros((6, 4)),
    "every second": lambda: np.zeros((12, 8))[::2, ::2],
    "columns first": lambda: np.zeros((4, 6)).T,
    "backwards": lambda: np.zeros((6, 4))[::-1],
    "no axes": lambda: np.zeros(()),
    "empty": lambda: np.zeros((0, 4)),
    "no columns": lambda: np.zeros((6, 0)),
}


@pytest.mark.parametrize("total", LAYOUTS.values(), ids=list(LAYOUTS))
def test_arrays_of_any_layout_are_mapped(small_blocks, block_bytes, total):
    with block_bytes(50):
        total = total()
        total[...] = np.arange(1.0, total.size + 1).reshape(total.shape)
        np.testing.assert_array_equal(backend.map_blocks(lambda x, out: np.negative(x, out=out), total), -total)


@pytest.mark.parametrize("shape", [(4,), (1, 4), (6, 1), (3, 4)], ids=str)
def test_arrays_of_several_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"arrays must be of one shape, got \(6, 4\) and .*: broadcast them"):
        backend.map_blocks(lambda a, b, out: None, np.zeros((6, 4)), np.ones(shape))


@pytest.mark.parametrize("shape", [(0, 3), (2, 0, 3), (0, 5, 3), (4, 0), (2, 0, 0)], ids=str)
def test_sums_of_nothing_are_zero(shape):
    x = np.zeros(shape, np.float32)
    sums = backend.sum_channels(lambda x, out: (x, (x, x)), (x,))
    assert [(total.shape, total.dtype, total.any()) for total in sums] == [(shape[-1:], np.float32, False)] * 2
    assert backend.map_channels(lambda x, out: None, (x,)).shape == shape


# Sums over channels -------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.sampled_from([1, 200, 2**30]))
def test_channel_moments(block_bytes, shape, size):
    x = np.random.default_rng(0).standard_normal(shape) * 2 + 5
    rows = x.reshape(-1, shape[-1])
    with block_bytes(size):
        mean, var = backend.channel_moments(x)
    np.testing.assert_allclose(mean, rows.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(var, rows.var(axis=0), rtol=1e-10, atol=1e-13)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.sampled_from([1, 200, 2**30]))
def test_sum_and_map_channels(block_bytes, shape, size):
    x, y = np.random.default_rng(0).standard_normal((2, *shape))
    vector = np.arange(1.0, shape[-1] + 1)
    with block_bytes(size):
        sums = backend.sum_channels(lambda x, y, v, out: (x, (x, y), np.subtract(x, v, out=out)), (x, y), (vector,))
        mapped = backend.map_channels(lambda x, vector, out: np.multiply(x, vector, out=out), (x,), (vector,))
    axes = tuple(range(len(shape) - 1))
    np.testing.assert_allclose(sums[0], x.sum(axis=axes), rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(sums[1], (x * y).sum(axis=axes), rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(sums[2], (x - vector).sum(axis=axes), rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(mapped, x * vector, rtol=1e-14)


# Devices ------------------------------------------------------------------------------------------------------


def test_arrays_carry_their_device():
    x = np.zeros(3)
    assert backend.array_module(x, None) is np
    assert backend.device_of(x) == backend.device_of(np.float64(1)) == "cpu"
    assert backend.to_device(x, "cpu") is x
    assert backend.to_numpy(x) is x
    assert backend.resolve_device("cpu") == "cpu"


def test_unknown_device():
    with pytest.raises(ValueError, match="unknown device 'tpu': choose one of auto, cpu, gpu"):
        backend.resolve_device("tpu")


def test_not_an_array():
    with pytest.raises(TypeError, match=r"expected a NumPy or CuPy array, got list: wrap it in np.asarray"):
        backend.array_module([1.0])


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_masked_arrays_and_matrices_are_refused():
    for refuse in (backend.array_module, backend.device_of, relu):
        with pytest.raises(TypeError, match=r"a masked one, whose mask would be ignored: use its filled\(0\)"):
            refuse(np.ma.masked_array([1.0, 2.0], [True, False]))
        with pytest.raises(TypeError, match=r"got a np.matrix, whose \* is another product: use np.asarray on it"):
            refuse(np.matrix([[1.0, 2.0]]))


def test_mapped_and_read_only_arrays_are_arrays(tmp_path):
    x = np.memmap(tmp_path / "x", np.float64, "w+", shape=(2, 3))
    x[...] = [[-1, 0, 1], [2, 3, 4]]
    frozen = np.array(x)
    frozen.flags.writeable = False
    for array in (x, frozen):
        assert backend.array_module(array) is np and backend.device_of(array) == "cpu"
        np.testing.assert_array_equal(relu(array)[0], np.maximum(np.array(x), 0))


def test_a_device_error_names_an_argument_and_for_scripts_an_option():
    error = backend.DeviceError("no GPU: no driver")
    for same in (error, pickle.loads(pickle.dumps(error))):
        assert str(same) == 'no GPU: no driver, or use device="cpu"'
        assert same.for_scripts == "no GPU: no driver, or use --device cpu"


def test_peak_memory_is_told():
    assert backend.memory_peak("cpu") > 1e6


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("into", ["another", "x", "y"])
def test_choose_keeps_every_bit(dtype, into):
    """NaN, infinity and the sign of 0 among them, also into one of the two."""
    x = np.array([1, np.nan, -0.0, np.inf, 2, -np.inf, 0.0, 7], dtype)
    y = np.array([np.inf, 5, 0.0, -np.inf, np.nan, 3, -0.0, -7], dtype)
    where = np.array([1, 1, 1, 1, 0, 0, 0, 0], bool)
    want = np.where(where, x, y)
    out = {"another": np.empty_like(x), "x": x, "y": y}[into]
    backend.choose(where, x, y, out)
    assert out.tobytes() == want.tobytes()
