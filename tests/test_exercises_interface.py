"""The exercises as a page has them: values of JSON, and the verdicts and hints of the command line, word for word."""

import json
import os
import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from minires import exercises as interface
from minires import textbook
from minires.exercises import __main__ as command_line
from minires.exercises import process, runner
from minires.exercises.catalogue import EXERCISES
from minires.exercises.exercise import BY_HAND_ON_PAGE
from minires.exercises.generate import backward_body, exercise_file, source, with_backward
from minires.exercises.interface import MOST_PRINTED
from minires.exercises.language import LANGUAGES, Text, in_language, table
from minires.exercises.mistakes import MISTAKES, wrong_body
from minires.exercises.reading import UNWRITTEN_ON_PAGE
from minires.exercises.run import AGAIN_ON_PAGE
from minires.exercises.tasks import TASKS

ROOT = Path(__file__).resolve().parent.parent
KEYS = {"name", "kind", "title", "place", "needs", "page", "text", "how", "start", "code", "variable"}
FOR_A_TERMINAL = re.compile(r"python -m|docs/|\.md\b|--|exercises/")
HAN = re.compile(r"[\u4e00-\u9fff]")
EVERY_MISTAKE = [(name, mistake) for name in MISTAKES for mistake in MISTAKES[name]]
IN_TURN = [(*each, LANGUAGES[number % 2]) for number, each in enumerate(EVERY_MISTAKE)]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LC_ALL", "C")


def written(name, body):
    return with_backward(exercise_file(EXERCISES[name]), body)


def of_json(value):
    """The value, as it comes back from JSON: equal, so that nothing else was in it."""
    assert json.loads(json.dumps(value)) == value
    return value


class Ended(Exception):
    pass


@pytest.fixture
def without_a_process(monkeypatch):
    """The command line's check in this process: its own is started some hundred times less."""

    def run(command, **options):
        def ended(code):
            raise Ended

        streams = sys.stdout, sys.stderr
        with monkeypatch.context() as here:
            here.setattr(sys, "argv", command[2:])
            here.setattr(os, "_exit", ended)
            with pytest.raises(Ended):
                process.main()
        sys.stdout, sys.stderr = streams
        return type("Done", (), {"stdout": b""})

    monkeypatch.setattr(runner.subprocess, "run", run)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_list(language):
    listed = of_json(interface.exercises(language))
    assert [each["name"] for each in listed] == list(TASKS)
    assert [each["place"] for each in listed] == list(range(1, len(TASKS) + 1))
    before = set()
    for each in listed:
        assert set(each) == KEYS
        assert set(each["needs"]) <= before, "needs what comes later"
        before.add(each["name"])
        assert each["page"].startswith("zh/") == (language == "zh")
        assert (ROOT / "docs" / each["page"]).is_file()
        if each["kind"] == "write":
            assert each["start"] == exercise_file(EXERCISES[each["name"]], language)
            assert all(gradient in each["text"] for gradient in EXERCISES[each["name"]].gradients)
        else:
            assert f"\n{each['variable']} = None  # " in each["start"]
        assert each["start"].endswith(f'"""\n\n{each["code"]}') and each["code"].startswith("import numpy")
        assert bool(each["how"]) == (each["kind"] != "write")
        assert not FOR_A_TERMINAL.search(each["title"] + each["text"] + each["how"] + each["code"])
    assert next(each["needs"] for each in listed if each["name"] == "conv2d") == ["linear", "im2col"]


@pytest.mark.usefixtures("without_a_process")
@pytest.mark.parametrize("name, mistake, language", IN_TURN, ids=lambda item: getattr(item, "key", item))
def test_the_page_says_what_the_command_line_says(capsys, name, mistake, language):
    text = written(name, wrong_body(EXERCISES[name], mistake))
    Path("exercises").mkdir()
    Path(f"exercises/{name}.py").write_text(text, encoding="utf-8")
    found = of_json(interface.check(name, text, language))
    code = command_line.main(["check", name, "--lang", language])
    printed = capsys.readouterr().out.splitlines()
    assert code == 1 and found["state"] == "wrong"
    assert "\n".join(printed[:-1]) == found["text"]
    assert printed[-1].endswith(f"check {name} --more")
    if language == "zh":
        own = [line for line in found["lines"] if not line.startswith("  ") or "\u63d0\u793a" in line]
        assert not re.search(r"\b(the|is|are|has|where|its)\b", "\n".join(own))
        assert table("zh")[mistake.hint] in "\n".join(found["lines"]) or found["key"] == "shape"


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    "text, said",
    [
        (exercise_file(EXERCISES["relu"]), UNWRITTEN_ON_PAGE),
        ("", AGAIN_ON_PAGE),
        (written("relu", "return dy * np.cos(x)"), BY_HAND_ON_PAGE),
    ],
)
def test_a_page_has_buttons_for_commands_and_files(text, said, language):
    """And says all else as the command line does."""
    ours, page = interface.check("relu", text, language), of_json(interface.check("relu", text, language, on_page=True))
    there, here = ours["text"].splitlines(), page["text"].splitlines()
    assert FOR_A_TERMINAL.search(ours["text"]) and not FOR_A_TERMINAL.search(page["text"])
    assert here[0] == there[0] and in_language(Text(said), language) in "".join(page["lines"])
    assert {**ours, "lines": 0, "text": 0} == {**page, "lines": 0, "text": 0}


