"""A look into every picture's file before training: is it whole, what does it hold, and is it there twice?"""

import contextlib
import hashlib
import io
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from minires.backend import executor
from minires.data.dataset import DatasetError
from minires.data.headers import check_header, png_chunks
from minires.data.images import deep_pixels, deep_range, is_deep_colour
from minires.data.limits import NotThisPicture
from minires.data.opened import picture_bytes, with_image
from minires.wording import readable

if TYPE_CHECKING:
    from PIL.Image import Image

TOGETHER = 64  # files that a worker takes at a time
SAMPLE = 16  # pictures of more than 8 bits whose largest number is looked at, to be told
TELL_AFTER = 10  # seconds without a word


@dataclass
class Contents:
    """What files hold, in their order: digests, the SHA-256 of each; broken, {place: what is wrong}; deep, how many
    pictures of each kind have more than 8 bits, and first, the paths of the first of them."""

    digests: list[bytes] = field(default_factory=list)
    broken: dict[int, str] = field(default_factory=dict)
    deep: Counter = field(default_factory=Counter)
    first: list[str] = field(default_factory=list)


def look_into(
    paths: Sequence[str],
    whole: Callable[[int, "Image"], object] | None = None,
    workers: int = 1,
    tell: Callable[[str], None] = print,
    bar: bool = False,
) -> Contents:
    """Read every file once.

    whole: called with its place and the opened picture, to decode it; None: a picture is only checked (PNG by its
    checksums, JPEG by its end).   workers: threads.   bar: whether a bar shows how far it is, or a line now and then.
    """
    contents = Contents()
    starts = range(0, len(paths), TOGETHER)

    def look(start):
        part = paths[start : start + TOGETHER]
        return [_look(place, path, whole) for place, path in enumerate(part, start)]

    with executor(workers, "minires-pictures") as pool:
        results = (result for part in pool.map(look, starts) for result in part)
        for place, (digest, deep, problem) in enumerate(counted(results, len(paths), tell, bar)):
            contents.digests.append(digest)
            if problem is not None:
                contents.broken[place] = problem
            if deep is not None:
                contents.deep[deep] += 1
                if len(contents.first) < SAMPLE:
                    contents.first.append(paths[place])
    return contents


def counted(items: Iterable, total: int, tell: Callable[[str], None], bar: bool) -> Iterator:
    """The items, while a bar or, every ten seconds, a line shows how many pictures have been read."""
    if bar:
        from tqdm import tqdm

        yield from tqdm(items, "reading pictures", total, leave=False, unit="", delay=1)
        return
    said = time.monotonic()
    for number, item in enumerate(items):
        if time.monotonic() - said > TELL_AFTER:
            said = time.monotonic()
            tell(f"read {number:,} of {total:,} pictures")
        yield item


def _look(place, path, whole):
    """(SHA-256, what it holds besides 8 bits or None, what is wrong or None) of a file."""
    try:
        content = picture_bytes(path)
    except OSError as error:
        return b"", None, f"{readable(path, 300)}: cannot be read ({error.strerror}): check its permissions"
    except NotThisPicture as error:
        return b"", None, f"{readable(path, 300)}: {error}"
    digest = hashlib.sha256(content).digest()
    if whole is None and _passes(content):
        return digest, None, None
    deep = None

    def check(image):
        nonlocal deep
        deep = deep_range(image) or (("colour of 16 bits", 0, 65535) if is_deep_colour(image) else None)
        if whole is None:
            image.load()
        else:
            whole(place, image)

    try:
        with_image(io.BytesIO(content), check, readable(path, 300))
        return digest, deep, None
    except DatasetError as error:
        return digest, deep, str(error)


def _passes(content):
    with contextlib.suppress(NotThisPicture):  # then Pillow is asked, and says the same
        check_header(content)
        return is_whole(content)
    return False


def is_whole(content: bytes) -> bool:
    """Whether these are the bytes of a JPEG with its end, or of a PNG of 8 bits whose checksums are right.

    Other pictures, and damaged ones, have to be decoded to be known: that takes several times as long.
    """
    if content.startswith(b"\xff\xd8\xff"):
        return content.rfind(b"\xff\xd9", len(content) // 2) >= 0
    if not content.startswith(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR") or content[24:25] == b"\x10":
        return False
    chunks = list(png_chunks(content))
    right = (
        zlib.crc32(content[at + 4 : end - 4]).to_bytes(4, "big") == content[end - 4 : end] for _, at, end in chunks
    )
    return chunks[-1][0] == b"IEND" and all(right)


def copies(digests: Sequence[bytes]) -> list[list[int]]:
    """The places of files with the same content, for each content that is there more than once."""
    places: dict[bytes, list[int]] = {}
    for place, digest in enumerate(digests):
        places.setdefault(digest, []).append(place)
    return [same for same in places.values() if len(same) > 1]


def say_depth(contents: Contents, value_range: tuple[float, float] | None, tell: Callable[[str], None]) -> None:
    """Tell once what becomes of numbers of more than 8 bits."""
    if value_range is not None and not contents.deep:
        tell("note: no picture has more than 8 bits, so that the range changes nothing")
    for (kind, low, high), number in contents.deep.items():
        if kind == "colour of 16 bits":
            tell(f"note: {number:,} pictures have {kind}: the higher byte of each is read")
            continue
        black, white = value_range or (low, high)
        told = f"note: {number:,} pictures have {kind}: {plain(black)} becomes black and {plain(white)} white, in all"
        largest = _largest(contents.first, kind)
        if value_range is None and largest is not None and not high / 4 < largest <= high:
            told += (
                f"; the largest number in the first of them is {plain(largest)}: where that is white, give "
                f"value_range=(0, {plain(largest).replace(',', '')})"
            )
        tell(told)


def plain(number: float) -> str:
    """A number without a point where it is whole: 4,095 or 0.5."""
    return f"{int(number):,}" if number == int(number) else f"{number:g}"


def _largest(paths, kind):
    """The largest number in those of the files that are of this kind; None where none can be read as a picture."""

    def largest(image):
        deep = deep_range(image)
        if deep is None or deep[0] != kind:
            return None
        pixels = deep_pixels(image, deep)
        return pixels.max().item() if np.isfinite(pixels).all() else None

    found = []
    for path in paths:
        with contextlib.suppress(DatasetError):
            found.append(with_image(path, largest))
    return max((number for number in found if number is not None), default=None)
