"""What a check found."""

from collections.abc import Sequence


class Finding(Exception):
    """Something that is not right: `key` names it in one word, `lines` say it to the reader."""

    def __init__(self, key: str, *lines: str) -> None:
        super().__init__(key)
        self.key, self.lines = key, lines


def shape_text(shape: Sequence[int | str]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
