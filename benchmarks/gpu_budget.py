"""What a step asks of a GPU, counted on a machine without one, and the time that a model of a GPU predicts for it.

    python benchmarks/gpu_budget.py                             all cases, a minute
    python benchmarks/gpu_budget.py --case resnet20-train-128   this case only
    python benchmarks/gpu_budget.py --rows                      also what each operation asks for
    python benchmarks/gpu_budget.py --json FILE                 the same for a program

The tests' double of CuPy counts; what is large is not computed. A step is a batch of the loader, augmented, and
`train_step` with SGD, momentum and weight decay; "recorded" is the same with RecordedStep, whose launches are counted
with a batch of 8, since they do not depend on it; its kernels within the graph are those of the plain step.
launches: kernels, products and graphs that the host hands over.   copies, waits: between host and device, and of the
host for the device, in a step.   MB: of the arrays that each kernel and product is given or makes, each once.
PyTorch's operations are those that its eager mode dispatches for the same network on arrays without memory (its device
"meta"), views apart, and without a loader: each is at least one kernel, a convolution's backward two.

Predicted: the host hands over one launch after the other, the GPU does one after the other, and a step takes as long
as the slower of the two. This rests on the constants below, each with its source; no figure here is a measurement.
"""

import argparse
import collections
import contextlib
import itertools
import math
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from unittest import mock

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "tests")]

import command_line  # noqa: E402
import cupy_double  # noqa: E402
import numpy as np  # noqa: E402
from cases import Network, select  # noqa: E402

from minires import models  # noqa: E402
from minires.data import Augment, Loader  # noqa: E402
from minires.optim import SGD  # noqa: E402
from minires.precision import options_for  # noqa: E402
from minires.recorded_step import RecordedStep  # noqa: E402
from minires.training import train_step  # noqa: E402

MINIRES = str(HERE.parent / "minires") + "/"


@dataclass(frozen=True)
class Card:
    """bandwidth: bytes a second.   peak, peak_tf32: operations a second of products in float32 and with TF32."""

    bandwidth: float
    peak: float
    peak_tf32: float


# NVIDIA, datasheets of the H100 and H200 Tensor Core GPUs, SXM, without sparsity
CARDS = {"H100": Card(3.35e12, 67e12, 494e12), "H200": Card(4.8e12, 67e12, 494e12)}
REACHED = 0.8  # of bandwidth and peak, by a launch that is large enough: an assumption
LEAST = 2.5e-6  # seconds of the smallest launch on the device, with what lies between two: an assumption
HOST = {"minires": 19.6e-3 / 492, "PyTorch": 8.6e-3 / 301}  # seconds a launch: docs/results.md, H200, "given" at 128


CASES = {
    case.name: case
    for case in (Network("resnet20", True, 128), Network("resnet20", True, 1024), Network("resnet18", True, 64))
}


@dataclass
class Count:
    """What was asked for: {(kind, operation of the library, name): [times, bytes, operations]}."""

    who: str
    found: dict = field(default_factory=lambda: collections.defaultdict(lambda: [0, 0, 0]))
    done: list = field(default_factory=list)  # by the device, launch by launch: (bytes, operations)

    def add(self, kind, name, nbytes, operations, place):
        entry = self.found[kind, place, name]
        for number, value in enumerate((1, nbytes, operations)):
            entry[number] += value
        if kind in ("kernel", "product"):
            self.done.append((nbytes, operations))

    def total(self, *kinds, number=0):
        return sum(entry[number] for (kind, _, _), entry in self.found.items() if kind in kinds)


def here():
    """Which operation of the library asks: its file below minires/ and its function, the innermost outside backend/."""
    frame, nearest = sys._getframe(3), "elsewhere"
    while frame:
        path = frame.f_code.co_filename
        if path.startswith(MINIRES):
            inside = path.removeprefix(MINIRES)
            nearest = f"{inside}: {frame.f_code.co_name}"
            if not inside.startswith("backend/"):
                return nearest
        frame = frame.f_back
    return nearest


