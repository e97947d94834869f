"""minires beside its peers on this machine's cores, in one run: images per second, ratios, memory; and where
minires's own time goes.

    python benchmarks/cpu.py                                about ten minutes on two cores
    python benchmarks/cpu.py --quick                        fewer cases and rounds: under a minute
    python benchmarks/cpu.py --json FILE                    the same figures for a program
    python benchmarks/cpu.py --case 'resnet20-*' 'conv*'    these cases only
    python benchmarks/cpu.py --breakdown resnet56 64        the operations of this training step only

Peers are PyTorch, where it is installed (pip install torch, a CPU build will do), in every case, and a textbook's
im2col, which is slow, in two cases and with fewer steps. Without PyTorch the cases without a peer are reported for
minires alone.

In each round minires and every peer have a turn of a few steps, on the same weights and the same batch; a figure is
the median over rounds, a ratio the median of the rounds' ratios, so that a machine whose speed drifts does not matter.
Before that, all must have computed the same. A training step is forward, loss, backward and one step of SGD with
momentum and weight decay; data preparation is left out. Memory is what a process of its own, doing nothing else, takes
at most in its first steps beyond what it held before them.
"""

import functools
import multiprocessing
import platform
import statistics
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import breakdown  # noqa: E402
import command_line  # noqa: E402
import machine_peaks  # noqa: E402
import peers  # noqa: E402
import turns  # noqa: E402
from cases import CASES, QUICK, Network, select  # noqa: E402

from minires import backend, models  # noqa: E402
from minires.names import unknown  # noqa: E402

# Time ------------------------------------------------------------------------------------------------------------


def warm_up(case, runners):
    """Seconds of a step of each runner, all of which must compute the same in the first steps."""
    seconds, expected = {}, None
    for who, step in runners.items():
        results = []
        for _ in range(2):  # the second loss of training tells whether the gradients were the same
            began = time.perf_counter()
            results += [np.asarray(result) for result in step()]
            seconds[who] = time.perf_counter() - began
        expected = expected or results
        for result, wanted in zip(results, expected, strict=True):
            tolerance = 1e-3 * float(np.abs(wanted).max())
            message = f"{who} computes something else in {case.name}"
            np.testing.assert_allclose(result, wanted, rtol=1e-3, atol=tolerance, err_msg=message)
    return seconds


def images_per_second(step, batch_size, steps):
    """The speed of one turn."""
    return batch_size / turns.seconds_of_step(step, steps)


def measure(case, modules, rounds, steps=None):
    """{who: [images per second in each round]} of minires and the peers in turn; slow peers have fewer rounds.

    modules: {who: module}.   steps: in a turn, or None for as many as fit in the case's time, at least one.
    """
    runners = {who: module.make_step(case, who) for who, module in modules.items()}
    seconds = warm_up(case, runners)
    slow = [who for who in runners if who in peers.SLOW]
    in_turn = {who: 1 if who in slow else steps or max(1, int(case.seconds / seconds[who])) for who in runners}
    each = {
        who: functools.partial(images_per_second, step, case.batch_size, in_turn[who]) for who, step in runners.items()
    }
    return turns.take_turns(each, rounds, slow)


# Memory ----------------------------------------------------------------------------------------------------------


def peak_memory(case, who, threads, steps):
    """Megabytes that this process, which only runs this case, takes beyond what it held before its first step."""
    backend.set_threads(threads)
    step = peers.load(who, threads).make_step(case, who)
    return turns.memory_of_steps(step, steps, lambda: backend.memory_peak("cpu"))


def peak_memories(case, names, threads, steps):
    """{who: megabytes}, of minires and these peers, a few processes at a time unless some are slow."""
    everyone = ["minires", *names]
    processes = 1 if any(name in peers.SLOW for name in names) else threads
    with multiprocessing.get_context("spawn").Pool(processes, maxtasksperchild=1) as pool:
        found = pool.starmap(peak_memory, [(case, who, threads, steps) for who in everyone], chunksize=1)
    return dict(zip(everyone, found, strict=True))


# Cases -----------------------------------------------------------------------------------------------------------


def report(case, speeds, memory):
    """One result for each peer, as in the JSON file; one with None for the peer's figures where there is no peer."""
    ours = statistics.median(speeds["minires"])
    for peer in [who for who in speeds if who != "minires"] or [None]:
        theirs = speeds.get(peer)
        compared = turns.ratios(speeds["minires"], theirs) if theirs else {"ratio": None, "spread": None}
        yield {
            "case": case.name,
            "peer": peer,
            "images_per_second": turns.significant(ours),
            "peer_images_per_second": turns.significant(statistics.median(theirs)) if theirs else None,
            **compared,
            "peak_mb": round(memory["minires"], 1),
            "peer_peak_mb": round(memory[peer], 1) if theirs else None,
        }


WIDTH = max(map(len, CASES))
HEAD = (
    f"{'case':{WIDTH}} {'peer':21} {'minires':>8} {'peer':>8} {'ratio':>6} {'spread':>12} {'MB':>6} {'peer MB':>7}\n"
    + "-" * (WIDTH + 75)
)
LEGEND = "minires and peer: images/s, median over rounds; ratio: minires over peer; MB: memory taken by the steps"


