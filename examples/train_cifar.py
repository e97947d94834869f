"""Train a residual network on CIFAR-10, from one command:

    python examples/train_cifar.py                                    a first result in about ten minutes
    python examples/train_cifar.py --model resnet20 --epochs 10       a better one
    python examples/train_cifar.py --recipe paper --model resnet56    He et al. 2015, section 4.2
    python examples/train_cifar.py --resume runs/NAME                 go on where a run was stopped
    python examples/train_cifar.py --evaluate runs/NAME/best.safetensors

What a run writes into its folder: config.json, log.csv, train.log, curves.png, result.json, last.safetensors (to go
on from) and best.safetensors (the model that did best on the validation images).
"""

import argparse
import math
import os
import shlex
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

if __name__ == "__main__":  # Ctrl-C while the imports below go on
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # so that a fresh clone runs without being installed

from minires import backend, checkpoint, data, models, optim, schedules
from minires.names import unknown
from minires.recording import Recorder, environment
from minires.training import DivergenceError, Interrupted, Trainer, evaluate, train_step

DEFAULTS = {
    "device": "auto",
    "dataset": "auto",
    "data_dir": None,
    "data_url": None,
    "recipe": "quick",
    "shortcut": "A",
    "batch_size": 128,
    "optimizer": "sgd",
    "momentum": 0.9,
    "label_smoothing": 0.0,
    "l1": 0.0,
    "decay_bias_and_norm": True,
    "augment": True,
    "cutout": 0,
    "warmup": 0,
    "iterations": None,
    "seed": 0,
    "val_split": None,
    "limit_train": None,
    "limit_test": None,
    "threads": None,
    "save_every": None,
    "no_progress": False,
}
ONE_CYCLE = {"schedule": "one-cycle", "lr": 0.4, "nesterov": True, "weight_decay": 5e-4}
RECIPES = {  # only defaults: every flag overrides them
    "quick": {"model": "resnet8", "epochs": 5, **ONE_CYCLE},
    "standard": {"model": "resnet20", "epochs": 30, **ONE_CYCLE},
    "paper": {
        "model": "resnet20",
        "epochs": None,  # as many as 64,000 iterations take
        "iterations": 64_000,
        "schedule": "step",
        "lr": 0.1,
        "nesterov": False,
        "weight_decay": 1e-4,
    },
}
DEFAULT_LR = {"adam": 1e-3, "adamw": 1e-3, "rmsprop": 1e-3}  # the recipes' are SGD's
FREE_ON_RESUME = {"resume", "device", "data_dir", "data_url", "threads", "save_every", "no_progress"}


def main():
    """Run the command line; every failure is one sentence on stderr and a non-zero exit code."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    given = vars(command_line().parse_args())
    warnings.filterwarnings("ignore", "(overflow|invalid value|divide by zero) encountered", RuntimeWarning)
    try:
        return run(given)
    except KeyboardInterrupt:
        return fail("interrupted", 130)
    except (ValueError, OSError, RuntimeError) as error:
        if not isinstance(error, (ValueError, OSError, backend.DeviceError)):
            raise
        return fail(error)


def run(given):
    """Do what the command line asks for; returns the exit code."""
    if "evaluate" in given:
        work, settings = evaluate_checkpoint, evaluation_settings(given)
    elif "resume" in given:
        work, settings = train, resumed_settings(given)
    else:
        work, settings = (overfit_one_batch if given.get("overfit_one_batch") else train), settings_of(given)
    device = prepare_device(settings)
    dataset = load_dataset(settings)
    try:
        return work(settings, dataset, device)
    except backend.out_of_memory():
        size = settings["batch_size"]
        how = "start a new run with" if "resume" in given else "try"
        return fail(f"out of memory with batch size {size}: {how} --batch-size {max(1, size // 2)}")


def settings_of(given):
    """Every setting: the flags given, over the recipe's, over the defaults."""
    recipe = given.get("recipe", DEFAULTS["recipe"])
    settings = {**DEFAULTS, **RECIPES[recipe], **given}
    if "lr" not in given and settings["optimizer"] in DEFAULT_LR:
        settings["lr"] = DEFAULT_LR[settings["optimizer"]]
    if recipe == "paper" and "epochs" in given and "iterations" not in given:
        settings["iterations"] = None
    for name in ("batch_size", "epochs", "iterations", "save_every", "threads", "limit_train", "limit_test"):
        if settings[name] is not None and settings[name] < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1, got {settings[name]}")
    if settings["shortcut"] == "B" and not settings["model"].startswith("resnet"):
        raise ValueError(f"--shortcut B: {settings['model']} has no shortcuts: choose a resnet, or leave the flag out")
    if settings["optimizer"] != "sgd" and {"momentum", "nesterov"} & set(given):
        raise ValueError(f"--momentum and --nesterov are SGD's, not {settings['optimizer']}'s: leave them out")
    if given.get("nesterov") and settings["momentum"] <= 0:
        raise ValueError(f"--nesterov needs --momentum above 0, got {settings['momentum']}")
    if not 0 <= settings["lr"] < math.inf:
        raise ValueError(f"--lr must be a number from 0 up, got {settings['lr']}")
    if settings["seed"] < 0:
        raise ValueError(f"--seed must be at least 0, got {settings['seed']}")
    settings.setdefault("out", f"runs/{time.strftime('%Y%m%d-%H%M%S')}-{settings['model']}")
    return settings


