"""Classes from a table: a CSV file that names pictures in one column and their classes in another.

The table is read as text and its names are compared with those of the pictures that are there; it opens no file.
"""

import contextlib
import csv
import io
import itertools
import os
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from minires.data.dataset import DatasetError
from minires.data.regular import read_regular
from minires.data.scan import EXAMPLES
from minires.wording import readable

LABELS = frozenset((  # what columns of classes are called
    "label", "labels", "class", "classes", "class_name", "classname", "category", "target", "y", "breed", "species",
    "tag",
))  # fmt: skip
MOST_BYTES = 2**28
MOST_COLUMNS = 1000
LONGEST_LINE = 2**20  # letters
LONGEST_NAME = 4096  # letters of a path
LONGEST = 255  # letters of the name of a class
FIRST = 1001  # rows by which the columns are chosen
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
    known = _Names(names)
    with _said(shown):
        rows = _rows(path, shown)
        first = list(itertools.islice(rows, FIRST))
        if not first or len(first[0]) < 2:
            raise DatasetError(
                f"{shown}: has no two columns: give a table with a name of a picture and a class in each line"
            )
        headed = not any(known.find(cell) for cell in first[0])
        header = [readable(cell.strip()) if headed else str(n) for n, cell in enumerate(first[0], 1)]
        file, label = _columns(shown, header, first[headed:], known, columns)
        labels, strange, empty = _labels(shown, itertools.chain(first[headed:], rows), known, file, label)
    tell(
        f"labels: {shown}: column {header[file][:40]!r} names the pictures, {header[label][:40]!r} their classes; "
        f"{len(labels):,} of {len(names):,} pictures are in it{'' if columns else ' (label_columns chooses others)'}"
    )
    if strange[0]:
        tell(f"left out: {strange[0]:,} rows of the table name no picture that is here: {_some(strange[1:])}")
    if empty:
        tell(f"left out: {empty:,} rows of the table without a class")
    return labels


def _labels(shown, rows, known, file, label):
    """({name of a picture: its class}, [number of rows that name none, the first of them], rows without a class)."""
    labels: dict[str, str] = {}
    strange: list[Any] = [0]
    empty = 0
    for row in rows:
        name, text = known.find(row[file], shown), row[label].strip()
        if name is None:
            strange[0] += 1
            strange += [row[file]] if len(strange) <= EXAMPLES + 1 else []
        elif not text:
            empty += 1
        elif len(text) > LONGEST:
            raise DatasetError(
                f"{shown}: the class of {readable(name)} has more than {LONGEST} letters, the limit: is {label + 1} "
                "the column of the classes?"
            )
        elif labels.setdefault(name, readable(text, 8 * LONGEST)) != readable(text, 8 * LONGEST):
            raise DatasetError(
                f"{shown}: {readable(name)} has two classes, {labels[name][:40]!r} and {readable(text)[:40]!r}: one is "
                "needed"
            )
    return labels, strange, empty


@contextlib.contextmanager
def _said(shown):
    """What goes wrong while a table is read, in a sentence."""
    try:
        yield
    except csv.Error as error:
        raise DatasetError(f"{shown}: is no table that can be read ({error}): save it as CSV") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{shown}: is no text in UTF-8: save it as CSV, UTF-8") from error


def _rows(path, shown):
    """Yields the rows of a table that are not empty, each at least as long as the first."""
    text = _text(path, shown)
    separator = _separator(text)
    columns, number = 0, 0
    for row in csv.reader(_lines(text, shown), delimiter=separator):
        if not any(map(str.strip, row)):
            continue
        number, columns = number + 1, columns or len(row)
        if len(row) < columns:
            raise DatasetError(f"{shown}: row {number} has {len(row)} columns, the first {columns}: mend it")
        if len(row) > MOST_COLUMNS:
            raise DatasetError(
                f"{shown}: row {number} has {len(row):,} columns, {MOST_COLUMNS:,} is the limit: mend it"
            )
        yield row


def _text(path, shown):
    """The table as a file of text, which is decoded as it is read."""
    try:
        content = read_regular(path, MOST_BYTES)
    except OSError as error:
        raise DatasetError(f"{shown}: cannot be read ({error.strerror}): name a CSV file") from error
    except ValueError as error:
        raise DatasetError(f"{shown}: {error}: is it a table? Name a CSV file") from error
    if content[:2] == b"PK":
        raise DatasetError(f"{shown}: is an Excel workbook or another archive: save it as CSV, UTF-8")
    utf16 = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    return io.TextIOWrapper(io.BytesIO(content), "utf-16" if utf16 else "utf-8-sig", newline="")


def _lines(text, shown):
    """Yields lines, which are no longer than a row may be."""
    while line := text.readline(LONGEST_LINE):
        if "\0" in line:
            raise DatasetError(f"{shown}: is no text: save it as CSV, UTF-8")
        if len(line) == LONGEST_LINE:
            raise DatasetError(f"{shown}: has a line of more than {LONGEST_LINE:,} letters, the limit: mend it")
        yield line


def _separator(text):
    """What separates the columns; the text is then read on behind the line sep=; that Excel can put first."""
    begin = text.tell()
    line = text.readline(LONGEST_LINE)
    if line.strip().lower().startswith("sep=") and line.strip()[4:5] in tuple(SEPARATORS):
        return line.strip()[4]
    while line and not line.strip():
        line = text.readline(LONGEST_LINE)
    text.seek(begin)
    return max(SEPARATORS, key=line.count)


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
        if len(text) > LONGEST_NAME:
            return None
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
    hits = [len({known.find(row[column]) for row in body} - {None}) for column in range(len(header))]
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
