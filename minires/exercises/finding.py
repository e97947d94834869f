"""What a check found."""

from collections.abc import Sequence


class Finding(Exception):
    """Something that is not right: `key` names it in one word, `lines` say it to the reader.

    wrong: names of the gradients that are wrong, where it is these.
    """

    def __init__(self, key: str, *lines: str, wrong: Sequence[str] = ()) -> None:
        super().__init__(key)
        self.key, self.lines, self.wrong = key, lines, list(wrong)


def shape_text(shape: Sequence[int | str]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
