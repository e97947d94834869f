"""Pictures' files that are none, or made to cost: nothing is started, nothing waits, and each is one sentence."""

import contextlib
import io
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import threading
import zlib

import numpy as np
import pytest
from PIL import Image
from spoiling import pictures

from minires.data import headers
from minires.data.dataset import DatasetError
from minires.data.folders import read_image_folder
from minires.data.images import Preprocessing, open_image
from minires.data.inspect import look_into
from minires.data.limits import NotThisPicture
from minires.data.opened import FORMATS
from minires.data.scan import PICTURES

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"


def chunk(name, content=b""):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width=8, height=8, before=b"", after=b""):
    """A grey PNG with chunks before and after its pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    rows = zlib.compress(bytes(min(height * (width + 1), 100_000)))
    return b"\x89PNG\r\n\x1a\n" + header + before + chunk(b"IDAT", rows) + after + chunk(b"IEND")


def saved(kind, size=(16, 16), **options):
    file = io.BytesIO()
    Image.new("RGB", size, (200, 30, 40)).save(file, kind, **options)
    return file.getvalue()


JPEG, GIF = saved("JPEG"), saved("GIF")
GIF_HEADER = 13 + 3 * (2 << (GIF[10] & 7)) if GIF[10] & 128 else 13


def jpeg(inside):
    """A JPEG with this behind its first marker."""
    return JPEG[:2] + inside + JPEG[2:]


def segment(kind, content=b""):
    return struct.pack(">BBH", 255, kind, len(content) + 2) + content


def gif(inside):
    """A GIF with this before its first picture."""
    return GIF[:GIF_HEADER] + inside + GIF[GIF_HEADER:]


def tiff(*tags, behind=b""):
    """A grey TIFF of 8x8 pixels with more tags: (number, type, count, value)."""
    usual = [(256, 4, 1, 8), (257, 4, 1, 8), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (277, 3, 1, 1)]
    every = sorted({tag[0]: tag for tag in [*usual, (273, 4, 1, 8), (278, 4, 1, 8), (279, 4, 1, 64), *tags]}.values())
    packed = b"".join(struct.pack("<HHLL", *tag) for tag in every)
    return b"II*\0" + struct.pack("<LH", 8, len(every)) + packed + bytes(4) + behind


def tags_of_one_place(number, size):
    """Tags that each claim the same bytes."""
    return [(tag, 7, size, 0) for tag in range(30_000, 30_000 + number)]


def exif():
    return tiff(*tags_of_one_place(3000, 30_000))


def icon(inner, side=16):
    return b"\0\0\1\0\1\0" + struct.pack("<BBBBHHLL", side, side, 0, 0, 1, 32, len(inner), 22) + inner


def icns(inner):
    return b"icns" + struct.pack(">L4sL", 16 + len(inner), b"ic07", 8 + len(inner)) + inner


def dds(side):
    masks = struct.pack("<8L", 32, 0x40, 0, 32, 0x7FE, 0xFF00, 0xFF, 0)
    return b"DDS " + struct.pack("<7L", 124, 0x1007, side, side, 0, 0, 0) + bytes(44) + masks + bytes(20)


def progressive(scans):
    content = saved("JPEG", progressive=True)
    last = content.rfind(b"\xff\xda")
    return content[:last] + content[last:-2] * scans + content[-2:]


MADE_TO_COST = {
    "a row for each pixel": (png(1, 170_000_000), "100,000 is the limit of a side"),
    "a wide one": (png(170_000_000, 1), "100,000 is the limit of a side"),
    "too many pixels": (png(30_000, 30_000), "178,000,000, the limit"),
    "chunks": (png(before=chunk(b"teSt") * 11_000), "chunks, the limit"),
    "chunks behind": (png(after=chunk(b"teSt") * 11_000), "chunks, the limit"),
    "EXIF in a PNG": (png(before=chunk(b"eXIf", exif())), "tags that are larger than the file"),
    "EXIF in a JPEG": (jpeg(segment(0xE1, b"Exif\0\0" + exif())), "tags that are larger than the file"),
    "EXIF in pieces": (jpeg(segment(0xE1, b"Exif\0\0" + bytes(60_000)) * 20), "bytes of EXIF"),
    "an index of pictures": (jpeg(segment(0xE2, b"MPF\0" + exif())), "tags that are larger than the file"),
    "nothing in a JPEG": (jpeg(bytes(70_000)), "bytes of nothing"),
    "255 in a JPEG": (jpeg(b"\xff" * 70_000), "bytes of nothing"),
    "segments": (jpeg(segment(0xE5) * 11_000), "parts before its pixels"),
    "a JPEG of all sizes": (JPEG.replace(struct.pack(">HH", 16, 16), b"\xff\xff\xff\xff"), "178,000,000, the limit"),
    "scans": (progressive(70), "scans, the limit"),
    "a comment letter by letter": (gif(b"!\xfe" + b"\1a" * 11_000 + b"\0"), "parts before its pixels"),
    "extensions": (gif(b"!\xf9\4\0\0\0\0\0" * 11_000), "parts before its pixels"),
    "nothing in a GIF": (gif(b"\1" * 70_000), "bytes of nothing"),
    "tags in one place": (tiff(*tags_of_one_place(300, 1000)), "tags that are larger than the file"),
    "tags without end": (tiff(*[(tag, 3, 1, 0) for tag in range(30_000, 45_000)]), "tags, the limit"),
    "strips": (tiff((273, 3, 1_100_000, 150), behind=bytes(2_300_000)), "numbers in its tags"),
    "a tile": (tiff((322, 4, 1, 30_000), (323, 4, 1, 30_000), (324, 4, 1, 8), (325, 4, 1, 64)), "tiles with a side"),
    "a picture in an icon": (icon(png(1, 170_000_000)), "an icon with a side"),
    "a bitmap in an icon": (
        icon(struct.pack("<LllHHL", 40, 13_000, 26_000, 1, 32, 0) + bytes(20)),
        "an icon with a side",
    ),
    "a picture in an ICNS": (icns(png(13_000, 13_000)), "an icon with a side"),
    "blocks of an ICNS": (b"icns\0\0\x56\x08" + b"abcd\0\0\0\x08" * 2000, "icons, the limit"),
    "a DDS without pixels": (dds(13_000), "cut short"),
    "runs in a BMP": (b"BM" + bytes(28) + b"\1\0\0\0" + bytes(2**24), "as a BMP of runs, the limit"),
    "letters in an XPM": (b"/* XPM */" + b"\n" * 2**24, "as an XPM, the limit"),
    "a QOI of one colour": (b"qoif" + struct.pack(">LLBB", 13_000, 13_000, 3, 0) + b"\xfd" * 100, "read slowly"),
    "a PPM with numbers of its own": (b"P5 13000 13000 777 " + bytes(100), "read slowly"),
    "a PPM of letters": (b"P3 13000 13000 255 " + b"0 " * 100, "read slowly"),
    "comments in a PPM": (b"P6\n" + b"#\n" * 40_000 + b"8 8 255\n" + bytes(200), "a header of more than"),
    "white space in a PPM": (b"P6\n" + b" " * 70_000 + b"8 8 255\n" + bytes(200), "a header of more than"),
}


@pytest.mark.parametrize("what", MADE_TO_COST)
def test_a_file_made_to_cost_is_refused_by_its_header(tmp_path, what):
    content, reason = MADE_TO_COST[what]
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DatasetError, match=rf"^.*a\.png: [^\n]*{reason}[^\n]*: [^\n]*$") as caught:
        open_image(tmp_path / "a.png")
    seen = look_into([str(tmp_path / "a.png")])
    assert seen.broken == {0: str(caught.value)}, "the look before training passes it"


HONEST = {
    "chunks": png(before=chunk(b"tEXt", b"a\0b") * 500, after=chunk(b"tEXt", b"a\0b") * 500),
    "segments": jpeg(segment(0xE5, bytes(60_000)) * 100),
    "scans": progressive(40),
    "an index of pictures": saved("MPO", save_all=True, append_images=[Image.new("RGB", (16, 16))]),
    "comments": gif((b"!\xfe" + (b"\xff" + b"a" * 255) * 2000 + b"\0") * 3),
    "tags": tiff(*[(tag, 3, 1, 0) for tag in range(30_000, 30_500)]),
    "icons": saved("ICO", (256, 256)),
    "an ICNS": saved("ICNS", (1024, 1024)),
    "DDS": saved("DDS"),
    "a PPM with a comment": b"P6\n# " + b"a" * 5000 + b"\n8 8 255\n" + bytes(192),
    "a long one": png(50_000, 1),
}


@pytest.mark.parametrize("what", HONEST)
def test_an_honest_file_is_far_from_every_limit(tmp_path, what):
    (tmp_path / "a.png").write_bytes(HONEST[what])
    assert open_image(tmp_path / "a.png").mode == "RGB"


@pytest.mark.parametrize("name", [b"zTXt", b"iCCP", b"iTXt"])
@pytest.mark.parametrize("where", ["before", "after"])
def test_texts_that_unpack_to_any_size_are_left_out(tmp_path, name, where):
    bomb = b"a\0" + (b"\1\0\0\0" if name == b"iTXt" else b"\0") + zlib.compress(bytes(50_000_000), 9)
    (tmp_path / "a.png").write_bytes(png(**{where: chunk(name, bomb)}))
    assert open_image(tmp_path / "a.png").size == (8, 8)


@pytest.mark.skipif(os.name == "nt", reason="a program is made with a line of shell")
@pytest.mark.parametrize("name", ["a.eps", "a.png", "a"])
def test_no_program_is_started(tmp_path, monkeypatch, name):
    """Pillow starts Ghostscript for what begins as PostScript, whatever the file is called."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "gs").write_text(f"#!/bin/sh\ntouch '{tmp_path}/started'\n")
    (tmp_path / "bin" / "gs").chmod(0o755)
    (tmp_path / name).write_bytes(POSTSCRIPT)
    script = f"from minires.data.images import open_image; open_image({str(tmp_path / name)!r})"
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": os.getcwd()}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=60)
    assert not (tmp_path / "started").exists()
    assert re.search(r"DatasetError: .*is not a picture of a format that is read \(JPEG, PNG, .*convert", done.stderr)


