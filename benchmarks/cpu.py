"""minires beside PyTorch on this machine's cores, in one run: images per second, ratios, memory.

    python benchmarks/cpu.py                    about three minutes; needs PyTorch: pip install torch
    python benchmarks/cpu.py --quick            under a minute
    python benchmarks/cpu.py --json FILE        the same figures for a program

Each round times a few steps of minires and of every peer in turn, on the same weights and the same batch; a figure is
the median over rounds, a ratio the median of the rounds' ratios, so that a machine whose speed drifts does not matter.
A training step is forward, loss, backward and one step of SGD with momentum and weight decay; data preparation is left
out. Memory is what a process of its own, doing nothing else, takes beyond what it held before its first step.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from minires import backend, models, no_grad, optim  # noqa: E402
from minires.recording import environment, write_atomically  # noqa: E402
from minires.training import train_step  # noqa: E402

PEERS = ("pytorch-nchw", "pytorch-channels-last")
CASES = {  # name: (model, batch size, training)
    "resnet20-train-128": ("resnet20", 128, True),
    "resnet20-infer-128": ("resnet20", 128, False),
}
OPTIONS = {"lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4}


def make_batch(batch_size):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch_size, 32, 32, 3)).astype(np.float32)
    return x, rng.integers(0, 10, batch_size)


def minires_step(case):
    """A function that does one step and returns its result as a number or array."""
    name, batch_size, training = CASES[case]
    model = models.build(name, rng=0).train(training)
    optimizer = optim.SGD(model.parameters(), **OPTIONS)
    x, labels = make_batch(batch_size)

    def train():
        return float(train_step(model, optimizer, x, labels)[0])

    def infer():
        with no_grad():
            return model(x)[0]

    return train if training else infer


def torch_step(case, peer):
    """The same in PyTorch, which is given the same weights and batch."""
    import torch
    from torch_resnet import TorchResNet, load_from

    name, batch_size, training = CASES[case]
    layout = torch.channels_last if peer == "pytorch-channels-last" else torch.contiguous_format
    network = load_from(TorchResNet(int(name.removeprefix("resnet"))), models.build(name, rng=0))
    network = network.train(training).to(memory_format=layout)
    optimizer = torch.optim.SGD(network.parameters(), **OPTIONS)
    images, labels = make_batch(batch_size)
    x = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(memory_format=layout)
    labels = torch.from_numpy(labels)

    def train():
        optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(network(x), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    def infer():
        with torch.inference_mode():
            return network(x).numpy()

    return train if training else infer


def make_step(case, who):
    return minires_step(case) if who == "minires" else torch_step(case, who)


def images_per_second(step, batch_size, steps):
    began = time.perf_counter()
    for _ in range(steps):
        step()
    return steps * batch_size / (time.perf_counter() - began)


def measure(case, peers, rounds, steps):
    """{who: [images per second in each round]} of minires and the peers in turn."""
    batch_size = CASES[case][1]
    runners = {who: make_step(case, who) for who in ("minires", *peers)}
    first = {who: np.asarray(step()) for who, step in runners.items()}  # also the warm-up
    for who, result in first.items():
        message = f"{who} computes something else"
        np.testing.assert_allclose(result, first["minires"], rtol=1e-3, atol=1e-3, err_msg=message)
    speeds = {who: [] for who in runners}
    for _ in range(rounds):
        for who, step in runners.items():
            speeds[who].append(images_per_second(step, batch_size, steps))
    return speeds


def peak_memory(case, who, threads):
    """Megabytes that a process which only runs this case takes beyond what it held before its first step."""
    command = [sys.executable, str(HERE / "cpu.py"), "--memory-of", who, "--case", case, "--threads", str(threads)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def print_peak_memory(case, who):
    step = make_step(case, who)
    before = backend.memory_peak("cpu")
    for _ in range(3):
        step()
    print((backend.memory_peak("cpu") - before) / 1e6)


def report(case, speeds, memory):
    """One result for each peer, as in the JSON file."""
    for peer in [who for who in speeds if who != "minires"]:
        yield {
            "case": case,
            "peer": peer,
            "images_per_second": round(statistics.median(speeds["minires"]), 1),
            "peer_images_per_second": round(statistics.median(speeds[peer]), 1),
            "ratio": round(statistics.median(a / b for a, b in zip(speeds["minires"], speeds[peer], strict=True)), 3),
            "peak_mb": round(memory["minires"], 1),
            "peer_peak_mb": round(memory[peer], 1),
        }


def line(row, speeds):
    """A result as a line of the table."""
    ratios = [a / b for a, b in zip(speeds["minires"], speeds[row["peer"]], strict=True)]
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    return (
        f"{row['case']:20} {row['peer']:22} {row['images_per_second']:9.1f} {row['peer_images_per_second']:9.1f} "
        f"{row['ratio']:7.3f} {spread:>13} {row['peak_mb']:7.0f} {row['peer_peak_mb']:8.0f}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds: under a minute")
    parser.add_argument("--rounds", type=int, metavar="N", help="default: 7, with --quick 3")
    parser.add_argument("--steps", type=int, metavar="N", help="steps in a round; default: 3, with --quick 1")
    parser.add_argument("--threads", type=int, metavar="N", default=backend.get_threads(), help="default: %(default)s")
    parser.add_argument("--case", choices=list(CASES), help="only this case")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    parser.add_argument("--memory-of", choices=["minires", *PEERS], help=argparse.SUPPRESS)
    args = parser.parse_args()
    backend.set_threads(args.threads)
    if args.memory_of != "minires":
        try:
            import torch
        except ImportError:
            sys.exit("error: PyTorch is not installed, and there is nothing to measure against: pip install torch")
        torch.set_num_threads(args.threads)
    if args.memory_of:
        return print_peak_memory(args.case, args.memory_of)

    rounds, steps = args.rounds or (3 if args.quick else 7), args.steps or (1 if args.quick else 3)
    about = environment("cpu")
    about["versions"]["torch"] = torch.__version__
    about["threads"], about["load_before"] = args.threads, os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    print(f"{about['machine']['processor']}, {args.threads} threads, {platform.system()}; NumPy {np.__version__}, "
          f"PyTorch {torch.__version__}; {rounds} rounds of {steps} steps")  # fmt: skip
    head = f"{'case':20} {'peer':22} {'minires':>9} {'peer':>9} {'ratio':>7} {'spread':>13} {'MB':>7} {'peer MB':>8}"
    print(f"{head}\n{'-' * len(head)}")
    results = []
    for case in [args.case] if args.case else CASES:
        memory = {who: peak_memory(case, who, args.threads) for who in ("minires", *PEERS)}
        speeds = measure(case, PEERS, rounds, steps)
        for row in report(case, speeds, memory):
            results.append(row)
            print(line(row, speeds), flush=True)
    print("minires and peer: images/s, median over rounds; ratio: minires over peer; MB: memory taken by the steps")
    if args.json:
        write_atomically(args.json, (json.dumps({"machine": about, "results": results}, indent=2) + "\n").encode())
        print(f"wrote {args.json}")
    return None


if __name__ == "__main__":
    main()
