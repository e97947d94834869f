"""What training on attacked images brings, and what it costs, beside training on the images as they are.

    python examples/experiments/adversarial_training.py --data-dir DIR             five minutes on one core
    python examples/experiments/adversarial_training.py --data-dir DIR --quick     does it run?

A resnet8 is trained on the first 5,000 photographs, at half their side, shifted and mirrored, for six epochs: on the
images, on each moved by one step of FGSM from a random start, and by five steps of PGD, within 4 of 255 in the largest
change of a number. The first 250 test images are then attacked by FGSM and by 20 steps of PGD, and the attack's
answers are checked for gradients that only hide. A run that has come to its end is not done again. Writes results.csv,
results.png, checks.txt and the networks into --out.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that a fresh clone runs without being installed
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import _shared
import numpy as np
import train_cifar
from safetensors.numpy import load_file, save

from minires import data, models
from minires.cli import runs
from minires.cli.legs import make_schedule
from minires.cli.recording import write_csv
from minires.data.images import Preprocessing
from minires.files import write_atomically
from minires.inspection.pictures import write_png
from minires.robustness import (
    OnPixels,
    adversarial_step,
    attack_accuracy,
    attack_table,
    check_gradients,
    draw_attacks,
    pgd,
    report,
)
from minires.robustness.attacks import generators

SIZE = _shared.Size(train=5000, test=250, epochs=6, batch_size=128)
QUICK_SIZE = _shared.Size(train=32, test=8, epochs=2, batch_size=16)
SETTINGS = {**train_cifar.DEFAULTS, **train_cifar.RECIPES["quick"]}
EPS, EPSILONS = 4.0, (0.0, 2.0, 4.0, 8.0)  # of 255
STANDARD = "as they are"
WAYS = {STANDARD: None, "FGSM": {"steps": 1, "step": 1.25 * EPS}, "PGD": {"steps": 5}}
COLUMNS = ("model", "seed", "attack", "norm", "steps", "eps", "correct", "images", "train_seconds")


def command_line():
    """The parser."""
    return _shared.command_line(__doc__, [0])


def main():
    """Run the command line; returns the exit code."""
    return runs.call(run, lambda: command_line().parse_args())


def run(args):
    """Do the runs that are missing, then the tables and the picture; returns the exit code."""
    out, dataset = _shared.prepare(args, "adversarial-training")
    dataset, size = _shared.halved(dataset), QUICK_SIZE if args.quick else SIZE
    rows, checks = [], []
    for seed in args.seeds:
        results = {way: _trained(out, dataset, size, way, seed) for way in WAYS}
        for way, result in results.items():
            tested = _tested(out, dataset, size, way, seed, steps=2 if args.quick else 20)
            seconds = result["seconds"]
            rows += [{**row, "seed": seed, "train_seconds": seconds} for row in tested["rows"]]
            checks += ["", f"trained on images {way}, seed {seed}:", *tested["checks"]]
    write_csv(out / "results.csv", COLUMNS, rows)
    write_atomically(out / "checks.txt", ("\n".join(checks[1:]) + "\n").encode())
    added = _summed(rows)
    clean = {row["model"]: row["correct"] / row["images"] for row in added if row["eps"] == 0}
    write_png(draw_attacks([row for row in added if row["attack"] == "pgd" and row["eps"]], clean), out / "results.png")
    print("\n".join([*checks, "", *attack_table(added)]))
    print(f"accuracy in % on {size.test:,} test images of {dataset.label}; wrote {out}/results.*")
    return 0


def _trained(out, dataset, size, way, seed):
    """{"history", "seconds"} of a run, whose network is then in its folder."""
    folder = out / f"{way.replace(' ', '-')}-{seed}"

    def work():
        model, history, began = network(dataset, size, seed), [], time.perf_counter()
        for epoch, loss, correct in train(model.train(), dataset, size, WAYS[way], seed):
            row = {"epoch": epoch, "loss": loss, "accuracy": correct / size.train}
            history.append({**row, "seconds": time.perf_counter() - began})
            print(f"{way:12} epoch {epoch}   loss {loss:.4f}   right {correct / size.train:.1%}", flush=True)
        write_atomically(folder / "network.safetensors", save(model.state_dict()))
        return {"history": history, "seconds": time.perf_counter() - began}

    return _shared.once(folder, settings_of(dataset, size, way), work)


def train(model, dataset, size, way, seed):
    """Train in the open; yields (epoch, mean loss, right answers), both of the images as they were attacked."""
    optimizer, loader = train_cifar.optimizer_of(SETTINGS, model.parameters()), on_pixels(dataset, size, seed)
    schedule, step = make_schedule(SETTINGS, size.epochs * len(loader)), 0
    for epoch in range(1, size.epochs + 1):
        total, right = 0.0, 0
        for x, labels in loader.epoch(epoch):
            optimizer.lr = schedule(step)
            loss, correct = adversarial_step(model, optimizer, x, labels, attack_of(way, seed, step * size.batch_size))
            total, right, step = total + float(loss) * len(x), right + int(correct), step + 1
        yield epoch, total / size.train, right


def attack_of(way, seed, first):
    """(model, x, labels) -> the images that the network is trained on."""
    if way is None:
        return lambda model, x, labels: x
    return lambda model, x, labels: pgd(model, x, labels, EPS, **way, rngs=generators(seed, first, len(x)))


def on_pixels(dataset, size, seed):
    """Batches of the first training images, shifted and mirrored, as numbers from 0 to 255."""
    images, labels = dataset.train_images[: size.train], dataset.train_labels[: size.train]
    unchanged = {"mean": (0.0,) * 3, "std": (1 / 255,) * 3}
    return data.Loader(images, labels, size.batch_size, **unchanged, augment=data.Augment(2), shuffle=True, seed=seed)


def network(dataset, size, seed):
    """A new resnet8, as a function of pixels."""
    mean, std = data.channel_mean_std(dataset.train_images[: size.train])
    return OnPixels(models.resnet8(rng=seed), Preprocessing(mean, std, size=16, resize=16))


def _tested(out, dataset, size, way, seed, steps):
    """{"rows": of attack_accuracy, "checks": lines}: counted now, or read."""

    def work():
        other = STANDARD if way != STANDARD else list(WAYS)[-1]
        read = {name: network(dataset, size, seed) for name in (way, other)}
        for name, model in read.items():
            model.load_state_dict(load_file(out / f"{name.replace(' ', '-')}-{seed}" / "network.safetensors"))
        images, labels = dataset.test_images[: size.test], dataset.test_labels[: size.test].astype(np.int64)
        rows = attack_accuracy({way: read[way]}, images, labels, EPSILONS, steps=steps, tell=print)
        x, some = images[:100].astype(np.float32), labels[:100]
        return {"rows": rows, "checks": report(check_gradients(read[way], x, some, EPS, surrogate=read[other]))}

    settings = {**settings_of(dataset, size, way), "steps": steps, "epsilons": EPSILONS}
    return _shared.once(out / f"{way.replace(' ', '-')}-{seed}-tested", settings, work)


def settings_of(dataset, size, way):
    """What a run depends on."""
    return {"way": WAYS[way], "eps": EPS, "size": vars(size), "data": dataset.label}


def _summed(rows):
    """The rows of all seeds added up."""
    sums = {}
    for row in rows:
        key = {name: row[name] for name in ("model", "attack", "norm", "steps", "eps")}
        counted = sums.setdefault(tuple(key.values()), {**key, "correct": 0, "images": 0})
        counted["correct"] += row["correct"]
        counted["images"] += row["images"]
    return list(sums.values())


if __name__ == "__main__":
    sys.exit(main())
