"""Batch norm and group norm in ever smaller shards: which of them still learns when it sees two images at a time?

    python examples/experiments/small_shards.py --data-dir DIR           ten minutes on one core
    python examples/experiments/small_shards.py --data-dir DIR --quick   does it run?

A network of four convolutions on photographs of 16x16 pixels, without augmentation, batches of 128 that are cut into 1,
16 and 64 shards, all else alike: the same initial weights, the same batches. Writes results.csv and results.png into
--out.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that a fresh clone runs without being installed

import _shared

from minires.backend import set_threads
from minires.cli import runs
from minires.layers import BatchNorm2d, Conv2d, GlobalAvgPool2d, GroupNorm, Linear, ReLU
from minires.sequential import Sequential

SIZE = _shared.Size(train=2560, test=1000, epochs=6, batch_size=128)
QUICK_SIZE = _shared.Size(train=48, test=12, epochs=1, batch_size=16)  # whole batches, whatever the shards
SHARDS, QUICK_SHARDS = (1, 16, 64), (1, 8)
NORMS = {"batch norm": BatchNorm2d, "group norm": lambda channels: GroupNorm(8, channels)}
LR = 0.1


def network(norm, seed):
    """Four convolutions with a norm and ReLU behind each, the mean of the image, ten logits."""
    parts, inside = [], 3
    for number, (channels, stride) in enumerate(((16, 1), (32, 2), (32, 1), (64, 2))):
        convolution = Conv2d(inside, channels, 3, stride, padding=1, bias=False, rng=[seed, number])
        parts += [convolution, norm(channels), ReLU()]
        inside = channels
    return Sequential(*parts, GlobalAvgPool2d(), Linear(inside, 10, rng=[seed, 4]))


def main():
    """Run the command line; returns the exit code."""
    return runs.call(run, lambda: _shared.command_line(__doc__, [0]).parse_args())


def run(args):
    """Train what is missing, then the table and the picture; returns the exit code."""
    set_threads(1)
    out, dataset = _shared.prepare(args, "small-shards")
    dataset, size, trained = _shared.halved(dataset), QUICK_SIZE if args.quick else SIZE, {}
    for seed in args.seeds:
        for name, norm in NORMS.items():
            for shards in QUICK_SHARDS if args.quick else SHARDS:
                trained[f"{name}, shards of {size.batch_size // shards}", seed] = _shared.train(
                    out / f"{name.split()[0]}-{shards}-{seed}",
                    dataset,
                    size,
                    seed,
                    lambda seed, norm=norm: network(norm, seed),
                    _shared.sgd(),
                    _shared.steps(LR),
                    augment=False,
                    shards=shards,
                )
    panels = {name: [run for run, seed in trained if run.startswith(name) and seed == args.seeds[0]] for name in NORMS}
    _shared.write_curves(out, trained, panels)
    return 0


if __name__ == "__main__":
    sys.exit(main())
