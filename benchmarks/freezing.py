"""What freezing saves: training steps of resnet20 with more and more of it frozen, beside inference, in one run.

    python benchmarks/freezing.py               a minute on two cores
    python benchmarks/freezing.py --quick       fewer rounds

In each round every kind has a turn of a few steps on the same batch of 128; a figure is the median over rounds, a ratio
the median of the rounds' ratios. Memory is the arrays that the forward pass leaves for the backward pass.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from minires import backend, models, no_grad
from minires.backend.cpu import memory
from minires.cli.recording import environment
from minires.modes import evaluating
from minires.optim import SGD
from minires.training import train_step

BACKBONE = ("conv1", "bn1", "layer1", "layer2", "layer3")
KINDS = {
    "all of it trained": (),
    "frozen up to layer1": BACKBONE[:3],
    "frozen up to layer2": BACKBONE[:4],
    "the head alone": BACKBONE,
    "inference": None,
}
STEPS = 3


def main():
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three rounds")
    rounds = 3 if parser.parse_args().quick else 9
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((128, 32, 32, 3)).astype(np.float32), rng.integers(0, 10, 128)
    steps = {kind: step_of(frozen, x, labels) for kind, frozen in KINDS.items()}
    seconds = {kind: [] for kind in KINDS}
    for turn in range(rounds + 1):
        for kind, (step, _) in steps.items():
            began = time.perf_counter()
            for _ in range(STEPS):
                step()
            if turn:  # the first warms up
                seconds[kind].append((time.perf_counter() - began) / STEPS)
    machine = environment("cpu")["machine"]
    print(f"{machine['processor']}, {backend.get_threads()} threads; resnet20, batch 128, {rounds} rounds, seed 0\n")
    print(f"{'':20} {'images/s':>9} {'of inference':>13} {'kept, MB':>9}")
    for kind, (_, kept) in steps.items():
        ratio = statistics.median(a / b for a, b in zip(seconds["inference"], seconds[kind], strict=True))
        speed = 128 / statistics.median(seconds[kind])
        print(f"{kind:20} {speed:9.1f} {ratio:13.2f} {kept / 1e6:9.1f}")


def step_of(frozen, x, labels):
    """(a function that does one step, the bytes that its forward pass keeps)"""
    model = models.resnet20(rng=0)
    for name in frozen or ():
        getattr(model, name).freeze()
    optimizer = SGD(model.parameters(), lr=0.01, momentum=0.9)

    def infer():
        with evaluating(model), no_grad():
            model(x)

    if frozen is None:
        return infer, 0
    before = memory._pool.lent
    result = model.train()(x, lean=True)
    kept = memory._pool.lent - before
    del result
    return lambda: train_step(model, optimizer, x, labels), kept


if __name__ == "__main__":
    main()
