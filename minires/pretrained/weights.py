"""Reading, recognising, loading and writing weights, whatever the format of the file."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from minires import checkpoint, models
from minires.data.images import Preprocessing
from minires.files import write_atomically
from minires.module import Module
from minires.pretrained.architectures import normalised, recognise
from minires.pretrained.errors import WeightsError
from minires.pretrained.files import opened
from minires.pretrained.zip_file import open_zip
from minires.types import Rng

FORMAT = "minires-weights-1"
IMAGENET: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
CAFFE: dict[str, Any] = {
    "mean": (103.939 / 255, 116.779 / 255, 123.68 / 255),
    "std": (1 / 255,) * 3,
    "order": "BGR",
    "resize": None,
}
STATE_NAMES = ("state_dict", "model_state_dict", "model_state", "model", "network", "net", "weights", "params")
HEAD = "fc."
OF_ANOTHER_MODEL = ": build the model that `identify` names, or give head='new' if only the classes differ"
OF_THE_FILE_ITSELF = ": the file is incomplete, or of a variant that is not known here: check how it was saved"


def read(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(state, metadata) of a weights file: PyTorch's (.pth, .pt, .th), safetensors, .npz, Keras's HDF5, or a run's own.

    path: the file, or a run's folder, which stands for the best.safetensors in it.
    state: {key: NumPy array} under torchvision's names and in PyTorch's shapes, in the dtype of the file.
    metadata: {"model", "options", "num_classes", "classes" (their names, or None), "preprocessing" (the fields of a
    Preprocessing), "assumed" (whether that is only the usual one for such a network), "source"}.
    Raises WeightsError for a file that is missing, damaged, of another kind, or of no network that is known here.
    """
    path = _best_of(Path(path))
    state, info, source = _read_file(path)
    state = normalised({key: array for key, array in state.items() if not key.startswith("optimizer/")})
    try:
        architecture = recognise(state)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None
    metadata = {**asdict(architecture), "classes": None, "source": source}
    known = _known(path, info)
    if (known.get("model") or architecture.model).replace("plain", "resnet") != architecture.model:
        raise WeightsError(f"{path}: says it is {known['model']}, its arrays are {architecture.model}'s: it is damaged")
    names, number = known.get("classes"), architecture.num_classes
    if names is not None and number is not None and len(names) != number:
        raise WeightsError(f"{path}: {len(names)} names of classes, its last layer has {number}: it is damaged")
    assumed = "preprocessing" not in known
    metadata |= {"preprocessing": asdict(usual_preprocessing(architecture.options))}
    metadata |= {key: value for key, value in known.items() if value}
    return state, {**metadata, "assumed": assumed}


def _best_of(path):
    """A file as it is; for a folder the best model of the run in it."""
    if not path.is_dir():
        return path
    best = path / "best.safetensors"
    if not best.exists():
        raise WeightsError(f"{path}: a folder without a run's best.safetensors: name a file of weights, or a run")
    return best


def identify(path: str | Path) -> str:
    """What a weights file holds, as text of a few lines: network, classes, source, preprocessing. Raises as `read`."""
    state, metadata = read(path)
    preprocessing = Preprocessing(**metadata["preprocessing"])
    options = "".join(f", {name} {value}" for name, value in metadata["options"].items() if value)
    numbers = sum(array.size for key, array in state.items() if ".running_" not in key)
    heads = "no head" if metadata["num_classes"] is None else f"{metadata['num_classes']:,} classes"
    names = f": {', '.join(metadata['classes'][:10])}" if metadata["classes"] else ""
    cut = "scaled to it" if preprocessing.resize is None else f"cut out after scaling to {preprocessing.resize}"
    mean, std = (", ".join(f"{number:.4f}" for number in getattr(preprocessing, name)) for name in ("mean", "std"))
    return (
        f"model          {metadata['model']}{options}, {numbers:,} parameters\n"
        f"classes        {heads}{names}\n"
        f"source         {metadata['source']}\n"
        f"preprocessing  {preprocessing.size}x{preprocessing.size} {cut}, {preprocessing.interpolation}, "
        f"{preprocessing.order}, mean ({mean}), std ({std})"
        f"{'; assumed, the file does not say' if metadata['assumed'] else ''}"
    )


def build(path: str | Path, rng: Rng = None) -> tuple[Module, dict[str, Any]]:
    """(model, metadata): the network that a file belongs to, with the file's weights. Raises as `read` and `load`."""
    state, metadata = read(path)
    classes = metadata["num_classes"]
    if classes is None:
        raise WeightsError(f"{path}: has no head, so it predicts nothing: fine-tune it, or load it with head='new'")
    model = models.build(metadata["model"], classes, rng=rng, **metadata["options"])
    fill(model, path, state, hint=OF_THE_FILE_ITSELF)
    return model, metadata


def load(model: Module, path: str | Path, head: str | None = None) -> dict[str, Any]:
    """Fill `model` with a file's weights, cast to its dtype and moved to its device; returns the metadata.

    Every array must be there, in its shape, and none besides. head="new" leaves the model's last layer, `fc`, as it
    is, for other classes. Raises WeightsError that lists every missing, unexpected and misshapen key, or names an array
    that is not finite, and changes nothing then; else as `read`.
    """
    state, metadata = read(path)
    fill(model, path, state, head)
    return metadata


