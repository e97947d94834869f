"""minires on CuPy beside PyTorch on the same GPU, in one run: images per second, ratios, memory; a part of gpu.py.

    python benchmarks/gpu_speed.py                        about four minutes
    python benchmarks/gpu_speed.py --case 'resnet20-*' --who minires pytorch-tf32
    python benchmarks/gpu_speed.py --profile              instead: which kernels take the time, and launches a step
    python benchmarks/gpu_speed.py --double               its logic without a GPU, on the tests' double of CuPy: no
                                                          figure of this means anything

minires runs in each of its precisions, its steps of training as CUDA graphs, and in float32 launch by launch as
minires-plain. PyTorch runs eagerly in channels_last: in float32, in TF32 (products and convolutions), and under
autocast in float16, with its scaler of gradients, and bfloat16; pytorch-compile is pytorch-tf32 given to torch.compile,
which takes part in few cases, since it compiles for half a minute. Each is a process of its own. For each case the
processes take turns of a few steps, on the same weights and the same batch, and must first have computed about the
same. A step's time is between two CUDA events; "given" is the time in which the host had handed it over: where the two
are about equal, the GPU waits for Python. Memory is what the framework's pools hold after the steps.

Who cannot take part in a case is left out of it with the reason; what does not fit into --seconds is left out as well.
"""

import argparse
import concurrent.futures
import gc
import multiprocessing
import re
import statistics
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "tests")]

import command_line  # noqa: E402
import turns  # noqa: E402
from cases import Network, make_batch, select  # noqa: E402
from peers import peer_minires  # noqa: E402

from minires import backend  # noqa: E402

CASES = {  # the most important first: time may be short
    case.name: case
    for case in (
        *(Network("resnet20", True, batch) for batch in (128, 1024)),
        Network("resnet18", True, 128),
        *(Network("resnet20", False, batch) for batch in (128, 1024)),
        Network("resnet20", True, 512),
        Network("resnet18", False, 128),
        Network("resnet20", False, 512),
    )
}
TOO_MUCH = {  # all at once must fit into a card of 80 GB
    name: ("minires-plain", "minires-float16", "pytorch-float16") for name in CASES if name.startswith("resnet18")
}
COMPILED = ("resnet20-train-128", "resnet20-train-1024", "resnet18-train-128")  # by pytorch-compile
PROFILED = ("resnet20-train-128", "resnet20-train-1024", "resnet18-train-128")
OF_MINIRES = tuple("minires" if name == "float32" else f"minires-{name}" for name in peer_minires.PRECISIONS)
OF_PYTORCH = ("pytorch", "pytorch-tf32", "pytorch-float16", "pytorch-bfloat16", "pytorch-compile")
WHO = (*OF_MINIRES, "minires-plain", *OF_PYTORCH)
PROFILED_WHO = (*OF_MINIRES, "minires-plain", "pytorch-tf32", "pytorch-bfloat16")
TOLERANCE = {"float32": 2e-3, "tf32": 2e-2, "float16": 3e-2, "bfloat16": 1e-1}  # of the first losses, or the logits
TURN = 0.4  # seconds, about
HOST_CALLS = re.compile(r"cu(da)?(Launch|GraphLaunch|Memcpy|Memset)")  # by which the host gives a GPU work
HEAD = f"{'case':20} {'who':17} {'images/s':>9} {'over TF32':>9} {'ms':>8} {'given':>8} {'MB':>7}\n{'-' * 84}"
# over TF32: images/s over those of pytorch-tf32, which is what PyTorch's users have once they ask for it


class Tiny(Network):
    """A case for the double, with images of 8x8."""

    def arrays(self):
        return make_batch(self.batch_size, 8, self.num_classes)


def precision_of(who):
    """The precision in which one of WHO computes."""
    found = who.partition("-")[2]
    return {"": "float32", "plain": "float32", "compile": "tf32"}.get(found, found)


