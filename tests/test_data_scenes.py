"""The scenes drawn by code: masks, boxes and pictures tell of the same objects."""

import numpy as np
import pytest

from minires.data.scenes import IGNORE, SCENE_CLASSES, boxes_of, draw_scenes


@pytest.fixture(scope="module")
def scenes():
    return draw_scenes(200, rng=3)


def test_images_masks_and_boxes_are_as_promised(scenes):
    assert scenes.images.shape == (200, 64, 64, 3) and scenes.images.dtype == np.uint8
    assert scenes.masks.shape == scenes.objects.shape == (200, 64, 64)
    assert scenes.masks.dtype == scenes.objects.dtype == np.uint8
    assert set(np.unique(scenes.masks)) == set(range(len(SCENE_CLASSES)))
    assert len(scenes.boxes) == 200 and all(b.dtype == np.float32 and b.shape[1] == 5 for b in scenes.boxes)
    assert {len(boxes) for boxes in scenes.boxes} == {1, 2, 3, 4}
    assert scenes.images.min() < 20 and scenes.images.max() > 235


def test_a_box_is_tight_round_what_is_seen_of_its_object(scenes):
    """By a loop over the pixels: the box holds all of the object's, and one on each of its four edges."""
    for objects, boxes in zip(scenes.objects[:20], scenes.boxes, strict=False):
        assert objects.max() == len(boxes)
        for number, (x1, y1, x2, y2, _) in enumerate(boxes.tolist(), 1):
            pixels = [(x, y) for y in range(64) for x in range(64) if objects[y, x] == number]
            assert all(x1 <= x < x2 and y1 <= y < y2 for x, y in pixels)
            assert {x1, x2 - 1} <= {x for x, _ in pixels} and {y1, y2 - 1} <= {y for _, y in pixels}


def test_a_box_of_one_pixel_has_width_and_height_one():
    objects = np.zeros((5, 7), np.uint8)
    objects[3, 2] = 1
    assert boxes_of(objects, [4]).tolist() == [[2, 3, 3, 4, 4]]


def test_the_mask_is_the_class_of_the_object_that_a_pixel_shows(scenes):
    for mask, objects, boxes in zip(scenes.masks, scenes.objects, scenes.boxes, strict=True):
        for number, box in enumerate(boxes, 1):
            assert (mask[objects == number] == box[4]).all() and 1 <= box[4] < len(SCENE_CLASSES)
        assert ((mask == 0) == (objects == 0)).all()


def test_every_object_is_seen_and_differs_from_what_lies_around(scenes):
    near = []
    for image, objects, boxes in zip(scenes.images.astype(float), scenes.objects, scenes.boxes, strict=True):
        for number in range(1, len(boxes) + 1):
            inside = objects == number
            assert inside.sum() >= 20
            near.append(np.abs(image[inside].mean(axis=0) - image[objects == 0].mean(axis=0)).sum())
    assert min(near) > 20 and np.mean(near) > 100


def discs_seen(scenes):
    """The share of each disc that is seen, its whole area being that of the box around it."""
    for objects, boxes in zip(scenes.objects, scenes.boxes, strict=True):
        for number, (x1, y1, x2, y2, kind) in enumerate(boxes.tolist(), 1):
            if SCENE_CLASSES[int(kind)] == "disc":
                yield (objects == number).sum() / (np.pi / 4 * (x2 - x1) * (y2 - y1))


def test_an_object_hides_no_more_of_another_than_overlap_allows():
    apart, over = (list(discs_seen(draw_scenes(40, rng=1, overlap=overlap))) for overlap in (0, 0.5))
    assert len(apart) > 10 and min(apart) > 0.93
    assert 0.4 < min(over) < 0.9


def test_the_seed_decides_and_the_first_of_many_are_the_few(scenes):
    few, other = draw_scenes(30, rng=np.random.default_rng(3)), draw_scenes(30, rng=4)
    for name in ("images", "masks", "objects"):
        np.testing.assert_array_equal(getattr(few, name), getattr(scenes, name)[:30])
    assert all((a == b).all() for a, b in zip(few.boxes, scenes.boxes[:30], strict=True))
    assert (few.images != other.images).any(axis=(1, 2, 3)).all()


def test_borders_can_be_ignored(scenes):
    ignoring = draw_scenes(30, rng=3, ignore_borders=True)
    np.testing.assert_array_equal(ignoring.objects, scenes.objects[:30])
    for i, (objects, mask) in enumerate(zip(ignoring.objects, ignoring.masks, strict=True)):
        for y, x in np.ndindex(64, 64):
            around = [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
            edge = any(objects[v, u] != objects[y, x] for v, u in around if 0 <= v < 64 and 0 <= u < 64)
            assert mask[y, x] == (IGNORE if edge else scenes.masks[i, y, x])


@pytest.mark.parametrize(
    "options, message",
    [
        ({"n": 0}, "n is 0, expected at least 1"),
        ({"n": 1, "size": 31}, "size is 31, expected at least 32"),
        ({"n": 1, "most": 0}, "most is 0, expected 1 to 254"),
        ({"n": 1, "overlap": 0.6}, "overlap is 0.6, expected 0 to 0.5"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        draw_scenes(**options)


def test_small_and_crowded_pictures_can_be_drawn():
    scenes = draw_scenes(20, size=32, rng=0, most=40)
    assert all(len(boxes) >= 1 and (boxes[:, 2:4] > boxes[:, :2]).all() for boxes in scenes.boxes)
    assert draw_scenes(2, size=97, rng=0).images.shape == (2, 97, 97, 3)
