"""The pool that large arrays on the CPU come from."""

import gc
import sys
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minires import backend
from minires.backend.cpu import memory
from minires.layers import relu

LARGE = memory.POOLED_BYTES // 8  # float64 numbers that are just enough for the pool


@pytest.fixture
def pool(monkeypatch):
    """A pool of this test's own; arrays alive go back to the one that they came from."""
    monkeypatch.setattr(memory, "_pool", memory._Pool())
    return memory._pool


def address(array):
    return array.__array_interface__["data"][0]


def held(arrays):
    """Bytes that the pool must have lent for them."""
    return sum(array.nbytes + memory.ALIGNMENT for array in arrays)


# One array ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.bool_])
@pytest.mark.parametrize("shape", [(2**19,), (2, 3, 1, 2**17), (0,), (3, 0, 5), (), (1,), (7, 5)], ids=str)
def test_an_array_like_any_other(shape, dtype):
    array = memory.empty(shape, dtype)
    assert type(array) is np.ndarray
    assert (array.shape, array.dtype) == (shape, dtype)
    assert array.flags.c_contiguous and array.flags.writeable and array.flags.aligned
    array[...] = 1
    assert array.sum() == array.size
    assert (array.copy() == array).all()


@given(st.integers(LARGE, LARGE + 200), st.sampled_from([np.float32, np.float64]))
def test_large_arrays_begin_at_a_cache_line(size, dtype):
    arrays = [memory.empty((2, size + number), dtype) for number in range(3)]
    assert [address(array) % 64 for array in arrays] == [0, 0, 0]


def test_small_arrays_are_none_of_its_business(pool):
    arrays = [memory.empty((LARGE - 1,), np.float64), memory.empty((0, 10**8), np.float64), memory.empty((), float)]
    assert pool.lent == pool.kept == 0
    arrays.append(memory.empty((LARGE,), np.float64))
    assert pool.lent == held(arrays[-1:])
    del arrays
    assert pool.lent == 0


def test_what_the_backend_makes_comes_from_it(pool):
    x = np.random.default_rng(0).standard_normal((4, LARGE))
    zeros, empty = backend.zeros(x.shape, x), backend.empty((LARGE,), x)
    assert (zeros == 0).all()
    y, _ = relu(x)
    assert pool.lent == held([zeros, empty, y])
    np.testing.assert_array_equal(y, np.maximum(x, 0))


# When memory is used again --------------------------------------------------------------------------------------

VIEWS = {
    "slice": lambda array: array[3:5],
    "strided": lambda array: array[::-2],
    "reshaped": lambda array: array.reshape(2, -1),
    "transposed": lambda array: array.reshape(4, -1).T,
    "other dtype": lambda array: array.view(np.int32),
    "view of a view": lambda array: array[1:].reshape(-1)[5:9][None],
    "broadcast": lambda array: np.broadcast_to(array, (3, *array.shape)),
    "as_strided": lambda array: np.lib.stride_tricks.as_strided(array, (2, 2), (8, 8)),
    "buffer": memoryview,
    "array on its buffer": lambda array: np.ndarray((4,), "V16", array),
    "frombuffer": lambda array: np.frombuffer(array, np.float32),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=list(VIEWS))
def test_used_again_once_the_array_and_all_its_views_are_gone_and_not_before(pool, view):
    array = memory.empty((LARGE,), np.float64)
    array[...] = np.arange(LARGE)
    where, seen, again = address(array), view(array), view(array)
    expected = np.array(seen)
    del array
    other = memory.empty((LARGE,), np.float64)
    assert address(other) != where
    other[...] = -1
    np.testing.assert_array_equal(np.array(seen), expected)
    del seen
    assert pool.lent == 2 * held([other])
    np.testing.assert_array_equal(np.array(again), expected)
    del again
    assert pool.lent == held([other])
    assert address(memory.empty((LARGE,), np.float64)) == where