def fill(
    model: Module,
    path: str | Path,
    state: dict[str, np.ndarray],
    head: str | None = None,
    hint: str = OF_ANOTHER_MODEL,
) -> None:
    """`load` of what `read` gave for `path`; `hint` is what to do where the keys do not fit."""
    if head not in (None, "new"):
        raise ValueError(f"load: unknown head {head!r}: give 'new' to leave the model's own, or None")
    if head == "new":
        own = {key: array for key, array in model.state_dict().items() if key.startswith(HEAD)}
        state = {key: array for key, array in state.items() if not key.startswith(HEAD)} | own
    for key, array in state.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise WeightsError(f"{path}: {key} holds NaN or infinity: its training diverged, or the file is damaged")
    try:
        model.load_state_dict(state)
    except ValueError as error:
        raise WeightsError(f"{path}: {error}{'' if head else hint}") from error


def write(path: str | Path, state: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> None:
    """Write weights with their metadata as a safetensors file that `read` takes, and any reader of safetensors.

    The keys are those of torchvision's state_dict with its counts, `num_batches_tracked`, which are 0.
    Raises OSError where it cannot be written; a file that stood there before is then as it was.
    """
    from safetensors.numpy import save

    known = {key: metadata[key] for key in ("model", "classes", "preprocessing", "source")}
    if metadata["assumed"]:
        del known["preprocessing"]
    arrays = {key: np.ascontiguousarray(array) for key, array in state.items()}
    means = [key for key in arrays if key.endswith("running_mean")]
    arrays |= {key.replace("running_mean", "num_batches_tracked"): np.array(0, np.int64) for key in means}
    write_atomically(path, save(arrays, {"format": FORMAT, "minires": json.dumps(known)}))


def usual_preprocessing(options: Mapping[str, Any]) -> Preprocessing:
    """The Preprocessing that most weights of a network with these options were trained with."""
    if "small_input" not in options or options["small_input"]:
        return Preprocessing(**IMAGENET, size=32, resize=32)
    return Preprocessing(**(CAFFE if options["variant"] == "keras" else IMAGENET))


def _read_file(path):
    """(state, info, source) by what the file begins with; its name says nothing certain."""
    from minires.pretrained import keras_file, npz_file, safetensors_file, torch_file

    try:
        with open(path, "rb") as file:
            start = file.read(9)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}): name a file of weights") from error
    entries = _entries(path) if start.startswith(b"PK") else []
    if start.startswith(b"\x89HDF") or keras_file.ARCHIVED in entries:
        return *keras_file.read_keras(path), "Keras"
    if entries and all(name.endswith(".npy") for name in entries):
        return *npz_file.read_npz(path), "NumPy"
    if start[8:9] == b"{":
        return *safetensors_file.read_safetensors(path), "safetensors"
    state, info = torch_file.read_torch(path, _wanted)
    return _unwrapped(state), info, "PyTorch"


def _wanted(shapes):
    """The arrays of a checkpoint but an optimizer's, which are many and no use here."""
    return [key for key in shapes if not key.startswith("optimizer")] or list(shapes)


def _unwrapped(state):
    """The arrays under the first of the usual names of a state_dict in a checkpoint; else all."""
    for name in STATE_NAMES:
        inside = {key.removeprefix(f"{name}."): array for key, array in state.items() if key.startswith(f"{name}.")}
        if inside:
            return inside
    return state


def _entries(path):
    """The names of a zip file's entries."""
    with opened(path) as file:
        return open_zip(file).namelist()


def _known(path, info):
    """What a file's own metadata says of it, as far as this library wrote it."""
    written_by = {FORMAT: _of_weights, checkpoint.FORMAT: _of_a_run}.get(info.get("format"))
    if written_by is None:
        return {}
    try:
        known = {"model": "", "classes": None, **written_by(json.loads(info["minires"]))}
        Preprocessing(**known.get("preprocessing", IMAGENET))
        names = known["classes"]
        if not isinstance(known["model"], str) or not (names is None or all(isinstance(name, str) for name in names)):
            raise ValueError("names that are no text")
        return known
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: its metadata is damaged ({error!r}): give another copy of the file") from error


def _of_weights(header):
    """The metadata that `write` wrote."""
    known = {key: header[key] for key in ("model", "classes", "source")}
    return {**known, "preprocessing": header["preprocessing"]} if "preprocessing" in header else known


def _of_a_run(header):
    """The metadata of a checkpoint; of one that a run wrote, "run" says what it was trained and tested on."""
    config = header["info"].get("config")
    if config is None:
        return {}
    preprocessing = config.get("preprocessing") or {**config["normalisation"], "size": 32, "resize": 32}
    dataset, test_images = config["dataset"], config["sizes"]["test"]
    run = {"dataset": dataset["name"], "label": dataset["label"], "test_images": test_images}
    known = {"model": config["settings"]["model"], "classes": config["classes"], "preprocessing": preprocessing}
    return {**known, "source": "minires", "run": run}
