"""Batches: complete, in the promised order, and the same bits after a resumption."""

import sys

import cupy_double
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minires.backend import device_of, to_numpy
from minires.data import Augment, Loader

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)


def make_set(n, seed=0):
    """Random images; label i is i, so that a batch tells which images it holds."""
    return np.random.default_rng(seed).integers(0, 256, (n, 6, 5, 3), dtype=np.uint8), np.arange(n)


def expected_x(images, labels):
    return (images[labels].astype(np.float64) / 255 - MEAN) / STD


@given(n=st.integers(1, 40), batch_size=st.integers(1, 12), shuffle=st.booleans(), drop_last=st.booleans())
@settings(max_examples=40, deadline=None)
def test_an_epoch_is_every_image_once(n, batch_size, shuffle, drop_last):
    images, labels = make_set(n)
    if drop_last and batch_size > n:
        with pytest.raises(ValueError, match="drop_last leaves no batch"):
            Loader(images, labels, batch_size, MEAN, STD, drop_last=True)
        return
    loader = Loader(images, labels, batch_size, MEAN, STD, shuffle=shuffle, drop_last=drop_last)
    batches = list(loader.epoch(3))
    assert len(batches) == len(loader)
    assert all(len(x) == len(y) == batch_size for x, y in batches[:-1])
    assert all(x.dtype == np.float32 and y.dtype == np.int64 for x, y in batches)
    seen = np.concatenate([y for _, y in batches])
    assert len(set(seen.tolist())) == len(seen) == (n // batch_size * batch_size if drop_last else n)
    if not shuffle:
        np.testing.assert_array_equal(seen, labels[: len(seen)])
    for x, y in batches:
        np.testing.assert_allclose(x, expected_x(images, y), rtol=1e-5, atol=1e-5)


@given(
    n=st.integers(1, 40),
    batch_size=st.integers(1, 12),
    seed=st.integers(0, 2**40),
    number=st.integers(0, 1000),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_an_epoch_resumed_anywhere_gives_the_same_bits(n, batch_size, seed, number, data):
    def make():
        return Loader(*make_set(n), batch_size, MEAN, STD, Augment(2, True, 2, erasing=0.5), shuffle=True, seed=seed)

    whole = make()
    list(whole.epoch(number + 1))  # what was drawn before must not matter
    whole = list(whole.epoch(number))
    start = data.draw(st.integers(0, len(whole)))
    resumed = list(make().epoch(number, start))
    assert len(resumed) == len(whole) - start
    for (x, y), (x_whole, y_whole) in zip(resumed, whole[start:], strict=True):
        np.testing.assert_array_equal(x, x_whole)
        np.testing.assert_array_equal(y, y_whole)


def test_two_epochs_at_once_do_not_disturb_each_other():
    loader = Loader(*make_set(30), 7, MEAN, STD, Augment(), shuffle=True)
    alone = [list(loader.epoch(number)) for number in (0, 1)]
    together = list(zip(loader.epoch(0), loader.epoch(1), strict=True))
    for b, pair in enumerate(together):
        for number in (0, 1):
            np.testing.assert_array_equal(pair[number][0], alone[number][b][0])


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("augment", [None, Augment(padding=0, flip=False), Augment(cutout=2)], ids=["", "off", "on"])
@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_what_a_caller_writes_into_a_batch_changes_no_other(monkeypatch, shuffle, augment, device):
    monkeypatch.setitem(sys.modules, "cupy", cupy_double)
    images, labels = make_set(10)
    mean, std = list(MEAN), np.array(STD)
    loader = Loader(images, labels, 4, mean, std, augment, shuffle, device=device)
    given = [images.copy(), labels.copy()]
    before = [(to_numpy(x).copy(), to_numpy(y).copy()) for x, y in loader.epoch(0)]
    for x, y in loader.epoch(0):
        x[...] = 7
        y[...] = -1
    mean[0], std[0] = 100, 100
    labels[...] = 3
    for (x, y), (x_before, y_before) in zip(loader.epoch(0), before, strict=True):
        np.testing.assert_array_equal(to_numpy(x), x_before)
        np.testing.assert_array_equal(to_numpy(y), y_before)
    np.testing.assert_array_equal(images, given[0])


def orders(seed, augment=None, images=None):
    loader = Loader(*make_set(60), 60, MEAN, STD, augment, shuffle=True, seed=seed)
    return [next(iter(loader.epoch(number))) for number in (0, 1, 2)]


def test_order_differs_between_epochs_and_seeds():
    seen = [tuple(labels.tolist()) for seed in (0, 1, 2) for _, labels in orders(seed)]
    assert len(set(seen)) == 9 and tuple(range(60)) not in seen


def test_augmentation_differs_between_epochs_batches_and_seeds():
    """The same image all over: whatever differs is the augmentation."""
    draws = set()
    for seed in (0, 1):
        images = np.repeat(make_set(1)[0], 24, axis=0)
        loader = Loader(images, np.arange(24), 8, MEAN, STD, Augment(padding=2), seed=seed)
        draws |= {x.tobytes() for number in (0, 1) for x, _ in loader.epoch(number)}
    assert len(draws) == 2 * 2 * 3


def test_augmentation_gets_normalised_images_and_a_generator_that_no_other_stream_shares():
    received = []

    def augment(x, rng):
        received.append((x, rng.integers(2**60)))
        return x + 1

    images, labels = make_set(10)
    loader = Loader(images, labels, 5, MEAN, STD, augment)
    batches = [batch for number in (0, 1) for batch in loader.epoch(number)]
    for (x, y), (x_received, _) in zip(batches, received, strict=True):
        np.testing.assert_allclose(x_received, expected_x(images, y), rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(x, x_received + 1)
    drawn = [number for _, number in received]
    shuffles = [np.random.default_rng([0, 1, number]).integers(2**60) for number in (0, 1)]
    assert len({*drawn, *shuffles}) == 6


def test_a_gpu_gets_the_same_batches(monkeypatch):
    """With a double of CuPy that refuses NumPy arrays and any conversion to the host."""
    monkeypatch.setitem(sys.modules, "cupy", cupy_double)
    images, labels = make_set(20)

    def batches(device):
        loader = Loader(images, labels, 6, MEAN, STD, Augment(2, True, 3, erasing=0.5), shuffle=True, device=device)
        return list(loader.epoch(1))

    for (x, y), (x_gpu, y_gpu) in zip(batches("cpu"), batches("gpu"), strict=True):
        assert device_of(x_gpu) == device_of(y_gpu) == "gpu"
        np.testing.assert_array_equal(to_numpy(x_gpu), x)
        np.testing.assert_array_equal(to_numpy(y_gpu), y)


def test_wrong_arguments_are_named():
    images, labels = make_set(4)
    with pytest.raises(ValueError, match="4 images and 3 labels"):
        Loader(images, labels[:3], 2, MEAN, STD)
    with pytest.raises(ValueError, match="the set is empty"):
        Loader(images[:0], labels[:0], 2, MEAN, STD)
    with pytest.raises(ValueError, match="batch_size is 0, expected at least 1"):
        Loader(images, labels, 0, MEAN, STD)
    with pytest.raises(ValueError, match="seed is -1"):
        Loader(images, labels, 2, MEAN, STD, seed=-1)
    with pytest.raises(ValueError, match="unknown device 'tpu'"):
        Loader(images, labels, 2, MEAN, STD, device="tpu")
    for start in (-1, 3):
        with pytest.raises(ValueError, match=f"start is {start}, expected 0 to 2"):
            Loader(images, labels, 2, MEAN, STD).epoch(0, start)
    assert list(Loader(images, labels, 2, MEAN, STD).epoch(0, 2)) == []


class TestBalanced:
    """Images of a rare class come again and again, so that every class is drawn alike."""

    LABELS = np.repeat([0, 1, 3], [40, 7, 3])  # class 2 has no image

    def epoch(self, number, seed=0, start=0, batch_size=8):
        images = np.zeros((50, 2, 2, 3), np.uint8)
        images[:, 0, 0, 0] = np.arange(50)  # which image it is
        loader = Loader(
            images, self.LABELS, batch_size, (0,) * 3, (1 / 255,) * 3, shuffle=True, seed=seed, balanced=True
        )
        batches = list(loader.epoch(number, start))
        drawn = np.concatenate([x[:, 0, 0, 0] for x, _ in batches]).round().astype(int)
        np.testing.assert_array_equal(self.LABELS[drawn], np.concatenate([labels for _, labels in batches]))
        return drawn

    def test_as_many_of_each_class(self):
        for number in range(5):
            drawn = self.epoch(number)
            counts = np.bincount(self.LABELS[drawn], minlength=4)
            assert len(drawn) == 50 and counts[2] == 0 and set(counts[[0, 1, 3]]) == {16, 17}
            times = np.bincount(drawn, minlength=50)
            assert times[:40].max() == 1  # of the common class none twice
            for rare in (times[40:47], times[47:]):
                assert rare.max() - rare.min() <= 1  # of a rare one all equally often

    def test_seed_and_epoch_decide(self):
        assert self.epoch(1).tolist() == self.epoch(1).tolist()
        assert len({tuple(self.epoch(number, seed)) for number in (1, 2) for seed in (0, 1)}) == 4
        np.testing.assert_array_equal(self.epoch(1, start=2), self.epoch(1)[16:])

    def test_over_epochs_every_image_is_seen(self):
        seen = set().union(*(self.epoch(number).tolist() for number in range(12)))
        assert seen == set(range(50))

    def test_needs_shuffle(self):
        with pytest.raises(ValueError, match="balanced draws the images of an epoch: give shuffle=True"):
            Loader(*make_set(4), 2, MEAN, STD, balanced=True)


@pytest.mark.parametrize(
    ("n", "batch_size", "sizes"), [(9, 4, [4, 5]), (8, 4, [4, 4]), (10, 4, [4, 4, 2]), (1, 4, [1])]
)
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_last_batch_of_one_joins_the_one_before(n, batch_size, sizes, shuffle):
    images, labels = np.zeros((n, 2, 2, 3), np.uint8), np.arange(n)
    loader = Loader(images, labels, batch_size, (0,) * 3, (1,) * 3, shuffle=shuffle, least_last=2)
    batches = list(loader.epoch(0))
    assert [len(x) for x, _ in batches] == sizes and len(loader) == len(sizes)
    assert sorted(np.concatenate([labels for _, labels in batches])) == list(range(n))
    assert [len(x) for x, _ in loader.epoch(0, len(sizes) - 1)] == sizes[-1:]
