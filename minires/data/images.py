"""Pictures from files, of any kind that Pillow reads, made ready as a set of weights wants them."""

import io
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar

import numpy as np

from minires.data.dataset import DatasetError
from minires.data.scan import readable

if TYPE_CHECKING:
    from PIL.Image import Image

Result = TypeVar("Result")
MOST_PIXELS = 178_000_000  # of one picture; a file of a few bytes may claim any number. Pillow stops a little later
_warnings = threading.Lock()  # a process has one set of filters of warnings, and pictures are opened in many threads
LONGEST = 16  # longer sides, in shorter ones: what lies further out is cut off before it is scaled


def open_image(path: str | Path | BinaryIO, value_range: tuple[float, float] | None = None) -> "Image":
    """The picture in a file, upright, as a Pillow image in RGB.

    It is turned as its EXIF orientation says; transparency is laid on white, grey, palette and CMYK pictures are
    converted; of several frames it is the first. Grey pictures of more than 8 bits are scaled from value_range, (low,
    high), or else from the range of their type (`deep_range`); what lies outside is black or white.
    Raises DatasetError for what is no picture, damaged or too large.
    """
    return with_image(path, lambda image: as_rgb(image, value_range))


def with_image(path: str | Path | BinaryIO, function: Callable[["Image"], Result], name: str | None = None) -> Result:
    """function(image) of the picture in a file, which Pillow has opened but not decoded; errors are DatasetErrors.

    name: what errors call it, where that is not its path.
    """
    from PIL import Image

    name = readable(str(path), 300) if name is None else name
    too_many = f"{name}: it has more pixels than {MOST_PIXELS:,}, the limit: make it smaller first"
    try:
        with _opened(path) as image:
            if image.width * image.height > MOST_PIXELS:
                raise DatasetError(too_many)
            return function(image)
    except FileNotFoundError as error:
        raise DatasetError(f"{name}: no such file: name a picture, such as photo.jpg") from error
    except IsADirectoryError as error:
        raise DatasetError(f"{name}: is a folder: name the pictures in it, such as {name}/photo.jpg") from error
    except Image.DecompressionBombError as error:
        raise DatasetError(too_many) from error
    except NotThisPicture as error:
        raise DatasetError(f"{name}: {error}") from error
    except DatasetError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever they like
        if isinstance(error, OSError) and error.errno:
            raise DatasetError(f"{name}: cannot be read ({error.strerror}): check its permissions") from error
        reason = "is not a picture that Pillow reads" if "cannot identify" in str(error) else f"is damaged ({error})"
        raise DatasetError(f"{name}: {reason}: use another file, or convert it to PNG or JPEG") from error


class NotThisPicture(ValueError):
    """A whole picture that cannot be read as it was asked for; the message says why, and the cure."""


def _opened(path):
    """The picture, opened by Pillow; one with more text in it than Pillow reads is opened without its text."""
    from PIL import Image

    with _warnings, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            return Image.open(path)
        except ValueError as error:
            if "too large" not in str(error).lower() and "too much memory" not in str(error).lower():
                raise
            return Image.open(io.BytesIO(without_text(_content(path))))


def _content(path):
    if hasattr(path, "read"):
        path.seek(0)
        return path.read()
    return Path(path).read_bytes()


def without_text(png: bytes) -> bytes:
    """A PNG without its texts and colour profile, which may unpack to any size: its pixels are all there."""
    texts = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
    return png[:8] + b"".join(png[at:end] for name, at, end in png_chunks(png) if name not in texts)


def png_chunks(png: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(name, start, end) of what a PNG consists of: after 8 bytes, each chunk is 4 bytes length, 4 name, content, 4
    checksum."""
    at = 8
    while at + 8 <= len(png):
        end = at + 12 + int.from_bytes(png[at : at + 4], "big")
        yield png[at + 4 : at + 8], at, end
        at = end


def as_rgb(image: "Image", value_range: tuple[float, float] | None = None) -> "Image":
    """An opened picture, upright and in RGB: see open_image."""
    from PIL import Image, ImageOps

    deep = deep_range(image)
    if deep is None and value_range is not None and is_deep_colour(image):
        raise NotThisPicture("is in colour, of 16 bits: no range can be chosen for it: convert it to 8 bits a colour")
    image = ImageOps.exif_transpose(image)
    if deep is not None:
        image = Image.fromarray(_as_bytes(deep_pixels(image, deep), *(value_range or deep[1:])))
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


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
        sides = [side for side in (self.size, self.resize) if side is not None]
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