class HostEvent:
    """A CUDA event's stand-in on a CPU, which has done what it was given."""

    def record(self):
        self.at = time.perf_counter()


class Steps:
    """What a process does: the steps of one framework in one precision."""

    def __init__(self, who, double):
        self.framework, self.double = who.partition("-")[0], double
        precision = precision_of(who)
        if double:
            import cupy_double

            sys.modules["cupy"] = cupy_double
        if self.framework == "minires":
            import cupy

            options = {"device": "gpu", "graph": who != "minires-plain", "precision": precision}
            self.make = lambda case: peer_minires.make_step(case, **options)
            self.event = cupy.cuda.Event
            self.between = lambda start, end: cupy.cuda.get_elapsed_time(start, end) / 1e3
        else:
            import torch
            from peers import torch_gpu

            torch_gpu.set_precision(precision)
            self.compiled, device = who == "pytorch-compile" and not double, "cpu" if double else "cuda"
            self.make = lambda case: torch_gpu.make_step(case, precision, device, self.compiled)
            self.event = HostEvent if double else lambda: torch.cuda.Event(enable_timing=True)
            self.between = lambda start, end: end.at - start.at if double else start.elapsed_time(end) / 1e3

    def begin(self, case):
        """The results of the first steps, on the host, and the seconds of one after them."""
        self.free()  # before the next case's arrays are made
        self.step = self.make(case)
        results = [self.on_host(result) for _ in range(2) for result in self.step()]
        for _ in range(3):
            self.time(1)
        return results, self.time(1)[0]

    def time(self, steps):
        """Seconds of a step between two CUDA events, and until the host had given it all."""
        self.synchronize()
        start, end = self.event(), self.event()
        start.record()
        began = time.perf_counter()
        for _ in range(steps):
            self.step()
        given = time.perf_counter() - began
        end.record()
        self.synchronize()
        return self.between(start, end) / steps, given / steps

    def synchronize(self):
        if self.framework == "minires":
            backend.synchronize("gpu")
        elif not self.double:
            import torch

            torch.cuda.synchronize()

    def memory(self):
        """Megabytes in the framework's pools."""
        if self.framework == "minires":
            from minires.backend.gpu import memory

            return memory.held() / 1e6
        import torch

        return 0.0 if self.double else torch.cuda.max_memory_reserved() / 1e6

    def free(self):
        """Give the pools back, so that the next case's memory is its own."""
        self.step = None
        gc.collect()
        if self.framework == "minires":
            import cupy

            cupy.get_default_memory_pool().free_all_blocks()
        elif not self.double:
            import torch

            if self.compiled:
                torch.compiler.reset()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def on_host(self, array):
        if self.framework == "minires":
            return backend.to_numpy(array).astype(np.float32)
        return array.float().cpu().numpy()

    def profile(self, steps=5):
        """{"host_launches": the host's calls a step, "kernels": [[name, times a step, ms a step]], longest first}."""
        if self.double:
            return self._profile_of_double()
        from torch.profiler import ProfilerActivity, profile

        with profile(activities=[ProfilerActivity.CUDA]) as profiled:
            for _ in range(steps):
                self.step()
            self.synchronize()
        averages = profiled.key_averages()
        events = [event for event in averages if event.self_device_time_total]
        events.sort(key=lambda event: -event.self_device_time_total)
        kernels = [[event.key, event.count / steps, event.self_device_time_total / 1e3 / steps] for event in events]
        calls = sum(event.count for event in averages if HOST_CALLS.match(event.key))
        return {"host_launches": calls / steps, "kernels": kernels}

    def _profile_of_double(self):
        import cupy_double

        told = []
        with cupy_double.telling(lambda kind, name, *_: told.append((kind, name))):
            self.step()
        launched = [name for kind, name in told if kind in ("kernel", "product", "graph")]
        return {"host_launches": len(launched), "kernels": [[name, 1, 0.0] for name in launched]}


