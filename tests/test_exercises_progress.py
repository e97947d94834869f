"""Progress: in a folder, out into a file, and back in. Nothing of it is lost."""

import json
import os
import re
from pathlib import Path

import pytest

from minires.exercises import __main__ as command_line
from minires.exercises import check as check_here
from minires.exercises import folder, progress
from minires.exercises.tasks import TASKS

FIRST, LATER = "2026-01-02T03:04:05Z", "2026-02-03T04:05:06Z"
RIGHT, WRONG = TASKS["predict_sigmoid"].solved(), TASKS["predict_sigmoid"].file() + "# mine\n"


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LC_ALL", "C")


@pytest.fixture
def checks(monkeypatch):
    """The command line's checks in this process: these files run nothing."""

    def check(name, path, seconds, language, more):
        return check_here(name, Path(path).read_bytes(), language, more=more, path=str(path))

    monkeypatch.setattr(command_line, "check_in_process", check)


def main(capsys, *arguments):
    code = command_line.main(list(arguments))
    return code, *capsys.readouterr()


def written(name, text):
    Path("exercises").mkdir(exist_ok=True)
    folder.file_of(name).write_text(text, encoding="utf-8")


def file_of(path, **records):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(progress.written({name: progress.NEW | one for name, one in records.items()}), "utf-8")
    return Path(path)


def everything():
    """All files of this folder and what is in them."""
    return {str(path): path.read_bytes() for path in Path().rglob("*") if path.is_file()}


# Records ------------------------------------------------------------------------------------------------------------


def test_a_record_from_the_first_try_to_the_end():
    record = progress.checked({}, "a", "unwritten", FIRST)
    assert record["tries"] == 0 and progress.state(record) == "started"
    record = progress.checked(record, "b", "wrong", FIRST)
    assert record["tries"] == 1 and progress.state(record) == "started"
    given_up = progress.gave_up(record, FIRST)
    assert progress.state(given_up) == "given up" and progress.gave_up(given_up, LATER) == given_up
    for before in (record, given_up):
        passed = progress.checked(before, "c", "passed", FIRST)
        assert passed["tries"] == 2 and passed["passed"] == FIRST and progress.state(passed) == "done"
        assert passed["gave_up"] == before["gave_up"]
        again = progress.checked(passed, "d", "wrong", LATER)
        assert progress.state(again) == "started" and (again["passed"], again["passed_text"]) == (FIRST, "c")
        assert progress.gave_up(again, LATER)["gave_up"] == before["gave_up"], "it had passed already"
        assert progress.checked(again, "e", "passed", LATER)["passed"] == FIRST
    assert progress.state({}) == "not started"


def test_what_is_written_is_read():
    text = "text \u4e2d \udc80 \\ " + "[{" * 100 + '"'
    records = {"relu": progress.checked({}, text, "passed", FIRST), "later_exercise": progress.NEW}
    assert progress.read(progress.written(records)) == records
    assert progress.read("\ufeff" + progress.written(records)) == records
    assert progress.read(json.dumps({progress.FORMAT: 1, "exercises": {"relu": {}}})) == {"relu": progress.NEW}


def test_merged_is_the_same_in_any_order_but_for_the_text():
    one = {"text": "a", "tries": 3, "passed": LATER, "passed_text": "a", "gave_up": None}
    other = {"text": "b", "tries": 5, "passed": FIRST, "passed_text": "b", "gave_up": FIRST}
    for mine, theirs in ((one, other), (other, one)):
        both = progress.merged(mine, theirs)
        assert (both["tries"], both["passed"], both["gave_up"]) == (5, FIRST, FIRST)
        assert both["text"] == mine["text"] and progress.state(both) == "done"
        assert progress.merged(both, theirs) == both == progress.merged(both, mine)
    assert progress.merged({}, one) == one == progress.merged(one, {})


