"""What a check found."""


class Finding(Exception):
    """Something that is not right: `key` names it in one word, `lines` say it to the reader."""

    def __init__(self, key, *lines):
        super().__init__(key)
        self.key, self.lines = key, lines


def shape_text(shape):
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