def test_used_again_in_other_shapes_and_dtypes_of_its_size(pool):
    array = memory.empty((LARGE,), np.float64)
    where = address(array)
    for shape, dtype in [((2, LARGE), np.float32), ((4, LARGE // 4), np.int64), ((LARGE,), np.float64)]:
        del array
        array = memory.empty(shape, dtype)
        assert (array.shape, array.dtype, address(array)) == (shape, dtype, where)


def test_an_array_in_a_cycle_comes_back_with_it(pool):
    cycle = [memory.empty((LARGE,), np.float64)]
    cycle.append(cycle)
    del cycle
    gc.collect()
    assert pool.lent == 0


# What it keeps --------------------------------------------------------------------------------------------------


@st.composite
def takes_and_drops(draw):
    """("take", size) | ("view", which) | ("drop", which) | ("release",): `which` of those alive, counted round."""
    size = st.sampled_from([LARGE - 1, LARGE, LARGE + 1, 2 * LARGE, 3 * LARGE])
    which = st.integers(0, 20)
    step = st.one_of(
        st.tuples(st.just("take"), size),
        st.tuples(st.just("take"), size),
        st.tuples(st.just("view"), which),
        st.tuples(st.just("drop"), which),
        st.tuples(st.just("drop"), which),
        st.tuples(st.just("release")),
    )
    return draw(st.lists(step, min_size=5, max_size=40))


def take(size, number, alive):
    """An array full of `number`, beside those alive: (number, array, bytes)."""
    array = memory.empty((size,), np.float64)
    array[...] = number
    assert not any(np.may_share_memory(array, other) for _, other, _ in alive)
    return number, array, array.nbytes


def view_of(number, array, size):
    """It keeps its array's memory, whichever is dropped first."""
    return number, array[1::3], size


@given(takes_and_drops())
def test_any_sequence(steps):
    """Arrays alive are apart and keep their numbers; the books are right; never more is held than was lent at once."""
    before, memory._pool = memory._pool, memory._Pool()
    pool, alive, most = memory._pool, [], 0
    try:
        for number, (kind, *argument) in enumerate(steps):
            which = argument[0] % len(alive) if kind in ("view", "drop") and alive else None
            if kind == "take":
                alive.append(take(argument[0], number, alive))
            elif kind == "view" and alive:
                alive.append(view_of(*alive[which]))
            elif kind == "drop" and alive:
                del alive[which]
            elif kind == "release":
                memory.release()
                assert pool.kept == 0
                most = pool.lent
            assert all((array == owner).all() for owner, array, _ in alive)
            sizes = {owner: size for owner, _, size in alive if size >= memory.POOLED_BYTES}
            needed = sum(size + memory.ALIGNMENT for size in sizes.values())
            assert needed == pool.lent == sum(loan.block.nbytes for loan in pool.loans)
            most = max(most, pool.lent)
            assert pool.lent + pool.kept <= most
            assert pool.kept == sum(block.nbytes for blocks in pool.free.values() for block in blocks)
    finally:
        memory._pool = before


def test_what_was_used_before_is_enough(pool):
    """The second time nothing new is asked of the system."""
    sizes = [(LARGE,), (2 * LARGE,), (LARGE,)]

    def addresses():
        arrays = [memory.empty(shape, np.float64) for shape in sizes]
        return sorted(map(address, arrays))

    first = addresses()
    assert pool.kept == pool.most_lent
    assert addresses() == first


def test_release_gives_back_what_nobody_holds_and_that_alone(pool):
    mine, other = memory.empty((LARGE,), np.float64), memory.empty((3 * LARGE,), np.float64)
    mine[...] = 5
    del other
    assert pool.kept == 3 * LARGE * 8 + memory.ALIGNMENT
    memory.release()
    assert pool.kept == 0
    assert (mine == 5).all()
    del mine
    memory.release()
    memory.empty((LARGE,), np.float64)
    _larger = memory.empty((2 * LARGE,), np.float64)  # the peak of before is forgotten: this is the most ever lent
    assert pool.kept == 0


# Threads --------------------------------------------------------------------------------------------------------


def test_threads_that_take_and_drop(pool):
    """Each writes its own numbers into its arrays and finds them there; arrays made here are dropped there."""
    threads, rounds, wrong = 4, 60, []
    meeting, passed_on = threading.Barrier(threads, timeout=60), [None] * threads

    def work(me):
        rng, mine = np.random.default_rng(me), []
        meeting.wait()
        for round_ in range(rounds):
            array = memory.empty((LARGE * int(rng.integers(1, 3)),), np.float64)
            number = me * rounds + round_
            array[::64] = number
            mine.append((number, array))
            if len(mine) > 3:
                number, array = mine.pop(int(rng.integers(3)))
                if not (array[::64] == number).all():
                    wrong.append(number)
                passed_on[(me + 1) % threads] = array  # whoever is there lets go of it
            del array
        wrong.extend(number for number, array in mine if not (array[::64] == number).all())

    workers = [threading.Thread(target=work, args=(me,)) for me in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert not any(worker.is_alive() for worker in workers)
    assert wrong == []
    passed_on.clear()
    del worker, workers
    gc.collect()
    assert pool.lent == 0
    assert pool.kept <= pool.most_lent


def test_the_size_longest_unused_goes_first(pool):
    """The small size is taken again and again, so the large one makes room for a new one."""
    small, large = 2**20, 2**23
    del_me = [memory.empty((small,), np.uint8), memory.empty((large,), np.uint8)]
    del_me.clear()
    for _ in range(3):
        memory.empty((small,), np.uint8)
    array = memory.empty((small + 2**18,), np.uint8)  # for which one is too small, the other too large
    kept = {size: len(blocks) for size, blocks in memory._pool.free.items() if blocks}
    assert kept == {small + memory.ALIGNMENT: 1}
    assert array.nbytes + small <= memory._pool.most_lent


def test_too_much_leaves_the_account_as_it_was(pool):
    before = memory._pool.lent
    with pytest.raises(MemoryError):
        memory.empty((2**58,), np.float64)
    assert memory._pool.lent == before
    assert memory.empty((2**20,), np.uint8).nbytes == 2**20


def collected_at(point, act, monkeypatch):
    """Whether an array came back and one was taken at the `point`-th place of `act`; the books are right afterwards."""
    pool = memory._Pool()
    monkeypatch.setattr(memory, "_pool", pool)
    loose, others, places = [memory.empty((LARGE,), np.float64) for _ in range(3)], [], 0

    def collect(frame, event, argument):
        nonlocal places
        places += 1
        if places == point:
            others.append(loose.pop())
            others.clear()  # its memory comes back
            others.append(memory.empty((LARGE,), np.float64))
            loose.clear()

    sys.setprofile(collect)
    try:
        act(others)
    finally:
        sys.setprofile(None)
    assert pool.lent == held(loose + others), f"place {point}"
    assert pool.kept == sum(block.nbytes for blocks in pool.free.values() for block in blocks), f"place {point}"
    first = {block.address for blocks in pool.free.values() for block in blocks}
    assert len(first) * held([np.empty(LARGE)]) == pool.kept
    return places >= point


def test_a_garbage_collection_at_any_place_loses_no_block(monkeypatch):
    """Arrays come back, and are taken, in each call that the pool makes while it takes one or gets one back."""

    def take_and_drop(others):
        memory.empty((LARGE,), np.float64)
        memory.empty((LARGE,), np.float64)

    point, struck = 1, True
    while struck:
        struck = collected_at(point, take_and_drop, monkeypatch)
        point += 1
    assert point > 10
