"""The name that was probably meant, and the names that do not fit."""

from collections.abc import Collection, Iterable
from difflib import SequenceMatcher
from itertools import takewhile

from minires.wording import shown

MOST = 40  # names that a sentence lists


def unknown(what: str, name: object, names: Collection[str]) -> str:
    """A sentence for an unknown name: the nearest of `names`, if one is near, and 40 of them.

    Of more than 40 those that begin with what was given come first, then those that are near.
    Nearest is the most similar; of equals, the one that begins alike for longest: resnet21 means resnet20.
    """
    likeness = _likeness(name)
    near = nearest(name, names)
    meant = f"did you mean {near!r}? " if near else ""
    if len(names) > MOST:
        given = str(name).lower()
        names = sorted(names, key=lambda other: (not other.lower().startswith(given), likeness(other)[0] <= 0.6))
    return f"unknown {what} {name!r}: {meant}choose one of {some(names, MOST)}"


def nearest(name: object, names: Collection[str]) -> str | None:
    """The one of `names` that is most like it, or None where none is near."""
    likeness = _likeness(name)
    most = max(names, key=likeness)
    return most if likeness(most)[0] > 0.4 else None


def _likeness(name):
    given = str(name).lower()

    def likeness(other):
        same = takewhile(lambda letters: letters[0] == letters[1], zip(given, other, strict=False))
        return SequenceMatcher(None, given, other).ratio(), len(list(same))

    return likeness


def misfits(found: dict, expected: dict, what: str, most: int | None = None) -> str:
    """ "missing: a, b; unexpected: c; misshapen: d has (3,), the model (4,)", or "" where all fit.

    found, expected: {name: shape}.   what: whose the expected shapes are ("the model").   most: of each kind that
    many names are given and the number of the others; None: all.
    """
    wrong = [key for key, shape in expected.items() if key in found and found[key] != shape]
    problems = {
        "missing": [key for key in expected if key not in found],
        "unexpected": [key for key in found if key not in expected],
        "misshapen": [f"{shown(key)} has {found[key]}, {what} {expected[key]}" for key in wrong],
    }
    return "; ".join(f"{problem}: {some(names, most)}" for problem, names in problems.items() if names)


def some(names: Iterable[str], most: int | None) -> str:
    """The first `most` names (None: all), and how many more there are."""
    names = list(names)
    more = 0 if most is None else len(names) - most
    return ", ".join(shown(name) for name in names[:most]) + (f" and {more} more" if more > 0 else "")
