"""What the experiments share: data of a given size, runs that are not done twice, curves as a table and a picture."""

import contextlib
import json
import multiprocessing
import signal
import statistics
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from minires import backend, checkpoint, data, optim
from minires.cli import settings as common
from minires.cli.console import Parser
from minires.cli.progress import stopping_on_signals
from minires.cli.recording import environment, write_csv
from minires.files import write_atomically
from minires.inspection.pictures.figures import new_figure, write_png
from minires.position import validation
from minires.schedules import MultiStepLR
from minires.trainer import Trainer
from minires.training import DivergenceError, Interrupted

COLORS = ("#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd", "#7f7f7f", "#8c564b", "#17becf")
COLUMNS = ("run", "seed", "epoch", "train_loss", "train_error", "test_loss", "test_error", "train_seconds")


@dataclass(frozen=True)
class Size:
    """How large an experiment is: the first `train` and `test` images, epochs, images in a batch."""

    train: int
    test: int
    epochs: int
    batch_size: int


# The command line ---------------------------------------------------------------------------------------------------


def command_line(text, seeds):
    """The parser that every experiment has."""
    parser = Parser(description=text)
    default = " ".join(map(str, seeds))
    parser.add_argument("--seeds", type=int, nargs="+", default=seeds, metavar="N", help=f"default: {default}")
    parser.add_argument("--data-dir", metavar="DIR", help="folder with CIFAR-10")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: runs/experiment-NAME, quick ones apart")
    parser.add_argument("--quick", action="store_true", help="all parts with few images, to see that it runs")
    return parser


def prepare(args, name):
    """The folder of the experiment, made, and the data set, loaded."""
    out = args.out or Path("runs") / f"experiment-{name}{'-quick' if args.quick else ''}"
    out.mkdir(parents=True, exist_ok=True)
    dataset, _ = data.load("cifar10", args.data_dir, progress=sys.stderr.isatty())
    print(f"data: {dataset.label}", flush=True)
    if args.quick:
        print("quick: with so few images it shows that everything runs; the figures say nothing", flush=True)
    return out, dataset


# Runs ---------------------------------------------------------------------------------------------------------------


def once(folder, settings, work, device="cpu"):
    """What work() returned, a dict for JSON: now, or when it came to its end in an earlier call.

    Raises ValueError where the folder holds the result of other settings.
    """
    path, settings = folder / "result.json", json.loads(json.dumps(settings))
    if path.exists():
        result = json.loads(path.read_text(encoding="utf-8"))
        _check_settings(folder, result["settings"], settings)
        return result
    folder.mkdir(parents=True, exist_ok=True)
    result = {"settings": settings, **work(), "environment": environment(device)}
    write_atomically(path, (json.dumps(result, indent=1) + "\n").encode())
    return result


def _check_settings(folder, found, wanted):
    if found != wanted:
        differing = [key for key in {*found, *wanted} if found.get(key) != wanted.get(key)]
        raise ValueError(f"{folder} holds a run with another {', '.join(sorted(differing))}: name another --out")


def halved(dataset):
    """A data set with images of half the side: each pixel the mean of four, a quarter of the work."""
    train, test = (_halved(images) for images in (dataset.train_images, dataset.test_images))
    return replace(dataset, train_images=train, test_images=test, label=f"{dataset.label}, 16x16")


