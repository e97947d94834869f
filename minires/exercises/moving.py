"""Progress out of a folder into one file, and back."""

from collections.abc import Iterator
from pathlib import Path

from minires.exercises import folder, progress
from minires.exercises.folder import FolderError
from minires.exercises.language import Text
from minires.exercises.tasks import TASKS
from minires.files import write_atomically

FILE = "minires-exercises.json"
THERE = "{path} is there already and stays as it is: name another file"
NOTHING = "nothing is started in {folder}, so that there is nothing to export"
CANNOT_WRITE = "cannot write {path}: {reason}: name another file"
CANNOT_READ = "cannot read {path}: {reason}"
BROKEN = "{path}: {said}"
NOT_KEPT = "{path} cannot be written: nothing of the progress is kept; check the permissions"

READ = "Wrote {path}."
SAME = "{path} is the same already."
BESIDE = "{path} is another one, and stays as it is: what was imported is {new}."
REPLACED = "Wrote {path}: yours is now {kept}."
UNKNOWN = "{name} is no exercise of this minires: it was left out."
PROGRESS = "Wrote {path}, with tries and times."


def export(path: Path) -> int:
    """Write the progress of this folder into a file. -> how many exercises"""
    records = folder.records()
    if not records:
        raise FolderError(Text(NOTHING, folder=folder.FOLDER))
    if path.exists():
        raise FolderError(Text(THERE, path=path))
    try:
        write_atomically(path, progress.written(records).encode())
    except OSError as error:
        raise FolderError(Text(CANNOT_WRITE, path=path, reason=_reason(error))) from None
    return len(records)


def import_from(path: Path, replace: bool = False) -> Iterator[Text]:
    """Read a file into this folder; what was done with each exercise, as it is done.

    A file that is there and another one stays, and what is imported comes beside it; with `replace` the other way
    round. Of tries the larger number counts, of times the first.
    """
    found = _read(path)
    records = folder.records()  # raises FolderError first, if anything does
    for name, record in found.items():
        if name not in TASKS:
            yield Text(UNKNOWN, name=name[:40])
        elif record["text"] is not None:
            yield _placed(name, record["text"], replace)
    mine = folder.records()
    merged = {name: progress.merged(mine.get(name, {}), record) for name, record in found.items() if name in TASKS}
    if not folder.write(records | mine | merged):
        raise FolderError(Text(NOT_KEPT, path=folder.PROGRESS))
    yield Text(PROGRESS, path=folder.PROGRESS)


def _read(path):
    try:
        return progress.read(path.read_bytes().decode(errors="surrogateescape"))
    except OSError as error:
        raise FolderError(Text(CANNOT_READ, path=path, reason=error.strerror)) from None
    except progress.ProgressError as error:
        raise FolderError(Text(BROKEN, path=path, said=error.said)) from None


def _placed(name, text, replace):
    """Put a text into the exercise's file, or beside it. -> what was done"""
    path = folder.file_of(name)
    there = folder.text_of(path)
    if there == text:
        return Text(SAME, path=path)
    if (there is None and not path.exists()) or folder.untouched(name):
        _write(path, text)
        return Text(READ, path=path)
    if replace and there is not None:
        kept = folder.free(name, "old")
        _write(kept, there)  # before anything is overwritten
        _write(path, text)
        return Text(REPLACED, path=path, kept=kept)
    beside = next((old for old in folder.FOLDER.glob(f"{name}.imported*.py") if folder.text_of(old) == text), None)
    if beside is None:
        beside = folder.free(name, "imported")
        _write(beside, text)
    return Text(BESIDE, path=path, new=beside)


def _write(path, text):
    try:
        folder.FOLDER.mkdir(exist_ok=True)
        write_atomically(path, text.encode(errors="surrogateescape"))
    except (OSError, UnicodeError) as error:
        said = "cannot write {path}: {reason}: go to a folder that you may write in"
        raise FolderError(Text(said, path=path, reason=_reason(error))) from None


def _reason(error):
    return getattr(error.__cause__ or error, "strerror", None) or str(error)
