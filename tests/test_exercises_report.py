"""The report: many students' progress in one table, from whatever folders they come in, and nobody lost on the way."""

import csv
import io
import itertools
import os
import re
from pathlib import Path

import pytest
from test_exercises_progress import FIRST, LATER, RIGHT, WRONG, file_of, main

from minires.exercises import report
from minires.exercises.tasks import TASKS

DONE = {"text": "a", "passed_text": "a", "passed": FIRST, "tries": 2}


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LC_ALL", "C")


def names_and_done(out):
    """{student: how many are done} of a table, as its lines have them."""
    lines = out.split("\n\n")[0].splitlines()[1:]
    return {line.rsplit(None, 5)[0]: int(line.rsplit(None, 5)[1]) for line in lines}


def rows_of(capsys, *paths):
    out = main(capsys, "report", *paths, "--csv")[1]
    return {row["student"]: row for row in csv.DictReader(io.StringIO(out))}


# The table, and the values for a spreadsheet ------------------------------------------------------------------------


def students():
    file_of("class/anna.json", relu=DONE, sigmoid=DONE | {"passed": LATER}, tanh={"gave_up": FIRST})
    file_of("class/\u674e\u96f7.json", relu={"text": "b", "tries": 5})
    file_of("class/none.json")


def test_report(capsys):
    students()
    code, out, err = main(capsys, "report", "class")
    assert (code, err) == (0, "")
    assert re.search(r"^anna +2 +1 +3 +4 +2026-02-03$", out, re.M)
    assert re.search(r"^\u674e\u96f7 +0 +0 +1 +5 +-$", out, re.M)
    assert re.search(r"^none +0 +0 +0 +0 +-$", out, re.M)
    assert f"3 students, {len(TASKS)} exercises. Done: 0 to 2, median 0." in out
    assert re.search(r"^relu +1 +0 +2 +3.5$", out, re.M)
    code, out, _ = main(capsys, "report", "class", "--lang", "zh")
    assert code == 0 and "3 \u540d\u5b66\u751f" in out and "student" not in out
    assert len({report.display_width(line) for line in out.splitlines()[:4]}) == 1, "columns under each other"


