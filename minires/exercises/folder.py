"""The reader's files: exercises/NAME.py in the current folder, and which of them have passed."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from minires.exercises.exercise import Exercise
from minires.exercises.generate import exercise_file
from minires.exercises.language import Text
from minires.files import write_atomically

FOLDER = Path("exercises")
PASSED = FOLDER / "passed.json"  # name: SHA-256 of the file that passed


class FolderError(Exception):
    """Something stands in the way; `said`, a Text, says what, and what to do."""

    def __init__(self, said: Text) -> None:
        super().__init__(said)
        self.said = said


def file_of(name: str) -> Path:
    return FOLDER / f"{name}.py"


def started(names: Iterable[str]) -> list[str]:
    return [name for name in names if file_of(name).is_file()]


def state(name: str) -> str:
    """ "not started", "started", or "done": the file as it is now has passed."""
    if not file_of(name).is_file():
        return "not started"
    try:
        return "done" if _passed().get(name) == _digest(file_of(name)) else "started"
    except OSError:  # it cannot be read
        return "started"


def start(exercise: Exercise, again: bool = False, language: str = "en") -> tuple[Path, Path | None]:
    """Write the exercise's file. -> (its path, the path of the old one or None)

    A file that is there stays: this raises FolderError, or with `again` gives it a name of its own, NAME.old1.py.
    """
    path, kept = file_of(exercise.name), None
    if not FOLDER.exists() and Path(path.name).is_file():
        said = "this is the folder with the exercises itself, {name} is here: go one folder up, cd .."
        raise FolderError(Text(said, name=path.name))
    try:
        FOLDER.mkdir(exist_ok=True)
        if again and path.exists():
            number = 1
            while (old := path.with_name(f"{exercise.name}.old{number}.py")).exists():
                number += 1
            kept = path.rename(old)
        with open(path, "x", encoding="utf-8") as file:
            file.write(exercise_file(exercise, language))
    except FileExistsError:
        if not FOLDER.is_dir():
            said = "{folder} is a file, and a folder is needed: move it, or work elsewhere"
            raise FolderError(Text(said, folder=FOLDER)) from None
        said = (
            "{path} is there already and stays as it is: check it, or add --again to begin anew (yours is kept, as "
            "{name}.old1.py or the next free number)"
        )
        raise FolderError(Text(said, path=path, name=exercise.name)) from None
    except OSError as error:
        said = "cannot write {path}: {reason}: go to a folder that you may write in"
        raise FolderError(Text(said, path=path, reason=error.strerror)) from None
    return path, kept


def passed(name: str, path: str | Path) -> bool:
    """Keep in mind that this file has passed, if it is the exercise's own. False where that cannot be written."""
    if Path(path).absolute() != file_of(name).absolute():
        return True
    try:
        write_atomically(PASSED, (json.dumps(_passed() | {name: _digest(path)}, indent=1) + "\n").encode())
    except OSError:
        return False
    return True


def _passed():
    try:
        found = json.loads(PASSED.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _digest(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
