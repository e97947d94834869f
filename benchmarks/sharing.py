"""What sharing a step costs: N threads of one process, beside N processes of one thread that share nothing.

    python benchmarks/sharing.py                three minutes on two cores
    python benchmarks/sharing.py --quick        fewer rounds

In each round one process of one thread has a turn of training steps alone, then N of them at once, then one of N
threads. If processes at once are as quick as one alone, then caches and memory have room for all, and what N threads
lack of N times the speed is waiting, what only one of them does, and what one writes and another reads.
"""

import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import command_line
from against import Process
from cases import Network
from turns import ratios, take_turns

BATCHES, SECONDS = (128, 32), 1.5  # that a turn lasts, about


def measure(case, threads, rounds):
    """A row of the table: how many times one thread's speed the threads and the processes have."""
    root, processes = str(Path(__file__).resolve().parent.parent), []
    try:
        processes += [Process(root, case.name, count) for count in (*[1] * threads, threads)]
        steps = max(1, round(SECONDS / max(process.read()[-1] for process in processes)))
        *alone, shared = processes
        turns = {"one": alone[:1], "processes": alone, "threads": [shared]}
        seconds = take_turns({name: lambda some=some: at_once(some, steps) for name, some in turns.items()}, rounds)
    finally:
        for process in processes:
            process.stop()
    speed = case.batch_size / statistics.median(seconds["one"])
    of_processes = ratios([threads * value for value in seconds["one"]], seconds["processes"])
    return {
        "case": case.name,
        "images_per_second": speed,
        "threads": ratios(seconds["one"], seconds["threads"]),
        "processes": of_processes,
    }


def at_once(processes, steps):
    """The mean seconds of a step where each of the processes does so many at the same time."""
    for process in processes:
        process.ask(steps)
    return statistics.mean([process.read() for process in processes])


def main(argv=None):
    """Measure, and print a table."""
    args = command_line.parse(command_line.make_parser(__doc__, "three rounds", 9, 3), argv)
    content = {"machine": command_line.about(args.threads), "rounds": args.rounds, "results": []}
    print(f"{content['machine']['machine']['processor']}, {args.rounds} rounds; times the speed of one thread\n")
    print(f"{'case':20} {'one, images/s':>13} {f'{args.threads} threads':>20} {f'{args.threads} processes':>20}")
    for batch_size in BATCHES:
        row = measure(Network("resnet20", True, batch_size), args.threads, args.rounds)
        content["results"].append(row)
        cells = [
            "{ratio:.2f} ({spread[0]:.2f} to {spread[1]:.2f})".format(**row[name]) for name in ("threads", "processes")
        ]
        print(f"{row['case']:20} {row['images_per_second']:13.1f} {cells[0]:>20} {cells[1]:>20}", flush=True)
        command_line.save(args.json, content)


if __name__ == "__main__":
    main()
