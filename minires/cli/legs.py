"""Going on with a run, as planned or for longer: what is added to its plan is a leg, and stands in config.json.

A run's settings say how it began, and never change. Each leg adds {"from_epoch", "from_iteration", "to_epoch",
"to_iteration", "schedule", "lr"}; schedule and lr are None where the schedule before holds on.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypedDict

from minires import schedules
from minires.cli.claim import refuse_held
from minires.cli.generations import BEST, LAST, PREVIOUS, newest
from minires.cli.ingredients import flag_text, value_text
from minires.cli.output import note
from minires.cli.saved import SINCE_THEN, Script, checked_config, readable_data_dir
from minires.cli.snapshots import CYCLES
from minires.cli.snapshots import SCHEDULE as RESTARTS

FREE_ON_RESUME = {"resume", "device", "data_dir", "data_url", "threads", "save_every", "no_progress"}
FREE_ON_RESUME |= {"cuda_graph", "recompute", "tensorboard", "patience", "timeout"}
LONGER = ("epochs", "iterations", "schedule", "lr")
HOLD_ON = ("constant", "step", RESTARTS)  # schedules that say by themselves what comes after their end
KINDS = ("constant", "step", "cosine", "one-cycle", RESTARTS)


class Leg(TypedDict):
    """A part of a run after its first: epochs and iterations before it, those at its end, and its learning rate."""

    from_epoch: int
    from_iteration: int
    to_epoch: int
    to_iteration: int
    schedule: str | None
    lr: float | None


# Settings -----------------------------------------------------------------------------------------------------------


def resumed_settings(given: Mapping[str, Any], script: Script) -> dict[str, Any]:
    """The settings of the run to go on with; a flag that would make it another run is refused.

    Among them are, for `minires.cli.runs.train`, its `legs`, whether one is new, and the Found that it goes on from.

    What the run's checkpoint says is checked as `minires.cli.saved` has it.
    """
    folder = run_folder(given["resume"])
    if not any((folder / name).exists() for name in (LAST, PREVIOUS)):
        raise ValueError(_no_run(given["resume"], folder))
    refuse_held(folder, "--resume")
    found = newest(folder)
    for text in found.notes:
        note(text)
    loaded = found.checkpoint
    config = checked_config(folder / found.name, loaded.info["config"], script, given["resume"])
    saved = {**SINCE_THEN, **script.defaults, **config["settings"]}
    saved["dataset"] = config["dataset"]["name"]  # what "auto" found then, not now
    legs = config.get("legs", [])
    leg = _new_leg(given, saved, legs, config["sizes"]["train"], loaded.position)
    _refuse_changes(given, saved, legs, leg)
    free = {name: given[name] for name in given if name in FREE_ON_RESUME}
    if "data_dir" not in given:
        free["data_dir"] = readable_data_dir(saved)
    return {
        **saved,
        "data_url": None,
        **free,
        "out": str(folder),
        "legs": legs + ([leg] if leg else []),
        "new_leg": leg is not None,
        "found": found,
    }


def _no_run(resume, folder):
    """Why there is nothing to go on from."""
    if (folder / BEST).exists():
        return (
            f"--resume {resume}: its {LAST} is missing, without which it cannot go on: --evaluate its {BEST}, or go on "
            "from that with finetune.py --weights"
        )
    if (folder / "config.json").exists():
        return f"--resume {resume}: that run ended before its first checkpoint: begin it again in another folder"
    return f"--resume {resume}: no run there: name a folder that holds a {LAST}"


def _refuse_changes(given, saved, legs, leg):
    was = {**saved, **_plan_in_force(saved, legs)}
    free = FREE_ON_RESUME | set(LONGER if leg else ())
    changed = [name for name in given if name not in free and was.get(name) != given[name]]
    if changed:
        flags = ", ".join(f"{flag_text(name, given[name])} (was {value_text(was.get(name))})" for name in changed)
        also = ""
        if set(changed) <= set(LONGER):
            also = f"; to train longer give --epochs above {was['epochs']}, and --lr or --schedule for the new part"
        raise ValueError(f"--resume goes on with the run's own settings, these differ: {flags}: leave them out{also}")


def _plan_in_force(saved, legs):
    """What LONGER's flags would have to say to change nothing."""
    plan = {name: saved[name] for name in LONGER}
    for leg in legs:
        plan |= {"epochs": leg["to_epoch"], "iterations": leg["to_iteration"]}
        if leg["schedule"] is not None:
            plan |= {"schedule": leg["schedule"], "lr": leg["lr"]}
    return plan


