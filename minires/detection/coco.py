"""Boxes from a file as COCO has them: JSON with images, annotations and categories.

    {"images": [{"id": 1, "file_name": "a.jpg"}],
     "categories": [{"id": 7, "name": "dog"}],
     "annotations": [{"id": 5, "image_id": 1, "category_id": 7, "bbox": [x, y, width, height]}]}

https://cocodataset.org/#format-data
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from minires.data.dataset import DatasetError
from minires.data.images import open_image
from minires.data.regular import read_regular
from minires.detection.scenes import BoxedImages
from minires.plain import check, is_number, read_json
from minires.wording import quoted, readable, shown

MOST_BYTES = 2**30  # of a file of annotations
_MANY = {"image": "images", "annotation": "annotations", "category": "categories"}
EDGE = 1.0  # pixels by which a box may reach beyond its image: rounding; it is cut off there


class Broken(DatasetError):
    """An annotation or an image that cannot be used; the others can."""


def read_coco(
    annotations: str | Path,
    images: str | Path,
    size: int = 64,
    skip_broken: bool = False,
    tell: Callable[[str], None] = lambda line: None,
) -> BoxedImages:
    """The images of a file of annotations, scaled to size x size pixels, and their boxes with them.

    images: the folder that their file_name is in.   skip_broken: leave broken annotations, and images that are missing
    or damaged, out, and tell how many; else the first is an error. Boxes of crowds (iscrowd 1) are left out.
    Raises DatasetError of one sentence.
    """
    path = Path(annotations)
    content = _read(path)
    classes = _classes(path, content["categories"])
    pictures = _by_id(path, "image", content["images"], {"id": int, "file_name": str})
    _by_id(path, "annotation", content["annotations"], {"id": int})
    broken = _Broken(skip_broken)
    crowds = sum(one.get("iscrowd") == 1 for one in content["annotations"])
    of_image: dict[int, list[tuple[int, Any, int]]] = {number: [] for number in pictures}
    for one in content["annotations"]:
        if one.get("iscrowd") != 1:
            with broken:
                image, label = _owner(path, one, pictures, classes)
                of_image[image].append((one["id"], one.get("bbox"), label))
    pixels, boxes = [], []
    for number, entry in pictures.items():
        with broken:
            image = _picture(path, Path(images), entry)
            pixels.append(np.asarray(image.resize((size, size), 2)))  # bilinear
            boxes.append(_scaled(path, of_image[number], image.size, size, broken))
    broken.say(tell)
    if crowds:
        tell(f"left out: {crowds} annotations of crowds (iscrowd 1), whose boxes are around many objects")
    if not any(map(len, boxes)):
        raise DatasetError(f"{readable(str(path), 300)}: no image has a box that can be used: give some")
    return BoxedImages(np.stack(pixels), boxes, tuple(name for name, _ in classes.values()))


class _Broken:
    """With this around it, what is broken is an error, or left out and counted."""

    def __init__(self, skip: bool) -> None:
        self.skip = skip
        self.found: list[str] = []

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        if not isinstance(error, DatasetError):
            return False
        if not self.skip:
            if isinstance(error, Broken):
                raise DatasetError(f"{error}, or leave what is broken out with skip_broken") from None
            return False
        self.found.append(str(error))
        return True

    def say(self, tell: Callable[[str], None]) -> None:
        if self.found:
            number = len(self.found)
            what = "annotation or image that is broken" if number == 1 else "annotations and images that are broken"
            tell(f"left out: {number} {what}; the first: {self.found[0]}")


def _read(path: Path) -> dict[str, Any]:
    name = readable(str(path), 300)
    try:
        content = read_json(read_regular(path, MOST_BYTES), finite=False)
        check(content, {"images": [dict], "annotations": [dict], "categories": [dict]}, "the file")
    except FileNotFoundError as error:
        raise DatasetError(f"{name}: no such file: name a JSON file of annotations, as COCO has them") from error
    except IsADirectoryError as error:
        raise DatasetError(f"{name}: is a folder: name the JSON file of annotations in it") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{name}: is no text in UTF-8: name a JSON file of annotations, as COCO has them") from error
    except ValueError as error:
        raise DatasetError(
            f"{name}: no annotations as COCO has them ({shown(str(error), 200)}): it takes JSON, a dictionary of "
            "images, annotations and categories"
        ) from error
    for key in ("images", "categories"):
        if not content[key]:
            raise DatasetError(f"{name}: its list of {key} is empty: there is nothing to learn from")
    return content


def _by_id(path: Path, what: str, entries: Iterable[dict[str, Any]], kinds: dict[str, Any]) -> dict[int, Any]:
    found: dict[int, Any] = {}
    for place, entry in enumerate(entries):
        try:
            check(entry, kinds, what)
        except ValueError as error:
            raise DatasetError(f"{readable(str(path), 300)}: {what} number {place + 1}: {error}: mend it") from error
        if entry["id"] in found:
            raise DatasetError(
                f"{readable(str(path), 300)}: two {_MANY[what]} have the id {entry['id']}: give each an id of its own"
            )
        found[entry["id"]] = entry
    return found


def _classes(path, categories):
    """{category id: (name, label)}, in the order of the ids."""
    found = _by_id(path, "category", categories, {"id": int, "name": str})
    names = [entry["name"] for entry in found.values()]
    if twins := [name for name in names if names.count(name) > 1]:
        raise DatasetError(
            f"{readable(str(path), 300)}: two categories are called {quoted(twins[0])}: give each a name of its own"
        )
    return {number: (found[number]["name"], label) for label, number in enumerate(sorted(found))}


def _owner(path, one, pictures, classes):
    """(image id, label) of an annotation."""
    where = f"{readable(str(path), 300)}: annotation {one['id']}"
    image, category = one.get("image_id"), one.get("category_id")
    if type(image) is not int or image not in pictures:
        raise Broken(f"{where}: image_id is {quoted(image)}, and no image has this id: mend it")
    if type(category) is not int or category not in classes:
        known = ", ".join(map(str, list(classes)[:10])) + (", ..." if len(classes) > 10 else "")
        raise Broken(f"{where}: category_id is {quoted(category)}, the categories are {known}: mend it")
    return image, classes[category][1]


def _picture(path, folder, entry):
    """The picture of an entry, upright and in RGB."""
    where, name = f"{readable(str(path), 300)}: image {entry['id']}", Path(entry["file_name"])
    if name.is_absolute() or ".." in name.parts:
        raise Broken(f"{where}: file_name is {quoted(entry['file_name'], 200)}: name a file in the folder of images")
    try:
        picture = open_image(folder / name)
    except DatasetError as error:
        raise Broken(f"{where}: {error}") from error
    size = entry.get("width", picture.width), entry.get("height", picture.height)
    if size != picture.size:
        raise Broken(
            f"{where}: width and height are {quoted(size[0])} and {quoted(size[1])}, {name} has {picture.width} and "
            f"{picture.height}: give the picture that the boxes were drawn on"
        )
    return picture


def _scaled(path, annotations, size, new_size, broken):
    """Boxes (k, 5) float32 in the pixels of the scaled image."""
    rows = []
    for number, box, label in annotations:
        with broken:
            rows.append([*_checked(f"{readable(str(path), 300)}: annotation {number}", box, *size), label])
    scale = [new_size / size[0], new_size / size[1]] * 2 + [1]
    return (np.array(rows, np.float64).reshape(-1, 5) * scale).astype(np.float32)


def _checked(where, box, width, height):
    """x1, y1, x2, y2 of a bbox x, y, width, height."""
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
        given = f"[{', '.join(shown(number, 20) for number in box[:5])}]" if isinstance(box, list) else quoted(box)
        raise Broken(f"{where}: bbox is {given}: give four finite numbers, x, y, width and height")
    x, y, w, h = box
    if w <= 0 or h <= 0:
        raise Broken(f"{where}: its box is empty, width {w:g} and height {h:g}: give both above 0")
    if x < -EDGE or y < -EDGE or x + w > width + EDGE or y + h > height + EDGE:
        raise Broken(
            f"{where}: its box goes from {x:g}, {y:g} to {x + w:g}, {y + h:g}, beyond its image of {width}x{height} "
            "pixels: keep it inside"
        )
    x1, y1, x2, y2 = max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)
    if x2 <= x1 or y2 <= y1:
        raise Broken(f"{where}: nothing of its box lies in the image of {width}x{height} pixels: keep it inside")
    return x1, y1, x2, y2
