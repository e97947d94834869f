"""The families side by side, each about as large as resnet20: which one shall I take?

    python examples/experiments/families.py --data-dir DIR                     two hours a seed on two cores
    python examples/experiments/families.py --data-dir DIR --only ResNet SE    these two
    python examples/experiments/families.py --data-dir DIR --quick             does it run?

VGG, GoogLeNet, DenseNet-BC, ResNet, pre-activation, wide, ResNeXt and SE, with 240,000 to 305,000 parameters: each is
trained for as many epochs as resnet20, and for as many as fit into resnet20's time; where both are the same number it
is one run. The first 10,000 training images of CIFAR-10, pad, crop and flip, SGD with momentum, steps from 0.1; tested
on the first 2,000 test images after each epoch, of which the last counts. Before that the speed of all is measured,
steps of one batch in turn, and the memory of a step, each in a process of its own. A run that has come to its end is
not done again, one that was interrupted goes on. Writes results.csv, table.md and results.png into --out.
"""

import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that a fresh clone runs without being installed

import _shared
import numpy as np

from minires import models
from minires.cli import runs
from minires.files import write_atomically
from minires.inspection.summary import costs
from minires.layers import BatchNormReLU2d, Conv2d, GlobalAvgPool2d, Linear, MaxPool2d
from minires.models.blocks import Bottleneck, initialise_convolutions
from minires.models.densenet import DenseNet
from minires.models.googlenet import Inception
from minires.models.preact import PreActBlock, PreActResNet
from minires.models.seresnet import SEBottleneck
from minires.models.staged import Staged, make_stages, make_stem
from minires.sequential import Sequential
from minires.training import train_step

SIZE = _shared.Size(train=10_000, test=2000, epochs=8, batch_size=64)
QUICK_SIZE = _shared.Size(train=32, test=16, epochs=1, batch_size=16)
LR = 0.1
PANELS = ("equal epochs", "equal time")


def convolutions(in_channels, out_channels, number, rng):
    """`number` 3x3 convolutions with batch norm and ReLU, as VGG has them."""
    layers = []
    for _ in range(number):
        layers += [Conv2d(in_channels, out_channels, 3, padding=1, bias=False, rng=rng), BatchNormReLU2d(out_channels)]
        in_channels = out_channels
    return layers


