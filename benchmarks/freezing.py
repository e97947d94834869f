"""What freezing saves: training steps of resnet20 with more and more of it frozen, beside inference, in one run.

    python benchmarks/freezing.py               a minute on two cores
    python benchmarks/freezing.py --quick       fewer rounds

In each round every kind has a turn of a few steps on the same batch of 128; a figure is the median over rounds, a ratio
the median of the rounds' ratios. Memory is the arrays that the forward pass leaves for the backward pass.
"""

import functools
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import command_line
from cases import Network
from turns import ratios, seconds_of_step, take_turns

from minires import models, no_grad
from minires.backend.cpu import memory
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
NETWORK, STEPS = Network("resnet20", True, 128), 3


def main(argv=None):
    """Measure, and print a table."""
    args = command_line.parse(command_line.make_parser(__doc__, "three rounds", 9, 3), argv)
    x, labels = NETWORK.arrays()
    steps, kept = zip(*(step_of(frozen, x, labels) for frozen in KINDS.values()), strict=True)
    for step in steps:
        step()
    turns = {kind: functools.partial(seconds_of_step, step, STEPS) for kind, step in zip(KINDS, steps, strict=True)}
    seconds = take_turns(turns, args.rounds)
    machine = command_line.about(args.threads)
    processor = machine["machine"]["processor"]
    print(f"{processor}, {args.threads} threads; resnet20, batch {len(x)}, {args.rounds} rounds, seed 0\n")
    print(f"{'':20} {'images/s':>9} {'of inference':>13} {'kept, MB':>9}")
    content = {"machine": machine, "rounds": args.rounds, "results": []}
    for kind, size in zip(KINDS, kept, strict=True):
        speed, compared = len(x) / statistics.median(seconds[kind]), ratios(seconds["inference"], seconds[kind])
        content["results"].append({"kind": kind, "images_per_second": speed, **compared, "kept_mb": size / 1e6})
        print(f"{kind:20} {speed:9.1f} {compared['ratio']:13.2f} {size / 1e6:9.1f}")
    command_line.save(args.json, content)


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
