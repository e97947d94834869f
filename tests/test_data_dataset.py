"""Statistics, splits and limits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minires.data import Dataset, channel_mean_std, limit, split


def numbered(n):
    """A Dataset whose image i and label i both say i."""
    images = np.zeros((n, 32, 32, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(n)
    labels = np.arange(n, dtype=np.int64)
    return Dataset("synthetic", "numbered", ("a",), images, labels, images[:1], labels[:1])


@given(n=st.integers(1, 200), seed=st.integers(0, 2**32), low=st.integers(0, 255))
@settings(max_examples=25, deadline=None)
def test_mean_and_std_are_those_of_the_floats(n, seed, low):
    images = np.random.default_rng(seed).integers(low, 256, (n, 3, 2, 3), dtype=np.uint8)
    mean, std = channel_mean_std(images)
    floats = images.astype(np.float64) / 255
    np.testing.assert_allclose(mean, floats.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, floats.std(axis=(0, 1, 2)), rtol=1e-9, atol=1e-12)
    assert isinstance(mean, tuple) and all(type(value) is float for value in mean + std)


def test_mean_and_std_of_a_constant_are_exact():
    images = np.full((130, 32, 32, 3), 255, np.uint8)
    images[..., 1] = 51
    assert channel_mean_std(images) == ((1.0, 0.2, 1.0), (0.0, 0.0, 0.0))


def test_statistics_refuse_floats_and_empty_sets():
    with pytest.raises(ValueError, match=r"float32.*uint8"):
        channel_mean_std(np.zeros((1, 2, 2, 3), np.float32))
    with pytest.raises(ValueError, match="no pixel"):
        channel_mean_std(np.zeros((0, 2, 2, 3), np.uint8))


@given(n=st.integers(1, 60), data=st.data(), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_split_parts_are_disjoint_and_complete(n, data, seed):
    val_size = data.draw(st.integers(0, n - 1))
    (images, labels), (val_images, val_labels) = split(numbered(n), val_size, seed)
    assert len(val_images) == len(val_labels) == val_size
    np.testing.assert_array_equal(images[:, 0, 0, 0], labels)
    np.testing.assert_array_equal(val_images[:, 0, 0, 0], val_labels)
    assert sorted([*labels, *val_labels]) == list(range(n))


def test_split_draws_by_seed():
    drawn = [split(numbered(50), 20, seed)[1][1].tolist() for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0] != list(range(20))


@pytest.mark.parametrize("val_size", [-1, 5, 6])
def test_split_must_leave_something_to_train_on(val_size):
    with pytest.raises(ValueError, match=f"val_size is {val_size}, expected 0 to 4"):
        split(numbered(5), val_size, 0)


def test_limit():
    images, labels = numbered(5).train_images, numbered(5).train_labels
    assert limit(images, labels, 3)[1].tolist() == [0, 1, 2]
    assert limit(images, labels, 3)[0][:, 0, 0, 0].tolist() == [0, 1, 2]
    assert len(limit(images, labels, None)[0]) == len(limit(images, labels, 99)[0]) == 5
    with pytest.raises(ValueError, match="count is 0"):
        limit(images, labels, 0)
