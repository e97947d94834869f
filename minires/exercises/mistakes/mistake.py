"""What a known mistake is."""


class Mistake:
    """key: a name for it.   hint: what to say; never the solution.   edits: (old, new) texts in the backward pass."""

    def __init__(self, key: str, hint: str, *edits: tuple[str, str]) -> None:
        self.key, self.hint, self.edits = key, hint, edits