def resumed_settings(given):
    """The settings of the run to go on with; a flag that would make it another run is refused."""
    folder = run_folder(given["resume"])
    if not (folder / "last.safetensors").exists():
        raise ValueError(f"--resume {given['resume']}: no run there: name a folder that holds a last.safetensors")
    config = load_with_config(folder / "last.safetensors").info["config"]
    saved = {**config["settings"], "dataset": config["dataset"]["name"]}  # what "auto" found then, not now
    changed = [name for name in given if name not in FREE_ON_RESUME and saved.get(name) != given[name]]
    if changed:
        flags = ", ".join(f"--{name.replace('_', '-')} {given[name]} (was {saved.get(name)})" for name in changed)
        raise ValueError(f"--resume goes on with the run's own settings, these differ: {flags}: leave them out")
    return {**saved, **{name: given[name] for name in given if name in FREE_ON_RESUME}, "out": str(folder)}


def load_with_config(path):
    """A checkpoint that this script wrote: it says which run it belongs to."""
    loaded = checkpoint.load(path)
    if "config" not in loaded.info:
        raise checkpoint.CheckpointError(f"{path}: does not say which run it belongs to: give one this script wrote")
    return loaded


def run_folder(path):
    """The run's folder, from itself or from a checkpoint in it."""
    path = Path(path)
    return path if path.is_dir() else path.parent


def prepare_device(settings):
    """The device to use, announced; threads set."""
    device = backend.resolve_device(settings["device"])
    if settings["threads"] is not None:
        backend.set_threads(settings["threads"])
    threads = f", {backend.get_threads()} threads" if device == "cpu" else ""
    print(
        f"device: {device}{threads}{' (chosen by --device auto)' if settings['device'] == 'auto' else ''}", flush=True
    )
    return device


def load_dataset(settings):
    """The data set; where it is not the one hoped for, a notice that nobody can miss."""
    show = not settings["no_progress"] and sys.stderr.isatty()
    dataset, notice = data.load(settings["dataset"], settings["data_dir"], settings["data_url"], progress=show)
    settings["notice"] = notice
    if notice:
        print(f"\n{notice}\n", file=sys.stderr, flush=True)
    print(f"data: {dataset.label}, {len(dataset.train_images):,} training and {len(dataset.test_images):,} test images")
    return dataset


def make_loaders(settings, dataset, device):
    """(training, validation or None, test) loaders, and the mean and std they normalise with."""
    images, labels = data.limit(dataset.train_images, dataset.train_labels, settings["limit_train"])
    test = data.limit(dataset.test_images, dataset.test_labels, settings["limit_test"])
    limited = data.Dataset(dataset.name, dataset.label, dataset.classes, images, labels, *test)
    val_size = len(images) // 10 if settings["val_split"] is None else settings["val_split"]
    train_part, val_part = data.split(limited, val_size, settings["seed"])
    mean, std = data.channel_mean_std(train_part[0])
    usual = settings["augment"]
    augment = data.Augment(padding=4 if usual else 0, flip=usual, cutout=settings["cutout"])
    plain = {"mean": mean, "std": std, "device": device}

    train_loader = data.Loader(
        *train_part, settings["batch_size"], augment=augment, shuffle=True, seed=settings["seed"], **plain
    )
    val_loader = data.Loader(*val_part, 500, **plain) if val_size else None
    return train_loader, val_loader, data.Loader(*test, 500, **plain), mean, std


