"""A run in a folder of its own: begun, stopped, gone on with, tested. What the scripts that train have in common."""

import contextlib
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from minires import backend, data
from minires.cli.claim import claimed, new_folder
from minires.cli.console import Failed, fail, in_flags, notice_in_flags
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
from minires.cli.output import note, output_is_kept_elsewhere, share_notes, steady_output
from minires.cli.progress import Watcher, command_to_go_on, how_to_go_on, stopping_on_signals
from minires.cli.recording import Recorder, environment
from minires.cli.settings import check_settings, check_tensorboard, class_weights
from minires.cli.testing import lost, test
from minires.cli.together import agree_on_the_program
from minires.files import cure
from minires.module import Module
from minires.optim import Optimizer
from minires.ranks import ALONE, Ranks
from minires.ranks.launch import LaunchError, find_ranks, launched
from minires.trainer import Trainer
from minires.training import Criterion, Interrupted
from minires.wording import readable

Given = TypeVar("Given")


def call(run: Callable[[Given], int], flags: Callable[[], Given]) -> int:
    """run(flags()) -> exit code; every failure, Ctrl-C as well, is one sentence on stderr and a code that is not 0.

    Several processes that a launcher has started together are refused.
    """
    size, rank, _ = launched()
    if size > 1:
        script = Path(sys.argv[0]).name
        return fail(f"{script} is the work of one process, and {size} were started: start one") if rank == 0 else 1
    return _call(lambda given, ranks: run(given), flags, ALONE)


def call_together(run: Callable[[Given, Ranks], int], flags: Callable[[], Given]) -> int:
    """run(flags(), ranks) -> exit code, else as `call`; ranks: the processes that were started together."""
    try:
        ranks = find_ranks()
    except LaunchError as error:
        return fail(error) if error.rank == 0 else 1
    return _call(run, flags, ranks)


def _call(run, flags, ranks):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    warnings.filterwarnings("ignore", "(overflow|invalid value|divide by zero) encountered", RuntimeWarning)
    with steady_output(ranks) as output:
        code = _outcome(run, flags, ranks)
        output.flush()
        if output.lost and not code and not output.kept_elsewhere and not isinstance(output.lost, BrokenPipeError):
            code = fail(
                f"the output could not be written ({output.lost.strerror}): free some space, or name another file"
            )
        return code


def _outcome(run, flags, ranks):
    try:
        if ranks.size > 1:
            ranks.watch()
            agree_on_the_program(ranks)
        code = run(flags(), ranks)
        share_notes(ranks)
    except SystemExit:
        ranks.close()
        raise
    except BaseException as error:
        failed = _failed(error)
        if failed is not None:
            return failed.code if ranks.failed(str(failed), failed.code, error) else fail(failed, failed.code)
        if ranks.size > 1:
            traceback.print_exc(file=sys.__stderr__)
            ranks.failed(f"{type(error).__name__}: {error}", 1)
        raise
    ranks.close()
    return code


def _failed(error):
    """What to say of an exception, and the exit code; None where it is a mistake of the program."""
    if isinstance(error, Failed):
        return error
    if isinstance(error, KeyboardInterrupt):
        return Failed("interrupted", 130)
    if isinstance(error, backend.out_of_memory()):
        why, roomier = backend.shortage(error)
        cures = [*_on_another_gpu(roomier), "take fewer or smaller images, or a smaller network"]
        return Failed(f"out of memory: {why or 'close other programs'}{': ' if why else ', or '}{', or '.join(cures)}")
    if isinstance(error, OSError):
        return Failed(in_flags(_sentence(error)))
    return Failed(in_flags(error)) if isinstance(error, (ValueError, backend.DeviceError)) else None


def _sentence(error):
    """The error as it is, or with its cure where the system words it."""
    if error.errno is None:
        return error
    return f"{readable(str(error.filename or 'a file'), 4096)}: {error.strerror}: {cure(error)}"


def _on_another_gpu(roomier):
    return [f"give --device {roomier[0]}, which has more free"] if roomier else []


