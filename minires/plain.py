"""Plain values, as JSON has them: read within bounds, and held against a description of their types."""

import json
import math
import re
import sys
from typing import Any

from minires.wording import quoted, shown

DEEPEST = 32  # lists and dictionaries within each other; what this library writes has 8
_STRING_OR_BRACKET = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|[\[{]|[\]}]', re.DOTALL)


def read_json(text: str | bytes, finite: bool = True) -> Any:
    """The value of a JSON text, which means one thing. Raises ValueError for what is none, for a key that stands twice
    in a dictionary, of which Python's reader takes the last, and for lists more than `DEEPEST` deep.

    finite: refuse NaN and Infinity, too, for which JSON has no words, and what is read as one, as 1e999 is.
    """
    numbers: dict[str, Any] = {"parse_constant": _refuse, "parse_float": _finite} if finite else {}
    if isinstance(text, bytes):
        text = text.decode(json.detect_encoding(text), "surrogatepass")
    _check_depth(text)
    return json.loads(text, object_pairs_hook=_once, **numbers)


def check(value: Any, kind: Any, name: str) -> None:
    """Raise ValueError, naming the place, for a value that is not of its kind.

    kind: bool, int (from 0 up, of 63 bits), float (finite, whole ones too), str or None; a tuple of kinds, any of which
    will do; [kind], a list of such; {"key": kind, ...}, a dictionary that has these keys, and others; {str: kind}, one
    of such values; dict or list, one of anything.
    """
    if isinstance(kind, tuple):
        if not any(_is_of(value, one) for one in kind):
            raise ValueError(f"{name} is {quoted(value)}")
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
            check(value[key], inner, f"{name}.{shown(key)}")
    else:
        check(value, (kind,), name)


def is_number(value: Any) -> bool:
    """Whether a value is a finite number that a float can hold; True and False are none."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max  # a whole number has any size


def _is_of(value, kind):
    if kind is None:
        return value is None
    if kind is int:
        return type(value) is int and 0 <= value < 2**63
    if kind is float:
        return is_number(value)
    if kind in (bool, str, dict, list):
        return type(value) is kind
    try:
        check(value, kind, "")
    except ValueError:
        return False
    return True


def _once(pairs):
    """A dictionary of pairs, no key twice."""
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise ValueError(f"two values are called {shown(key, 80)}")
        content[key] = value
    return content


def _refuse(word):
    raise ValueError(f"{shown(word, 80)} is no number")


def _finite(word):
    """The number of a text; those beyond all floats are read as infinite."""
    value = float(word)
    return value if math.isfinite(value) else _refuse(word)


def _check_depth(text):
    """Before Python's reader sees it, which calls itself for each list: in a browser that can end all of Python."""
    depth = 0
    for found in _STRING_OR_BRACKET.finditer(text):
        depth += found[0] in ("[", "{")
        depth -= found[0] in ("]", "}")
        if depth > DEEPEST:
            raise ValueError(f"lists within lists, over {DEEPEST} deep")