@pytest.mark.skipif(shutil.which("strace") is None, reason="no strace here")
def test_the_system_sees_no_program_and_no_host(tmp_path):
    """Every format, read while strace listens: the interpreter is all that is started, and nobody is asked."""
    for name, content in pictures().items():
        (tmp_path / name).write_bytes(content)
    script = (
        "import sys; from minires.data.inspect import look_into; print(len(look_into(sys.argv[1:], lambda number, "
        "image: image.load()).broken))"
    )
    listening = ["strace", "-f", "-qq", "-e", "trace=execve,connect", "-o", str(tmp_path / "calls")]
    calls = [*listening, sys.executable, "-c", script]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    done = subprocess.run(
        [*calls, *map(str, sorted(tmp_path.glob("*.*")))], capture_output=True, text=True, env=environment, timeout=120
    )
    if "ptrace" in done.stderr:
        pytest.skip("strace may not look here")
    assert done.returncode == 0 and int(done.stdout) <= 8, done.stderr  # older Pillows lack some formats
    seen = [line for line in (tmp_path / "calls").read_text().splitlines() if "execve(" in line or "connect(" in line]
    assert len(seen) == 1, seen


@pytest.mark.parametrize("kind", ["EPS", "PSD", "FITS", "TAR", "WMF", "FLI", "IM", "IPTC", "GBR", "PCD", "SPIDER"])
def test_formats_beyond_the_list_are_not_tried(kind):
    assert kind not in FORMATS


