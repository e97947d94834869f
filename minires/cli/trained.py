"""Networks of another task than classes, as their script's runs have saved them: to be tested, or asked, again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minires import checkpoint, pretrained
from minires.cli.saved import SCRIPTS
from minires.module import Module
from minires.plain import check
from minires.pretrained.metadata import other_task
from minires.wording import readable


@dataclass(frozen=True)
class Trained:
    """A network that a run has saved; how its images are prepared (side, mean, standard deviation), its classes."""

    model: Any
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]
    config: dict[str, Any]


_CONFIG: dict[str, Any] = {
    "settings": {"size": int},
    "classes": [str],
    "normalisation": {"mean": [float], "std": [float]},
}


NAMES = {"segmentation": "network of segment.py", "detection": "detector"}


def load_trained(
    path: str | Path, wanted: Mapping[str, Any], make: Callable[[dict[str, Any]], Module], task: str
) -> Trained:
    """The network in a run's checkpoint, or in the best.safetensors of its folder, in inference mode.

    wanted: what the run's config has besides, as `minires.plain.check` takes it.   make: of the config, the network.
    task: of NAMES. Raises CheckpointError for anything else, with the script that reads it where there is one.
    """
    path, what = Path(path), NAMES[task]
    path = path / "best.safetensors" if path.is_dir() else path
    give = f"give a run of {SCRIPTS[task]}, or its best.safetensors"
    try:
        loaded = checkpoint.load(path)
    except checkpoint.CheckpointError as error:
        if instead := _instead(path, task):
            raise checkpoint.CheckpointError(f"{instead}: {give}") from error
        if isinstance(error, checkpoint.DamagedError):
            raise checkpoint.CheckpointError(f"{error.trouble}: {give}") from error
        raise
    config: Any = loaded.info.get("config")
    try:
        check(config, {**_CONFIG, **wanted, "settings": {**_CONFIG["settings"], **wanted["settings"]}}, "config")
        model = make(config)
        model.load_state_dict(loaded.kept)
    except (ValueError, TypeError) as error:
        why = f"{readable(str(path), 300)}: holds no {what} ({readable(str(error), 200)})"
        raise checkpoint.CheckpointError(f"{_instead(path, task) or why}: {give}") from error
    mean, std = (tuple(config["normalisation"][name]) for name in ("mean", "std"))
    return Trained(model.eval(), config["settings"]["size"], mean, std, tuple(config["classes"]), config)


def _instead(path, task):
    """What a file holds that is not of this task, and which script reads it; None where nothing is known there."""
    try:
        _, metadata = pretrained.read(path)
    except pretrained.WeightsError:
        return None
    file, model, script = readable(str(path), 300), metadata["model"], SCRIPTS[task]
    if its := other_task(metadata):
        return None if its == task else f"{file}: holds a {NAMES[its]}, no {NAMES[task]}: {SCRIPTS[its]} reads it"
    kind, reader = ("backbone", "") if metadata["num_classes"] is None else ("classifier", "predict.py reads it, and ")
    return f"{file}: holds the {kind} {model}, no {NAMES[task]}: {reader}{script} --weights trains one over it"