def _new_leg(given, saved, legs, images, position):
    """The Leg that the flags ask for, or None where they ask for nothing beyond the plan."""
    plan, batches = _plan_in_force(saved, legs), math.ceil(images / saved["batch_size"])
    if position is None or not {"epochs", "iterations"} & set(given):
        return None
    planned = min(plan["epochs"] * batches, plan["iterations"] or math.inf)
    cut = position["iteration"] - position["epoch"] * batches - position["batch"]  # below 0: an epoch was not whole
    ends = [given["epochs"] * batches + cut] if "epochs" in given else []
    ends += [given["iterations"]] if "iterations" in given else []
    end = min(ends)
    if end <= planned:
        return None
    over = (
        position["iteration"] >= planned or position["epoch"] >= plan["epochs"] or _stopped_early(saved, legs, position)
    )
    schedule, lr = _learning_rate(given, plan)
    return Leg(
        from_epoch=position["epoch"] if over else plan["epochs"],
        from_iteration=position["iteration"] if over else planned,
        to_epoch=math.ceil((end - cut) / batches),
        to_iteration=end,
        schedule=schedule,
        lr=lr,
    )


def _stopped_early(saved, legs, position):
    since = legs[-1]["from_epoch"] if legs else 0
    waited = position["epoch"] - max(position["best_epoch"], since)
    return position["batch"] == 0 and saved["patience"] is not None and waited >= saved["patience"]


def _learning_rate(given, plan):
    """(schedule, lr) of a new leg. Raises ValueError where the schedule before does not say what comes now."""
    if not 0 <= given.get("lr", 0) < math.inf:
        raise ValueError(f"--lr must be a number from 0 up, got {given['lr']}")
    if given.get("schedule", plan["schedule"]) == RESTARTS and {"schedule", "lr"} & set(given):
        raise ValueError(
            f"--resume: the cycles of {RESTARTS} are a whole run's, at its own --lr: leave --lr and --schedule out to "
            "go on with them, or give --schedule constant --lr X, or begin a new run"
        )
    if "schedule" in given or "lr" in given:
        return given.get("schedule", plan["schedule"]), given.get("lr", plan["lr"])
    if plan["schedule"] in HOLD_ON:
        return None, None
    raise ValueError(
        f"--resume: a {plan['schedule']} schedule ends with its {plan['epochs']} epochs: say how the new part goes: "
        f"--lr X for another {plan['schedule']}, or --schedule constant --lr X"
    )


# The plan -----------------------------------------------------------------------------------------------------------


class Plan(TypedDict):
    """How long a Trainer trains, at which learning rate, and the epoch from which its patience counts."""

    epochs: int
    iterations: int | None
    schedule: Callable[[int], float]
    since: int


def plan(settings: Mapping[str, Any], batches: int) -> Plan:
    """The Plan of a run of `batches` iterations an epoch, its legs included."""
    legs = settings.get("legs", [])
    first = min(settings["epochs"] * batches, settings["iterations"] or math.inf)
    pieces = [(0, make_schedule(settings, int(first)))]
    for leg in legs:
        if leg["schedule"] is not None:
            options = {**settings, "warmup": 0, "schedule": leg["schedule"], "lr": leg["lr"]}
            length = leg["to_iteration"] - leg["from_iteration"]
            pieces.append((leg["from_iteration"], make_schedule(options, length)))
    if not legs:
        return Plan(epochs=settings["epochs"], iterations=settings["iterations"], schedule=pieces[0][1], since=0)
    last = legs[-1]
    schedule = _one_after_another(pieces)
    return Plan(epochs=last["to_epoch"], iterations=last["to_iteration"], schedule=schedule, since=last["from_epoch"])


def make_schedule(settings: Mapping[str, Any], iterations: int) -> Callable[[int], float]:
    """The learning rate as a function of the iteration; "step" divides it by 10 at 1/2 and 3/4 of the iterations."""
    lr = settings["lr"]
    make: dict[str, Callable[[], Callable[[int], float]]] = {
        "constant": lambda: schedules.ConstantLR(lr),
        "step": lambda: schedules.MultiStepLR(lr, (iterations // 2, iterations * 3 // 4)),
        "cosine": lambda: schedules.CosineAnnealingLR(lr, iterations),
        "one-cycle": lambda: schedules.OneCycleLR(lr, iterations),
        RESTARTS: lambda: schedules.CosineAnnealingWarmRestarts(lr, iterations // (settings.get("cycles") or CYCLES)),
    }
    schedule = make[settings["schedule"]]()
    warmup = settings.get("warmup", 0)
    return schedules.LinearWarmup(schedule, warmup, start_factor=0.1) if warmup else schedule


def _one_after_another(pieces):
    """lr(iteration) of the last of the pieces (start, schedule) that has begun, each counting from its own start."""

    def lr(iteration):
        start, schedule = [piece for piece in pieces if piece[0] <= iteration][-1]
        return schedule(iteration - start)

    return lr


def described(legs: list[Leg]) -> list[str]:
    """A line for each leg."""
    lines = []
    for leg in legs:
        rate = (
            "learning rate as it was" if leg["schedule"] is None else f"{leg['schedule']}, learning rate {leg['lr']:g}"
        )
        lines.append(f"new leg: epochs {leg['from_epoch'] + 1} to {leg['to_epoch']}, {rate}")
    return lines


# Files --------------------------------------------------------------------------------------------------------------


def run_folder(path: str | Path) -> Path:
    """The run's folder, from itself or from a checkpoint in it."""
    path = Path(path)
    return path if path.is_dir() else path.parent
