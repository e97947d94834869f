"""Several files of weights that answer as one, as the scripts take them: read, checked against each other, combined."""

from argparse import ArgumentParser, _ArgumentGroup
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minires import pretrained
from minires.backend import to_numpy
from minires.calibration import TemperatureScaling
from minires.checkpoint import digest
from minires.cli.output import note
from minires.cli.weights import known_of_weights, note_assumed, weights_line
from minires.data import DATASETS, Dataset
from minires.data.images import Preprocessing
from minires.ensemble import TTA, Ensemble, Views, log_mean_softmax, tta_views
from minires.models.fold import fold
from minires.modes import evaluating, no_grad
from minires.module import Module
from minires.wording import readable, shown


class Member(NamedTuple):
    """A file of weights: its path as given, its network, what is known of it, the SHA-256 of its arrays."""

    path: str
    model: Module
    metadata: Mapping[str, Any]
    digest: str

    @property
    def preprocessing(self) -> Preprocessing:
        """What its images must be."""
        return Preprocessing(**self.metadata["preprocessing"])


def read_members(paths: Sequence[str], given: Mapping[str, Any], flag: str) -> list[Member]:
    """The files, in order. Raises ValueError where they cannot answer together: their classes are not the same.

    given: the flags given, of which those of `add_weights_arguments` count for each file.   flag: that named the files.
    One that is given twice is said: it counts twice.
    """
    members = []
    for path in paths:
        model, metadata = pretrained.build(path, **known_of_weights(given))
        members.append(Member(str(path), model, metadata, digest(model.state_dict())))
    for member in members[1:]:
        _refuse_other_classes(members[0], member, flag)
    for number, member in enumerate(members):
        if twin := next((other for other in members[:number] if other.digest == member.digest), None):
            same = "" if twin.path == member.path else f", as {_name(twin)},"
            note(f"{_name(member)} is given twice{same} and counts twice in the mean")
    return members


def _refuse_other_classes(first, other, flag):
    ours, theirs = (member.metadata["num_classes"] for member in (first, other))
    names, others = (member.metadata["classes"] or [] for member in (first, other))
    if ours != theirs:
        raise ValueError(
            f"{flag}: {first.path} has {ours:,} classes and {other.path} {theirs:,}: give weights for the same classes"
        )
    for a, b in zip(names, others, strict=bool(names and others)):
        if a != b:
            raise ValueError(
                f"{flag}: the classes of {first.path} and {other.path} are not the same, in order ({shown(a, 40)}, "
                f"{shown(b, 40)}): give weights for the same classes"
            )


def _name(member):
    return readable(Path(member.path).name, 300)


def say_members(members: Sequence[Member], tell: Callable[[str], None]) -> None:
    """What was read, a line for each file, and on standard error what is only assumed of it."""
    for member in members:
        tell(weights_line(member.path, member.metadata))
        note_assumed(member.metadata)


def model_names(members: Sequence[Member]) -> str:
    """The networks' names, as `resnet20 + resnet32`."""
    return " + ".join(member.metadata["model"] for member in members)


def known_classes(members: Sequence[Member]) -> list[str] | None:
    """The names of the classes, of the first file that has them."""
    return next((member.metadata["classes"] for member in members if member.metadata["classes"] is not None), None)


def dataset_of(members: Sequence[Member], given: Mapping[str, Any], flag: str) -> str:
    """The name of the data set to try weights on: --dataset, else the one that a run's file was trained on, or auto.

    Raises ValueError where that was no data set of the library, such as a folder of pictures.
    """
    if "dataset" in given:
        return given["dataset"]
    trained = next((member for member in members if "run" in member.metadata), None)
    if trained is None:
        return "auto"
    run = trained.metadata["run"]
    if run["dataset"] not in DATASETS:
        raise ValueError(
            f"{flag} {trained.path}: trained on {shown(run['label'])}: finetune.py --resume tests that again, and "
            "--dataset names another data set"
        )
    return run["dataset"]


def refuse_other_images(member: Member, dataset: Dataset, flag: str) -> None:
    """Raise ValueError for weights that are not for the data set's classes and images."""
    metadata, size = member.metadata, member.preprocessing.size
    if metadata["num_classes"] != len(dataset.classes) or size != 32:
        raise ValueError(
            f"{flag} {member.path}: {metadata['model']} for {metadata['num_classes']} classes and "
            f"{size}x{size} pixels cannot be tested on {dataset.label}: predict.py takes it"
        )
    theirs, ours = metadata["classes"] or dataset.classes, dataset.classes
    if not set(theirs) & set(ours):
        raise ValueError(
            f"{flag} {member.path}: knows {readable(theirs[0], 40)!r} and {len(theirs) - 1} others, none of which is a "
            f"class of {dataset.label} ({readable(ours[0], 40)!r}, ...): name its own --dataset"
        )


def add_tta_argument(parser: ArgumentParser | _ArgumentGroup, **more: Any) -> None:
    """Add --tta to a parser."""
    text = "the mean of several views: of the image and its mirror image, or of these moved by some pixels, too"
    parser.add_argument("--tta", choices=TTA, help=f"test-time augmentation, {text}; default: none", **more)


def combined(
    members: Sequence[Member], images: np.ndarray, tta: str = "none", temperature: float = 1.0
) -> tuple[Module, np.ndarray, dict[str, tuple[float, ...]]]:
    """(network, images, {"mean", "std"}): what a Loader of the images is to be given, for the network that answers.

    images: uint8 (N, H, W, 3), RGB. One file without --tta is its network as it is, on images in its order of colours.
    """
    first = members[0].preprocessing
    turn = slice(None, None, -1 if first.order == "BGR" else 1)
    if len(members) == 1:
        network, mean, std = members[0].model, first.mean, first.std
        images = images if first.order == "RGB" else np.ascontiguousarray(images[..., turn])
    else:
        mean, std = first.mean[turn], first.std[turn]
        network = Ensemble([(member.model, member.preprocessing) for member in members], mean, std)
    if tta != "none":
        network = Views(network, tta_views(tta, first.size))
    if temperature != 1:
        network = TemperatureScaling(network, temperature)
    return network, images, {"mean": mean, "std": std}


def answers(network: Module, loader: Any) -> tuple[np.ndarray, np.ndarray]:
    """(logits (N, classes) in float64, labels (N,)) of all images of a loader, in inference mode, as NumPy arrays."""
    logits, labels = [], []
    with evaluating(network), no_grad():
        folded = fold(network)
        for x, y in loader.epoch(0):
            logits.append(to_numpy(folded(x)[0]).astype(np.float64))
            labels.append(to_numpy(y))
    return np.concatenate(logits), np.concatenate(labels)


def mean_logits(logits: Sequence[np.ndarray]) -> np.ndarray:
    """Of each network's logits (N, classes) those of their mean probabilities; of one network its own."""
    return logits[0] if len(logits) == 1 else log_mean_softmax(np.stack(logits))[0]