# Each process holds one Steps; these are what its tasks call.


def _start(who, double):
    global _steps
    _steps = Steps(who, double)


def _do(what, *args):
    return getattr(_steps, what)(*args)


class Process:
    """A Steps in a process of its own: `process.begin(case)` waits, `process.submit("begin", case)` does not."""

    def __init__(self, who, double):
        spawn = multiprocessing.get_context("spawn")
        self.pool = concurrent.futures.ProcessPoolExecutor(1, spawn, _start, (who, double))
        self.ready = self.submit("synchronize")

    def submit(self, what, *args):
        return self.pool.submit(_do, what, *args)

    def __getattr__(self, what):
        return lambda *args: self.submit(what, *args).result()


def each(processes, what, *args):
    """({who: what came back}, {who: a sentence of what went wrong}), of all processes at once."""
    futures, found, wrong = {who: process.submit(what, *args) for who, process in processes.items()}, {}, {}
    for who, future in futures.items():
        try:
            found[who] = future.result()
        except Exception as error:  # whatever kind: the others go on, and the report says so
            wrong[who] = sentence(error)
    return found, wrong


def sentence(error):
    """An exception in a line."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"


def start(names, double):
    """({who: Process} of those that can run here, {who: what is wrong})"""
    processes = {who: Process(who, double) for who in names}
    found, wrong = each(processes, "synchronize")
    return {who: processes[who] for who in found}, wrong


def not_in(case):
    """Who takes no part in a case."""
    return (*TOO_MUCH.get(case.name, ()), *(() if case.name in COMPILED else ("pytorch-compile",)))


def begin_all(case, processes):
    """As `each` of "begin"; PyTorch's one after another, since its libraries try which algorithms are fastest."""
    groups = [{who: process for who, process in processes.items() if who.startswith("minires")}]
    groups += [{who: process} for who, process in processes.items() if not who.startswith("minires")]
    found, wrong = {}, {}
    for group in groups:
        some, others = each(group, "begin", case)
        found, wrong = found | some, wrong | others
    return found, wrong


def measure(case, processes, rounds):
    """([a result for each, as in the JSON file], {who: what is wrong})"""
    part = {who: process for who, process in processes.items() if who not in not_in(case)}
    first, wrong = begin_all(case, part)
    differences, others = check(case, {who: results for who, (results, _) in first.items()})
    wrong |= others
    part = {who: part[who] for who in differences}
    steps = {
        who: lambda process=process, seconds=first[who][1]: process.time(max(1, min(200, int(TURN / seconds))))
        for who, process in part.items()
    }
    times = turns.take_turns(steps, rounds)
    speeds = {who: [case.batch_size / seconds for seconds, _ in found] for who, found in times.items()}
    rows = []
    for who, process in part.items():
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
    return rows, wrong


def check(case, results):
    """({who: largest difference from minires, or whoever is first, relative}, {who: that it is too large})"""
    if not results:
        return {}, {}
    expected, differences, wrong = next(iter(results.values())), {}, {}
    for who, found in results.items():
        pairs = zip(found, expected, strict=True)
        difference = max(float(np.abs(got - want).max() / np.abs(want).max()) for got, want in pairs)
        if difference <= TOLERANCE[precision_of(who)]:
            differences[who] = turns.significant(difference, 2)
        else:
            wrong[who] = f"computes something else: it differs by {difference:.2g}"
    return differences, wrong


def line(row):
    ratio = row["over_pytorch_tf32"]["ratio"]
    return (
        f"{row['case']:20} {row['who']:17} {row['images_per_second']:9.6g} {'-' if ratio is None else ratio:>9} "
        f"{row['ms']:8.4g} {row['given_ms']:8.4g} {row['pool_mb']:7}"
    )


