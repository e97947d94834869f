"""Training images that a file of weights was not trained on, by what a run's file says of itself.

A run sets some of its training images aside for validation, drawn by its seed, and --limit-train leaves others out.
What is fitted afterwards, such as a temperature, may be fitted on these; of several files, on those that none has seen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from minires import data
from minires.cli.ensembles import Member
from minires.cli.output import note

LEAST, MOST = 100, 5000  # images that are worth fitting one number on, and that are enough for it

TOO_EASY = (
    "fine-tuned weights: what they began from may have been trained on the held-out images, too; then these look "
    "easier than they are, and the temperature comes out too low"
)


def held_out(
    dataset: data.Dataset, members: Sequence[Member], last: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(images, labels) of the training images that no member was trained on; of more than 5,000 the last.

    last: the last so many training images, on the user's word, in place of what the files say. Raises ValueError where
    a file does not say what it was trained on, and where fewer than 100 images are left.
    """
    images, labels = dataset.train_images, dataset.train_labels
    if last is not None:
        if not LEAST <= last < len(labels):
            raise ValueError(
                f"--held-out {last}: give {LEAST} or more, and less than the {len(labels):,} images there are"
            )
        if any(_fine_tuned(member) for member in members):
            note(TOO_EASY)
        return images[-last:], labels[-last:]
    unseen = np.ones(len(labels), bool)
    for member in members:
        unseen &= ~_seen_by(dataset, member)
    if (count := int(unseen.sum())) < LEAST:
        raise ValueError(
            f"--weights: {count} training images are held out from all of these files, too few to fit anything on: "
            "runs of different seeds set different images aside, so train them with --limit-train 45000, and all hold "
            "the last 5,000 out"
        )
    if any(_fine_tuned(member) for member in members):
        note(TOO_EASY)
    unseen &= np.cumsum(unseen[::-1])[::-1] <= MOST
    return images[unseen], labels[unseen]


def _fine_tuned(member):
    """Whether a run's file says that it began from other weights."""
    run = member.metadata.get("run")
    return run is not None and run["trained_on"]["fine_tuned"]


def _seen_by(dataset, member):
    """Which of the training images a file of weights was trained on, booleans (N,)."""
    run = member.metadata.get("run")
    if run is None or run["label"] != dataset.label:
        what = "does not say which images it was trained on" if run is None else f"was trained on {run['label']}"
        raise ValueError(
            f"--weights {member.path}: {what}: fine-tune it on {dataset.label} first, or, if you know that it has not "
            "seen the last N training images, give --held-out N"
        )
    return seen(dataset, run["trained_on"])


def seen(dataset: data.Dataset, trained_on: Mapping[str, Any]) -> np.ndarray:
    """Which training images a run with {"seed", "val_split", "limit_train"} learned from, booleans (N,)."""
    numbers = np.arange(len(dataset.train_labels))
    few, labels = data.limit(numbers, dataset.train_labels, trained_on["limit_train"])
    val_size = len(labels) // 10 if trained_on["val_split"] is None else trained_on["val_split"]
    limited = replace(dataset, train_images=few, train_labels=labels)
    (train, _), _ = data.split(limited, val_size, trained_on["seed"] or 0)
    found = np.zeros(len(numbers), bool)
    found[train] = True
    return found
