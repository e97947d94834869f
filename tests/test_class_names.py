"""The names of well-known classes, and lists of names that users write."""

import os

import pytest

from minires.cli import testing
from minires.cli.weights import class_names as names_for
from minires.data import CLASSES
from minires.data.class_names import LISTS, class_names, read_class_names
from minires.training import Evaluation


@pytest.mark.parametrize(
    ("name", "number", "first", "last"),
    [
        ("imagenet", 1000, "tench", "toilet tissue"),
        ("cifar100", 100, "apple", "worm"),
        ("cifar100-coarse", 20, "aquatic_mammals", "vehicles_2"),
        ("cifar10", 10, "airplane", "truck"),
    ],
)
def test_the_lists(name, number, first, last):
    names = class_names(name)
    assert (len(names), names[0], names[-1]) == (number, first, last)
    assert all(text and text == text.strip() for text in names)


def test_some_names_stand_where_they_should():
    names = class_names("imagenet")
    assert [names[label] for label in (207, 281, 407, 817, 980)] == [
        "golden retriever", "tabby", "ambulance", "sports car", "volcano"]  # fmt: skip
    assert class_names("cifar10") == CLASSES
    assert list(class_names("cifar100")) == sorted(class_names("cifar100"))


def test_an_unknown_list():
    with pytest.raises(ValueError, match=r"unknown list of class names 'cifar-100': did you mean 'cifar100'\?"):
        class_names("cifar-100")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_marks_and_ends_of_lines_are_no_part_of_a_name(tmp_path, encoding, end):
    (tmp_path / "names.txt").write_bytes(f"airplane{end}猫 {end}Äpfel{end}{end}".encode(encoding))
    assert read_class_names(tmp_path / "names.txt") == ["airplane", "猫", "Äpfel"]


def test_a_file_that_is_no_list(tmp_path):
    (tmp_path / "names.txt").write_bytes(b"\xff\xffx")
    with pytest.raises(ValueError, match=r"names\.txt: cannot be read \(it is no text in UTF-8\): give a text file"):
        read_class_names(tmp_path / "names.txt")
    with pytest.raises(ValueError, match=r"none\.txt: cannot be read \(No such file"):
        read_class_names(tmp_path / "none.txt")


def test_names_for_weights_that_have_none(tmp_path, capsys):
    weights = {"model": "resnet18", "num_classes": 1000, "classes": None}
    assert names_for(weights, None)[0] == "tench"
    assert "taken to be ImageNet's" in capsys.readouterr().err
    assert names_for({**weights, "num_classes": 10}, None)[:2] == ["class 0", "class 1"]
    assert names_for({**weights, "num_classes": 100}, "cifar100")[-1] == "worm"
    with pytest.raises(ValueError, match=r"--classes cifar100: 100 names, the weights have 10 classes"):
        names_for({**weights, "num_classes": 10}, "cifar100")
    (tmp_path / "two.txt").write_text("\ufeffa\nb\n", encoding="utf-8")
    assert names_for({**weights, "num_classes": 2}, tmp_path / "two.txt") == ["a", "b"]
    assert set(LISTS) == {"cifar10", "cifar100", "cifar100-coarse", "imagenet"}


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"cat\n" + b"a" * 256 + b"\n", "line 2 is no name of a class"),
        (b"cat\nd\0g\n", "line 2 is no name of a class"),
        (b"a\n" * 2**23 + b"a", r"cannot be read \(it has more than 16,777,216 bytes, the limit\)"),
    ],
)
def test_lists_made_to_cost(tmp_path, content, match):
    (tmp_path / "names.txt").write_bytes(content)
    with pytest.raises(ValueError, match=rf"names\.txt: {match}"):
        read_class_names(tmp_path / "names.txt")


def test_names_are_shown_escaped(tmp_path):
    (tmp_path / "names.txt").write_text("\x1b[31mcat\nd\u202eog\n", encoding="utf-8")
    assert read_class_names(tmp_path / "names.txt") == [r"\x1b[31mcat", r"d\u202eog"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_is_no_list(tmp_path):
    os.mkfifo(tmp_path / "names.txt")
    with pytest.raises(ValueError, match="it is a pipe, a device or a socket"):
        read_class_names(tmp_path / "names.txt")


@pytest.mark.parametrize(
    "classes, expected",
    [
        (("crane", "crane", "cat"), ["crane (class 0)", "crane (class 1)", "cat"]),
        (("a", "a", "a (class 1)"), ["a (class 0)", "a (class 1)", "a (class 1) (class 2)"]),
        (("a", "b", "c"), ["a", "b", "c"]),
    ],
)
def test_no_accuracy_is_lost_where_two_classes_have_one_name(capsys, classes, expected):
    found = testing.test_figures(Evaluation(1.0, 0.5, (1, 2, 3), (4, 4, 4)), classes, "a set")
    assert list(found["class_acc"].items()) == list(zip(expected, (0.25, 0.5, 0.75), strict=True))
    assert ("classes of one name" in capsys.readouterr().err) == (len(set(classes)) < 3)
