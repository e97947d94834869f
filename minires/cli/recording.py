"""The files of a run besides its checkpoints: config.json, log.csv, train.log, curves.png, result.json."""

from __future__ import annotations

import csv
import io
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import minires
from minires import backend
from minires.cli.output import note
from minires.data.regular import read_regular
from minires.files import write_atomically
from minires.inspection.pictures.figures import new_figure, write_png
from minires.plain import check, read_json
from minires.position import HistoryRow

if TYPE_CHECKING:
    from matplotlib.figure import Figure


FILES = (  # what a run writes into its folder
    "config.json",
    "log.csv",
    "train.log",
    "curves.png",
    "confusion.png",
    "mistakes.png",
    "overlays.png",
    "found.png",
    "result.json",
    "best.safetensors",
    "last.safetensors",
    "previous.safetensors",
)


MOST_BYTES = 2**24  # of a file that is read again; train.log has 100 an epoch, config.json some thousands

# a link in a folder that came from elsewhere could name any file of the user's
APPEND = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)


class Recorder:
    """Writes into `folder`, which is there, and which `minires.cli.claim` holds for the run.

    What stands beside the result (train.log, log.csv, pictures) is never worth the run: where one of these cannot be
    written, it is left out with a note, once for each, and kept in `troubles`, {name: reason}.   writes: False for one
    that writes nothing, as of all ranks but the first.
    """

    def __init__(self, folder: str | Path, writes: bool = True) -> None:
        self.folder, self.writes = Path(folder), writes
        self.troubles: dict[str, str] = {}

    def say(self, text: str) -> None:
        """Append a line to train.log; one that a killed process has left unfinished is ended first."""

        def append():
            with open(os.open(self.folder / "train.log", APPEND, 0o666), "ab+") as file:
                before = b""
                if file.seek(0, os.SEEK_END):
                    file.seek(-1, os.SEEK_END)
                    before = b"" if file.read(1) == b"\n" else b"\n"
                file.write(before + f"{text}\n".encode(errors="backslashreplace"))

        self.beside_the_result("train.log", append)

    def said(self) -> set[str]:
        """The lines of train.log; none where it cannot be read."""
        try:
            content = read_regular(self.folder / "train.log", MOST_BYTES)
            return set(content.decode(errors="replace").splitlines())
        except (ValueError, OSError):
            return set()

    def config(self, config: Mapping[str, Any]) -> None:
        """config.json: every setting, and what it ran on. Raises OSError where it cannot be written."""
        if self.writes:
            write_atomically(self.folder / "config.json", _json(config))

    def result(self, result: Mapping[str, Any]) -> bool:
        """result.json: what came out; whether it could be written."""
        self.beside_the_result("result.json", lambda: write_atomically(self.folder / "result.json", _json(result)))
        return "result.json" not in self.troubles

    def keep_result(self, epochs: int) -> None:
        """Put the result of a run that goes on for longer aside, as result-5-epochs.json.

        One of more epochs stays, as it will be made again: the run goes on from before its end, which was damaged.
        """
        path = self.folder / "result.json"
        if self.writes and path.exists() and not (_epochs_of(path) or 0) > epochs:
            os.replace(path, self.folder / f"result-{epochs}-epochs.json")

    def log(self, history: Sequence[HistoryRow]) -> None:
        """log.csv: a line for each finished epoch, complete and on the disk after each."""
        path = self.folder / "log.csv"
        self.beside_the_result("log.csv", lambda: write_csv(path, HistoryRow.__annotations__, history))

    def curves(self, history: Sequence[HistoryRow], title: str, measure: str = "acc") -> None:
        """curves.png: loss and accuracy, or another measure, by epoch, training and validation."""
        if history:
            self.picture("curves.png", lambda: draw_curves(history, title, measure))

    def picture(self, name: str, draw: Callable[[], Figure]) -> None:
        """Write the figure that draw() returns."""
        self.beside_the_result(name, lambda: write_png(draw(), self.folder / name))

    def beside_the_result(self, name: str, write: Callable[[], Any]) -> None:
        """write(), which writes what `name` says; whatever goes wrong is noted, the first time for each name."""
        if not self.writes:
            return
        try:
            write()
        except Exception as error:
            reason = f"{name} is left out ({getattr(error, 'strerror', None) or error or type(error).__name__})"
            if name not in self.troubles:
                note(f"{reason}: the run and its result stand")
            self.troubles[name] = reason


def _epochs_of(path):
    """How many epochs a result.json is of; None where it does not say."""
    try:
        result = read_json(read_regular(path, MOST_BYTES))
        check(result, {"epochs": int}, path.name)
    except (ValueError, OSError):
        return None
    return result["epochs"]


def _json(content):
    return (json.dumps(content, indent=2, allow_nan=False) + "\n").encode()


def write_csv(path: str | Path, columns: Iterable[str], rows: Iterable[Sequence[Any] | Mapping[str, Any]]) -> None:
    """Write a table, whole or not at all.   rows: sequences, or dicts of which `columns` are taken; None is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([row[name] for name in columns] if isinstance(row, dict) else row for row in rows)
    write_atomically(path, text.getvalue().encode())


PARTS = (  # of the columns of a HistoryRow, a line each
    ("train", "#1f77b4", "training"),
    ("val", "#d62728", "validation"),
    ("ema_val", "#2ca02c", "validation, averaged weights"),
)


def draw_curves(history: Sequence[Mapping[str, Any]], title: str, measure: str = "acc") -> Figure:
    """Loss and accuracy by epoch of `history` (each a HistoryRow), training and validation.

    measure: what the column val_acc holds.
    """
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(10, 4.2)
    what = "accuracy, %" if measure == "acc" else f"accuracy (training), {measure} (validation), %"
    epochs = [row["epoch"] for row in history]
    for axes, kind, scale, label in zip(figure.subplots(1, 2), ("loss", "acc"), (1, 100), ("loss", what), strict=True):
        for part, color, name in PARTS:
            values = [row[f"{part}_{kind}"] for row in history]
            if None not in values:
                axes.plot(
                    epochs, [scale * value for value in values], color=color, label=name, marker="o", markersize=3
                )
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    figure.suptitle(title, fontsize=11)
    return figure


def environment(device: str) -> dict[str, Any]:
    """What a result depends on besides settings: versions, machine, device, the code's commit."""
    versions = {"python": platform.python_version(), "numpy": np.__version__, "minires": minires.__version__}
    cupy = sys.modules.get("cupy")
    if cupy is not None:
        versions["cupy"] = cupy.__version__
    machine = {"system": platform.system(), "processor": processor(), "cores": os.cpu_count()}
    machine |= backend.describe(device)
    return {"versions": versions, "machine": machine, "device": device, "commit": _commit()}


def processor() -> str:
    """The name of the machine's processor."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _commit():
    """The commit of the code that runs, with "+" where it has been changed since; None outside a checkout of minires.

    A repository that an installed minires merely lies in, and one that GIT_DIR names, as within a hook, do not count.
    """
    top = Path(minires.__file__).resolve().parents[1]
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

    def git(*words):
        command = ["git", *words]
        done = subprocess.run(command, cwd=top, env=variables, capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != top:
            return None
        git("ls-files", "--error-unmatch", "minires/__init__.py")  # fails where it is not tracked
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None
