"""Crop, flip, cut-out and normalisation against loops over single pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minires.data import Augment, channel_mean_std, cutout, erase, flip, normalize, pad_and_crop
from minires.data.augment import draw_boxes

batches = st.tuples(
    st.integers(0, 4), st.integers(1, 6), st.integers(1, 7), st.integers(1, 3), st.sampled_from(["uint8", "float32"])
)


def make_images(shape_and_dtype, rng):
    """Images without a zero, so that a zero is always one that was put there."""
    *shape, dtype = shape_and_dtype
    return rng.integers(1, 256, shape).astype(dtype)


def unchanged(function, images, *arguments):
    """function's result, which must be a new array of the same kind; the arguments must stay as they are."""
    before = [array.copy() for array in (images, arguments[0])]
    y = function(images, *arguments)
    np.testing.assert_array_equal(images, before[0])
    np.testing.assert_array_equal(arguments[0], before[1])
    assert y.shape == images.shape and y.dtype == images.dtype and not np.shares_memory(y, images)
    return y


@given(batches, st.integers(0, 5), st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_pad_and_crop(batch, padding, seed):
    rng = np.random.default_rng(seed)
    images = make_images(batch, rng)
    n, height, width, _ = images.shape
    offsets = rng.integers(0, 2 * padding + 1, (n, 2))
    expected = np.zeros_like(images)
    for i in range(n):
        for row in range(height):
            for column in range(width):
                y, x = row + offsets[i, 0] - padding, column + offsets[i, 1] - padding
                if 0 <= y < height and 0 <= x < width:
                    expected[i, row, column] = images[i, y, x]
    np.testing.assert_array_equal(unchanged(pad_and_crop, images, offsets, padding), expected)


@given(batches, st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_flip(batch, seed):
    rng = np.random.default_rng(seed)
    images = make_images(batch, rng)
    mask = rng.random(len(images)) < 0.5
    expected = images.copy()
    for i, row, column in np.ndindex(images.shape[:3]):
        if mask[i]:
            expected[i, row, column] = images[i, row, images.shape[2] - 1 - column]
    y = unchanged(flip, images, mask)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(flip(y, mask), images)


@given(batches, st.integers(1, 9), st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_cutout(batch, size, seed):
    rng = np.random.default_rng(seed)
    images = make_images(batch, rng)
    n, height, width, _ = images.shape
    centers = rng.integers(0, (height, width), (n, 2))
    expected = images.copy()
    for i, (row, column) in enumerate(centers):
        for y in range(row - size // 2, row - size // 2 + size):
            for x in range(column - size // 2, column - size // 2 + size):
                if 0 <= y < height and 0 <= x < width:
                    expected[i, y, x] = 0
    np.testing.assert_array_equal(unchanged(cutout, images, centers, size), expected)


@given(batches, st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_erase(batch, seed):
    rng = np.random.default_rng(seed)
    images = make_images(batch, rng)
    n, height, width, _ = images.shape
    boxes = np.stack([np.sort(rng.integers(0, side + 1, (n, 2)), axis=1) for side in (height, width)], axis=1)
    boxes, expected = boxes.reshape(n, 4), images.copy()
    for i, (top, bottom, left, right) in enumerate(boxes):
        expected[i, top:bottom, left:right] = 0
    np.testing.assert_array_equal(unchanged(erase, images, boxes), expected)


class TestErasing:
    """`Augment(erasing=p)` against torchvision's parameters: p, scale 0.02 to 0.33, ratio 0.3 to 3.3, value 0."""

    @pytest.mark.parametrize("size", [(32, 32), (40, 24)])
    def test_rectangles(self, size):
        boxes = draw_boxes(20_000, 0.5, size, np.random.default_rng(0))
        sides = boxes[:, 1::2] - boxes[:, ::2]
        assert boxes.dtype == np.int64 and (boxes >= 0).all() and (sides >= 0).all()
        assert (boxes[:, 1] <= size[0]).all() and (boxes[:, 3] <= size[1]).all()
        erased = sides[:, 0] > 0
        assert erased.mean() == pytest.approx(0.5, abs=0.015)  # a rectangle that never fits in ten draws is rare
        sides = sides[erased]
        assert (sides[:, 0] < size[0]).all() and (sides[:, 1] < size[1]).all()
        share, ratio = sides.prod(axis=1) / np.prod(size), sides[:, 0] / sides[:, 1]
        assert 0.01 < share.min() < 0.03 and 0.30 < share.max() < 0.36
        assert 0.2 < ratio.min() < 0.4 and 2.6 < ratio.max() < 4.6
        if size == (32, 32):  # where few do not fit; rounding and those move the means a little
            assert share.mean() == pytest.approx(0.175, abs=0.01)
            assert np.log(ratio).mean() == pytest.approx(0.0, abs=0.03)
        tops = boxes[erased, 0] / np.maximum(1, size[0] - sides[:, 0])
        assert tops.mean() == pytest.approx(0.5, abs=0.02) and {tops.min(), tops.max()} == {0, 1}

    @pytest.mark.parametrize("p", [0.0, 1.0])
    def test_none_and_all(self, p):
        boxes = draw_boxes(500, p, (32, 32), np.random.default_rng(0))
        assert (boxes[:, 1] > boxes[:, 0]).mean() == p

    def test_it_leaves_the_other_draws_as_they_were(self):
        drawn = Augment(cutout=3).draw(50, (8, 8), np.random.default_rng(1))
        with_boxes = Augment(cutout=3, erasing=0.5).draw(50, (8, 8), np.random.default_rng(1))
        assert set(with_boxes) - set(drawn) == {"boxes"}
        for name, array in drawn.items():
            np.testing.assert_array_equal(array, with_boxes[name])

    def test_a_call(self):
        images = make_images((200, 32, 32, 3, "float32"), np.random.default_rng(0))
        y = Augment(padding=0, flip=False, erasing=0.5)(images, np.random.default_rng(0))
        changed = (y != images).any(axis=(1, 2, 3))
        assert 60 < changed.sum() < 140
        np.testing.assert_array_equal(y[y != 0], images[y != 0])

    def test_wrong_arguments(self):
        for p in (-0.1, 1.1, float("nan")):
            with pytest.raises(ValueError, match=r"Augment: erasing is .*, expected a probability"):
                Augment(erasing=p)
        with pytest.raises(ValueError, match=r"boxes of shape \(2, 4\), expected \(3, 4\)"):
            erase(np.zeros((3, 4, 4, 1)), np.zeros((2, 4), int))


@given(batches, st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_normalize(batch, seed):
    rng = np.random.default_rng(seed)
    images = make_images(batch, rng)
    mean, std = rng.uniform(0, 1, images.shape[3]), rng.uniform(0.1, 1, images.shape[3])
    y = normalize(images, tuple(mean), tuple(std))
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, (images.astype(np.float64) / 255 - mean) / std, rtol=1e-5, atol=3e-6)


def test_normalize_gives_mean_zero_and_std_one():
    images = np.random.default_rng(0).integers(0, 200, (50, 32, 32, 3), dtype=np.uint8)
    y = normalize(images, *channel_mean_std(images))
    np.testing.assert_allclose(y.mean(axis=(0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(y.std(axis=(0, 1, 2)), 1, atol=1e-4)


def test_wrong_arguments_are_named():
    images = np.zeros((3, 4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match=r"offsets of shape \(2, 2\), expected \(3, 2\)"):
        pad_and_crop(images, np.zeros((2, 2), int))
    with pytest.raises(ValueError, match=r"mask of shape \(4,\), expected \(3,\)"):
        flip(images, np.zeros(4, bool))
    with pytest.raises(ValueError, match=r"centers of shape \(3,\)"):
        cutout(images, np.zeros(3, int), 2)
    with pytest.raises(ValueError, match="3 channels, got 1 means and 3 standard"):
        normalize(images, (0.5,), (1, 1, 1))
    with pytest.raises(ValueError, match=r"std is .*expected positive"):
        normalize(images, (0.5, 0.5, 0.5), (1.0, 0.0, 1.0))
    with pytest.raises(ValueError, match="padding is -1"):
        Augment(padding=-1)
    with pytest.raises(ValueError, match="cutout is -2"):
        Augment(cutout=-2)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_augment_covers_every_shift_and_both_sides(dtype):
    """One marked pixel is followed through many draws: it lands on each of the (2p + 1)^2 * 2 places alike."""
    images = np.zeros((8000, 12, 12, 1), dtype)
    images[:, 5, 5] = 1
    y = Augment(padding=2)(images, np.random.default_rng(0))
    assert y.dtype == dtype and y.sum() == 8000
    counts = y[..., 0].sum(axis=0, dtype=np.int64)
    expected = np.zeros((12, 12))
    expected[3:8, 3:8] += 8000 / 50
    expected[3:8, 4:9] += 8000 / 50  # mirrored, column 5 is column 6
    assert (counts[expected == 0] == 0).all()
    np.testing.assert_allclose(counts[expected > 0], expected[expected > 0], rtol=0.4)


def test_augment_cuts_one_square_with_its_center_anywhere():
    y = Augment(padding=0, flip=False, cutout=3)(np.ones((4000, 6, 7, 2), np.float32), np.random.default_rng(0))
    holes = (y == 0).all(axis=3)
    assert (holes == (y == 0).any(axis=3)).all()
    sizes = holes.sum(axis=(1, 2))
    # centers on the border lose a side: 4 rows of 6 and 5 columns of 7 give a whole square
    assert set(np.unique(sizes)) == {4, 6, 9}
    np.testing.assert_allclose((sizes == 9).mean(), 20 / 42, atol=0.05)


def test_augment_follows_the_generator_and_may_do_nothing():
    images = np.random.default_rng(0).integers(1, 256, (20, 8, 8, 3), dtype=np.uint8)
    first, again, other = (Augment(cutout=2)(images, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    same = Augment(padding=0, flip=False)(images, np.random.default_rng(1))
    np.testing.assert_array_equal(same, images)
    assert not np.shares_memory(same, images)  # a new array, as from every other setting


@pytest.mark.parametrize("batch", [(0, 4, 4, 3), (2, 1, 1, 1), (1, 5, 1, 3), (3, 1, 6, 2), (4, 8, 8, 3)], ids=str)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_augmented_images_lie_in_memory_in_order(batch, dtype):
    """However a result was gathered: layers cut it into rows and patches without copying it first."""
    images = make_images((*batch, dtype), np.random.default_rng(0))
    for augment in (Augment(), Augment(flip=False), Augment(padding=0), Augment(padding=1, cutout=2)):
        assert augment(images, np.random.default_rng(1)).flags.c_contiguous
