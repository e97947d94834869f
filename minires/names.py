"""The name that was probably meant."""

from difflib import SequenceMatcher
from itertools import takewhile


def unknown(what, name, names):
    """A sentence for an unknown name: the nearest of `names`, if one is near, and all of them.

    Nearest is the most similar; of equals, the one that begins alike for longest: resnet21 means resnet20.
    """
    given = str(name).lower()

    def likeness(other):
        same = takewhile(lambda letters: letters[0] == letters[1], zip(given, other, strict=False))
        return SequenceMatcher(None, given, other).ratio(), len(list(same))

    nearest = max(names, key=likeness)
    meant = f"did you mean {nearest!r}? " if likeness(nearest)[0] > 0.4 else ""
    return f"unknown {what} {name!r}: {meant}choose one of {', '.join(names)}"
