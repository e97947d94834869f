"""--find-lr: the range test of `minires.lr_finder` as a table, a CSV file and a picture, in a folder of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minires import data
from minires.cli.claim import claimed, new_folder
from minires.cli.ingredients import network_text
from minires.cli.output import note, output_is_kept_elsewhere
from minires.cli.recording import write_csv
from minires.inspection.pictures.figures import GREY, RED, new_figure, write_png
from minires.lr_finder import RangeTest, lr_find
from minires.module import Module
from minires.optim import Optimizer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEPS = 200
CLEAR = 0.1  # by what share the loss must fall for the test to say something
LINES = 12  # of the table on standard output
FILES = ("lr_find.csv", "lr_find.png")


def find_lr(
    settings: Mapping[str, Any],
    dataset: data.Dataset,
    model: Module,
    optimizer: Optimizer,
    loader: data.Loader,
    steps: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> int:
    """Run the test on the training images of `loader`, print, write and draw it; returns the exit code.

    steps: at most so many; None: 200.   options: of the network, for the title.
    Raises as `claimed` where the folder holds anything already.
    """
    folder = Path(settings["out"]) if "out" in settings else new_folder(f"{settings['model']}-find-lr")
    with claimed(folder):
        return _find_lr_in(folder, settings, dataset, model, optimizer, loader, steps, options or {})


def _find_lr_in(folder, settings, dataset, model, optimizer, loader, steps, options):
    title = f"{network_text(settings['model'], options)} on {dataset.label}"
    print(f"{title}:\nthe training loss while the learning rate grows", flush=True)
    how = {name: settings[name] for name in ("label_smoothing", "precision", "clip_norm")}
    found = lr_find(model, optimizer, loader, iterations=steps or STEPS, **how)
    for line in lines(found):
        print(line, flush=True)
    write_csv(folder / FILES[0], ("lr", "loss", "mean"), zip(found.lrs, found.losses, found.means, strict=True))
    output_is_kept_elsewhere()
    try:
        write_png(draw_range_test(found, title), folder / FILES[1])
    except Exception as error:  # a picture is not worth the test
        note(f"{FILES[1]} is left out ({error})")
    print(f"all steps and the picture are in {folder}", flush=True)
    return 0


def lines(found: RangeTest) -> list[str]:
    """The table, and what follows from it."""
    every = max(1, len(found.lrs) // LINES)
    rows = list(zip(found.lrs, found.losses, found.means, strict=True))[every - 1 :: every]
    return [
        "learning rate       loss  mean so far",
        *(f"{lr:13.2g} {loss:10.4f} {mean:12.4f}" for lr, loss, mean in rows),
        f"ended: {found.ended}",
        f"the mean is lowest at {found.lowest:.2g}, {found.fall:.0%} below the first: up to there a schedule may go",
        f"that comes down again; for a rate that is held try a third, --lr {found.suggested:.2g}",
        *([] if found.fall >= CLEAR else ["that is little: the test says more with more --iterations"]),
    ]


def draw_range_test(found: RangeTest, title: str) -> Figure:
    """The loss and its running mean over the learning rate, with the rate that is suggested."""
    figure = new_figure(7, 4.2)
    axes = figure.subplots()
    axes.semilogx(found.lrs, found.losses, color=GREY, linewidth=0.7, label="loss of each batch")
    axes.semilogx(found.lrs, found.means, linewidth=2, label="running mean")
    axes.axvline(found.suggested, color=RED, linestyle="--", label=f"suggested: {found.suggested:.2g}")
    axes.set_ylim(min(found.means) * 0.9, max(found.means[0], min(found.means)) * 1.5)
    axes.set_xlabel("learning rate")
    axes.set_ylabel("training loss")
    axes.set_title(title, fontsize=11)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure
