"""The exercises in Chinese: every text has one, with the same places in it."""

import ast
import re
import shutil
import string
import subprocess
from pathlib import Path

import pytest

from minires.exercises import __main__ as command_line
from minires.exercises.catalogue import EXERCISES
from minires.exercises.explained import EXPLAINED
from minires.exercises.further import DEPENDENCE
from minires.exercises.language import Several, Text, in_language, language_of, table
from minires.exercises.mistakes import MISTAKES
from minires.exercises.predictions import PREDICTIONS
from minires.exercises.tasks import TASKS

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "minires" / "exercises"
CHINESE = table("zh")
HAN = re.compile(r"[\u4e00-\u9fff]")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)


def said_in(path):
    """Every template of a Text(...) in a module: itself, or the texts that its variable holds."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assigned = {}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    assigned.setdefault(target.id, []).append(node.value)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in ("Text", "say"):
            yield from _texts(node.args[0], assigned)


def _texts(node, assigned):
    """The texts that an expression may give; of one that cannot be read here, its code in brackets."""
    name = getattr(node, "id", "")
    if isinstance(node, ast.Constant):
        yield node.value
    elif isinstance(node, ast.Subscript):
        yield from _texts(node.value, assigned)
    elif name in assigned:
        for value in assigned[name]:
            yield from _texts(value, assigned)
    elif isinstance(node, (ast.Dict, ast.Tuple, ast.IfExp, ast.BinOp)):
        parts = {ast.Dict: ["values"], ast.Tuple: ["elts"], ast.IfExp: ["body", "orelse"], ast.BinOp: ["left", "right"]}
        for part in parts[type(node)]:
            for value in [found] if isinstance(found := getattr(node, part), ast.AST) else found:
                yield from _texts(value, assigned)
    else:
        yield f"[{ast.unparse(node)}]"


def places(template):
    """What stands in braces, with its format: the same in any order."""
    return sorted((name, spec, kind or "") for _, name, spec, kind in string.Formatter().parse(template) if name)


FOUND = {text for path in FOLDER.glob("*.py") for text in said_in(path)}
NOT_READ = {  # texts of exercises, which `data` has, and what is handed on
    *("[mistake.hint]", "[self.bug.mistake.hint]", "[hint]", "[paragraph]", "[template]", "[said]", "[OUT_OF_TIME]"),
    *("[self.exercise.line]", "[task.line]", "[self.prediction.question]", "[self.prediction.hint]"),
    "[self.prediction.explanation]",
}
IN_CODE = sorted(FOUND - NOT_READ)


def test_texts_are_found():
    assert len(IN_CODE) > 100 and "{name} has the wrong sign everywhere." in IN_CODE
    assert not [text for text in IN_CODE if text.startswith("[")], "where are its texts?"


def test_every_text_of_the_code_is_there_in_chinese():
    assert not [text for text in IN_CODE if text not in CHINESE]


@pytest.mark.parametrize("name", EXERCISES)
def test_every_text_of_an_exercise_is_there_in_chinese(name):
    texts = [EXERCISES[name].line, *EXPLAINED[name], *DEPENDENCE[name].values(), *(m.hint for m in MISTAKES[name])]
    assert not [text for text in texts if text not in CHINESE]
    assert all(HAN.search(CHINESE[text]) for text in texts if text != "max(x, 0)")


@pytest.mark.parametrize("name", PREDICTIONS)
def test_every_text_of_a_prediction_is_there_in_chinese(name):
    one = PREDICTIONS[name]
    assert all(HAN.search(CHINESE[text]) for text in (one.question, one.hint, one.explanation))


def test_nothing_else_is_there():
    """What is no longer said in English is not kept in Chinese."""
    data = [*(task.line for task in TASKS.values()), *(text for name in EXERCISES for text in EXPLAINED[name])]
    data += [text for texts in DEPENDENCE.values() for text in texts.values()]
    data += [mistake.hint for mistakes in MISTAKES.values() for mistake in mistakes]
    data += [text for one in PREDICTIONS.values() for text in (one.question, one.hint, one.explanation)]
    assert sorted(set(CHINESE) - {*IN_CODE, *data}) == []


def test_the_places_are_the_same():
    assert not [text for text in CHINESE if places(CHINESE[text]) != places(text)]
    assert places("{a} {b:.6g} {a!r}") == [("a", "", ""), ("a", "", "r"), ("b", ".6g", "")]


# Between Han and Latin letters, digits or a place stands a space; beside a full-width mark none does.
TOUCHING = re.compile(
    r"[\u4e00-\u9fff][A-Za-z0-9`]|[A-Za-z0-9`][\u4e00-\u9fff]|[\u4e00-\u9fff][,;:?!()]|[,;:?!(][\u4e00-\u9fff]"
)
LOOSE = re.compile(
    "(?<=[\u3001\u3002\uff0c\uff1a\uff1b\uff1f\uff08]) | (?=[\u3001\u3002\uff0c\uff1a\uff1b\uff1f\uff09])"
)


def test_the_spacing():
    for text in CHINESE.values():
        shown = re.sub(r"\{\w+(![rs])?(:[^}]*)?\}", "x", re.sub(r"\{(what|hint|cure|kind)\}", "", text))
        shown = shown.strip().removesuffix("   python -m minires.exercises check x")
        assert not TOUCHING.search(shown) and not LOOSE.search(shown), text
    assert TOUCHING.search("\u548cx") and TOUCHING.search("x\u548c") and LOOSE.search("\u548c\uff0c x")


@pytest.mark.skipif(not shutil.which("msgfmt"), reason="msgfmt is not installed")
def test_the_file_is_gettexts():
    subprocess.run(["msgfmt", "--check", "-o", "zh.mo", FOLDER / "zh.po"], check=True)


def test_no_text_is_there_twice():
    written = (FOLDER / "zh.po").read_text(encoding="utf-8")
    assert written.count("\nmsgid ") - 1 == written.count("\nmsgstr ") - 1 == len(CHINESE)


def test_a_text_is_english_and_can_be_said_in_chinese():
    text = Text("{hint} The same holds for {names}.", hint=Text("One hint further."), names=Several(["a", "b", "c"]))
    assert text == "One hint further. The same holds for a, b and c."
    assert in_language(text, "en") == text and type(in_language(text, "en")) is str
    assert in_language(text, "zh") == "进一步的提示\uff1aa、b 和 c 也是如此。"
    assert in_language(Text("no such text"), "zh") == "no such text"


@pytest.mark.parametrize(
    "environment, language",
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "de_DE", "LC_MESSAGES": "zh"}, "zh"),
        ({"LC_ALL": "", "LC_MESSAGES": "", "LANG": "ZH_TW"}, "zh"),
        ({"LC_ALL": "POSIX"}, "en"),
    ],
)
def test_the_language_of_the_environment(environment, language):
    assert language_of(environment) == language


def test_the_flag_comes_before_the_environment(capsys, monkeypatch):
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    for arguments, chinese in (([], True), (["--lang", "en"], False), (["list", "--lang=en"], False)):
        assert command_line.main(arguments) == 0
        assert bool(HAN.search(capsys.readouterr().out)) == chinese
    monkeypatch.setenv("LANG", "C")
    for arguments in (["--lang", "zh"], ["--lang", "zh", "list"], ["list", "--lang", "zh"]):
        assert command_line.main(arguments) == 0
        assert HAN.search(capsys.readouterr().out)


@pytest.mark.parametrize(
    "arguments",
    [
        ["star"],
        ["start"],
        ["start", "conv2"],
        ["check", "relu"],
        ["check"],
        ["check", "no/relu.py"],
        ["start", "x", "y"],
    ]
    + [["check", "--seconds", value] for value in ("0", "many", "nan")]
    + [["--langu", "zh"], ["check", "--seconds"], ["check", "--mor"]],
)
def test_errors_in_chinese(capsys, arguments):
    try:
        code = command_line.main(
            [*arguments, "--lang", "zh"] if arguments[-1] != "--seconds" else ["--lang=zh", *arguments]
        )
    except SystemExit as ended:
        code = ended.code
    out, err = capsys.readouterr()
    assert (code, out) == (2, "") and err.startswith("错误") and err.count("\n") == 1
    assert HAN.search(err.removeprefix("错误").partition("参见")[0])
    assert not re.search(r"\b(the|is|argument|invalid|unknown|there)\b", err)


def test_help_in_chinese(capsys):
    for arguments in (["--help"], ["start", "-h"], ["check", "-h"]):
        with pytest.raises(SystemExit) as ended:
            command_line.main([*arguments, "--lang", "zh"])
        out = capsys.readouterr().out
        assert ended.value.code == 0 and out.startswith("用法")
        assert not re.search(r"\b(usage|options|show|positional|arguments)\b", out)
