"""The page for teachers: its plans hold what there is, and the report of a class is what the command prints."""

import re

import pytest
from test_docs import ROOT, blocks_of

from minires.exercises import __main__ as command_line
from minires.exercises import progress
from minires.exercises.catalogue import EXERCISES

PAGES = ["docs/teaching.md", "docs/zh/teaching.md"]


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_the_term_has_every_exercise_once(page):
    weeks = re.findall(r"^\| \d+ \|[^|]*\|([^|]*)\|", text_of(page), re.M)
    planned = [name for week in weeks for name in re.findall("`([^`]+)`", week)]
    assert len(planned) == len(set(planned)) and set(planned) == set(EXERCISES)


def record(tries, day=None, gave_up=None):
    text = f"the answer of the try {tries}"
    return {
        "text": text,
        "tries": tries,
        "passed": day and f"2026-10-{day:02}T09:00:00Z",
        "passed_text": day and text,
        "gave_up": gave_up,
    }


CLASS = {
    "anna": {"relu": record(1, 5), "add": record(2, 5), "linear": record(9)},
    "bo": {"relu": record(4, 5), "add": record(1, 6), "linear": record(11, 12)},
    "cem": {"relu": record(3, 5), "add": record(6, gave_up="2026-10-06T09:00:00Z")},
}


@pytest.mark.parametrize("page", PAGES)
def test_the_report_of_a_class(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LC_ALL", "C")
    (tmp_path / "handed-in" / "bo").mkdir(parents=True)
    for name, records in CLASS.items():
        file = "bo/minires-exercises.json" if name == "bo" else f"{name}.json"
        (tmp_path / "handed-in" / file).write_text(progress.written(records))
    (tmp_path / "handed-in" / "dora.json").write_text("<!DOCTYPE html>")
    (tmp_path / "handed-in" / "eva.json.txt").write_text(progress.written({}))
    assert command_line.main(["report", "handed-in"]) == 1
    out, err = capsys.readouterr()
    (shown,) = [block.code for block in blocks_of(text_of(page)) if block.language == "console"]
    assert shown == f"$ python -m minires.exercises report handed-in\n{out}{err}"
