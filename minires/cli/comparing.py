"""Several runs side by side: what each was, what came of it, and in what they differ."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minires.cli.legs import described
from minires.cli.progress import clock
from minires.columns import cut, display_width, listed, padded
from minires.data.regular import read_regular
from minires.inspection.pictures.figures import new_figure
from minires.plain import read_json
from minires.position import SINCE_THEN, HistoryRow, validation
from minires.wording import readable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LARGEST = 8 * 2**20  # bytes of a file that is read
LONGEST = 400  # letters of a setting or a name that are shown
MOST_EPOCHS = 100_000
LARGEST_NUMBER = 1e100  # of a loss; what is not below it is none
DAMAGED = (
    ValueError, KeyError, TypeError, IndexError, AttributeError, ArithmeticError, csv.Error, OSError,
)  # fmt: skip
NOT_COMPARED = {"out", "dataset", "data_dir", "data_url", "threads", "save_every", "no_progress", "cuda_graph"}
NOT_COMPARED |= {"device", "model", "epochs", "recompute", "tensorboard"}
MEASURES = {"acc": ("accuracy", "test_acc"), "IoU": ("mean IoU", "mean_iou"), "AP": ("AP50", "test_ap50")}
COLUMNS = ("run", "model", "epochs", "val loss", "val {}", "test {}", "time")
WIDTHS = (0, 12, 7, 8, 7, 8, 8)  # of all but the first, which takes what is left
MOST_DRAWN = 10


@dataclass(frozen=True)
class Run:
    """A run: its name, settings as text, data, planned epochs, the rows of log.csv, and result.json or {}.

    measure: what its images to validate and to test are measured by, of MEASURES; in log.csv it is always `val_acc`.
    """

    name: str
    settings: Mapping[str, str]
    data: str
    planned: int
    history: Sequence[Mapping[str, float | None]]
    result: Mapping[str, Any]
    measure: str = "acc"

    @property
    def best(self) -> Mapping[str, float | None]:
        """The epoch that was tested; without a test, the one that did best on validation images; {} before any."""
        for row in self.history:
            if self.result and row["epoch"] == self.result.get("model_of_epoch"):
                return row
        return max(self.history, key=lambda row: _or_lowest(validation(row)[1]), default={})

    @property
    def validation(self) -> tuple[float | None, float | None]:
        """Its validation loss and measure; None before any."""
        return validation(self.best) if self.best else (None, None)

    @property
    def tested(self) -> Any:
        """What the test found; None before it."""
        return self.result.get(MEASURES[self.measure][1])


def _or_lowest(value):
    return -math.inf if value is None else value


def read_run(folder: str | Path) -> Run:
    """The Run in a folder. Raises ValueError, in a few words, where there is none or a file of it is damaged."""
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise ValueError("holds no run")
    try:
        config = read_json(_text(folder / "config.json"), finite=False)
        settings, legs = dict(config["settings"]), config.get("legs", [])
        if legs:
            settings["legs"] = "; ".join(described(legs))
        label, planned = str(config["dataset"]["label"]), int(legs[-1]["to_epoch"] if legs else settings["epochs"])
        if not 0 <= planned <= MOST_EPOCHS:
            raise ValueError(f"{planned:.3g} epochs, {MOST_EPOCHS:,} is the limit")
        if (measure := str(config.get("measure", "acc"))) not in MEASURES:
            raise ValueError(f"measured by {measure}, of which nothing is known")
        settings = {name: str(value) for name, value in settings.items()}
        history = list(_history(_text(folder / "log.csv"))) if (folder / "log.csv").exists() else []
        result = {}
        if (folder / "result.json").exists():
            result = dict(read_json(_text(folder / "result.json"), finite=False))
    except DAMAGED as error:
        raise ValueError(f"is damaged ({type(error).__name__}: {cut(_word(error), 60)})") from error
    return Run(_word(folder.resolve().name), settings, _word(label), planned, history, result, measure)


def _word(value):
    """Something of a file as text that is shown: escaped, and no longer than it can be shown."""
    return readable(str(value)[:LONGEST], LONGEST)


def _history(text):
    """Yields the rows of log.csv as numbers, and None where there is none."""
    for number, row in enumerate(csv.DictReader(text.splitlines())):
        values = {key: float(value) if value else None for key, value in row.items()}
        if number >= MOST_EPOCHS:
            raise ValueError(f"log.csv has more than {MOST_EPOCHS:,} rows")
        if not _is_whole(values):
            raise ValueError("log.csv has not the columns of a run, or no finite numbers")
        yield values


def _is_whole(row):
    """Whether a row of log.csv has its columns, and in them finite numbers or, without validation images, nothing."""
    numbers = [row[name] for name in HistoryRow.__annotations__ if name in row or name not in SINCE_THEN]
    return None not in (row["epoch"], row["train_loss"], row["train_acc"]) and all(
        number is None or abs(number) < LARGEST_NUMBER for number in numbers
    )


def _text(path):
    try:
        return read_regular(path, LARGEST).decode()
    except UnicodeDecodeError:
        raise
    except ValueError as error:
        raise ValueError(f"{path.name} {error}") from None


def ordered(runs: Iterable[Run]) -> list[Run]:
    """The best on validation images first: the test images choose nothing.

    Raises ValueError for runs that are measured by different things.
    """
    runs = list(runs)
    kinds: dict[str, list[str]] = {}
    for run in runs:
        kinds.setdefault(MEASURES[run.measure][0], []).append(run.name)
    if len(kinds) > 1:
        those = "; ".join(f"{kind}: {listed(names, 200)}" for kind, names in kinds.items())
        raise ValueError(f"these runs are not measured by the same ({those}): name those of one kind")
    return sorted(runs, key=lambda run: -_or_lowest(run.validation[1]))


def table(runs: Sequence[Run]) -> list[str]:
    """The lines of a table of at most 80 columns."""
    rows = [_cells(run) for run in runs]
    widest = max(display_width(row[0]) for row in rows)
    first = min(max(widest, 3), 80 - sum(WIDTHS) - len(WIDTHS) + 1)
    columns = [column.format(runs[0].measure) for column in COLUMNS]
    return [_line(columns, first), *(_line(row, first) for row in rows)]


def _line(cells, first):
    numbers = [cell.rjust(width) for cell, width in zip(cells[2:], WIDTHS[2:], strict=True)]
    return " ".join([padded(cells[0], first), padded(cells[1], WIDTHS[1]), *numbers])


def _cells(run):
    (loss, measured), done = run.validation, len(run.history)
    epochs = str(done) if run.result or done == run.planned else f"{done}/{run.planned}"
    seconds = run.history[-1].get("seconds") if run.history else None
    return (
        run.name,
        _word(run.settings.get("model", "-")),
        epochs,
        _number(loss, ".4f"),
        _number(measured, ".2%"),
        _number(run.tested, ".2%"),
        "-" if seconds is None else clock(seconds),
    )


def _number(value, layout):
    return format(value, layout) if isinstance(value, (int, float)) and abs(value) < LARGEST_NUMBER else "-"


def differences(runs: Sequence[Run]) -> list[str]:
    """A line for each setting in which the runs differ, and one for the data where it is not the same."""
    lines = []
    names = dict.fromkeys(name for run in runs for name in run.settings if name not in NOT_COMPARED)
    for name in names:
        values = [run.settings.get(name, "-") for run in runs]
        if len(set(values)) > 1:
            lines.append(cut(f"{_word(name.replace('_', ' '))}: {', '.join(map(_word, values))}", 80))
    if lines:
        lines.insert(0, "settings that differ, in the order of the table:")
    if len({run.data for run in runs}) > 1:
        lines.append("not the same data, so the figures cannot be compared:")
        lines += [cut(f"  {run.name}: {run.data}", 80) for run in runs]
    return lines


def _of_training(run, kind):
    return [row[f"train_{kind}"] for row in run.history]


def draw_comparison(runs: Sequence[Run]) -> Figure:
    """Validation loss and measure by epoch, a line for each of the first ten runs; else those of training."""
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(10, 4.6)
    panels, measure = figure.subplots(1, 2), MEASURES[runs[0].measure][0]
    of_training = "training" if measure == "accuracy" else "training accuracy"  # of pixels, or positions
    for axes, kind, scale, label in zip(panels, ("loss", "acc"), (1, 100), ("loss", f"{measure}, %"), strict=True):
        for number, run in enumerate(runs[:MOST_DRAWN]):
            found = [validation(row)[kind == "acc"] for row in run.history]
            validated = None not in found
            values = [scale * (value or 0) for value in (found if validated else _of_training(run, kind))]
            name = cut(run.name, 40) + ("" if validated else f" ({of_training})")
            epochs = [row["epoch"] for row in run.history]
            axes.plot(epochs, values, f"C{number}", marker="o", markersize=3, label=name.replace("$", r"\$"))
        axes.set_xlabel("epoch")
        axes.set_ylabel(f"validation {label}")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2, fontsize=8)
    return figure
