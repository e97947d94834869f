"""average_precision: cases worked by hand, and another implementation, written the other way round."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minires.detection import Detections, average_precision
from minires.detection.average_precision import area, match, precision_and_recall


def overlap(a, b):
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inner = max(w, 0) * max(h, 0)
    return inner / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inner)


def by_thresholds(found, true, label, iou_threshold, points):
    """For every score as the least that counts: precision and recall, counted from nothing; then the best beyond."""
    all_found = sorted(
        (
            (-score, image, n, box)
            for image, (boxes, scores, labels) in enumerate(found)
            for n, (box, score, own) in enumerate(zip(boxes, scores, labels, strict=True))
            if own == label
        ),
        key=lambda one: one[:3],
    )
    objects = {(i, j): box[:4] for i, boxes in enumerate(true) for j, box in enumerate(boxes) if box[4] == label}
    if not objects:
        return float("nan")
    curve = [(0.0, 0.0)]  # recall, precision
    for least in range(1, len(all_found) + 1):
        left, right = dict(objects), 0
        for _, image, _, box in all_found[:least]:
            candidates = [(overlap(box, left[key]), -key[1], key) for key in left if key[0] == image]
            if candidates and max(candidates)[0] >= iou_threshold:
                del left[max(candidates)[2]]
                right += 1
        curve.append((right / len(objects), right / least))

    def best_at(recall):
        return max((precision for reached, precision in curve if reached >= recall), default=0.0)

    if points is not None:
        return sum(best_at(n / (points - 1)) for n in range(points)) / points
    recalls = sorted({recall for recall, _ in curve})
    return sum((high - low) * best_at(high) for low, high in itertools.pairwise(recalls))


@st.composite
def scenes(draw):
    rng = np.random.default_rng(draw(st.integers(0, 5000)))
    found, true = [], []
    for _ in range(draw(st.integers(1, 4))):
        corners = rng.integers(0, 20, (draw(st.integers(0, 5)), 2))
        objects = np.concatenate([corners, corners + 8, rng.integers(0, 2, (len(corners), 1))], axis=1).astype(float)
        n = draw(st.integers(0, 7))
        anywhere = np.array([[3.0, 3, 12, 12, 0]])
        near = (objects if len(objects) else anywhere)[rng.integers(0, max(1, len(objects)), n)]
        boxes = near[:, :4] + rng.integers(-2, 3, (n, 4))
        scores = np.sort(rng.permutation(1000)[:n] / 1000)[::-1]
        labels = np.where(rng.random(n) < 0.8, near[:, 4].astype(int) % 2, rng.integers(0, 2, n))
        found.append(Detections(boxes, scores, labels))
        true.append(objects)
    return found, true


@given(scenes(), st.sampled_from([101, 11, None]), st.sampled_from([0.5, 0.75]))
def test_another_implementation(drawn, points, iou_threshold):
    found, true = drawn
    expected = [by_thresholds(found, true, label, iou_threshold, points) for label in (0, 1)]
    np.testing.assert_allclose(average_precision(found, true, 2, iou_threshold, points), expected, rtol=1e-12)


BOX = [0.0, 0, 10, 10]
AWAY = [50.0, 50, 60, 60]


def image(boxes, scores):
    return Detections(np.array(boxes, float).reshape(-1, 4), np.array(scores, float), np.zeros(len(scores), np.int64))


def objects(*boxes):
    return np.array([[*box, 0] for box in boxes], float).reshape(-1, 5)


@pytest.mark.parametrize(
    ("right", "count", "whole", "at_101"),
    [
        ([1, 1, 1], 3, 1.0, 1.0),
        ([0, 0, 0], 3, 0.0, 0.0),
        ([], 3, 0.0, 0.0),
        ([1], 2, 0.5, 51 / 101),  # recalls 0, 0.01, ..., 0.5: 51 of 101
        ([0, 1], 1, 0.5, 0.5),  # precision 1/2 at every recall
        ([1, 0, 1, 0, 0, 1], 4, 1 / 4 + 2 / 12 + 1 / 8, (26 * 1 + 25 * 2 / 3 + 25 * 1 / 2) / 101),  # the page's
        ([1, 0, 0, 1], 2, 1 / 2 + 1 / 4, (51 * 1 + 50 * 1 / 2) / 101),
        ([0, 1, 1], 2, 2 / 3, 2 / 3),  # 1/2 at first, but 2/3 comes later
    ],
)
def test_by_hand(right, count, whole, at_101):
    assert area(np.array(right, bool), count, None) == pytest.approx(whole)
    assert area(np.array(right, bool), count, 101) == pytest.approx(at_101)


def test_a_second_box_on_the_same_object_is_wrong():
    found = [image([BOX, BOX], [0.9, 0.8])]
    assert average_precision(found, [objects(BOX)], 1)[0] == 1  # after the object was found at full precision
    assert average_precision(found, [objects(BOX, AWAY)], 1, points=None)[0] == 0.5
    assert match(found[0].boxes, found[0].scores, objects(BOX)[:, :4], 0.5).tolist() == [True, False]


def test_two_objects_that_overlap_are_both_found():
    """Both boxes lie nearest the first object; the second takes what is left."""
    near = [1.0, 0, 11, 10]
    found = [image([BOX, BOX], [0.9, 0.8])]
    assert average_precision(found, [objects(BOX, near)], 1)[0] == 1


def test_an_iou_of_exactly_the_threshold_counts():
    assert average_precision([image([[0.0, 0, 10, 5]], [0.9])], [objects(BOX)], 1)[0] == 1
    assert average_precision([image([[0.0, 0, 10, 4.9]], [0.9])], [objects(BOX)], 1)[0] == 0


def test_a_box_finds_objects_of_its_own_image_only():
    assert average_precision([image([BOX], [0.9]), image([], [])], [objects(), objects(BOX)], 1)[0] == 0


def test_precision_and_recall_by_hand():
    found = [image([BOX, BOX, AWAY], [0.9, 0.8, 0.3]), image([BOX], [0.7])]
    true = [objects(BOX, AWAY), objects()]
    assert precision_and_recall(found, true, 0.5) == (1 / 3, 1 / 2)  # one of three boxes, one of two objects
    assert precision_and_recall(found, true, 0.1) == (2 / 4, 2 / 2)
    assert precision_and_recall(found, true, 0.95) == (0, 0)


def test_a_class_without_objects_has_none():
    found, true = [image([BOX], [0.9])], [objects(BOX)]
    first, second = average_precision(found, true, 2)
    assert first == 1 and np.isnan(second)
    assert np.isnan(average_precision([image([BOX], [0.9])], [objects()], 1)[0])


def test_images_must_be_as_many():
    with pytest.raises(ValueError, match=r"^average_precision: 1 images looked at, 2 with objects: must be equal$"):
        average_precision([image([], [])], [objects(), objects()], 1)
