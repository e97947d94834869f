"""What a step takes with W ranks: compute, latency, bandwidth. Predictions for up to 1,000 ranks.

    python examples/experiments/scaling_model.py                                         with the constants below
    python examples/experiments/scaling_model.py --image 0.004 --latency 5e-5 --bandwidth 1e9
    mpiexec -n 2 python -m mpi4py examples/experiments/scaling_model.py --measure        this machine's constants

    step = N / W * image + latency * 2 (W - 1) + 2 (W - 1) / W * bytes / bandwidth + bytes / adding

Image in seconds, latency in seconds a message, bandwidth and adding in bytes a second. Derivation: docs/scaling.md.
Writes results.csv and results.png into --out.
"""

import math
import sys
import time
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that a fresh clone runs without being installed

import numpy as np

from minires import models
from minires.cli import runs
from minires.cli.console import Parser
from minires.cli.recording import write_csv
from minires.inspection.pictures.figures import new_figure, write_png
from minires.shards import TreeSum

COLORS = ("#1f77b4", "#d62728", "#2ca02c")
RANKS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
SHOWN = (2, 8, 32, 128, 1000)
COLUMNS = ("network", "link", "batch", "images", "ranks", "step_seconds", "compute_seconds", "speedup", "efficiency")


class Link(NamedTuple):
    """Between two ranks.   latency: seconds that a message takes; bandwidth: bytes a second of a rank, each way."""

    latency: float
    bandwidth: float


class Network(NamedTuple):
    """image: seconds of compute for one; bytes: of all that is added up in a step."""

    image: float
    bytes: int


LINKS = {  # the first measured, the others what such a network has at best
    "this machine": Link(7e-5, 0.66e9),
    "1 Gbit/s": Link(50e-6, 0.125e9),
    "100 Gbit/s": Link(2e-6, 12.5e9),
}
IMAGE = {"resnet20": 1 / 236, "resnet50": 1 / 2.85}  # docs/results.md: two cores of an AMD EPYC, which are a rank here
ADDING = 1e9  # bytes a second: copied, added, and copied again
FOR_A_RANK, FOR_ALL = (
    32,
    1024,
)  # images: of a rank, where the batch grows with the ranks; of the batch, where it does not


def bytes_of(name):
    """What a step adds up: gradients, running statistics, the loss and the number of right answers, in float32."""
    model = models.build(name, 10 if name == "resnet20" else 1000, rng=0, small_input=name == "resnet20")
    return 4 * (sum(p.size for p in model.parameters()) + sum(b.size for b in model.buffers()) + 2)


def step(network, link, images, ranks, adding=ADDING):
    """(seconds of a step, of them of compute) with so many images in the batch."""
    compute = images / ranks * network.image
    if ranks == 1:
        return compute, compute
    sent = (ranks - 1) / ranks * network.bytes  # once to get the parts together, once to get the sums back
    return compute + 2 * ((ranks - 1) * link.latency + sent / link.bandwidth) + network.bytes / adding, compute


def predictions(networks, links):
    """A row for each network, link, number of ranks, and batch: one that grows with them, and one that does not."""
    for (name, network), (between, link) in ((n, b) for n in networks.items() for b in links.items()):
        for grows in (True, False):
            for ranks in RANKS:
                images = FOR_A_RANK * ranks if grows else FOR_ALL
                seconds, compute = step(network, link, images, ranks)
                speedup = images * network.image / seconds
                yield {
                    "network": name, "link": between, "batch": "grows" if grows else "fixed",
                    "images": images, "ranks": ranks, "step_seconds": seconds,
                    "compute_seconds": compute, "speedup": speedup, "efficiency": speedup / ranks,
                }  # fmt: skip


def best(network, link, images):
    """The number of ranks at which a batch takes the least time: sqrt(N image / (2 latency)), at most one an image."""
    return min(images, max(1, round(math.sqrt(images * network.image / (2 * link.latency)))))


