"""Images with boxes around what is in them, and where they come from when nobody gives any: scenes drawn by code."""

from typing import NamedTuple

import numpy as np

from minires.data.scenes import SCENE_CLASSES, draw_scenes


class BoxedImages(NamedTuple):
    """images uint8 (N, S, S, 3); of each its boxes, (k, 5) float32: x1, y1, x2, y2 in its pixels, and the class, from
    0; the classes' names.
    """

    images: np.ndarray
    boxes: list[np.ndarray]
    classes: tuple[str, ...]

    def part(self, numbers: np.ndarray) -> "BoxedImages":
        """Those of these numbers."""
        return BoxedImages(self.images[numbers], [self.boxes[n] for n in numbers], self.classes)


def drawn_scenes(n: int, size: int = 64, rng: np.random.Generator | int = 0) -> BoxedImages:
    """n scenes of `draw_scenes`, whose background is no class here."""
    scenes = draw_scenes(n, size, rng)
    boxes = [np.concatenate([of_image[:, :4], of_image[:, 4:] - 1], axis=1) for of_image in scenes.boxes]
    return BoxedImages(scenes.images, boxes, SCENE_CLASSES[1:])
