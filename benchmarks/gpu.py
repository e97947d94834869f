"""minires on CuPy beside PyTorch on the same GPU, in one run: images per second, ratios, memory, launches.

    python benchmarks/gpu.py                        about three minutes
    python benchmarks/gpu.py --quick                resnet20 at batch 128 only, fewer rounds
    python benchmarks/gpu.py --json FILE            the same figures for a program
    python benchmarks/gpu.py --case 'resnet20-*'    these cases only
    python benchmarks/gpu.py --double               its logic without a GPU, on the tests' double of CuPy: no figure
                                                    of this means anything

minires runs in float32, its steps of training as CUDA graphs or, as minires-plain, launch by launch; and with TF32's
products, which CUPY_TF32=1 allows. It has no half precision.
PyTorch runs eagerly in channels_last: in float32, in TF32 (products and convolutions), and under autocast in float16,
with its scaler of gradients, and bfloat16. Each is a process of its own. For each case the processes take turns of a
few steps, on the same weights and the same batch, and must first have computed about the same. A step's time ends when
the GPU has done all of it; "given" is the time in which the host had handed it over: where the two are about equal, the
GPU waits for Python. Memory is what the framework's pool holds after the steps. Then the kernels of a step of minires
are listed by time, as the profiler of PyTorch sees them.
"""

import argparse
import concurrent.futures
import multiprocessing
import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "tests")]

import command_line  # noqa: E402
import turns  # noqa: E402
from cases import Network, select  # noqa: E402

from minires import backend  # noqa: E402

CASES = {
    case.name: case
    for case in (
        *(Network("resnet20", training, batch) for batch in (128, 1024) for training in (True, False)),
        *(Network("resnet18", training, 128) for training in (True, False)),
    )
}
QUICK = ("resnet20-train-128", "resnet20-infer-128")
WHO = ("minires", "minires-tf32", "minires-plain", "pytorch", "pytorch-tf32", "pytorch-float16", "pytorch-bfloat16")
TOLERANCE = {"float32": 2e-3, "tf32": 2e-2, "float16": 3e-2, "bfloat16": 1e-1}  # of the first losses, or the logits
TURN = 0.7  # seconds, about
HEAD = f"{'case':20} {'who':17} {'images/s':>9} {'over TF32':>9} {'ms':>8} {'given':>8} {'MB':>7}\n{'-' * 84}"
# over TF32: images/s over those of pytorch-tf32, which is what PyTorch's users have once they ask for it


class Steps:
    """What a process does: the steps of one framework in one precision."""

    def __init__(self, who, double):
        self.framework, _, precision = who.partition("-")
        self.precision = "float32" if precision in ("", "plain") else precision
        self.device = "cpu" if double and self.framework == "pytorch" else "gpu"
        if double:
            import cupy_double

            sys.modules["cupy"] = cupy_double
        if self.framework == "minires":
            from peers import peer_minires

            self.make = lambda case: peer_minires.make_step(case, device="gpu", graph=precision != "plain")
        else:
            from peers import torch_gpu

            torch_gpu.set_precision(self.precision)
            self.make = lambda case: torch_gpu.make_step(case, self.precision, "cpu" if double else "cuda")

    def begin(self, case):
        """The results of the first steps, on the host, and the seconds of one after them."""
        self.step = None  # before the next case's arrays are made
        self.step = self.make(case)
        results = [self.on_host(result) for _ in range(2) for result in self.step()]
        for _ in range(3):
            self.time(1)
        return results, self.time(1)[0]

    def time(self, steps):
        """Seconds of a step until the GPU had done it, and until the host had given it all."""
        self.synchronize()
        began = time.perf_counter()
        for _ in range(steps):
            self.step()
        given = time.perf_counter() - began
        self.synchronize()
        return (time.perf_counter() - began) / steps, given / steps

    def synchronize(self):
        if self.framework == "minires":
            backend.synchronize("gpu")
        elif self.device == "gpu":
            import torch

            torch.cuda.synchronize()

    def memory(self):
        """Megabytes in the framework's pool."""
        if self.framework == "minires":
            return backend.memory_peak("gpu") / 1e6
        import torch

        return torch.cuda.max_memory_reserved() / 1e6 if self.device == "gpu" else 0.0

    def free(self):
        """Give the pool back, so that the next case's memory is its own."""
        self.step = None
        if self.framework == "minires":
            import cupy

            cupy.get_default_memory_pool().free_all_blocks()
        elif self.device == "gpu":
            import torch

            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def on_host(self, array):
        return backend.to_numpy(array) if self.framework == "minires" else array.float().cpu().numpy()

    def kernels(self, steps=5):
        """[[name, launches of a step, milliseconds of a step]] of what runs on the GPU, longest first."""
        from torch.profiler import ProfilerActivity, profile

        with profile(activities=[ProfilerActivity.CUDA]) as profiled:
            for _ in range(steps):
                self.step()
            self.synchronize()
        events = [event for event in profiled.key_averages() if event.self_device_time_total]
        events.sort(key=lambda event: -event.self_device_time_total)
        return [[event.key, event.count / steps, event.self_device_time_total / 1e3 / steps] for event in events]


# Each process holds one Steps; these are what its tasks call.


def _start(who, double):
    global _steps
    _steps = Steps(who, double)


def _do(what, *args):
    return getattr(_steps, what)(*args)


