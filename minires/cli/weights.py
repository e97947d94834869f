"""What the scripts that take weights have in common: flags for what a file leaves open, and what is said of it."""

import sys
from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minires.cli.console import in_flags
from minires.cli.settings import add_arguments
from minires.data.class_names import LISTS, read_class_names
from minires.data.class_names import class_names as known_names
from minires.pretrained.identity import assumed_sentences, preprocessing_text
from minires.pretrained.readings import FIELDS
from minires.wording import readable

OF_WEIGHTS = (  # what the owner of a file of weights knows better than the file
    "--part", "--preprocessing", "--mean", "--std", "--channel-order", "--size", "--resize", "--interpolation",
    "--variant",
)  # fmt: skip
KNOWN = ("preprocessing", "mean", "std", "order", "size", "resize", "interpolation", "variant")


def add_weights_arguments(parser: ArgumentParser) -> None:
    """Add OF_WEIGHTS to a parser, as a group of its own."""
    group = parser.add_argument_group("what a file of weights does not say, or says wrongly")
    add_arguments(group, *OF_WEIGHTS)


def known_of_weights(given: Mapping[str, Any]) -> dict[str, Any]:
    """{"part", "overrides"} for `pretrained.read`, `build` and `load`, of the flags given among OF_WEIGHTS."""
    overrides = {name: given[name] for name in KNOWN if given.get(name) is not None}
    return {"part": given.get("part"), "overrides": overrides}


def class_names(metadata: Mapping[str, Any], file: str | Path | None) -> list[str]:
    """The classes' names: of --classes (a file, or a list of `minires.data.class_names`), of the weights, or numbers.

    Weights for 1,000 classes without names are taken to be ImageNet's, which is said on standard error.
    """
    number = metadata["num_classes"]
    if file is None and metadata["classes"] is None and number == 1000:
        print("note: the file does not name its 1,000 classes: taken to be ImageNet's, in order", file=sys.stderr)
        return list(known_names("imagenet"))
    if file is None:
        return [readable(name, 2000) for name in metadata["classes"] or [f"class {label}" for label in range(number)]]
    if str(file) in LISTS and not Path(file).exists():
        names = list(known_names(str(file)))
    else:
        try:
            names = read_class_names(file)
        except ValueError as error:
            raise ValueError(f"--classes {error}") from error
    if len(names) != number:
        raise ValueError(f"--classes {file}: {len(names)} names, the weights have {number} classes: give one a line")
    return names


def weights_line(path: str | Path, metadata: Mapping[str, Any]) -> str:
    """What was read: `weights: densenet121, 1,000 classes, from PyTorch (densenet121.pth)`."""
    classes = "no head" if metadata["num_classes"] is None else f"{metadata['num_classes']:,} classes"
    pruned = " with pruned blocks" if "widths" in metadata["options"] else ""
    return (
        f"weights: {metadata['model']}{pruned}, {classes}, from {metadata['source']} ({readable(Path(path).name, 300)})"
    )


def note_assumed(metadata: Mapping[str, Any]) -> None:
    """Say on standard error what of a file of weights was taken and left out, and what is only assumed of it."""
    for note in metadata["notes"]:
        print(f"note: {in_flags(note)}", file=sys.stderr)
    if metadata["assumed"]:
        what = preprocessing_text(metadata).partition("; assumed")[0]
        assumed = [name for name in FIELDS if name in metadata["assumptions"]]
        some = "" if len(assumed) == len(FIELDS) else f" in all ({', '.join(assumed)} are assumed)"
        print(
            f"note: the file does not say how its images were prepared{some}: taken as usual for this network, {what}",
            file=sys.stderr,
        )
    if sentences := assumed_sentences(metadata):
        print(f"note: assumed: {'; '.join(sentences)}", file=sys.stderr)
