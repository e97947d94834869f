"""People's own pictures and their masks, from two folders, paired by name."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from minires.data.dataset import DatasetError
from minires.data.images import open_image
from minires.data.limits import NotThisPicture
from minires.data.opened import with_image
from minires.data.scan import Skipped, pictures_in
from minires.losses.pixel_cross_entropy import IGNORE
from minires.segmentation.colours import Colours
from minires.wording import readable

if TYPE_CHECKING:
    from PIL.Image import Image

BILINEAR, NEAREST = 2, 0  # of Pillow
NUMBERS = ("1", "L", "P", "I", "I;16", "I;16B")  # modes of Pillow whose pixels are numbers, not colours


class Masked(NamedTuple):
    """Images uint8 (N, S, S, 3), their masks uint8 (N, S, S), and the names of the classes."""

    images: np.ndarray
    masks: np.ndarray
    classes: tuple[str, ...]

    def part(self, index: np.ndarray) -> "Masked":
        """Those of these numbers."""
        return Masked(self.images[index], self.masks[index], self.classes)


def read_masked(
    images: str | Path,
    masks: str | Path,
    size: int,
    colours: Colours | None = None,
    names: Sequence[str] | None = None,
) -> Masked:
    """The pictures of one folder with the masks of the other that have their names, without the endings.

    A mask is a picture of its image's size whose pixels are numbers of classes, 255 where none counts: a grey PNG, or
    one with a palette, whose colours mean nothing; with `colours`, their table says which class a colour is.
    size: side of what both are made: the shorter side is scaled to it and the middle square cut out, the image
    bilinearly, the mask by its nearest pixels.   names: of the classes; None: those of `colours`, or numbers.
    Raises DatasetError for pictures without masks and masks without pictures, other sizes, values that are no class,
    and whatever cannot be read.
    """
    pairs = _pairs(Path(images), Path(masks))
    known = colours.classes if names is None and colours is not None else names
    pictures, labels = [], []
    first_with: dict[int, Path] = {}
    for image_path, mask_path in pairs.values():
        image, mask = open_image(image_path), read_mask(mask_path, colours)
        if image.size != mask.shape[::-1]:
            (W, H), (h, w) = image.size, mask.shape
            raise DatasetError(
                f"{_shown(mask_path)}: has {w}x{h} pixels, its image {image_path.name} {W}x{H}: make them of one size"
            )
        for value in _check_values(mask_path, mask, known):
            first_with.setdefault(value, mask_path)
        pictures.append(squared(image, size, BILINEAR))
        labels.append(_squared_mask(mask, size))
    return Masked(np.stack(pictures), np.stack(labels), _numbered(first_with) if known is None else tuple(known))


def read_mask(path: str | Path, colours: Colours | None = None) -> np.ndarray:
    """uint8 (H, W), the classes in a file. Raises DatasetError as `read_masked`."""
    return with_image(path, lambda image: _classes_of(image, colours))


def squared(image: "Image", size: int, resample: int) -> np.ndarray:
    """The middle square of a picture whose shorter side is scaled to `size`, as an array."""
    width, height = (max(size, round(side * size / min(image.size))) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    return np.asarray(image.resize((width, height), resample).crop((left, top, left + size, top + size)))


def _squared_mask(mask, size):
    from PIL import Image

    return squared(Image.fromarray(mask), size, NEAREST)


def _classes_of(image, colours):
    """The numbers in an opened mask."""
    if image.format in ("JPEG", "MPO"):
        raise NotThisPicture("is a JPEG, which changes numbers a little when it is saved: give masks as PNG")
    image.load()
    if colours is not None:
        if "A" in image.getbands() and np.asarray(image.getchannel("A")).min() < 255:
            raise NotThisPicture("is transparent in places, which is no colour: save it without transparency")
        return colours.classes_of(np.asarray(image.convert("RGB")))
    if image.mode not in NUMBERS:
        raise NotThisPicture(
            f"is a picture of colours ({image.mode}), and what they mean is not said: give colors=FILE, a line "
            '"R G B name" for each, or save it with a palette'
        )
    numbers = np.asarray(image)
    if numbers.max() > IGNORE or numbers.min() < 0:
        worst = numbers.max() if numbers.max() > IGNORE else numbers.min()
        raise NotThisPicture(f"has the value {worst}, expected classes from 0 and {IGNORE} for what does not count")
    return numbers.astype(np.uint8)


def _check_values(path, mask, known):
    """The classes in a mask. Raises DatasetError for one that is not known, and where no pixel counts."""
    values = np.unique(mask[mask != IGNORE]).tolist()
    if not values:
        raise DatasetError(f"{_shown(path)}: no pixel of it counts, all are {IGNORE}: leave the picture and it out")
    if known is not None and values[-1] >= len(known):
        raise DatasetError(
            f"{_shown(path)}: has the value {values[-1]}, and there are {len(known)} classes, 0 to {len(known) - 1}, "
            f"and {IGNORE} for what does not count: mend it, or name more classes"
        )
    return values


def _numbered(first_with: dict[int, Path]) -> tuple[str, ...]:
    """Names for classes that have none. Raises DatasetError where a number between them is in no mask.

    first_with: {value: the first mask that has it}.
    """
    largest = max(first_with)
    missing = [value for value in range(largest) if value not in first_with]
    if missing:
        raise DatasetError(
            f"{_shown(first_with[largest])}: has the value {largest}, and no mask has {missing[0]}: mend it, make it "
            f"{IGNORE} where nothing counts, or name all classes with names=FILE"
        )
    if largest == 0:
        raise DatasetError(f"{_shown(first_with[0])} and all others show class 0 alone: give masks of two or more")
    return tuple(f"class {number}" for number in range(largest + 1))


def _pairs(images, masks):
    """{name: (image, mask)}, in order of the names."""
    of_images, of_masks = _by_name(images), _by_name(masks)
    for one, other, path, what in (
        (of_images, of_masks, masks, "mask"),
        (of_masks, of_images, images, "image"),
    ):
        if alone := [one[name] for name in one if name not in other]:
            more = f", and {len(alone) - 1:,} others likewise" if len(alone) > 1 else ""
            raise DatasetError(
                f"{_shown(alone[0])}: has no {what} of its name in {_shown(path)}{more}: add it, or take the other away"
            )
    return {name: (of_images[name], of_masks[name]) for name in of_images}


def _by_name(folder: Path) -> Mapping[str, Path]:
    """{path without its ending: path} of the pictures in a folder."""
    if not folder.is_dir():
        raise DatasetError(f"{_shown(folder)}: is no folder: name one with pictures in it")
    found: dict[str, Path] = {}
    for name in pictures_in(folder, Skipped()):
        key = str(Path(name).with_suffix(""))
        if key in found:
            raise DatasetError(f"{_shown(folder / name)}: {found[key].name} has the same name: keep one of them")
        found[key] = folder / name
    if not found:
        raise DatasetError(f"{_shown(folder)}: holds no pictures: name another folder")
    return found


def _shown(path):
    return readable(str(path), 300)
