"""Several runs side by side: what each was, what came of it, and in what they differ."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minires.cli.legs import described
from minires.cli.progress import clock
from minires.columns import cut, display_width, padded, printable
from minires.inspection.pictures.figures import new_figure
from minires.position import HistoryRow

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LARGEST = 8 * 2**20  # bytes of a file that is read
NOT_COMPARED = {
    "out",
    "dataset",
    "data_dir",
    "data_url",
    "threads",
    "save_every",
    "no_progress",
    "cuda_graph",
    "device",
    "model",
    "epochs",
}
COLUMNS = ("run", "model", "epochs", "val loss", "val acc", "test acc", "time")
WIDTHS = (0, 12, 7, 8, 7, 8, 8)  # of all but the first, which takes what is left
MOST_DRAWN = 10


@dataclass(frozen=True)
class Run:
    """A run: its name, settings, data, planned epochs, the rows of log.csv, and result.json, or {} before the test."""

    name: str
    settings: Mapping[str, Any]
    data: str
    planned: int
    history: Sequence[Mapping[str, float | None]]
    result: Mapping[str, Any]

    @property
    def best(self) -> Mapping[str, float | None]:
        """The epoch that was tested; without a test, the one with the highest validation accuracy; {} before any."""
        for row in self.history:
            if self.result and row["epoch"] == self.result.get("model_of_epoch"):
                return row
        return max(self.history, key=lambda row: _or_lowest(row["val_acc"]), default={})


def _or_lowest(value):
    return -math.inf if value is None else value


def read_run(folder: str | Path) -> Run:
    """The Run in a folder. Raises ValueError, in a few words, where there is none or a file of it is damaged."""
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise ValueError("holds no run")
    try:
        config = json.loads(_text(folder / "config.json"))
        settings, legs = dict(config["settings"]), config.get("legs", [])
        if legs:
            settings["legs"] = "; ".join(described(legs))
        label, planned = str(config["dataset"]["label"]), int(legs[-1]["to_epoch"] if legs else settings["epochs"])
        rows = csv.DictReader(_text(folder / "log.csv").splitlines()) if (folder / "log.csv").exists() else []
        history = [{key: float(value) if value else None for key, value in row.items()} for row in rows]
        if not all(_is_whole(row) for row in history):
            raise ValueError("log.csv has not the columns of a run, or no finite numbers")
        result = dict(json.loads(_text(folder / "result.json"))) if (folder / "result.json").exists() else {}
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError, OSError) as error:
        raise ValueError(f"is damaged ({type(error).__name__}: {cut(printable(str(error)), 60)})") from error
    return Run(printable(folder.resolve().name), settings, printable(label), planned, history, result)


def _is_whole(row):
    """Whether a row of log.csv has its columns, and in them finite numbers or, without validation images, nothing."""
    numbers = [row[name] for name in HistoryRow.__annotations__]
    return None not in (row["epoch"], row["train_loss"], row["train_acc"]) and all(
        number is None or math.isfinite(number) for number in numbers
    )


def _text(path):
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path.name} has more than {LARGEST >> 20} MB")
    return path.read_text(encoding="utf-8")


def ordered(runs: Iterable[Run]) -> list[Run]:
    """The best by validation accuracy first: the test images choose nothing."""
    return sorted(runs, key=lambda run: -_or_lowest(run.best.get("val_acc")))


def table(runs: Sequence[Run]) -> list[str]:
    """The lines of a table of at most 80 columns."""
    rows = [_cells(run) for run in runs]
    widest = max(display_width(row[0]) for row in rows)
    first = min(max(widest, 3), 80 - sum(WIDTHS) - len(WIDTHS) + 1)
    return [_line(COLUMNS, first), *(_line(row, first) for row in rows)]


def _line(cells, first):
    numbers = [cell.rjust(width) for cell, width in zip(cells[2:], WIDTHS[2:], strict=True)]
    return " ".join([padded(cells[0], first), padded(cells[1], WIDTHS[1]), *numbers])


def _cells(run):
    best, done = run.best, len(run.history)
    epochs = str(done) if run.result or done == run.planned else f"{done}/{run.planned}"
    seconds = run.history[-1].get("seconds") if run.history else None
    return (
        run.name,
        printable(str(run.settings.get("model", "-"))),
        epochs,
        _number(best.get("val_loss"), ".4f"),
        _number(best.get("val_acc"), ".2%"),
        _number(run.result.get("test_acc"), ".2%"),
        "-" if seconds is None else clock(seconds),
    )


def _number(value, layout):
    return format(value, layout) if isinstance(value, (int, float)) else "-"


def differences(runs: Sequence[Run]) -> list[str]:
    """A line for each setting in which the runs differ, and one for the data where it is not the same."""
    lines = []
    names = dict.fromkeys(name for run in runs for name in run.settings if name not in NOT_COMPARED)
    for name in names:
        values = [printable(str(run.settings.get(name, "-"))) for run in runs]
        if len(set(values)) > 1:
            lines.append(cut(f"{name.replace('_', ' ')}: {', '.join(values)}", 80))
    if lines:
        lines.insert(0, "settings that differ, in the order of the table:")
    if len({run.data for run in runs}) > 1:
        lines.append("not the same data, so the accuracies cannot be compared:")
        lines += [cut(f"  {run.name}: {run.data}", 80) for run in runs]
    return lines


def draw_comparison(runs: Sequence[Run]) -> Figure:
    """Validation loss and accuracy by epoch, a line for each of the first ten runs; else those of training."""
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(10, 4.6)
    panels = figure.subplots(1, 2)
    for axes, kind, scale, label in zip(panels, ("loss", "acc"), (1, 100), ("loss", "accuracy, %"), strict=True):
        for number, run in enumerate(runs[:MOST_DRAWN]):
            validated = all(row[f"val_{kind}"] is not None for row in run.history)
            values = [scale * (row[f"{'val' if validated else 'train'}_{kind}"] or 0) for row in run.history]
            name = cut(run.name, 40) + ("" if validated else " (training)")
            epochs = [row["epoch"] for row in run.history]
            axes.plot(epochs, values, f"C{number}", marker="o", markersize=3, label=name.replace("$", r"\$"))
        axes.set_xlabel("epoch")
        axes.set_ylabel(f"validation {label}")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2, fontsize=8)
    return figure
