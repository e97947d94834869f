"""The reader's files: exercises/NAME.py in the current folder, and progress.json, which says how far each is."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from minires.exercises import progress
from minires.exercises.language import LANGUAGES, Text
from minires.exercises.tasks import TASKS, Task
from minires.files import write_atomically

FOLDER = Path("exercises")
PROGRESS = FOLDER / "progress.json"
PASSED = FOLDER / "passed.json"  # of earlier versions; name: SHA-256 of the file that passed
BROKEN_PROGRESS = "{path}: {said}; or move it away, and go on without"


class FolderError(Exception):
    """Something stands in the way; `said`, a Text, says what, and what to do."""

    def __init__(self, said: Text) -> None:
        super().__init__(said)
        self.said = said


def file_of(name: str) -> Path:
    return FOLDER / f"{name}.py"


def started(names: Iterable[str]) -> list[str]:
    return [name for name in names if file_of(name).is_file()]


def text_of(path: Path) -> str | None:
    """What is in a file, every byte of it, or None where it is not there or cannot be read."""
    try:
        return path.read_bytes().decode(errors="surrogateescape")
    except OSError:
        return None


def records() -> dict[str, dict[str, Any]]:
    """How far each exercise is, with the texts of the files. Raises FolderError where progress.json is broken."""
    kept = _kept()
    texts = {name: text_of(file_of(name)) for name in TASKS}
    names = [name for name in TASKS if name in kept or texts[name] is not None]
    others = {name: record for name, record in kept.items() if name not in TASKS}
    return {name: progress.NEW | kept.get(name, {}) | {"text": texts[name]} for name in names} | others


def states() -> dict[str, str]:
    """ "not started", "started", "given up" or "done" for each exercise."""
    found, earlier = records(), _earlier()
    known = {name: progress.state(found.get(name, {})) for name in TASKS}
    known |= {name: "started" for name in started(TASKS) if known[name] == "not started"}  # it cannot be read
    return known | {name: "done" for name, digest in earlier.items() if _digest(name) == digest}


def start(task: Task, again: bool = False, language: str = "en") -> tuple[Path, Path | None]:
    """Write the exercise's file. -> (its path, the path of the old one or None)

    A file that is there stays: this raises FolderError, or with `again` gives it a name of its own, NAME.old1.py.
    """
    path, kept = file_of(task.name), None
    if not FOLDER.exists() and Path(path.name).is_file():
        said = "this is the folder with the exercises itself, {name} is here: go one folder up, cd .."
        raise FolderError(Text(said, name=path.name))
    try:
        FOLDER.mkdir(exist_ok=True)
        if again and path.exists():
            kept = path.rename(free(task.name, "old"))
        with open(path, "x", encoding="utf-8") as file:
            file.write(task.file(language))
    except FileExistsError:
        if not FOLDER.is_dir():
            said = "{folder} is a file, and a folder is needed: move it, or work elsewhere"
            raise FolderError(Text(said, folder=FOLDER)) from None
        said = (
            "{path} is there already and stays as it is: check it, or add --again to begin anew (yours is kept, as "
            "{name}.old1.py or the next free number)"
        )
        raise FolderError(Text(said, path=path, name=task.name)) from None
    except OSError as error:
        said = "cannot write {path}: {reason}: go to a folder that you may write in"
        raise FolderError(Text(said, path=path, reason=error.strerror)) from None
    return path, kept


def free(name: str, word: str) -> Path:
    """The first path that is free: relu.old1.py."""
    number = 1
    while (path := FOLDER / f"{name}.{word}{number}.py").exists():
        number += 1
    return path


def untouched(name: str) -> bool:
    """Is the file as `start` writes it, or as a page begins with it, so that nothing is lost with it?"""
    task = TASKS[name]
    return text_of(file_of(name)) in [begin(language) for begin in (task.file, task.code) for language in LANGUAGES]


def checked(name: str, path: str | Path, state: str) -> bool:
    """Keep in mind what a check said, of the exercise's own file. False where that cannot be written."""
    if Path(path).absolute() != file_of(name).absolute():
        return True
    text = text_of(Path(path))
    return text is None or keep(name, lambda record: progress.checked(record, text, state, progress.now()))


def keep(name: str, change: Any) -> bool:
    """Change one record. False where that cannot be written, or progress.json is broken, and stays as it is."""
    try:
        kept = _kept()
        return write(kept | {name: change(kept.get(name, {}))})
    except FolderError:
        return False


def write(changed: dict[str, dict[str, Any]]) -> bool:
    """Write progress.json, without the texts: these are in the files. False where that cannot be."""
    kept = {name: {key: value for key, value in record.items() if key != "text"} for name, record in changed.items()}
    try:
        FOLDER.mkdir(exist_ok=True)
        write_atomically(PROGRESS, progress.written(kept).encode())
    except OSError:
        return False
    return True


def _kept():
    text = text_of(PROGRESS)
    if text is None:
        return {}
    try:
        return progress.read(text)
    except progress.ProgressError as error:
        raise FolderError(Text(BROKEN_PROGRESS, path=PROGRESS, said=error.said)) from None


def _earlier():
    try:
        found = json.loads(PASSED.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {name: digest for name, digest in found.items() if name in TASKS} if isinstance(found, dict) else {}


def _digest(name):
    text = text_of(file_of(name))
    return text and hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
