"""Figures without a window, and files of them."""

from __future__ import annotations

import io
import math
import sys
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from minires.files import write_atomically
from minires.inspection.pictures.fonts import fit_fonts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, RED, GREEN, GREY = "#1f77b4", "#d62728", "#2ca02c", "#777777"


def new_figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """An empty Figure of so many inches, 110 dots each, that draws into memory."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def image_grid(number: int, columns: int, width: float, height: float) -> tuple[Figure, np.ndarray]:
    """(figure, `number` axes without ticks), in rows of at most `columns`, each of width x height inches."""
    columns = min(columns, number)
    rows = math.ceil(number / columns)
    figure = new_figure(columns * width, rows * height)
    axes = np.ravel(figure.subplots(rows, columns, squeeze=False))
    for one in axes:
        one.set_axis_off()
    return figure, axes[:number]


def write_png(
    figure: Figure, path: str | Path, colours: int | None = None, text: Mapping[str, str] | None = None
) -> None:
    """Write a figure as a PNG.   colours: at most 256, for a file of a third of the size; None: all of them.

    text: entries of the file's metadata. Letters that no font of the machine draws are named on standard error.
    Raises OSError where it cannot be written; a file that stood there before is then as it was.
    """
    from PIL.PngImagePlugin import PngInfo

    fit_letters(figure, path)
    picture, info = _as_image(figure), PngInfo()
    if colours is not None:
        picture = picture.quantize(colours)
    for key, value in (text or {}).items():
        info.add_text(key, value)
    write_atomically(path, _encoded(picture, "PNG", optimize=True, pnginfo=info))


def fit_letters(figure: Figure, path: str | Path) -> None:
    """Give every text the fonts it takes; letters that no font of this machine draws are named on standard error."""
    letters = fit_fonts(figure)
    if letters:
        some = letters if len(letters) <= 20 else f"{letters[:20]} and {len(letters) - 20} more"
        cure = "install one that does, such as Noto Sans CJK"
        print(f"note: {Path(path).name}: no font of this machine draws {some}: {cure}", file=sys.stderr)


def write_gif(figures: Iterable[Figure], path: str | Path, seconds: float = 1.0) -> None:
    """Write figures of one size as an animated GIF without end, each shown for so many seconds, the last three times.

    Raises ValueError where there is no figure, and OSError as `write_png`.
    """
    pictures = [_as_image(figure).quantize(64) for figure in figures]
    if not pictures:
        raise ValueError("write_gif: no figures: give at least one")
    durations = [round(1000 * seconds)] * (len(pictures) - 1) + [round(3000 * seconds)]
    first, *others = pictures
    content = _encoded(first, "GIF", save_all=True, append_images=others, duration=durations, loop=0, optimize=True)
    write_atomically(path, content)


def _as_image(figure):
    from PIL import Image

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure.canvas.draw()
    return Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[:, :, :3])


def _encoded(picture, kind, **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()
