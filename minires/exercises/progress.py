"""How far somebody is: one JSON file, which the page, the command line and a teacher's report share.

    {"minires exercises": 1,
     "exercises": {"relu": {"text": "...", "tries": 3, "passed": "2026-11-27T10:12:00Z", "passed_text": "...",
                            "gave_up": null}}}

text: the answer as it is now.   tries: checks of something written.   passed: when first, or null.   passed_text: the
last text that passed, or null; an exercise is done where text is that.   gave_up: when the solution was asked for
before it passed, or null. What is missing counts as null, or 0.
"""

import datetime
import json
from typing import Any

from minires.exercises.language import Text
from minires.plain import read_json

FORMAT = "minires exercises"
NEW: dict[str, Any] = {"text": None, "tries": 0, "passed": None, "passed_text": None, "gave_up": None}
MOST = 5_000_000  # letters of a file
NOT_JSON = "this is no JSON, from line {line} on: export it again"
TOO_LONG = "this has {count:,} letters, more than any progress has: export it again"
NO_PROGRESS = "this is no progress of minires exercises: export it with {command}"
LATER = "this is of version {version}, and this minires knows 1: install a later minires"
NO_EXERCISES = "its exercises are no object of names: export it again"
NO_RECORD = "its {name} is no object of text, tries, passed, passed_text and gave_up: export it again"
WRONG_VALUE = "its {name} has {key} {value}, and that must be {kind}: export it again"
KINDS = {"text": "a text or null", "tries": "a number, 0 or more", "when": "a time as 2026-11-27T10:12:00Z, or null"}
EXPORT = "python -m minires.exercises export"


class ProgressError(Exception):
    """No progress; `said`, a Text, says why."""

    def __init__(self, said: Text) -> None:
        super().__init__(said)
        self.said = said


def read(text: str) -> dict[str, dict[str, Any]]:
    """The records by name. Raises ProgressError for what is none; names that nobody knows are kept."""
    if len(text) > MOST:
        raise ProgressError(Text(TOO_LONG, count=len(text)))
    try:
        found = read_json(text.removeprefix("\ufeff"))
    except ValueError as error:
        raise ProgressError(Text(NOT_JSON, line=getattr(error, "lineno", 1))) from None
    if not isinstance(found, dict) or FORMAT not in found:
        raise ProgressError(Text(NO_PROGRESS, command=EXPORT))
    if found[FORMAT] != 1:
        raise ProgressError(Text(LATER, version=repr(found[FORMAT])[:40]))
    records = found.get("exercises")
    if not isinstance(records, dict):
        raise ProgressError(Text(NO_EXERCISES))
    return {name: _record(name, record) for name, record in records.items()}


def written(records: dict[str, dict[str, Any]]) -> str:
    """The file of these records."""
    return json.dumps({FORMAT: 1, "exercises": records}, indent=1) + "\n"


def now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def checked(record: dict[str, Any], text: str, state: str, when: str) -> dict[str, Any]:
    """The record after a check of this text.   state: what the check said."""
    record = NEW | record | {"text": text}
    if state != "unwritten":
        record["tries"] += 1
    if state == "passed":
        record |= {"passed": record["passed"] or when, "passed_text": text}
    return record


def gave_up(record: dict[str, Any], when: str) -> dict[str, Any]:
    """The record after the solution was asked for. What has passed was not given up."""
    record = NEW | record
    return record if record["passed"] else record | {"gave_up": record["gave_up"] or when}


def state(record: dict[str, Any]) -> str:
    """ "not started", "started", "given up" or "done": the text as it is now has passed."""
    record = NEW | record
    if record["text"] is not None and record["text"] == record["passed_text"]:
        return "done"
    if record["gave_up"] and not record["passed"]:
        return "given up"
    return "not started" if record["text"] is None else "started"


def merged(mine: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Both records in one, with the text of `mine` where there is one: read twice, nothing changes."""
    mine, other = NEW | mine, NEW | other
    first = {key: min(filter(None, (mine[key], other[key])), default=None) for key in ("passed", "gave_up")}
    texts = {key: other[key] if mine[key] is None else mine[key] for key in ("text", "passed_text")}
    if texts["text"] is not None and texts["text"] == other["passed_text"]:
        texts["passed_text"] = other["passed_text"]
    return mine | first | texts | {"tries": max(mine["tries"], other["tries"])}


def _record(name, record):
    shown = name[:40]
    if not isinstance(record, dict):
        raise ProgressError(Text(NO_RECORD, name=shown))
    whole = NEW | record
    for key, value in whole.items():
        if key not in NEW:
            continue
        kind = "tries" if key == "tries" else "text" if "text" in key else "when"
        if not _fits(kind, value):
            said = Text(KINDS[kind])
            raise ProgressError(Text(WRONG_VALUE, name=shown, key=key, value=repr(value)[:40], kind=said))
    return whole


def _fits(kind, value):
    if kind == "tries":
        return type(value) is int and 0 <= value < 10**9
    if value is None or kind == "text":
        return value is None or isinstance(value, str)
    try:
        datetime.datetime.strptime(value, "%Y-%m-%dT%H:%M:%SZ")
    except (TypeError, ValueError):
        return False
    return True
