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


def judge_in_process(name: str, path: str | Path, seconds: float, more: bool = False) -> dict[str, Any]:
    """The judge's answer, with what the file printed as "printed".   more: with the second hint."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer"
        command = [sys.executable, "-m", "minires.exercises.judge", name, str(path), str(answer), str(seconds)]
        command += ["more"] if more else []
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
        text = answer.read_text(encoding="utf-8", errors="replace") if answer.exists() else ""
    try:
        found = json.loads(text)
    except ValueError:
        found = {"state": "wrong", **_no_answer(text, path, seconds)}
    return found | {"printed": printed.decode(errors="replace").rstrip()}


def _no_answer(text, path, seconds):
    if not text:
        return {"key": "ended", "lines": ["The process ended without an answer: did the file end it, or crash?"]}
    line = re.search(rf'File "[^"]*{re.escape(Path(path).name)}", line (\d+)', text)  # the innermost comes first
    where = [f"It was in line {line[1]}:", f"  {_line(path, int(line[1]))}"] if line else []
    limit = f"Not finished after {seconds:g} s: is there a loop without an end? (--seconds sets the limit.)"
    return {"key": "time", "lines": [limit, *where]}


def _line(path, number):
    lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    return lines[number - 1].strip() if number <= len(lines) else ""


def _environment():
    """This process's, and this minires in every folder."""
    root = str(Path(minires.__file__).resolve().parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}
