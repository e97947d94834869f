"""Plain values, as JSON has them: read within bounds, and held against a description of their types."""

import json
import math
from typing import Any

DEEPEST = 32  # lists and dictionaries within each other; what this library writes has 8


def read_json(text: str | bytes) -> Any:
    """The value of a JSON text. Raises ValueError for what this library does not write, too: keys that stand twice,
    numbers that are not finite, lists more than `DEEPEST` deep.
    """
    try:
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_refuse)
    except RecursionError:
        raise ValueError(f"lists within lists, over {DEEPEST} deep") from None
    _check_depth(value, DEEPEST)
    return value


def check(value: Any, kind: Any, name: str) -> None:
    """Raise ValueError, naming the place, for a value that is not of its kind.

    kind: bool, int (from 0 up), float (finite, whole ones too), str or None; a tuple of kinds, any of which will do;
    [kind], a list of such; {"key": kind, ...}, a dictionary that has these keys, and others; {str: kind}, one of such
    values; dict or list, one of anything.
    """
    if isinstance(kind, tuple):
        if not any(_is_of(value, one) for one in kind):
            raise ValueError(f"{name} is {ascii(value)[:40]}")
    elif isinstance(kind, list):
        check(value, list, name)
        for number, item in enumerate(value):
            check(item, kind[0], f"{name}[{number}]")
    elif isinstance(kind, dict):
        check(value, dict, name)
        if str in kind:
            kind = dict.fromkeys(value, kind[str])
        for key, inner in kind.items():
            if key not in value:
                raise ValueError(f"{name} lacks {key!r}")
            check(value[key], inner, f"{name}.{ascii(key)[1:-1]}")
    else:
        check(value, (kind,), name)


def _is_of(value, kind):
    if kind is None:
        return value is None
    if kind is int:
        return type(value) is int and value >= 0
    if kind is float:
        return type(value) in (int, float) and math.isfinite(value)
    if kind in (bool, str, dict, list):
        return type(value) is kind
    try:
        check(value, kind, "")
    except ValueError:
        return False
    return True


def _once(pairs):
    """A dictionary of pairs, no key twice."""
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a key stands twice")
    return content


def _refuse(word):
    raise ValueError(f"{word} is no number")


def _check_depth(value, left):
    if isinstance(value, (dict, list)):
        if left == 0:
            raise ValueError(f"lists within lists, over {DEEPEST} deep")
        for item in value.values() if isinstance(value, dict) else value:
            _check_depth(item, left - 1)