def _halved(images):
    N, H, W, C = images.shape
    return images.reshape(N, H // 2, 2, W // 2, 2, C).mean(axis=(2, 4)).round().astype(np.uint8)


# Settings that change what a batch is:
OF_IMAGES = ("padding", "mixup", "cutmix", "cutout", "random_erasing", "randaugment")
OF_TRAINING = ("label_smoothing", "ema", "clip_norm")  # settings that a Trainer takes


def make_loaders(dataset, size, seed, augment=True, normalisation=(), device="cpu", shards=1, padding=4, **more):
    """Batches of the first training images, shuffled, and of the first test images.   more: of OF_IMAGES."""
    amounts = {"limit_train": size.train, "limit_test": size.test, "val_split": 0, "batch_size": size.batch_size}
    amounts |= {"seed": seed, "augment": augment, "shards": shards, **more}
    train, _, test = common.make_loaders(amounts, dataset, device, *normalisation, padding=padding)
    return train, test


def sgd(weight_decay=1e-4):
    """Of parameters: SGD with momentum 0.9. The learning rate is the schedule's."""
    return lambda parameters: optim.SGD(parameters, lr=0.0, momentum=0.9, weight_decay=weight_decay)


def steps(lr):
    """The schedule of He et al. 2015 for any number of iterations: a tenth after a half and after three quarters."""
    return lambda iterations: MultiStepLR(lr, (iterations // 2, iterations * 3 // 4))


def train(
    folder,
    dataset,
    size,
    seed,
    build,
    optimizer,
    schedule,
    augment=True,
    device="cpu",
    precision="float32",
    scaled=True,
    shards=1,
    ingredients=None,
    criterion_of=lambda loader: None,
    kept=(),
):
    """A run: a result with "history", a row for each epoch, and "parameters", the number of them.

    build(seed) -> model; optimizer(parameters) -> optimizer; schedule(iterations) -> learning rates. A run that was
    interrupted goes on from its last checkpoint; one that diverges ends there, and "diverged" says how.
    device: where build puts the model.   scaled: whether float16 has its loss scaled.   shards: of each batch.
    ingredients: settings among OF_IMAGES and OF_TRAINING, as train_cifar.py has them; other ones are kept in the result
    beside them. Where averaged weights are kept, the test error is theirs.
    criterion_of: training loader -> the criterion of a Trainer.   kept: epochs at whose end the weights are written,
    as epoch-N.safetensors.
    """
    ingredients = ingredients or {}
    settings = {**asdict(size), "seed": seed, "augment": augment, "data": dataset.label}
    if precision != "float32":
        settings |= {"precision": precision, "scaled": scaled}
    if shards > 1:
        settings |= {"shards": shards}
    if ingredients:
        settings |= {"ingredients": ingredients}

    def work():
        of_images, of_training = (
            {name: ingredients[name] for name in names if name in ingredients} for names in (OF_IMAGES, OF_TRAINING)
        )
        loaders = make_loaders(dataset, size, seed, augment, device=device, shards=shards, **of_images)
        train_loader, test_loader = loaders
        model = build(seed)
        trainer = Trainer(
            model,
            optimizer(model.parameters()),
            schedule(size.epochs * len(train_loader)),
            train_loader,
            test_loader,  # looked at after each epoch; it chooses nothing: what counts is the last epoch
            epochs=size.epochs,
            num_classes=len(dataset.classes),
            folder=folder,
            info={"settings": settings},
            watcher=Lines(folder.name, kept),
            precision=precision,
            shards=shards,
            cuda_graph=device != "cpu" and (scaled or precision != "float16"),
            criterion=criterion_of(train_loader),
            **of_training,
        )
        if not scaled:
            trainer.steps.scaler = trainer.steps.options["scaler"] = None
        if (folder / "last.safetensors").exists():
            loaded = checkpoint.load(folder / "last.safetensors")
            _check_settings(folder, loaded.info["settings"], settings)
            trainer.resume(loaded)
            trainer.watcher.keep(trainer)  # an interrupt may have come before it could
        return {
            "diverged": _run(trainer),
            "history": _rows(trainer.position.history, len(train_loader.images)),
            "parameters": sum(parameter.size for parameter in model.parameters()),
        }

    return once(folder, settings, work, device)


def _run(trainer):
    """Train to the end; what went wrong if the loss left the finite numbers. Ctrl-C saves and ends the process."""
    with stopping_on_signals(trainer) as received:
        try:
            trainer.run()
        except DivergenceError as error:
            print(error, flush=True)
            return str(error)
        except Interrupted:
            print("stopped and saved; the same command goes on", flush=True)
            sys.exit(128 + received[0] if received else 128 + signal.SIGINT)
    return None


def _rows(history, images):
    """Of each epoch what COLUMNS names; train_seconds without the tests after each epoch."""
    rows, seconds = [], 0.0
    for row in history:
        seconds += images / row["images_per_second"]
        loss, accuracy = validation(row)
        errors = {"train_error": 1 - row["train_acc"], "test_error": 1 - accuracy}
        losses = {"train_loss": row["train_loss"], "test_loss": loss}
        rows.append({"epoch": row["epoch"], **losses, **errors, "train_seconds": seconds})
    return rows


class Lines:
    """A Trainer's watcher: a line for each epoch, and the weights at the end of those that are kept."""

    def __init__(self, name, kept=()):
        self.name, self.kept = name, kept

    def batch(self, trainer):
        pass

    def epoch(self, trainer, row):
        print(
            f"{self.name:36} epoch {row['epoch']:2d}   lr {row['lr']:8.2g}   training loss {row['train_loss']:7.4f} "
            f"error {1 - row['train_acc']:6.1%}   test error {1 - validation(row)[1]:6.1%}   "
            f"{row['images_per_second']:5,.0f} images/s",
            flush=True,
        )
        self.keep(trainer)

    def keep(self, trainer):
        """Write the weights, where an epoch has just ended whose weights are kept."""
        if trainer.position.batch == 0 and trainer.position.epoch in self.kept:
            checkpoint.save(trainer.folder / f"epoch-{trainer.position.epoch}.safetensors", trainer.model)


# Memory -------------------------------------------------------------------------------------------------------------


def each_alone(function, of):
    """[function(*arguments) for arguments in of], each in a process of its own, one after the other."""
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        return pool.starmap(function, of, chunksize=1)


def memory_of(step):
    """Megabytes that this process, which does nothing else, takes in two steps beyond what it held before."""
    with contextlib.suppress(OSError):  # Linux: the largest memory so far starts anew
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = backend.memory_peak("cpu")
    for _ in range(2):
        step()
    return (backend.memory_peak("cpu") - before) / 1e6


# Tables and pictures ------------------------------------------------------------------------------------------------


def write_curves(out, results, panels, x="epoch"):
    """results.csv, results.png and a table on standard output, of results {(run, seed): what train returned}.

    panels: {title: [run, ...]}, the runs drawn in each, in COLORS.   x: a name in COLUMNS.
    """
    rows = [{"run": run, "seed": seed, **row} for (run, seed), result in results.items() for row in result["history"]]
    write_csv(out / "results.csv", COLUMNS, rows)
    print_table(results)
    draw_curves(out / "results.png", results, panels, x)
    print(f"errors in %, of the last epoch, mean of the seeds (least to largest); wrote {out}/results.*")


def print_table(results):
    """A line of Markdown for each run: parameters, and of the last epoch both errors and the seconds until then."""
    print("\n| run | parameters | epochs | training error | test error | training, s |\n|---|---|---|---|---|---|")
    for run in dict.fromkeys(run for run, _ in results):
        of_run = [result for (name, _), result in results.items() if name == run]
        cells = [f"{of_run[0]['parameters']:,}", str(of_run[0]["settings"]["epochs"])]
        if any(result["diverged"] for result in of_run):
            cells += ["diverged"] * 2 + ["-"]
        else:
            last = [result["history"][-1] for result in of_run]
            cells += [spread([100 * row[key] for row in last]) for key in ("train_error", "test_error")]
            cells += [f"{statistics.mean(row['train_seconds'] for row in last):.0f}"]
        print(f"| {' | '.join([run, *cells])} |")


def spread(values, digits=1):
    """ "mean (least to largest)", or the value alone."""
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def draw_curves(path, results, panels, x):
    """Training (dashed) and test error (solid) of each panel's runs: the mean of the seeds, a band for their range."""
    from matplotlib.ticker import MaxNLocator

    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = new_figure(4.2 * columns if columns > 1 else 7, 3.4 * rows if rows > 1 else 4.2)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axes, (title, runs) in zip(grid, panels.items(), strict=False):
        for run, color in zip(runs, COLORS, strict=False):
            histories = [result["history"] for (name, _), result in results.items() if name == run]
            for key, style in (("train_error", "--"), ("test_error", "-")):
                at = _over_seeds(histories, x, statistics.mean)
                axes.plot(
                    at,
                    [100 * value for value in _over_seeds(histories, key, statistics.mean)],
                    style,
                    color=color,
                    marker="." if len(at) == 1 else None,
                    label=run if style == "-" else None,
                )
                least, most = (_over_seeds(histories, key, choose) for choose in (min, max))
                axes.fill_between(at, [100 * v for v in least], [100 * v for v in most], color=color, alpha=0.15, lw=0)
        axes.set_title(title, fontsize=10)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
        axes.label_outer()
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    label = "seconds of training" if x == "train_seconds" else x
    figure.supxlabel(f"{label} (dashed: training, solid: test)", fontsize=10)
    figure.supylabel("error, %", fontsize=10)
    write_png(figure, path)


def _over_seeds(histories, key, choose):
    """choose(values of all seeds) for each epoch that all of them have."""
    return [choose([row[key] for row in rows]) for rows in zip(*histories, strict=False)]
