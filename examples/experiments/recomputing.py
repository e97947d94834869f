"""Recomputing: what a training step takes in memory and in time, by the number of segments. docs/recomputing.md.

    python examples/experiments/recomputing.py                       resnet56, batch size 128; ten minutes on two cores
    python examples/experiments/recomputing.py --model resnet110     another network for CIFAR
    python examples/experiments/recomputing.py --quick               does it run?

Images are noise, weights those of seed 0. Memory is what a process of its own, doing nothing else, takes at most in
two steps beyond what it held before them. Times are of one process, in which all take turns of one step: the seconds
that all cores together computed, so that what else the machine does matters little. A ratio is the median over the
rounds of a step's time over that of the step in the same round that computes nothing twice. All must end with the same
weights, bit for bit. Writes results.csv and results.png into --out.
"""

import hashlib
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that a fresh clone runs without being installed

import _shared
import numpy as np

from minires import backend, models, optim
from minires.cli import runs
from minires.cli.console import Parser, one_of
from minires.cli.recording import write_csv
from minires.inspection.pictures.figures import new_figure, write_png
from minires.inspection.watching import watching
from minires.modes import no_grad
from minires.recompute import blocks, recompute
from minires.training import train_step

ARRAYS_OF_A_BLOCK = 4  # of its output's size: two convolutions' outputs and two activations
NETWORKS = tuple(function.__name__ for function in (*models.RESNETS, *models.PLAIN))
SEGMENTS = (1, 2, 4, 7, 10, 14, 27)
COLUMNS = ("segments", "memory_mb", "kept_mb", "seconds", "ratio", "least", "most")


def main():
    """Run the command line; returns the exit code."""
    return runs.call(run, lambda: command_line().parse_args())


def run(args):
    """Measure, print, write and draw; returns the exit code."""
    completed(args)
    args.out.mkdir(parents=True, exist_ok=True)
    memory = _shared.each_alone(peak, [(args, count) for count in args.segments])
    seconds, bits = times(args)
    if len(bits) > 1:
        raise ValueError("the weights differ: they must be the same, however many segments there are")
    rows = []
    for count, megabytes in zip(args.segments, memory, strict=True):
        ratios = [mine / plain for mine, plain in zip(seconds[count], seconds[1], strict=True)]
        times_of = statistics.median(seconds[count]), statistics.median(ratios), min(ratios), max(ratios)
        rows.append((count, round(megabytes, 1), round(kept(args, count), 1), *(round(value, 3) for value in times_of)))
    write_csv(args.out / "results.csv", COLUMNS, rows)
    write_png(picture(rows, args), args.out / "results.png")
    print(f"{'segments':>8} {'MB':>6} {'kept':>6} {'CPU s':>9} {'ratio':>6}  from, to")
    for count, megabytes, of_arrays, second, ratio, least, most in rows:
        print(f"{count:8} {megabytes:6.0f} {of_arrays:6.0f} {second:9.2f} {ratio:6.2f}  {least:.2f}, {most:.2f}")
    print(f"{args.model}, batch size {args.batch_size}, {args.threads} threads; wrote {args.out}/results.csv")
    return 0


def make(args, segments):
    """(model, a function that takes a training step) of a network cut into segments."""
    backend.set_threads(args.threads)
    model = recompute(models.build(args.model, rng=0), segments)
    optimizer = optim.SGD(model.parameters(), 0.01, momentum=0.9, weight_decay=1e-4)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((args.batch_size, 32, 32, 3)).astype(np.float32)
    labels = rng.integers(0, 10, args.batch_size)
    return model, lambda: float(train_step(model, optimizer, x, labels)[0])


def peak(args, segments):
    """Megabytes of a step, in a process that does nothing else."""
    return _shared.memory_of(make(args, segments)[1])