class Process:
    """A Steps in a process of its own."""

    def __init__(self, who, double):
        os.environ["CUPY_TF32"] = str(int(who == "minires-tf32"))  # read by CuPy when it is imported
        spawn = multiprocessing.get_context("spawn")
        self.pool = concurrent.futures.ProcessPoolExecutor(1, spawn, _start, (who, double))
        self.ready = self.pool.submit(_do, "synchronize")

    def __getattr__(self, what):
        return lambda *args: self.pool.submit(_do, what, *args).result()


def start(names, double):
    """{who: Process} of those that can run here; says which cannot."""
    found = {}
    for who, process in {who: Process(who, double) for who in names}.items():
        try:
            process.ready.result()
            found[who] = process
        except concurrent.futures.process.BrokenProcessPool:
            print(f"without {who}: what is missing stands above")
    return found


def measure(case, processes, rounds):
    """[a result for each, as in the JSON file]"""
    first = {who: process.begin(case) for who, process in processes.items()}
    differences = check(case, {who: results for who, (results, _) in first.items()})
    each = {
        who: lambda process=process, seconds=first[who][1]: process.time(max(1, min(200, int(TURN / seconds))))
        for who, process in processes.items()
    }
    times = turns.take_turns(each, rounds)
    speeds = {who: [case.batch_size / seconds for seconds, _ in found] for who, found in times.items()}
    rows = []
    for who, process in processes.items():
        seconds, given = (statistics.median(column) for column in zip(*times[who], strict=True))
        compared = turns.ratios(speeds[who], speeds["pytorch-tf32"]) if "pytorch-tf32" in speeds else {"ratio": None}
        rows.append(
            {
                "case": case.name,
                "who": who,
                "images_per_second": turns.significant(statistics.median(speeds[who])),
                "over_pytorch_tf32": compared,
                "ms": turns.significant(1e3 * seconds),
                "given_ms": turns.significant(1e3 * given),
                "pool_mb": round(process.memory()),
                "difference": differences[who],
            }
        )
    return rows


def check(case, results):
    """{who: largest difference from minires in float32, relative}; exits where it is more than the precision's."""
    expected, differences = next(iter(results.values())), {}
    for who, found in results.items():
        pairs = zip(found, expected, strict=True)
        difference = max(float(np.abs(got - want).max() / np.abs(want).max()) for got, want in pairs)
        if not difference <= TOLERANCE.get(who.partition("-")[2], TOLERANCE["float32"]):
            sys.exit(f"error: {who} computes something else in {case.name}: it differs by {difference:.2g}")
        differences[who] = turns.significant(difference, 2)
    return differences


def line(row):
    ratio = row["over_pytorch_tf32"]["ratio"]
    return (
        f"{row['case']:20} {row['who']:17} {row['images_per_second']:9.6g} {'-' if ratio is None else ratio:>9} "
        f"{row['ms']:8.4g} {row['given_ms']:8.4g} {row['pool_mb']:7}"
    )


def print_kernels(case, kernels, most=25):
    launches, total = (sum(kernel[number] for kernel in kernels) for number in (1, 2))
    print(f"\n{case}: {launches:.0f} launches a step, {total:.3g} ms on the GPU")
    for name, count, milliseconds in kernels[:most]:
        print(f"{milliseconds:8.3f} ms {count:6.0f} x  {name[:90]}")


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="resnet20 at batch 128, fewer rounds")
    parser.add_argument("--rounds", type=command_line.at_least_one, metavar="N", help="default: 3, with --quick 2")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    parser.add_argument("--case", nargs="+", metavar="NAME", help=f"of {', '.join(CASES)}; * and ? as in a shell")
    parser.add_argument("--who", nargs="+", metavar="NAME", default=WHO, help=f"of {', '.join(WHO)}")
    parser.add_argument("--double", action="store_true", help="on the tests' double of CuPy, with tiny batches")
    args = parser.parse_args(argv)
    command_line.check_folder("--json", args.json)
    args.rounds = args.rounds or (2 if args.quick else 3)
    try:
        args.cases = [
            CASES[name] for name in (select(args.case, CASES) if args.case else QUICK if args.quick else CASES)
        ]
        args.who = select(args.who, WHO, "framework")
        if not args.double:
            backend.resolve_device("gpu")
    except (ValueError, backend.DeviceError) as error:
        sys.exit(f"error: {error}")
    if args.double:
        args.cases = [Network("resnet8", case.training, 4) for case in args.cases[:2]]
    return args


def main(argv=None):
    args = parse(argv)
    processes = start(args.who, args.double)
    content = {
        "machine": command_line.about(backend.get_threads(), device="cpu" if args.double else "gpu"),
        "double": args.double,
        "results": [],
        "kernels": {},
    }
    machine = content["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    print(f"{machine['machine']}\n{versions}\n{args.rounds} rounds\n\n{HEAD}")
    for case in args.cases:
        rows = measure(case, processes, args.rounds)
        content["results"] += rows
        print(*map(line, rows), sep="\n", flush=True)
        for who in () if args.double else ("minires", "pytorch-tf32"):
            if who in processes:
                content["kernels"][f"{case.name} {who}"] = processes[who].kernels()
        for process in processes.values():
            process.free()
        command_line.save(args.json, content)
    for name, kernels in content["kernels"].items():
        print_kernels(name, kernels)
    if args.json:
        print(f"\nwrote {args.json}")


if __name__ == "__main__":
    main()