@pytest.mark.parametrize("name, mistake", EVERY_MISTAKE[::5], ids=lambda item: getattr(item, "key", item))
def test_a_page_says_of_known_mistakes_what_the_command_line_says(name, mistake):
    text = written(name, wrong_body(EXERCISES[name], mistake))
    assert interface.check(name, text, "zh", on_page=True) == interface.check(name, text, "zh")


def test_in_a_process_of_its_own(capsys):
    text = written("relu", "print('noise')\nreturn dy")
    Path("exercises").mkdir()
    Path("exercises/relu.py").write_text(text, encoding="utf-8")
    for language in LANGUAGES:
        found = interface.check("relu", text, language, more=True)
        command_line.main(["check", "relu", "--more", "--lang", language])
        assert capsys.readouterr().out.rstrip("\n") == found["text"]
        assert set(found["printed"].splitlines()) == {"noise"}


@pytest.mark.parametrize("name", TASKS)
def test_the_solution_passes_and_is_explained(name):
    for language in LANGUAGES:
        solved = of_json(interface.solution(name, language))
        assert solved["source"].endswith(solved["code"]) and not FOR_A_TERMINAL.search(solved["code"])
        if name in EXERCISES:
            assert solved["backward"] == backward_body(source(EXERCISES[name]))
        assert solved["explanation"] and all(solved["explanation"])
        assert all(HAN.search(paragraph) for paragraph in solved["explanation"]) == (language == "zh")
    assert interface.check(name, solved["source"], language)["state"] == "passed"


def test_nothing_is_left_behind_by_a_check(capsys):
    before, filters, errors = list(sys.path), list(warnings.filters), np.geterr()
    text = written("relu", "np.seterr(all='raise')\nprint('x' * 10000)\nimport warnings\nwarnings.warn('w')\nreturn dy")
    found = interface.check("relu", text)
    assert len(found["printed"]) == MOST_PRINTED
    assert (sys.path, warnings.filters, np.geterr()) == (before, filters, errors)
    assert capsys.readouterr() == ("", "") and not list(Path().iterdir())
    assert interface.check("relu", interface.solution("relu")["source"])["text"].startswith("relu: passed\n  forward")


def test_bytes_with_an_encoding_of_their_own():
    text = "# -*- coding: latin-1 -*-\nwho = '\xe9'\n" + interface.solution("relu")["source"]
    assert interface.check("relu", text.encode("latin-1"))["state"] == "passed"
    assert interface.check("relu", text.encode("latin-1").replace(b"latin-1", b"utf-8"))["key"] == "syntax"


@pytest.mark.parametrize("source", ["", "\0", "def relu(", "(" * 1000, "1 / 0", b"\xff\xfe", "import sys\nsys.exit()"])
def test_what_is_no_answer(source):
    for language in LANGUAGES:
        found = of_json(interface.check("relu", source, language))
        assert found["state"] == "wrong" and found["lines"]


def test_out_of_time():
    said = of_json(interface.out_of_time("relu", 20))
    assert said["text"] == "relu: not right yet\n  Not finished after 20 s: is there a loop without an end?"
    assert said["key"] == "time" and set(said) == set(interface.check("relu", ""))
    assert "20 秒" in interface.out_of_time("relu", 20, "zh")["text"]


@pytest.mark.parametrize("call", [interface.check, interface.solution, interface.out_of_time])
def test_names_that_are_none(call):
    more = {interface.check: ("",), interface.out_of_time: (1,)}.get(call, ())
    with pytest.raises(ValueError, match="unknown exercise 'conv2': did you mean 'conv2d'"):
        call("conv2", *more)
    with pytest.raises(ValueError, match="unknown language 'zhh': did you mean 'zh'"):
        call("relu", *more, "zhh")
    with pytest.raises(ValueError, match="unknown language"):
        interface.exercises("fr")


def test_the_textbook_is_not_touched():
    """A check hands out arrays of its own: what the reader's code does to them stays there."""
    before = textbook.relu(np.array([-1.0, 2.0]))[0]
    interface.check("relu", written("relu", "x[...] = 7\ny[...] = 7\ndy[...] = 7\nreturn dy"))
    np.testing.assert_array_equal(textbook.relu(np.array([-1.0, 2.0]))[0], before)
    assert interface.check("relu", interface.solution("relu")["source"])["state"] == "passed"


def test_which_element_is_shown_is_no_matter_of_rounding():
    wrong = "dx1 = dy + 1 + 1e-15 * np.arange(dy.size).reshape(dy.shape)\nreturn dx1, dy\n"
    said = interface.check("add", written("add", wrong))["text"]
    assert re.search(r"dx1\[0(, 0)*\]:", said)