def inceptions(in_channels, out_channels, number, rng):
    """`number` Inception modules, whose branches share the channels as those of GoogLeNet do on average."""
    part, modules = out_channels // 8, []
    for _ in range(number):
        modules.append(Inception(in_channels, 2 * part, 3 * part, 4 * part, part // 2, part, part, rng))
        in_channels = out_channels
    return modules


def pooled(part, channels, seed, stem=False):
    """Three stages of three parts each with a max pool between, then the mean of all pixels and a linear layer."""
    rng = np.random.default_rng(seed)
    layers = convolutions(3, channels[0], 1, rng) if stem else []
    before = channels[0] if stem else 3
    for number, width in enumerate(channels):
        layers += ([MaxPool2d(2)] if number else []) + part(before, width, 3, rng)
        before = width
    model = Sequential(*layers, GlobalAvgPool2d(), Linear(before, 10, rng=rng))
    initialise_convolutions(model, rng)
    return model


def staged(block, seed):
    """Three stages of two bottlenecks with 16, 32 and 64 channels inside."""
    rng = np.random.default_rng(seed)
    stem = make_stem(16, True, rng)
    stages = make_stages(lambda *shape: block(*shape, rng), 16, (16, 32, 64), (2, 2, 2), 4)
    return Staged(stem, stages, 256, 10, rng)


def aggregated(in_channels, channels, stride, rng):
    """A bottleneck of ResNeXt: 8 groups, twice the channels."""
    return Bottleneck(in_channels, channels, stride, "torchvision", rng, 2 * channels, 8)


NETWORKS = {
    "ResNet": lambda seed: models.resnet20(rng=seed),
    "VGG": lambda seed: pooled(convolutions, (24, 48, 96), seed),
    "GoogLeNet": lambda seed: pooled(inceptions, (40, 80, 160), seed, stem=True),
    "DenseNet-BC": lambda seed: DenseNet((8, 8, 8), 12, 24, 10, small_input=True, rng=seed),
    "pre-activation": lambda seed: PreActResNet(3, PreActBlock, rng=seed),
    "wide": lambda seed: PreActResNet(1, PreActBlock, width=2, rng=seed),
    "ResNeXt": lambda seed: staged(aggregated, seed),
    "SE": lambda seed: staged(SEBottleneck, seed),
}


def command_line():
    """The parser."""
    parser = _shared.command_line(__doc__, [0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=list(NETWORKS), metavar="NAME", help=f"of: {', '.join(NETWORKS)}")
    return parser


def main():
    """Run the command line; returns the exit code."""
    return runs.call(run, lambda: command_line().parse_args())


def run(args):
    """Do the runs that are missing, then the tables and the picture; returns the exit code."""
    out, dataset = _shared.prepare(args, "families")
    size = QUICK_SIZE if args.quick else SIZE
    facts = _shared.once(out / "facts", {"batch_size": size.batch_size}, lambda: measure(dataset, size, args.quick))
    facts = facts["networks"]
    names = [name for name in NETWORKS if args.only is None or name in args.only]
    results = {
        (f"{name}, {what}", seed): _shared.train(
            out / f"{name.replace(' ', '-')}-{epochs}-epochs-seed{seed}",
            dataset,
            replace(size, epochs=epochs),
            seed,
            NETWORKS[name],
            _shared.sgd(5e-4),
            _shared.steps(LR),
        )
        for seed in args.seeds
        for what in PANELS
        for name in names
        for epochs in [size.epochs if what == "equal epochs" else epochs_in_time(facts, name, size.epochs)]
    }
    _shared.write_curves(out, results, {what: [f"{name}, {what}" for name in names] for what in PANELS})
    write_table(out, results, {name: facts[name] for name in names})
    return 0


def epochs_in_time(facts, name, epochs):
    """How many epochs of a network take as long as `epochs` of ResNet: one at least, ten times as many at most."""
    share = facts[name]["images_per_second"] / facts["ResNet"]["images_per_second"]
    return max(1, min(round(epochs * share), 10 * epochs))


def measure(dataset, size, quick):
    """For each network parameters, multiply_adds, step_megabytes and images_per_second, the median of steps in turn."""
    loader, _ = _shared.make_loaders(dataset, size, seed=0)
    batch = next(iter(loader.epoch(0)))
    megabytes = _shared.each_alone(memory, [(name, batch) for name in NETWORKS])
    steps = {name: step_of(build(0), batch) for name, build in NETWORKS.items()}
    seconds = {name: [] for name in steps}
    for number in range(2 if quick else 11):  # the first warms up
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            seconds[name] += [time.perf_counter() - began] if number else []
    facts = {}
    for (name, build), of_step in zip(NETWORKS.items(), megabytes, strict=True):
        parameters, multiply_adds = costs(build(0), (32, 32, 3))
        facts[name] = {"parameters": parameters, "multiply_adds": multiply_adds, "step_megabytes": of_step}
        facts[name]["images_per_second"] = size.batch_size / statistics.median(seconds[name])
    return {"networks": facts}


def step_of(model, batch):
    """A function that takes a training step."""
    optimizer = _shared.sgd()(model.train().parameters())
    return lambda: train_step(model, optimizer, *batch)


def memory(name, batch):
    """Megabytes of a step, in a process that does nothing else."""
    return _shared.memory_of(step_of(NETWORKS[name](0), batch))


def write_table(out, results, facts):
    """table.md, and the same on standard output: what helps to choose, a line for each network."""
    columns = ("network", "parameters", "multiply-adds", "MB a step", "images/s")
    columns += tuple(f"{what}, {kind}" for kind in PANELS for what in ("epochs", "test error"))
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for name, its in facts.items():
        cells = [f"{its['parameters']:,}", f"{its['multiply_adds']:,}", f"{its['step_megabytes']:.0f}"]
        cells.append(f"{its['images_per_second']:.0f}")
        for kind in PANELS:
            found = [result for (run, _), result in results.items() if run == f"{name}, {kind}"]
            cells += [str(found[0]["settings"]["epochs"]), error_of(found)]
        lines.append(f"| {' | '.join([name, *cells])} |")
    text = "\n".join(lines)
    write_atomically(out / "table.md", f"{text}\n".encode())
    print(
        f"\n{text}\ntest errors in %, of the last epoch: mean +- standard deviation of the seeds; wrote {out}/table.md"
    )


def error_of(results):
    """Mean and deviation of the last test errors, or that a run diverged."""
    if any(result["diverged"] for result in results):
        return "diverged"
    errors = [100 * result["history"][-1]["test_error"] for result in results]
    mean = f"{statistics.mean(errors):.1f}"
    return f"{mean} +- {statistics.stdev(errors):.1f}" if len(errors) > 1 else mean


if __name__ == "__main__":
    sys.exit(main())
