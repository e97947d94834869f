"""Which reading of a file of weights is right? The one that recognises labelled images best.

A file does not say how its images were prepared, nor all of its network. With labelled images at hand that can be
tried: every usual preprocessing, with every network that the arrays fit, on a quarter of the images; the best of these
on all of them, and then with the channels in the other order and another eps. The images should be training images:
whoever chooses by test images has no test left.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minires import models, no_grad
from minires.data import normalize
from minires.data.images import Preprocessing
from minires.pretrained.errors import WeightsError
from minires.pretrained.readings import PREPROCESSINGS, VARIANTS, open_questions, overrule, usual_eps
from minires.pretrained.weights import OF_THE_FILE_ITSELF, fill, read

KEPT = 8  # of the first round
BATCH = 50
OTHER_EPS = ("eps=1e-5", "eps=1e-3", "eps=1e-6")
QUESTIONS = {
    "maxpool": "max-pool",
    "stem": "small-input",
    "stride": "v1",
    "padding": "pad-end",
}  # what is assumed: the other variant


@dataclass(frozen=True)
class Row:
    """A reading, the `overrides` of `read`, and how many of so many images it recognises."""

    overrides: dict[str, Any]
    correct: int
    total: int

    @property
    def accuracy(self) -> float:
        return self.correct / self.total

    @property
    def flags(self) -> str:
        """The flags of the scripts that read the file so; "" for as it is read without any."""
        given = {name: value for name, value in self.overrides.items() if name in ("preprocessing", "order")}
        flags = [f"--{'channel-order' if name == 'order' else name} {value}" for name, value in given.items()]
        return " ".join([*flags, *(f"--variant {word}" for word in self.overrides.get("variant", []))])


def probe(
    path: str | Path,
    images: np.ndarray,
    labels: np.ndarray,
    part: str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> list[Row]:
    """The plausible readings of a file of weights, the best first.

    images: uint8 (N, size, size, 3) in RGB, of the size that the network takes.   labels: (N,).
    overrides: what is known already, as in `read`; it is tried as it is and with everything else that is left open.
    Of rows with equally many right the one with fewer flags comes first; those tried on a quarter only come last.
    Raises WeightsError as `read`, and for weights without a head or with fewer classes than there are labels.
    """
    state, metadata = read(path, part)
    classes = metadata["num_classes"]
    if classes is None or classes <= labels.max():
        have = "no classes" if classes is None else f"{classes} classes"
        raise WeightsError(f"{path}: has {have}, the labels go to {labels.max()}: give images of the classes it knows")
    given = dict(overrides or {})
    networks: dict[str, Any] = {}  # by their options

    def network(read_so):
        name = repr(read_so["options"])
        if name not in networks:
            networks[name] = models.build(read_so["model"], classes, rng=0, **read_so["options"]).eval()
            fill(networks[name], path, state, hint=OF_THE_FILE_ITSELF)
        return networks[name]

    def judged(readings, count):
        rows = []
        for reading in readings:
            read_so = overrule(metadata, **reading)
            correct = _correct(network(read_so), read_so["preprocessing"], images[:count], labels[:count])
            rows.append(Row(reading, correct, count))
        return rows

    first = _first_round(metadata, given)
    few = max(1, len(images) // 4)
    tried = sorted(judged(first, few), key=_rank)
    best_few = [row.overrides for row in tried[:KEPT]]
    kept = judged(best_few if given in best_few else [*best_few, given], len(images))
    best = min(kept, key=_rank).overrides
    kept += judged(_second_round(metadata, best), len(images))
    known = [row.overrides for row in kept]
    return sorted(kept, key=_rank) + [row for row in tried if row.overrides not in known]


def _first_round(metadata, given):
    """Overrides: each preprocessing with each network; what is given is not overruled."""
    fixed = {"preprocessing", "mean", "std"} & given.keys()
    names: list = [None] if fixed else [None, *_distinct(metadata)]
    questions = open_questions(metadata["model"], metadata["options"])
    asked = {name for name in questions if name in metadata["assumptions"]}
    words = [QUESTIONS[name] for name in questions if name in QUESTIONS and name in asked]
    words = [word for word in words if VARIANTS[word][0] not in _options_given(given)]
    readings = []
    for name in names:
        for more in ([], *([word] for word in words)):
            reading = dict(given) if name is None else {"preprocessing": name, **given}
            if more:
                reading["variant"] = [*_words(given), *more]
            readings.append(reading)
    return readings


def _distinct(metadata):
    """The names of preprocessings other than the one that is read already."""
    own = Preprocessing(**metadata["preprocessing"])
    for name, fields in PREPROCESSINGS.items():
        if Preprocessing(**{**metadata["preprocessing"], **fields}) != own:
            yield name


def _second_round(metadata, best):
    """The best with the other order of channels, and with another eps."""
    order = overrule(metadata, **best)["preprocessing"]["order"]
    yield {**best, "order": "BGR" if order == "RGB" else "RGB"}
    if "eps" in open_questions(metadata["model"], metadata["options"]) and "eps" not in _options_given(best):
        usual = usual_eps(metadata["model"], metadata["options"])
        for word in (word for word in OTHER_EPS if float(word.removeprefix("eps=")) != usual):
            yield {**best, "variant": [*_words(best), word]}


def _words(overrides):
    words = overrides.get("variant", [])
    return [words] if isinstance(words, str) else list(words)


def _options_given(overrides):
    return {VARIANTS[word][0] if word in VARIANTS else "eps" for word in _words(overrides)}


def _rank(row):
    return -row.accuracy, len(row.flags), row.flags


def _correct(network, preprocessing, images, labels):
    """How many of the images a network recognises that are prepared so."""
    preprocessing = Preprocessing(**preprocessing)
    turned = images if preprocessing.order == "RGB" else images[..., ::-1]
    correct = 0
    for start in range(0, len(images), BATCH):
        x = normalize(turned[start : start + BATCH], preprocessing.mean, preprocessing.std)
        with no_grad():
            logits, _ = network(x)
        correct += int((logits.argmax(axis=1) == labels[start : start + BATCH]).sum())
    return correct