BROKEN = {
    "empty": "",
    "no_json": "{",
    "another": '{"a": 1}',
    "a_list": "[]",
    "a_number": "1",
    "later": json.dumps({progress.FORMAT: 2}),
    "a_word_for_a_version": json.dumps({progress.FORMAT: "1"}),
    "no_exercises": json.dumps({progress.FORMAT: 1}),
    "exercises_are_a_list": json.dumps({progress.FORMAT: 1, "exercises": []}),
    "deep": "[" * 100_000,
    "quotes_without_end": '\\"' * 1_000_000,  # in no time: not each of them is looked through to the end
    "deep_objects": '{"a":' * 100_000,
    **{
        f"{key}_{number}": json.dumps({progress.FORMAT: 1, "exercises": {"relu": {key: value}}})
        for key, values in {
            "text": [1, [], True],
            "tries": [-1, 1.5, "3", True, None, 10**12],
            "passed": [1, "yesterday", "2026-13-01T00:00:00Z", {}],
            "passed_text": [False],
            "gave_up": ["", 0],
        }.items()
        for number, value in enumerate(values)
    },
    "record": json.dumps({progress.FORMAT: 1, "exercises": {"relu": 3}}),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_no_progress(capsys, case):
    with pytest.raises(progress.ProgressError):
        progress.read(BROKEN[case])
    Path("broken.json").write_text(BROKEN[case], encoding="utf-8")
    written("relu", "mine")
    before = everything()
    for language in ("en", "zh"):
        for command in ("import", "report"):
            code, out, err = main(capsys, command, "broken.json", "--lang", language)
            assert (code, out) == (2, "") and err.count("\n") == 1 and "broken.json" in err
    assert everything() == before


def test_a_file_without_end(monkeypatch):
    monkeypatch.setattr(progress, "MOST", 10)
    with pytest.raises(progress.ProgressError, match="11 letters"):
        progress.read("x" * 11)


# In a folder --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("checks")
def test_checks_are_counted(capsys):
    main(capsys, "start", "predict_sigmoid")
    main(capsys, "check")
    written("predict_sigmoid", WRONG.replace("answer = None", "answer = 3"))
    main(capsys, "check", "predict_sigmoid")
    main(capsys, "check", "exercises/predict_sigmoid.py")
    other = Path("predict_sigmoid.py")
    other.write_text(RIGHT, encoding="utf-8")
    assert main(capsys, "check", str(other))[0] == 0, "another file: not counted"
    assert folder.records()["predict_sigmoid"]["tries"] == 2
    written("predict_sigmoid", RIGHT)
    main(capsys, "check", "predict_sigmoid")
    record = folder.records()["predict_sigmoid"]
    assert record["tries"] == 3 and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", record["passed"])
    assert "text" not in json.loads(folder.PROGRESS.read_text(encoding="utf-8"))["exercises"]["predict_sigmoid"]


@pytest.mark.usefixtures("checks")
def test_the_solution_opens_after_passing_or_giving_up(capsys):
    for language, word in (("en", "give up"), ("zh", "\u653e\u5f03")):
        code, out, err = main(capsys, "solution", "relu", "--lang", language)
        assert (code, out) == (2, "") and word in err and not Path("exercises").exists()
    code, out, _ = main(capsys, "solution", "relu", "--give-up")
    assert code == 0 and out.startswith("return dy * (y > 0)\n") and "slope" in out
    assert folder.states()["relu"] == "given up" and re.search(r"relu +given up", main(capsys)[1])
    assert main(capsys, "solution", "relu")[0] == 0, "it is remembered"
    written("predict_sigmoid", RIGHT)
    main(capsys, "check", "predict_sigmoid")
    code, out, _ = main(capsys, "solution", "predict_sigmoid", "--lang", "zh")
    assert code == 0 and "0.25" in out and re.search("[\u4e00-\u9fff]", out)
    assert folder.records()["predict_sigmoid"]["gave_up"] is None
    assert main(capsys, "solution", "conv2")[0] == 2


def test_giving_up_that_cannot_be_remembered(capsys, monkeypatch):
    def refused(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refused)
    code, out, err = main(capsys, "solution", "relu", "--give-up")
    assert (code, out) == (2, "") and "stays closed" in err


@pytest.mark.usefixtures("checks")
def test_a_broken_progress_file_stays_as_it_is(capsys):
    written("predict_sigmoid", RIGHT)
    folder.PROGRESS.write_text("{", encoding="utf-8")
    for arguments in (["list"], ["export"], ["solution", "relu", "--give-up"]):
        code, out, err = main(capsys, *arguments)
        assert (code, out) == (2, "") and "progress.json" in err and err.count("\n") == 1
    code, out, err = main(capsys, "check", "predict_sigmoid")
    assert "cannot be written" in out + err and folder.PROGRESS.read_text(encoding="utf-8") == "{"


# Out and in ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("checks")
def test_there_and_back(capsys, tmp_path, monkeypatch):
    assert main(capsys, "export")[0] == 2
    written("predict_sigmoid", RIGHT)
    main(capsys, "check", "predict_sigmoid")
    folder.file_of("relu").write_bytes("# caf\xe9\r\n".encode("latin-1"))
    main(capsys, "solution", "tanh", "--give-up")
    code, out, _ = main(capsys, "export", "mine.json")
    assert code == 0 and "3 exercises" in out
    before, records = everything(), folder.records()
    code, _, err = main(capsys, "export", "mine.json")
    assert code == 2 and "already" in err and everything() == before
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "there")
    for _ in range(2):  # twice is as good as once
        assert main(capsys, "import", "../mine.json")[0] == 0
        assert folder.records() == records
        assert sorted(path.name for path in Path("exercises").iterdir()) == [
            "predict_sigmoid.py",
            "progress.json",
            "relu.py",
        ]
    assert Path("exercises/relu.py").read_bytes() == b"# caf\xe9\r\n"
    assert folder.states()["predict_sigmoid"] == "done" and folder.states()["tanh"] == "given up"


