"""A training step by one process, by several ranks, and by PyTorch's DistributedDataParallel, in turn, on these cores.

    python benchmarks/ranks.py                          resnet20, batch 128: three minutes on two cores
    python benchmarks/ranks.py --ranks 4 --model resnet56 --batch-size 256
    python benchmarks/ranks.py --quick                  fewer rounds: a minute
    python benchmarks/ranks.py --json FILE              the same figures for a program

threads         minires, one process with as many threads as there are ranks
ranks           minires, ranks with one thread each, a shard of the batch for each of them
pytorch         PyTorch, one process with as many threads, in its default layout
pytorch-ddp     PyTorch's DistributedDataParallel over gloo, processes with one thread each

Every one computes steps of SGD with momentum and weight decay on one batch, from the same weights. In each round each
has a turn of a few steps, while the others sleep; a ratio is the median of the rounds' ratios. "waited" is the share of
the ranks' time in calls that wait for others, be it since they have not come yet; "sent" the share that the same sums
take by themselves, when all come together. MB: the largest memory of a process, everything included.
"""

import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import command_line  # noqa: E402
import numpy as np  # noqa: E402
import turns  # noqa: E402
from cases import Network  # noqa: E402

from minires import backend, models, optim  # noqa: E402
from minires.ranks import launch  # noqa: E402
from minires.shards import Batch, TreeSum, cut  # noqa: E402

WARM = 3  # steps before anything is measured
SUMS = 50  # sums of the gradients that are timed by themselves

# Those that are measured: (a step, facts after a turn, the first process's number of steps for all) -----------------


def make_threads(case, size):
    """minires, one process."""
    from peers import peer_minires

    backend.set_threads(size)
    return peer_minires.make_step(case), lambda: {}, lambda count: count


def make_ranks(case, size):
    """minires, this process being one of the ranks."""
    from minires.sharded_step import sharded_step

    backend.set_threads(1)
    ranks = launch.find_ranks()
    model = models.build(case.model, case.num_classes, rng=0).train()
    optimizer = optim.SGD(model.parameters(), **case.options)
    x, labels = case.arrays()
    parts = cut(len(x), size)
    batch = Batch(labels, parts, ranks.mine(size), lambda shard: (x[parts[shard]], labels[parts[shard]]))

    def step():
        return [sharded_step(model, optimizer, batch, ranks=ranks).loss]

    def facts():
        """Seconds spent waiting since the last call, and of one sum by itself."""
        waited, ranks.waited = ranks.waited, 0.0
        arrays = [parameter.data for parameter in model.parameters()] + model.buffers()
        seconds = []
        for _ in range(SUMS):
            sums = TreeSum()
            for shard in ranks.mine(size):
                sums.put(shard, arrays)
            ranks.gather(None)  # all come together
            began = time.perf_counter()
            ranks.sum(sums, size, [0] * len(arrays))
            seconds.append(time.perf_counter() - began)
        ranks.waited = 0.0
        return {"waited": waited, "sum": statistics.median(seconds)}

    return step, facts, ranks.broadcast


def make_pytorch(case, size):
    """PyTorch, one process."""
    from peers import peer_torch

    peer_torch.set_threads(size)
    return peer_torch.make_step(case, "pytorch-nchw"), lambda: {}, lambda count: count


def make_ddp(case, size):
    """PyTorch's DistributedDataParallel, this process being one of the group."""
    import torch
    from peers import peer_torch
    from torch import distributed

    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    network = peer_torch.network_of(case, torch.contiguous_format)
    network = torch.nn.parallel.DistributedDataParallel(network)
    optimizer = torch.optim.SGD(network.parameters(), **case.options)
    images, labels = case.arrays()
    part = cut(len(images), size)[rank]
    x, labels = peer_torch.images_of(images[part], torch.contiguous_format), torch.from_numpy(labels[part])

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(network(x), labels)
        loss.backward()
        optimizer.step()
        return [loss.item()]

    def agree(count):
        said = torch.tensor([0 if count is None else count])
        distributed.broadcast(said, 0)
        return int(said)

    return step, lambda: {}, agree


MAKERS = {"threads": make_threads, "ranks": make_ranks, "pytorch": make_pytorch, "pytorch-ddp": make_ddp}


def work(name, case, size):
    """What each process of one that is measured does: turns of as many steps as the first of them reads from its input.

    The first writes a line of JSON for each turn: "seconds" of a step, "loss", "facts" and its "peak_mb".
    """
    first = int(os.environ.get("RANK", launch.launched()[1])) == 0
    step, facts, agree = MAKERS[name](case, size)
    losses = [float(step()[0]) for _ in range(WARM)]
    while True:
        read = sys.stdin.readline() if first else None
        count = agree(int(read or 0) if first else None)
        if not count:
            return
        seconds = turns.seconds_of_step(step, count)
        told = {"seconds": seconds, "losses": losses, "facts": facts(), "peak_mb": backend.memory_peak("cpu") / 1e6}
        if first:
            print(json.dumps(told), flush=True)


# Those that measure ---------------------------------------------------------------------------------------------------


