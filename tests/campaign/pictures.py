"""Pictures, archives, tables, lists and downloads of somebody who means harm."""

import contextlib
import io
import os
import shutil
import socket
import zipfile
from functools import partial

import numpy as np
from PIL import Image
from spoiling import nothing_reached, packed, pictures, spoilt, spoilt_tar
from test_data_cifar import make_batches, write_binary, write_python

from campaign.attack import Attack, Target
from campaign.bounds import bounded
from minires.cli.comparing import differences, read_run, table
from minires.data.archives import unpack
from minires.data.cifar_kinds import CIFAR10
from minires.data.class_names import read_class_names
from minires.data.dataset import DatasetError
from minires.data.folders import read_image_folder
from minires.data.headers import check_header
from minires.data.images import Preprocessing, open_image
from minires.data.limits import MOST_PIXELS, NotThisPicture
from minires.data.opened import FORMATS
from minires.data.packed import BROKEN, Tar, Zip
from minires.data.tables import read_labels

SMALL = Preprocessing((0.5,) * 3, (0.5,) * 3, size=8, resize=8)
NAMES = [f"train/{number}.png" for number in range(20)]
TABLE = "".join(["id,label\n", *(f'{number},"class {number % 3}"\n' for number in range(20))]).encode()
LIST = "".join(f"class {number}\n" for number in range(20)).encode()
MORE = (
    b'"', b"\0", b"\r", b"\x1b[31m", b"\xff", "\u202e".encode(), b",," * 600, b"9" * 200_000, b"sep=;\n", b"[" * 2000,
    b"NaN", b"-Infinity", b"null", b"1e999", b"\\ud800",
)  # fmt: skip
COLUMNS = "epoch,iteration,lr,train_loss,train_acc,val_loss,val_acc,seconds,images_per_second"
RUN = {
    "config.json": b'{"settings": {"epochs": 2, "model": "a"}, "dataset": {"label": "b"}, "legs": []}',
    "log.csv": f"{COLUMNS}\n1,2,0.1,1.5,0.3,1.4,0.4,3.5,100\n2,4,0.1,1.2,0.5,,,7,100\n".encode(),
    "result.json": b'{"test_acc": 0.5, "model_of_epoch": 2}',
}


def _pictures(folder):
    return pictures()


def claimed(content: bytes) -> int:
    """Bytes of the pixels that a picture claims to have, up to what is decoded at all."""
    with contextlib.suppress(Exception):
        check_header(content)
        with Image.open(io.BytesIO(content), formats=[kind for kind in FORMATS if kind in Image.OPEN]) as image:
            return 4 * min(image.width * image.height, MOST_PIXELS)
    return 0


def picture(prepared, rng, number, folder):
    """A spoilt picture is read, or refused in a sentence."""
    names = list(prepared)
    name = names[number % len(names)]
    path = folder / f"a{os.path.splitext(name)[1]}"
    path.write_bytes(spoilt(prepared[name], list(prepared.values()), rng))
    size = max(path.stat().st_size, claimed(path.read_bytes()))
    with nothing_reached(folder):
        return bounded(lambda path: SMALL.pixels(open_image(path)), path, allowed=(DatasetError,), size=size)


def place(prepared, rng, number, folder):
    """A folder of classes, in which lies whatever can lie in a folder."""
    good = prepared["rgb.png"]
    told: list[str] = []
    for label in ("a", "b"):
        (folder / "set" / label).mkdir(parents=True)
        for picture in range(2):
            (folder / "set" / label / f"{picture}.png").write_bytes(good + f"{label}{picture}".encode())
        for _ in range(rng.integers(1, 6)):
            _put_something(folder / "set" / label / _name(rng), rng, folder, prepared)
    with nothing_reached(folder):
        data = read_image_folder(folder / "set", SMALL, skip_broken=True, tell=told.append)
    assert len(data.train_images) + len(data.test_images) >= 4, "good pictures are left out"
    assert all(line.isprintable() for line in told), f"{told!a}"
    assert all(name.isprintable() for name in data.classes)
    return "read"


def _name(rng):
    letters = ["a", "\x1b[31m", "\u202e", "\n", "\udcff", "猫", ".", "'", "é", " "]
    return "".join(rng.choice(letters, rng.integers(1, 8))) + rng.choice(["c.png", "d.jpg", "e", "f.txt"])


def _put_something(path, rng, folder, prepared):
    kind = rng.integers(8)
    if os.path.lexists(path):  # nothing is written through a link
        return
    with contextlib.suppress(OSError):  # such a name is there, or too long for a socket
        if kind == 0:
            os.mkfifo(path)
        elif kind == 1:
            path.symlink_to(rng.choice([".", "..", "nowhere", path.name, "/dev/zero", str(folder)]))
        elif kind == 2:
            path.mkdir()
        elif kind == 3:
            with socket.socket(socket.AF_UNIX) as unix:
                unix.bind(str(path))
        elif kind == 4:
            path.write_bytes(b"")
        elif kind == 5:
            with open(path, "wb") as file:
                file.truncate(2**31)
        else:
            names = list(prepared)
            path.write_bytes(spoilt(prepared[names[rng.integers(len(names))]], [b"other"], rng))


def _archives(folder):
    made = {}
    for kind, write in (("bin", write_binary), ("py", write_python)):
        source = write(folder / kind, make_batches())
        made[kind] = {f"{source.name}/{file.name}": file.read_bytes() for file in sorted(source.iterdir())}
    return made


