"""Compare runs: a table, in what their settings differ, and one picture.

    python examples/compare.py runs/*
    python examples/compare.py runs/first runs/second --out both.png

The best on validation images stands first. Runs of segment.py are compared with each other, and so are those of
detect.py. The picture is comparison.png beside the runs, unless --out names another file; only a picture that this
script has made is replaced.
"""

import signal
import sys
from pathlib import Path

if __name__ == "__main__":  # Ctrl-C while the imports below go on
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a fresh clone runs without being installed

from minires.cli import runs
from minires.cli.comparing import MOST_DRAWN, differences, draw_comparison, ordered, read_run, table
from minires.cli.console import Parser
from minires.cli.legs import run_folder
from minires.cli.output import note
from minires.cli.pictures import made_by, refuse_to_replace
from minires.columns import listed
from minires.inspection.pictures import write_png
from minires.wording import readable

MARK = "minires, examples/compare.py"


def main():
    """Run the command line; returns the exit code."""
    return runs.call(run, lambda: vars(command_line().parse_args()))


def run(options):
    """Read, print and draw; the exit code."""
    names = [Path(name) for name in options["runs"] if not made_by(MARK, name)]
    folders = list(dict.fromkeys(run_folder(name) if name.suffix == ".safetensors" else name for name in names))
    found = ordered(runs_of(folders))
    if not found:
        raise ValueError(f"no run in {listed(map(str, folders), 200)}: name folders that a training has written")
    for line in table(found):
        print(line)
    for number, line in enumerate(differences(found)):
        print(line if number else f"\n{line}")
    drawn = [run for run in found if run.history]
    if drawn:
        path = Path(options["out"] or folders[0].resolve().parent / "comparison.png")
        write_picture(drawn, path)
        more = f", the first {MOST_DRAWN} of {len(drawn)} runs" if len(drawn) > MOST_DRAWN else ""
        print(f"\nwrote {path}{more}")
    return 0


def runs_of(folders):
    """The runs in these folders; what holds none is noted."""
    found = []
    for folder in folders:
        try:
            found.append(read_run(folder))
        except ValueError as error:
            note(f"{readable(str(folder), 4096)} {error}: left out")
    return found


def write_picture(found, path):
    """Draw the runs into a file that is new, or that this script has made."""
    refuse_to_replace(path, MARK, "--out")
    write_png(draw_comparison(found), path, text={"Software": MARK})


def command_line():
    """The parser."""
    parser = Parser(description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a run, or a checkpoint in it")
    parser.add_argument("--out", metavar="FILE", help="the picture; default: comparison.png beside the first run")
    return parser


if __name__ == "__main__":
    sys.exit(main())
