"""The one network of a file that is taken, and all that is to be said of the file's other arrays."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from minires.names import some
from minires.pretrained.architectures import Architecture, nothing_known, recognise
from minires.pretrained.errors import WeightsError
from minires.pretrained.heads import find_head
from minires.pretrained.normalisers import find_normaliser
from minires.pretrained.parts import Part, choose, find_parts, scopes
from minires.wording import shown

MOST = 6  # names of what was left out


@dataclass(frozen=True)
class Found:
    """state: the network's arrays under torchvision's names.   part, parts: its name and those of all in the file.
    head: where its last layer stands in the file, or None.   normaliser: {"mean", "std"}, or None.
    left_out: names of what was not taken.   notes: what is to be said of all this, sentences.
    """

    state: dict[str, np.ndarray]
    architecture: Architecture
    part: str
    parts: tuple[str, ...]
    head: str | None
    normaliser: dict[str, tuple[float, ...]] | None
    left_out: tuple[str, ...]
    notes: tuple[str, ...]


def find_network(
    state: Mapping[str, np.ndarray], part: str | None = None, not_read: Sequence[str] = (), keep: Sequence[str] = ()
) -> Found:
    """The network of this name in a file's arrays, or the one that `parts.choose` takes.

    not_read: names of what the file holds besides, which are left out, too.   keep: what the keys of extra heads begin
    with that are not.

    Raises WeightsError where there is none, none of this name, or one of no architecture that is known here.
    """
    parts = find_parts(state, keep)
    if not parts:
        raise WeightsError(nothing_known(state))
    chosen = choose(parts, part) if part else choose(_known(parts) or parts)
    levels = list(scopes(chosen, parts, state))
    head, normaliser = find_head(chosen, levels), find_normaliser(levels)
    arrays = chosen.source.adapted(chosen.arrays) | {
        f"{chosen.head}.{key}": array for key, array in head.arrays.items()
    }
    architecture = recognise(arrays)
    notes = [*_note_of_parts(chosen, parts), *(shown(note, 1000) for note in head.notes)]
    taken = chosen.keys | head.keys
    if normaliser:
        notes.append(f"mean and std are those of {shown(normaliser[0])}, which is in the file")
        taken |= normaliser[2]
    others = [other.prefix for other in parts if other is not chosen]
    beside = [prefix + key for prefix, level in levels for key in level if prefix + key not in taken]
    left_out = (*_shortened(beside, [*taken, *others]), *not_read)
    if left_out:
        notes.append(f"left out: {some(left_out, MOST)}")
    return Found(
        arrays,
        architecture,
        chosen.name,
        tuple(each.name for each in parts),
        head.name,
        normaliser[1] if normaliser else None,
        left_out,
        tuple(notes),
    )


def _known(parts):
    """Those that are of an architecture that is known, by their shapes alone: nothing is copied for each of them."""
    known = []
    for part in parts:
        shaped = {key: np.broadcast_to(np.float32(0), array.shape) for key, array in part.arrays.items()}
        try:
            recognise(part.source.adapted(shaped))
        except WeightsError:
            continue
        known.append(part)
    return known


def _note_of_parts(chosen: Part, parts: list[Part]) -> list[str]:
    if len(parts) == 1:
        return []
    others = some([part.name for part in parts if part is not chosen], 4)
    return [f"took {shown(chosen.name)} of {len(parts)} networks in the file, not {others}: part=NAME chooses another"]


def _shortened(keys: Iterable[str], taken: Iterable[str]) -> list[str]:
    """The beginnings of keys that say what was left out, each once: as short as they can be without what was taken."""
    tree: dict = {}
    for key in taken:
        node = tree
        for word in key.split("."):
            node = node.setdefault(word, {})
    names: dict[str, None] = {}
    for key in keys:
        if not key.endswith("num_batches_tracked"):
            names[_beginning(key.split("."), tree)] = None
    return list(names)


def _beginning(words, tree):
    """The first words, up to one that is in no key of the tree."""
    for number, word in enumerate(words, 1):
        if word not in tree:
            return ".".join(words[:number])
        tree = tree[word]
    return ".".join(words)
