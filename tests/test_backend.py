"""Patches and their adjoint, blocks, bands, threads, and sums over channels."""

import signal
import threading
import time

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from minires import backend
from minires.backend import col2im, im2col, output_size
from minires.backend.cpu import memory
from minires.backend.cpu import workers as cpu
from minires.layers import avg_pool2d, batch_norm, batch_norm_relu, conv2d, max_pool2d, relu, sigmoid
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
    patches = im2col(x, *window).copy()  # out of the scratch memory
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


def test_im2col_of_gray_images_given_their_channel_axis():
    images = np.random.default_rng(0).standard_normal((2, 5, 4))
    expected = naive_im2col(images.reshape(2, 5, 4, 1), (2, 2), (1, 1), ((0, 0), (0, 0)), 0)
    np.testing.assert_array_equal(im2col(images[..., None], (2, 2)), expected)


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


def test_two_threads_of_one_core_count_once(monkeypatch):
    monkeypatch.setattr(cpu.os, "sched_getaffinity", lambda pid: {0, 1, 2, 5}, raising=False)
    monkeypatch.setattr(cpu, "_siblings", {0: "0,4", 1: "1,5", 2: "2,6", 5: "1,5"}.get)
    assert cpu.default_threads() == 3


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
        else:
            meeting.wait()
            signal.pthread_kill(main.ident, signal.SIGINT)  # Ctrl-C, when this thread has run out of blocks
            time.sleep(0.05)
            ended.append(block.start)
        return block.start

    threads(2)
    for _ in range(3):
        meeting = threading.Barrier(2, timeout=30)
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


def test_peak_memory_is_told():
    assert backend.memory_peak("cpu") > 1e6
