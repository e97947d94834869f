"""The names of the classes of well-known data sets, in the order of their labels: text files, a name on each line.

names/imagenet.txt is torchvision's list (BSD-3, names/imagenet.LICENSE); the others are those that the data sets
themselves come with.
"""

from pathlib import Path

from minires.data.regular import read_regular
from minires.names import unknown
from minires.wording import readable

LISTS = ("cifar10", "cifar100", "cifar100-coarse", "imagenet")
MOST_BYTES = 2**24
LONGEST = 255  # letters of a name
FOLDER = Path(__file__).parent / "names"


def class_names(name: str) -> tuple[str, ...]:
    """The names of a data set of LISTS: of 10, 100, 20 or 1,000 classes. Raises ValueError for another name."""
    if name not in LISTS:
        raise ValueError(unknown("list of class names", name, LISTS))
    return tuple((FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines())


def read_class_names(path: str | Path) -> list[str]:
    """The names in a text file, one on each line; a byte order mark and empty lines at the end are no names.

    Letters that a terminal would obey are escaped. Raises ValueError for a file that cannot be read, is too large, or
    is no text in UTF-8 (or UTF-16 with its mark).
    """
    shown = readable(str(path), 200)
    try:
        content = read_regular(path, MOST_BYTES)
        marked = content.startswith((b"\xff\xfe", b"\xfe\xff"))
        names = content.decode("utf-16" if marked else "utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        decoding = isinstance(error, UnicodeDecodeError)
        reason = "it is no text in UTF-8" if decoding else getattr(error, "strerror", None) or f"it {error}"
        raise ValueError(f"{shown}: cannot be read ({reason}): give a text file, a name on each line") from error
    while names and not names[-1].strip():
        del names[-1]
    for number, name in enumerate(names, 1):
        if len(name) > LONGEST or "\0" in name:
            raise ValueError(f"{shown}: line {number} is no name of a class, of at most {LONGEST} letters: mend it")
    return [readable(name.strip(), 8 * LONGEST) for name in names]
