"""The judge in a process of its own: a file that loops for ever, or ends the program, does no harm."""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import minires
from minires.exercises.interface import OUT_OF_TIME, answer
from minires.exercises.language import Text
from minires.exercises.reading import Source

WITH_SECONDS = "{late} (--seconds sets the limit.)"
IN_LINE = "It was in line {line}:"
NO_ANSWER = "The process ended without an answer: did the file end it, or crash?"


def check_in_process(
    name: str, path: str | Path, seconds: float, language: str = "en", more: bool = False
) -> dict[str, Any]:
    """minires.exercises.check of the file, stopped after so many seconds.   more: with the second hint."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "answer"
        command = [sys.executable, "-m", "minires.exercises.process", name, str(path), str(file), str(seconds)]
        command += [language, *(["more"] if more else [])]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=_environment(),
                timeout=seconds + 60,  # the start, on a busy machine; the judge itself stops after `seconds`
            )
            printed = done.stdout
        except subprocess.TimeoutExpired as error:
            printed = error.stdout or b""
        text = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
    try:
        found = json.loads(text)
    except ValueError:
        found = {"state": "wrong", **_no_answer(text, path, seconds)}
    return answer(name, found, language, printed.decode(errors="replace"))


def _no_answer(text, path, seconds):
    if not text:
        return {"key": "ended", "lines": [Text(NO_ANSWER)]}
    line = re.search(rf'File "[^"]*{re.escape(Path(path).name)}", line (\d+)', text)  # the innermost comes first
    where = []
    if line:
        where = [Text(IN_LINE, line=line[1]), f"  {Source(str(path), Path(path).read_bytes()).line(int(line[1]))}"]
    late = Text(WITH_SECONDS, late=Text(OUT_OF_TIME, seconds=seconds))
    return {"key": "time", "lines": [late, *where]}


def _environment():
    """This process's, and this minires in every folder."""
    root = str(Path(minires.__file__).resolve().parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}
