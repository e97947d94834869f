"""Pictures that are decoded when they are asked for."""

import threading

import numpy as np
import pytest

from minires.data import Loader, channel_mean_std, limit
from minires.data.stream import AHEAD, Kept, Pictures

SIZE = 4


def picture(number):
    return np.full((SIZE, SIZE, 3), number % 251, np.uint8)


class Decoder:
    """Counts what is decoded; path "7" is a picture of sevens."""

    def __init__(self):
        self.seen, self.lock = [], threading.Lock()

    def __call__(self, path):
        with self.lock:
            self.seen.append(int(path))
        return picture(int(path))


def make(count=40, room=0, workers=2):
    decoder = Decoder()
    return Pictures([str(number) for number in range(count)], decoder, SIZE, workers, Kept(room)), decoder


ALL = np.stack([picture(number) for number in range(40)])


@pytest.mark.parametrize(
    "index", [slice(None), slice(3, 9), slice(0), np.array([5, 5, 39, 0]), np.arange(40) % 3 == 0, np.int64(7), 3, -1]
)
def test_looks_like_the_array(index):
    pictures, _ = make()
    np.testing.assert_array_equal(pictures[index], ALL[index])
    assert pictures[index].dtype == np.uint8
    if not np.isscalar(index):
        np.testing.assert_array_equal(pictures.subset(index), ALL[index])
        np.testing.assert_array_equal(pictures.subset(slice(1, 30)).subset(slice(2, 9)), ALL[3:10])


def test_is_an_array_to_others():
    pictures, decoder = make()
    assert (pictures.shape, len(pictures), pictures.dtype) == (ALL.shape, 40, ALL.dtype)
    assert decoder.seen == []
    np.testing.assert_array_equal(list(pictures), ALL)
    assert channel_mean_std(pictures) == channel_mean_std(ALL)
    chosen, labels = limit(pictures, np.arange(40), 5)
    decoder.seen.clear()
    assert (len(chosen), len(labels), decoder.seen) == (5, 5, [])


def test_what_is_kept_is_bounded():
    size = SIZE * SIZE * 3
    pictures, decoder = make(room=10 * size)
    for _ in range(3):
        np.testing.assert_array_equal(pictures[:], ALL)
    assert len(pictures.kept.pictures) == 10 and pictures.kept.room == 0
    assert len(decoder.seen) == 40 + 2 * 30


def test_views_keep_together():
    pictures, decoder = make(room=2**20)
    pictures.subset(slice(0, 20))[:]
    pictures.subset(slice(10, 40))[:]
    assert sorted(decoder.seen) == list(range(40))


def test_no_further_ahead_than_said():
    pictures, decoder = make(count=40)
    batches = pictures.batches([slice(start, start + 4) for start in range(0, 40, 4)])
    next(batches)
    batches.close()
    assert set(decoder.seen) <= set(range(4 * (AHEAD + 1))) and not _workers()


def _workers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("minires-pictures")]


def test_a_caller_may_write_into_what_it_got():
    pictures, _ = make(room=2**20)
    for index in (slice(0, 3), 2):
        pictures[index][...] = 99
        np.testing.assert_array_equal(pictures[:], ALL)


@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_reaches_the_caller_and_the_workers_end(workers):
    def decode(path):
        if path == "9":
            raise ValueError("picture 9 is damaged")
        return picture(int(path))

    pictures = Pictures([str(number) for number in range(40)], decode, SIZE, workers)
    loader = Loader(pictures, np.arange(40), 5, (0.5,) * 3, (0.5,) * 3)
    with pytest.raises(ValueError, match="picture 9 is damaged"):
        list(loader.epoch(0))
    assert not _workers()


def test_batches_on_a_gpu(monkeypatch):
    import sys

    import cupy_double

    from minires.backend import device_of, to_numpy

    monkeypatch.setitem(sys.modules, "cupy", cupy_double)
    pictures, _ = make()
    options = {"batch_size": 7, "mean": (0.5,) * 3, "std": (0.5,) * 3, "shuffle": True, "seed": 1}
    ours, theirs = (Loader(images, np.arange(40), device=device, **options)
                    for images, device in ((pictures, "gpu"), (ALL, "cpu")))  # fmt: skip
    for (x, labels), (x_cpu, labels_cpu) in zip(ours.epoch(0), theirs.epoch(0), strict=True):
        assert device_of(x) == "gpu"
        np.testing.assert_array_equal(to_numpy(labels), labels_cpu)
        np.testing.assert_allclose(to_numpy(x), x_cpu, atol=1e-6)