def make_optimizer(settings, model):
    """The optimizer that --optimizer names."""
    common = {
        "lr": settings["lr"],
        "weight_decay": settings["weight_decay"],
        "l1": settings["l1"],
        "decay_bias_and_norm": settings["decay_bias_and_norm"],
    }
    if settings["optimizer"] == "sgd":
        nesterov = settings["nesterov"] and settings["momentum"] > 0
        return optim.SGD(model.parameters(), momentum=settings["momentum"], nesterov=nesterov, **common)
    kinds = {"adam": optim.Adam, "adamw": optim.AdamW, "rmsprop": optim.RMSprop}
    return kinds[settings["optimizer"]](model.parameters(), **common)


def make_schedule(settings, iterations):
    """The learning rate as a function of the iteration; "step" divides it by 10 at 1/2 and 3/4 of the run."""
    lr = settings["lr"]
    schedule = {
        "constant": lambda: schedules.ConstantLR(lr),
        "step": lambda: schedules.MultiStepLR(lr, (iterations // 2, iterations * 3 // 4)),
        "cosine": lambda: schedules.CosineAnnealingLR(lr, iterations),
        "one-cycle": lambda: schedules.OneCycleLR(lr, iterations),
    }[settings["schedule"]]()
    return schedules.LinearWarmup(schedule, settings["warmup"], start_factor=0.1) if settings["warmup"] else schedule


def build_model(settings, classes):
    """The model of the settings, for images of 32x32."""
    options = {"shortcut": settings["shortcut"], "rng": settings["seed"], "small_input": True}
    return models.build(settings["model"], len(classes), **options)


def train(settings, dataset, device):
    """Train, or go on training, and test the best model; returns the exit code."""
    resume = settings.pop("resume", None)
    train_loader, val_loader, test_loader, mean, std = make_loaders(settings, dataset, device)
    if settings["epochs"] is None:
        settings["epochs"] = math.ceil(settings["iterations"] / len(train_loader))
    iterations = min(settings["epochs"] * len(train_loader), settings["iterations"] or math.inf)
    model = build_model(settings, dataset.classes).to(device)
    folder = Path(settings["out"])
    if not resume and (folder / "last.safetensors").exists():
        raise ValueError(f"--out {folder} already holds a run: go on with --resume {folder}, or name another folder")
    recorder = Recorder(folder)
    config = {
        "settings": settings,
        "dataset": {"name": dataset.name, "label": dataset.label, "notice": settings.pop("notice")},
        "sizes": {
            "train": len(train_loader.images),
            "val": len(val_loader.images) if val_loader else 0,
            "test": len(test_loader.images),
        },
        "classes": list(dataset.classes),
        "normalisation": {"mean": mean, "std": std},
        "parameters": sum(parameter.size for parameter in model.parameters()),
        "threads": backend.get_threads() if device == "cpu" else None,
        **environment(device),
    }
    trainer = Trainer(
        model,
        make_optimizer(settings, model),
        make_schedule(settings, iterations),
        train_loader,
        val_loader,
        epochs=settings["epochs"],
        iterations=settings["iterations"],
        num_classes=len(dataset.classes),
        label_smoothing=settings["label_smoothing"],
        folder=folder,
        info={"config": config},
        save_every=settings["save_every"],
        watcher=Watcher(recorder, config),
    )
    if resume:
        loaded = checkpoint.load(folder / "last.safetensors")
        was = loaded.info["config"]["dataset"]
        if (was["name"], was["label"]) != (dataset.name, dataset.label):
            raise ValueError(f"the run was trained on {was['label']}, this is {dataset.label}: name its --data-dir")
        config["dataset"]["notice"] = was["notice"]
        trainer.resume(loaded)
        if trainer.finished:
            print("this run has come to its end already: only the test is done again; to train longer, start a new run")
    recorder.config(config)
    trainer.watcher.start(trainer)
    with stopping_on_signals(trainer) as received:
        try:
            trainer.run()
            trainer.watcher.close()
            test(trainer, test_loader, recorder, config)
        except Interrupted:
            trainer.watcher.close()
            print(f"stopped and saved; {how_to_go_on(folder, recorder)}", flush=True)
            return 128 + received[0]
        except KeyboardInterrupt:
            trainer.watcher.close()
            return fail(f"stopped at once; from the last checkpoint {how_to_go_on(folder, recorder)}", 130)
        finally:
            trainer.watcher.close()
    return 0


def test(trainer, test_loader, recorder, config):
    """Evaluate the best model on the test set, once, and write result.json."""
    best = checkpoint.load(trainer.folder / "best.safetensors")
    trainer.model.load_state_dict(best.model)
    classes, position = config["classes"], trainer.position
    evaluation = evaluate(trainer.model, test_loader, len(classes), lambda: trainer.stop_requested)
    recorder.result(
        {
            "test_loss": none_for_nan(evaluation.loss),
            "test_acc": evaluation.accuracy,
            "test_correct": sum(evaluation.class_correct),
            "test_total": sum(evaluation.class_total),
            "class_acc": {
                name: none_for_nan(value) for name, value in zip(classes, evaluation.class_accuracy, strict=True)
            },
            "dataset": config["dataset"]["label"],
            "model_of_epoch": position.best_epoch,
            "best_val_acc": position.best_val_acc,
            "epochs": position.epoch,
            "iterations": position.iteration,
            "seconds": position.seconds,
            "peak_memory_mb": backend.memory_peak(config["device"]) / 1e6,
        }
    )
    tell = trainer.watcher.tell
    for line in evaluation_table(evaluation, classes, config["dataset"]["label"]):
        tell(line)
    chosen = "best on the validation images" if trainer.val_loader else "the last, as there are no validation images"
    tell(f"model of epoch {position.best_epoch} ({chosen}); {position.seconds:,.0f} s; results in {trainer.folder}")


def evaluation_table(evaluation, classes, label):
    """Lines: loss and accuracy on the test set, then each class."""
    correct, total = sum(evaluation.class_correct), sum(evaluation.class_total)
    share = f"{evaluation.accuracy:.2%} ({correct:,} of {total:,})"
    yield f"test loss {evaluation.loss:.4f}   test accuracy {share}   {label}"
    width = max(map(len, classes))
    for name, right, of in zip(classes, evaluation.class_correct, evaluation.class_total, strict=True):
        yield f"  {name:<{width}}  {f'{right / of:7.2%}' if of else '      -'}  {right:5,} of {of:5,}"


def none_for_nan(value):
    return None if math.isnan(value) else value


def evaluation_settings(given):
    """The settings of --evaluate: those of the checkpoint's run, under the flags given."""
    path = Path(given["evaluate"])
    loaded = load_with_config(path / "best.safetensors" if path.is_dir() else path)
    config = loaded.info["config"]
    saved = config["settings"]
    for name in ("model", "shortcut"):
        if given.get(name, saved[name]) != saved[name]:
            raise ValueError(f"--{name} {given[name]}: {given['evaluate']} holds {saved[name]}: leave the flag out")
    of_a_run = {"dataset": config["dataset"]["name"], "limit_test": None, "device": "auto", "threads": None}
    return {**DEFAULTS, **saved, **of_a_run, **given, "checkpoint": loaded}


def evaluate_checkpoint(settings, dataset, device):
    """--evaluate: test loss, accuracy and the table of classes for a checkpoint."""
    loaded = settings["checkpoint"]
    config = loaded.info["config"]
    if dataset.label != config["dataset"]["label"]:
        print(f"note: the model was trained on {config['dataset']['label']}", file=sys.stderr)
    model = build_model(settings, config["classes"])
    model.load_state_dict(loaded.model).to(device)
    test_images, test_labels = data.limit(dataset.test_images, dataset.test_labels, settings["limit_test"])
    if len(test_images) != config["sizes"]["test"]:
        print(f"note: {len(test_images):,} test images; the run itself tested on {config['sizes']['test']:,}")
    size = min(500, settings["batch_size"])
    loader = data.Loader(test_images, test_labels, size, **config["normalisation"], device=device)
    for line in evaluation_table(evaluate(model, loader, len(config["classes"])), config["classes"], dataset.label):
        print(line)
    return 0


def overfit_one_batch(settings, dataset, device, most=200, goal=0.02):
    """--overfit-one-batch: a network that works can learn one batch by heart. A check of the code, not of the model."""
    settings = {**settings, "augment": False, "cutout": 0, "weight_decay": 0.0}
    loader = make_loaders(settings, dataset, device)[0]
    model = build_model(settings, dataset.classes).to(device)
    optimizer = make_optimizer({**settings, "lr": min(settings["lr"], 0.05)}, model)
    x, labels = next(iter(loader.epoch(0)))
    for step in range(1, most + 1):
        loss, correct = train_step(model, optimizer, x, labels)
        loss = float(loss)
        if not math.isfinite(loss):
            raise DivergenceError(f"iteration {step}: the loss is {loss}: lower --lr")
        if step % 10 == 1 or loss < goal:
            print(f"step {step:3d}   loss {loss:8.4f}   {int(correct):3d} of {len(x)} right", flush=True)
        if loss < goal:
            print(f"learned one batch of {len(x)} images by heart in {step} steps")
            return 0
    return fail(f"one batch was not learned in {most} steps (loss {loss:.4f}, goal {goal}): try another --lr")


class Watcher:
    """Shows and records how training goes: a bar on a terminal, plain lines elsewhere, one line for each epoch."""

    def __init__(self, recorder, config):
        self.recorder, self.config = recorder, config
        settings, label = config["settings"], config["dataset"]["label"]
        self.title = f"{settings['model']} on {label}, seed {settings['seed']}"
        self.quiet = settings["no_progress"]
        self.bar = None
        self.last_line = time.monotonic()

    def tell(self, text):
        """Print a line, above the bar if there is one, and keep it in train.log."""
        if self.bar is None:
            print(text, flush=True)
        else:
            self.bar.write(text)
        self.recorder.say(text)

    def start(self, trainer):
        """What is trained on what, and the heads of the columns."""
        config, settings = self.config, self.config["settings"]
        sizes = config["sizes"]
        self.recorder.say(time.strftime("%Y-%m-%d %H:%M:%S"))
        if config["dataset"]["notice"]:
            self.recorder.say(config["dataset"]["notice"])
        self.tell(f"{self.title}: {config['parameters']:,} parameters, {sizes['train']:,} training, {sizes['val']:,} "
                  f"validation and {sizes['test']:,} test images")  # fmt: skip
        self.tell(f"{settings['recipe']} recipe: {settings['epochs']} epochs, batch size {settings['batch_size']}, "
                  f"{settings['optimizer']}, learning rate {settings['lr']:g}, {settings['schedule']}; writing to "
                  f"{trainer.folder}")  # fmt: skip
        if trainer.position.iteration:
            self.tell(f"going on after epoch {trainer.position.epoch}, iteration {trainer.position.iteration:,}")
        self.tell(" epoch  iteration         lr  train loss  train acc   val loss   val acc   seconds  images/s")

    def batch(self, trainer):
        """After each step."""
        position, batches = trainer.position, len(trainer.train_loader)
        if self.quiet or position.seen == 0:  # a GPU has told nothing yet
            return
        seen = position.seen
        speed = position.seen / max(position.epoch_seconds, 1e-9)
        steps = min(trainer.epochs * batches, trainer.iterations or math.inf)
        left = (steps - position.iteration) / position.iteration * position.seconds
        facts = (
            f"loss {position.loss_sum / seen:.3f}, acc {position.correct / seen:.1%}, {speed:,.0f} images/s, "
            f"{clock(left)} left"
        )
        if sys.stderr.isatty():
            self.show_bar(position, batches, trainer.epochs, facts)
        elif time.monotonic() - self.last_line > 30:
            self.last_line = time.monotonic()
            print(
                f"  epoch {position.epoch + 1}/{trainer.epochs}, batch {position.batch}/{batches}: {facts}", flush=True
            )

    def show_bar(self, position, batches, epochs, facts):
        from tqdm import tqdm

        if self.bar is None:
            layout = "{desc} |{bar}| {n_fmt}/{total_fmt}{postfix}"  # tqdm puts a comma before the postfix
            self.bar = tqdm(total=batches, leave=False, dynamic_ncols=True, bar_format=layout, delay=1e-3)
        self.bar.n = position.batch
        self.bar.set_description_str(f"epoch {position.epoch + 1}/{epochs}", refresh=False)
        self.bar.set_postfix_str(facts)

    def epoch(self, trainer, row):
        """After each epoch: a line, log.csv and curves.png."""
        numbers = [math.nan if value is None else value for value in row.values()]
        epoch, iteration, lr, train_loss, train_acc, val_loss, val_acc, seconds, speed = numbers
        self.tell(
            f"{epoch:6d} {iteration:10,d} {lr:10.3g} {train_loss:11.4f} {train_acc:10.2%} {val_loss:10.4f} "
            f"{val_acc:9.2%} {seconds:9.1f} {speed:9,.0f}"
        )
        self.last_line = time.monotonic()
        self.recorder.log(trainer.position.history)
        self.recorder.curves(trainer.position.history, self.title)

    def close(self):
        """Take the bar away."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def clock(seconds):
    """1:02:03 or 2:03."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


class stopping_on_signals:
    """Within this block Ctrl-C and SIGTERM ask the trainer to stop after its step; a second Ctrl-C stops at once."""

    def __init__(self, trainer):
        self.trainer = trainer
        self.received = []
        self.before = {}

    def __enter__(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            self.before[number] = signal.signal(number, self.handle)
        return self.received

    def handle(self, number, frame):
        if self.trainer.stop_requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        print("\nstopping after this step ...", file=sys.stderr, flush=True)
        self.trainer.stop_requested = True
        self.received.append(number)

    def __exit__(self, *error):
        for number, handler in self.before.items():
            signal.signal(number, handler)


def how_to_go_on(folder, recorder):
    """The command that continues the run, also kept in train.log."""
    words = [sys.executable, str(Path(sys.argv[0]).resolve()), "--resume", str(Path(folder).resolve())]
    line = f"to go on: {subprocess.list2cmdline(words) if os.name == 'nt' else shlex.join(words)}"
    recorder.say(line)
    return line


def fail(error, code=1):
    print(f"error: {error}", file=sys.stderr)
    return code


def command_line():
    """The parser. Flags that are not given are absent, so that recipes can supply them."""
    parser = Parser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--device", choices=backend.DEVICES, help="auto takes a GPU if one works (default)")
    add(
        "--dataset", type=one_of("data set", data.DATASETS), metavar="NAME", help="auto (default), cifar10 or synthetic"
    )
    add("--data-dir", metavar="DIR", help="folder with CIFAR-10 (default: $MINIRES_DATA, the user's cache, download)")
    add("--data-url", metavar="URL", help="where to download CIFAR-10's archive from")
    add("--model", type=one_of("model", tuple(models.MODELS)), metavar="NAME", help=", ".join(models.MODELS))
    add("--shortcut", choices=["A", "B"], help="A: zero channels (default), B: 1x1 convolutions")
    add("--recipe", choices=list(RECIPES), help="defaults for the flags below: quick (default), standard, paper")
    add("--epochs", type=int, metavar="N")
    add("--iterations", type=int, metavar="N", help="stop after N iterations, if the epochs have not ended before")
    add("-b", "--batch-size", type=int, metavar="N", help="default: 128")
    add("--lr", type=float, metavar="X", help="learning rate, the highest of the schedule")
    add("--optimizer", choices=["sgd", "adam", "adamw", "rmsprop"])
    add("--schedule", choices=["constant", "step", "cosine", "one-cycle"])
    add("--warmup", type=int, metavar="N", help="raise the learning rate from a tenth over the first N iterations")
    add("--momentum", type=float, metavar="X", help="of SGD; default: 0.9")
    add("--nesterov", action=argparse.BooleanOptionalAction, help="Nesterov's momentum")
    add("--weight-decay", type=float, metavar="X")
    add("--l1", type=float, metavar="X", help="penalty on absolute values; default: 0")
    add("--decay-bias-and-norm", action=argparse.BooleanOptionalAction, help="penalise biases and batch norm too")
    add("--label-smoothing", type=float, metavar="X", help="default: 0")
    add("--augment", action=argparse.BooleanOptionalAction, help="pad, crop and flip training images (default)")
    add("--cutout", type=int, metavar="N", help="side of the square cut out of training images; default: 0")
    add("--seed", type=int, metavar="N", help="default: 0")
    add("--val-split", type=int, metavar="N", help="training images set aside for validation; default: a tenth")
    add("--limit-train", type=int, metavar="N", help="use the first N training images, validation included")
    add("--limit-test", type=int, metavar="N", help="use the first N test images")
    add("--threads", type=int, metavar="N", help="default: the physical cores this process may use")
    add("--out", metavar="DIR", help="folder of the run; default: runs/<time>-<model>")
    add("--save-every", type=int, metavar="N", help="iterations between checkpoints; default: at each epoch's end")
    add("--no-progress", action="store_true", help="no bar, only a line for each epoch")
    does = parser.add_mutually_exclusive_group()
    does.add_argument("--resume", metavar="DIR", help="go on with the run in this folder")
    does.add_argument("--evaluate", metavar="CHECKPOINT", help="test a checkpoint instead of training")
    does.add_argument("--overfit-one-batch", action="store_true", help="check that one batch can be learned by heart")
    return parser


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence."""

    def error(self, message):
        self.exit(2, f"error: {message} (see --help)\n")


def one_of(what, names):
    """An argparse type: one of the names; anything else is refused with the nearest."""

    def check(value):
        if value not in names:
            raise argparse.ArgumentTypeError(unknown(what, value, names))
        return value

    return check


if __name__ == "__main__":
    sys.exit(main())