def archive(prepared, rng, number, folder):
    """A spoilt archive is unpacked whole, into its own folder, or nothing is left of it."""
    files = prepared[rng.choice(["bin", "py"])]
    place = folder / "in" / "it"
    place.mkdir(parents=True)
    if number % 3:
        path = place / rng.choice(["cifar10.tar", "cifar10.tar.gz", "cifar10.tgz"])
        content = spoilt_tar(files, rng)
        path.write_bytes(packed(content, rng) if path.suffix != ".tar" else content)
    else:
        path = place / "cifar10.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
            for name, content in files.items():
                zipped.writestr(name, content)
        path.write_bytes(spoilt(path.read_bytes(), [b"PK"], rng) if rng.random() < 0.9 else path.read_bytes())
    with nothing_reached(folder), contextlib.redirect_stderr(io.StringIO()):
        outcome = bounded(lambda path: unpack(path, CIFAR10, None), path, allowed=(DatasetError,))
    beside = sorted(file.name for file in place.iterdir() if file != path)
    assert outcome == "read" or not beside, f"a refused archive left {beside}"
    known = {name for layout in (CIFAR10.binary, CIFAR10.python) for name in layout.files}
    for inside in folder.rglob("*"):
        assert not inside.is_symlink(), f"{inside} is a link"
        assert inside in (place.parent, place, path) or inside.parent == place or inside.name in known, f"{inside}"
    shutil.rmtree(place)
    return outcome


def labels(prepared, rng, number, folder):
    """A spoilt table gives pictures classes, or is refused."""
    path, told, found = folder / "labels.csv", [], {}
    path.write_bytes(_spoilt_text(TABLE, rng))

    def read(path):
        found.update(read_labels(path, NAMES, None, told.append))

    with nothing_reached(folder):
        outcome = bounded(read, path, allowed=(DatasetError,))
    assert set(found) <= set(NAMES)
    assert all(text.isprintable() for text in (*told, *found.values())), f"{told!a} {found!a}"
    return outcome


def _spoilt_text(content, rng):
    if rng.random() < 0.3:
        content = content.decode().encode(str(rng.choice(["utf-16", "utf-8-sig", "utf-16-le", "utf-32", "cp500"])))
    if rng.random() < 0.3:
        at = int(rng.integers(len(content)))
        more = (
            b'"',
            b"\0",
            b"\r",
            b"\x1b[31m",
            b"\xff",
            "\u202e".encode(),
            b",," * 600,
            b"9" * 200_000,
            b"sep=;\n",
            b"[" * 2000,
        )
        content = content[:at] + more[rng.integers(len(more))] + content[at:]
    return spoilt(content, [b'"' * 1000, TABLE], rng) if rng.random() < 0.8 else content


def names(prepared, rng, number, folder):
    """A spoilt list of classes is names without letters that a terminal obeys, or refused."""
    path, found = folder / "names.txt", []
    path.write_bytes(_spoilt_text(LIST, rng))
    with nothing_reached(folder):
        outcome = bounded(lambda path: found.extend(read_class_names(path)), path, allowed=(ValueError,))
    assert all(name.isprintable() for name in found), f"{found!a}"
    return outcome


def run(prepared, rng, number, folder):
    """A spoilt run is a row of a table, or refused."""
    changed = list(RUN)[rng.integers(3)]
    for name, content in RUN.items():
        (folder / name).write_bytes(_spoilt_text(content, rng) if name == changed else content)

    def read(folder):
        runs = [read_run(folder)]
        for line in (*table(runs), *differences(runs * 2)):
            assert line.isprintable() and len(line) <= 400, f"{line!a}"

    with nothing_reached(folder):
        return bounded(read, folder, allowed=(ValueError,))


def _refuses(function, *kinds):
    def read(path):
        with contextlib.suppress(*kinds):
            function(path)

    return read


def _fuzzed(path, kind):
    with contextlib.closing(kind(path)) as opened:
        opened.files()


def _small_pictures():
    return [content for content in pictures().values() if len(content) < 4000]


def _tars():
    return [spoilt_tar({"a/b": b"c", "a/d": b""}, np.random.default_rng(seed)) for seed in range(5)]


def _zips():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as zipped:
        zipped.writestr("a/b", b"c")
    return [buffer.getvalue()]


FUZZ = {
    "headers of pictures": Target(
        _small_pictures, _refuses(lambda path: check_header(path.read_bytes()), NotThisPicture)
    ),
    "tar": Target(_tars, _refuses(partial(_fuzzed, kind=Tar), *BROKEN, OSError, DatasetError)),
    "zip": Target(_zips, _refuses(partial(_fuzzed, kind=Zip), *BROKEN, OSError, DatasetError)),
    "tables": Target(lambda: [TABLE], _refuses(lambda path: read_labels(path, NAMES, None, str), DatasetError)),
    "lists of classes": Target(lambda: [LIST], _refuses(read_class_names, ValueError)),
}
ATTACKS = [
    Attack(
        "spoilt pictures",
        "a picture is read, or refused in a sentence, within the bounds; nothing is started or written",
        _pictures, picture, 100_000, 150,
    ),
    Attack(
        "folders of anything",
        "good pictures are read, nothing is waited for, and every line can be printed",
        _pictures, place, 5_000, 20,
    ),
    Attack(
        "spoilt archives",
        "an archive is unpacked whole into one folder, or nothing is left of it; nothing outside is written",
        _archives, archive, 50_000, 60,
    ),
    Attack("spoilt tables", "classes of pictures that are there, or a refusal in a sentence", str, labels, 50_000, 100),
    Attack("spoilt lists", "names that can be printed, or a refusal in a sentence", str, names, 50_000, 100),
    Attack("spoilt runs", "a row of a table, or a refusal in a sentence", str, run, 50_000, 100),
]  # fmt: skip
