"""From the textbook to minires, one idea at a time: what each is worth in a training step.

    python benchmarks/ideas.py                                about four minutes on two cores
    python benchmarks/ideas.py --quick                        smaller network, few rounds: under a minute
    python benchmarks/ideas.py --plot FILE --json FILE        the same as a chart and for a program
    python benchmarks/ideas.py --blocks --winograd            other tables: sizes of blocks, another algorithm

The ladder starts with textbook.py, goes on with minires in which every idea is replaced by its older form, and puts the
ideas back one after another; the last rung is minires as it is. All rungs, and PyTorch where it is installed, each a
process of its own, take turns on the same weights and batch. The images/s of a rung are the median over rounds, its
factor the median of the ratios of each round to the rung before. Before that, the first two losses of every rung must
be those of the last.

What the ideas are, and what came of them: docs/performance.md.
"""

import contextlib
import functools
import multiprocessing
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import command_line  # noqa: E402
import peers  # noqa: E402
from cases import Conv, Network  # noqa: E402
from cpu import images_per_second, versions_of  # noqa: E402
from older_forms import IDEAS  # noqa: E402
from replacing import replaced  # noqa: E402
from turns import PAUSE, ratios, seconds_of_step, significant, take_turns  # noqa: E402

from minires import backend, layers  # noqa: E402
from minires.backend.cpu import blocks, winograd  # noqa: E402

PYTORCH = {"pytorch-nchw": "PyTorch, default layout", "pytorch-channels-last": "PyTorch, channels_last"}
FIRST = {"textbook": "textbook: NCHW, whole arrays", "nhwc": "channels last (NHWC), col not kept"}
RUNGS = {**FIRST, **{idea.name: idea.title for idea in IDEAS}}  # name: title, in order
NETWORK, QUICK = Network("resnet20", True, 128, seconds=1.2), Network("resnet8", True, 32, seconds=0.1)
TURN_SECONDS = 0.3  # of a turn in the other tables, about

# The ladder ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def standing_on(rung):
    """Within this block minires has the ideas up to this rung, and older forms in place of the later ones."""
    reverted = IDEAS[max(0, list(RUNGS).index(rung) + 1 - len(FIRST)) :]
    older = {function: form for idea in reverted for function, form in idea.functions.items()}
    with replaced(older), contextlib.ExitStack() as stack:
        for idea in reverted:
            for place, value in idea.attributes.items():
                stack.enter_context(mock.patch.object(*place, value))
        yield


def page_faults():
    """How often this process touched a page that the system had yet to find; 0 where it does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


@dataclass
class Turn:
    """What some steps gave and took."""

    losses: list
    images_per_second: float
    page_faults: float  # of a step


class Runner:
    """A rung, or one of PyTorch's layouts, in this process."""

    def __init__(self, who, network, threads):
        backend.set_threads(threads)
        self.rung = who if who in RUNGS and who != "textbook" else None
        self.step = peers.load("minires" if self.rung else who, threads).make_step(network, who)
        self.batch_size = network.batch_size

    def turn(self, steps):
        time.sleep(PAUSE)
        with standing_on(self.rung) if self.rung else contextlib.nullcontext():
            faults, began = page_faults(), time.perf_counter()
            losses = [float(self.step()[0]) for _ in range(steps)]
            seconds = time.perf_counter() - began
        return Turn(losses, steps * self.batch_size / seconds, (page_faults() - faults) / steps)

    def stop(self):
        """Nothing is left to end."""


class Process:
    """A Runner in a process of its own: what one rung does with memory is not to help or harm another."""

    def __init__(self, *arguments):
        spawn = multiprocessing.get_context("spawn")
        self.executor = ProcessPoolExecutor(1, spawn, _start, arguments)

    def turn(self, steps):
        return self.executor.submit(_turn, steps).result()

    def stop(self):
        self.executor.shutdown()


def _start(*arguments):
    global _runner
    _runner = Runner(*arguments)


def _turn(steps):
    return _runner.turn(steps)