class Measured:
    """Processes that are measured, together one of MAKERS."""

    def __init__(self, name, args):
        script = [sys.executable, str(Path(__file__).resolve()), "--work", name, "--model", args.model]
        script += ["--batch-size", str(args.batch_size), "--ranks", str(args.ranks)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.name, self.told = name, []
        if name == "pytorch-ddp":
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
            group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(args.ranks)}
            members = [{**os.environ, **group, "RANK": str(rank)} for rank in range(args.ranks)]
            self.processes = [subprocess.Popen(script, env=member, **pipes) for member in members]
        elif name == "ranks":
            together = [args.mpiexec, "-n", str(args.ranks), sys.executable, "-m", "mpi4py", *script[1:]]
            self.processes = [subprocess.Popen(together, **pipes)]
        else:
            self.processes = [subprocess.Popen(script, **pipes)]

    def turn(self, steps):
        """Take so many steps; seconds of one."""
        self.processes[0].stdin.write(f"{steps}\n")
        self.processes[0].stdin.flush()
        line = self.processes[0].stdout.readline()
        if not line:
            sys.exit(f"error: {self.name} has ended: see above why")
        self.told.append(json.loads(line))
        return self.told[-1]["seconds"]

    def end(self):
        for process in self.processes:
            with contextlib.suppress(OSError):
                process.stdin.close()
        for process in self.processes:
            process.wait(30)


def report(measured, found, args, steps):
    """A row for each, compared with the first."""
    rows = []
    for name in found:
        told = measured[name].told
        row = {
            "who": name,
            "images_per_second": turns.significant(args.batch_size / statistics.median(found[name])),
            "over_threads": turns.ratios(found["threads"], found[name]),
            "peak_mb": round(max(each["peak_mb"] for each in told), 1),
        }
        if name == "ranks":
            row["waited"] = statistics.median(each["facts"]["waited"] / (steps * each["seconds"]) for each in told)
            row["sum_ms"] = 1000 * statistics.median(each["facts"]["sum"] for each in told)
            row["sent"] = statistics.median(each["facts"]["sum"] / each["seconds"] for each in told)
            for other in ("pytorch", "pytorch-ddp"):
                if other in found:
                    row[f"over_{other}"] = turns.ratios(found[other], found[name])
        rows.append(row)
    return rows


def line(row):
    """A row as a line of the table."""
    low, high = row["over_threads"]["spread"]
    start = (
        f"{row['who']:12} {row['images_per_second']:8.5g} {row['over_threads']['ratio']:8.3f} {low:5.2f} to {high:4.2f}"
    )
    return f"{start} {row['peak_mb']:7.0f}"


def main(argv=None):
    args = parse(argv)
    case = Network(args.model, True, args.batch_size)
    if args.work:
        return work(args.work, case, args.ranks)
    names = [name for name in MAKERS if not name.startswith("pytorch") or has("torch")]
    machine = command_line.about(args.threads)
    print(
        f"{machine['machine']['processor']}; {args.model}, batch {args.batch_size}, {args.ranks} ranks; "
        f"{args.rounds} rounds of {args.steps} steps"
    )
    if "pytorch" not in names:
        print("PyTorch is not installed: pip install torch")
    measured = {name: Measured(name, args) for name in names}
    try:
        found = turns.take_turns(
            {name: lambda one=one: one.turn(args.steps) for name, one in measured.items()}, args.rounds
        )
    finally:
        for one in measured.values():
            one.end()
    check(measured)
    rows = report(measured, found, args, args.steps)
    print(f"{'':12} {'images/s':>8} {'/threads':>8} {'spread':>12} {'MB':>7}")
    for row in rows:
        print(line(row))
    ours = next(row for row in rows if row["who"] == "ranks")
    waited, alone = f"of a step the ranks waited {ours['waited']:.1%}", f"{ours['sum_ms']:.2f} ms, {ours['sent']:.1%}"
    print(f"\n{waited}; a sum by itself takes {alone}")
    for other in ("pytorch", "pytorch-ddp"):
        if compared := ours.get(f"over_{other}"):
            print("ranks over {}: {ratio:.3f} ({spread[0]:.2f} to {spread[1]:.2f})".format(other, **compared))
    command_line.save(args.json, {"machine": machine, "arguments": {"model": args.model}, "rows": rows})
    return 0


def check(measured):
    """All must have computed the same: one process on the batch, several on its shards."""
    losses = {name: measured[name].told[0]["losses"] for name in measured}
    for whole, other in (("threads", "pytorch"),):
        if other in losses:
            np.testing.assert_allclose(losses[other], losses[whole], rtol=1e-3, err_msg=f"{other} and {whole}")


def has(package):
    """Whether a package is installed."""
    try:
        __import__(package)
    except ImportError:
        return False
    return True


def parse(argv):
    """The arguments. Exits with a sentence for a wrong one."""
    parser = command_line.make_parser(__doc__, "fewer rounds", 15, 3)
    parser.add_argument("--model", default="resnet20", choices=sorted(models.MODELS), metavar="NAME")
    parser.add_argument("--batch-size", type=command_line.at_least_one, metavar="N", default=128)
    parser.add_argument("--ranks", type=command_line.at_least_one, metavar="N", default=2)
    parser.add_argument("--steps", type=command_line.at_least_one, metavar="N", default=3, help="in a turn; default: 3")
    parser.add_argument("--work", choices=list(MAKERS), help=argparse.SUPPRESS)
    args = command_line.parse(parser, argv)
    if args.ranks < 2 or args.batch_size % args.ranks:
        sys.exit(f"error: --ranks {args.ranks}: 2 or more, of which each has as many images of {args.batch_size}")
    args.mpiexec = launch.find_mpiexec()
    if not args.work and (args.mpiexec is None or not has("mpi4py")):
        sys.exit("error: mpiexec or mpi4py is missing: pip install 'minires[mpi]'")
    return args


if __name__ == "__main__":
    sys.exit(main())
