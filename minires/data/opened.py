"""A picture's file, opened by Pillow, which does as a file bids where nobody looks: it starts Ghostscript for what
begins as PostScript, whatever the file is called.

So only regular files are read, only as a format that Pillow decodes by itself, after a look at the header
(`headers`), and only up to a number of pixels. What goes wrong is a DatasetError of one sentence, that names the file.
"""

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from minires.data.dataset import DatasetError
from minires.data.headers import check_header, without_text
from minires.data.limits import NotThisPicture, check_sides
from minires.data.regular import read_regular
from minires.forks import Locked
from minires.wording import readable

if TYPE_CHECKING:
    from PIL.Image import Image

Result = TypeVar("Result")
FORMATS = (
    "JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "MPO", "AVIF", "JPEG2000", "PPM", "TGA", "QOI", "ICO", "ICNS", "DDS",
    "DIB", "PCX", "SGI", "SUN", "XBM", "XPM",
)  # fmt: skip
MOST_BYTES = 2**30  # of a file
_warnings = Locked("opening a picture")  # a process has one set of filters of warnings, and many threads open some


def with_image(path: str | Path | BinaryIO, function: Callable[["Image"], Result], name: str | None = None) -> Result:
    """function(image) of the picture in a file, which Pillow has opened but not decoded; errors are DatasetErrors.

    name: what errors call it, where that is not its path. Of a picture whose text, which is of no use here, unpacks to
    more than Pillow allows, the rest is read: then the function may be called a second time.
    """
    from PIL import Image

    name = readable(str(path), 300) if name is None else name
    try:
        content = picture_bytes(path)
        check_header(content)
        try:
            return _with(content, function)
        except ValueError as error:
            if not content.startswith(b"\x89PNG") or not _is_of_text(str(error).lower()):
                raise
            return _with(without_text(content), function)
    except FileNotFoundError as error:
        raise DatasetError(f"{name}: no such file: name a picture, such as photo.jpg") from error
    except IsADirectoryError as error:
        raise DatasetError(f"{name}: is a folder: name the pictures in it, such as {name}/photo.jpg") from error
    except Image.DecompressionBombError as error:
        most = f"PIL.Image.MAX_IMAGE_PIXELS, {Image.MAX_IMAGE_PIXELS}, lets pass"
        raise DatasetError(f"{name}: has more pixels than {most}: set it higher, or make it smaller") from error
    except NotThisPicture as error:
        raise DatasetError(f"{name}: {error}") from error
    except DatasetError:
        raise
    except Image.UnidentifiedImageError as error:
        known = f"is not a picture of a format that is read ({', '.join(FORMATS)})"
        raise DatasetError(f"{name}: {known}: use another file, or convert it to PNG or JPEG") from error
    except Exception as error:  # Pillow's decoders raise whatever they like
        if isinstance(error, OSError) and error.errno:
            raise DatasetError(f"{name}: cannot be read ({error.strerror}): check its permissions") from error
        reason = readable(str(error), 200) or type(error).__name__
        raise DatasetError(f"{name}: is damaged ({reason}): use another file, or convert it to PNG or JPEG") from error


def _is_of_text(message):
    return "too large" in message or "too much memory" in message


def picture_bytes(path: str | Path | BinaryIO) -> bytes:
    """What is in a file, which has to be a regular one; raises OSError, or NotThisPicture where it is none or huge."""
    if not isinstance(path, (str, Path)):
        path.seek(0)
        return path.read()
    try:
        return read_regular(path, MOST_BYTES)
    except ValueError as error:
        raise NotThisPicture(f"{error}: use another file, a PNG or JPEG") from error


def _with(content, function):
    with _opened(content) as image:
        check_sides(*image.size)
        return function(image)


def _opened(content):
    """The picture, opened by Pillow as one of FORMATS."""
    from PIL import Image

    Image.init()  # so that all formats are known which this Pillow has
    formats = [name for name in FORMATS if name in Image.OPEN]
    with _warnings.lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is wrong with a file it is refused, or read
        return Image.open(io.BytesIO(content), formats=formats)
