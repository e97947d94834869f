"""What the scripts show and accept: the command line's errors, the progress of a run, its end by a signal."""

from __future__ import annotations

import argparse
import math
import re
import sys
import textwrap
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from minires.cli.meant import flag_for
from minires.columns import display_width, padded
from minires.names import unknown
from minires.textbook import softmax
from minires.wording import readable

if TYPE_CHECKING:
    from minires.training import Evaluation

FLAGS = {  # what the library's errors advise, and the flag that does it
    "lower the learning rate": "lower --lr",
    "as data_dir": "with --data-dir",
    "as data_url": "with --data-url",
    "make_synthetic()": "--dataset synthetic",
    "ask for the data set cifar10": "give --dataset cifar10",
    "skip_broken=True": "--skip-broken",
    "splits='none'": "--splits none",
    "as test_folder": "as --test-folder",
    "a test_folder": "a --test-folder",
    "label_columns": "--label-columns",
    "balance='loss' or 'sampling'": "--balance loss or sampling",
    "part=NAME": "--part NAME",
    "keep_macs": "--keep-macs",
    "sparsity must be": "--sparsity must be",
    "stages: [": "--stages: [",
    "multiple must be": "--multiple must be",
    "head='new'": "--head new of finetune.py",
    "minires.segmentation": "segment.py",
    "minires.detection": "detect.py",
}


NEGATIVE = re.compile(r"-(inf|nan|(\d+\.?\d*|\.\d+)(e[-+]?\d+)?)$", re.IGNORECASE)
MOST_CLASSES = 40  # that a table shows one by one


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Shows the text as it stands, and what a flag of several words takes as its metavar has it."""

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        several = action.nargs == "+" and " " in str(action.metavar)
        return str(action.metavar) if several else super()._format_args(action, default_metavar)


class Parser(argparse.ArgumentParser):
    """A parser that shows its text as it stands; its errors are one sentence, with the flag that was perhaps meant."""

    def __init__(self, **options: Any) -> None:
        usual = {"formatter_class": Formatter, "allow_abbrev": False}
        super().__init__(**{**usual, **options})
        self._negative_number_matcher = NEGATIVE  # argparse's own takes -1e-3 and -inf for flags

    def error(self, message: str) -> NoReturn:
        if "unrecognized arguments: -" in message:
            wrong = message.partition(": ")[2].split()[0]
            near = flag_for(wrong, self._option_string_actions)
            message = f"unrecognized argument: {wrong}" + (f": did you mean {near}?" if near else "")
        elif found := re.match(r"argument --device: unknown device '(\w+)(:[1-9]\d*)?", message):
            meant = flag_for("--" + found[1], self._option_string_actions) or ""
            meant += (found[2] or "") if meant.endswith("gpu") else ""
            message += f": did you mean {meant}?" if meant.startswith("--device") else ""
        self.exit(2, f"error: {message} (see --help)\n")


def one_of(what: str, names: Collection[str]) -> Callable[[str], str]:
    """An argparse type: one of the names; anything else is refused with the nearest."""

    def check(value):
        if value not in names:
            raise argparse.ArgumentTypeError(unknown(what, value, names))
        return value

    return check


def likeliest(logits: np.ndarray, number: int) -> list[tuple[int, float]]:
    """[(label, probability)] of the `number` likeliest classes of one image, whose logits are (classes,).

    Raises ValueError for logits that are NaN or infinite: weights may be finite and their products not.
    """
    if not np.isfinite(logits).all():
        raise ValueError("the network's answer is no number, for its weights are too large: give other weights")
    probabilities = softmax(logits[None].astype(np.float64))[0][0]
    return [(int(label), float(probabilities[label])) for label in np.argsort(-probabilities, kind="stable")[:number]]


def in_flags(error: Exception | str) -> str:
    """The sentence of an error of the library, with flags for the arguments it names."""
    text = getattr(error, "for_scripts", str(error))
    for argument, flag in FLAGS.items():
        text = text.replace(argument, flag)
    return re.sub(r"value_range=\((\S+), (\S+)\)", r"--range \1 \2", text)


def notice_in_flags(notice: str) -> str:
    """The notice of `data.load`, with flags for the arguments it names, in a box of the same width."""
    border, *lines, _ = notice.splitlines()
    text = "\n".join(line.removeprefix("##").removesuffix("##").strip() for line in lines)
    wrapped = []
    for paragraph in text.split("\n\n"):
        words = in_flags(paragraph.replace("\n", " "))
        wrapped += ["", *textwrap.wrap(words, len(border) - 6, break_on_hyphens=False)]
    return "\n".join([border, *(f"## {line:<{len(border) - 6}} ##" for line in wrapped[1:]), border])


class Failed(Exception):
    """What ends a script: a sentence for standard error and an exit code."""

    def __init__(self, sentence: str, code: int = 1) -> None:
        super().__init__(sentence)
        self.code = code


def fail(error: Exception | str, code: int = 1) -> int:
    print(f"error: {error}", file=sys.stderr)
    return code


def evaluation_table(
    evaluation: Evaluation, classes: Sequence[str], label: str, where: str = "--json has all of them"
) -> Iterator[str]:
    """Lines of at most 80 columns: loss and accuracy on the test set, then each class.

    Of more than 40 classes the ten with the lowest and the ten with the highest accuracy.   where: the others stand.
    """
    correct, total = sum(evaluation.class_correct), sum(evaluation.class_total)
    share = f"{evaluation.accuracy:.2%} ({correct:,} of {total:,})"
    yield f"test loss {evaluation.loss:.4f}   test accuracy {share}"
    yield f"on {label}"
    if len(set(evaluation.class_total)) > 1:
        yield f"balanced accuracy {evaluation.balanced_accuracy:.2%}, the mean of the classes', each counting alike"
    rows = list(zip(classes, evaluation.class_correct, evaluation.class_total, strict=True))
    if len(rows) > MOST_CLASSES:
        rows = sorted((row for row in rows if row[2]), key=lambda row: row[1] / row[2])
        yield f"  the ten classes with the lowest and the ten with the highest accuracy, of {len(classes):,}; {where}"
        rows = rows if len(rows) <= 20 else rows[:10] + rows[-10:]
    numbers = [f"  {f'{right / of:7.2%}' if of else '      -'}  {right:5,} of {of:5,}" for _, right, of in rows]
    left = 80 - 2 - max(map(len, numbers), default=0)
    width = min(left, max((display_width(readable(name, 300)) for name, *_ in rows), default=0))
    for (name, *_), figures in zip(rows, numbers, strict=True):
        yield f"  {padded(readable(name, 300), width)}{figures}"


def none_for_nan(value: float) -> float | None:
    """The value as JSON has it: None where it is not finite."""
    return value if math.isfinite(value) else None