def test_report_as_csv(capsys):
    students()
    file_of("class/=cmd.json")
    code, out, _ = main(capsys, "report", "class", "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0 and [row["student"] for row in rows] == ["'=cmd", "anna", "none", "\u674e\u96f7"]
    assert (rows[1]["relu"], rows[1]["tanh"], rows[1]["conv2d"]) == ("done", "given up", "not started")
    assert (rows[3]["relu"], rows[3]["tries"]) == ("started", "5")
    assert set(TASKS) < set(rows[0])


def test_report_of_folders_that_people_work_in(capsys):
    for who, text in (("ada", RIGHT), ("bob", WRONG)):
        file_of(f"rooms/{who}/exercises/progress.json", predict_sigmoid={"tries": 1, "passed_text": RIGHT})
        Path(f"rooms/{who}/exercises/predict_sigmoid.py").write_text(text, encoding="utf-8")
    code, out, _ = main(capsys, "report", "rooms")
    assert code == 0 and re.search(r"^ada +1 ", out, re.M) and re.search(r"^bob +0 ", out, re.M)
    for path in ("rooms/ada", "rooms/ada/exercises", "rooms/ada/exercises/progress.json"):
        code, out, _ = main(capsys, "report", path)
        assert code == 0 and re.search(r"^ada +1 ", out, re.M), path


def test_report_says_what_is_broken(capsys):
    students()
    Path("class/broken.json").write_text("{", encoding="utf-8")
    Path("class/notes.txt").write_text("not a student", encoding="utf-8")
    file_of("other/anna.json")
    code, out, err = main(capsys, "report", "class", "nowhere", "other")
    assert code == 1 and "broken.json: this is no JSON" in err and "no file or folder nowhere" in err
    assert "anna (class/anna.json) " in out and "anna (other/anna.json) " in out and "broken" not in out
    assert "2 files are anna's by their names" in err
    Path("empty").mkdir()
    for nobody in ("empty", "nowhere"):
        code, out, err = main(capsys, "report", nobody)
        assert (code, out) == (2, "") and err.count("\n") == 1
    with pytest.raises(SystemExit):
        main(capsys, "report")


def test_names_that_would_spoil_the_table(capsys):
    for name in ("x" * 200, "\u202eabc", "tab\there"):
        file_of(f"class/{name}.json")
    code, out, _ = main(capsys, "report", "class")
    assert code == 0 and "\u202e" not in out and "\t" not in out
    assert max(map(len, itertools.chain(out.splitlines()[:4]))) < 100


def test_what_was_given_up_and_passed_since(capsys):
    asked = {"gave_up": FIRST}
    changed = DONE | asked | {"text": "b"}
    file_of("class/anna.json", relu=DONE | asked, tanh={"text": "a"} | asked, sigmoid=changed, add={"text": "a"})
    code, out, _ = main(capsys, "report", "class")
    assert code == 0 and re.search(r"^anna +1 +3 +4 ", out, re.M)
    assert "Started: begun, given up or done. Gave up: also what has passed since." in out
    row = rows_of(capsys, "class")["anna"]
    states = {name: row[name] for name in ("relu", "tanh", "sigmoid", "add", "conv2d")}
    assert states == {
        "relu": "done, gave up",
        "tanh": "given up",
        "sigmoid": "started, gave up",
        "add": "started",
        "conv2d": "not started",
    }
    out = main(capsys, "report", "class", "--csv", "--lang", "zh")[1]
    assert "\u5df2\u5b8c\u6210\uff0c\u66fe\u653e\u5f03" in out


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_help_says_what_each_column_means(capsys, language):
    file_of("anna.json")
    heading = main(capsys, "report", "anna.json", "--lang", language)[1].splitlines()[0]
    with pytest.raises(SystemExit):
        main(capsys, "report", "--help", "--lang", language)
    defined = re.findall(r"^  (\S+(?: \S+)?)  +\S.*$", capsys.readouterr().out.split("\n\n")[-1], re.M)
    assert defined == re.split("  +", heading)[1:]


# Folders ------------------------------------------------------------------------------------------------------------


def test_one_folder_for_each_student(capsys):
    for path in (
        "anna/minires-exercises.json",
        "Bo Li_1234_assignsubmission_file/minires-exercises (2).json",
        "group/cem/minires-exercises-1.json",
        "group/dora/mine.json",
        "eva.json",
    ):
        file_of(f"handed-in/{path}", relu=DONE)
    code, out, err = main(capsys, "report", "handed-in")
    assert (code, err) == (0, "")
    rows = rows_of(capsys, "handed-in")
    assert list(rows) == ["Bo Li_1234_assignsubmission_file", "anna", "eva", "cem", "mine"]
    assert all(row["done"] == "1" for row in rows.values()) and len(names_and_done(out)) == 5


def test_the_pages_name_where_no_folder_says_whose_it_is(capsys):
    file_of("handed-in/minires-exercises.json")
    file_of("handed-in/minires-exercises (2).json")
    assert list(rows_of(capsys, "handed-in")) == ["minires-exercises (2)", "minires-exercises"]
    assert list(rows_of(capsys, "handed-in/minires-exercises.json")) == ["minires-exercises"]


def test_each_students_folder_or_file_named(capsys):
    """As a shell puts them in for handed-in/* and handed-in/*/*."""
    files = [file_of(f"handed-in/{name}/minires-exercises.json") for name in ("anna", "bo")]
    assert list(rows_of(capsys, *map(str, files))) == ["anna", "bo"]
    assert list(rows_of(capsys, *(str(file.parent) for file in files))) == ["anna", "bo"]


def test_a_folder_that_somebody_works_in_is_one_student_at_any_depth(capsys):
    file_of("rooms/first/ada/exercises/progress.json", predict_sigmoid={"tries": 1, "passed_text": RIGHT})
    Path("rooms/first/ada/exercises/predict_sigmoid.py").write_text(RIGHT, encoding="utf-8")
    Path("rooms/first/ada/notes.txt").write_text("hers", encoding="utf-8")
    file_of("rooms/first/ada/sent/mine.json")
    file_of("rooms/bob/progress.json", relu={"tries": 7})
    code, out, err = main(capsys, "report", "rooms")
    assert (code, err) == (0, "") and names_and_done(out) == {"bob": 0, "ada": 1}
    file_of("rooms/first/ada/minires-exercises.json")
    file_of("rooms/first/ada/cem/minires-exercises.json")
    code, out, err = main(capsys, "report", "rooms")
    assert code == 0 and names_and_done(out) == {"bob": 0, "ada": 1}
    first, second = err.splitlines()
    assert first.startswith("rooms/first/ada/cem/minires-exercises.json: not read: rooms/first/ada/exercises/progress")
    assert second.startswith("rooms/first/ada/minires-exercises.json: not read: ")


def test_a_class_in_a_folder_that_somebody_works_in(capsys):
    for path in ("exercises/progress.json", "anna.json", "bo/exercises/progress.json", "cem/progress.json"):
        file_of(f"class/{path}")
    code, out, err = main(capsys, "report", "class")
    assert code == 0 and names_and_done(out) == {"class": 0}
    assert [line.partition(":")[0] for line in err.splitlines()] == [
        "class/anna.json",
        "class/bo/exercises/progress.json",
        "class/cem/progress.json",
    ]


def test_two_files_of_one_name(capsys):
    file_of("class/left/anna.json", relu=DONE)
    file_of("class/right/anna.json")
    file_of("class/bo/minires-exercises.json")
    file_of("class/bo/minires-exercises (1).json", relu=DONE)
    file_of("class/cem.json")
    code, out, err = main(capsys, "report", "class")
    assert code == 0 and len(names_and_done(out)) == 5
    assert [(name, row["done"]) for name, row in rows_of(capsys, "class").items()] == [
        ("bo (minires-exercises (1).json)", "1"),
        ("bo (minires-exercises.json)", "0"),
        ("cem", "0"),
        ("anna (left/anna.json)", "1"),
        ("anna (right/anna.json)", "0"),
    ]
    assert [line.partition(":")[0] for line in err.splitlines()] == [
        "2 files are bo's by their names",
        "2 files are anna's by their names",
    ]
    Path("class/left/anna.json").write_text("{", encoding="utf-8")
    code, out, err = main(capsys, "report", "class")
    assert code == 1 and "anna" in names_and_done(out) and "anna's" not in err


def test_long_names_stay_apart_in_the_table(capsys):
    for number in range(3):
        file_of(f"class/{'long ' * 10}{number}/anna.json")
    file_of("class/anna (anna.json).json")
    file_of("class/anna.json")
    code, out, _ = main(capsys, "report", "class")
    assert code == 0 and len(names_and_done(out)) == 5


def test_what_is_named_twice_is_counted_once(capsys):
    file_of("class/anna/minires-exercises.json", relu=DONE)
    for again in ("class/anna", "class/anna/minires-exercises.json", "./class"):
        code, out, err = main(capsys, "report", "class", again)
        assert code == 0 and names_and_done(out) == {"anna": 1}
        assert "counted already" in err and err.count("\n") == 1


def test_folders_that_are_no_students(capsys):
    file_of("class/anna.json")
    for folder in (".git", "env", "node_modules", "__pycache__", "__MACOSX"):
        file_of(f"class/{folder}/data/minires-exercises.json")
    Path("class/env/pyvenv.cfg").write_text("home = /usr/bin", encoding="utf-8")
    code, out, err = main(capsys, "report", "class")
    assert (code, err) == (0, "") and names_and_done(out) == {"anna": 0}


def test_links_in_circles(capsys):
    file_of("class/zed/minires-exercises.json", relu=DONE)
    Path("class/again").symlink_to(Path("class/zed").absolute())
    for name in ("class/up", "class/zed/up"):
        Path(name).symlink_to(Path("class").absolute())
    Path("class/itself.json").symlink_to("itself.json")
    code, out, err = main(capsys, "report", "class")
    assert code == 0 and names_and_done(out) == {"zed": 1}
    assert err.count("counted already") == 3 and "class/itself.json: not read: this is no file" in err


# What is not read ---------------------------------------------------------------------------------------------------


def other(*paths):
    for path in paths:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text("something", encoding="utf-8")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_is_not_read_is_said(capsys, language):
    file_of("class/anna.json")
    other("class/eva.json.txt", "class/fritz/essay.pdf", "class/gil.JSON.zip")
    other("class/.DS_Store", "class/Thumbs.db", "class/fritz/._essay.pdf", "class/desktop.ini")
    code, out, err = main(capsys, "report", "class", "--lang", language)
    assert code == 0 and len(out.split("\n\n")[0].splitlines()) == 2
    lines = err.splitlines()
    assert len(lines) == 3 and not [name for name in ("DS_Store", "Thumbs", "._", "desktop") if name in err]
    assert lines[0].startswith("class/eva.json.txt") and lines[2].startswith("class/fritz/essay.pdf")
    if language == "en":
        assert lines[0] == "class/eva.json.txt: not read: the name must end in .json; rename it"
        assert lines[1] == "class/gil.JSON.zip: not read: this is an archive; unpack it"
        assert "ask for" in lines[2]
    assert main(capsys, "report", "class", "--csv")[2].count("not read") == 3


def test_of_many_the_first_are_named_and_the_others_counted(capsys):
    other(*(f"class/code/{number:02}.py" for number in range(30)), "class/zoe.json.txt")
    code, out, err = main(capsys, "report", "class")
    lines = err.splitlines()
    assert (code, out) == (2, "") and lines[0].startswith("error: class holds no progress")
    assert "zoe.json.txt" in lines[1] and "class/code/00.py" in lines[2] and len(lines) == 12
    assert lines[-1] == "Besides these, files that are not read: 21"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_keeps_nobody_waiting(capsys):
    file_of("class/anna.json")
    os.mkfifo("class/bo.json")
    code, out, err = main(capsys, "report", "class")
    assert code == 0 and names_and_done(out) == {"anna": 0} and "class/bo.json: not read: this is no file" in err
    assert main(capsys, "report", "class/bo.json")[0] == 2