def test_every_ending_has_a_format():
    """What a folder's files are called and Pillow reads by itself; heic, heif and jxl it does not."""
    Image.init()
    known = {ending[1:]: kind for ending, kind in Image.registered_extensions().items()}
    lacking = {ending for ending in PICTURES & known.keys() if known[ending] not in FORMATS}
    assert lacking <= {"heic", "heif", "jxl"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
@pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "device", "socket"])
def test_what_is_no_file_is_never_waited_for(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)  # a socket's name is short
    os.mkfifo("pipe")
    (tmp_path / "link.png").symlink_to("pipe")
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind("socket")
        path = {"pipe": "pipe", "link to a pipe": "link.png", "device": "/dev/zero", "socket": "socket"}[kind]
        errors = []

        def read():
            try:
                open_image(path)
            except DatasetError as error:
                errors.append(str(error))

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        thread.join(20)
    waits = thread.is_alive()
    if waits:
        os.close(os.open("pipe", os.O_RDWR))
    assert not waits
    assert re.fullmatch(r"[^:]*: (is a pipe, a device or a socket, and no file|cannot be read \(.*\)): .*", errors[0])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_folder_with_pipes_is_read(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        for number in range(3):
            Image.new("RGB", (8, 8), (number, 0, ord(name))).save(tmp_path / name / f"{number}.png")
        os.mkfifo(tmp_path / name / "pipe.png")
    told = []
    data = read_image_folder(tmp_path, Preprocessing((0.5,) * 3, (0.5,) * 3, size=8, resize=8), tell=told.append)
    assert len(data.train_images) + len(data.test_images) == 6
    assert any("2 neither files nor folders" in line for line in told)


def test_a_huge_file_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("minires.data.opened.MOST_BYTES", 100)
    (tmp_path / "a.png").write_bytes(png() + bytes(100))
    with pytest.raises(DatasetError, match=r"a\.png: has more than 100 bytes, the limit: "):
        open_image(tmp_path / "a.png")


@pytest.mark.parametrize(
    "error", [SyntaxError, struct.error, KeyError, OverflowError, MemoryError, RecursionError, EOFError, TypeError]
)
def test_whatever_pillow_raises_is_one_sentence(tmp_path, monkeypatch, error):
    def fails(self):
        raise error("one\ntwo \x1b[31m \u202e")

    (tmp_path / "a.png").write_bytes(png())
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fails)
    with pytest.raises(DatasetError) as caught:
        open_image(tmp_path / "a.png")
    assert str(caught.value).isprintable()


