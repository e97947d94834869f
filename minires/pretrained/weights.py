"""Reading, recognising, loading and writing weights, whatever the format of the file."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from minires import checkpoint, models
from minires.compression.quantization import dequantized_state
from minires.files import write_atomically
from minires.models.last_layer import extra_heads, head_name
from minires.models.narrow import is_as_wide
from minires.module import Module
from minires.names import misfits, some
from minires.pretrained.errors import WeightsError
from minires.pretrained.formats import read_file
from minires.pretrained.metadata import FORMAT, other_task, said, written
from minires.pretrained.networks import find_network
from minires.pretrained.readings import FIELDS, check_options, open_questions, overrule, usual_preprocessing
from minires.pretrained.skeletons import without_numbers
from minires.types import Rng
from minires.wording import shown

MOST_KEYS = 6  # of each kind of misfit
OF_8_BITS = "its weights are stored in 8 bits: they are multiplied by their scales, and float32 from here on"
OF_ANOTHER_TASK = "a network of minires.{}, of which the backbone is taken"
OF_ANOTHER_MODEL = ": build the model that `identify` names, or give head='new' if only the classes differ"
OF_THE_FILE_ITSELF = ": the file is incomplete, or of a variant that is not known here: check how it was saved"


def read(
    path: str | Path, part: str | None = None, overrides: Mapping[str, Any] | None = None
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(state, metadata) of a weights file: PyTorch's (.pth, .pt, .th), safetensors, .npz, Keras's HDF5, or a run's own.

    path: the file; a run's folder, which stands for the best.safetensors in it; a folder with one file of weights, such
    as Hugging Face's; or an index of shards.
    part: the name of one of several networks in it; None takes the one that `parts.choose` does, and says so.
    overrides: what its owner knows better than the file, the arguments of `readings.overrule`.
    state: {key: NumPy array} under torchvision's names and in PyTorch's shapes, in the dtype of the file.
    metadata:
        "model", "options", "num_classes"    for `models.build`; num_classes is None without a head
        "classes", "source"                  the classes' names, or None; the kind of file
        "preprocessing"                      the fields of a Preprocessing
        "assumptions"                        what of all this is only usual: fields of a Preprocessing, names of ASSUMED
        "assumed"                            whether anything of the preprocessing is
        "part", "parts", "head", "left_out"  names in the file: of the network taken and of all, of its last layer (or
                                             None), of what was not taken
        "notes"                              what is to be said of that, a list of sentences
        "bits"                               8 where the weights were stored as int8 with scales; else there is none
    Raises WeightsError for a file that is missing, damaged, of another kind, or of no network that is known here.
    """
    return _read(path, part, overrides)


def _read(path, part, overrides, keep=()):
    """`read`, and with it the extra heads whose keys begin with one of `keep`."""
    path = _best_of(Path(path))
    arrays, info, source = read_file(path)
    try:
        arrays, notes = _of_a_run(arrays, info)
        arrays, bits = _of_8_bits(arrays)
        found = find_network(arrays, part, _names(info, "not_read"), keep)
        metadata = _metadata(path, found, said(path, info), source, _names(info, "left_out"))
        metadata["notes"] += [*notes, *([OF_8_BITS] if bits else [])]
        metadata |= bits
        return found.state, overrule(metadata, **(overrides or {}))
    except WeightsError as error:
        text = str(error)
        raise WeightsError(text if text.startswith(f"{path}: ") else f"{path}: {text}") from error.__cause__


def _of_a_run(arrays, info):
    """(the model's arrays, notes) of a checkpoint, held against its checksum; others as they are."""
    if info.get("format") not in checkpoint.FORMATS:
        return arrays, []
    try:
        verified = checkpoint.verify(arrays, info)
    except ValueError as error:
        raise WeightsError(f"damaged ({error}): give another copy of the file") from error
    arrays = {key: array for key, array in arrays.items() if not key.startswith(checkpoint.BESIDE_THE_MODEL)}
    return arrays, [] if verified else [checkpoint.UNVERIFIED]


def _of_8_bits(arrays):
    """(arrays in float32, {"bits": 8}) of int8 weights with scales beside them; others as they are, and {}."""
    try:
        restored = dequantized_state(arrays)
    except ValueError as error:
        raise WeightsError(f"{error}: give another copy of the file") from error
    return (restored, {"bits": 8}) if len(restored) < len(arrays) else (arrays, {})


def _metadata(path, found, known, source, objects):
    """The metadata of `read`, from what was found in the arrays of a file and what it says itself."""
    architecture = found.architecture
    model, number = architecture.model, architecture.num_classes
    if (known.get("model") or model).replace("plain", "resnet") != model:
        raise WeightsError(f"{path}: says it is {shown(known['model'])}, its arrays are {model}'s: it is damaged")
    names, dropped = known.get("classes"), None
    if names is not None and number is not None and len(names) != number:
        if not known.get("maybe"):
            raise WeightsError(f"{path}: {len(names)} names of classes, its last layer has {number}: it is damaged")
        dropped, names = f"left out: {len(names)} names of classes, its last layer has {number:,}", None
    usual = asdict(usual_preprocessing(model, architecture.options))
    fixed = {**(found.normaliser or {}), **known.get("preprocessing", {})}
    try:
        options = check_options(model, architecture.options, known.get("options", {}))
    except ValueError as error:
        raise WeightsError(f"{path}: its metadata is damaged ({error}): give another copy of the file") from error
    still_open = known.get("open", open_questions(model, architecture.options))
    assumptions = [name for name in FIELDS if name not in fixed]
    assumptions += [name for name in still_open if name != "classes"]
    assumptions += ["classes"] if names is None and number is not None else []
    left_out = [*found.left_out, *known.get("left_out", [])]
    task = other_task(known)
    notes = [OF_ANOTHER_TASK.format(task)] if task else list(found.notes)
    if dropped:
        notes.append(dropped)
    if objects:
        notes.append(f"left out, as no arrays: {some(objects, 6)}")
    return {
        "model": known.get("model") or model,
        "num_classes": number,
        "options": {**architecture.options, **options},
        "classes": names,
        "source": known.get("source") or source,
        "preprocessing": {**usual, **fixed},
        "assumptions": tuple(assumptions),
        "part": found.part,
        "parts": found.parts,
        "head": found.head,
        "left_out": left_out,
        "notes": notes,
        **({"run": known["run"]} if "run" in known else {}),
    }