def climb(network, who, rounds, threads, start):
    """({name: [Turn of each round]}, {name: the first two losses}).

    A turn is as many steps as fit in the network's seconds. Those of which none fits have fewer turns.
    """
    runners, first, steps = {}, {}, {}
    try:
        for name in who:
            runners[name] = start(name, network, threads)
            first[name] = runners[name].turn(2).losses
            steps[name] = int(network.seconds * runners[name].turn(1).images_per_second / network.batch_size)
        for name, losses in first.items():  # the second loss tells whether the first step's gradients were the same
            np.testing.assert_allclose(losses, first["lean"], rtol=1e-3, err_msg=f"{name} computes something else")
        each = {name: functools.partial(runners[name].turn, steps[name] or 1) for name in who}
        return take_turns(each, rounds, [name for name in who if not steps[name]]), first
    finally:
        for runner in runners.values():
            runner.stop()


def speed_of(turns):
    return significant(statistics.median(turn.images_per_second for turn in turns))


def ladder(turns, losses):
    """The JSON's "rungs"."""
    found, before = [], None
    for name, title in RUNGS.items():
        speeds = [turn.images_per_second for turn in turns[name]]
        compared = ratios(speeds, before) if before else {"ratio": None, "spread": None}
        faults = round(statistics.median(turn.page_faults for turn in turns[name]))
        row = {"rung": name, "title": title, "images_per_second": speed_of(turns[name]), **compared}
        found.append({**row, "page_faults": faults, "loss": losses[name][0]})
        before = speeds
    return found


def table(rungs, pytorch):
    """The ladder as text."""
    width = max(len(row["title"]) for row in rungs)
    head = f"{'idea':{width}} {'images/s':>8} {'factor':>6} {'spread':>12} {'page faults':>11}"
    lines = [head, "-" * len(head)]
    for row in rungs:
        compared = f"{row['ratio']:6.2f} " + "{:.2f} to {:.2f}".format(*row["spread"]) if row["ratio"] else ""
        lines.append(f"{row['title']:{width}} {row['images_per_second']:8.4g} {compared:19} {row['page_faults']:11,}")
    lines += [f"{name:{width}} {speed:8.4g}" for name, speed in pytorch.items()]
    return "\n".join(lines)