def out_of_memory(settings: Mapping[str, Any], given: Mapping[str, Any], error: BaseException) -> Failed:
    """What to raise, which says what to do about it."""
    size, (why, roomier) = settings["batch_size"], backend.shortage(error)
    how = "start a new run with" if "resume" in given else "try"
    smaller = f"{how} --batch-size {size // 2}" if size > 1 else f"{how} a smaller network"
    if size >= 2 * (shards := settings.get("shards") or 1):
        smaller += f" or --shards {2 * shards}"
    reason = f"; {why}" if why else ""
    return Failed(f"out of memory with batch size {size}{reason}: {', or '.join([smaller, *_on_another_gpu(roomier)])}")


def load_dataset(settings: dict[str, Any], tell: Callable[[str], None] = print, ranks: Ranks = ALONE) -> data.Dataset:
    """The data set; where it is not the one hoped for, a notice that nobody can miss."""
    show = not settings["no_progress"] and sys.stderr.isatty()
    where = settings["dataset"], settings["data_dir"], settings["data_url"]
    dataset, notice = ranks.once_per_host(lambda: data.load(*where, progress=show))
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
    ranks: Ranks = ALONE,
    criterion: Criterion | None = None,
    test: Callable[..., int] = test,
) -> int:
    """Train, or go on training, and test the best model; returns the exit code.

    loaders: of the training, validation (or None) and test images.   facts: what else config.json shall hold.
    criterion: of the training loss, as in Trainer.   test: what is done at the run's end, called as `testing.test`.
    name: of the run's folder after the time, where the settings name no folder; default: the model's.
    """
    check_settings(settings)
    resume, new_leg = settings.pop("resume", None), settings.pop("new_leg", False)
    stands = [settings.pop("found")] if resume else []
    train_loader, val_loader = loaders[:2]
    if settings["patience"] is not None and val_loader is None:
        raise ValueError("--patience waits for a better validation result: leave it out, or give --val-split 1 or more")
    if settings["tensorboard"]:
        ranks.on_first(check_tensorboard)
    length, weights = plan(settings, len(train_loader)), class_weights(settings, train_loader, len(dataset.classes))
    if "out" not in settings:
        settings["out"] = ranks.on_first(lambda: str(new_folder(name or settings["model"])))
    folder = Path(settings["out"])
    with contextlib.ExitStack() as stack:
        ranks.on_first(lambda: stack.enter_context(claimed(folder, "--resume" if resume else "--out")))
        recorder = Recorder(folder, writes=ranks.first)
        output_is_kept_elsewhere()  # in train.log
        config = configuration(settings, dataset, device, model, loaders, facts, ranks)
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
            watcher=watcher_of(recorder, config),
            before_epoch=before_epoch,
            best=settings["best"],
            patience=settings["patience"],
            since=length["since"],
            cuda_graph=device != "cpu" and settings["cuda_graph"],
            precision=settings["precision"],
            shards=settings["shards"],
            ranks=ranks,
            ema=settings["ema"],
            clip_norm=settings["clip_norm"],
            criterion=criterion,
        )
        share_notes(ranks)
        if resume:
            go_on(trainer, recorder, config, new_leg, stands.pop())  # its arrays are not kept through the training
        else:
            recorder.config(config)
        return run_to_the_end(trainer, loaders[2], recorder, config, test)


def watcher_of(recorder: Recorder, config: Mapping[str, Any]) -> Watcher:
    """Who shows and records the run: with --tensorboard also for TensorBoard."""
    if not config["settings"]["tensorboard"]:
        return Watcher(recorder, config)
    from minires.cli.tensorboard import TensorBoardWatcher

    return TensorBoardWatcher(recorder, config)


