"""How much a picture may be, and the refusal of one that is more."""

MOST_PIXELS = 178_000_000  # of one picture; a file of a few bytes may claim any number
MOST_SIDE = 100_000  # pixels: Pillow needs memory for each row, however short


class NotThisPicture(ValueError):
    """A whole picture that cannot be read as it was asked for; the message says why, and the cure."""


def check_sides(width: int, height: int) -> None:
    """Raise NotThisPicture for more pixels than are decoded."""
    if width * height > MOST_PIXELS:
        raise NotThisPicture(
            f"has {width:,} x {height:,}, more pixels than {MOST_PIXELS:,}, the limit: make it smaller first"
        )
    if max(width, height) > MOST_SIDE:
        raise NotThisPicture(
            f"has {width:,} x {height:,} pixels, {MOST_SIDE:,} is the limit of a side: cut it into pieces first"
        )


def too_many(what: str, number: int) -> NotThisPicture:
    """The refusal of a file that has more of something than the limit."""
    return NotThisPicture(f"has more than {number:,} {what}, the limit: save it anew")