def plot(rungs, pytorch, title, file):
    """A bar for each rung, readable without colours."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.2), layout="constrained")
    axes = figure.subplots()
    speeds = [row["images_per_second"] for row in rungs]
    bars = axes.barh([row["title"] for row in rungs], speeds, color="0.6", edgecolor="0.2", height=0.72, zorder=2)
    texts = [f"{row['images_per_second']:.0f}" + (f"   x {row['ratio']:.2f}" if row["ratio"] else "") for row in rungs]
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
    axes.bar_label(bars, texts, padding=5, fontsize=9, bbox=box, zorder=4)
    for (name, speed), style in zip(pytorch.items(), ("--", ":"), strict=False):
        label = f"{PYTORCH[name]}: {speed:.0f}"
        axes.axvline(speed, color="black", linestyle=style, linewidth=1.6, label=label, zorder=3)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.16 * max([*speeds, *pytorch.values()]))
    axes.set_xlabel("images/s   (x factor to the rung above; each rung keeps the ideas above it)")
    axes.set_title(title, fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    if pytorch:
        axes.legend(loc="upper right", framealpha=1)
    figure.savefig(file, dpi=110)


# Other tables ----------------------------------------------------------------------------------------------------


def speeds_in_turn(steps, images, rounds):
    """{name: images per second, median over rounds} of functions that each take a step of so many images."""
    each = {}
    for name, step in steps.items():
        step()
        count = max(1, round(TURN_SECONDS / seconds_of_step(step, 1)))
        each[name] = functools.partial(images_per_second, step, images, count)
    return {name: significant(statistics.median(found)) for name, found in take_turns(each, rounds).items()}


def compare_blocks(args):
    """A training step with blocks of other sizes."""
    step = peers.load("minires", args.threads).make_step(args.network)
    sizes = (0.125, 0.25, 0.5, 1, 2, 4, 8)
    steps = {str(mb): mock.patch.object(blocks, "BLOCK_BYTES", int(mb * 2**20))(step) for mb in sizes}
    speeds = speeds_in_turn(steps, args.network.batch_size, args.rounds)
    print(f"\nblocks, MB   {args.network.name}, images/s")
    for mb, speed in speeds.items():
        print(f"{mb:>10}   {speed:8.1f}")
    return speeds


def compare_winograd(args):
    """3x3 convolutions forward and backward by both algorithms; and a training step by where winograd begins."""
    print("\nforward and backward at batch 16, images/s   im2col  winograd   factor")
    found, batch = {}, 2 if args.quick else 16
    for C, size in [(16, 32), (32, 32), (64, 28), (128, 28), (256, 14), (512, 7)]:
        case = Conv(C, C, size, batch)
        x, weight, dy = case.arrays()

        def step(algorithm, x=x, weight=weight, dy=dy):
            _, backward = layers.conv2d(x, weight, None, 1, 1, algorithm=algorithm)
            backward(dy)

        steps = {algorithm: functools.partial(step, algorithm) for algorithm in ("im2col", "winograd")}
        found[case.name] = im2col, other = list(speeds_in_turn(steps, batch, args.rounds).values())
        print(f"{case.name:41} {im2col:9.1f} {other:9.1f} {other / im2col:8.2f}")
    step = peers.load("minires", args.threads).make_step(args.network)
    steps = {least: mock.patch.object(winograd, "LEAST_CHANNELS", least)(step) for least in (16, 32, 64, 128)}
    print(f"\nwinograd from   {args.network.name}, images/s")
    for least, speed in speeds_in_turn(steps, args.network.batch_size, args.rounds).items():
        print(f"{least:3} channels    {speed:8.1f}")
        found[f"from {least} channels"] = speed
    return found


TABLES = {"blocks": compare_blocks, "winograd": compare_winograd}

# The command line ------------------------------------------------------------------------------------------------


def parse(argv):
    """The arguments, with `network` and `tables`. Exits with a sentence for what cannot be."""
    listing = "rungs:\n  {}".format("\n  ".join(f"{name:9} {title}" for name, title in RUNGS.items()))
    quick = "resnet8, a small batch and two rounds: under a minute"
    parser = command_line.make_parser(__doc__, quick, 8, 2, listing)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the ladder (.png, .svg)")
    for name, compare in TABLES.items():
        parser.add_argument(f"--{name}", action="store_true", help=f"only this table: {compare.__doc__}")
    args = command_line.parse(parser, argv)
    command_line.check_folder("--plot", args.plot)
    args.tables = [name for name in TABLES if getattr(args, name)]
    if args.tables and args.plot:
        sys.exit("error: --plot draws the ladder, which is left out where another table is asked for: run it alone")
    args.network = QUICK if args.quick else NETWORK
    return args


def main(argv=None):
    args = parse(argv)
    found, missing = ({}, []) if args.tables else peers.load_installed(PYTORCH, args.threads)
    for sentence in missing:
        print(sentence)
    machine, network = command_line.about(args.threads, versions_of(found)), args.network
    print(f"{machine['machine']['processor']}, {args.threads} threads, {args.rounds} rounds")
    content = {"machine": machine, "network": network.name, "rounds": args.rounds}
    if args.tables:
        content |= {name: TABLES[name](args) for name in args.tables}
    else:
        turns, losses = climb(network, [*RUNGS, *found], args.rounds, args.threads, Process)
        content["rungs"] = ladder(turns, losses)
        content["pytorch"] = {name: speed_of(turns[name]) for name in found}
        print(f"{network.name}; page faults: of a step\n\n{table(content['rungs'], content['pytorch'])}")
        if args.plot:
            title = f"Training {network.model} at batch {network.batch_size}, {args.threads} threads"
            plot(content["rungs"], content["pytorch"], title, args.plot)
            print(f"wrote {args.plot}")
    command_line.save(args.json, content)


if __name__ == "__main__":
    main()
