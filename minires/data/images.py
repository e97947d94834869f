"""Pictures from files, of any kind that Pillow reads, and folders of them as a data set."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from minires.data.dataset import Dataset, DatasetError

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_PIXELS = 178_000_000  # of one picture; a file of a few bytes may claim any number. Pillow stops a little later
LONGEST = 16  # longer sides, in shorter ones: what lies further out is cut off before it is scaled


def open_image(path: str | Path) -> "Image":
    """The picture in a file, upright, as a Pillow image in RGB.

    It is turned as its EXIF orientation says; transparency is laid on white, grey, palette, CMYK and 16-bit pictures
    are converted; of several frames it is the first. Raises DatasetError for what is no picture, damaged or too large.
    """
    from PIL import Image, ImageOps

    too_many = f"{path}: it has more pixels than {MOST_PIXELS:,}, the limit: make it smaller first"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path)
        with image:
            if image.width * image.height > MOST_PIXELS:
                raise DatasetError(too_many)
            if image.mode == "F":
                raise DatasetError(f"{path}: its pixels are floating-point numbers: convert it to 8 bits a colour")
            return _as_rgb(ImageOps.exif_transpose(image))
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: no such file: name a picture, such as photo.jpg") from error
    except IsADirectoryError as error:
        raise DatasetError(f"{path}: is a folder: name the pictures in it, such as {path}/photo.jpg") from error
    except Image.DecompressionBombError as error:
        raise DatasetError(too_many) from error
    except DatasetError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever they like
        if isinstance(error, OSError) and error.errno:
            raise DatasetError(f"{path}: cannot be read ({error.strerror}): check its permissions") from error
        reason = "is not a picture that Pillow reads" if "cannot identify" in str(error) else f"is damaged ({error})"
        raise DatasetError(f"{path}: {reason}: use another file, or convert it to PNG or JPEG") from error


def _as_rgb(image):
    from PIL import Image

    if image.mode.startswith("I;16") or image.mode == "I":  # grey of 16 bits, which convert() would clip
        pixels = np.asarray(image).astype(np.uint32)
        image = Image.fromarray((pixels >> (8 if pixels.max(initial=0) > 255 else 0)).astype(np.uint8))
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


@dataclass(frozen=True)
class Preprocessing:
    """What a set of weights expects of its images; it was trained so, and is right about no others.

        x = (pixels / 255 - mean) / std

    mean, std       three floats each, in the network's order of channels
    order           "RGB", or "BGR" as Caffe's weights and those of keras.applications want it
    size            side of the square that the network sees, pixels
    resize          the shorter side is scaled to this and the middle cut out; None: both sides are scaled to `size`
    interpolation   "bilinear" or "bicubic"
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    order: str = "RGB"
    size: int = 224
    resize: int | None = 256
    interpolation: str = "bilinear"

    def __post_init__(self):
        if self.order not in ("RGB", "BGR"):
            raise ValueError(f"Preprocessing: unknown order {self.order!r}: choose RGB or BGR")
        if self.interpolation not in ("bilinear", "bicubic"):
            raise ValueError(f"Preprocessing: unknown interpolation {self.interpolation!r}: choose bilinear or bicubic")
        if len(self.mean) != 3 or len(self.std) != 3 or not min(self.std) > 0:
            raise ValueError(
                f"Preprocessing: mean {self.mean} and std {self.std}: give three numbers each, std above 0"
            )
        sides = [side for side in (self.size, self.resize) if side is not None]
        if not all(isinstance(side, int) for side in sides) or not 1 <= sides[0] <= sides[-1] <= 10_000:
            raise ValueError(f"Preprocessing: size {self.size}, resize {self.resize}: 1 <= size <= resize <= 10000")
        object.__setattr__(self, "mean", tuple(map(float, self.mean)))
        object.__setattr__(self, "std", tuple(map(float, self.std)))

    def pixels(self, image: "Image") -> np.ndarray:
        """uint8 (size, size, 3) of a Pillow image in RGB, in the network's order of channels; not yet normalised."""
        width, height = image.size
        if self.resize is None:
            width = height = self.size
        else:  # torchvision's Resize and CenterCrop
            shorter = min(width, height)
            image = _middle(image, LONGEST * shorter)
            width, height = image.size
            width, height = (max(1, side * self.resize // shorter) for side in (width, height))
        image = image.resize((width, height), {"bilinear": 2, "bicubic": 3}[self.interpolation])
        left, top = round((width - self.size) / 2), round((height - self.size) / 2)
        pixels = np.asarray(image)[top : top + self.size, left : left + self.size]
        return np.ascontiguousarray(pixels if self.order == "RGB" else pixels[:, :, ::-1])


def _middle(image, most):
    """The image without what lies further from its middle than `most` / 2 pixels."""
    width, height = (min(side, most) for side in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height)) if (width, height) != image.size else image


def read_image_folder(
    folder: str | Path,
    preprocessing: Preprocessing,
    test_folder: str | Path | None = None,
    test_share: float = 0.2,
    seed: int = 0,
    skip_broken: bool = False,
    tell: Callable[[str], None] = print,
) -> Dataset:
    """The pictures of a folder with one sub-folder for each class, as a Dataset of uint8 (N, size, size, 3).

    Classes are the sub-folders in order of their names; a picture may lie deeper in one. The test part is another such
    folder, or else `test_share` of each class, drawn with `seed`. Every broken file is told; they raise one
    DatasetError, or are left out with skip_broken.
    """
    folder, rng = Path(folder), np.random.default_rng(seed)
    classes = class_folders(folder)
    pictures = _read_classes(folder, classes, preprocessing, skip_broken, tell)
    if test_folder is None:
        parts = [_split(of_class, max(1, round(test_share * len(of_class))), rng) for of_class in pictures]
        train, test = zip(*parts, strict=True)
    else:
        if class_folders(test_folder) != classes:
            raise DatasetError(f"{test_folder}: its sub-folders are not those of {folder}: give them the same names")
        train, test = pictures, _read_classes(Path(test_folder), classes, preprocessing, skip_broken, tell)
    label = f"pictures in {folder.name}"
    return Dataset("folder", label, tuple(classes), *_mixed(train, rng), *_mixed(test, rng))


def class_folders(folder: str | Path) -> list[str]:
    """The sub-folders' names, in order. Raises DatasetError unless there are two or more."""
    folder = Path(folder)
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder: name one that holds a sub-folder of pictures for each class")
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(classes) < 2:
        raise DatasetError(f"{folder}: {len(classes)} sub-folders, at least 2 are needed: one for each class")
    return classes


def _read_classes(folder, classes, preprocessing, skip_broken, tell):
    """[[pixels of each picture of a class] for each class], each in order of the files' names."""
    pictures: list = []
    broken = 0
    for name in classes:
        pictures.append([])
        for path in sorted(path for path in (folder / name).rglob("*") if path.is_file() and path.name[0] != "."):
            try:
                pictures[-1].append(preprocessing.pixels(open_image(path)))
            except DatasetError as error:
                broken += 1
                tell(f"broken: {error}")
    if broken and not skip_broken:
        files = "file" if broken == 1 else "files"
        raise DatasetError(f"{folder}: {broken} broken {files}, listed above: mend them or give skip_broken=True")
    for name, of_class in zip(classes, pictures, strict=True):
        if len(of_class) < 2:
            raise DatasetError(f"{folder / name}: {len(of_class)} pictures, at least 2 are needed: one is for the test")
    return pictures


def _split(pictures, count, rng):
    """(the others, `count` of them drawn at random)"""
    order = rng.permutation(len(pictures))
    return [pictures[index] for index in sorted(order[count:])], [pictures[index] for index in sorted(order[:count])]


def _mixed(pictures, rng):
    """(images, labels) of all classes in a random order, so that the first N are of all of them."""
    labels = np.concatenate([np.full(len(of_class), label) for label, of_class in enumerate(pictures)])
    images = np.stack([picture for of_class in pictures for picture in of_class])
    order = rng.permutation(len(labels))
    return images[order], labels[order].astype(np.int64)
