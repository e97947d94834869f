"""What the experiments share that train a network of several settings by one of the scripts, a run for each seed."""

import contextlib
import csv
import json
import statistics
import sys
from pathlib import Path

import _shared

from minires.cli.console import Parser
from minires.cli.recording import write_csv
from minires.inspection.pictures.figures import new_figure, write_png


def command_line(text, name):
    """The parser of the experiment of this name."""
    parser = Parser(description=text)
    parser.add_argument("--weights", required=True, metavar="FILE", help="of a ResNet for CIFAR")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], metavar="N", help="default: 0 1")
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"default: runs/experiment-{name}, quick ones apart")
    parser.add_argument("--quick", action="store_true", help="all parts with few scenes, to see that it runs")
    return parser


def results_of(script, out, ways, seeds, size):
    """{(way, seed): (result.json, config.json, log.csv)} of the runs of `script`; or the exit code of one that ended.

    ways: {name: settings}.   size: settings that all have. A run that has come to its end is not done again, one that
    was interrupted goes on.
    """
    results = {}
    for seed in seeds:
        for name, way in ways.items():
            settings = {**way, **size, "seed": seed}
            folder = out / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
            _refuse_others(folder, {**size, "seed": seed})
            with _called(script):
                code = _finish(script, folder, settings)
            if code:
                return code
            results[name, seed] = _read(folder)
    return results


def _refuse_others(folder, wanted):
    """Raise ValueError where the folder holds a run of other settings."""
    if (folder / "config.json").exists():
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))["settings"]
        for name, value in wanted.items():
            if found[name] != value:
                raise ValueError(f"{folder} holds a run with another {name}: name another --out")


@contextlib.contextmanager
def _called(script):
    """Within this block the command line is the script's, by which a run that is stopped says how it goes on."""
    before = sys.argv
    sys.argv = [script.__file__]
    try:
        yield
    finally:
        sys.argv = before


def _finish(script, folder, settings):
    """Begin the run of this folder, or go on with it, unless it has come to its end; returns its exit code."""
    if (folder / "result.json").exists():
        return 0
    print(f"\n{folder}", flush=True)
    if (folder / "last.safetensors").exists():
        return script.run({"resume": str(folder), "no_progress": True})
    return script.run({**settings, "out": str(folder), "no_progress": True})


def _read(folder):
    """What a finished run's files say."""
    result, config = (
        json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in ("result", "config")
    )
    with open(folder / "log.csv", newline="", encoding="utf-8") as file:
        return result, config, list(csv.DictReader(file))


def write_results(out, results, head, label):
    """A table of Markdown on standard output, results.csv, and `curve` by epoch as results.png.

    results: {(way, seed): {column: number, "curve": [number of each epoch]}}.   head: {column: its title}.
    label: of the curves.
    """
    rows = [{"run": run, "seed": seed, **result} for (run, seed), result in results.items()]
    write_csv(out / "results.csv", ("run", "seed", *head), rows)
    print(f"\n| run | {' | '.join(head.values())} |\n|{'---|' * (1 + len(head))}")
    figure = new_figure(6.5, 4)
    axes = figure.subplots()
    for run, color in zip(dict.fromkeys(run for run, _ in results), _shared.COLORS, strict=False):
        of_run = [result for (name, _), result in results.items() if name == run]
        print(f"| {run} | {' | '.join(_cell([result[column] for result in of_run]) for column in head)} |")
        curves = [result["curve"] for result in of_run]
        epochs = range(1, len(curves[0]) + 1)
        axes.plot(epochs, [statistics.mean(values) for values in zip(*curves, strict=True)], color=color, label=run)
        least, most = ([choose(values) for values in zip(*curves, strict=True)] for choose in (min, max))
        axes.fill_between(epochs, least, most, color=color, alpha=0.15, lw=0)
    axes.set_xlabel("epoch")
    axes.set_ylabel(label)
    axes.grid(alpha=0.3)
    axes.legend()
    write_png(figure, out / "results.png")
    print(f"mean of the seeds (least to largest); wrote {out}/results.*")


def _cell(values):
    return f"{values[0]:,}" if isinstance(values[0], int) else _shared.spread(values)
