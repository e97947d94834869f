"""What a run needs to go on as if it had never stopped, in one safetensors file.

The model's arrays stand under their own names, so any reader of safetensors finds a state_dict; the optimizer's
arrays under "optimizer/...". All else (position, history, generators, settings) is JSON in the file's metadata.
Files are written beside and renamed: whatever happens meanwhile, the previous one stays whole.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minires.files import write_atomically
from minires.module import Module
from minires.optim import Optimizer

FORMAT = "minires-checkpoint-1"
_OPTIMIZER = "optimizer/"


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names the file, what is wrong with it and the cure."""


@dataclass(frozen=True)
class Checkpoint:
    """The contents of a file.

    model: {key: array}, for `Module.load_state_dict`.   optimizer: for `Optimizer.load_state_dict`, or None.
    position: where training stood, or None.   generators: {path: state} of the model's random generators.
    info: what describes the run and the model ("config", "classes", ...).
    """

    model: dict[str, np.ndarray]
    optimizer: dict[str, Any] | None
    position: dict[str, Any] | None
    generators: dict[str, Any]
    info: dict[str, Any]


def save(
    path: Path | str,
    model: Module,
    optimizer: Optimizer | None = None,
    position: dict[str, Any] | None = None,
    info: dict[str, Any] | None = None,
) -> None:
    """Write a checkpoint of `model` and, to go on training, of `optimizer` and `position` (JSON-able).

    Raises OSError where it cannot be written (the previous file stays) and ValueError for parameters that are
    not finite, which nothing could go on from.
    """
    from safetensors.numpy import save as serialise

    arrays = model.state_dict()
    broken = [key for key, array in arrays.items() if array.dtype.kind == "f" and not np.isfinite(array).all()]
    if broken:
        raise ValueError(f"{path}: not saved, since these hold NaN or infinity: {', '.join(broken[:5])}")
    state = None
    if optimizer is not None:
        state = optimizer.state_dict()
        arrays |= {_OPTIMIZER + key: array for key, array in state.pop("arrays").items()}
    header = {"optimizer": state, "position": position, "generators": generator_states(model), "info": info or {}}
    arrays = {key: np.ascontiguousarray(array) for key, array in arrays.items()}
    write_atomically(path, serialise(arrays, metadata={"format": FORMAT, "minires": json.dumps(header)}))


def load(path: str | Path) -> Checkpoint:
    """Read a Checkpoint: `load(path).model` is what `Module.load_state_dict` takes.

    Raises CheckpointError for a missing, damaged or foreign file.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint: give a .safetensors file that a run has written")
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path}: damaged or no safetensors file ({error}): use another checkpoint of the run, such as "
            f"{'best' if path.stem == 'last' else 'last'}.safetensors beside it"
        ) from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path}: a safetensors file, but no checkpoint of this program: it lacks its metadata")
    try:
        header = json.loads(metadata["minires"])
        optimizer = header["optimizer"]
        if optimizer is not None:
            optimizer["arrays"] = {
                key.removeprefix(_OPTIMIZER): array for key, array in arrays.items() if key.startswith(_OPTIMIZER)
            }
        model = {key: array for key, array in arrays.items() if not key.startswith(_OPTIMIZER)}
        return Checkpoint(model, optimizer, header["position"], header["generators"], header["info"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: its metadata is damaged ({error}): use another checkpoint") from error


def generator_states(model: Module) -> dict[str, Any]:
    """{path: state} of every random generator that a module holds as `rng` (dropout)."""
    generators = {path: getattr(module, "rng", None) for path, module in model.named_modules()}
    return {
        path: _plain(rng.bit_generator.state)
        for path, rng in generators.items()
        if isinstance(rng, np.random.Generator)
    }


def restore_generators(model: Module, states: dict[str, Any]) -> None:
    """Put the model's generators back where `generator_states` found them."""
    for path, module in model.named_modules():
        if path in states:
            rng: Any = getattr(module, "rng", None)
            rng.bit_generator.state = states[path]


def _plain(value):
    """A generator's state as JSON has it (some kinds hold arrays)."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
