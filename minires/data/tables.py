"""Classes from a table: a CSV file that names pictures in one column and their classes in another.

The table is read as text and its names are compared with those of the pictures that are there; it opens no file.
"""

import csv
import io
import os
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from minires.data.dataset import DatasetError
from minires.data.scan import EXAMPLES, readable

LABELS = frozenset((  # what columns of classes are called
    "label", "labels", "class", "classes", "class_name", "classname", "category", "target", "y", "breed", "species",
    "tag",
))  # fmt: skip
MOST_BYTES = 2**28
SEPARATORS = ",;\t|"


def read_labels(
    path: str | Path,
    names: Sequence[str],
    columns: Sequence[str] | None = None,
    tell: Callable[[str], None] = print,
) -> dict[str, str]:
    """{name of a picture: its class}, for those of `names` that the table has.

    names: of the pictures, relative to their folder, with "/" between folders. A table may leave folders and the
    ending out.   columns: the headers (or numbers from 1) of the two columns; None: the column that names most
    pictures, and the one called label, class, ... or the only other one. What was chosen is told.
    Commas, semicolons, tabs or | separate; UTF-8, and UTF-16 with its mark.
    Raises DatasetError for what is no such table, and for pictures with two classes.
    """
    shown = readable(str(path), 200)
    rows = _rows(path, shown)
    known = _Names(names)
    headed = not any(known.find(cell) for cell in rows[0])
    header = [cell.strip() for cell in rows[0]] if headed else [str(n) for n in range(1, len(rows[0]) + 1)]
    body = rows[headed:]
    file, label = _columns(shown, header, body, known, columns)
    labels: dict[str, str] = {}
    strange, empty = [], 0
    for row in body:
        name, text = known.find(row[file], shown), unicodedata.normalize("NFC", row[label].strip())
        if name is None:
            strange.append(row[file])
        elif not text:
            empty += 1
        elif labels.setdefault(name, text) != text:
            raise DatasetError(
                f"{shown}: {readable(name)} has two classes, {labels[name][:40]!r} and {text[:40]!r}: one is needed"
            )
    tell(
        f"labels: {shown}: column {header[file][:40]!r} names the pictures, {header[label][:40]!r} their classes; "
        f"{len(labels):,} of {len(names):,} pictures are in it{'' if columns else ' (label_columns chooses others)'}"
    )
    if strange:
        tell(f"left out: {len(strange):,} rows of the table name no picture that is here: {_some(strange)}")
    if empty:
        tell(f"left out: {empty:,} rows of the table without a class")
    return labels


def _rows(path, shown):
    """The rows of a table that are not empty, each as long as the first."""
    separator, text = _separator(_text(path, shown))
    try:
        rows = [
            row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if any(map(str.strip, row))
        ]
    except csv.Error as error:
        raise DatasetError(f"{shown}: is no table that can be read ({error}): save it as CSV") from error
    if not rows or len(rows[0]) < 2:
        raise DatasetError(
            f"{shown}: has no two columns: give a table with a name of a picture and a class in each line"
        )
    for number, row in enumerate(rows, 1):
        if len(row) < len(rows[0]):
            raise DatasetError(f"{shown}: row {number} has {len(row)} columns, the first {len(rows[0])}: mend it")
    return rows


def _text(path, shown):
    try:
        if os.path.getsize(path) > MOST_BYTES:
            raise DatasetError(f"{shown}: is larger than {MOST_BYTES:,} bytes, the limit: is it a table?")
        content = Path(path).read_bytes()
    except OSError as error:
        raise DatasetError(f"{shown}: cannot be read ({error.strerror}): name a CSV file") from error
    utf16 = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        text = content.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        what = "an Excel workbook or another archive" if content[:2] == b"PK" else "no text in UTF-8"
        raise DatasetError(f"{shown}: is {what}: save it as CSV, UTF-8") from error
    if "\0" in text:
        raise DatasetError(f"{shown}: is no text: save it as CSV, UTF-8")
    return text


def _separator(text):
    """What separates the columns, and the table without the line sep=; that Excel can put first."""
    first, _, rest = text.partition("\n")
    if first.strip().lower().startswith("sep=") and first.strip()[4:5] in tuple(SEPARATORS):
        return first.strip()[4], rest
    line = next((line for line in text.splitlines() if line.strip()), "")
    return max(SEPARATORS, key=line.count), text


class _Names:
    """Finds pictures by what a table calls them."""

    def __init__(self, names):
        self.full = set(names)
        self.short: dict[str, Any] = {}
        for name in names:
            for key in {self._clean(name), *self._shorter(name)}:
                self.short.setdefault(key, []).append(name)

    @staticmethod
    def _clean(text):
        return unicodedata.normalize("NFC", text.strip().replace("\\", "/")).lstrip("./")

    def _shorter(self, name):
        """All that a table may call a picture: its path without the first folders, with and without the ending."""
        parts = self._clean(name).split("/")
        for start in range(len(parts)):
            path = "/".join(parts[start:])
            yield path
            yield os.path.splitext(path)[0]

    def find(self, text, shown=None):
        """The picture's name, or None. Where several fit, an error if `shown` names the table, else the first."""
        text = self._clean(text)
        parts = text.split("/")[-32:]
        for start in range(len(parts)):
            found = self.short.get("/".join(parts[start:]), ())
            if text in found:
                return text
            if len(found) > 1 and shown is not None:
                raise DatasetError(
                    f"{shown}: {readable(text)} may be {_some(found)}: give the path from the folder in the table"
                )
            if found:
                return found[0]
        return None


def _columns(shown, header, body, known, wanted):
    """(column of the pictures, column of the classes)."""
    if wanted is not None:
        return tuple(_column(shown, header, name) for name in wanted)
    hits = [len({known.find(row[column]) for row in body[:1000]} - {None}) for column in range(len(header))]
    file = hits.index(max(hits))
    if not hits[file]:
        raise DatasetError(
            f"{shown}: no column names a picture that is here: its first row is {_some(body[0] if body else header)}, "
            f"pictures are called {_some(sorted(known.full)) or 'nothing, as there are none'}"
        )
    others = [column for column in range(len(header)) if column != file]
    named = [column for column in others if header[column].casefold().replace(" ", "_") in LABELS]
    chosen = named if len(named) == 1 else others
    if len(chosen) != 1:
        raise DatasetError(
            f"{shown}: which column holds the classes? Of {', '.join(header)[:200]} name two with label_columns, such "
            f"as {header[file]} {header[others[0]]}"
        )
    return file, chosen[0]


def _column(shown, header, name):
    if name in header:
        return header.index(name)
    if str(name).isdecimal() and 1 <= int(name) <= len(header):
        return int(name) - 1
    raise DatasetError(f"{shown}: has no column {name!r}: choose two of {', '.join(header)[:200]}")


def _some(names):
    return ", ".join(readable(name) for name in names[:EXAMPLES]) + (", ..." if len(names) > EXAMPLES else "")
