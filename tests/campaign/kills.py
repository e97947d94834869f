"""Attacks on a run: its process is killed at any change of its folder, or stopped at any moment, and goes on."""

import csv
import importlib
import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scripts
from test_data_cifar import make_batches, write_binary

from campaign.attack import Attack
from campaign.failing import FailingDisk
from campaign.writes import FAST, Program, call, count_into
from minires import checkpoint
from minires.cli.progress import epoch_line

TIMES = ("seconds", "images_per_second", "epoch_seconds", "peak_memory_mb")
MOST_KILLS = 4
SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT") if hasattr(signal, name)]


@dataclass(frozen=True)
class Kind:
    """A program to kill: begun in an empty folder, or in a copy of `start`; the folder of one that nobody disturbed;
    how often it changes its folder, and how long it takes.
    """

    program: Program
    start: Path | None
    whole: dict[str, Any]
    changes: int
    seconds: float


@dataclass(frozen=True)
class Prepared:
    """The scripts, the kinds, a folder of data, and all (kind, change) in a random order."""

    scripts: dict[str, Any]
    kinds: dict[str, Kind]
    data: tuple
    cases: list[tuple[str, int]]


class KillingDisk(FailingDisk):
    """Kills the process before the change of that number, as nothing but a power cut or SIGKILL does."""

    def change(self, what: str, place: Any) -> None:
        """Count a call, and end if it is its turn."""
        before = self.count
        super().change(what, place)
        if before == self.number != self.count:
            os.kill(os.getpid(), signal.SIGKILL)

    def install(self) -> None:
        """Stand before Python's functions; a link is a change, too."""
        super().install()
        link = os.link

        def instead(source, target, **options):
            self.change("link", target)
            link(source, target, **options)

        os.link = instead  # type: ignore[assignment]


# Before -------------------------------------------------------------------------------------------------------------


def prepare(folder: Path) -> Prepared:
    """A run of three epochs, one without validation images, and a run of two that goes on for two more."""
    write_binary(folder / "data", make_batches(20))
    data = ("--data-dir", folder / "data")
    for name in ("pooch", "safetensors.numpy", "tqdm"):  # once, and not in each process
        importlib.import_module(name)
    loaded = {"train_cifar": scripts.load("train_cifar")}
    flags = (*FAST, *data, "--model", "simple_cnn", "--limit-train", 36)
    finished = folder / "finished"
    code, _, err = call(loaded, Program("train_cifar", flags, False), finished)
    assert code == 0, err
    longer = Program("train_cifar", (*data, "--epochs", 4, "--lr", 0.02), True)
    programs = {
        "new": (Program("train_cifar", (*flags, "--epochs", 3), False), None),
        "new, no validation": (Program("train_cifar", (*flags, "--epochs", 3, "--val-split", 0), False), None),
        "longer": (longer, finished),
    }
    kinds = {}
    for name, (program, start) in programs.items():
        run, told = folder / f"{name}-whole", folder / f"{name}.count"
        if start is not None:
            shutil.copytree(start, run)
        began = time.perf_counter()
        code, _, err = call(loaded, program, run, lambda run=run, told=told: count_into(told, run))
        assert code == 0, err
        seconds = time.perf_counter() - began
        kinds[name] = Kind(program, start, contents(run), int(told.read_text()), seconds)
    cases = [(name, change) for name, kind in kinds.items() for change in range(kind.changes)]
    order = np.random.default_rng(0).permutation(len(cases))
    return Prepared(loaded, kinds, data, [cases[number] for number in order])


# What is compared ---------------------------------------------------------------------------------------------------


def contents(run: Path) -> dict[str, Any]:
    """{name: what the file says, but for times, the run's id and its folder}; train.log: the lines of its epochs."""
    found: dict[str, Any] = {}
    for path in run.iterdir():
        if path.suffix == ".safetensors":
            found[path.name] = of_checkpoint(path)
        elif path.suffix == ".json":
            found[path.name] = json.dumps(timeless(json.loads(path.read_text())))  # in their order, too
        elif path.suffix == ".csv":
            with open(path, newline="") as file:
                found[path.name] = timeless(list(csv.DictReader(file)))
        elif path.name == "train.log":
            found[path.name] = of_train_log(path, run)
        else:
            found[path.name] = path.read_bytes()
    return found


def of_checkpoint(path: Path) -> dict[str, Any]:
    """All that a checkpoint holds."""
    loaded = checkpoint.load(path)
    assert loaded.verified, f"{path.name} has no checksum"
    optimizer = dict(loaded.optimizer or {"arrays": {}})
    arrays = {**loaded.model, **{f"optimizer/{key}": array for key, array in optimizer.pop("arrays").items()}}
    parts = {"optimizer": optimizer, "position": loaded.position, "info": loaded.info}
    bits = {key: (array.shape, array.tobytes()) for key, array in arrays.items()}
    return {**timeless(parts), "generators": loaded.generators, "arrays": bits}


