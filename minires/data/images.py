"""Pictures from files, of the kinds that Pillow decodes by itself, made ready as a set of weights wants them."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from minires.data.dataset import DatasetError
from minires.data.limits import NotThisPicture
from minires.data.opened import with_image

if TYPE_CHECKING:
    from PIL.Image import Image

BAND = 2**22  # pixels that are converted at a time
TURNED = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # EXIF's orientation: what PIL.Image.Transpose makes upright
LONGEST = 16  # longer sides, in shorter ones: what lies further out is cut off before it is scaled


def open_image(path: str | Path | BinaryIO, value_range: tuple[float, float] | None = None) -> "Image":
    """The picture in a file, upright, as a Pillow image in RGB.

    It is turned as its EXIF orientation says; transparency is laid on white, grey, palette and CMYK pictures are
    converted; of several frames it is the first. Grey pictures of more than 8 bits are scaled from value_range, (low,
    high), or else from the range of their type (`deep_range`); what lies outside is black or white.
    Raises DatasetError for what is no picture, damaged or too large, and for a range that is none.
    """
    check_range(value_range)
    return with_image(path, lambda image: as_rgb(image, value_range))


def check_range(value_range: tuple[float, float] | None) -> None:
    """Raises DatasetError unless it is None, or two finite numbers of which the first is the lower."""
    if value_range is not None and not -math.inf < value_range[0] < value_range[1] < math.inf:
        raise DatasetError(
            f"the range of pictures of more than 8 bits is {value_range[0]} to {value_range[1]}: expected two finite "
            "numbers, what is black and then what is white, which is more"
        )


def as_rgb(image: "Image", value_range: tuple[float, float] | None = None) -> "Image":
    """An opened picture, upright and in RGB: see open_image. There are never more than two of it in memory."""
    from PIL import Image

    deep = deep_range(image)
    if deep is None and value_range is not None and is_deep_colour(image):
        raise NotThisPicture("is in colour, of 16 bits: no range can be chosen for it: convert it to 8 bits a colour")
    image.load()
    turned = TURNED.get(image.getexif().get(0x0112, 1))
    if deep is not None:
        image = _of_bands(image, lambda band: _grey(deep_pixels(band, deep), *(value_range or deep[1:])))
    elif "A" in image.getbands() or "transparency" in image.info:
        image = _of_bands(image, _on_white)
    elif image.mode != "RGB":
        image = image.convert("RGB")
    return image.transpose(Image.Transpose(turned)) if turned is not None else image


def _of_bands(image, function):
    """function(band) of one band of rows after the other, as a picture in RGB."""
    from PIL import Image

    made = Image.new("RGB", image.size)
    height = max(1, BAND // image.width)
    for top in range(0, image.height, height):
        made.paste(function(image.crop((0, top, image.width, min(top + height, image.height)))), (0, top))
    return made


def _grey(pixels, low, high):
    from PIL import Image

    return Image.fromarray(_as_bytes(pixels, low, high)).convert("RGB")


def _on_white(image):
    from PIL import Image

    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def deep_range(image: "Image") -> tuple[str, float, float] | None:
    """(what its pixels are, lowest, highest) of a grey picture of more than 8 bits, by its type; None for others.

    Floating-point numbers go from 0 to 1, integers from 0 to the largest of their bits; no pixel is looked at.
    """
    if image.mode == "F":
        return "floating-point numbers", 0.0, 1.0
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return None
    tags = getattr(image, "tag_v2", {})  # of a TIFF: 258 bits, 339 kind of number, 2 is signed
    usual = 16 if image.mode != "I" or image.format in ("PNG", "PPM") else 32
    bits = int(tags[258][0]) if 258 in tags else usual
    signed = (int(tags[339][0]) if 339 in tags else 1 if image.format in ("PNG", "PPM", "TIFF") else 2) == 2
    bits = min(bits, 32)
    return f"{'signed ' if signed else ''}integers of {bits} bits", 0, 2 ** (bits - signed) - 1


def is_deep_colour(image: "Image") -> bool:
    """Whether Pillow reads the higher bytes alone of a picture of 16 bits a colour."""
    tiles = getattr(image, "tile", ())  # what Pillow has found in the file
    return image.mode != "I" and any("16" in str(tile[3]) and not image.mode.startswith("I;") for tile in tiles)


def deep_pixels(image: "Image", deep: tuple[str, float, float]) -> np.ndarray:
    """The numbers of a grey picture of more than 8 bits, (H, W): integers as int64, or float32."""
    pixels = np.asarray(image)
    if deep[0] == "integers of 32 bits":
        pixels = pixels.view(np.uint32)  # Pillow takes them for signed ones
    return pixels if pixels.dtype.kind == "f" else pixels.astype(np.int64)


def _as_bytes(pixels, low, high):
    """uint8, low becomes 0 and high 255: 256 equal steps of many integers, else rounded to the nearest."""
    if pixels.dtype.kind != "f" and low == int(low) and high == int(high) and high - low >= 255:
        low, high = int(low), int(high)
        return ((np.clip(pixels, low, high) - low) * 256 // (high - low + 1)).astype(np.uint8)
    if not np.isfinite(pixels).all():
        raise NotThisPicture("has pixels that are no finite numbers (NaN or infinity): replace them")
    scaled = (pixels.astype(np.float64) - low) * (255 / (high - low))
    return np.clip(np.round(scaled), 0, 255).astype(np.uint8)


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
        if not all(-1000 <= number <= 1000 for number in self.mean) or not all(1e-6 <= n <= 1000 for n in self.std):
            raise ValueError(f"Preprocessing: mean {self.mean}, std {self.std}: for pixels from 0 to 1, at most 1000")
        sides = [self.size] if self.resize is None else [self.size, self.resize]
        if not all(type(side) is int for side in sides) or not 1 <= sides[0] <= sides[-1] <= 10_000:
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
