"""What an ensemble brings, and what it costs: three networks, three snapshots of one run, two views, a temperature.

    python examples/experiments/ensembles.py --data-dir DIR             ten minutes on one core
    python examples/experiments/ensembles.py --data-dir DIR --quick     does it run?

resnet8 on the first 10,000 training images of half the side. Each of three networks, from three seeds, is trained for
six epochs by the quick recipe; one alone for the eighteen epochs that these cost together; one for eighteen in three
cycles. Temperatures are fitted on the last 5,000 training images, which nothing was trained on; the table is of the
test images: error, negative log likelihood (nll) and calibration error (ECE, 15 bins), and both at the temperature. A
run that has come to its end is not done again. Writes results.csv and results.png into --out.
"""

import statistics
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that a fresh clone runs without being installed
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import _shared
import numpy as np
import train_cifar

from minires import checkpoint, data, models
from minires.calibration import fit_temperature, reliability
from minires.cli import runs
from minires.cli.ensembles import answers
from minires.cli.legs import make_schedule
from minires.cli.recording import write_csv
from minires.cli.snapshots import SCHEDULE
from minires.ensemble import Views, log_mean_softmax, tta_views
from minires.inspection.pictures.figures import write_png
from minires.inspection.pictures.reliability import draw_reliability
from minires.losses import cross_entropy
from minires.losses.distillation import softened

SIZE, HELD_OUT = _shared.Size(train=10_000, test=10_000, epochs=6, batch_size=128), 5000
QUICK_SIZE, QUICK_HELD_OUT = _shared.Size(train=32, test=16, epochs=1, batch_size=16), 20
MEMBERS = 3  # networks, and cycles
ONE_CYCLE = {**train_cifar.DEFAULTS, **train_cifar.RECIPES["quick"]}
RESTARTS = {**ONE_CYCLE, "schedule": SCHEDULE, "cycles": MEMBERS, "lr": 0.2}
COLUMNS = ("network", "views", "error", "nll", "ece", "temperature", "nll at it", "ece at it")


def command_line():
    """The parser."""
    return _shared.command_line(__doc__, list(range(MEMBERS)))


def main():
    """Run the command line; returns the exit code."""
    return runs.call(run, lambda: command_line().parse_args())


def run(args):
    """Do the runs that are missing, then the table and the picture; returns the exit code."""
    if len(args.seeds) < 2:
        raise ValueError(f"--seeds {args.seeds[0]}: an ensemble has two networks or more: give two seeds or more")
    out, dataset = _shared.prepare(args, "ensembles")
    size, held_out = (QUICK_SIZE, QUICK_HELD_OUT) if args.quick else (SIZE, HELD_OUT)
    dataset = _shared.halved(dataset)
    networks = trained(out, dataset, size, args.seeds)
    parts = loaders(dataset, size, held_out)
    said = {
        (name, views): [answers(Views(network, tta_views(views, 16)), part) for part in parts]
        for name, network in networks.items()
        for views in ("none", "mirror")
    }
    rows, panels = table(said, args.seeds)
    write_csv(out / "results.csv", COLUMNS, [[row[name] for name in COLUMNS] for row in rows])
    write_png(draw_reliability(panels), out / "results.png")
    print_table(rows)
    print(f"wrote {out}/results.*")
    return 0


def trained(out, dataset, size, seeds):
    """{name: network} of all runs."""
    whole = replace(size, epochs=MEMBERS * size.epochs)
    ends = [size.epochs * cycle for cycle in range(1, MEMBERS + 1)]
    plans = {f"seed {seed}": (size, seed, ONE_CYCLE, ()) for seed in seeds}
    plans |= {"one run": (whole, seeds[0], ONE_CYCLE, ()), "cycles": (whole, seeds[0], RESTARTS, ends)}
    networks = {}
    for name, (length, seed, settings, kept) in plans.items():
        folder = out / name.replace(" ", "-")
        _shared.train(
            folder,
            dataset,
            length,
            seed,
            build=lambda seed: models.resnet8(rng=seed),
            optimizer=lambda parameters, settings=settings: train_cifar.optimizer_of(settings, parameters),
            schedule=lambda iterations, settings=settings: make_schedule(settings, iterations),
            ingredients={"padding": 2, "schedule": settings["schedule"], "lr": settings["lr"]},
            kept=kept,
        )
        files = {f"cycle {cycle}": f"epoch-{end}" for cycle, end in enumerate(kept, 1)} or {name: "last"}
        networks |= {name: network_of(folder / f"{file}.safetensors") for name, file in files.items()}
    return networks


