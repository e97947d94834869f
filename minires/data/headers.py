"""What a picture's file says of itself, looked at before Pillow is: no part of it may cost more than the picture does.

Pillow reads headers in Python, step by step, and keeps what they hold. A file that is made for it has a hundred million
steps, or an icon inside that is larger than any photograph. Files of photographs and drawings are far from the limits
here. Each function takes a file's bytes and raises NotThisPicture, in a sentence without the file's name.
"""

import re
import struct
from collections.abc import Iterator

from minires.data.limits import NotThisPicture, check_sides, too_many
from minires.data.tags import check_tags

MOST_STEPS = 10_000  # parts of a header, besides one for each STEP bytes of the file
STEP = 1024
MOST_JUNK = 2**16  # bytes that belong to nothing
MOST_EXIF = 2**20
MOST_SCANS = 64  # of a progressive JPEG, each of which goes over all its pixels; usual are 10
MOST_ICON = 2**24  # bytes of a file of icons
MOST_ICON_SIDE = 1024
MOST_SLOW = 2**24  # pixels, or bytes, of what Pillow decodes in Python, at a million or two in a second
# kinds of PPM, and for some the largest number, that Pillow decodes in C
IN_C = (b"P4", b"Pf", b"PF", (b"P5", b"255"), (b"P6", b"255"), (b"P5", b"65535"))
MOST_ICONS = 1000
FOUR_LETTERS = 4  # the flag of a DDS whose pixels are compressed
INNER = re.compile(rb"\x89PNG\r\n\x1a\n....IHDR|\xffO\xffQ....", re.DOTALL)  # then width and height: PNG, JPEG 2000
MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # of JPEG; what else follows a byte 255 belongs to the pixels
PNG = b"\x89PNG\r\n\x1a\n"


def check_header(content: bytes) -> None:
    """Raise NotThisPicture for a file whose header is made to cost time or memory."""
    for start, check in CHECKS.items():
        if content.startswith(start):
            check(content)


