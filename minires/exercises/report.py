"""Many students' progress as one table: python -m minires.exercises report FOLDER_OR_FILE..."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from minires.columns import cut, display_width, padded
from minires.exercises import progress
from minires.exercises.folder import PROGRESS
from minires.exercises.handed_in import HandedIn, shown, told_apart
from minires.exercises.language import Text, in_language
from minires.exercises.tasks import TASKS

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
BROKEN = "{path}: {said}"
MEANT = "Started: begun, given up or done. Gave up: also what has passed since."
GAVE_UP_FIRST = "{state}, gave up"
WIDEST = 30  # columns of a name


class Report:
    """students: {name: records}.   faults: what is wrong, a Text for each file that could not be read.   notes: files
    of one name, files named twice, and what was not looked into.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        found = HandedIn(list(paths))
        self.faults: list[Text] = found.faults
        records = {file: read for _, file in found.files if (read := self._read(file)) is not None}
        names, alike = told_apart([(name, file) for name, file in found.files if file in records])
        self.students: dict[str, dict[str, Any]] = dict(zip(names, records.values(), strict=True))
        self.notes: list[Text] = found.again + alike + found.unread

    def table(self, language: str) -> str:
        """Two tables, as they are printed: the students, and the exercises that anybody has started."""

        def say(template, **values):
            return in_language(Text(template, **values), language)

        rows = [[row[key] for key in HEADINGS] for row in self.rows()]
        lines = _columns([say(HEADINGS[key]) for key in HEADINGS], rows)
        counts = [row["done"] for row in self.rows()]
        summary = {"count": len(counts), "all": len(TASKS), "least": min(counts), "most": max(counts)}
        lines += ["", say(SUMMARY if counts[1:] else ONE, middle=median(counts), **summary), say(MEANT)]
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
            states = [in_language(_state(records.get(name, {})), language) for name in TASKS]
            writer.writerow([*(_safe(row[key]) for key in HEADINGS), *states])
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

    def _read(self, file):
        """The records of a file, with the texts where they lie beside it; None where it is broken, which is a fault."""
        try:
            records = progress.read(file.read_bytes().decode(errors="surrogateescape"))
        except progress.ProgressError as error:
            self.faults.append(Text(BROKEN, path=shown(file), said=error.said))
            return None
        except OSError as error:
            self.faults.append(Text(BROKEN, path=shown(file), said=error.strerror))
            return None
        if file.name == PROGRESS.name:  # a folder that somebody works in
            records = {key: record | {"text": _text(file, key)} for key, record in records.items()}
        return records


STATES = {"not started": "not started", "started": "started", "given up": "given up", "done": "done"}


def _state(record):
    """An exercise's state, and that somebody gave it up before it passed."""
    state = progress.state(record)
    said = Text(STATES[state])
    return Text(GAVE_UP_FIRST, state=said) if record.get("gave_up") and state != "given up" else said


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
    widths = [_width([row[i] for row in texts]) for i in range(len(headings))]
    return [
        "  ".join([padded(row[0], widths[0]), *(_right(cell, n) for cell, n in zip(row[1:], widths[1:], strict=True))])
        for row in texts
    ]


def _width(texts):
    """Columns for these: WIDEST at most, and more where two would look the same."""
    needed = max(map(display_width, texts))
    widths = [min(columns, needed) for columns in (WIDEST, 2 * WIDEST, 4 * WIDEST)]
    different = len(set(texts))
    return next((width for width in widths if len({cut(text, width) for text in texts}) == different), needed)


def _right(text, columns):
    return " " * (columns - display_width(text)) + text


def _safe(value):
    """A name that a spreadsheet would take for a formula gets a quote before it."""
    return f"'{value}" if str(value)[:1] in tuple("=+-@\t\r") and value != "-" else value
