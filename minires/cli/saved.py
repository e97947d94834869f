"""What a checkpoint says of its run is data, whoever wrote it: checked as flags are, and it names no place to write to.

A checkpoint may come from somebody else. So its settings pass through the script's own parser, each as the flag of its
name would; where its data lay is used to read from, and only if it is there; an address to download from is never
taken from it, nor is the run's folder, which is the one that the checkpoint lies in.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from minires.checkpoint import CheckpointError
from minires.cli.output import note
from minires.cli.settings import PairOrNone, check_settings, number_or_none
from minires.cli.snapshots import CYCLES
from minires.data import DATASETS
from minires.data.cifar_kinds import CIFAR10, KINDS, find_layout
from minires.plain import check, is_number
from minires.pretrained.metadata import task_of
from minires.wording import readable

LARGEST = 10**9  # of whole numbers: beyond all that a run has
MOST_THREADS = 1024
SCRIPTS = {"segmentation": "segment.py", "detection": "detect.py"}  # who trains for it
# Settings that runs of earlier versions lack
SINCE_THEN = {
    "best": "accuracy",
    "patience": None,
    "cuda_graph": True,
    "recompute": None,
    "tensorboard": False,
    "precision": "float32",
    "shards": 1,
    "timeout": 1800.0,
    "ema": None,
    "clip_norm": None,
    "mixup": None,
    "cutmix": None,
    "random_erasing": 0.0,
    "randaugment": None,
    "cycles": CYCLES,
}
_CONFIG: dict[str, Any] = {
    "settings": dict,
    "dataset": {"name": str, "label": str, "notice": (None, str)},
    "sizes": dict.fromkeys(("train", "val", "test"), int),
    "classes": [str],
}
_LEG: dict[str, Any] = dict.fromkeys(("from_epoch", "from_iteration", "to_epoch", "to_iteration"), int)
_LEG |= {"schedule": (None, str), "lr": (None, float)}
IN_ALL = (
    "batch_size",
    "epochs",
    "iterations",
    "lr",
    "schedule",
    "weight_decay",
    "label_smoothing",
    "seed",
)  # no run lacks one


class Script(NamedTuple):
    """The script that a run is begun by and goes on with: its flags, their defaults, its name."""

    parser: argparse.ArgumentParser
    defaults: Mapping[str, Any]
    name: str


def begun_by(settings: Mapping[str, Any]) -> str:
    """The script whose settings these are."""
    if "teacher" in settings:
        return "distill.py"
    if (task := task_of(settings)) in SCRIPTS:
        return SCRIPTS[task]
    return "finetune.py" if settings["recipe"] == "fine-tuning" else "train_cifar.py"


def checked_config(path: Path, config: Any, script: Script, resume: str) -> dict[str, Any]:
    """The config of a checkpoint, {"settings", "dataset", "sizes", "legs", "classes", ...}.

    Raises ValueError where the run is another script's, CheckpointError where anything is not as this one writes it.
    """
    try:
        check(config, _CONFIG, "config")
        settings, legs = config["settings"], config.get("legs", [])
        if begun_by(settings) != script.name:
            raise _OfAnother
        _check_settings(settings, script)
        check(legs, [_LEG], "legs")
        for leg in legs:
            if leg["schedule"] is not None:
                _check_settings({**settings, "schedule": leg["schedule"], "lr": leg["lr"]}, script)
        _need(config["sizes"]["train"] > 0, "sizes: train", 0)
    except _OfAnother:
        raise ValueError(f"--resume {resume}: was begun by {begun_by(settings)}: go on with it there") from None
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        why = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise CheckpointError(
            f"{path}: its settings are damaged ({readable(why, 200)}): use another checkpoint of the run"
        ) from error
    return config


class _OfAnother(Exception):
    pass


def _check_settings(settings, script):
    """Raise ValueError for a setting that the flag of its name would refuse."""
    for action in script.parser._actions:
        name = action.dest
        if name not in settings or name == "data_url":  # older runs lack some; the address is not used
            continue
        may_be_none = name in script.defaults and script.defaults[name] is None
        _need(_is_of(action, settings[name]) or (may_be_none and settings[name] is None), name, settings[name])
    check_settings({**SINCE_THEN, **script.defaults, **{name: settings[name] for name in IN_ALL}, **settings})
    _need((settings.get("threads") or 0) <= MOST_THREADS, "threads", settings.get("threads"))


def _is_of(action, value):
    """Whether a value is one that a flag gives."""
    if isinstance(action, argparse.BooleanOptionalAction) or action.nargs == 0:
        return isinstance(value, bool)
    if isinstance(action, PairOrNone):
        return isinstance(value, list) and len(value) == 2 and all(map(_is_whole, value))
    nargs = "+" if isinstance(action, argparse._AppendAction) else action.nargs
    if isinstance(value, list) != (nargs is not None):  # older runs have one folder of pictures
        return nargs == "+" and isinstance(value, str)
    if nargs is not None:
        right = isinstance(nargs, str) or len(value) == nargs
        return right and bool(value) and all(_is_one_of(action, one) for one in value)
    return _is_one_of(action, value)


def _is_one_of(action, value):
    if action.choices is not None:
        return isinstance(value, str) and value in action.choices
    if action.type is int:
        return _is_whole(value)
    if action.type in (float, number_or_none):
        return is_number(value)
    if not isinstance(value, str):
        return False
    if action.type is not None:
        try:
            action.type(value)
        except argparse.ArgumentTypeError:
            return False
    return True


def _is_whole(value):
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST


def _need(right, name, value):
    if not right:
        raise ValueError(f"{name} is {value!r:.80}")


def readable_data_dir(settings: Mapping[str, Any]) -> str | None:
    """Where a saved run had its data, if there is some of the kind today; else None, and that is said."""
    folder, name = settings["data_dir"], settings["dataset"]
    if folder is None or name not in DATASETS or name == "synthetic":
        return None
    with contextlib.suppress(OSError, ValueError):
        if find_layout(folder, KINDS.get(name, CIFAR10)) is not None:
            return folder
    note(f"the run's data is no longer in {readable(folder, 200)}: looked for as without --data-dir")
    return None
