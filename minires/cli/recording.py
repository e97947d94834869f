"""The files of a run besides its checkpoints: config.json, log.csv, train.log, curves.png, result.json."""

import csv
import io
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

import minires
from minires import backend
from minires.files import write_atomically
from minires.inspection.pictures.figures import new_figure
from minires.trainer import HistoryRow


class Recorder:
    """Writes into `folder`, which it makes. Raises OSError with the cure where it cannot."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for left in self.folder.glob(".*.part"):  # by a process that was killed while it wrote
                left.unlink()
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise OSError(f"--out {folder} cannot be written ({error.strerror}): name another folder") from error

    def say(self, text: str) -> None:
        """Append a line to train.log."""
        with open(self.folder / "train.log", "a", encoding="utf-8") as file:
            file.write(text + "\n")

    def config(self, config: Mapping[str, Any]) -> None:
        """config.json: every setting, and what it ran on."""
        self._json("config.json", config)

    def result(self, result: Mapping[str, Any]) -> None:
        """result.json: what came out."""
        self._json("result.json", result)

    def log(self, history: Sequence[HistoryRow]) -> None:
        """log.csv: a line for each finished epoch, complete and on the disk after each."""
        write_csv(self.folder / "log.csv", HistoryRow.__annotations__, history)

    def curves(self, history: Sequence[HistoryRow], title: str) -> None:
        """curves.png: loss and accuracy by epoch, training and validation."""
        if history:
            picture = io.BytesIO()
            draw_curves(history, title, picture)
            write_atomically(self.folder / "curves.png", picture.getvalue())

    def _json(self, name, content):
        write_atomically(self.folder / name, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def write_csv(path: str | Path, columns: Iterable[str], rows: Iterable[Sequence[Any] | Mapping[str, Any]]) -> None:
    """Write a table, whole or not at all.   rows: sequences, or dicts of which `columns` are taken; None is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([row[name] for name in columns] if isinstance(row, dict) else row for row in rows)
    write_atomically(path, text.getvalue().encode())


def draw_curves(history: Sequence[Mapping[str, Any]], title: str, file: str | Path | IO[bytes]) -> None:
    """Draw loss and accuracy by epoch of `history` (each a HistoryRow) as a PNG into `file`."""
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(10, 4.2)
    epochs = [row["epoch"] for row in history]
    for axes, kind, scale, label in zip(
        figure.subplots(1, 2), ("loss", "acc"), (1, 100), ("loss", "accuracy, %"), strict=True
    ):
        for part, color, name in (("train", "#1f77b4", "training"), ("val", "#d62728", "validation")):
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
    figure.savefig(file, format="png")


def environment(device: str) -> dict[str, Any]:
    """What a result depends on besides settings: versions, machine, device, the code's commit."""
    versions = {"python": platform.python_version(), "numpy": np.__version__, "minires": minires.__version__}
    cupy = sys.modules.get("cupy")
    if cupy is not None:
        versions["cupy"] = cupy.__version__
    machine = {"system": platform.system(), "processor": _processor(), "cores": os.cpu_count()}
    machine |= backend.describe(device)
    return {"versions": versions, "machine": machine, "device": device, "commit": _commit()}


def _processor():
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
