"""BoxLoader and DetectionTask: boxes go with their images, any batch can be made by itself, AP of what is found."""

import numpy as np
import pytest

from minires.detection import BACKGROUND, Targets, assign_targets, build, positions
from minires.detection.box_loader import BoxLoader, mirrored
from minires.detection.scenes import BoxedImages, drawn_scenes
from minires.detection.task import DetectionTask, mean_of
from minires.training import Interrupted

MEAN, STD = (0.0, 0.0, 0.0), (1 / 255,) * 3  # x is the bytes as they are


def squares(n=7, size=32, seed=0):
    """Images that are black but for a square of 255 - k where object k is, so that boxes can be read off them."""
    rng = np.random.default_rng(seed)
    images, boxes = np.zeros((n, size, size, 3), np.uint8), []
    for image in images:
        x, y, side = *rng.integers(0, size - 12, 2), rng.integers(6, 12)
        image[y : y + side, x : x + side] = 255
        boxes.append(np.array([[x, y, x + side, y + side, 0]], np.float32))
    return BoxedImages(images, boxes, ("square",))


def seen(x):
    """The box around what is white in one image."""
    rows, columns = np.nonzero(x[..., 0] > 128)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def told(targets, where, n):
    """The box that the targets of image n speak of."""
    m = np.flatnonzero(targets.labels[n] != BACKGROUND)[0]
    l, t, r, b = targets.distances[n, m]
    return where.x[m] - l, where.y[m] - t, where.x[m] + r, where.y[m] + b


@pytest.mark.parametrize("mirror", [False, True])
def test_boxes_go_with_their_images(mirror):
    loader = BoxLoader(squares(), 3, MEAN, STD, mirror=mirror, shuffle=True, seed=4)
    sides = []
    for epoch in range(3):
        for x, targets in loader.epoch(epoch):
            for n in range(len(x)):
                np.testing.assert_allclose(told(targets, loader.positions, n), seen(x[n]), atol=1e-4)
                sides.append(seen(x[n]))
    assert len(sides) == 3 * 7
    assert (len(set(sides)) > 7) == mirror  # some were seen both ways


def test_which_images_are_mirrored_is_drawn_for_each_batch():
    loader = BoxLoader(squares(8), 4, MEAN, STD, mirror=True)
    before = [tuple(box[0, :4]) for box in loader.boxes]
    drawn = {
        tuple(seen(image) != its for image, its in zip(x, before[4 * b :], strict=False))
        for epoch in range(2)
        for b, (x, _) in enumerate(loader.epoch(epoch))
    }
    assert len(drawn) == 4


def test_mirrored_by_hand():
    boxes = np.array([[2.0, 3, 10, 7, 1]])
    np.testing.assert_array_equal(mirrored(boxes, 32), [[22, 3, 30, 7, 1]])
    np.testing.assert_array_equal(mirrored(mirrored(boxes, 32), 32), boxes)
    assert mirrored(boxes[:0], 32).shape == (0, 5)


def test_any_batch_can_be_made_by_itself():
    loader = BoxLoader(squares(), 3, MEAN, STD, mirror=True, shuffle=True)
    whole = [*loader.epoch(2)]
    assert len(whole) == len(loader) == 2  # the single image at the end joins the batch before
    for start in (1, 2):
        for (x, targets), (x2, targets2) in zip(loader.epoch(2, start), whole[start:], strict=True):
            np.testing.assert_array_equal(x, x2)
            for one, other in zip(targets, targets2, strict=True):
                np.testing.assert_array_equal(one, other)


def test_data_is_known_again_by_its_boxes():
    boxed = squares()
    before = BoxLoader(boxed, 3, MEAN, STD).labels
    boxed.boxes[3] = boxed.boxes[3] + np.float32(1 / 64)
    assert not np.array_equal(BoxLoader(boxed, 3, MEAN, STD).labels, before)


def test_drawn_scenes():
    boxed = drawn_scenes(6, 64, 0)
    assert boxed.images.shape == (6, 64, 64, 3) and "background" not in boxed.classes
    labels = np.concatenate(boxed.boxes)[:, 4]
    assert labels.min() >= 0 and labels.max() < len(boxed.classes)
    part = boxed.part(np.array([4, 1]))
    np.testing.assert_array_equal(part.images[1], boxed.images[1])
    np.testing.assert_array_equal(part.boxes[0], boxed.boxes[4])


class Oracle:
    """A model that knows the targets."""

    training = True

    def __init__(self, loader, classes=1):
        self.batches = [targets for _, targets in loader.epoch(0)]
        self.classes = classes

    def modules(self):
        return []

    def eval(self):
        return self

    def __call__(self, x):
        labels, distances = self.batches.pop(0)
        logits = np.where(labels[..., None] == np.arange(self.classes), 6.0, -6.0)
        return np.concatenate([logits, distances], axis=-1), None


def test_who_knows_the_targets_has_an_average_precision_of_1():
    loader = BoxLoader(squares(), 3, MEAN, STD)
    found = DetectionTask().evaluate(Oracle(loader), loader, 1)
    assert found.accuracy == 1 and found.class_ap75.tolist() == [1]
    assert len(found.found) == 7 and found.loss < 0.01


def test_evaluation_leaves_the_model_as_it_was_and_can_be_stopped():
    loader, model = BoxLoader(squares(), 3, MEAN, STD), build("resnet8", 1, rng=0)
    before = model.state_dict()
    found = DetectionTask().evaluate(model, loader, 1)
    assert model.training and 0 <= found.accuracy <= 1
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    with pytest.raises(Interrupted):
        DetectionTask().evaluate(model, loader, 1, should_stop=lambda: True)


def test_positions_with_objects_are_right_or_wrong():
    where = positions(32)
    boxes = np.array([[0.0, 0, 12, 12, 1], [16, 16, 30, 30, 0]])
    labels, distances = assign_targets(boxes, where)
    targets = Targets(np.stack([labels, np.full_like(labels, BACKGROUND)]), np.stack([distances] * 2))
    y = np.concatenate([np.eye(2)[np.where(labels < 0, 0, labels)], distances], axis=1)[None].repeat(2, axis=0)
    objects = int((labels >= 0).sum())
    assert DetectionTask().count_answers(targets) == DetectionTask().count_right(y, targets) == objects > 4
    y[0, np.flatnonzero(labels == 1)[0], :2] = 1, 0
    assert DetectionTask().count_right(y, targets) == objects - 1
    nothing = Targets(targets.labels[1:], targets.distances[1:])
    assert (DetectionTask().count_answers(nothing), DetectionTask().count_right(y[1:], nothing)) == (1, 0)


def test_mean_of_classes_that_have_objects():
    assert mean_of(np.array([0.5, np.nan, 1.0])) == 0.75
    assert mean_of(np.array([np.nan])) == 0
