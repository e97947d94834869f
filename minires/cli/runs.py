"""A run in a folder of its own: begun, stopped, gone on with, tested. What the scripts that train have in common."""

import math
import signal
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from minires import backend, checkpoint, data
from minires.cli.console import (
    Watcher,
    evaluation_table,
    fail,
    how_to_go_on,
    in_flags,
    none_for_nan,
    notice_in_flags,
    stopping_on_signals,
)
from minires.cli.recording import Recorder, environment
from minires.cli.settings import class_weights
from minires.module import Module
from minires.optim import Optimizer
from minires.trainer import Trainer
from minires.training import Evaluation, Interrupted, evaluate

FREE_ON_RESUME = {"resume", "device", "data_dir", "data_url", "threads", "save_every", "no_progress"}
Given = TypeVar("Given")


def call(run: Callable[[Given], int], given: Given) -> int:
    """run(given), the flags given -> exit code; every failure is one sentence on stderr and a code that is not 0."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    warnings.filterwarnings("ignore", "(overflow|invalid value|divide by zero) encountered", RuntimeWarning)
    try:
        return run(given)
    except KeyboardInterrupt:
        return fail("interrupted", 130)
    except (ValueError, OSError, RuntimeError) as error:
        if not isinstance(error, (ValueError, OSError, backend.DeviceError)):
            raise
        return fail(in_flags(error))


def check_settings(settings: Mapping[str, Any]) -> None:
    """Raise ValueError for what would fail only once the run has its folder, or would not name its flag."""
    for name in ("batch_size", "epochs", "iterations", "save_every", "threads", "limit_train", "limit_test"):
        if settings[name] is not None and settings[name] < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1, got {settings[name]}")
    for name in ("lr", "head_lr_multiplier", "weight_decay"):
        if not 0 <= settings.get(name, 0) < math.inf:
            raise ValueError(f"--{name.replace('_', '-')} must be a number from 0 up, got {settings[name]}")
    if settings["seed"] < 0:
        raise ValueError(f"--seed must be at least 0, got {settings['seed']}")
    if not 0 <= settings["label_smoothing"] <= 1:
        raise ValueError(f"--label-smoothing must be a number from 0 to 1, got {settings['label_smoothing']}")
    if settings["val_split"] is not None and settings["val_split"] < 0:
        raise ValueError(f"--val-split must be at least 0, got {settings['val_split']}")


def out_of_memory(settings: Mapping[str, Any], given: Mapping[str, Any]) -> int:
    """Say what to do about it; the exit code."""
    size = settings["batch_size"]
    how = "start a new run with" if "resume" in given else "try"
    return fail(f"out of memory with batch size {size}: {how} --batch-size {max(1, size // 2)}")


def resumed_settings(given: Mapping[str, Any]) -> dict[str, Any]:
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


def load_with_config(path: str | Path) -> checkpoint.Checkpoint:
    """A checkpoint that this script wrote: it says which run it belongs to."""
    loaded = checkpoint.load(path)
    if "config" not in loaded.info:
        raise checkpoint.CheckpointError(f"{path}: does not say which run it belongs to: give one this script wrote")
    return loaded


def run_folder(path: str | Path) -> Path:
    """The run's folder, from itself or from a checkpoint in it."""
    path = Path(path)
    return path if path.is_dir() else path.parent


def prepare_device(settings: Mapping[str, Any], tell: Callable[[str], None] = print) -> str:
    """The device to use, announced; threads set."""
    device = backend.resolve_device(settings["device"])
    if settings["threads"] is not None:
        backend.set_threads(settings["threads"])
    threads = f", {backend.get_threads()} threads" if device == "cpu" else ""
    tell(f"device: {device}{threads}{' (chosen by --device auto)' if settings['device'] == 'auto' else ''}")
    return device


def load_dataset(settings: dict[str, Any], tell: Callable[[str], None] = print) -> data.Dataset:
    """The data set; where it is not the one hoped for, a notice that nobody can miss."""
    show = not settings["no_progress"] and sys.stderr.isatty()
    dataset, notice = data.load(settings["dataset"], settings["data_dir"], settings["data_url"], progress=show)
    settings["notice"] = notice and notice_in_flags(notice)
    if notice:
        print(f"\n{settings['notice']}\n", file=sys.stderr, flush=True)
    tell(f"data: {dataset.label}, {len(dataset.train_images):,} training and {len(dataset.test_images):,} test images")
    return dataset


def train(
    settings: dict[str, Any],
    dataset: data.Dataset,
    device: str,
    model: Module,
    optimizer: Optimizer,
    schedule: Callable[[int], float],
    loaders: tuple[data.Loader, data.Loader | None, data.Loader],
    facts: Mapping[str, Any],
    before_epoch: Callable[[int], None] | None = None,
) -> int:
    """Train, or go on training, and test the best model; returns the exit code.

    loaders: of the training, validation (or None) and test images.   facts: what else config.json shall hold.
    """
    resume = settings.pop("resume", None)
    train_loader, val_loader, test_loader = loaders
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
        **facts,
        "parameters": sum(parameter.size for parameter in model.parameters()),
        "threads": backend.get_threads() if device == "cpu" else None,
        **environment(device),
    }
    trainer = Trainer(
        model,
        optimizer,
        schedule,
        train_loader,
        val_loader,
        epochs=settings["epochs"],
        iterations=settings["iterations"],
        num_classes=len(dataset.classes),
        label_smoothing=settings["label_smoothing"],
        class_weights=class_weights(settings, train_loader, len(dataset.classes)),
        folder=folder,
        info={"config": config},
        save_every=settings["save_every"],
        watcher=Watcher(recorder, config),
        before_epoch=before_epoch,
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


def test(trainer: Trainer, test_loader: data.Loader, recorder: Recorder, config: Mapping[str, Any]) -> None:
    """Evaluate the best model on the test set, once, and write result.json."""
    best = checkpoint.load(trainer.folder / "best.safetensors")
    trainer.model.load_state_dict(best.model)
    classes, position = config["classes"], trainer.position
    evaluation = evaluate(trainer.model, test_loader, len(classes), lambda: trainer.stop_requested)
    recorder.result(
        {
            **test_figures(evaluation, classes, config["dataset"]["label"]),
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


def test_figures(evaluation: Evaluation, classes: Sequence[str], label: str) -> dict[str, Any]:
    """What a test found, for a JSON file."""
    by_class = zip(classes, evaluation.class_accuracy, strict=True)
    return {
        "test_loss": none_for_nan(evaluation.loss),
        "test_acc": evaluation.accuracy,
        "balanced_acc": evaluation.balanced_accuracy,
        "test_correct": sum(evaluation.class_correct),
        "test_total": sum(evaluation.class_total),
        "class_acc": {name: none_for_nan(value) for name, value in by_class},
        "dataset": label,
    }
