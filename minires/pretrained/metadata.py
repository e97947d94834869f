"""What a file says of its weights beside them: as this library writes it, and the names of classes in a checkpoint."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minires import checkpoint
from minires.data.images import Preprocessing
from minires.plain import check, read_json
from minires.pretrained.errors import WeightsError
from minires.pretrained.readings import ASSUMED, FIELDS, IMAGENET
from minires.wording import shown

FORMAT = "minires-weights-1"
CLASSIFICATION = "classification"
TASKS = {"masks": "segmentation", "annotations": "detection"}  # by a setting that no other run has
CLASSES = ("classes", "class_names", "class_to_idx", "CLASSES")  # what checkpoints call them

_TRAINED_ON = {"seed": (None, int), "val_split": (None, int), "limit_train": (None, int)}
_CONFIG = {"dataset": {"name": str, "label": str}, "sizes": {"test": int}, "settings": dict}


def said(path: str | Path, info: Mapping[str, Any]) -> dict[str, Any]:
    """What the metadata of a file say, of {"model", "classes", "source", "preprocessing", "options", "run", ...}.

    "open": names of ASSUMED that are still assumed, where the file knows.   Raises WeightsError for damaged ones.
    """
    written_by = {FORMAT: _of_weights, **dict.fromkeys(checkpoint.FORMATS, _of_a_run)}.get(str(info.get("format")))
    if written_by is None:
        return _of_others(info)
    try:
        known = {"model": "", "classes": None, **written_by(read_json(info["minires"]))}
        Preprocessing(**{**IMAGENET, **known.get("preprocessing", {})})
        names, options = known["classes"], known.get("options", {})
        if not isinstance(known["model"], str) or not (names is None or _are_texts(names)):
            raise ValueError("names that are no text")
        if not isinstance(known.get("source", ""), str):
            raise ValueError("a source that is no text")
        if not isinstance(options, dict) or not _are_texts(known.get("left_out", [])):
            raise ValueError("options or names that are none")
        return known
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        reason = shown(f"{type(error).__name__}: {error}")
        raise WeightsError(f"{path}: its metadata is damaged ({reason}): give another copy of the file") from error


def written(metadata: Mapping[str, Any]) -> str:
    """The metadata of weights as `said` reads them; what is assumed stays so."""
    assumptions = metadata.get("assumptions", FIELDS if metadata["assumed"] else ())
    known = {key: metadata[key] for key in ("model", "classes", "source")}
    preprocessing = {name: value for name, value in metadata["preprocessing"].items() if name not in assumptions}
    if preprocessing:
        known["preprocessing"] = preprocessing
    known |= {key: metadata[key] for key in ("options", "left_out") if metadata.get(key)}
    return json.dumps({**known, "assumed": [name for name in assumptions if name in ASSUMED]})


def _of_weights(header):
    """The metadata that `written` wrote."""
    known = {key: header[key] for key in ("model", "classes", "source")}
    known |= {key: header[key] for key in ("preprocessing", "options", "left_out") if key in header}
    still_open = header.get("assumed", [])
    return {**known, "open": tuple(name for name in ASSUMED if name in still_open)}


def _of_a_run(header):
    """The metadata of a checkpoint; of one that a run wrote, "run" says what it was trained and tested on."""
    config = header["info"].get("config")
    if config is None:
        return {"open": ()}
    check(config, _CONFIG, "config")
    preprocessing = config.get("preprocessing") or {**config["normalisation"], "size": 32, "resize": 32}
    preprocessing = {"order": "RGB", "interpolation": "bilinear", **preprocessing}
    dataset, test_images = config["dataset"], config["sizes"]["test"]
    run = {"dataset": dataset["name"], "label": dataset["label"], "test_images": test_images}
    run["task"] = task_of(config["settings"])
    run["range"] = _range(config["settings"].get("range"))
    run["trained_on"] = _trained_on(config["settings"])
    known = {"model": config["settings"]["model"], "classes": config["classes"], "preprocessing": preprocessing}
    return {**known, "options": config.get("options", {}), "source": "minires", "run": run, "open": ()}


def task_of(settings: Mapping[str, Any]) -> str:
    """What a run with these settings trains for: classification, segmentation or detection."""
    return next((task for name, task in TASKS.items() if name in settings), CLASSIFICATION)


def other_task(known: Mapping[str, Any]) -> str | None:
    """What a run's network was trained for, of what its file says; None for classes, and for no run's file."""
    task = known.get("run", {}).get("task", CLASSIFICATION)
    return None if task == CLASSIFICATION else task


def _trained_on(settings):
    """Which of a data set's training images a run learned from: what `minires.cli.held_out` asks for."""
    its = {name: settings.get(name) for name in _TRAINED_ON}
    check(its, _TRAINED_ON, "settings")
    return {**its, "fine_tuned": "weights" in settings and settings.get("from_scratch") is not True}


def _range(value):
    """[low, high] or None. Raises ValueError for any other."""
    check(value, (None, [float]), "range")
    if value is not None and not (len(value) == 2 and value[0] < value[1]):
        raise ValueError(f"range is {value[:4]}, expected two numbers, the lower first")
    return value


def _of_others(info):
    """The names of classes and the preprocessing in other files, where they are what they are called."""
    known: dict[str, Any] = {}
    preprocessing = info.get("preprocessing")
    if isinstance(preprocessing, dict) and preprocessing:
        try:
            Preprocessing(**{**IMAGENET, **preprocessing})
            known["preprocessing"] = preprocessing
        except (TypeError, ValueError):
            pass
    meta = info.get("meta")
    places = [info, meta] if isinstance(meta, dict) else [info]
    names = next((found for place in places for name in CLASSES if (found := _names(place.get(name)))), None)
    return {**known, "classes": names, "maybe": True} if names else known


def _are_texts(value):
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _names(value):
    """A list of texts, or a dictionary {text: number from 0 up}, as a list of names; else None."""
    if isinstance(value, dict) and sorted(map(str, value.values())) == sorted(map(str, range(len(value)))):
        value = [name for name, _ in sorted(value.items(), key=lambda item: int(item[1]))]
    return value if isinstance(value, list) and value and all(isinstance(name, str) for name in value) else None
