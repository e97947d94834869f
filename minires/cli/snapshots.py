"""Snapshot ensembles: a learning rate that falls to 0 and starts anew, and the weights at the end of each such cycle.

With --schedule cosine-restarts and --cycles M, a run of E epochs has M cycles of E / M epochs. At the end of cycle i
the run writes cycle-i.safetensors, a file of weights like best.safetensors; all of them together are an ensemble.
Source: Huang et al. 2017, Snapshot ensembles: train 1, get M for free, section 3. Explained: docs/ensembles.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from minires import checkpoint

if TYPE_CHECKING:
    from minires.cli.recording import Recorder
    from minires.trainer import Trainer

SCHEDULE, CYCLES = "cosine-restarts", 3


def check_cycles(settings: Mapping[str, Any]) -> None:
    """Raise ValueError for epochs that are no whole cycles: the weights are those of an epoch's end."""
    if settings["schedule"] != SCHEDULE:
        return
    epochs, cycles = settings["epochs"], settings.get("cycles") or CYCLES
    if settings.get("iterations") is not None:
        raise ValueError(f"--iterations {settings['iterations']}: cycles are counted in epochs: give --epochs alone")
    if epochs % cycles:
        more = (epochs // cycles + 1) * cycles
        fewer = f"{more - cycles} or " if more > cycles else ""
        raise ValueError(f"--epochs {epochs}: cannot be cut into {cycles} equal cycles: give --epochs {fewer}{more}")


def refuse_idle_cycles(given: Mapping[str, Any], schedule: str) -> None:
    """Raise ValueError for --cycles beside another schedule."""
    if "cycles" in given and schedule != SCHEDULE:
        raise ValueError(f"--cycles {given['cycles']} is of --schedule {SCHEDULE}, not of {schedule}: give that too")


def cycle_ended(config: Mapping[str, Any], epochs: int) -> int:
    """The number, from 1, of the cycle that ends after so many epochs of the run; 0 where none does.

    A run that goes on for longer goes on in cycles of that length, unless it was given another schedule.
    """
    settings, legs = config["settings"], config.get("legs", [])
    others = [leg["from_epoch"] for leg in legs if leg["schedule"] is not None]
    if settings["schedule"] != SCHEDULE or epochs > min(others, default=epochs):
        return 0
    number, rest = divmod(epochs, settings["epochs"] // settings["cycles"])
    return 0 if rest else number


def keep_snapshot(trainer: Trainer, recorder: Recorder, config: Mapping[str, Any]) -> None:
    """Write the weights, or their average where one is kept, as cycle-i.safetensors, where cycle i has just ended.

    Called after each epoch, and when a run is taken up again: one that was killed before the file was there writes it.
    """
    position = trainer.position
    if position.batch == 0 and (number := cycle_ended(config, position.epoch)):
        path = trainer.folder / f"cycle-{number}.safetensors"
        info = {**trainer.info, "cycle": number, "epoch": position.epoch}
        recorder.beside_the_result(path.name, lambda: checkpoint.save(path, trainer.steps.kept, info=info))


def how_to_evaluate(trainer: Trainer, config: Mapping[str, Any]) -> str | None:
    """What to say at the end of a run that has such files."""
    if config["settings"]["schedule"] != SCHEDULE:
        return None
    files = trainer.folder / "cycle-*.safetensors"
    return f"the weights at the end of each cycle, together: train_cifar.py --evaluate {files}"