def timeless(value: Any) -> Any:
    """A value without what differs between two runs that do the same."""
    if isinstance(value, dict):
        return {key: timeless(inner) for key, inner in value.items() if key not in (*TIMES, "run", "out")}
    return [timeless(inner) for inner in value] if isinstance(value, list) else value


def of_train_log(path: Path, run: Path) -> int:
    """How many epochs train.log tells of. For each, its last line is that of the history in last.safetensors."""
    history = (checkpoint.load(run / "last.safetensors").position or {})["history"]
    text = path.read_text()
    assert text.endswith("\n"), "train.log ends within a line"
    lines = text.splitlines()
    for row in history:
        expected = epoch_line(row)
        told = [line for line in lines if line.split()[:2] == expected.split()[:2] and len(line) == len(expected)]
        assert told and told[-1] == expected, f"train.log says of epoch {row['epoch']}: {told}, and not {expected!r}"
    return len(history)


def compare(found: dict[str, Any], whole: dict[str, Any]) -> None:
    """That a folder has the files of another, and that they say the same."""
    assert found.keys() == whole.keys(), f"other files: {sorted(found.keys() ^ whole.keys())}"
    for name, content in whole.items():
        if isinstance(content, dict):
            parts = [key for key in content.keys() | found[name].keys() if content.get(key) != found[name].get(key)]
            assert not parts, f"{name}: {', '.join(map(str, parts))} differ"
        assert found[name] == content, f"{name} differs"


# Cases --------------------------------------------------------------------------------------------------------------


def until_it_ends(prepared: Prepared, kind: Kind, run: Path, ways: list[Callable[[], Any]], expected: tuple) -> str:
    """The program, ended in each of these ways in turn and gone on with, comes to what the undisturbed one has."""
    if kind.start is not None:
        shutil.copytree(kind.start, run)
    program, ended = kind.program, 0
    for way in [*ways, bool]:
        code, _, err = call(prepared.scripts, program, run, way)
        if not any((run / f"{name}.safetensors").exists() for name in ("last", "previous")):
            assert code != 0, "a run without a checkpoint is no success"
            return "before its first checkpoint"
        assert code == 0 or (code in expected and way is not bool), f"exit code {code}: {err[-400:]}"
        if kind.start is None:
            program = Program("train_cifar", prepared.data, True)
        ended += code != 0
    compare(contents(run), kind.whole)
    return f"{ended} times"


def killed_at_a_change(prepared: Prepared, rng: np.random.Generator, number: int, folder: Path) -> str:
    """Killed at each change of the folder; afterwards at random ones, several times."""
    if number < len(prepared.cases):
        name, change = prepared.cases[number]
        changes = [change]
    else:
        name = str(rng.choice(list(prepared.kinds)))
        most = prepared.kinds[name].changes
        changes = [int(rng.integers(most)) for _ in range(rng.integers(2, MOST_KILLS + 1))]
    run = folder / "run"
    ways = [KillingDisk(run, change, 0).install for change in changes]
    return until_it_ends(prepared, prepared.kinds[name], run, ways, (-signal.SIGKILL,))


def killed_at_a_moment(prepared: Prepared, rng: np.random.Generator, number: int, folder: Path) -> str:
    """Killed by a clock, wherever it is, in the middle of a computation as well."""
    name = str(rng.choice(list(prepared.kinds)))
    kind = prepared.kinds[name]
    moments = [float(rng.uniform(0.001, kind.seconds)) for _ in range(rng.integers(1, MOST_KILLS + 1))]
    ways = [lambda moment=moment: signal.setitimer(signal.ITIMER_REAL, moment) for moment in moments]
    return until_it_ends(prepared, kind, folder / "run", ways, (-signal.SIGALRM,))


def stopped_at_a_moment(prepared: Prepared, rng: np.random.Generator, number: int, folder: Path) -> str:
    """Asked to stop by the signals that ask for that."""
    name = str(rng.choice(list(prepared.kinds)))
    kind = prepared.kinds[name]

    def way(moment, asked):
        def ask(number, frame):
            os.kill(os.getpid(), asked)

        def set_clock():
            signal.signal(signal.SIGALRM, ask)
            signal.setitimer(signal.ITIMER_REAL, moment)

        return set_clock

    ways = [
        way(float(rng.uniform(0.001, kind.seconds)), SIGNALS[rng.integers(len(SIGNALS))])
        for _ in range(rng.integers(1, MOST_KILLS + 1))
    ]
    expected = tuple(code for asked in SIGNALS for code in (-asked, 128 + asked))
    return until_it_ends(prepared, kind, folder / "run", ways, expected)


PROMISE = (
    "--resume brings the run to its end, and then every file of its folder is what it is where nobody disturbed the "
    "run, but for times and the run's id"
)
ATTACKS = [
    Attack(
        "killed at a change", f"killed at any change of its folder: {PROMISE}", prepare, killed_at_a_change, 1200, 4
    ),
    Attack("killed at a moment", f"killed at any moment: {PROMISE}", prepare, killed_at_a_moment, 600, 2),
    Attack("stopped at a moment", f"stopped by a signal: {PROMISE}", prepare, stopped_at_a_moment, 400, 2),
]
