"""box_iou and nms: by hand, against pixels counted, a naive suppression and torchvision's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minires.detection import box_iou, nms


def draw_boxes(rng, n):
    corners = rng.integers(0, 12, (n, 2)).astype(np.float64)
    return np.concatenate([corners, corners + rng.integers(1, 9, (n, 2))], axis=1)


@given(st.integers(0, 1000), st.integers(0, 5), st.integers(0, 5))
def test_iou_by_counting_pixels(seed, n, m):
    rng = np.random.default_rng(seed)
    first, second = draw_boxes(rng, n), draw_boxes(rng, m)

    def pixels(box):
        x1, y1, x2, y2 = box.astype(int)
        image = np.zeros((24, 24), bool)
        image[y1:y2, x1:x2] = True
        return image

    expected = [[(pixels(a) & pixels(b)).sum() / (pixels(a) | pixels(b)).sum() for b in second] for a in first]
    found = box_iou(first, second)
    assert found.shape == (n, m)
    np.testing.assert_allclose(found, np.array(expected).reshape(n, m), rtol=1e-12)


def test_iou_by_hand():
    """Two boxes of 4x4, one shifted by 2: 8 pixels of 24. Boxes that only touch, and empty ones, have nothing."""
    boxes = np.array([[0.0, 0, 4, 4], [2, 0, 6, 4], [4, 0, 8, 4], [1, 1, 1, 1]])
    np.testing.assert_allclose(box_iou(boxes[:1], boxes), [[1, 8 / 24, 0, 0]])
    assert box_iou(boxes[3:], boxes[3:]) == 0


def naive_nms(boxes, scores, labels, threshold):
    """A box stays unless a better one of its class that stays overlaps it: n^2 comparisons, one by one."""

    def overlap(a, b):
        w = min(a[2], b[2]) - max(a[0], b[0])
        h = min(a[3], b[3]) - max(a[1], b[1])
        inner = max(w, 0) * max(h, 0)
        return inner / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inner)

    order = sorted(range(len(boxes)), key=lambda n: (-scores[n], n))
    stays = []
    for n in order:
        if not any(labels[n] == labels[m] and overlap(boxes[n], boxes[m]) > threshold for m in stays):
            stays.append(n)
    return stays


@st.composite
def found(draw):
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    n = draw(st.integers(0, 25))
    scores = rng.random(n) if draw(st.booleans()) else rng.integers(1, 4, n) / 4
    return draw_boxes(rng, n), scores, rng.integers(0, 3, n), draw(st.sampled_from([0.0, 0.3, 0.5, 1.0]))


@given(found())
def test_naive_suppression(drawn):
    boxes, scores, labels, threshold = drawn
    assert nms(boxes, scores, labels, threshold).tolist() == naive_nms(boxes, scores, labels, threshold)


@given(found())
def test_torchvision(torch, drawn):
    theirs = pytest.importorskip("torchvision").ops.nms
    boxes, _, labels, threshold = drawn
    scores = np.random.default_rng(0).permutation(len(boxes)) / 100  # none equal, of which the order is nobody's
    kept = [
        np.flatnonzero(own)[theirs(torch.tensor(boxes[own]), torch.tensor(scores[own]), threshold).numpy()]
        for own in (labels == one for one in range(3))
    ]
    assert set(nms(boxes, scores, labels, threshold).tolist()) == {int(n) for of_class in kept for n in of_class}


def test_by_hand():
    """The second is dropped for the first, the third is of another class, the fourth overlaps only what was dropped."""
    boxes = np.array([[0.0, 0, 4, 4], [1, 0, 5, 4], [0, 0, 4, 4], [2, 0, 6, 4]])
    scores, labels = np.array([0.9, 0.8, 0.7, 0.6]), np.array([0, 0, 1, 0])
    assert nms(boxes, scores, labels, 0.5).tolist() == [0, 2, 3]
    assert nms(boxes, scores, labels, 0.3).tolist() == [0, 2]
    assert nms(boxes[:0], scores[:0], labels[:0]).tolist() == []
