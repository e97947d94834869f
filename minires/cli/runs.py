"""A run in a folder of its own: begun, stopped, gone on with, tested. What the scripts that train have in common."""

import signal
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from minires import backend, data
from minires.cli.claim import claimed, new_folder
from minires.cli.console import fail, in_flags, notice_in_flags
from minires.cli.generations import (
    Found,
    mend_last,
    mend_previous,
    run_of,
    settle_best,
    still_newest,
    trouble_with_previous,
)
from minires.cli.identity import draw_id, of_data, refuse_other_data
from minires.cli.legs import plan
from minires.cli.output import note, output_is_kept_elsewhere, steady_output
from minires.cli.progress import Watcher, how_to_go_on, stopping_on_signals
from minires.cli.recording import Recorder, environment
from minires.cli.settings import check_settings, class_weights
from minires.cli.testing import lost, test
from minires.files import cure
from minires.module import Module
from minires.optim import Optimizer
from minires.trainer import Trainer
from minires.training import Interrupted
from minires.wording import readable

Given = TypeVar("Given")


def call(run: Callable[[Given], int], flags: Callable[[], Given]) -> int:
    """run(flags()) -> exit code; every failure, Ctrl-C as well, is one sentence on stderr and a code that is not 0."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    warnings.filterwarnings("ignore", "(overflow|invalid value|divide by zero) encountered", RuntimeWarning)
    with steady_output() as output:
        code = _outcome(run, flags)
        output.flush()
        if output.lost and not code and not output.kept_elsewhere and not isinstance(output.lost, BrokenPipeError):
            code = fail(
                f"the output could not be written ({output.lost.strerror}): free some space, or name another file"
            )
        return code


def _outcome(run, flags):
    try:
        return run(flags())
    except KeyboardInterrupt:
        return fail("interrupted", 130)
    except backend.out_of_memory() as error:
        why, roomier = backend.shortage(error)
        cures = [*_on_another_gpu(roomier), "take fewer or smaller images, or a smaller network"]
        return fail(f"out of memory: {why or 'close other programs'}{': ' if why else ', or '}{', or '.join(cures)}")
    except OSError as error:
        return fail(in_flags(_sentence(error)))
    except (ValueError, backend.DeviceError) as error:
        return fail(in_flags(error))


def _sentence(error):
    """The error as it is, or with its cure where the system words it."""
    if error.errno is None:
        return error
    return f"{readable(str(error.filename or 'a file'), 4096)}: {error.strerror}: {cure(error)}"


def _on_another_gpu(roomier):
    return [f"give --device {roomier[0]}, which has more free"] if roomier else []


def out_of_memory(settings: Mapping[str, Any], given: Mapping[str, Any], error: BaseException) -> int:
    """Say what to do about it; the exit code."""
    size, (why, roomier) = settings["batch_size"], backend.shortage(error)
    how = "start a new run with" if "resume" in given else "try"
    smaller = f"{how} --batch-size {size // 2}" if size > 1 else f"{how} a smaller network"
    reason = f"; {why}" if why else ""
    return fail(f"out of memory with batch size {size}{reason}: {', or '.join([smaller, *_on_another_gpu(roomier)])}")


def prepare_device(settings: Mapping[str, Any], given: Mapping[str, Any], tell: Callable[[str], None] = print) -> str:
    """The device to use, announced; threads set. Raises ValueError for a flag given that the device has no use for."""
    device = backend.resolve_device(settings["device"])
    if device == "cpu" and given.get("cuda_graph"):
        auto = " (chosen by --device auto)" if settings["device"] == "auto" else ""
        raise ValueError(f"--cuda-graph is a GPU's, and the device is cpu{auto}: give --device gpu, or leave it out")
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
    loaders: tuple[data.Loader, data.Loader | None, data.Loader],
    facts: Mapping[str, Any],
    before_epoch: Callable[[int], None] | None = None,
    name: str | None = None,
) -> int:
    """Train, or go on training, and test the best model; returns the exit code.

    loaders: of the training, validation (or None) and test images.   facts: what else config.json shall hold.
    name: of the run's folder after the time, where the settings name no folder; default: the model's.
    """
    check_settings(settings)
    resume, new_leg = settings.pop("resume", None), settings.pop("new_leg", False)
    stands = [settings.pop("found")] if resume else []
    train_loader, val_loader = loaders[:2]
    if settings["patience"] is not None and val_loader is None:
        raise ValueError("--patience waits for a better validation result: leave it out, or give --val-split 1 or more")
    length, weights = plan(settings, len(train_loader)), class_weights(settings, train_loader, len(dataset.classes))
    if "out" not in settings:
        settings["out"] = str(new_folder(name or settings["model"]))
    folder = Path(settings["out"])
    with claimed(folder, "--resume" if resume else "--out"):
        recorder = Recorder(folder)
        output_is_kept_elsewhere()  # in train.log
        config = configuration(settings, dataset, device, model, loaders, facts)
        trainer = Trainer(
            model,
            optimizer,
            length["schedule"],
            train_loader,
            val_loader,
            epochs=length["epochs"],
            iterations=length["iterations"],
            num_classes=len(dataset.classes),
            label_smoothing=settings["label_smoothing"],
            class_weights=weights,
            folder=folder,
            info={"config": config},
            save_every=settings["save_every"],
            watcher=Watcher(recorder, config),
            before_epoch=before_epoch,
            best=settings["best"],
            patience=settings["patience"],
            since=length["since"],
            cuda_graph=device != "cpu" and settings["cuda_graph"],
            precision=settings["precision"],
        )
        if resume:
            go_on(trainer, recorder, config, new_leg, stands.pop())  # its arrays are not kept through the training
        else:
            recorder.config(config)
        return run_to_the_end(trainer, loaders[2], recorder, config)


def configuration(
    settings: dict[str, Any],
    dataset: data.Dataset,
    device: str,
    model: Module,
    loaders: tuple[data.Loader, data.Loader | None, data.Loader],
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """What config.json holds."""
    train_loader, val_loader, test_loader = loaders
    legs = settings.pop("legs", [])
    return {
        "run": draw_id(),
        "settings": settings,
        **({"legs": legs} if legs else {}),
        "dataset": {"name": dataset.name, "label": dataset.label, "notice": settings.pop("notice")},
        "sizes": {
            "train": len(train_loader.images),
            "val": len(val_loader.images) if val_loader else 0,
            "test": len(test_loader.images),
        },
        "data": of_data(loaders, dataset.fingerprint),
        "classes": list(dataset.classes),
        **facts,
        "parameters": sum(parameter.size for parameter in model.parameters()),
        "threads": backend.get_threads() if device == "cpu" else None,
        **environment(device),
    }


def go_on(trainer: Trainer, recorder: Recorder, config: dict[str, Any], new_leg: bool, found: Found) -> None:
    """Take up the run where its checkpoints say that it stands, and make its other files agree with that.

    found: what was read before the folder was this process's; read again if it has changed.
    Raises ValueError, with nothing changed, for other data, for checkpoints of several runs or moments, and for a run
    that has ended and lost its best model.
    """
    found = still_newest(found)
    was = found.checkpoint.info["config"]
    refuse_other_data(was, config)
    config["run"] = run_of(found.checkpoint) or config["run"]  # those of earlier versions get one now
    config["dataset"]["notice"] = was["dataset"]["notice"]
    given = {name: value for name, value in config["settings"].items() if name != "dataset"}
    config["settings"] = {**was["settings"], **given}  # in their order, and "auto" stays what was asked for
    lacks_previous = trouble_with_previous(found)
    trainer.resume(found.checkpoint)
    trouble, notes = settle_best(found)
    if trouble and trainer.finished:
        raise ValueError(lost(trouble, trainer.folder))
    if trouble:
        notes.append(f"{trouble}: the best is looked for anew from epoch {trainer.position.epoch + 1} on")
        trainer.position.best_val_acc, trainer.position.best_val_loss, trainer.position.best_model = None, None, ""
    if lacks_previous:
        notes.append(mend_previous(found, lacks_previous))
    for text in notes:
        note(text)
    mend_last(found)
    if trainer.finished:
        how = "--patience with more epochs" if trainer.out_of_patience else "--epochs with more of them"
        print(f"this run has come to its end already: only the test is done again; to train longer, give {how}")
        recorder.config(was)
        trainer.watcher.derive(trainer)
        return
    recorder.keep_result(trainer.position.epoch)
    recorder.config(config)
    trainer.watcher.derive(trainer)
    if new_leg:
        trainer.save()  # so that the new leg is part of what a later --resume goes on with


def run_to_the_end(trainer: Trainer, test_loader: data.Loader, recorder: Recorder, config: Mapping[str, Any]) -> int:
    """Train and test, whatever signals come; returns the exit code."""
    trained = not trainer.finished
    trainer.watcher.start(trainer)
    with stopping_on_signals(trainer) as received:
        try:
            trainer.run()
            trainer.watcher.close()
            if trained and trainer.out_of_patience:
                trainer.watcher.tell(f"stopped: {trainer.patience} epochs without a new best validation {trainer.best}")
            return test(trainer, test_loader, recorder, config, trained)
        except Interrupted:
            trainer.watcher.close()
            print(f"stopped and saved; {how_to_go_on(trainer.folder, recorder)}", flush=True)
            return 128 + received[0]
        except KeyboardInterrupt:
            trainer.watcher.close()
            code = 128 + (received[-1] if received else signal.SIGINT)
            return fail(f"stopped at once; from the last checkpoint {how_to_go_on(trainer.folder, recorder)}", code)
        finally:
            trainer.watcher.close()