def test_what_others_set_in_pillow_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    (tmp_path / "a.png").write_bytes(png(30_000, 30_000))
    with pytest.raises(DatasetError, match="178,000,000, the limit"):
        open_image(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(DatasetError, match=r"MAX_IMAGE_PIXELS, 10, lets pass: "):
        open_image(io.BytesIO(png()))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "I;16", "I", "F", "P"])
def test_bands_are_what_the_whole_is(monkeypatch, mode):
    """Pictures are converted a band of rows at a time."""
    rng = np.random.default_rng(0)
    pixels = {
        "RGBA": rng.integers(0, 256, (37, 11, 4), np.uint8),
        "LA": rng.integers(0, 256, (37, 11, 2), np.uint8),
        "I;16": rng.integers(0, 65536, (37, 11), np.uint16),
        "I": rng.integers(0, 2**20, (37, 11), np.int32),
        "F": rng.random((37, 11), np.float32),
        "P": rng.integers(0, 256, (37, 11), np.uint8),
    }[mode]
    image = Image.fromarray(pixels)
    options = {}
    if mode == "P":
        image = image.convert("P")
        options = {"transparency": 7}
    file = io.BytesIO()
    image.save(file, "PNG" if mode in ("RGBA", "LA", "P") else "TIFF", **options)
    whole = np.asarray(open_image(io.BytesIO(file.getvalue())))
    monkeypatch.setattr("minires.data.images.BAND", 40)
    np.testing.assert_array_equal(np.asarray(open_image(io.BytesIO(file.getvalue()))), whole)


def test_checks_are_of_formats_that_are_read():
    assert all(isinstance(start, bytes) and start for start in headers.CHECKS)


@pytest.mark.parametrize("end", [b"\xff\xc0\x00\x02", b"\xff\xc2\x00\x07\x08\x00", b"\xff\xc0"])
@pytest.mark.parametrize("whole", [None, lambda place, image: image.load()])
def test_a_jpeg_that_ends_where_its_sides_would_stand(tmp_path, end, whole):
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8" + end)
    (problem,) = look_into([str(tmp_path / "cut.jpg")], whole).broken.values()
    assert "cut.jpg: is " in problem and "\n" not in problem and "unpack" not in problem


@pytest.mark.parametrize("content", [pytest.param(content, id=name) for name, content in pictures().items()])
def test_a_picture_cut_anywhere_is_refused_in_a_sentence(content):
    for end in {*range(min(len(content), 2000)), *np.linspace(0, len(content), 50, dtype=int)}:
        with contextlib.suppress(NotThisPicture):
            headers.check_header(content[:end])
