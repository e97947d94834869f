"""The checkpoints of a run's folder: which are whole, belong together, and can be made again from each other.

last.safetensors     where the run stands
previous.safetensors as last was when the epoch before ended; from here the run goes on where last is damaged or lost
best.safetensors     the model that did best; last knows its digest, and is written before it
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from minires import checkpoint
from minires.checkpoint import Checkpoint, CheckpointError, DamagedError
from minires.cli.recording import MOST_BYTES
from minires.data.regular import read_regular
from minires.plain import check, read_json
from minires.position import Position, best_info
from minires.wording import quoted, shown

LAST, PREVIOUS, BEST = "last.safetensors", "previous.safetensors", "best.safetensors"


@dataclass(frozen=True)
class Found:
    """What a run goes on from: the contents of the file `name` in `folder`, and sentences on what is to be known."""

    folder: Path
    name: str
    checkpoint: Checkpoint
    notes: tuple[str, ...]
    read_of: tuple[tuple[int, int, int] | None, ...] = ()  # what told the files apart from all others at that time

    @property
    def position(self) -> Position:
        """Where it stands."""
        return Position.of(self.checkpoint.position or {})


# Where the run stands -----------------------------------------------------------------------------------------------


def still_newest(found: Found) -> Found:
    """`found` or, where a file that it was read of is no longer the same, what `newest` finds now."""
    return found if found.read_of == _read_of(found.folder) else newest(found.folder)


def _read_of(folder):
    """(inode, size, time) of each file that `newest` reads; None for one that is not there."""
    told: list[tuple[int, int, int] | None] = []
    for name in (LAST, PREVIOUS, "config.json"):
        try:
            status = os.stat(folder / name)
            told.append((status.st_ino, status.st_size, status.st_mtime_ns))
        except OSError:
            told.append(None)
    return tuple(told)


def newest(folder: Path) -> Found:
    """last.safetensors or, where that is damaged or gone, previous.safetensors.

    Raises CheckpointError where neither can be used, and for one that is of another run than config.json beside it.
    """
    name, notes, read_of = LAST, [], _read_of(folder)
    try:
        found = _load(folder / LAST)
    except FileNotFoundError:
        found, notes = _load_previous(folder, f"{folder / LAST} is missing")
        name = PREVIOUS
    except DamagedError as damage:
        found, notes = _load_previous(folder, damage.trouble)
        name = PREVIOUS
    if not found.verified:
        notes.append(f"{folder / name}: {checkpoint.UNVERIFIED}")
    configured, own = _run_of_config(folder), run_of(found)
    if None not in (configured, own) and configured != own:
        raise CheckpointError(
            f"{folder / name}: is of run {shown(own)}, config.json beside it of run {shown(configured)}: put the file "
            "back that belongs here; if it is config.json that does not, remove that one: it is made again"
        )
    return Found(folder, name, found, tuple(notes), read_of)


def _load_previous(folder, trouble):
    """(checkpoint, notes) of previous.safetensors, since there is `trouble` with last.safetensors."""
    try:
        found = _load(folder / PREVIOUS)
    except FileNotFoundError:
        raise CheckpointError(f"{trouble}, and no {PREVIOUS} is there: {_what_is_left(folder)}") from None
    except DamagedError:
        raise CheckpointError(f"{trouble}, and {PREVIOUS} is damaged, too: {_what_is_left(folder)}") from None
    position = found.position or {}
    return found, [f"{trouble}: the run goes on from {PREVIOUS}, after epoch {position.get('epoch')}"]


def _what_is_left(folder):
    """What to do where a run cannot go on."""
    try:
        checkpoint.load(folder / BEST)
    except (ValueError, OSError):
        return "put back a copy of one of them, or start a new run"
    best = folder / BEST
    return (
        f"put back a copy of one of them, or --evaluate {best}, or begin another run from that: finetune.py --weights "
        f"{best} with the flags of its data (--dataset)"
    )


def _load(path):
    """A checkpoint of a run. Raises FileNotFoundError, DamagedError, or CheckpointError for one of another kind."""
    if not path.exists():
        raise FileNotFoundError(path)
    found = checkpoint.load(path)
    try:
        if found.position is not None:
            Position.of(found.position)
        if "config" in found.info:
            check(found.info["config"], dict, "config")  # what is in it, `saved` checks
    except ValueError as error:
        raise DamagedError(f"{path}: its metadata is damaged ({error})") from error
    if "config" not in found.info:
        raise CheckpointError(f"{path}: does not say which run it belongs to: give one this script wrote")
    return found


def run_of(found: Checkpoint) -> str | None:
    """The id of the run that a checkpoint is of; None where an earlier version wrote it."""
    own = found.info.get("config", {}).get("run")
    return own if isinstance(own, str) else None


def _run_of_config(folder):
    """The id in config.json; None where it has none, or cannot be read: it is made again."""
    try:
        config = read_json(read_regular(folder / "config.json", MOST_BYTES))
        check(config, {"run": str}, "config.json")
    except (ValueError, OSError):
        return None
    return config["run"]


def mend_last(found: Found) -> None:
    """Make last.safetensors what the run goes on from, where that is previous.safetensors."""
    if found.name == PREVIOUS:
        checkpoint.write(found.folder / LAST, found.checkpoint)


def trouble_with_previous(found: Found) -> str | None:
    """Why there is no previous.safetensors to go on from if last.safetensors were damaged; None: there is, or was none.

    Raises CheckpointError for one of another run, which would be replaced.
    """
    position, path = found.position, found.folder / PREVIOUS
    if found.name == PREVIOUS or (position.epoch, position.batch) == (0, 0):
        return None
    try:
        previous = _load(path)
    except FileNotFoundError:
        return f"{path} is missing"
    except DamagedError as error:
        return error.trouble
    own, its = run_of(found.checkpoint), run_of(previous)
    if own is not None and its is not None and own != its:
        raise CheckpointError(
            f"{path}: is of run {shown(its)}, {found.name} beside it of run {shown(own)}: put the one back that "
            "belongs here, or move it away, and a copy of the other takes its place"
        )
    return None


def mend_previous(found: Found, trouble: str) -> str:
    """Put a copy of last.safetensors in the place of a previous.safetensors with which there is `trouble`; a note."""
    checkpoint.write(found.folder / PREVIOUS, found.checkpoint)
    return f"{trouble}: a copy of {LAST} takes its place"


# The best -----------------------------------------------------------------------------------------------------------


def settle_best(found: Found) -> tuple[str | None, list[str]]:
    """(why the best model is lost, notes): afterwards best.safetensors is the one that `found` knows, or is lost.

    It is made again where last or previous hold its model. Raises CheckpointError for one of another run, and for one
    of another moment than last.safetensors knows.
    """
    path, position = found.folder / BEST, found.position
    there, trouble = _look_at_best(path, found, position)
    if position.best_epoch == 0 or position.best_model == "" or (there is not None and trouble is None):
        return None, []
    if (whole := _holding_the_best(found, position)) is not None:
        name, content = whole
        info = {**content.info, **best_info(Position.of(content.position or {}))}
        checkpoint.write(
            path, replace(content, model=content.kept, averaged=None, optimizer=None, position=None, info=info)
        )
        return None, [f"{trouble}: made again from {name}"]
    if there is not None and found.name == LAST:
        raise CheckpointError(
            f"{trouble}: put the {BEST} that belongs to {LAST} back, or move it away, and the best is looked for anew"
        )
    return trouble, []


def _look_at_best(path, found, position):
    """(the checkpoint or None, what is wrong with it or None)"""
    try:
        best = checkpoint.load(path) if path.exists() else None
    except DamagedError as error:
        return None, error.trouble
    if best is None:
        return None, f"{path} is missing"
    own, its = run_of(found.checkpoint), run_of(best)
    if own is not None and its is not None and own != its:
        raise CheckpointError(
            f"{path}: is of run {shown(its)}, {found.name} beside it of run {shown(own)}: put the one back that "
            "belongs here, or move it away, and the best is made again or looked for anew"
        )
    if not _is_the_best(best, position):
        epoch = quoted(best.info.get("epoch"))
        return best, f"{path} is of epoch {epoch}, the best that {found.name} knows of epoch {position.best_epoch}"
    return best, None


def _is_the_best(best, position):
    if position.best_model is None:  # of an earlier version
        return best.info.get("epoch") == position.best_epoch and best.info.get("val_acc") == position.best_val_acc
    return checkpoint.digest(best.model) == position.best_model


def _holding_the_best(found, position):
    """(name, checkpoint) of last or previous, whichever holds the best model; None if neither does."""
    if (position.epoch, position.batch) == (position.best_epoch, 0):
        return found.name, found.checkpoint
    try:
        previous = _load(found.folder / PREVIOUS)
    except (CheckpointError, OSError):
        return None
    if position.best_model is not None and checkpoint.digest(previous.kept) == position.best_model:
        return PREVIOUS, previous
    return None