def line(row):
    """A result as a line of the table."""
    start = f"{row['case']:{WIDTH}} {row['peer'] or '-':21} {row['images_per_second']:8.5g}"
    if row["peer"] is None:
        return f"{start} {'':8} {'':6} {'':12} {row['peak_mb']:6.0f}"
    spread = "{:.2f} to {:.2f}".format(*row["spread"])
    return (
        f"{start} {row['peer_images_per_second']:8.5g} {row['ratio']:6.3f} {spread:>12} "
        f"{row['peak_mb']:6.0f} {row['peer_peak_mb']:7.0f}"
    )


# The command line ------------------------------------------------------------------------------------------------


def parse(argv):
    """The arguments, with `cases` and `peers` chosen by name. Exits with a sentence for an unknown one."""
    listing = "cases:\n  {}\npeers:\n  {}".format("\n  ".join(CASES), "\n  ".join(peers.PEERS))
    quick = "fewer cases, peers and rounds: under a minute"
    parser = command_line.make_parser(__doc__, quick, 5, 3, listing)
    parser.add_argument("--case", nargs="+", metavar="NAME", help="only these cases; * and ? as in a shell")
    parser.add_argument("--peer", nargs="+", metavar="NAME", help="only these peers; * and ? as in a shell")
    parser.add_argument(
        "--breakdown", nargs=2, metavar=("MODEL", "BATCH"), help="only the operations of this training step"
    )
    args = command_line.parse(parser, argv)
    try:
        return _checked(args)
    except ValueError as error:
        sys.exit(f"error: {error}")


def _checked(args):
    """args with `cases`, `asked` (peers by name), and what to leave out, decided. Raises ValueError."""
    everything = not (args.case or args.breakdown)
    default = (QUICK if args.quick else CASES) if everything else ()
    args.cases = [CASES[name] for name in (select(args.case, CASES) if args.case else default)]
    args.asked = select(args.peer, peers.PEERS, "peer") if args.peer else []
    if args.breakdown:
        model, batch_size = args.breakdown
        if model not in models.MODELS:
            raise ValueError(unknown("model", model, models.MODELS))
        if not batch_size.isdigit() or int(batch_size) < 1:
            raise ValueError(f"--breakdown MODEL BATCH: BATCH must be a whole number of at least 1, got {batch_size!r}")
        args.breakdown = Network(model, True, int(batch_size))
    elif everything:
        args.breakdown = CASES["resnet20-train-128"]
    args.steps = 1 if args.quick else None
    return args


def find_peers(args):
    """{name: module} of the peers of this run that are installed; says which are not."""
    if not args.cases:
        return {}
    names = args.asked or [name for name in peers.PEERS if not (args.quick and name in peers.SLOW)]
    names = [name for name in names if any(peers.taking_part(case, [name]) for case in args.cases)]
    found, missing = peers.load_installed(names, args.threads)
    if not found:
        found, _ = peers.load_installed(["textbook"], args.threads)
    for sentence in missing:
        print(sentence)
    return found


def versions_of(found):
    """{package: version} of the peers."""
    modules = {module.__name__.removeprefix("peers.peer_"): module for module in found.values()}
    return {name: module.version for name, module in modules.items() if hasattr(module, "version")}


def main(argv=None):
    args = parse(argv)
    found = find_peers(args)
    content = {"machine": command_line.about(args.threads, versions_of(found)), "results": []}

    versions = ", ".join(f"{name} {version}" for name, version in content["machine"]["versions"].items())
    print(f"{content['machine']['machine']['processor']}, {args.threads} threads, {platform.system()}\n{versions}")
    if args.cases:
        print(f"{args.rounds} rounds\n\n{HEAD}")
    for case in args.cases:
        part = peers.taking_part(case, found)
        memory = peak_memories(case, part, args.threads, 2 if args.quick else 3)
        minires = peers.load("minires", args.threads)
        speeds = measure(case, {"minires": minires, **{who: found[who] for who in part}}, args.rounds, args.steps)
        for row in report(case, speeds, memory):
            content["results"].append(row)
            print(line(row), flush=True)
        command_line.save(args.json, content)
    if args.cases:
        print(LEGEND)
    if args.breakdown:
        content |= break_down(args.breakdown, args.threads, args.quick)
        command_line.save(args.json, content)
    if args.json:
        print(f"\nwrote {args.json}")


def break_down(network, threads, quick):
    """Print a training step's operations; {"peaks", "breakdown"} for the JSON."""
    peaks = machine_peaks.measure(threads, seconds=0.2 if quick else 0.5)
    step = peers.load("minires", threads).make_step(network)
    found = breakdown.measure(step, 2 if quick else 5, peaks)
    print(
        f"\n{network.name} by operation; this machine's peaks: SGEMM {peaks['sgemm_gflops']:.0f} GFLOP/s, copying "
        f"{peaks['copy_gb_per_s']:.1f} GB/s, in cache {peaks['cached_copy_gb_per_s']:.1f} GB/s (read and written)"
    )
    print(breakdown.table(found))
    return {"peaks": peaks, "breakdown": {"case": network.name, "operations": found}}


if __name__ == "__main__":
    main()
