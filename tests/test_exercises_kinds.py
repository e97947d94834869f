"""Find the bug, and predict: what is right passes, what is wrong is said, and nothing gives the answer away."""

import ast
import re

import numpy as np
import pytest

from minires import textbook
from minires.exercises.bugs import BUGS
from minires.exercises.catalogue import EXERCISES
from minires.exercises.find import Find
from minires.exercises.generate import backward_body, source, with_backward
from minires.exercises.judge import judge as judge_exercise
from minires.exercises.language import LANGUAGES
from minires.exercises.mistakes import MISTAKES
from minires.exercises.predict import Predict
from minires.exercises.predictions import PREDICTIONS
from minires.exercises.reading import Source
from minires.exercises.tasks import TASKS
from minires.gradcheck import numeric_gradient


def judge(name, text, more=False):
    return TASKS[name].judge(Source(f"exercises/{name}.py", text), more)


def said(found):
    return "\n".join(found["lines"])


def mended(name, line="None", lines=None):
    """The file of a Find with this line named, and these lines in its backward pass."""
    return TASKS[name]._code("en", lines or TASKS[name].bug.wrong, str(line))


# Find the bug -------------------------------------------------------------------------------------------------------


def test_there_are_bugs_for_all_but_single_lines():
    single = {name for name in EXERCISES if len(backward_body(source(EXERCISES[name])).splitlines()) == 1}
    assert {bug.exercise for bug in BUGS.values()} >= set(EXERCISES) - single
    assert len(BUGS) >= 30 and len({(bug.exercise, bug.key) for bug in BUGS.values()}) == len(BUGS)


@pytest.mark.parametrize("name", BUGS)
def test_one_line_is_wrong_and_the_judge_knows_it(name):
    bug = BUGS[name]
    assert 1 <= bug.line <= len(bug.wrong) > 1
    right = with_backward(source(EXERCISES[bug.exercise]), "\n".join(bug.right))
    wrong = with_backward(source(EXERCISES[bug.exercise]), "\n".join(bug.wrong))
    head = "import numpy as np\nfrom minires.textbook import *\n"
    assert judge_exercise(EXERCISES[bug.exercise], Source("x.py", head + right))["state"] == "passed"
    found = judge_exercise(EXERCISES[bug.exercise], Source("x.py", head + wrong))
    assert bug.key in found["key"].split() and bug.mistake.hint in said(found)


@pytest.mark.parametrize("name", BUGS)
def test_find(name):
    find, count = TASKS[name], len(BUGS[name].wrong)
    for language in LANGUAGES:
        text = find.file(language)
        assert max(map(len, text.splitlines())) <= 120
        assert all(f"  # {number}\n" in text for number in range(1, count + 1))
        assert BUGS[name].mistake.hint not in text
        assert judge(name, text)["state"] == "unwritten"
        assert judge(name, find.solved(language))["state"] == "passed"
    other = BUGS[name].line % count + 1
    found = judge(name, mended(name, other), more=True)
    assert (found["state"], found["key"]) == ("wrong", "line") and "comes out wrong" in said(found)
    assert BUGS[name].mistake.hint not in said(found) and f"Line {other} is not the one" in said(found)
    found = judge(name, mended(name, other, BUGS[name].right))
    assert found["key"] == "line" and "it was another line" in said(found)
    found = judge(name, mended(name, BUGS[name].line))
    assert (found["state"], found["key"]) == ("wrong", "not_mended") and len(found["lines"]) == 2
    assert BUGS[name].mistake.hint in said(judge(name, mended(name, BUGS[name].line), more=True))


def test_find_where_the_mend_is_another_mistake():
    lines = [line.replace("dy.T @ x / len(x)", "x.T @ dy") for line in BUGS["find_linear"].wrong]
    found = judge("find_linear", mended("find_linear", 2, lines))
    assert found["key"] == "shape" and found["lines"][:2] == [
        "Line 2 is the one.",
        "What the backward pass gives now is still wrong:",
    ]


@pytest.mark.parametrize(
    "value, key",
    [
        *((none, "no_line") for none in ("0", "5", "'2'", "True", "2.0", "[2]")),
        *(("None", "unwritten"), ("1 / 0", "exception"), ("(", "syntax"), ("exit()", "exit")),
    ],
)
def test_a_line_that_is_none(value, key):
    assert judge("find_linear", mended("find_linear", value))["key"] == key


def test_find_without_its_function_or_its_variable():
    assert judge("find_linear", "wrong_line = 2\n")["key"] == "no_function"
    assert judge("find_linear", mended("find_linear").replace("wrong_line", "line"))["key"] == "unwritten"
    found = judge("find_linear", "wrong_line = 2\ndef linear(x, weight, bias):\n    return x, lambda dy: dy\n")
    assert "start find_linear --again" in said(found), "the reader's name for it"


# Predict ------------------------------------------------------------------------------------------------------------


def test_there_are_predictions_of_each_kind():
    kinds = [one.kind for one in PREDICTIONS.values()]
    assert min(kinds.count(kind) for kind in set(kinds)) >= 4 and len(set(kinds)) == 4
    assert len({one.exercise for one in PREDICTIONS.values()}) >= 20
    verdicts = [Predict(name, one).right() for name, one in PREDICTIONS.items() if one.kind == "verdict"]
    assert 0 < verdicts.count("passes") < len(verdicts)


