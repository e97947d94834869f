"""What a run needs to go on as if it had never stopped, in one safetensors file.

The model's arrays stand under their own names, so any reader of safetensors finds a state_dict; the optimizer's
arrays under "optimizer/...", those of the averaged model under "ema/...". All else (position, history, generators,
settings) is JSON in the file's metadata, and beside it stands the SHA-256 of all arrays and all metadata: a file that
is not the one that was written is refused.
Files are written beside and renamed: whatever happens meanwhile, the previous one stays whole.
"""

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minires.files import write_atomically
from minires.module import Module
from minires.optim import Optimizer
from minires.plain import check, read_json
from minires.wording import quoted, shown

FORMAT = "minires-checkpoint-2"
WITHOUT_SUM = "minires-checkpoint-1"  # of earlier versions
FORMATS = (FORMAT, WITHOUT_SUM)
MAX_HEADER = 2**22  # bytes; a history of 15,000 epochs takes as much, and no more than 200 MB to read
UNVERIFIED = "written by an earlier version, without a checksum: whether it is as it was written cannot be told"
_OPTIMIZER, _AVERAGED = "optimizer/", "ema/"
BESIDE_THE_MODEL = (_OPTIMIZER, _AVERAGED)  # what the names of arrays begin with that are not the model's own
_METADATA = {FORMAT: {"format", "minires", "sha256"}, WITHOUT_SUM: {"format", "minires"}}
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BOOL": "?", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1"}
_DTYPES |= {"U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1"}
_HEADER = {
    "optimizer": (None, {"kind": str, "lr": float, "steps": [int], "param_groups": [{"params": [int]}]}),
    "position": (None, dict),
    "generators": {str: dict},
    "info": dict,
}


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names the file, what is wrong with it and the cure."""


class DamagedError(CheckpointError):
    """A file that is not as it was written.   trouble: the message without the cure."""

    def __init__(self, trouble: str) -> None:
        super().__init__(f"{trouble}: give another copy of it")
        self.trouble = trouble


@dataclass(frozen=True)
class Checkpoint:
    """The contents of a file.

    model: {key: array}, for `Module.load_state_dict`.   optimizer: for `Optimizer.load_state_dict`, or None.
    position: where training stood, or None.   generators: {path: state} of the model's random generators.
    info: what describes the run and the model ("config", "classes", ...).
    verified: whether the file had a checksum; those of earlier versions have none.
    averaged: the averaged model, as `model`, or None.
    """

    model: dict[str, np.ndarray]
    optimizer: dict[str, Any] | None
    position: dict[str, Any] | None
    generators: dict[str, Any]
    info: dict[str, Any]
    verified: bool = True
    averaged: dict[str, np.ndarray] | None = None

    @property
    def kept(self) -> dict[str, np.ndarray]:
        """The model that a run is after: the averaged one where there is one."""
        return self.model if self.averaged is None else self.averaged


def safetensors() -> Any:
    """The package of that name, with its `numpy`. Raises ImportError where it is not installed, as in a browser."""
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(
            "checkpoints and weights are written by the package safetensors: pip install safetensors; a browser cannot "
            "have it, and reads weights (minires.pretrained) without"
        ) from error
    return safetensors


# Writing ------------------------------------------------------------------------------------------------------------


def save(
    path: Path | str,
    model: Module,
    optimizer: Optimizer | None = None,
    position: dict[str, Any] | None = None,
    info: dict[str, Any] | None = None,
    previous: Path | None = None,
    averaged: Module | None = None,
) -> None:
    """Write a checkpoint of `model` and, to go on training, of `optimizer` and `position` (JSON-able).

    previous: None, or the name under which the file that stands at `path` is kept.   averaged: the averaged model.
    Raises OSError where it cannot be written (the file before stays) and ValueError for parameters that are
    not finite, which nothing could go on from, and for numbers in `position` or `info` that are not.
    """
    state = None if optimizer is None else optimizer.state_dict()
    average = None if averaged is None else averaged.state_dict()
    generators = generator_states(model)
    write(path, Checkpoint(model.state_dict(), state, position, generators, info or {}, averaged=average), previous)


def write(path: Path | str, content: Checkpoint, previous: Path | None = None) -> None:
    """Write a Checkpoint; else as `save`."""
    arrays = {key: np.ascontiguousarray(array) for key, array in content.model.items()}
    arrays |= {_AVERAGED + key: np.ascontiguousarray(array) for key, array in (content.averaged or {}).items()}
    broken = [key for key, array in arrays.items() if array.dtype.kind == "f" and not np.isfinite(array).all()]
    if broken:
        raise ValueError(f"{path}: not saved, since these hold NaN or infinity: {', '.join(broken[:5])}")
    state = content.optimizer
    if state is not None:
        arrays |= {_OPTIMIZER + key: np.ascontiguousarray(array) for key, array in state["arrays"].items()}
        state = {key: value for key, value in state.items() if key != "arrays"}
    header = {"optimizer": state, "position": content.position, "generators": content.generators, "info": content.info}
    metadata = {"format": FORMAT, "minires": json.dumps(header, allow_nan=False)}
    file = safetensors().numpy.save(arrays, metadata | {"sha256": digest(arrays, metadata)})
    refuse_long_header(path, file, "train for fewer epochs, or keep less in `info`")
    if previous is not None:
        _keep(Path(path), previous)
    write_atomically(path, file)


def refuse_long_header(path: Path | str, file: bytes, cure: str) -> None:
    """Raise OSError for a safetensors file, before it is written, that would not be read for the length of its header.

    cure: what to do.
    """
    if (length := int.from_bytes(file[:8], "little")) > MAX_HEADER:
        raise OSError(
            f"{path} could not be written: its metadata takes {length} bytes, at most {MAX_HEADER} are read: {cure}"
        )


def digest(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> str:
    """SHA-256, in hexadecimal, of metadata and of arrays: their names, dtypes, shapes and numbers, sorted by name."""
    total = hashlib.sha256(json.dumps(sorted((metadata or {}).items())).encode())
    for key in sorted(arrays):
        array = arrays[key]
        total.update(json.dumps([key, array.dtype.newbyteorder("<").str, array.shape]).encode())
        total.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return total.hexdigest()


def _keep(path, previous):
    """Give the file at `path` a second name, by a link or, where a disk has none, a copy: both are whole throughout."""
    beside = previous.with_name(f".{previous.name}.{os.getpid()}.part")
    try:
        os.link(path, beside)
        os.replace(beside, previous)
    except FileNotFoundError:
        return  # nothing stands there yet
    except (OSError, AttributeError):  # AttributeError: in a browser there are no links
        with contextlib.suppress(FileNotFoundError):
            write_atomically(previous, path.read_bytes())
    finally:
        beside.unlink(missing_ok=True)  # a rename of one name of a file to another name of it leaves both


# Reading ------------------------------------------------------------------------------------------------------------


def load(path: str | Path) -> Checkpoint:
    """Read a Checkpoint: `load(path).model` is what `Module.load_state_dict` takes.

    Raises CheckpointError for a missing or foreign file, and its kind DamagedError for one that is not as it was
    written, before any of its numbers is used. Raises OSError for a file that may not be read.
    """
    path = Path(path)
    if not path.is_file():
        if path.exists():
            raise DamagedError(f"{path}: no file but a folder, or what has no end")
        raise CheckpointError(f"{path}: no such checkpoint: give a .safetensors file that a run has written")
    try:
        arrays, metadata = _parse(_content(path))
        _check_format(path, arrays, metadata)
        verified = verify(arrays, metadata)
        header = read_json(metadata["minires"])
        check(header, _HEADER, "its metadata")
    except CheckpointError:
        raise
    except ValueError as error:
        raise DamagedError(f"{path}: damaged or no safetensors file ({error})") from error
    optimizer, averaged = header["optimizer"], _under(_AVERAGED, arrays) or None
    if optimizer is not None:
        optimizer["arrays"] = _under(_OPTIMIZER, arrays)
    model = {key: array for key, array in arrays.items() if not key.startswith(BESIDE_THE_MODEL)}
    return Checkpoint(model, optimizer, header["position"], header["generators"], header["info"], verified, averaged)


def _under(prefix, arrays):
    """The arrays whose names begin with it, without it."""
    return {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}


def _check_format(path, arrays, metadata):
    """Raise CheckpointError for a file of another program or of a later version, ValueError for a damaged one."""
    if metadata.get("format") in FORMATS:
        return
    if not {"minires", "sha256"} & set(metadata):
        raise CheckpointError(
            f"{path}: a safetensors file, but no checkpoint of this program: it lacks its metadata: give one that a "
            "run has written"
        )
    if metadata.get("sha256") != digest(arrays, _summed(metadata)):
        raise ValueError(f"it says it is {quoted(metadata.get('format'))}")
    raise CheckpointError(
        f"{path}: a checkpoint of another version, {quoted(metadata.get('format'))}: read it with that version"
    )


def _summed(metadata):
    return {key: text for key, text in metadata.items() if key != "sha256"}


def verify(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> bool:
    """Whether all of a checkpoint's arrays and metadata are as they were written; False: an earlier version wrote it,
    without a checksum. Raises ValueError where they are not.
    """
    format = metadata["format"]
    if set(metadata) != _METADATA[format]:
        raise ValueError(f"its metadata has {shown(', '.join(sorted(metadata)), 80)}")
    if format == WITHOUT_SUM:
        return False
    if digest(arrays, _summed(metadata)) != metadata["sha256"]:
        raise ValueError("its checksum is not that of its content")
    return True


def _content(path):
    """The bytes of a file. Raises ValueError where the disk no longer gives them, OSError where the system does not."""
    try:
        return path.read_bytes()
    except OSError as error:
        if error.errno == errno.EIO:
            raise ValueError(f"the disk cannot read it: {error.strerror}") from error
        raise OSError(f"{path} cannot be read ({error.strerror}): check its permissions") from error


def _parse(content):
    """The bytes of a safetensors file -> (arrays, metadata). Raises ValueError for any that are none."""
    package, length = safetensors(), int.from_bytes(content[:8], "little")
    if length > MAX_HEADER:
        raise ValueError(f"its header would have {length} bytes, at most {MAX_HEADER} are read")
    try:
        records = package.deserialize(content)
    except package.SafetensorError as error:
        raise ValueError(shown(str(error), 200)) from error  # which quotes the file
    metadata = read_json(content[8 : 8 + length]).get("__metadata__") or {}  # null is none, as safetensors reads it
    arrays = {}
    for key, record in records:
        if record["dtype"] not in _DTYPES:
            raise ValueError(f"{quoted(key)} has dtype {quoted(record['dtype'])}")
        arrays[key] = np.frombuffer(record["data"], _DTYPES[record["dtype"]]).reshape(record["shape"])
    return arrays, metadata


# Generators ---------------------------------------------------------------------------------------------------------


def generator_states(model: Module) -> dict[str, Any]:
    """{path: state} of every random generator that a module holds as `rng` (dropout)."""
    return {path: _plain(rng.bit_generator.state) for path, rng in _generators(model).items()}


def restore_generators(model: Module, states: dict[str, Any]) -> None:
    """Put the model's generators back where `generator_states` found them. Raises CheckpointError for other ones."""
    generators = _generators(model)
    if generators.keys() != states.keys():
        raise CheckpointError(
            f"this checkpoint has random generators for {sorted(states)}, the model has {sorted(generators)}: give the "
            "model that it is of"
        )
    for path, rng in generators.items():
        try:
            rng.bit_generator.state = states[path]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise CheckpointError(
                f"this checkpoint's random generator for {path!r} is none ({error!r}): give another copy of it"
            ) from error


def _generators(model):
    found = {path: getattr(module, "rng", None) for path, module in model.named_modules()}
    return {path: rng for path, rng in found.items() if isinstance(rng, np.random.Generator)}


def _plain(value):
    """A generator's state as JSON has it (some kinds hold arrays)."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