def lines_of_kernels(who, found, most=15):
    """The longest kernels of a step, a line each."""
    times, total = (sum(kernel[number] for kernel in found["kernels"]) for number in (1, 2))
    yield f"{who}: {found['host_launches']:.0f} calls of the host a step, {times:.0f} kernels, {total:.3g} ms"
    for name, count, milliseconds in found["kernels"][:most]:
        yield f"{milliseconds:8.3f} ms {count:6.0f} x  {name[:90]}"


def measure_all(args, processes, content):
    """The speed of every case, while there is time."""
    print(f"{args.rounds} rounds\n\n{HEAD}")
    for case in args.cases:
        if time.monotonic() > args.until:
            content["left_out"][case.name] = "no time was left"
            continue
        try:
            rows, wrong = measure(case, processes, args.rounds)
        except Exception as error:  # a process that dies in its turn: the other cases are measured all the same
            rows, wrong = [], {"all": sentence(error)}
        content["results"] += rows
        absent = dict.fromkeys(set(not_in(case)) & processes.keys(), "takes no part, to save time or memory")
        content["left_out"] |= {f"{case.name} {who}": reason for who, reason in (absent | wrong).items()}
        print(*map(line, rows), sep="\n", flush=True)
        each(processes, "free")
        command_line.save(args.json, content)


def profile_all(args, processes, content):
    """What runs in a step of every case, one process after another."""
    for case in args.cases:
        for who, process in processes.items():
            if time.monotonic() > args.until:
                content["left_out"][f"{case.name} {who}"] = "no time was left"
                continue
            _, wrong = each({who: process}, "begin", case)
            found, more = ({}, wrong) if wrong else each({who: process}, "profile")
            content["left_out"] |= {f"{case.name} {who}": reason for who, reason in (wrong | more).items()}
            content["profiles"] |= {f"{case.name} {who}": profile for who, profile in found.items()}
            for who, profile in found.items():
                print(*lines_of_kernels(f"{case.name} {who}", profile, 5), sep="\n", flush=True)
            each({who: process}, "free")
            command_line.save(args.json, content)


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=command_line.at_least_one, metavar="N", default=3, help="default: 3")
    parser.add_argument("--seconds", type=float, metavar="S", default=240, help="begin no case after; default: 240")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    parser.add_argument("--case", nargs="+", metavar="NAME", help=f"of {', '.join(CASES)}; * and ? as in a shell")
    parser.add_argument("--who", nargs="+", metavar="NAME", help=f"of {', '.join(WHO)}")
    parser.add_argument("--profile", action="store_true", help="which kernels take the time, and launches a step")
    parser.add_argument("--double", action="store_true", help="on the tests' double of CuPy, with tiny batches")
    args = parser.parse_args(argv)
    args.until = time.monotonic() + args.seconds
    command_line.check_folder("--json", args.json)
    try:
        names = select(args.case, CASES) if args.case else PROFILED if args.profile else CASES
        args.cases = [CASES[name] for name in names]
        args.who = select(args.who, WHO, "framework") if args.who else PROFILED_WHO if args.profile else WHO
        if not args.double:
            backend.resolve_device("gpu")
    except (ValueError, backend.DeviceError) as error:
        sys.exit(command_line.in_a_sentence(error))
    if args.double:
        args.cases = [Tiny("resnet8", case.training, 2) for case in args.cases[:1]]
    return args


def main(argv=None):
    args = parse(argv)
    processes, missing = start(args.who, args.double)
    content = {"double": args.double, "results": [], "profiles": {}, "left_out": missing}
    for who, reason in missing.items():
        print(f"without {who}: {reason}")
    (profile_all if args.profile else measure_all)(args, processes, content)
    for name, reason in content["left_out"].items():
        print(f"left out: {name}: {reason}")
    command_line.save(args.json, content)
    for process in processes.values():
        process.pool.shutdown(wait=False, cancel_futures=True)
    sys.exit(0 if content["results"] or content["profiles"] else 1)


if __name__ == "__main__":
    main()