@contextlib.contextmanager
def counting():
    """A Count of what is asked of the double within."""
    count = Count("minires")
    with cupy_double.telling(
        lambda kind, name, nbytes, operations: count.add(kind, name, nbytes, operations, here()), dry=True
    ):
        yield count


def of_minires(case, graph, precision="float32"):
    """A Count of a step after the first three."""
    with mock.patch.dict(sys.modules, cupy=cupy_double), cupy_double.telling(lambda *told: None, dry=True):
        model = models.build(case.model, case.num_classes).to("gpu")
        optimizer = SGD(model.parameters(), **case.options)
        options = options_for(model, precision)
        recorded = RecordedStep(model, optimizer, **options)
        step = recorded if graph else lambda x, labels: train_step(model, optimizer, x, labels, **options)
        batches = loader(case).epoch(0)
        for _ in range(3):
            step(*next(batches))
        if graph and recorded.whynot:
            sys.exit(f"error: {case.model} is not recorded: {recorded.whynot}")
        with counting() as count:
            step(*next(batches))
    return count


def loader(case):
    """Four batches of images without a content, augmented on the device."""
    size, count = (224 if case.for_imagenet else 32), 4 * case.batch_size
    images, labels = np.zeros((count, size, size, 3), np.uint8), np.arange(count) % case.num_classes
    statistics = (0.5,) * 3, (0.25,) * 3
    return Loader(images, labels, case.batch_size, *statistics, augment=Augment(), shuffle=True, device="gpu")


