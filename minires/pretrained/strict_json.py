"""JSON that means one thing: Python's reader takes the last of two values that have one name, and says nothing."""

import json
from typing import Any

from minires.wording import shown


def loads(data: str | bytes) -> Any:
    """What a text of JSON holds. Raises ValueError for what is none, too deep, or has a name twice in a dictionary."""
    try:
        return json.loads(data, object_pairs_hook=_unique)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _unique(pairs):
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"two values are called {shown(next(name for name in found if names.count(name) > 1), 80)}")
    return found