def test_import_overwrites_nothing(capsys):
    file_of("in.json", relu={"text": "theirs", "tries": 7, "passed": FIRST, "passed_text": "theirs"})
    written("relu", "mine")
    for _ in range(2):
        code, out, _ = main(capsys, "import", "in.json")
        assert code == 0 and "relu.imported1.py" in out
        assert folder.text_of(folder.file_of("relu")) == "mine"
        assert folder.text_of(Path("exercises/relu.imported1.py")) == "theirs"
        assert not Path("exercises/relu.imported2.py").exists()
    assert folder.states()["relu"] == "started" and folder.records()["relu"]["tries"] == 7
    for _ in range(2):
        code, out, _ = main(capsys, "import", "in.json", "--replace")
        assert code == 0 and folder.text_of(folder.file_of("relu")) == "theirs"
        assert folder.text_of(Path("exercises/relu.old1.py")) == "mine"
        assert not Path("exercises/relu.old2.py").exists()
    assert folder.states()["relu"] == "done"
    assert "old1" in out or "same already" in out


def test_import_over_what_nobody_has_touched(capsys):
    for language in ("en", "zh"):
        folder.FOLDER.mkdir(exist_ok=True)
        folder.file_of("relu").write_text(TASKS["relu"].file(language), encoding="utf-8")
        file_of("in.json", relu={"text": f"theirs {language}"})
        assert main(capsys, "import", "in.json")[0] == 0
        assert folder.text_of(folder.file_of("relu")) == f"theirs {language}"
    assert sorted(path.name for path in folder.FOLDER.iterdir()) == ["progress.json", "relu.py"]


def test_import_of_names_that_nobody_knows(capsys):
    file_of("in.json", **{"../../evil": {"text": "x"}, "relu": {"text": "y"}, "a\nb": {"text": "z"}})
    code, out, _ = main(capsys, "import", "in.json")
    assert code == 0 and out.count("no exercise of this minires") == 2
    assert sorted(everything()) == ["exercises/progress.json", "exercises/relu.py", "in.json"]


def test_import_that_cannot_be(capsys, monkeypatch):
    assert main(capsys, "import", "nowhere.json")[0] == 2
    Path("folder.json").mkdir()
    assert main(capsys, "import", "folder.json")[0] == 2
    file_of("in.json", relu={"text": "x"})
    Path("exercises").write_text("a file", encoding="utf-8")
    code, _, err = main(capsys, "import", "in.json")
    assert code == 2 and err.count("\n") == 1 and Path("exercises").read_text(encoding="utf-8") == "a file"
    Path("exercises").unlink()
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    code, _, err = main(capsys, "import", "in.json")
    assert code == 2 and "No space left" in err
    assert main(capsys, "export", "no/such/folder.json")[0] == 2