def of_pytorch(case):
    """A Count of what PyTorch dispatches for a step; None without PyTorch."""
    try:
        import torch
        from torch.utils._python_dispatch import TorchDispatchMode
    except ImportError:
        return None
    from peers import torch_gpu

    count = Count("PyTorch")

    class Counting(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            name = function.overloadpacket.__name__
            arrays, made = tensors((args, kwargs)), tensors(result)
            if not function.is_view and name not in ("empty", "empty_like", "detach", "new_empty", "new_empty_strided"):
                nbytes = sum(array.numel() * array.element_size() for array in (*arrays, *made))
                group = -(-len(args[0]) // 64) if "foreach" in name else 1
                times = sum(args[-1][:2]) if name == "convolution_backward" else group
                for _ in range(times):
                    count.add(
                        "kernel", name, nbytes // times, convolution_operations(name, args, made) // times, "PyTorch"
                    )
            return result

    def tensors(tree):
        from torch.utils._pytree import tree_leaves

        return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]

    step = torch_gpu.make_step(case, "float32", "meta")
    step()
    with Counting():
        step()
    return count


def convolution_operations(name, args, made):
    """Multiplications and additions of PyTorch's convolutions and products."""
    if name == "convolution":
        x, weight = args[:2]
        return 2 * made[0].numel() * weight[0].numel()
    if name == "convolution_backward":
        dy, x, weight = args[:3]
        return 2 * dy.numel() * weight[0].numel() * sum(args[-1][:2])
    if name in ("addmm", "mm"):
        a, b = args[-2:]  # PyTorch's bias stands before them
        return 2 * a.shape[0] * a.shape[1] * b.shape[1]
    return 0


def predicted(count, card, tf32):
    """Seconds of a step: (of the host, of the device)."""
    peak = REACHED * (card.peak_tf32 if tf32 else card.peak)
    device = sum(max(LEAST, nbytes / (REACHED * card.bandwidth), done / peak) for nbytes, done in count.done)
    return HOST[count.who] * count.total("kernel", "product", "graph"), device


HEAD = f"{'case':20} {'who':16} {'launches':>8} {'products':>8} {'copies':>6} {'waits':>5} {'MB/image':>8}"
PREDICTED = f"{'case':20} {'who':16} {'card':4} {'factors':7} {'host':>7} {'GPU':>7} {'step':>7} {'over PyTorch':>12}"


def line(case, who, count):
    """A row of the table of what was counted."""
    launches, products = count.total("kernel", "product", "graph"), count.total("product")
    copies, waits = count.total("copy"), count.total("wait")
    moved = f"{count.total('kernel', 'product', number=1) / case.batch_size / 1e6:.1f}"
    return (
        f"{case.name:20} {who:16} {launches:8} {products:8} {copies:6} {waits:5} "
        f"{'' if count.total('graph') else moved:>8}"
    )


def predictions(counts):
    """[{case, who, card, tf32, over_pytorch, host_ms, device_ms, step_ms}]"""
    found = []
    for case, card, tf32 in itertools.product(dict.fromkeys(case for case, _ in counts), CARDS, (False, True)):
        pytorch = math.nan
        for who in ("PyTorch", "minires", "minires recorded"):
            if (case, who) in counts:
                host, _ = predicted(counts[case, who], CARDS[card], tf32)
                _, device = predicted(counts[case, who.removesuffix(" recorded")], CARDS[card], tf32)  # a graph's, too
                step = 1e3 * max(host, device)
                pytorch = step if who == "PyTorch" else pytorch
                row = {"case": case, "who": who, "card": card, "tf32": tf32, "over_pytorch": step / pytorch}
                found.append(row | {"host_ms": 1e3 * host, "device_ms": 1e3 * device, "step_ms": step})
    return found


def predicted_line(row):
    """A row of the table of what is predicted."""
    ratio = f"{row['over_pytorch']:.2f}"
    times = f"{row['host_ms']:7.2f} {row['device_ms']:7.2f} {row['step_ms']:7.2f}"
    factors = "TF32" if row["tf32"] else "float32"
    return f"{row['case']:20} {row['who']:16} {row['card']:4} {factors:7} {times} {ratio:>12}"


def rows(count):
    """Lines for each operation: launches, and MB of them, largest first."""
    places = collections.defaultdict(lambda: [0, 0, collections.Counter()])
    for (kind, place, name), (times, nbytes, _) in count.found.items():
        if kind in ("memory", "wait"):
            continue
        entry = places[place]
        entry[0] += times
        entry[1] += nbytes
        entry[2][name if kind == "kernel" else kind] += times
    for place, (times, nbytes, names) in sorted(places.items(), key=lambda item: -item[1][0]):
        each = ", ".join(f"{count} {name}" for name, count in names.most_common())
        yield f"{times:6} {nbytes / 1e6:10.1f} MB  {place}: {each}"


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", nargs="+", metavar="NAME", help=f"of {', '.join(CASES)}; * and ? as in a shell")
    parser.add_argument("--rows", action="store_true", help="also what each operation asks for")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    args = parser.parse_args(argv)
    command_line.check_folder("--json", args.json)
    try:
        args.cases = [CASES[name] for name in (select(args.case, CASES) if args.case else CASES)]
    except ValueError as error:
        sys.exit(f"error: {error}")
    return args


def main(argv=None):
    args = parse(argv)
    print(f"counted, for a step of training\n\n{HEAD}\n{'-' * len(HEAD)}")
    counts = {}
    for case in args.cases:
        found = {
            "minires": of_minires(case, False),
            "minires recorded": of_minires(replace(case, batch_size=8), True),
            "minires float16": of_minires(case, False, "float16"),
            "PyTorch": of_pytorch(case),
        }
        for who, count in found.items():
            if count:
                counts[case.name, who] = count
                print(line(case, who, count), flush=True)
            else:
                print(f"{case.name:20} without PyTorch, which is not installed")
    expected = predictions(counts)
    print(f"\npredicted, not measured: milliseconds\n\n{PREDICTED}\n{'-' * len(PREDICTED)}")
    print(*map(predicted_line, expected), sep="\n")
    if args.rows:
        for (name, who), count in counts.items():
            print(f"\n{name}, {who}", *rows(count), sep="\n")
    counted = [
        {"case": case, "who": who, "kind": kind, "operation": place, "name": name, "times": times, "bytes": nbytes}
        for (case, who), count in counts.items()
        for (kind, place, name), (times, nbytes, _) in count.found.items()
    ]
    command_line.save(args.json, {"counted": counted, "predicted": expected})


if __name__ == "__main__":
    main()
