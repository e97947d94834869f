"""assign_targets and positions: worked by hand, and against loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minires.detection import BACKGROUND, assign_targets, positions
from minires.detection.targets import left_without


def naive_assignment(boxes, where, radius, reach):
    """Position after position, box after box."""
    labels, distances = [], []
    strides = sorted(set(where.stride))
    for x, y, stride in zip(*where, strict=True):
        best = None
        for x1, y1, x2, y2, label in boxes:
            four = (x - x1, y - y1, x2 - x, y2 - y)
            if min(four) <= 0 or max(abs(x - (x1 + x2) / 2), abs(y - (y1 + y2) / 2)) > radius * stride:
                continue
            longer = max(x2 - x1, y2 - y1)
            if longer > reach * stride and stride != strides[-1]:
                continue
            if longer <= reach * stride / 2 and stride != strides[0]:
                continue
            area = (x2 - x1) * (y2 - y1)
            if best is None or area < best[0]:
                best = area, label, four
        labels.append(BACKGROUND if best is None else int(best[1]))
        distances.append((1, 1, 1, 1) if best is None else best[2])
    return np.array(labels), np.array(distances, np.float32)


@st.composite
def many_boxes(draw):
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    corners = rng.integers(0, 40, (draw(st.integers(0, 6)), 2))
    sides = rng.integers(1, 30, corners.shape)
    labels = rng.integers(0, 3, len(corners))[:, None]
    return np.concatenate([corners, corners + sides, labels], axis=1).astype(np.float32)


@given(many_boxes(), st.sampled_from([1.5, 1.0, 99.0]), st.sampled_from([4.0, 6.0]))
def test_naive_loop(boxes, radius, reach):
    where = positions(64)
    before = boxes.copy()
    labels, distances = assign_targets(boxes, where, radius, reach)
    expected, expected_distances = naive_assignment(boxes.astype(np.float64), where, radius, reach)
    np.testing.assert_array_equal(labels, expected)
    np.testing.assert_allclose(distances, expected_distances, rtol=1e-6)
    np.testing.assert_array_equal(boxes, before)
    assert labels.dtype == np.int64 and distances.dtype == np.float32


def test_positions_by_hand():
    where = positions(16, (4, 8))
    assert len(where.x) == 16 + 4
    assert where.x[:5].tolist() == [2, 6, 10, 14, 2] and where.y[:5].tolist() == [2, 2, 2, 2, 6]
    assert where.x[16:].tolist() == [4, 12, 4, 12] and where.y[16:].tolist() == [4, 4, 12, 12]
    assert where.stride.tolist() == [4] * 16 + [8] * 4


def test_a_box_by_hand():
    """x from 4 to 12 and y from 0 to 8: of the fine level the positions 6 and 10, 2 and 6 lie in it, and near it."""
    labels, distances = assign_targets(np.array([[4.0, 0, 12, 8, 3]]), positions(16, (4, 8)))
    found = np.flatnonzero(labels == 3)
    assert found.tolist() == [1, 2, 5, 6]  # row 0: columns 1, 2; row 1: likewise
    assert distances[found].tolist() == [[2, 2, 6, 6], [6, 2, 2, 6], [2, 6, 6, 2], [6, 6, 2, 2]]
    assert (np.delete(labels, found) == BACKGROUND).all()
    assert (np.delete(distances, found, axis=0) == 1).all()


def test_a_large_box_belongs_to_the_next_level():
    """The fine level goes up to 16 pixels, the next to 32."""
    where = positions(64)
    for side, stride in ((8, 4), (16, 4), (17, 8), (32, 8), (33, 16), (64, 16)):
        labels, _ = assign_targets(np.array([[0.0, 0, side, side / 2 + 4, 1]]), where)
        assert set(where.stride[labels == 1]) == {stride}, side


def test_the_smaller_of_two_boxes():
    """The small one stands in the middle of the large one, both of the fine level's size."""
    large, small = [0.0, 0, 16, 16, 0], [4.0, 4, 12, 12, 1]
    for boxes in ([large, small], [small, large]):
        labels, _ = assign_targets(np.array(boxes), positions(16, (4,)), radius=99, reach=99)
        assert labels.reshape(4, 4).tolist() == [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]


def test_of_equal_boxes_the_first():
    boxes = np.array([[0.0, 0, 8, 8, 2], [0, 0, 8, 8, 1]])
    labels, _ = assign_targets(boxes, positions(16))
    assert set(labels) == {2, BACKGROUND}


def test_no_boxes():
    labels, distances = assign_targets(np.zeros((0, 5)), positions(32))
    assert (labels == BACKGROUND).all() and (distances == 1).all()


@given(st.integers(0, 1000))
def test_no_box_that_is_wide_enough_is_left_to_none(seed):
    """A side of more than a stride holds a position, wherever it lies."""
    rng = np.random.default_rng(seed)
    width, height = rng.uniform(8, 64, 2)
    longer = max(width, height)
    level = next((stride for stride in (4, 8) if longer <= 4 * stride), 16)
    width, height = max(width, level + 0.1), max(height, level + 0.1)
    x, y = rng.uniform(0, 64 - np.array([width, height]))
    box = np.array([[x, y, x + width, y + height, 0]])
    assert left_without(box, positions(64)) == 0


def test_boxes_without_a_position_are_counted():
    boxes = np.array([[2.5, 2.5, 5.5, 5.5, 0], [0, 0, 8, 8, 0], [0, 0, 8, 8, 1]])
    assert left_without(boxes, positions(16)) == 2
    assert left_without(boxes[:0], positions(16)) == 0


def test_a_box_between_the_positions_is_nobodys():
    labels, _ = assign_targets(np.array([[2.5, 2.5, 5.5, 5.5, 0]]), positions(16))
    assert (labels == BACKGROUND).all()


@pytest.mark.parametrize("size", [0, 8, 24, 40])
def test_bad_size(size):
    with pytest.raises(ValueError, match=rf"^positions: size {size} must be a multiple of the largest stride, 16$"):
        positions(size)