def _names(info, key):
    """A list of names in the info that a reader gave; a file's own text under that key is none."""
    return info[key] if isinstance(info.get(key), list) else []


def _best_of(path):
    """A file or folder as it is; for the folder of a run the best model in it."""
    best = path / "best.safetensors"
    return best if best.is_file() else path


def build(
    path: str | Path, rng: Rng = None, part: str | None = None, overrides: Mapping[str, Any] | None = None
) -> tuple[Module, dict[str, Any]]:
    """(model, metadata): the network that a file belongs to, with the file's weights. Raises as `read` and `load`."""
    state, metadata = read(path, part, overrides)
    classes = metadata["num_classes"]
    if task := other_task(metadata):
        raise WeightsError(
            f"{path}: holds a network of minires.{task}, no classifier: use it there, or load its backbone with "
            "head='new'"
        )
    if classes is None:
        why = "".join(f" ({note})" for note in metadata["notes"] if " head " in note)
        raise WeightsError(
            f"{path}: has no head, so it predicts nothing{why}: fine-tune it, or load it with head='new'"
        )
    model = models.build(metadata["model"], classes, rng=without_numbers(rng), **metadata["options"])
    fill(model, path, state, hint=OF_THE_FILE_ITSELF, left_out=metadata["left_out"])
    return model, metadata


def load(
    model: Module,
    path: str | Path,
    head: str | None = None,
    part: str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Fill `model` with a file's weights, cast to its dtype and moved to its device; returns the metadata.

    Every array must be there, in its shape, and none besides. head="new" leaves the model's last layer as it is, for
    other classes, and so its extra heads, which are else filled where the model has them. Raises WeightsError that
    names missing, unexpected and misshapen keys, or an array that is not finite, and changes nothing then; else as
    `read`.
    """
    state, metadata = _read(path, part, overrides, [f"{name}." for name in extra_heads(model)])
    if "widths" in metadata["options"] and not is_as_wide(model, metadata["options"]["widths"]):
        raise WeightsError(
            f"{path}: is a {metadata['model']} of pruned blocks, narrower than this: build it by pretrained.build"
        )
    fill(model, path, state, head, left_out=metadata["left_out"])
    return metadata


def fill(
    model: Module,
    path: str | Path,
    state: dict[str, np.ndarray],
    head: str | None = None,
    hint: str = OF_ANOTHER_MODEL,
    left_out: Sequence[str] = (),
) -> None:
    """`load` of what `read` gave for `path`; `hint` is what to do where the keys do not fit, among which `left_out`
    are then named, too: what is missing may be there under another name.
    """
    if head not in (None, "new"):
        raise ValueError(f"load: unknown head {head!r}: give 'new' to leave the model's own, or None")
    if head == "new":
        heads = tuple(f"{name}." for name in (head_name(model), *extra_heads(model)))
        own = {key: array for key, array in model.state_dict().items() if key.startswith(heads)}
        state = {key: array for key, array in state.items() if not key.startswith(heads)} | own
    for key, array in state.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise WeightsError(
                f"{path}: {shown(key)} holds NaN or infinity: its training diverged, or the file is damaged"
            )
    shapes, own_shapes = {key: np.shape(array) for key, array in state.items()}, model.state_shapes()
    if wrong := misfits(shapes, own_shapes, "the model", MOST_KEYS):
        wrong = misfits({**shapes, **dict.fromkeys(left_out, ())}, own_shapes, "the model", MOST_KEYS)
        raise WeightsError(f"{path}: {wrong}{'' if head else hint}")
    model.load_state_dict(state)


def write(path: str | Path, state: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> None:
    """Write weights with their metadata as a safetensors file that `read` takes, and any reader of safetensors.

    What is assumed is written as that: a guess does not become a fact. The keys are those of torchvision's state_dict
    with its counts, `num_batches_tracked`, which are 0. Raises OSError where it cannot be written; a file that stood
    there before is then as it was.
    """
    file = serialised(state, metadata)
    checkpoint.refuse_long_header(path, file, "give its classes shorter names")
    write_atomically(path, file)


def serialised(state: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> bytes:
    """The file that `write` writes."""
    arrays = {key: np.ascontiguousarray(array) for key, array in state.items()}
    means = [key for key in arrays if key.endswith("running_mean")]
    arrays |= {key.replace("running_mean", "num_batches_tracked"): np.array(0, np.int64) for key in means}
    return checkpoint.safetensors().numpy.save(arrays, {"format": FORMAT, "minires": written(metadata)})