def png_chunks(png: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(name, start, end) of what a PNG consists of: after 8 bytes, each chunk is 4 bytes length, 4 name, content, 4
    checksum."""
    at = 8
    while at + 8 <= len(png):
        end = at + 12 + int.from_bytes(png[at : at + 4], "big")
        yield png[at + 4 : at + 8], at, end
        at = end


def without_text(png: bytes) -> bytes:
    """A PNG without its texts and colour profile, which may unpack to any size: its pixels are all there."""
    texts = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
    return png[:8] + b"".join(png[at:end] for name, at, end in png_chunks(png) if name not in texts)


def _steps(content):
    """How many parts a header of this file may have."""
    return MOST_STEPS + len(content) // STEP


def _check_png(content):
    check_sides(*struct.unpack_from(">LL", content.ljust(24, b"\0"), 16))
    most = _steps(content)
    for number, (name, at, end) in enumerate(png_chunks(content)):
        if number >= most:
            raise too_many("chunks", most)
        if name == b"eXIf":
            check_tags(content[at + 8 : end - 4])


def _check_jpeg(content):
    """The segments up to the first pixels, and how often all pixels are gone over."""
    at, steps, junk, exif = 2, 0, 0, b""
    while True:
        start = content.find(b"\xff", at)
        marker = MARKER.search(content, max(start, 0))
        if start < 0 or marker is None:
            return
        junk += marker.start() - at
        steps += 1
        if junk > MOST_JUNK:
            raise too_many("bytes of nothing before its pixels", MOST_JUNK)
        if steps > MOST_STEPS:
            raise too_many("parts before its pixels", MOST_STEPS)
        at = marker.end()
        kind = content[at - 1]
        if kind == 0xDA:
            break
        if kind not in (0x01, 0xD8, 0xD9):
            end = at + max(2, int.from_bytes(content[at : at + 2], "big"))
            if kind == 0xE1 and content[at + 2 : at + 8] == b"Exif\0\0":
                exif += content[at + 8 : end]
                if len(exif) > MOST_EXIF:
                    raise too_many("bytes of EXIF", MOST_EXIF)
            if kind == 0xE2 and content[at + 2 : at + 6] == b"MPF\0":
                check_tags(content[at + 6 : end])
            if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC) and at + 7 <= len(content):
                check_sides(*struct.unpack_from(">HH", content, at + 3))
            at = end
    check_tags(exif)
    if content.count(b"\xff\xda", at) >= MOST_SCANS:
        _check_scans(content, at)


def _check_scans(content, at):
    """Count them, from behind the marker of the first: between scans there are segments."""
    scans = 1
    while (marker := MARKER.search(content, at)) is not None:
        at, kind = marker.end(), content[marker.end() - 1]
        scans += kind == 0xDA
        if scans > MOST_SCANS:
            raise too_many("scans", MOST_SCANS)
        if kind == 0xD9:
            return
        at += int.from_bytes(content[at : at + 2], "big")


def _check_gif(content):
    """The blocks before the first picture: a byte says how long the next piece of a block is."""
    at = 13 + (3 * (2 << (content[10] & 7)) if len(content) > 10 and content[10] & 128 else 0)
    most, steps, junk = _steps(content), 0, 0
    while at < len(content) and content[at] not in b",;":
        if content[at] != ord("!"):
            at, junk = at + 1, junk + 1
            if junk > MOST_JUNK:
                raise too_many("bytes of nothing before its pixels", MOST_JUNK)
            continue
        at += 2
        steps += 1
        while at < len(content) and content[at]:
            at += 1 + content[at]
            steps += 1
            if steps > most:
                raise too_many("parts before its pixels", most)
        at += 1


def _check_icons(content):
    """Of an ICO or ICNS: pictures of other kinds lie in it, each with a size of its own."""
    if len(content) > MOST_ICON:
        raise too_many("bytes, as a file of icons", MOST_ICON)
    sides = [struct.unpack_from(">LL", content, found.end()) for found in INNER.finditer(content[:-8])]
    if content.startswith(b"icns"):
        at, steps = 8, 0
        while at + 8 <= len(content):
            at, steps = at + max(8, int.from_bytes(content[at + 4 : at + 8], "big")), steps + 1
            if steps > MOST_ICONS:
                raise too_many("icons", MOST_ICONS)
    else:
        number = int.from_bytes(content[4:6], "little")
        if number > MOST_ICONS:
            raise too_many("icons", MOST_ICONS)
        starts = [int.from_bytes(content[at + 12 : at + 16], "little") for at in range(6, 6 + 16 * number, 16)]
        sides += [_dib_sides(content[at : at + 12]) for at in starts if content[at : at + 4] != PNG[:4]]
    if max((max(pair) for pair in sides), default=0) > MOST_ICON_SIDE:
        raise NotThisPicture(
            f"holds an icon with a side of more than {MOST_ICON_SIDE:,} pixels, the limit: save it as PNG"
        )


def _dib_sides(header):
    """(width, height) of a bitmap in an icon, which has two pictures one above the other."""
    if header[:4] == b"\x0c\0\0\0":
        width, height = (int.from_bytes(header[at : at + 2], "little") for at in (4, 6))
    else:
        width, height = (int.from_bytes(header[at : at + 4], "little", signed=True) for at in (4, 8))
    return abs(width), abs(height) // 2


def _check_slow(width, height):
    if width * height > MOST_SLOW:
        raise NotThisPicture(
            f"has {width:,} x {height:,} pixels, {MOST_SLOW:,} is the limit of this format, which is read slowly: "
            "convert it to PNG or JPEG"
        )


def _check_dds(content):
    """Pillow decodes pixels that are not compressed in Python, and takes what lies behind the end of a file for 0."""
    height, width = struct.unpack_from("<LL", content.ljust(128, b"\0"), 12)
    flags, _, bits = struct.unpack_from("<LLL", content.ljust(128, b"\0"), 80)
    if not flags & FOUR_LETTERS:
        if width * height * bits // 8 > len(content):
            raise NotThisPicture("is cut short: get a whole copy of it")
        _check_slow(width, height)


def _check_qoi(content):
    _check_slow(*struct.unpack_from(">LL", content.ljust(12, b"\0"), 4))


def _check_xpm(content):
    if len(content) > MOST_SLOW:
        raise too_many("bytes, as an XPM", MOST_SLOW)


def _check_bmp(content):
    """Runs of one colour are read in Python."""
    if content[30:34] in (b"\1\0\0\0", b"\2\0\0\0") and len(content) > MOST_SLOW:
        raise too_many("bytes, as a BMP of runs", MOST_SLOW)


def _check_ppm(content):
    """The numbers before the pixels, with white space and comments of any length between them."""
    words = re.sub(rb"#[^\r\n]*", b"", content[:MOST_JUNK]).split(None, 4)
    if len(content) > MOST_JUNK and len(words) < 4:
        raise NotThisPicture(f"has a header of more than {MOST_JUNK:,} bytes, the limit: save it anew")
    kind, *numbers = words[:4]
    if (kind, *numbers[2:]) in IN_C or kind in IN_C:
        return
    if all(number.isdigit() and len(number) < 12 for number in numbers[:2]) and len(numbers) >= 2:
        _check_slow(*map(int, numbers[:2]))
    if len(content) > 4 * MOST_SLOW:
        raise too_many("bytes, as a PPM that is read number by number", 4 * MOST_SLOW)


CHECKS = {
    PNG: _check_png,
    b"\xff\xd8": _check_jpeg,
    b"GIF8": _check_gif,
    b"II": check_tags,
    b"MM": check_tags,
    b"\0\0\1\0": _check_icons,
    b"icns": _check_icons,
    b"DDS ": _check_dds,
    b"qoif": _check_qoi,
    b"BM": _check_bmp,
    b"/* XPM */": _check_xpm,
    b"P": _check_ppm,
}
