"""What an attack is: a promise, and any number of cases that try to break it, each drawn from a seed and a number."""

import hashlib
import importlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

_FOLDER = Path(__file__).parent
_NO_ATTACKS = ("__init__", "__main__", "attack", "bounds", "failing", "running", "worker")
_OF_FUZZING = ("fuzzer", "fuzzing", "mutators")
MODULES = tuple(sorted(file.stem for file in _FOLDER.glob("*.py") if file.stem not in _NO_ATTACKS + _OF_FUZZING))


@dataclass(frozen=True)
class Attack:
    """One way to try the library.

    name: in the table.   promise: what every case must show, in a sentence.
    prepare: called once a process with an empty folder; what it returns is given to every case.
    case: function of (prepared, generator, number, empty folder) -> the outcome in a word or two, such as "refused". It
    raises AssertionError, with a sentence, where the promise does not hold; any other exception counts as well.
    full, quick: how many cases make a full campaign, and how many run with the tests.
    hang: seconds after which a case hangs; its process is killed, and that counts.
    count: where the cases can be counted (one for each write, say): function of what `prepare` returned -> how many
    there are; no more than these are run.
    module: that it is in, which `attacks` enters.
    """

    name: str
    promise: str
    prepare: Callable[[Path], Any]
    case: Callable[[Any, np.random.Generator, int, Path], str]
    full: int
    quick: int
    hang: float = 60.0
    count: Callable[[Any], int] | None = None
    module: str = ""


@dataclass(frozen=True)
class Target:
    """A reader to fuzz by coverage: what makes the files to begin with, and a function of a path that raises where a
    promise breaks."""

    seeds: Callable[[], Sequence[bytes]]
    read: Callable[[Path], Any]


def generator(seed: int, attack: str, number: int) -> np.random.Generator:
    """The generator of one case; no other case has its numbers."""
    name = int.from_bytes(hashlib.blake2b(attack.encode(), digest_size=8).digest(), "little")
    return np.random.default_rng([seed, name, number])


def attacks(modules: Iterable[str] = MODULES) -> dict[str, Attack]:
    """{name: Attack} of modules, of this package or, where it has none of that name, of any."""
    found = {}
    for module in modules:
        for attack in _load(module).ATTACKS:
            if attack.name in found:
                raise ValueError(f"two attacks are called {attack.name!r}: rename one")
            found[attack.name] = replace(attack, module=module)
    return found


def targets(modules: Iterable[str] = MODULES) -> dict[str, Target]:
    """{name: Target} of the modules that have some."""
    return {name: target for module in modules for name, target in getattr(_load(module), "FUZZ", {}).items()}


def _load(module):
    return importlib.import_module(f"campaign.{module}" if (_FOLDER / f"{module}.py").exists() else module)
