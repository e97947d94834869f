"""The learning rate over a run, for every schedule of minires/schedules.py: a picture.

python examples/experiments/schedules.py --out docs/images/schedules.png
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that a fresh clone runs without being installed

from minires.cli import runs
from minires.cli.console import Parser
from minires.inspection.pictures.figures import new_figure, write_png
from minires.schedules import (
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    LinearWarmup,
    MultiStepLR,
    OneCycleLR,
    StepLR,
)

ITERATIONS = 1000
SCHEDULES = {  # what stands above each panel, and the schedule
    "ConstantLR(0.1)": ConstantLR(0.1),
    "StepLR(0.1, step_size=250, gamma=0.5)": StepLR(0.1, step_size=250, gamma=0.5),
    "MultiStepLR(0.1, milestones=(500, 750))": MultiStepLR(0.1, milestones=(500, 750)),
    "CosineAnnealingLR(0.1, total_steps=1000)": CosineAnnealingLR(0.1, total_steps=ITERATIONS),
    "CosineAnnealingWarmRestarts(0.1, first_steps=250)": CosineAnnealingWarmRestarts(0.1, first_steps=250),
    "OneCycleLR(0.1, total_steps=1000)": OneCycleLR(0.1, total_steps=ITERATIONS),
    "LinearWarmup(MultiStepLR(...), steps=200)": LinearWarmup(MultiStepLR(0.1, milestones=(500, 750)), steps=200),
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
    """One panel for each schedule, with the same axes."""
    figure = new_figure(12, 4.4)
    panels = figure.subplots(2, 4, sharex=True, sharey=True)
    panels[1, 3].set_visible(False)
    panels[0, 3].tick_params(labelbottom=True)
    for axes, (name, schedule) in zip(panels.flat, SCHEDULES.items(), strict=False):
        axes.plot([schedule(iteration) for iteration in range(ITERATIONS)], color="#1f77b4")
        axes.set_title(name, fontsize=8)
        axes.grid(alpha=0.3)
    for axes in (*panels[1, :3], panels[0, 3]):
        axes.set_xlabel("iteration")
    for axes in panels[:, 0]:
        axes.set_ylabel("learning rate")
    panels[0, 0].set_ylim(0, 0.105)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.set_dpi(96)
    write_png(figure, path)


def command_line():
    """The parser."""
    parser = Parser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="where the picture goes, a PNG file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
