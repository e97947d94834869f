"""Which files in a folder are pictures, by their names, and what else lies there.

People's folders hold more than pictures: what systems and programs leave behind, tables, links in circles. None of it
is an error, and none of it passes in silence: it is left out and counted.
"""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from minires.data.dataset import DatasetError
from minires.leavings import is_leaving
from minires.wording import readable

PICTURES = frozenset((
    "apng", "avif", "bmp", "dds", "dib", "gif", "heic", "heif", "icns", "ico", "j2c", "j2k", "jfif", "jp2", "jpc",
    "jpe", "jpeg", "jpf", "jpg", "jpx", "jxl", "mpo", "pbm", "pcx", "pgm", "png", "pnm", "ppm", "qoi", "ras", "sgi",
    "tga", "tif", "tiff", "webp", "xbm", "xpm",
))  # fmt: skip
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"II*\0", b"MM\0*")  # and RIFF....WEBP

HIDDEN = "hidden or left by a system (.DS_Store, Thumbs.db, ...)"
OTHERS = "no pictures by their names"
LINKS = "links that lead nowhere or in circles"
EXAMPLES = 3


@dataclass
class Skipped:
    """What was left out: {kind: number}, endings of what is no picture: {ending: number}, and the first names."""

    kinds: Counter = field(default_factory=Counter)
    endings: Counter = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, name: str, ending: str = "") -> None:
        """Count one."""
        self.kinds[kind] += 1
        if ending:
            self.endings[ending] += 1
        if len(self.examples.setdefault(kind, [])) < EXAMPLES:
            self.examples[kind].append(readable(name))

    def lines(self) -> Iterator[str]:
        """A sentence for each kind."""
        for kind, number in self.kinds.items():
            names = ", ".join(self.examples[kind]) + (", ..." if number > EXAMPLES else "")
            endings = ", ".join(f"{ending} {count:,}" for ending, count in self.endings.most_common(4))
            yield f"left out: {number:,} {kind}{f' ({endings})' if kind == OTHERS and endings else ''}: {names}"


def sub_folders(folder: str | Path) -> list[str]:
    """The names of the folders (or links to one) in a folder that are no leavings, in order."""
    with _open(folder) as entries:
        return sorted(entry.name for entry in entries if not is_leaving(entry.name) and _is_folder(entry))


def pictures_in(
    folder: str | Path,
    skipped: Skipped,
    known: set[tuple[int, int]] | None = None,
    deep: bool = True,
    within: str = "",
) -> list[str]:
    """The paths of the pictures in a folder, relative to it with "/" between names, in order of their names.

    Links are followed; a folder is entered once, and not at all where it is among `known`, (device, inode) pairs.
    deep: folders in it are entered.   within: the folder's own name, for what is said of what was left out.
    Raises DatasetError for a folder that cannot be read.
    """
    entered, found = set(known or ()), []
    entered.add(identity(folder))
    waiting = [""]
    while waiting:
        below = waiting.pop()
        with _open(os.path.join(folder, below)) as entries:
            for entry in entries:
                name = f"{below}/{entry.name}" if below else entry.name
                shown = os.path.join(within, name)
                if is_leaving(entry.name):
                    skipped.add(HIDDEN, shown)
                elif _is_folder(entry):
                    place = identity(entry.path)
                    if not deep:
                        continue
                    if place in entered:
                        skipped.add(LINKS, shown)
                    else:
                        entered.add(place)
                        waiting.append(name)
                elif _is_picture(entry, shown, skipped):
                    found.append(name)
    return sorted(found, key=lambda name: name.split("/"))


def identity(path: str | Path) -> tuple[int, int]:
    """What tells a folder from every other, by whichever links it is reached."""
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _is_picture(entry, name, skipped):
    try:
        if not entry.is_file():
            skipped.add(LINKS if entry.is_symlink() else "neither files nor folders", name)
            return False
    except OSError:  # a link to itself
        skipped.add(LINKS, name)
        return False
    ending = os.path.splitext(entry.name)[1].casefold()
    if ending[1:] in PICTURES or (not ending and _begins_as_picture(entry.path)):
        return True
    skipped.add(OTHERS, name, readable(ending) or "without an ending")
    return False


def _begins_as_picture(path):
    """Whether a file without an ending begins as pictures of the usual kinds do."""
    try:
        with open(path, "rb") as file:
            start = file.read(12)
    except OSError:
        return False
    return start.startswith(SIGNATURES) or (start[:4] == b"RIFF" and start[8:] == b"WEBP")


def _is_folder(entry):
    try:
        return entry.is_dir()
    except OSError:
        return False


def _open(folder):
    try:
        return os.scandir(folder)
    except OSError as error:
        raise DatasetError(
            f"{readable(str(folder), 200)}: cannot be read ({error.strerror}): check that you may open it"
        ) from error
