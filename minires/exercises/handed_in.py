"""What students have handed in: which files are read, whose each is, and what is not read, and why."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path

from minires.exercises.folder import FOLDER, PASSED, PROGRESS
from minires.exercises.language import Text
from minires.exercises.moving import FILE
from minires.leavings import is_leaving
from minires.wording import readable

EXPORTED = re.compile(rf"{Path(FILE).stem}( ?\(\d+\)|[ _-]\d+)?\.json", re.IGNORECASE)  # as browsers number them
ARCHIVE = re.compile(r"\.(zip|7z|rar|tar|tgz|gz|bz2|xz)$", re.IGNORECASE)
OTHERS_CODE = ("node_modules", "site-packages")
ENVIRONMENT = ("pyvenv.cfg", "conda-meta")  # one of them lies in each environment of Python
MOST_UNREAD = 10  # that are named

NOBODY = "{path} holds no progress: name a folder with exported files, or the files"
NOT_THERE = "there is no file or folder {path}"
BROKEN = "{path}: {said}"
AGAIN = "{path}: this is {first}, which is counted already: not counted twice"
NO_FILE = "{path}: not read: this is no file, but a broken link or a device; ask for the file itself"
UNREAD = {
    "named badly": "{path}: not read: the name must end in .json; rename it",
    "an archive": "{path}: not read: this is an archive; unpack it",
    "no file": NO_FILE,
    "something else": "{path}: not read: the name must end in .json; rename it if it is an export, or ask for one",
}
BESIDE = "{path}: not read: {own} counts for whoever works in {folder}; to count this as well, name the file"
MORE = "Besides these, files that are not read: {count:,}"
ONE_NAME = "{count} files are {name}'s by their names: each has its own line, with its path; rename or remove some"


class HandedIn:
    """files: (student, file) of each that is to be read.   faults: what stands in the way.   again: what was there
    before.   unread: what is not read, and what to do. The last three are Texts.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.files: list[tuple[str, Path]] = []
        self.faults: list[Text] = []
        self.again: list[Text] = []
        self._unread: list[Text] = []
        self._seen: dict[str, Path] = {}
        for path in paths:
            said = self._count()
            self._search(path, several=len(paths) > 1)
            if self._count() == said:
                self.faults.append(Text(NOBODY, path=shown(path)))

    @property
    def unread(self) -> list[Text]:
        """A line for each, what most likely is a student's first; of many the first ones, and how many more."""
        lines = sorted(self._unread, key=lambda text: text.template == UNREAD["something else"])
        more = [Text(MORE, count=len(lines) - MOST_UNREAD)] if len(lines) > MOST_UNREAD else []
        return lines[:MOST_UNREAD] + more

    def _count(self):
        return len(self.files) + len(self.faults) + len(self.again)

    def _search(self, top, several):
        waiting = [top]
        while waiting:
            path = waiting.pop()
            try:
                if path.is_dir():
                    waiting += reversed(self._folder(path))
                elif path != top:
                    self._file(path, several or path.parent != top)
                elif path.is_file():
                    self._take(path, several)
                else:
                    self.faults.append(Text(NO_FILE if path.exists() else NOT_THERE, path=shown(path)))
            except OSError as error:
                self.faults.append(Text(BROKEN, path=shown(path), said=error.strerror))

    def _folder(self, folder):
        """What is in a folder and still to be looked at; nothing where one student works in it, who is taken."""
        if self._is_again(folder, os.path.realpath(folder)):
            return []
        if own := next(_progress_in(folder), None):
            self._take(own)
            self._unread += [
                Text(BESIDE, path=shown(path), own=shown(own), folder=shown(folder)) for path in _beside(folder, own)
            ]
            return []
        if any((folder / name).exists() for name in ENVIRONMENT):
            return []
        inner = [path for path in folder.iterdir() if not is_leaving(path.name) and path.name not in OTHERS_CODE]
        return sorted(inner, key=lambda path: (path.is_symlink() and path.is_dir(), path))

    def _file(self, path, named_by_folder):
        if path.suffix.lower() == ".json" and path.is_file():
            self._take(path, named_by_folder)
        else:
            self._unread.append(Text(UNREAD[_why_unread(path)], path=shown(path)))

    def _take(self, file, named_by_folder=False):
        if not self._is_again(file, os.path.join(os.path.realpath(file.parent), file.name)):
            self.files.append((readable(_student(file, named_by_folder)), file))

    def _is_again(self, path, real):
        if real in self._seen:
            self.again.append(Text(AGAIN, path=shown(path), first=shown(self._seen[real])))
            return True
        self._seen[real] = path
        return False


def told_apart(files: Sequence[tuple[str, Path]]) -> tuple[list[str], list[Text]]:
    """The students' names, no two the same: where several files have one, with their paths behind it; and the notes."""
    counts = Counter(name for name, _ in files)
    several = {name: [file for other, file in files if other == name] for name in counts if counts[name] > 1}
    way = {file: way for alike in several.values() for file, way in zip(alike, _ways(alike), strict=True)}
    names: list[str] = []
    for name, file in files:
        whole = new = f"{name} ({way[file]})" if file in way else name
        number = 2
        while new in names or (new != name and new in counts):
            new, number = f"{whole} ({number})", number + 1
        names.append(new)
    return names, [Text(ONE_NAME, count=len(alike), name=name) for name, alike in several.items()]


def shown(path: Path | str) -> str:
    return readable(str(path), 200)


def _progress_in(folder: Path) -> Iterator[Path]:
    """The progress of whoever works in this folder, or in the one that it is in."""
    return (own for own in (folder / PROGRESS.name, folder / PROGRESS) if own.is_file())


def _beside(folder, own):
    """What else may be somebody's progress in a folder in which a student works, or in a folder of it."""
    inner = [path for path in folder.iterdir() if path.is_dir()]
    files = {path for path in folder.glob("*.json") if path.name not in (PROGRESS.name, PASSED.name)}
    files |= {path for place in inner for path in place.glob("*.json") if EXPORTED.fullmatch(path.name)}
    files |= {path for place in (folder, *inner) for path in _progress_in(place)}
    return sorted(files - {own})


def _student(file, named_by_folder):
    """The name of a file's student: that of the folder that somebody works in, of the file's folder, or of the file."""
    if file.name == PROGRESS.name:
        folder = file.resolve().parent
        return folder.parent.name if folder.name == FOLDER.name else folder.name
    by_folder = named_by_folder and EXPORTED.fullmatch(file.name) and file.parent.name
    return by_folder or file.stem


def _why_unread(path):
    if not path.is_file():
        return "no file"
    if ARCHIVE.search(path.name):
        return "an archive"
    return "named badly" if ".json" in path.name.lower() else "something else"


def _ways(files):
    """The paths of several files, without the folders that all of them lie in."""
    parts = [Path(os.path.abspath(file)).parts for file in files]
    shared = sum(1 for _ in takewhile(lambda level: len(set(level)) == 1, zip(*parts, strict=False)))
    return [shown(Path(*one[shared:])) for one in parts]
