"""Files of every format that is read, and ways to spoil them that keep enough of their structure to be looked into."""

import gzip
import io
import os
import struct
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence, features

from minires.data.headers import png_chunks

NUMBERS = (0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
CHUNKS = (
    b"tEXt",
    b"zTXt",
    b"iTXt",
    b"iCCP",
    b"eXIf",
    b"acTL",
    b"fcTL",
    b"fdAT",
    b"tRNS",
    b"PLTE",
    b"IDAT",
    b"IHDR",
    b"pHYs",
)
WAITING = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.startfile", "socket.connect")


def pictures() -> dict[str, bytes]:
    """{name: content} of small pictures of all formats and modes that this Pillow writes."""
    rng = np.random.default_rng(0)
    colours = Image.fromarray(rng.integers(0, 256, (24, 20, 3), np.uint8))
    made = {
        "rgb.png": (colours, "PNG", {}),
        "interlaced.png": (colours.convert("P"), "PNG", {"transparency": 3}),
        "rgba.png": (colours.convert("RGBA"), "PNG", {"icc_profile": bytes(200), "exif": _exif()}),
        "deep.png": (Image.fromarray(rng.integers(0, 65536, (24, 20), np.uint16)), "PNG", {}),
        "moving.png": (colours, "PNG", {"save_all": True, "append_images": [colours.convert("RGB")] * 3}),
        "a.jpg": (colours, "JPEG", {"exif": _exif(), "icc_profile": bytes(200)}),
        "progressive.jpg": (colours, "JPEG", {"progressive": True}),
        "cmyk.jpg": (colours.convert("CMYK"), "JPEG", {}),
        "a.mpo": (colours, "MPO", {"save_all": True, "append_images": [colours]}),
        "a.gif": (colours.convert("P"), "GIF", {"comment": b"a comment"}),
        "moving.gif": (colours.convert("P"), "GIF", {"save_all": True, "append_images": [colours.rotate(90)] * 3}),
        "raw.tif": (colours, "TIFF", {}),
        "float.tif": (Image.fromarray(rng.random((24, 20), np.float32)), "TIFF", {}),
        "lzw.tif": (colours, "TIFF", {"compression": "tiff_lzw"}),
        "deflate.tif": (colours, "TIFF", {"compression": "tiff_adobe_deflate"}),
        "jpeg.tif": (colours, "TIFF", {"compression": "jpeg"}),
        "fax.tif": (colours.convert("1"), "TIFF", {"compression": "group4"}),
        "a.bmp": (colours, "BMP", {}),
        "a.dib": (colours.convert("P"), "DIB", {}),
        "a.ppm": (colours, "PPM", {}),
        "a.pgm": (colours.convert("L"), "PPM", {}),
        "a.tga": (colours, "TGA", {"compression": "tga_rle"}),
        "a.ico": (colours.resize((64, 64)), "ICO", {"sizes": [(16, 16), (32, 32)]}),
        "bitmap.ico": (colours.resize((32, 32)).convert("RGBA"), "ICO", {"bitmap_format": "bmp", "sizes": [(32, 32)]}),
        "a.icns": (colours.resize((64, 64)), "ICNS", {}),
        "a.dds": (colours, "DDS", {}),
        "a.pcx": (colours, "PCX", {}),
        "a.sgi": (colours, "SGI", {}),
        "a.xbm": (colours.convert("1"), "XBM", {}),
        "a.jp2": (colours, "JPEG2000", {}),
    }
    if features.check("webp"):
        made |= {"a.webp": (colours, "WEBP", {"exif": _exif()}), "flat.webp": (colours, "WEBP", {"lossless": True})}
        made["moving.webp"] = (colours, "WEBP", {"save_all": True, "append_images": [colours.rotate(90)] * 3})
    if "AVIF" in Image.SAVE:
        made["a.avif"] = (colours, "AVIF", {})
    found = {}
    for name, (image, kind, options) in made.items():
        file = io.BytesIO()
        image.save(file, kind, **options)
        found[name] = file.getvalue()
    assert all(next(ImageSequence.Iterator(Image.open(io.BytesIO(content)))) for content in found.values())
    return found | {
        "a.qoi": b"qoif" + struct.pack(">LLBB", 20, 24, 3, 0) + b"\xfe\1\2\3\xc5\x40\x81\x77" * 40 + bytes(7) + b"\1",
        "plain.ppm": b"P3 4 4 255\n" + b"7 " * 48,
        "a.xpm": b'/* XPM */\nstatic char *a[] = {\n"4 2 2 1",\n"a c #00ff00",\n"b c #ff0000",\n"abab",\n"aabb"\n};',
        "a.ras": struct.pack(">8L", 0x59A66A95, 4, 4, 24, 48, 1, 0, 0) + bytes(range(48)),
        "runs.bmp": b"BM" + struct.pack("<LHHLLllHHLLllLL", 1092, 0, 0, 1078, 40, 4, 4, 1, 8, 1, 14, 0, 0, 256, 0)
        + bytes(1024) + b"\4\1\0\0\2\5\2\6\0\2\1\1\0\1",
        "a.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n",
    }  # fmt: skip


def _exif():
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a maker of cameras"
    return exif.tobytes()


def spoilt(content: bytes, others: list[bytes], rng: np.random.Generator) -> bytes:
    """A file, changed in one to three ways."""
    ways: list[Callable[[bytes, np.random.Generator], bytes]] = [_bits, _numbers, _cut, _twice]
    if content[:4] == b"\x89PNG":
        ways += [_chunks] * 6
    elif content[:2] == b"\xff\xd8":
        ways += [_segments] * 6
    elif content[:2] in (b"II", b"MM"):
        ways += [_tags] * 6
    for _ in range(rng.integers(1, 4)):
        if rng.random() < 0.05:
            other = others[rng.integers(len(others))]
            content = content[: rng.integers(len(content) + 1)] + other[rng.integers(len(other)) :]
        else:
            content = ways[rng.integers(len(ways))](content, rng)
    return content


def _place(content, rng):
    """A place in a file, in half of the cases among the first 64 bytes."""
    return int(rng.integers(min(len(content), 64) if rng.random() < 0.5 else len(content))) if content else 0


def _bits(content, rng):
    made = bytearray(content)
    for _ in range(min(len(made), int(rng.integers(1, 9)))):
        made[_place(content, rng)] = rng.integers(256)
    return bytes(made)


def _numbers(content, rng):
    size, order = int(rng.choice([1, 2, 4, 8])), str(rng.choice(["little", "big"]))
    number = int(rng.choice(NUMBERS)) % 256**size
    at = _place(content, rng)
    return content[:at] + number.to_bytes(size, order) + content[at + size :]


def _cut(content, rng):
    return content[: _place(content, rng)] + (content[_place(content, rng) :] if rng.random() < 0.5 else b"")


def _twice(content, rng):
    start = _place(content, rng)
    end = start + int(rng.integers(1, 200))
    return content[:start] + content[start:end] * int(rng.choice([2, 3, 100, 2000])) + content[end:]


def _random(rng):
    kind = rng.integers(4)
    if kind == 0:
        return bytes(rng.integers(0, 256, rng.integers(0, 200), np.uint8))
    if kind == 1:
        return b"a\0\0" + zlib.compress(bytes(10 ** int(rng.integers(1, 7))))
    if kind == 2:
        return _tags(_exif(), rng)
    return b"a\0" + b"b" * int(rng.choice([0, 1, 10, 70_000]))


def _chunks(content, rng):
    parts = [(name, content[at + 8 : end - 4]) for name, at, end in png_chunks(content)]
    if not parts:
        return content
    at, way = int(rng.integers(len(parts))), rng.integers(5)
    name, inside = parts[at]
    if way == 0:
        parts[at] = (name, _bits(inside, rng))
    elif way == 1:
        parts[at] = (name, _numbers(inside, rng))
    elif way == 2:
        parts[at : at + 1] = []
    elif way == 3:
        parts[at : at + 1] = [parts[at]] * int(rng.choice([2, 3, 50]))
    else:
        parts.insert(at, (CHUNKS[rng.integers(len(CHUNKS))], _random(rng)))
    packed = (struct.pack(">L", len(inside)) + name + inside + _crc(name + inside) for name, inside in parts)
    return content[:8] + b"".join(packed)


def _crc(content):
    return struct.pack(">L", zlib.crc32(content))


def _segments(content, rng):
    """One of the segments before the pixels is changed, or one more is put in."""
    starts, at = [], 2
    while at + 4 <= len(content) and content[at] == 0xFF and content[at + 1] != 0xDA:
        starts.append(at)
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    if not starts:
        return _bits(content, rng)
    at = starts[rng.integers(len(starts))]
    end = at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    if rng.random() < 0.5:
        kind = int(rng.choice([0xE1, 0xE2, 0xED, 0xEE, 0xFE, 0xC0, 0xC2, 0xC4, 0xDB, 0xDD]))
        inside = (rng.choice([b"Exif\0\0", b"MPF\0", b"ICC_PROFILE\0", b"Photoshop 3.0\0", b""]) + _random(rng))[
            :65_000
        ]
        return content[:at] + struct.pack(">BBH", 255, kind, len(inside) + 2) + bytes(inside) + content[at:]
    return content[: at + 4] + _numbers(content[at + 4 : end], rng)[: end - at - 4] + content[end:]


def _tags(content, rng):
    """One of the tags of a TIFF, or of EXIF, gets another number, type, count or value."""
    prefix = content[:6] if content[:6] == b"Exif\0\0" else b""
    tiff = bytearray(content[len(prefix) :])
    order = "<" if tiff[:2] == b"II" else ">"
    try:
        (at,) = struct.unpack_from(order + "L", tiff, 4)
        (number,) = struct.unpack_from(order + "H", tiff, at)
        tag = at + 2 + 12 * int(rng.integers(max(1, number)))
        field, size = ((0, "H"), (2, "H"), (4, "L"), (8, "L"))[rng.integers(4)]
        value = int(rng.choice(NUMBERS)) if rng.random() < 0.7 else int(rng.integers(len(tiff)))
        struct.pack_into(order + size, tiff, tag + field, value % 256 ** (2 if size == "H" else 4))
    except struct.error:
        return _bits(content, rng)
    return prefix + bytes(tiff)


def spoilt_tar(files: dict[str, bytes], rng: np.random.Generator) -> bytes:
    """A tar of these files, and of others that should not be there."""
    buffer = io.BytesIO()
    with tarfile.open(
        fileobj=buffer, mode="w", format=int(rng.choice([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
    ) as tar:
        for name, content in files.items():
            if rng.random() < 0.98:
                info = tarfile.TarInfo(name if rng.random() < 0.97 else _hostile(name, rng))
                info.size = len(content)
                if rng.random() < 0.03:
                    info.type = bytes(rng.choice(list(b"1234567gxLKS"), 1).astype(np.uint8))
                    info.linkname = _hostile(name, rng)
                tar.addfile(info, io.BytesIO(content))
    made = bytearray(buffer.getvalue())
    for _ in range(rng.integers(0, 3)):
        made[:] = _numbers(bytes(made), rng)
        if rng.random() < 0.5:  # with a right checksum
            made[148:156] = b" " * 8
            made[148:155] = f"{sum(made[:512]):06o}\0".encode()
    return bytes(made)


def _hostile(name, rng):
    ways = (
        f"../../{name}",
        f"/{name}",
        f"./{name}",
        f"..\\{name}",
        f"\x1b[31m{name}\n",
        "a/" * 90 + "b",
        "/etc/passwd",
        "C:\\x",
    )
    return ways[rng.integers(len(ways))]


def packed(content: bytes, rng: np.random.Generator) -> bytes:
    """gzip, whose bytes are spoilt in a fifth of the cases."""
    made = gzip.compress(content, 1)
    return _bits(made, rng) if rng.random() < 0.2 else made


_watching: list[tuple[Path, tuple[str, int] | None, list[str]]] = []


def _heard(event, arguments):
    if _watching:
        folder, host, seen = _watching[-1]
        if event == "socket.connect" and arguments[1][:2] == host:
            return
        if event in WAITING:
            seen.append(f"{event} {arguments[:2]!a}")
        elif event == "open" and isinstance(arguments[0], str):
            writes = arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) if isinstance(arguments[2], int) else 0
            if writes and not os.path.abspath(arguments[0]).startswith((str(folder), "/proc/self/", "/dev/null")):
                seen.append(f"{arguments[0]!a} is written")


@contextmanager
def nothing_reached(folder: Path, host: tuple[str, int] | None = None) -> Iterator[None]:
    """AssertionError where a program is started, another host is asked, or a file outside of the folder is written."""
    if not hasattr(sys, "_minires_hears"):
        sys.addaudithook(_heard)
        sys._minires_hears = True  # type: ignore[attr-defined]  # a hook stays for as long as the process
    seen: list[str] = []
    _watching.append((folder, host, seen))
    try:
        yield
    finally:
        _watching.pop()
    assert not seen, f"something was reached: {'; '.join(seen)[:300]}"
