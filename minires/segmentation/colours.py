"""Which class a colour of a mask is: a text file with a line for each."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from minires.data.class_names import read_class_names
from minires.data.dataset import DatasetError
from minires.data.limits import NotThisPicture
from minires.losses.pixel_cross_entropy import IGNORE

NOT_COUNTED = "ignore"  # the name of colours that do not count


class Colours(NamedTuple):
    """The names of the classes, and {red * 65536 + green * 256 + blue: class}."""

    classes: tuple[str, ...]
    numbers: dict[int, int]

    def classes_of(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (H, W), the classes of pixels uint8 (H, W, 3). Raises NotThisPicture for a colour that is not named."""
        red, green, blue = np.moveaxis(pixels.astype(np.int64), -1, 0)
        codes, places = np.unique(red * 65536 + green * 256 + blue, return_inverse=True)
        for code in codes.tolist():
            if code not in self.numbers:
                colour = f"{code >> 16} {code >> 8 & 255} {code & 255}"
                raise NotThisPicture(f"has the colour {colour}, of which no line says what it is: add one, or repaint")
        numbers = np.array([self.numbers[code] for code in codes.tolist()], np.uint8)
        return numbers[places].reshape(pixels.shape[:2])


def read_colours(path: str | Path) -> Colours:
    """The table in a text file: lines "R G B name", in the order of the classes; "ignore" is no class.

    Several colours may have one name. Raises DatasetError for lines that are none, a colour that is there twice, and
    less than two classes.
    """
    numbers: dict[int, int] = {}
    classes: list[str] = []
    try:
        lines = read_class_names(path)
    except ValueError as error:
        raise DatasetError(str(error)) from error
    for number, line in enumerate(lines, 1):
        words = line.split(maxsplit=3)
        if len(words) < 4 or not all(word.isdecimal() and int(word) < 256 for word in words[:3]):
            raise DatasetError(f'{path}: line {number} is {line!r:.80}: expected "R G B name", as "255 0 0 car"')
        red, green, blue = map(int, words[:3])
        code, name = red * 65536 + green * 256 + blue, words[3]
        if code in numbers:
            raise DatasetError(f"{path}: line {number} has the colour {red} {green} {blue} again: leave one out")
        if name != NOT_COUNTED and name not in classes:
            classes.append(name)
        numbers[code] = IGNORE if name == NOT_COUNTED else classes.index(name)
    if not 2 <= len(classes) <= 254:
        raise DatasetError(f"{path}: names {len(classes)} classes, expected 2 to 254: a line for each")
    return Colours(tuple(classes), numbers)
