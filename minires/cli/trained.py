"""Networks of another task than classes, as their script's runs have saved them: to be tested, or asked, again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minires import checkpoint
from minires.module import Module
from minires.plain import check
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


def load_trained(
    path: str | Path, wanted: Mapping[str, Any], make: Callable[[dict[str, Any]], Module], what: str, script: str
) -> Trained:
    """The network in a run's checkpoint, or in the best.safetensors of its folder, in inference mode.

    wanted: what the run's config has besides, as `minires.plain.check` takes it.   make: of the config, the network.
    what, script: "detector", "detect.py", for the sentence of the CheckpointError that anything else raises.
    """
    path, give = Path(path), f"give a run of {script}, or its best.safetensors"
    path = path / "best.safetensors" if path.is_dir() else path
    try:
        loaded = checkpoint.load(path)
    except checkpoint.DamagedError as error:
        raise checkpoint.CheckpointError(f"{error.trouble}: {give}") from error
    config: Any = loaded.info.get("config")
    try:
        check(config, {**_CONFIG, **wanted, "settings": {**_CONFIG["settings"], **wanted["settings"]}}, "config")
        model = make(config)
        model.load_state_dict(loaded.kept)
    except (ValueError, TypeError) as error:
        raise checkpoint.CheckpointError(
            f"{readable(str(path), 300)}: holds no {what} ({readable(str(error), 200)}): {give}"
        ) from error
    mean, std = (tuple(config["normalisation"][name]) for name in ("mean", "std"))
    return Trained(model.eval(), config["settings"]["size"], mean, std, tuple(config["classes"]), config)
