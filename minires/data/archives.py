"""Archives of CIFAR, the official ones and those that somebody packed anew, unpacked beside themselves.

An archive with an official checksum is what it should be. Any other is read to its end, and what it holds must be
images. Files are unpacked into a temporary folder that is renamed at the end, so nothing that was interrupted ever
looks complete; only regular files are written, under names of our own.
"""

import contextlib
import hashlib
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minires.data.cifar import read_cifar
from minires.data.cifar_kinds import CIFAR10, CIFAR100, Cifar, Layout
from minires.data.dataset import DatasetError
from minires.data.packed import BROKEN, MOST_PACKED, opened
from minires.data.scratch import scratch
from minires.leavings import is_leaving
from minires.wording import readable

ENDINGS = (".tar.gz", ".tgz", ".tar", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".zip")


@dataclass(frozen=True)
class Archive:
    """An official archive: its file's name and checksum, and the layout inside it."""

    name: str
    md5: str
    layout: Layout


BINARY = Archive("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530", CIFAR10.binary)
PYTHON = Archive("cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a", CIFAR10.python)
BINARY100 = Archive("cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8", CIFAR100.binary)
PYTHON100 = Archive("cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85", CIFAR100.python)
ARCHIVES = (BINARY, PYTHON)
ARCHIVES100 = (BINARY100, PYTHON100)


def unpack_archive_in(folder: Path, kind: Cifar, known: Sequence[Archive], replaceable: bool) -> bool:
    """Unpack the archive of CIFAR that lies in a folder or in one of its folders. True if there was one.

    known: the official ones.   replaceable: a damaged one is passed over, since it will be downloaded again.
    Raises DatasetError for one that is damaged, or holds something else.
    """
    for path in _candidates(folder, kind):
        if path.stat().st_size > MOST_PACKED:
            raise DatasetError(f"{_shown(path)}: has more than {MOST_PACKED:,} bytes, the limit; {_cure()}")
        found = md5_of(path)
        official = next((archive for archive in known if archive.md5 == found), None)
        try:
            unpack(path, kind, official)
            return True
        except OSError as error:
            raise DatasetError(
                f"{_shown(path)}: cannot be unpacked beside itself ({error.strerror or error}); "
                "unpack it in a folder of your own and give that as data_dir"
            ) from error
        except DatasetError:
            if not replaceable:
                raise
    return False


def _candidates(folder, kind):
    """Archives called as those of CIFAR are, in a folder and in those in it."""
    number = "10(?!0)" if kind == CIFAR10 else "100"
    places = [folder, *(place for place in _sorted(folder) if place.is_dir() and not is_leaving(place.name))][:100]
    for place in places:
        for path in _sorted(place):
            name = path.name.lower()
            if name.endswith(ENDINGS) and re.search(f"cifar[-_ ]?{number}", name) and path.is_file():
                yield path


def _sorted(folder):
    with contextlib.suppress(OSError):
        return sorted(folder.iterdir())
    return []


def md5_of(path: str | Path) -> str:
    """The MD5 of a file."""
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def unpack(path: Path, kind: Cifar, official: Archive | None, place: Path | None = None) -> None:
    """Unpack the files we know from an archive into a folder in `place`, default beside it: all of them, or nothing.

    official: which of them it is by its checksum; None: none, so that its images are read before they are believed.
    """
    print(f"unpacking {_shown(path)}", file=sys.stderr, flush=True)
    place = path.parent if place is None else place
    with scratch(place, "unpacking") as temporary:
        layout = _extract(path, kind, temporary)
        folder = temporary / layout.folder
        if official is not None:
            label = "CIFAR-10" if kind == CIFAR10 else "CIFAR-100"
            (folder / "COMPLETE").write_text(f"{label}, unpacked from an archive with MD5 {official.md5}\n")
        else:
            with _about(path, "its files are damaged"):
                read_cifar(folder, kind)
        final = place / layout.folder
        try:
            folder.rename(final)
        except OSError:
            if not all((final / file).is_file() for file in layout.files):
                raise  # otherwise another process was faster, with the same files


@contextlib.contextmanager
def _about(path, what):
    """Errors of this archive, in a sentence."""
    try:
        yield
    except (*BROKEN, DatasetError, OSError) as error:
        if str(error).startswith(f"{_shown(path)}: ") or (isinstance(error, OSError) and error.errno):
            raise
        reason = readable(str(error).split("; put a whole copy")[0], 200) or type(error).__name__
        raise DatasetError(f"{_shown(path)}: {what} ({reason}); {_cure()}") from error


def _shown(path):
    return readable(str(path), 300)


def _cure():
    return "get a whole copy of it, or name another folder as data_dir"


def _extract(path: Path, kind: Any, target: Path) -> Layout:
    """Write the files of a layout into target / its folder; which layout it is. Reads the archive to its end."""
    with _about(path, "the archive is damaged or cut short"), opened(path) as archive:
        inside = archive.files()
        layout, parent = _find(path, kind, inside)
        (target / layout.folder).mkdir()
        for file in _files(layout):
            if f"{parent}/{file}" in inside:
                with (
                    archive.open(inside[f"{parent}/{file}"]) as source,
                    open(target / layout.folder / file, "wb") as copy,
                ):
                    shutil.copyfileobj(source, copy)
        archive.finish()
    return layout


def _files(layout):
    """What is unpacked: of CIFAR-100 the names of its 100 classes and of its 20."""
    both = ("coarse_label_names.txt", "fine_label_names.txt") if layout.meta.endswith("label_names.txt") else ()
    return tuple(dict.fromkeys((*layout.files, *both)))


def _find(path, kind, inside):
    """(layout, folder in the archive) of the files that are wanted, wherever they are."""
    lacking = {}
    for layout in (kind.binary, kind.python):
        for parent in {name.rpartition("/")[0] for name in inside}:
            missing = [f"{parent}/{file}".lstrip("/") for file in layout.files if f"{parent}/{file}" not in inside]
            if not missing:
                return layout, parent
            if len(missing) < len(layout.files):
                lacking[len(missing), parent] = missing
    if lacking:
        names = ", ".join(map(readable, sorted(lacking[min(lacking)])))
        raise DatasetError(f"{_shown(path)}: the archive lacks {names}; {_cure()}")
    raise DatasetError(
        f"{_shown(path)}: holds no {kind.binary.folder} or {kind.python.folder}; if it holds pictures, unpack "
        "it and give the folder of its train and test as data_dir"
    )