WRONG = {"verdict": None, "shape": "(1, 2, 3, 4, 5)", "number": "123.5", "numbers": "[1, 2, 3, 4, 5, 6]"}
NONE = {
    "verdict": ["1", "'maybe'", "True", "['passes']"],
    "shape": ["3", "'(2, 3)'", "(2.0, 3)", "[[1]]", "(True,)"],
    "number": ["'1'", "[1]", "True", "(1,)"],
    "numbers": ["1", "'1'", "[]", "[[1], [2, 3]]", "[None]", "{1: 2}", "['a']"],
}


@pytest.mark.parametrize("name", PREDICTIONS)
def test_predict(name):
    task, kind = TASKS[name], PREDICTIONS[name].kind
    for language in LANGUAGES:
        text = task.file(language)
        assert max(map(len, text.splitlines())) <= 120
        assert judge(name, text)["state"] == "unwritten"
        assert judge(name, task.solved(language))["state"] == "passed"
        assert task.right_text() not in text.split('"""')[1] or kind == "verdict"
        ast.parse(text)
    wrong = WRONG[kind] or {"'passes'": "'fails'", "'fails'": "'passes'"}[task.right_text().replace('"', "'")]
    found = judge(name, task._code("en", wrong))
    assert (found["state"], found["key"]) == ("wrong", "answer") and PREDICTIONS[name].hint in said(found)
    assert task.right_text() not in said(found) or kind == "verdict" or task.right_text() in PREDICTIONS[name].hint
    assert len(judge(name, task._code("en", wrong), more=True)["lines"]) == len(found["lines"]) + 1
    for none in NONE[kind]:
        assert judge(name, task._code("en", none))["key"] == "other_kind", none


@pytest.mark.parametrize("name", PREDICTIONS)
def test_the_file_gives_what_is_asked(name):
    """Whoever runs it afterwards sees what the judge has: with what the comment behind the answer says."""
    text = TASKS[name].file()
    values = {}
    exec(text, values)
    asked = re.search(r"^answer = None  # (.*)$", text, re.M)[1]
    if PREDICTIONS[name].kind == "verdict":
        try:
            eval(asked, values)
            outcome = "passes"
        except AssertionError:
            outcome = "fails"
        assert outcome == TASKS[name].right()
    else:
        np.testing.assert_allclose(np.asarray(eval(asked, values), float), np.asarray(TASKS[name].right(), float))


def test_some_answers_by_hand():
    """Each by another way than the code of the exercise."""
    right = {name: TASKS[name].right() for name in PREDICTIONS}
    assert right["predict_linear"] == (3, 5) and right["predict_dense_block"] == (2, 7, 3, 3)
    assert right["predict_sigmoid"] == 0.25 and right["predict_dropout"] == 1 / (1 - 0.75) * 2
    assert right["predict_broadcast"] == 0 and right["predict_shard_mean"] == 2 / 8
    logits = np.zeros((1, 4))
    slopes = numeric_gradient(lambda: textbook.cross_entropy(logits, np.array([2]))[0], logits, np.float64(1))
    np.testing.assert_allclose(right["predict_cross_entropy"], slopes[0], atol=1e-6)


@pytest.mark.parametrize(
    "text, key",
    [
        ("answer = 1 + 1\n", "no_value"),
        ("answer = max(1, 2)\n", "no_value"),
        ("answer = x\n", "no_value"),
        ("", "no_answer"),
        ("def f():\n    answer = 0.25\n", "no_answer"),
        ("answer = (\n", "syntax"),
        ("\0", "syntax"),
        (b"answer = \xff\n", "syntax"),
        ("answer = " + "(" * 3000, "syntax"),
        ("answer = None\nanswer = 0.25\n", "passed"),
        ("answer = 0.2500001\n", "passed"),
        ("answer = 0.26\n", "answer"),
        ("answer = -0.25\n", "answer"),
        ("answer = 1e999\n", "answer"),
        ("while True:\n    pass\nanswer = 0.25\n", "passed"),  # nothing is run
    ],
)
def test_an_answer_and_what_is_none(text, key):
    found = judge("predict_sigmoid", text)
    assert found["key"] == key, said(found)


def test_gradchecks_own_words_are_shown():
    assert "gradcheck" in said(judge("predict_relu_mask", 'answer = "fails"'))


# Both ---------------------------------------------------------------------------------------------------------------


def test_the_order():
    names = list(TASKS)
    assert len(names) == len(EXERCISES) + len(BUGS) + len(PREDICTIONS)
    for name, task in TASKS.items():
        if isinstance(task, Find):
            assert names.index(task.bug.exercise) < names.index(name)
        if isinstance(task, Predict):
            assert names.index(name) < names.index(task.prediction.exercise)


def test_what_is_explained_is_no_list_of_mistakes():
    """A find is explained with the hint of its mistake, which the exercise itself knows."""
    for name, bug in BUGS.items():
        assert bug.mistake in MISTAKES[bug.exercise]
        assert TASKS[name].explanation()[1] == bug.mistake.hint
