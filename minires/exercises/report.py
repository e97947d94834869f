"""Many students' progress as one table: python -m minires.exercises report FOLDER_OR_FILE..."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from minires.columns import display_width, padded
from minires.exercises import progress
from minires.exercises.folder import PROGRESS
from minires.exercises.language import Text, in_language
from minires.exercises.tasks import TASKS
from minires.wording import readable

HEADINGS = {
    "student": "student",
    "done": "done",
    "gave_up": "gave up",
    "started": "started",
    "tries": "tries",
    "last": "last passed",
}
OF_EXERCISES = {"exercise": "exercise", "done": "done", "gave_up": "gave up", "started": "started", "tries": "tries"}
SUMMARY = "{count} students, {all} exercises. Done: {least} to {most}, median {middle:g}."
ONE = "1 student, {all} exercises. Done: {most}."
EACH = "Exercise by exercise; tries: the median of those who have tried."
NOBODY = "{path} holds no progress: name a folder with exported files, or the files"
NOT_THERE = "there is no file or folder {path}"
BROKEN = "{path}: {said}"
NAME_AGAIN = "{path}: there is a student {name} already; this one is called {new}"
WIDEST = 30  # columns of a name


class Report:
    """students: {name: records}.   faults: what is wrong, a Text for each file that could not be read."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.students: dict[str, dict[str, Any]] = {}
        self.faults: list[Text] = []
        self.notes: list[Text] = []
        for path in paths:
            self._add(path)

    def table(self, language: str) -> str:
        """Two tables, as they are printed: the students, and the exercises that anybody has started."""

        def say(template, **values):
            return in_language(Text(template, **values), language)

        rows = [[row[key] for key in HEADINGS] for row in self.rows()]
        lines = _columns([say(HEADINGS[key]) for key in HEADINGS], rows)
        counts = [row["done"] for row in self.rows()]
        summary = {"count": len(counts), "all": len(TASKS), "least": min(counts), "most": max(counts)}
        lines += ["", say(SUMMARY if counts[1:] else ONE, middle=median(counts), **summary)]
        each = [[row[key] for key in OF_EXERCISES] for row in self.exercises()]
        if each:
            lines += ["", say(EACH), "", *_columns([say(OF_EXERCISES[key]) for key in OF_EXERCISES], each)]
        return "\n".join(lines)

    def csv(self, language: str) -> str:
        """One line for each student: the counts, and the state of every exercise."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*(in_language(Text(HEADINGS[key]), language) for key in HEADINGS), *TASKS])
        for row, records in zip(self.rows(), self.students.values(), strict=True):
            states = [progress.state(records.get(name, {})) for name in TASKS]
            writer.writerow(
                [
                    *(_safe(row[key]) for key in HEADINGS),
                    *(in_language(Text(STATES[state]), language) for state in states),
                ]
            )
        return file.getvalue()

    def rows(self) -> list[dict[str, Any]]:
        """Each student's counts."""
        return [{"student": name, **_counts(records.values())} for name, records in self.students.items()]

    def exercises(self) -> list[dict[str, Any]]:
        """Each exercise's counts, of those that somebody has started."""
        rows = []
        for name in TASKS:
            records = [student[name] for student in self.students.values() if name in student]
            tries = [record["tries"] for record in records if record["tries"]]
            if records:
                rows.append({"exercise": name} | _counts(records) | {"tries": f"{median(tries):g}" if tries else "-"})
        return rows

    def _add(self, path):
        if not path.exists():
            self.faults.append(Text(NOT_THERE, path=_shown(path)))
            return
        try:
            found = list(_files(path))
        except OSError as error:
            self.faults.append(Text(BROKEN, path=_shown(path), said=error.strerror))
            return
        if not found:
            self.faults.append(Text(NOBODY, path=_shown(path)))
        for name, file in found:
            self._add_student(readable(name), file)

    def _add_student(self, name, file):
        try:
            records = progress.read(file.read_bytes().decode(errors="surrogateescape"))
        except progress.ProgressError as error:
            self.faults.append(Text(BROKEN, path=_shown(file), said=error.said))
            return
        except OSError as error:
            self.faults.append(Text(BROKEN, path=_shown(file), said=error.strerror))
            return
        if file.name == PROGRESS.name:  # a folder that somebody works in: the texts are beside it
            records = {key: record | {"text": _text(file, key)} for key, record in records.items()}
        new, number = name, 2
        while new in self.students:
            new, number = f"{name} ({number})", number + 1
        if new != name:
            self.notes.append(Text(NAME_AGAIN, path=_shown(file), name=name, new=new))
        self.students[new] = records


STATES = {"not started": "not started", "started": "started", "given up": "given up", "done": "done"}


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    """(student, file) of a file, of a folder of files, or of folders in which people work."""
    if path.is_file():
        yield (_worker(path) if path.name == PROGRESS.name else path.stem), path
        return
    for own in (path / PROGRESS.name, path / PROGRESS):
        if own.is_file():
            yield _worker(own), own
            return
    for inner in sorted(path.iterdir()):
        if inner.is_dir():
            yield from ((_worker(own), own) for own in (inner / PROGRESS.name, inner / PROGRESS) if own.is_file())
        elif inner.suffix.lower() == ".json":
            yield inner.stem, inner


def _worker(file):
    """Whose folder: the name of the one that exercises/ is in."""
    folder = file.resolve().parent
    return folder.parent.name if folder.name == PROGRESS.parent.name else folder.name


def _text(file, name):
    try:
        return (file.parent / f"{name}.py").read_bytes().decode(errors="surrogateescape")
    except (OSError, ValueError):  # a name with a zero byte is no path
        return None


def _counts(records):
    records = list(records)
    states = [progress.state(record) for record in records]
    passed = max((record["passed"] for record in records if record["passed"]), default="")
    return {
        "done": states.count("done"),
        "gave_up": sum(bool(record["gave_up"]) for record in records),
        "started": len(states) - states.count("not started"),
        "tries": sum(record["tries"] for record in records),
        "last": passed[:10] or "-",
    }


def _columns(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """The first column to the left, the others to the right."""
    texts = [[str(cell) for cell in row] for row in [headings, *rows]]
    widths = [min(WIDEST, max(display_width(row[i]) for row in texts)) for i in range(len(headings))]
    return [
        "  ".join([padded(row[0], widths[0]), *(_right(cell, n) for cell, n in zip(row[1:], widths[1:], strict=True))])
        for row in texts
    ]


def _right(text, columns):
    return " " * (columns - display_width(text)) + text


def _safe(value):
    """A name that a spreadsheet would take for a formula gets a quote before it."""
    return f"'{value}" if str(value)[:1] in tuple("=+-@\t\r") and value != "-" else value


def _shown(path):
    return readable(str(path), 200)
