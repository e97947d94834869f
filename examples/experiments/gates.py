"""Activations with a gate: each curve, its slope and its gate, a picture.

python examples/experiments/gates.py --out docs/images/gates.png
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that a fresh clone runs without being installed

import numpy as np

from minires.cli import runs
from minires.cli.console import Parser
from minires.inspection.pictures.figures import BLUE, GREY, RED, new_figure, write_png
from minires.layers import gelu, hardswish, leaky_relu, silu

X = np.linspace(-5, 5, 2000)  # 0 is not among them: the gate is y / x
FUNCTIONS = {  # what stands above each panel, and the function
    "leaky_relu(x, 0.1)": lambda x: leaky_relu(x, 0.1),
    "silu(x)": silu,
    "gelu(x)": gelu,
    "hardswish(x)": hardswish,
}


def main():
    """Run the command line; returns the exit code."""
    return runs.call(run, lambda: command_line().parse_args())


def run(args):
    """Draw; returns the exit code."""
    draw(args.out)
    print(f"wrote {args.out}")
    return 0


def draw(path):
    """One panel for each function, with the same axes."""
    figure = new_figure(10, 2.9)
    panels = figure.subplots(1, len(FUNCTIONS), sharex=True, sharey=True)
    for axes, (name, function) in zip(panels, FUNCTIONS.items(), strict=True):
        y, backward = function(X)
        axes.plot(X, _without_jumps(y / X), color=GREY, linestyle=":", label="gate")
        axes.plot(X, _without_jumps(backward(np.ones_like(X))), color=RED, linestyle="--", label="slope")
        axes.plot(X, y, color=BLUE, label="y")
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("x")
        axes.grid(alpha=0.3)
    panels[0].set_ylim(-0.7, 2.2)
    panels[0].legend(loc="upper left", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.set_dpi(96)
    write_png(figure, path)


def _without_jumps(curve):
    """NaN where a curve jumps, so that no line is drawn from one side to the other."""
    return np.where(np.abs(np.diff(curve, append=curve[-1])) > 0.2, np.nan, curve)


def command_line():
    """The parser."""
    parser = Parser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="where the picture goes, a PNG file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
