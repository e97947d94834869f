"""Folders of pictures as a data set."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minires.backend import get_threads
from minires.data.dataset import Dataset, DatasetError
from minires.data.images import Preprocessing, as_rgb, check_range, open_image
from minires.data.inspect import look_into, say_depth
from minires.data.listing import (
    Listing,
    Parts,
    check,
    divide,
    fingerprint,
    make_listing,
    say_copies,
    say_sizes,
    say_two_classes,
    separate,
)
from minires.data.parts import find_pictures
from minires.data.stream import ROOM, Kept, Pictures
from minires.wording import readable


def read_image_folder(
    folder: str | Path | Sequence[str | Path],
    preprocessing: Preprocessing,
    test_folder: str | Path | None = None,
    test_share: float = 0.2,
    seed: int = 0,
    skip_broken: bool = False,
    tell: Callable[[str], None] = print,
    *,
    splits: str = "auto",
    labels: str | Path | None = None,
    label_columns: Sequence[str] | None = None,
    value_range: tuple[float, float] | None = None,
    limit_train: int | None = None,
    limit_test: int | None = None,
    stream: bool = False,
    bar: bool = False,
) -> Dataset:
    """The pictures of a folder with one sub-folder for each class, as a Dataset of uint8 (N, size, size, 3).

    folder          or several, whose classes of one name belong together. Classes are in the order of their names; a
                    picture may lie deeper in one. Folders called train, val (valid, validation) and test are the parts
                    of a set that is split already
    test_folder     another such folder to test on; else, where there is no part to test on, `test_share` of each class,
                    drawn with `seed`
    skip_broken     leave broken files out; else they raise one DatasetError. Each is told in any case
    tell            called with every sentence that their owner should know: what was left out, copies, unequal classes
    splits          "none": folders called train, val and test are classes; "auto"
    labels          a table that names pictures and their classes, in place of sub-folders: see tables.read_labels
    label_columns   its two columns
    value_range     (lowest, highest) number of pictures of more than 8 bits; None: as their type says
    limit_train     read no more than that many pictures to train and validate, drawn with seed; limit_test: to test
    stream          images are `Pictures`, decoded when they are asked for; else arrays
    bar             show a bar while files are read

    Files with the same bytes are in one part only: they are drawn together, and where the parts are given, those to
    learn from are left out. Raises DatasetError for what is no such folder, and where it could mean two things.
    """
    check_range(value_range)
    folders = [folder] if isinstance(folder, (str, Path)) else list(folder)
    reader = _Reader(preprocessing, value_range, skip_broken, stream, tell, bar)
    listing = make_listing(find_pictures(folders, test_folder, splits, labels, label_columns, tell), tell)
    draws, everything = "test" not in listing.given, np.arange(len(listing.names))
    least = (2, "one is for the test") if draws else (1, "one is to learn from")
    check(listing, listing.given["train"], *least)
    if draws and limit_train is None:
        everything = reader.look(listing, everything)
        check(listing, everything, *least)
    parts = _limited(divide(listing, everything, test_share, np.random.default_rng(seed)), limit_train, limit_test)
    if not listing.digests:
        whole = reader.look(listing, np.concatenate(list(parts.values())))
        parts = {part: places[np.isin(places, whole)] for part, places in parts.items()}
    say_two_classes(listing, parts, tell)
    parts = separate(listing, parts, tell)
    say_copies(listing, parts, tell)
    if limit_train is None:
        check(listing, parts["train"], 1, "one is to learn from")
    say_sizes(listing, parts, tell)
    return _dataset(listing, parts, reader, ", ".join(readable(Path(folder).name) for folder in folders))


def _limited(parts, limit_train, limit_test):
    """The first so many of each part; of those to validate a tenth of limit_train."""
    limits = {"train": limit_train, "test": limit_test, "val": limit_train and max(1, limit_train // 10)}
    return {part: places[: limits[part]] for part, places in parts.items()}


class _Reader:
    """Looks into files, says what is wrong with them, and keeps what it decoded on the way."""

    def __init__(self, preprocessing, value_range, skip_broken, stream, tell, bar):
        self.preprocessing, self.value_range, self.skip_broken = preprocessing, value_range, skip_broken
        self.stream, self.tell, self.bar = stream, tell, bar
        self.workers = max(2, get_threads())
        self.kept = Kept() if stream else Kept(2**62)

    def look(self, listing: Listing, places: np.ndarray) -> np.ndarray:
        """Read these files, all of each where there is room for them; the places of those that are whole."""
        picture_bytes = 3 * self.preprocessing.size**2
        decodes = self.skip_broken or not self.stream or picture_bytes * len(places) <= ROOM

        def keep(number, image):
            pixels = self.preprocessing.pixels(as_rgb(image, self.value_range))
            self.kept.keep(int(places[number]), pixels)

        paths = [listing.path(place) for place in places.tolist()]
        contents = look_into(paths, keep if decodes else None, self.workers, self.tell, self.bar)
        for problem in contents.broken.values():
            self.tell(f"broken: {problem}")
        if contents.broken and not self.skip_broken:
            files = f"{len(contents.broken):,} broken file{'s' if len(contents.broken) > 1 else ''}"
            raise DatasetError(f"{files}, listed above: mend them or give skip_broken=True")
        listing.digests.update(zip(places.tolist(), contents.digests, strict=True))
        say_depth(contents, self.value_range, self.tell)
        return np.delete(places, list(contents.broken))

    def decode(self, path: str) -> np.ndarray:
        """uint8 (size, size, 3) of a file."""
        return self.preprocessing.pixels(open_image(path, self.value_range))


def _dataset(listing: Listing, parts: Parts, reader: _Reader, where: str) -> Dataset:
    paths = [listing.path(place) for place in range(len(listing.names))]
    pictures = Pictures(paths, reader.decode, reader.preprocessing.size, reader.workers, reader.kept)

    def images(part: str) -> Any:
        subset = pictures.subset(parts[part])
        return subset if reader.stream else np.asarray(subset)

    return Dataset(
        "folder",
        f"pictures in {where}",
        listing.classes,
        images("train"),
        listing.labels[parts["train"]],
        images("test"),
        listing.labels[parts["test"]],
        images("val") if "val" in parts else None,
        listing.labels[parts["val"]] if "val" in parts else None,
        listing.groups(parts["train"]),
        fingerprint(listing, parts),
    )
