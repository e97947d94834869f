"""Ctrl-C at every place where Python looks for it, in what must not be left half done."""

import gc

import numpy as np
import pytest
from campaign.processes import SCENARIOS, Interrupt, blas_threads, check_all_is_well

from minires import backend
from minires.backend.cpu import memory
from minires.layers import Linear
from minires.modes import evaluating, keeps_backward, no_grad


@pytest.fixture(autouse=True)
def two_threads(block_bytes, monkeypatch):
    monkeypatch.setattr(memory, "_pool", memory._Pool())
    before = backend.get_threads()
    backend.set_threads(2)
    with block_bytes(50_000):
        yield
    backend.set_threads(before)


def each_place(act, every=1):
    """Yields after `act` was interrupted at every so manyth place; at the end after it went through."""
    act()
    point, struck = 1, True
    while struck:
        struck = False
        with Interrupt(point):
            try:
                act()
            except KeyboardInterrupt:
                struck = True
            except RuntimeError as error:  # threading's own conditions, interrupted, while they let go of a lock
                assert isinstance(error.__context__, KeyboardInterrupt), error
                struck = True
        yield
        point += every
    assert point > every + 10


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it struck while a generator ended
@pytest.mark.parametrize("name", ["arrays", "watched", "pictures"])
def test_nothing_is_left_locked_lent_or_begun(name, tmp_path):
    blas, expected = blas_threads(), SCENARIOS[name](tmp_path)
    for _ in each_place(lambda: SCENARIOS[name](tmp_path), 23):
        check_all_is_well(blas)
    assert SCENARIOS[name](tmp_path) == expected


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it struck while a generator ended
def test_modes_end():
    """However far a block came; an exception that is kept, as a notebook does, keeps none on."""
    model = Linear(2, 3, rng=0)

    def act():
        with evaluating(model), no_grad():
            model(np.ones((1, 2), np.float32))

    gc.freeze()  # what other tests left need not be looked through at each place
    try:
        for _ in each_place(act):
            gc.collect()
            assert model.training and keeps_backward()
    finally:
        gc.unfreeze()


def test_memory_kept_makes_room_for_what_the_system_has_not(monkeypatch):
    """Where the system has no memory left, what is kept is let go, and it is asked once more."""
    arrays = [memory.empty((2**20,), np.uint8) for _ in range(2)]
    arrays.clear()
    asked, real = [], np.empty

    def empty(size, dtype):
        asked.append(memory._pool.kept)
        if memory._pool.kept:
            raise MemoryError
        return real(size, dtype)

    monkeypatch.setattr(np, "empty", empty)
    loan = memory._pool.lend(memory._Owner(), 2**18)  # for which those that are there are too large
    assert loan.nbytes == 2**18 and asked == [2**20 + memory.ALIGNMENT, 0]


def test_no_array_runs_code_of_this_library_when_it_goes():
    """Which Ctrl-C would end, with its memory unaccounted for."""
    array = memory.empty((2**20,), np.uint8)
    with Interrupt(1) as counted:
        del array
    assert counted.places == 0 and memory._pool.lent == 0
