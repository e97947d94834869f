"""What segment.py and detect.py have in common: a backbone, of a file of weights or a new one, and saved networks."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minires import models, pretrained
from minires.cli.saved import Script, checked_config
from minires.cli.trained import Trained
from minires.cli.weights import note_assumed, weights_line
from minires.data import Dataset, channel_mean_std
from minires.types import Array


def refuse_idle(given: Mapping[str, Any], flags: Collection[str], does: str) -> None:
    """Raise ValueError for a flag given that plays no part in what is asked for, `does`, which trains nothing."""
    if idle := sorted(set(given) - set(flags)):
        raise ValueError(f"{does}, and trains nothing: leave --{idle[0].replace('_', '-')} out")


def refuse_contradictions(settings: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raise ValueError for flags of the backbone that cannot both be meant."""
    if settings["freeze"] == "backbone" and settings["weights"] is None:
        raise ValueError("--freeze backbone: random layers that are frozen learn nothing: give --weights as well")
    if "model" in given and settings["weights"] is not None:
        raise ValueError(f"--model {given['model']}: --weights says which network it is: leave it out")


def read_backbone(settings: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """(backbone, facts) of --weights, whose name becomes the setting `model`; (None, facts) where one is to be built.

    facts: of it for config.json, its "options" and, where it has one, the "normalisation" of its images. A new one
    has the options of the setting `options`, which experiments give.
    """
    if "found" in settings:  # a run that goes on has weights of its own
        config = settings["found"].checkpoint.info["config"]
        return None, {"options": options_in(config), "normalisation": config["normalisation"]}
    if settings["weights"] is None:
        models.options_of(settings["model"])  # or what is wrong with its name
        return None, {"options": settings.get("options", {})}
    state, metadata = pretrained.read(settings["weights"])
    print(weights_line(settings["weights"], metadata), flush=True)
    note_assumed(metadata)
    preprocessing, options = metadata["preprocessing"], metadata["options"]
    if preprocessing["order"] != "RGB":
        raise ValueError(f"--weights {settings['weights']}: sees blue, green, red: give weights that see RGB")
    settings["model"] = metadata["model"]
    network = models.build(settings["model"], metadata["num_classes"] or 10, rng=settings["seed"], **options)
    pretrained.fill(network, settings["weights"], state, "new", left_out=metadata["left_out"])
    return network, {"options": options, "normalisation": {name: preprocessing[name] for name in ("mean", "std")}}


def options_in(config: Mapping[str, Any]) -> dict[str, Any]:
    """The backbone's options of a run's config; detectors of earlier versions had one, a setting."""
    return config["options"] if "options" in config else {"shortcut": config["settings"].get("shortcut", "A")}


def normalisation_of(images: Array) -> dict[str, tuple[float, ...]]:
    """{"mean", "std"} of training images."""
    return dict(zip(("mean", "std"), channel_mean_std(images), strict=True))


def data_of_loaders(name: str, label: str, classes: Sequence[str]) -> Dataset:
    """What a run says of its data, where the images are its loaders' alone."""
    nothing = np.zeros((0, 1, 1, 3), np.uint8), np.zeros(0, np.int64)
    return Dataset(name, label, tuple(classes), *nothing, *nothing)


def settings_to_test(saved: Trained, script: Script, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a saved network's run, of which its data is made, under the flags given with --evaluate."""
    path, defaults = Path(given["evaluate"]), script.defaults
    its = checked_config(path, saved.config, script, str(path))["settings"]
    its = {name: value for name, value in its.items() if name in defaults}
    here = {"threads": None, "device": "auto", "freeze": "none", "weights": None}
    return {**defaults, **its, **here, **{name: value for name, value in given.items() if name in defaults}}