def times(args):
    """({segments: [seconds of a step in each round]}, the digests of all weights at the end)."""
    networks = {count: make(args, count) for count in args.segments}
    found = {count: [] for count in args.segments}
    for number in range(args.rounds + 1):  # the first warms up
        for count in args.segments[:: -1 if number % 2 else 1]:
            began = time.process_time()
            networks[count][1]()
            found[count] += [time.process_time() - began] if number else []
    arrays = [[array.tobytes() for array in model.state_dict().values()] for model, _ in networks.values()]
    return found, {hashlib.sha256(b"".join(of_one)).hexdigest() for of_one in arrays}


def kept(args, segments):
    """Megabytes that the arrays kept take by the formula: inputs of segments, and of one segment all that it keeps."""
    model = recompute(models.build(args.model, rng=0), segments).eval()
    chain = blocks(model)
    with watching(model) as calls, no_grad():
        model(np.zeros((1, 32, 32, 3), np.float32))
    sizes = {call.module: (call.inputs[0].nbytes, call.y.nbytes) for call in calls}
    inputs, inside, before = 0, [], object()
    for block in chain:
        x, y = sizes[block]
        if block.segment != before:
            inputs, before = inputs + x, block.segment
            inside.append(0)
        inside[-1] += ARRAYS_OF_A_BLOCK * y
    return args.batch_size * (inputs + max(inside)) / 1e6


def picture(rows, args):
    """Memory and time by the number of segments."""
    figure = new_figure(10, 4.2)
    left, right = figure.subplots(1, 2)
    segments = [row[0] for row in rows]
    left.plot(segments, [row[1] for row in rows], "o-", color="#1f77b4", label="measured")
    left.plot(segments, [row[2] for row in rows], "--", color="#7f7f7f", label="arrays kept, by the formula")
    left.set(ylabel="memory of a step, MB", ylim=(0, None), title=f"{args.model}, batch size {args.batch_size}")
    left.legend(frameon=False)
    spread = np.array([[row[4] - row[5], row[6] - row[4]] for row in rows]).T
    right.errorbar(segments, [row[4] for row in rows], spread, fmt="o-", color="#d62728", capsize=2)
    right.axhline(4 / 3, color="#7f7f7f", linestyle="--")
    right.annotate("one forward pass more: 4/3", (segments[-1], 4 / 3), ha="right", va="bottom")
    right.set(ylabel="time of a step, over the plain one's", ylim=(0.9, None), title="time")
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_xticks(segments, [str(count) for count in segments])
        axes.minorticks_off()
        axes.set_xlabel("segments")
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def command_line():
    """The parser."""
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("--model", type=one_of("model", NETWORKS), metavar="NAME", help="a ResNet for CIFAR; default: resnet56")
    add("--batch-size", "-b", type=int, metavar="N", help="default: 128")
    add("--segments", type=int, nargs="+", metavar="N", help="default: 1 to as many as there are blocks")
    add("--rounds", type=int, metavar="N", help="default: 5")
    add("--threads", type=int, metavar="N", help="default: the physical cores this process may use")
    add("--out", type=Path, metavar="DIR", help="default: runs/experiment-recomputing, quick ones apart")
    add("--quick", action="store_true", help="a small network, two images, one round: to see that it runs")
    return parser


def completed(args):
    """The arguments with what was not given. Raises ValueError for numbers that cannot be."""
    model, batch_size, rounds = ("resnet8", 2, 1) if args.quick else ("resnet56", 128, 5)
    args.model, args.batch_size = args.model or model, batch_size if args.batch_size is None else args.batch_size
    args.rounds = rounds if args.rounds is None else args.rounds
    args.threads = backend.get_threads() if args.threads is None else args.threads
    args.out = args.out or Path(f"runs/experiment-recomputing{'-quick' if args.quick else ''}")
    for name in ("batch_size", "rounds", "threads"):
        if getattr(args, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(args, name)}")
    number = len(blocks(models.build(args.model)))
    args.segments = args.segments or [count for count in SEGMENTS if count < number] + [number]
    for count in args.segments:
        if not 1 <= count <= number:
            raise ValueError(f"--segments {count}: {args.model} has {number} blocks: give 1 to {number}")
    args.segments = sorted({1, *args.segments})  # the plain step is what the others are compared with
    return args


if __name__ == "__main__":
    sys.exit(main())
