"""Names from files, as they are shown: readable, in a line, and nothing that a terminal would obey."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minires.wording import shown


@pytest.mark.parametrize(
    "text", ["layer1.0.conv1.weight", "猫", "Äpfel", "год 1", "عربي", "हिन्दी", "résumé", 'it\'s "it"']
)
def test_letters_of_every_language_stay(text):
    assert shown(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\x1b[31mred", r"a\x1b[31mred"),
        ("two\r\nlines\u2028", r"two\r\nlines\u2028"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("in\u200bvisible\u3164", r"in\u200bvisible\u3164"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
        (r"\x1b", r"\\x1b"),
        ("e" + "\u0301" * 4, "e\u0301\u0301" + r"\u0301\u0301"),
        (b"\x9b\xe9", r"\x9b" + "é"),
        (12, "12"),
        (None, "None"),
        (10**200, "<int>"),
        ([[1]], "<list>"),
    ],
)
def test_what_is_not_seen_is_escaped(text, expected):
    assert shown(text) == expected


@given(st.one_of(st.text(st.characters()), st.binary(), st.integers()), st.integers(3, 30))
def test_what_is_shown_is_printable_and_short(text, most):
    assert len(shown(text, most)) <= most
    assert all(letter.isprintable() for letter in shown(text, most))


def test_what_is_cut_ends_in_dots_and_cuts_no_escape():
    assert shown("a" * 100) == "a" * 100
    assert shown("a" * 101) == "a" * 97 + "..."
    assert shown("\x1b" * 9, 10) == r"\x1b..."


@pytest.mark.parametrize("space", ["\u2002", "\u3000", "\u1680", "\u202f"])
def test_spaces_that_are_not_the_usual_one_are_escaped(space):
    """One is as wide as it likes, and no other than the usual counts as printable."""
    assert shown(f"a{space}b").isprintable() and shown("a b") == "a b"
