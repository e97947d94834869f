"""This checkout of minires against another one: speed in turn, and memory, case by case.

    python benchmarks/against.py PATH                        four cases, three rounds: two minutes on two cores
    python benchmarks/against.py PATH --case 'resnet20-*' --rounds 9
    python benchmarks/against.py PATH --quick --json FILE    resnet20 only, two rounds: half a minute

PATH is the folder that holds the other checkout's minires/. For each case both checkouts run in processes of their own,
which take turns of as many steps and must have computed the same in the first two. Cases and steps are this checkout's,
made of what both export. A ratio is the median over rounds of this checkout's speed over the other's: above 1, this one
is faster. MB is what a process's first steps take beyond what it held before them.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
from turns import memory_of_steps, ratios, seconds_of_step, significant, take_turns

HERE = Path(__file__).resolve().parent
DEFAULT = ("resnet20-train-128", "resnet20-infer-128", "resnet50-train-8", "resnet50-infer-8")
QUICK = DEFAULT[:2]
HEAD = f"{'case':32} {'this':>8} {'other':>8} {'ratio':>6} {'spread':>16} {'MB':>6} {'other MB':>8}"
LEGEND = "this and other: images/s, median over rounds; ratio: this over other; MB: memory taken by the steps"


class Process:
    """A checkout that runs one case in a process of its own."""

    def __init__(self, root, case, threads):
        command = [sys.executable, str(HERE / "against.py"), "--serve", root, case, str(threads)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root)
        self.root, self.case = root, case

    def turn(self, steps):
        """Seconds of a step, in a turn of so many."""
        self.ask(steps)
        return self.read()

    def ask(self, steps):
        """Let it begin a turn of so many; `read` waits for its end."""
        print(steps, file=self.process.stdin, flush=True)

    def read(self):
        """What the process says next."""
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"error: {self.root} could not run {self.case}: what it wrote stands above")
        return json.loads(line)

    def stop(self):
        self.process.communicate()


def serve(root, name, threads):
    """What the process does: its first steps, then a turn for every number of steps that it reads.

    minires is that of the checkout, so nothing of it may be imported before it is known which.
    """
    sys.path.insert(0, root)
    import minires

    if Path(minires.__file__).resolve().parent != Path(root, "minires").resolve():
        sys.exit(f"error: Python imports {minires.__file__}, not {root}")
    from cases import CASES
    from peers.peer_minires import make_step

    from minires import backend

    backend.set_threads(threads)
    step, results = make_step(CASES[name]), []
    memory = memory_of_steps(lambda: results.extend(means(step())), 2, lambda: backend.memory_peak("cpu"))
    print(json.dumps([results, memory, seconds_of_step(step, 1)]), flush=True)
    for line in sys.stdin:
        print(seconds_of_step(step, int(line)), flush=True)


def means(results):
    """A number for each of a step's results, by which two checkouts are compared."""
    return [float(np.abs(result).mean(dtype=np.float64)) for result in results]


def compare(case, roots, args):
    """A row of the table: the case in the checkouts `roots` {"this": folder, "other": folder}."""
    processes, first = {}, {}
    try:
        for who, root in roots.items():
            processes[who] = Process(str(root), case.name, args.threads)
            first[who] = processes[who].read()
        (results, peak, _), (other_results, other_peak, _) = first.values()
        if not np.allclose(results, other_results, rtol=1e-3, atol=0):
            sys.exit(f"error: {case.name}: this computes {results}, the other {other_results}: compare them first")
        longest = max(seconds for _, _, seconds in first.values())
        steps = 1 if args.quick else max(1, round(case.seconds / longest))
        turns = {who: lambda process=process: process.turn(steps) for who, process in processes.items()}
        seconds = take_turns(turns, args.rounds)
    finally:
        for process in processes.values():
            process.stop()
    speeds = {who: significant(case.batch_size / statistics.median(found)) for who, found in seconds.items()}
    compared = ratios(seconds["other"], seconds["this"])
    return {"case": case.name, **speeds, **compared, "peak_mb": round(peak, 1), "other_peak_mb": round(other_peak, 1)}


def line(row):
    """A row as text."""
    spread = "{:.3f} to {:.3f}".format(*row["spread"])
    return (
        f"{row['case']:32} {row['this']:8.5g} {row['other']:8.5g} {row['ratio']:6.3f} {spread:>16} "
        f"{row['peak_mb']:6.0f} {row['other_peak_mb']:8.0f}"
    )


def main(argv=None):
    sys.path.insert(0, str(HERE.parent))
    import command_line
    from cases import CASES, select

    listing = "cases:\n  " + "\n  ".join(CASES)
    parser = command_line.make_parser(__doc__, "resnet20 only, a step in each of two rounds", 3, 2, listing)
    parser.add_argument("path", type=Path, metavar="PATH", help="the other checkout's folder")
    parser.add_argument("--case", nargs="+", metavar="NAME", help="only these cases; * and ? as in a shell")
    args = command_line.parse(parser, argv)
    if not (args.path / "minires" / "__init__.py").is_file():
        sys.exit(f"error: PATH {args.path}: there is no minires/ in it: name the folder of a checkout")
    try:
        names = select(args.case or (QUICK if args.quick else DEFAULT), CASES)
    except ValueError as error:
        sys.exit(f"error: {error}")
    roots = {"this": HERE.parent, "other": args.path.resolve()}
    content = {"machine": command_line.about(args.threads), "rounds": args.rounds, "results": []}
    print(f"{content['machine']['machine']['processor']}, {args.threads} threads, {args.rounds} rounds\n\n{HEAD}")
    for name in names:
        content["results"].append(compare(CASES[name], roots, args))
        print(line(content["results"][-1]), flush=True)
        command_line.save(args.json, content)
    print(LEGEND)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        main()
