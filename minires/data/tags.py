"""The tags of a TIFF, and of EXIF, which is one: their values may lie anywhere in the file, and all in one place.

A megabyte of tags, each of which claims the same megabyte, would be 80 gigabytes once they are read.
"""

import struct

from minires.data.limits import NotThisPicture, too_many

MOST_TAGS = 10_000
MOST_NUMBERS = 1_000_000  # in all tags of a TIFF
MOST_TILE = 2**14  # pixels of a side of the tiles that a TIFF consists of
SIZES = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8)  # bytes of a number, by its type in a TIFF
BYTES = (1, 2, 6, 7)  # the types that Pillow does not make numbers of
TILE_WIDTH, TILE_LENGTH = 322, 323


def check_tags(tiff: bytes) -> None:
    """The first directory of tags of a TIFF or EXIF, whose values lie anywhere in the file, and several in one place.

    After the header (II or MM, version, place of the directory) come a number of tags, and for each its number, type,
    count, and its values or their place: 12 bytes, or 20 in a BigTIFF.
    """
    tiff = tiff.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    try:
        if order is None:
            return
        big = 43 in tiff[2:4]
        (at,) = struct.unpack_from(order + ("Q" if big else "L"), tiff, 8 if big else 4)
        (number,) = struct.unpack_from(order + ("Q" if big else "H"), tiff, at)
        at += 8 if big else 2
        layout = struct.Struct(order + ("HHQQ" if big else "HHLL"))
        if number > MOST_TAGS:
            raise too_many("tags", MOST_TAGS)
        number = min(number, (len(tiff) - at) // layout.size)
        found = list(layout.iter_unpack(tiff[at : at + number * layout.size]))
    except struct.error:
        return  # Pillow says what is damaged
    _check_sizes(found, len(tiff))


def _check_sizes(found, length):
    """found: (tag, type, count, value) of each."""
    sizes = [count * SIZES[kind] if kind < len(SIZES) else 0 for _, kind, count, _ in found]
    inside = [(kind, count, size) for (_, kind, count, _), size in zip(found, sizes, strict=True) if size <= length]
    if sum(size for _, _, size in inside) > length:
        raise NotThisPicture("has tags that are larger than the file: save it anew")
    if sum(count for kind, count, _ in inside if kind not in BYTES) > MOST_NUMBERS:
        raise too_many("numbers in its tags", MOST_NUMBERS)
    values = {tag: value for tag, _, count, value in found if count == 1}
    if max(values.get(TILE_WIDTH, 0), values.get(TILE_LENGTH, 0)) > MOST_TILE:
        raise NotThisPicture(
            f"consists of tiles with a side of more than {MOST_TILE:,} pixels, the limit: save it anew"
        )