def configuration(
    settings: dict[str, Any],
    dataset: data.Dataset,
    device: str,
    model: Module,
    loaders: tuple[data.Loader, data.Loader | None, data.Loader],
    facts: Mapping[str, Any],
    ranks: Ranks = ALONE,
) -> dict[str, Any]:
    """What config.json holds. Raises ValueError where ranks have other data."""
    train_loader, val_loader, test_loader = loaders
    legs, notice = settings.pop("legs", []), settings.pop("notice")
    sums = ranks.once_per_host(lambda: of_data(loaders, dataset.fingerprint))
    ranks.agree("data", sums, "give all of them the same files")
    config = {
        "run": draw_id(),
        "settings": settings,
        **({"legs": legs} if legs else {}),
        "dataset": {"name": dataset.name, "label": dataset.label, "notice": notice},
        "sizes": {
            "train": len(train_loader.images),
            "val": len(val_loader.images) if val_loader else 0,
            "test": len(test_loader.images),
        },
        "data": sums,
        "classes": list(dataset.classes),
        **facts,
        "parameters": sum(parameter.size for parameter in model.parameters()),
        "threads": backend.get_threads() if device == "cpu" else None,
        "ranks": {"size": ranks.size, "hosts": list(dict.fromkeys(ranks.hosts)) if ranks.size > 1 else []},
        **environment(device),
    }
    return ranks.broadcast(config)


def go_on(trainer: Trainer, recorder: Recorder, config: dict[str, Any], new_leg: bool, found: Found) -> None:
    """Take up the run where its checkpoints say that it stands, and make its other files agree with that.

    found: what was read before the folder was this process's; read again if it has changed.
    Raises ValueError, with nothing changed, for other data, for checkpoints of several runs or moments, and for a run
    that has ended and lost its best model.
    """
    ranks, read_before = trainer.ranks, found
    found = ranks.on_first(lambda: still_newest(read_before))
    was = found.checkpoint.info["config"]
    refuse_other_data(was, config)
    config["run"] = run_of(found.checkpoint) or config["run"]  # those of earlier versions get one now
    config["dataset"]["notice"] = was["dataset"]["notice"]
    given = {name: value for name, value in config["settings"].items() if name != "dataset"}
    config["settings"] = {**was["settings"], **given}  # in their order, and "auto" stays what was asked for
    lacks_previous = ranks.on_first(lambda: trouble_with_previous(found))
    trainer.resume(found.checkpoint)
    trouble, notes = ranks.on_first(lambda: settle_best(found))
    if trouble and trainer.finished:
        raise ValueError(lost(trouble, trainer.folder))
    if trouble:
        notes.append(f"{trouble}: the best is looked for anew from epoch {trainer.position.epoch + 1} on")
        trainer.position.best_val_acc, trainer.position.best_val_loss, trainer.position.best_model = None, None, ""
    if lacks_previous:
        notes.append(ranks.on_first(lambda: mend_previous(found, lacks_previous)))
    for text in notes if ranks.first else []:
        note(text)
    ranks.on_first(lambda: mend_last(found))
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


def run_to_the_end(
    trainer: Trainer,
    test_loader: data.Loader,
    recorder: Recorder,
    config: Mapping[str, Any],
    test: Callable[..., int] = test,
) -> int:
    """Train and test, whatever signals come; returns the exit code."""
    trained, ranks = not trainer.finished, trainer.ranks
    with stopping_on_signals(trainer) as received:
        try:
            ranks.gather(None)  # all listen to signals before the first says that it has begun
            trainer.watcher.start(trainer)
            go_on = f"to go on: {command_to_go_on(trainer.folder, ranks)}"
            ranks.training(go_on, config["settings"]["timeout"], trainer.folder / "train.log")
            trainer.run()
            trainer.watcher.close()
            if trained and trainer.out_of_patience:
                trainer.watcher.tell(f"stopped: {trainer.patience} epochs without a new best validation {trainer.best}")
            return test(trainer, test_loader, recorder, config, trained)
        except Interrupted:
            trainer.watcher.close()
            print(f"stopped and saved; {how_to_go_on(trainer.folder, recorder, ranks)}", flush=True)
            numbers = [number for of_rank in ranks.gather(received) for number in of_rank]
            return 128 + numbers[0]
        except KeyboardInterrupt:
            trainer.watcher.close()
            code = 128 + (received[-1] if received else signal.SIGINT)
            how = how_to_go_on(trainer.folder, recorder, ranks)
            raise Failed(f"stopped at once; from the last checkpoint {how}", code) from None
        finally:
            trainer.watcher.close()