def rounded(number):
    """With three digits."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def main():
    """Run the command line; returns the exit code."""
    return runs.call_together(run, lambda: command_line().parse_args())


def run(args, ranks):
    """Measure, or predict; returns the exit code."""
    if args.measure:
        return measure(ranks)
    if ranks.size > 1:
        raise ValueError(f"{ranks.size} processes were started, and predictions are the work of one: give --measure")
    networks = {name: Network(args.image or image, bytes_of(name)) for name, image in IMAGE.items()}
    links = dict(LINKS)
    if args.latency or args.bandwidth:
        links = {"as given": Link(args.latency or LINKS["this machine"][0], args.bandwidth or LINKS["this machine"][1])}
    rows = list(predictions(networks, links))
    args.out.mkdir(parents=True, exist_ok=True)
    write_csv(args.out / "results.csv", COLUMNS, rows)
    for title, batch in ((f"{FOR_A_RANK} images a rank", "grows"), (f"{FOR_ALL} images in all", "fixed")):
        heads = [f"{w:,} ranks" for w in SHOWN] + ["at most"] * (batch == "fixed")
        print(f"\n| {title} | {' | '.join(heads)} |\n{'|---' * (len(heads) + 1)}|")
        for (name, network), (between, link) in ((n, b) for n in networks.items() for b in links.items()):
            own = [row for row in rows if (row["network"], row["link"], row["batch"]) == (name, between, batch)]
            cells = [rounded(row["speedup"]) for row in own if row["ranks"] in SHOWN]
            if batch == "fixed":
                most = best(network, link, FOR_ALL)
                seconds = step(network, link, FOR_ALL, most)[0]
                cells.append(f"{rounded(FOR_ALL * network.image / seconds)} with {most:,}")
            print(f"| {name}, {between} | {' | '.join(cells)} |")
    draw(args.out / "results.png", rows)
    print(f"wrote {args.out}/results.*")
    return 0


def draw(path, rows):
    """The speed-up by ranks: a picture for each network, a colour for each link, dashed where the batch is one size."""
    names = list(dict.fromkeys(row["network"] for row in rows))
    figure = new_figure(9, 3.8)
    for axes, name in zip(figure.subplots(1, len(names)), names, strict=True):
        links = list(dict.fromkeys(row["link"] for row in rows))
        for between, color in zip(links, COLORS, strict=False):
            for batch, style in (("grows", "-"), ("fixed", "--")):
                own = [row for row in rows if (row["network"], row["link"], row["batch"]) == (name, between, batch)]
                axes.loglog([row["ranks"] for row in own], [row["speedup"] for row in own], style, color=color,
                            label=between if batch == "grows" else None)  # fmt: skip
        axes.loglog(RANKS, RANKS, color="grey", lw=0.7)
        axes.set_ylim(0.5, 1500)
        axes.set_xlabel("ranks")
        axes.set_title(f"speed-up, {name}", fontsize=10)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    write_png(figure, path)


def measure(ranks):
    """Print latency, bandwidth and adding of two or more ranks, each the best of many sums."""
    if ranks.size < 2:
        raise ValueError("--measure is the work of two or more: mpiexec -n 2 python -m mpi4py " + sys.argv[0])
    small, large = (sum_seconds(ranks, numbers, times) for numbers, times in ((2, 500), (2**23, 10)))
    array = np.ones(2**23, np.float32)
    adding = min(timed(lambda: np.add(array.copy(), array).copy()) for _ in range(10))
    W, size = ranks.size, 4 * 2**23
    moving = max(large - small - adding, 1e-9)
    if ranks.first:
        print(f"{W} ranks on {len(set(ranks.hosts))} host(s), best of many sums")
        print(f"latency    {small / (2 * (W - 1)):.2e} s a message")
        print(f"bandwidth  {2 * (W - 1) / W * size / moving:.2e} bytes a second")
        print(f"adding     {size / adding:.2e} bytes a second")
    return 0


def sum_seconds(ranks, numbers, times):
    """The least time of a sum over all ranks of one shard each."""
    array, found = np.ones(numbers, np.float32), []
    for _ in range(times):
        sums = TreeSum()
        sums.put(ranks.rank, [array])
        ranks.gather(None)  # all begin at once
        found.append(timed(lambda sums=sums: ranks.sum(sums, ranks.size)))
    return min(found)


def timed(function):
    """Seconds that a call takes."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def command_line():
    """The parser."""
    parser = Parser(description=__doc__)
    parser.add_argument("--image", type=float, metavar="SECONDS", help="of compute for an image, of either network")
    parser.add_argument("--latency", type=float, metavar="SECONDS", help="of a message")
    parser.add_argument("--bandwidth", type=float, metavar="BYTES", help="a second, of a rank, each way")
    parser.add_argument("--measure", action="store_true", help="this machine's constants, started by mpiexec")
    parser.add_argument("--out", type=Path, default=Path("runs/scaling-model"), help="folder (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
