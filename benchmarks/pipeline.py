"""Does preparing a batch hold up the training step? What each costs, measured in turn, in one run.

    python benchmarks/pipeline.py                       two to three minutes on two cores
    python benchmarks/pipeline.py --quick               batches of 128 only, fewer rounds: half a minute
    python benchmarks/pipeline.py --json FILE           the same figures for a program
    python benchmarks/pipeline.py --data-dir DIR        photographs of CIFAR-10 instead of shapes drawn by code

Loader, network and optimizer are those of `examples/train_cifar.py --recipe standard`, whose images are shifted and
mirrored, without and with `--cutout 16`. Nothing overlaps: the loader makes a batch, the network takes a step on it,
and so on, as in training. The share is the batch's time over the step's; a figure is the median over rounds.
"""

import itertools
import statistics
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "examples")]

import command_line  # noqa: E402
import train_cifar  # noqa: E402

from minires import backend, data, models  # noqa: E402
from minires.cli.console import in_flags  # noqa: E402
from minires.training import train_step  # noqa: E402

MODELS = ("resnet8", "resnet20")
BATCH_SIZES, QUICK_BATCH_SIZES = (32, 128, 512), (128,)
CUTOUTS = (0, 16)


def settings_of(model, batch_size, cutout):
    """The standard recipe's settings, with a learning rate at which no schedule is needed."""
    given = {"recipe": "standard", "model": model, "batch_size": batch_size, "cutout": cutout, "lr": 0.01}
    return train_cifar.settings_of(given)


def make_loader(settings, dataset, device):
    """The training images' loader."""
    return train_cifar.make_loaders(settings, dataset, device)[0]


def make_step(settings, dataset, device):
    """step(x, labels): a training step of the network that the settings name."""
    model = models.build(settings["model"], len(dataset.classes), settings["shortcut"], rng=settings["seed"])
    optimizer = train_cifar.make_optimizer(settings, model.to(device))
    return lambda x, labels: train_step(model, optimizer, x, labels)


def timed(device, function, *arguments):
    """(milliseconds, result) of a call, once the device has finished it."""
    backend.synchronize(device)
    began = time.perf_counter()
    result = function(*arguments)
    backend.synchronize(device)
    return 1000 * (time.perf_counter() - began), result


def measure_share(loader, step, rounds):
    """{batch_ms, step_ms, share, spread}: batches of the loader and steps in turn, after one of each unmeasured."""
    batches = (batch for number in itertools.count() for batch in loader.epoch(number))
    batch_ms, step_ms = [], []
    for _ in range(rounds + 1):
        milliseconds, batch = timed(loader.device, next, batches)
        batch_ms.append(milliseconds)
        step_ms.append(timed(loader.device, step, *batch)[0])
    shares = [batch / step for batch, step in zip(batch_ms[1:], step_ms[1:], strict=True)]
    return {
        "batch_ms": statistics.median(batch_ms[1:]),
        "step_ms": statistics.median(step_ms[1:]),
        "share": statistics.median(shares),
        "spread": [min(shares), max(shares)],
    }


# The command line ------------------------------------------------------------------------------------------------


HEAD = f"{'model':10} {'batch':>5} {'cutout':>6} {'batch ms':>9} {'step ms':>9} {'share':>7} {'spread':>16}"


def line(row):
    """A network's share as a line of the table."""
    spread = "{:.2%} to {:.2%}".format(*row["spread"])
    return (
        f"{row['model']:10} {row['batch_size']:5d} {row['cutout']:6d} {row['batch_ms']:9.2f} {row['step_ms']:9.1f} "
        f"{row['share']:7.2%} {spread:>16}"
    )


def parse(argv):
    """The arguments. Exits with a sentence for a wrong one."""
    parser = command_line.make_parser(__doc__, "batches of 128 only, fewer rounds", 7, 5)
    parser.add_argument("--data-dir", metavar="DIR", help="folder with CIFAR-10; default: shapes drawn by code")
    parser.add_argument("--device", choices=backend.DEVICES, default="cpu", help="default: %(default)s")
    return command_line.parse(parser, argv)


def load_dataset(data_dir):
    """CIFAR-10 from a folder, or the shapes drawn by code."""
    if data_dir is None:
        return data.make_synthetic()
    return data.load("cifar10", data_dir, download=False, progress=False)[0]


def main(argv=None):
    args = parse(argv)
    try:
        device, dataset = backend.resolve_device(args.device), load_dataset(args.data_dir)
    except (ValueError, OSError, backend.DeviceError) as error:
        sys.exit(f"error: {in_flags(error)}")
    machine = command_line.about(args.threads, device=device)
    content = {"machine": machine, "dataset": dataset.label, "rounds": args.rounds, "shares": []}
    print(f"{machine['machine']['processor']}, {args.threads} threads; {dataset.label}; {args.rounds} rounds\n\n{HEAD}")
    batch_sizes = QUICK_BATCH_SIZES if args.quick else BATCH_SIZES
    for batch_size, cutout in itertools.product(batch_sizes, CUTOUTS):
        loader = make_loader(settings_of(MODELS[0], batch_size, cutout), dataset, device)
        for model in MODELS:
            step = make_step(settings_of(model, batch_size, cutout), dataset, device)
            found = measure_share(loader, step, args.rounds)
            content["shares"].append({"model": model, "batch_size": batch_size, "cutout": cutout, **found})
            print(line(content["shares"][-1]), flush=True)
    content["largest_share"] = max(row["share"] for row in content["shares"])
    print(f"\nlargest share of a step: {content['largest_share']:.2%}")
    command_line.save(args.json, content)


if __name__ == "__main__":
    main()
