"""Scenes drawn by code: several shapes in one picture, what each pixel shows, and a box around each shape.

For what asks where something is and not only what it is: segmentation learns from the masks, detection from the boxes.
One to four shapes of various sizes, rotations, colours and stripes lie on a clouded background and overlap a little;
light falls across the whole, and noise lies over it.
"""

from typing import NamedTuple

import numpy as np

from minires.data.synthetic import SHAPES, wave
from minires.layers.upsample import interpolation

SCENE_CLASSES = ("background", "disc", "ring", "square", "triangle", "cross")
IGNORE = 255
_TRIES = 20  # to find a place for an object; a crowded picture goes without it


class Scenes(NamedTuple):
    """What `draw_scenes` gives.

    images uint8 (N, H, W, 3).
    masks uint8 (N, H, W): each pixel's class, an index into SCENE_CLASSES: 0 the background, IGNORE, 255, what shall
    not count.
    boxes: for each image float32 (k, 5), a row for each object: x1, y1, x2, y2, class. Edges in pixels, half-open: the
    object lies in columns x1 .. x2 - 1 and rows y1 .. y2 - 1, its width is x2 - x1. Tight round the object's visible
    pixels. The class is the mask's number, 1 or more.
    objects uint8 (N, H, W): which object each pixel shows, row 1 + i of the boxes for object i, and 0 for none.
    """

    images: np.ndarray
    masks: np.ndarray
    boxes: list[np.ndarray]
    objects: np.ndarray


def draw_scenes(
    n: int,
    size: int = 64,
    rng: np.random.Generator | int = 0,
    most: int = 4,
    overlap: float = 0.2,
    ignore_borders: bool = False,
) -> Scenes:
    """n scenes of size x size pixels.

    rng: a generator, which is drawn from, or the seed of one. The first images of many are those of few.
    most: the largest number of objects in an image; the least is 1.
    overlap: the largest share of an object's pixels that others hide, 0 .. 0.5. Later objects lie over earlier ones.
    ignore_borders: whether the pixels on both sides of an object's outline get the class IGNORE, as hand-drawn masks
    have it, whose outlines nobody can vouch for.
    A pixel belongs to an object if its middle lies in it. Each object lies whole in the picture.
    Raises ValueError for less than one image or object, more than 254 objects, pictures smaller than 32 pixels and an
    overlap out of range.
    """
    for name, value, low, high in (
        ("n", n, 1, None),
        ("size", size, 32, None),
        ("most", most, 1, 254),
        ("overlap", overlap, 0, 0.5),
    ):
        if not (low <= value and (high is None or value <= high)):
            bounds = f"at least {low}" if high is None else f"{low} to {high}"
            raise ValueError(f"draw_scenes: {name} is {value}, expected {bounds}")
    rng = np.random.default_rng(rng)
    images, objects = np.empty((n, size, size, 3), np.uint8), np.empty((n, size, size), np.uint8)
    masks, boxes = np.empty_like(objects), []
    for i in range(n):
        images[i], objects[i], classes = _draw(size, most, overlap, rng)
        masks[i] = np.array([0, *classes], np.uint8)[objects[i]]
        boxes.append(boxes_of(objects[i], classes))
        if ignore_borders:
            masks[i][_outlines(objects[i])] = IGNORE
    return Scenes(images, masks, boxes, objects)


def boxes_of(objects: np.ndarray, classes: list[int]) -> np.ndarray:
    """boxes float32 (k, 5), x1, y1, x2, y2, class: the smallest that hold what is seen of each of the k objects.

    objects (H, W): 1 + i where object i is seen.   classes: the class of each.
    """
    boxes = np.empty((len(classes), 5), np.float32)
    for i, kind in enumerate(classes):
        rows, columns = np.nonzero(objects == i + 1)
        boxes[i] = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1, kind
    return boxes


def _draw(size, most, overlap, rng):
    """image uint8 (size, size, 3), objects uint8 (size, size), and the class of each object."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) + 0.5
    image = _background(x, y, size, rng)
    objects = np.zeros((size, size), np.uint8)
    classes: list[int] = []
    areas: list[int] = []  # of each object, before others hid some of it
    for _ in range(rng.integers(1, most + 1)):
        kind = int(rng.integers(1, len(SCENE_CLASSES)))
        cover = _find_place(SHAPES[SCENE_CLASSES[kind]], x, y, size, objects, areas, overlap, rng)
        if cover is None:
            continue
        image += cover[..., None] * (_surface(x, y, image, cover, rng) - image)
        classes.append(kind)
        objects[cover >= 0.5] = len(classes)
        areas.append(int((cover >= 0.5).sum()))
    image += rng.uniform(-0.6, 0.6) * (x - size / 2)[..., None] + rng.uniform(-0.6, 0.6) * (y - size / 2)[..., None]
    image += rng.uniform(2, 10) * rng.standard_normal(image.shape, np.float32)
    return np.clip(image, 0, 255).astype(np.uint8), objects, classes


def _find_place(shape, x, y, size, objects, areas, overlap, rng):
    """How much of each pixel (size, size) the shape covers, 0 .. 1, in a place where it hides little; or None."""
    for _ in range(_TRIES):
        radius, angle = size * rng.uniform(0.12, 0.28), rng.uniform(0, 2 * np.pi)
        dx, dy = x - rng.uniform(radius, size - radius), y - rng.uniform(radius, size - radius)
        cos, sin = np.float32(np.cos(angle) / radius), np.float32(np.sin(angle) / radius)
        cover = np.clip(shape(cos * dx + sin * dy, cos * dy - sin * dx) * radius + 0.5, 0, 1).astype(np.float32)
        left = np.bincount(objects[cover < 0.5], minlength=len(areas) + 1)[1:]
        if all(left >= (1 - overlap) * np.array(areas)):
            return cover
    return None


def _background(x, y, size, rng):
    """image float32 (size, size, 3): clouds of two colours, and waves."""
    cells = int(rng.integers(3, 8))
    rows = interpolation(cells, size, x)
    share = (rows @ rng.random((cells, cells), np.float32) @ rows.T)[..., None]
    first = rng.uniform(40, 215, 3).astype(np.float32)
    second = np.clip(first + rng.uniform(-60, 60, 3), 0, 255).astype(np.float32)
    return first + share * (second - first) + _stripes(x, y, 12, rng)


def _surface(x, y, image, cover, rng):
    """image float32 (size, size, 3): a colour that differs from what lies around, with stripes."""
    around = image[cover > 0].mean(axis=0)
    offset = rng.uniform(-1, 1, 3)
    offset *= rng.uniform(90, 180) / np.linalg.norm(offset)
    colours = [np.clip(around + sign * offset, 0, 255) for sign in (1, -1)]
    colour = max(colours, key=lambda colour: np.abs(colour - around).sum())
    return colour.astype(np.float32) + _stripes(x, y, 25, rng)


def _stripes(x, y, most, rng):
    """A wave (size, size, 1) of a random height up to `most`."""
    angle, phase = rng.uniform(0, 2 * np.pi, 2)
    return np.float32(rng.uniform(0, most)) * wave(x, y, rng.uniform(0.15, 2.2), angle, phase)[..., None]


def _outlines(objects):
    """Where (H, W) a neighbour, above, below or beside, shows something else."""
    edges = np.zeros(objects.shape, bool)
    down, across = objects[1:] != objects[:-1], objects[:, 1:] != objects[:, :-1]
    edges[1:] |= down
    edges[:-1] |= down
    edges[:, 1:] |= across
    edges[:, :-1] |= across
    return edges