def network_of(path):
    """The network of a checkpoint."""
    model = models.resnet8()
    model.load_state_dict(checkpoint.load(path).model)
    return model


def loaders(dataset, size, held_out):
    """Batches of the held-out and of the test images, as the networks were trained to see them."""
    mean, std = data.channel_mean_std(dataset.train_images[: size.train])
    parts = (
        (dataset.train_images[-held_out:], dataset.train_labels[-held_out:]),
        data.limit(dataset.test_images, dataset.test_labels, size.test),
    )
    return [data.Loader(images, labels, 500, mean, std) for images, labels in parts]


# What they say together ---------------------------------------------------------------------------------------------


def table(said, seeds):
    """(rows, {title: Reliability}) of what each network says of the held-out and of the test images."""
    seeds, cycles = [f"seed {seed}" for seed in seeds], [f"cycle {cycle}" for cycle in range(1, MEMBERS + 1)]
    together, snapshots = f"ensemble of {len(seeds)} seeds", f"ensemble of {MEMBERS} cycles"
    rows, found = [], {}
    for views in ("none", "mirror"):
        alone = [figures(name, views, *said[name, views]) for name in (*seeds, "one run", *cycles)]
        means = [mean_of("mean of the seeds", alone[: len(seeds)]), mean_of("mean of the cycles", alone[-MEMBERS:])]
        both = {name: ensemble([said[member, views] for member in group])
                for name, group in ((together, seeds), (snapshots, cycles))}  # fmt: skip
        rows += [*alone, *means, *(figures(name, views, *its) for name, its in both.items())]
        found |= {name: its for name, its in both.items() if views == "none"}
    test = {seeds[0]: said[seeds[0], "none"][1], together: found[together][1]}
    panels = {name: reliability(softened(logits), labels) for name, (logits, labels) in test.items()}
    at = temperature_of(*found[together][0])
    logits, labels = found[together][1]
    panels["the same, temperature " + (f"{at:.2f}" if at else "1")] = reliability(softened(logits, at or 1.0), labels)
    return rows, panels


def ensemble(of_members):
    """What members say together, of what each says of the held-out and of the test images."""
    parts = zip(*of_members, strict=True)
    return [(log_mean_softmax(np.stack([logits for logits, _ in part]))[0], part[0][1]) for part in parts]


def figures(name, views, held_out, test):
    """A row of the table: of the test images, with the temperature of the held-out ones."""
    at = temperature_of(*held_out)
    (logits, labels), row = test, {"network": name, "views": views, "temperature": at}
    row["error"] = float((logits.argmax(axis=1) != labels).mean())
    for temperature, suffix in ((1.0, ""), (at, " at it")):
        if temperature is None:
            row |= {"nll at it": None, "ece at it": None}
            continue
        row[f"nll{suffix}"] = float(cross_entropy(logits / temperature, labels)[0])
        row[f"ece{suffix}"] = reliability(softened(logits, temperature), labels).error
    return row


def temperature_of(logits, labels):
    """The temperature, or None where there is no best one, which is said."""
    try:
        return fit_temperature(logits, labels)
    except ValueError as error:
        print(error, file=sys.stderr)
        return None


def mean_of(name, rows):
    """The mean of each figure of some rows."""
    values = {key: [row[key] for row in rows] for key in COLUMNS[2:]}
    return {"network": name, "views": rows[0]["views"]} | {
        key: None if None in column else statistics.mean(column) for key, column in values.items()
    }


def print_table(rows):
    """The rows as Markdown."""
    print("\n| network | views | test error, % | nll | ECE, % | T | nll at T | ECE at T, % |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        scale = {"error": 100, "ece": 100, "ece at it": 100}
        cells = [
            "-" if row[key] is None else f"{scale.get(key, 1) * row[key]:.{2 if key in scale else 3}f}"
            for key in COLUMNS[2:]
        ]
        print(f"| {row['network']} | {row['views']} | {' | '.join(cells)} |")


if __name__ == "__main__":
    sys.exit(main())
