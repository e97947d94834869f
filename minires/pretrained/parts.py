"""The networks in a file, found by their structure: wherever the keys of one stand, under whatever prefix.

    state_dict.module.encoder_q.conv1.weight     the network "state_dict.module.encoder_q"
    state_dict.module.encoder_k.conv1.weight     the network "state_dict.module.encoder_k"
    state_dict.module.queue                      beside them

Which of several is taken, where nobody says: an average over training before the network itself ("ema", "teacher",
"swa"), and that before one that follows it or fights it ("encoder_k", "momentum", "target", "attacker", ...);
of equals the one with the shorter name, then the first.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from minires.names import some, unknown
from minires.pretrained.errors import WeightsError
from minires.pretrained.renamings import ANCHORS, SOURCES, Source, numbered, renamed
from minires.pretrained.skeletons import Shapes
from minires.wording import shown

MOST_PARTS = 64  # in a file
MOST_RENAMED = 250_000  # arrays of all of them; one that lies in several counts for each
MOST_LETTERS, MOST_WORDS = 1000, 100  # of a key
TOP = "."  # the name of a network whose keys have no prefix
AVERAGES = {"ema", "teacher", "swa", "average", "averaged", "averages", "avg", "polyak", "shadow"}
FOLLOWERS = {"k", "key", "momentum", "target", "attacker", "old", "previous", "decoder", "discriminator"}
_NUMBERED = re.compile(r"(?:^|\.)(\d{1,3})\.0\.conv1\.weight$")


@dataclass(frozen=True)
class Part:
    """A network in a file.

    prefix: what its keys have in common, with the dot after it.   source: whose names they are.
    arrays: {key under torchvision's names: array}, without its head.   keys: those of the file that these are.
    """

    prefix: str
    source: Source
    arrays: dict[str, np.ndarray]
    keys: frozenset[str]

    @property
    def head(self) -> str:
        """What its last layer is called under torchvision's names."""
        return self.source.family.head(shapes_of(self.arrays))

    @property
    def features(self) -> int | None:
        """How many numbers the network gives to its last layer; None where only the layer itself says so."""
        return self.source.family.features(shapes_of(self.arrays))

    @property
    def name(self) -> str:
        return self.prefix.removesuffix(".") or TOP


def shapes_of(arrays: Mapping[str, np.ndarray]) -> Shapes:
    """{key: shape}"""
    return {key: tuple(array.shape) for key, array in arrays.items()}


def find_parts(state: Mapping[str, np.ndarray], keep: Sequence[str] = ()) -> list[Part]:
    """The networks in a file's arrays, in the order in which they stand there.

    keep: what the keys of extra heads begin with that are not to be left out.

    Raises WeightsError for more than MOST_PARTS, and for a key that is longer than MOST_LETTERS or has more words than
    MOST_WORDS.
    """
    anchors: dict[str, tuple[str, Source]] = {}
    shapes = shapes_of(state)
    for key in state:
        if len(key) > MOST_LETTERS or key.count(".") >= MOST_WORDS:
            raise WeightsError(f"holds a key of {len(key):,} characters, {shown(key, 40)}: check where it is from")
        anchored = _anchor(key, shapes)
        if anchored is not None:
            anchors.setdefault(anchored[0], anchored)
    if len(anchors) > MOST_PARTS:
        raise WeightsError(f"holds {len(anchors):,} networks, more than {MOST_PARTS}: save the one that is meant alone")
    inner = sum(key.startswith(prefix) for prefix in anchors for key in state)
    if inner > MOST_RENAMED:
        raise WeightsError(
            f"holds networks within networks, {inner:,} arrays of them; save the one that is meant alone"
        )
    return [_part(state, *anchored, keep) for anchored in anchors.values()]


def _anchor(key, shapes):
    """(prefix, source) where a key is one that tells a network."""
    for source in SOURCES if key.endswith(ANCHORS) else ():
        if key == source.anchor or key.endswith("." + source.anchor):
            prefix = key.removesuffix(source.anchor)
            if source.tells(shapes, prefix):
                return prefix, source
    if found := _NUMBERED.search(key):
        prefix, first = key[: found.start(1)], int(found[1])
        if first > 1 and f"{prefix}0.weight" in shapes and f"{prefix}{first - 1}.0.conv1.weight" not in shapes:
            return prefix, numbered(first)
    return None


def _part(state, prefix, source, keep):
    arrays, keys = {}, set()
    for key, array in state.items():
        if key.startswith(prefix):
            name = renamed(key[len(prefix) :], source.rules)
            if source.takes(name) or name.startswith(tuple(keep)):
                keys.add(key)
                if not name.endswith("num_batches_tracked"):
                    arrays[name] = array
    return Part(prefix, source, arrays, frozenset(keys))


def choose(parts: list[Part], name: str | None = None) -> Part:
    """The part of this name, or, with None, the one that the rule above takes.

    name: a part's whole name, or enough of it that no other fits: "teacher" for "teacher.module.backbone".
    Raises WeightsError that lists the parts where none or several fit.
    """
    if name is None:
        return min(parts, key=_rank)
    asked = name.strip(".") or TOP
    names = [part.name for part in parts]
    for fits in (_is, _has):
        fitting = [part for part in parts if fits(part.name, asked)]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            found = some([part.name for part in fitting], 6)
            raise WeightsError(f"part {name!r} fits {len(fitting)} of its networks ({found}): give one whole name")
    raise WeightsError(unknown("part", name, names[:12]))


def _is(name, asked):
    return name == asked


def _has(name, asked):
    """Whether the words of `asked` stand one after the other in a name."""
    return f".{asked}." in f".{name}."


def _rank(part):
    words = {word for component in part.name.split(".") for word in re.split(r"[_\-]", component.lower())}
    kind = 0 if words & AVERAGES else 2 if words & FOLLOWERS else 1
    return kind, len(part.prefix)


def scopes(part: Part, parts: list[Part], state: Mapping[str, np.ndarray]) -> Iterator[tuple[str, dict]]:
    """(prefix, {key after it: array}) of what stands beside a part: at its own prefix, then at each one above.

    What belongs to another part, or stands beside it alone, is in none of them; nothing is in two.
    """
    others = [other for other in parts if other is not part]
    away = tuple(filter(None, (_territory(other, part) for other in others)))
    taken = part.keys.union(*(other.keys for other in others))
    words = part.prefix.split(".")[:-1]
    levels: list[dict] = [{} for _ in range(len(words) + 1)]
    for key, array in state.items():
        if key not in taken and not key.startswith(away):
            own = key.split(".", len(words))
            shared = _shared(own[:-1], words)  # the last word is an array's own name
            levels[shared][".".join(own[shared:])] = array
    for shared in range(len(words), -1, -1):
        yield ".".join([*words[:shared], ""]), levels[shared]


def _territory(other, part):
    """The shortest prefix of `other` that is none of `part`'s: what stands there belongs to it; "" if there is none."""
    mine, theirs = part.prefix.split(".")[:-1], other.prefix.split(".")[:-1]
    shared = _shared(mine, theirs)
    return ".".join([*theirs[: shared + 1], ""]) if len(theirs) > shared else ""


def _shared(words, others):
    """How many of the first words are the same."""
    shared = 0
    for one, other in zip(words, others, strict=False):
        if one != other:
            break
        shared += 1
    return shared
