"""Pictures with the boxes that were found in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from minires.columns import cut
from minires.detection.average_precision import Detections
from minires.inspection.pictures.figures import image_grid
from minires.wording import readable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#d62728", "#1f77b4", "#2ca02c", "#ff7f0e", "#9467bd", "#e377c2", "#17becf", "#8c564b")


def draw_detections(
    images: Sequence[np.ndarray],
    found: Sequence[Detections],
    classes: Sequence[str],
    true: Sequence[np.ndarray] | None = None,
    columns: int = 4,
    inches: float = 2.4,
) -> Figure:
    """Each image with its boxes, one colour a class, and the class and score above each box. Returns a Figure.

    images: uint8 (H, W, 3) in RGB.   true: of each image the objects (k, 5), drawn as thin white boxes, or None.
    """
    figure, axes = image_grid(len(images), columns, inches, inches)
    for number, (one, image, of_image) in enumerate(zip(axes, images, found, strict=True)):
        one.imshow(image)
        for x1, y1, x2, y2 in true[number][:, :4] if true is not None else ():
            _outline(one, (x1, y1, x2, y2), "white", 0.8, "--")
        for box, score, label in zip(*of_image, strict=True):
            colour = COLOURS[label % len(COLOURS)]
            _outline(one, box, colour, 1.8)
            text = f"{cut(readable(classes[label], 300), 24)} {score:.2f}".replace("$", r"\$")
            x, y = box[:2] - 0.5
            plate = {"facecolor": colour, "edgecolor": "none", "pad": 0.8, "alpha": 0.85}
            one.text(x, max(y, 0), text, fontsize=7, color="white", va="bottom", bbox=plate, clip_on=True)
    return figure


def _outline(axes, box, colour, width, style="-"):
    from matplotlib.patches import Rectangle

    x1, y1, x2, y2 = (float(value) - 0.5 for value in box)  # the middle of the first pixel is 0 to matplotlib
    axes.add_patch(
        Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=width, linestyle=style)
    )
