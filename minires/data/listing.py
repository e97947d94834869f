"""The pictures of a data set before any is decoded: their files, their classes, and which of them do what."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minires.backend import count_each
from minires.data.dataset import DatasetError, draw_groups
from minires.data.inspect import copies
from minires.data.parts import Files
from minires.data.scan import EXAMPLES
from minires.wording import readable

UNEQUAL = 2  # the largest class over the smallest, from which on it is told
Tell = Callable[[str], None]
Parts = dict[str, np.ndarray]  # {"train": places in a Listing, in the order in which they are used, ...}


@dataclass
class Listing:
    """Pictures by their place, class by class and in each in order of their names.

    roots, names   the folder that each was found below, and its path from there
    labels         int64 (N,)
    given          {part: places} as the folders say
    classes        the classes' names
    digests        {place: SHA-256} of the files that have been read
    """

    roots: list[str]
    names: list[str]
    labels: np.ndarray
    given: Parts
    classes: tuple[str, ...]
    digests: dict[int, bytes]

    def path(self, place: int) -> str:
        """Where the file is."""
        return os.path.join(self.roots[place], self.names[place])

    def shown(self, place: int) -> str:
        """What to call a file."""
        several = len(set(self.roots)) > 1
        return readable(
            os.path.join(os.path.basename(self.roots[place]), self.names[place]) if several else self.names[place]
        )

    def pairs(self, pairs: Sequence[tuple[int, int]]) -> str:
        """The first pairs of files that have the same bytes."""
        return ", ".join(f"{self.shown(one)} = {self.shown(other)}" for one, other in pairs[:EXAMPLES])

    def counts(self, places: np.ndarray) -> np.ndarray:
        """How many of these pictures each class has."""
        return count_each(self.labels[places], len(self.classes))

    def groups(self, places: np.ndarray) -> np.ndarray | None:
        """A number for each of these files, equal where their bytes are; None if none is there twice."""
        numbers: dict[bytes, int] = {}
        found = [numbers.setdefault(self.digests[place], len(numbers)) for place in places.tolist()]
        return np.array(found, np.int64) if len(numbers) < len(found) else None


def make_listing(found: Mapping[str, Files], tell: Tell) -> Listing:
    """The Listing of what `find_pictures` found. Raises DatasetError for classes that do not fit together."""
    train = found["train"]
    classes = _in_order({*train.classes, *train.empty})
    if len(classes) < 2:
        raise DatasetError(f"the pictures have {len(classes)} classes, at least 2 are needed")
    twins = [name for name, number in Counter(map(str.casefold, classes)).items() if number > 1]
    if twins:
        pair = [name for name in classes if name.casefold() == twins[0]]
        tell(f"note: the classes {' and '.join(pair)} differ in small and capital letters alone: they are kept apart")
    learns = readable(train.roots[0] if train.roots else "train", 200)
    roots, names, labels, sides = [], [], [], []
    for part, files in found.items():
        numbers = _numbers(part, files, classes, learns, tell)
        roots += files.roots
        names += files.names
        labels += [numbers[name] for name in files.classes]
        sides += [part] * len(files.names)
    order = np.argsort(np.array(labels, np.int64), kind="stable")
    sides_in_order = np.array(sides)[order]
    return Listing(
        [roots[place] for place in order],
        [names[place] for place in order],
        np.array(labels, np.int64)[order],
        {part: np.flatnonzero(sides_in_order == part) for part in found},
        tuple(classes),
        {},
    )


def _in_order(classes):
    """By number where all are numbers, else by name."""
    numbers = all(name.isascii() and name.isdigit() for name in classes)
    return sorted(classes, key=lambda name: (int(name), name) if numbers else name)


def _numbers(part, files, classes, learns, tell):
    """{class as a part calls it: its label}. Of a part to test on, capital letters may differ."""
    numbers = {name: label for label, name in enumerate(classes)}
    alike = {name.casefold(): label for label, name in enumerate(classes)}
    for name in dict.fromkeys(files.classes):
        if name not in numbers and name.casefold() in alike:
            numbers[name] = alike[name.casefold()]
            tell(f"note: class {name} of the {part} part is taken for {classes[numbers[name]]}")
    strange = [name for name in dict.fromkeys([*files.classes, *files.empty]) if name not in numbers]
    if strange:
        where = readable(files.roots[0] if files.roots else part, 200)
        raise DatasetError(
            f"{where}: its sub-folders are not those of {learns}: give them the same names (there is no "
            f"{', '.join(strange[:EXAMPLES])} to learn from)"
        )
    missing = [name for name in classes if name not in set(files.classes)]
    if missing and part != "train":
        tell(f"note: no picture of {', '.join(missing[:EXAMPLES])} in the {part} part")
    return numbers


def check(listing: Listing, places: np.ndarray, least: int, why: str) -> None:
    """Raise DatasetError for a class with fewer pictures than `least`."""
    for name, number in zip(listing.classes, listing.counts(places).tolist(), strict=True):
        if number < least:
            raise DatasetError(f"{name}: {number} pictures, at least {least} are needed: {why}")


def divide(listing: Listing, places: np.ndarray, test_share: float, rng: np.random.Generator) -> Parts:
    """The parts as they are given, of these places, or with a share of each class to test on; each mixed.

    Files that are known to have the same bytes are drawn together.
    """
    parts = {part: given[np.isin(given, places)] for part, given in listing.given.items()}
    if "test" not in parts:
        test = _draw(listing, parts["train"], test_share, rng)
        parts = {**parts, "train": parts["train"][~test], "test": parts["train"][test]}
    return {part: parts[part][rng.permutation(len(parts[part]))] for part in ("train", "test", "val") if part in parts}


def _draw(listing, places, share, rng):
    """A mask of the places to test on: of each class its share, with all files that have the same bytes."""
    groups = listing.groups(places) if listing.digests else None
    drawn = np.zeros(len(places), bool)
    for label in range(len(listing.classes)):
        of_class = np.flatnonzero(listing.labels[places] == label)
        count = max(1, round(share * len(of_class)))
        order = rng.permutation(len(of_class))
        mine: Any = None if groups is None else groups[of_class]
        chosen = draw_groups(order, mine, count)
        if len(chosen) == 0:  # no group is as small
            chosen = np.flatnonzero(mine == mine[order[0]])
        drawn[of_class[chosen]] = True
    return drawn if groups is None else np.isin(groups, groups[drawn])


def separate(listing: Listing, parts: Parts, tell: Tell) -> Parts:
    """The parts, without pictures to learn from or to validate that another part holds, byte for byte."""
    held: dict[bytes, int] = {}
    kept = {}
    for part, use in (("test", "to test"), ("val", "to validate"), ("train", "to learn from")):
        if part not in parts:
            continue
        twice = sorted(place for place in parts[part].tolist() if listing.digests[place] in held)
        kept[part] = parts[part] if part == "test" else parts[part][~np.isin(parts[part], twice)]
        if twice:
            pairs = listing.pairs([(place, held[listing.digests[place]]) for place in twice])
            tell(f"left out: {len(twice):,} pictures {use} that another part holds, byte for byte: {pairs}")
        held |= {listing.digests[place]: place for place in reversed(kept[part].tolist())}
    return kept


def say_copies(listing: Listing, parts: Parts, tell: Tell) -> None:
    """Tell of pictures that are twice in a part."""
    same = _same(listing, parts)
    if same:
        number = sum(len(group) - 1 for group in same)
        pairs = listing.pairs([(group[0], group[1]) for group in same])
        tell(f"note: {number:,} pictures are copies of others, byte for byte, and stay in one part with them: {pairs}")


def say_two_classes(listing: Listing, parts: Parts, tell: Tell) -> None:
    """Tell of pictures that are in two classes."""
    pairs, number = [], 0
    for group in _same(listing, parts):
        others = [place for place in group if listing.labels[place] != listing.labels[group[0]]]
        if others:
            number += len(group)
            pairs.append((group[0], others[0]))
    if pairs:
        tell(
            f"note: {number:,} pictures, byte for byte the same in twos or more, are in two classes, one of which is "
            f"wrong: {listing.pairs(pairs)}"
        )


def _same(listing, parts):
    """[[places of files with the same bytes]]."""
    places = np.sort(np.concatenate(list(parts.values()))).tolist()
    found = copies([listing.digests[place] for place in places])
    return [[places[number] for number in group] for group in found]


def say_sizes(listing: Listing, parts: Parts, tell: Tell) -> None:
    """Tell of unequal classes."""
    counts = listing.counts(parts["train"])
    least, most = int(counts.argmin()), int(counts.argmax())
    if counts[most] >= UNEQUAL * counts[least]:
        tell(
            f"note: the classes are unequal, from {counts[least]:,} pictures to learn from ({listing.classes[least]}) "
            f"to {counts[most]:,} ({listing.classes[most]}): a network may often be right that never says the rare "
            "ones; look at the balanced accuracy, and balance='loss' or 'sampling' weighs all classes alike"
        )


def fingerprint(listing: Listing, parts: Parts) -> str:
    """SHA-256 of the names and contents of all files in use, folder by folder."""
    digest = hashlib.sha256()
    places = np.concatenate(list(parts.values())).tolist()
    for root in dict.fromkeys(listing.roots):
        mine = {os.fsencode(listing.names[place]): place for place in places if listing.roots[place] == root}
        for name, place in sorted(mine.items()):
            digest.update(b"%d %s %s\n" % (len(name), name, listing.digests[place].hex().encode()))
        digest.update(b"end of folder\n")
    return digest.hexdigest()
