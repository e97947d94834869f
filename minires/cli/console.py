"""What the scripts show and accept: the command line's errors, the progress of a run, its end by a signal."""

from __future__ import annotations

import argparse
import math
import os
import shlex
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from minires.names import unknown
from minires.textbook import softmax

if TYPE_CHECKING:
    from minires.cli.recording import Recorder
    from minires.trainer import HistoryRow, Position, Trainer
    from minires.training import Evaluation

FLAGS = {  # what the library's errors advise, and the flag that does it
    "lower the learning rate": "lower --lr",
    "as data_dir": "with --data-dir",
    "as data_url": "with --data-url",
    "make_synthetic()": "--dataset synthetic",
    "ask for the data set cifar10": "give --dataset cifar10",
    "skip_broken=True": "--skip-broken",
    "part=NAME": "--part NAME",
    "head='new'": "--head new of finetune.py",
}


class Parser(argparse.ArgumentParser):
    """A parser that shows its text as it stands; its errors are one sentence, with the flag that was perhaps meant."""

    def __init__(self, **options: Any) -> None:
        usual = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
        super().__init__(**{**usual, **options})

    def error(self, message: str) -> NoReturn:
        if "unrecognized arguments: -" in message:
            wrong = message.partition(": ")[2].split()[0]
            near = get_close_matches(wrong, self._option_string_actions, 1)
            message += f": did you mean {near[0]}?" if near else ""
        self.exit(2, f"error: {message} (see --help)\n")


def one_of(what: str, names: Collection[str]) -> Callable[[str], str]:
    """An argparse type: one of the names; anything else is refused with the nearest."""

    def check(value):
        if value not in names:
            raise argparse.ArgumentTypeError(unknown(what, value, names))
        return value

    return check


def likeliest(logits: np.ndarray, number: int) -> list[tuple[int, float]]:
    """[(label, probability)] of the `number` likeliest classes of one image, whose logits are (classes,)."""
    probabilities = softmax(logits[None].astype(np.float64))[0][0]
    return [(int(label), float(probabilities[label])) for label in np.argsort(-probabilities, kind="stable")[:number]]


class Watcher:
    """Shows and records how training goes: a bar on a terminal, plain lines elsewhere, one line for each epoch."""

    def __init__(self, recorder: Recorder, config: Mapping[str, Any]) -> None:
        self.recorder, self.config = recorder, config
        settings, label = config["settings"], config["dataset"]["label"]
        self.title = f"{settings['model']} on {label}, seed {settings['seed']}"
        self.quiet = settings["no_progress"]
        self.bar: Any = None  # tqdm's, while it is shown
        self.last_line = time.monotonic()

    def tell(self, text: str) -> None:
        """Print a line, above the bar if there is one, and keep it in train.log."""
        if self.bar is None:
            print(text, flush=True)
        else:
            self.bar.write(text)
        self.recorder.say(text)

    def start(self, trainer: Trainer) -> None:
        """What is trained on what, and the heads of the columns."""
        config, settings = self.config, self.config["settings"]
        sizes = config["sizes"]
        self.recorder.say(time.strftime("%Y-%m-%d %H:%M:%S"))
        if config["dataset"]["notice"]:
            self.recorder.say(config["dataset"]["notice"])
        self.tell(f"{self.title}: {config['parameters']:,} parameters, {sizes['train']:,} training, {sizes['val']:,} "
                  f"validation and {sizes['test']:,} test images")  # fmt: skip
        self.tell(f"{settings['recipe']} recipe: {settings['epochs']} epochs, batch size {settings['batch_size']}, "
                  f"{settings['optimizer']}, learning rate {settings['lr']:g}, {settings['schedule']}; writing to "
                  f"{trainer.folder}")  # fmt: skip
        if trainer.position.iteration:
            self.tell(f"going on after epoch {trainer.position.epoch}, iteration {trainer.position.iteration:,}")
        self.tell(" epoch  iteration         lr  train loss  train acc   val loss   val acc   seconds  images/s")

    def batch(self, trainer: Trainer) -> None:
        """After each step."""
        position, batches = trainer.position, len(trainer.train_loader)
        if self.quiet or position.seen == 0:  # a GPU has told nothing yet
            return
        seen = position.seen
        speed = position.seen / max(position.epoch_seconds, 1e-9)
        steps = min(trainer.epochs * batches, trainer.iterations or math.inf)
        left = (steps - position.iteration) / position.iteration * position.seconds
        facts = (
            f"loss {position.loss_sum / seen:.3f}, acc {position.correct / seen:.1%}, {speed:,.0f} images/s, "
            f"{clock(left)} left"
        )
        if sys.stderr.isatty():
            self.show_bar(position, batches, trainer.epochs, facts)
        elif time.monotonic() - self.last_line > 30:
            self.last_line = time.monotonic()
            print(
                f"  epoch {position.epoch + 1}/{trainer.epochs}, batch {position.batch}/{batches}: {facts}", flush=True
            )

    def show_bar(self, position: Position, batches: int, epochs: int, facts: str) -> None:
        from tqdm import tqdm

        if self.bar is None:
            layout = "{desc} |{bar}| {n_fmt}/{total_fmt}{postfix}"  # tqdm puts a comma before the postfix
            self.bar = tqdm(total=batches, leave=False, dynamic_ncols=True, bar_format=layout, delay=1e-3)
        self.bar.n = position.batch
        self.bar.set_description_str(f"epoch {position.epoch + 1}/{epochs}", refresh=False)
        self.bar.set_postfix_str(facts)

    def epoch(self, trainer: Trainer, row: HistoryRow) -> None:
        """After each epoch: a line, log.csv and curves.png."""
        columns = "{epoch:6d} {iteration:10,d} {lr:10.3g} {train_loss:11.4f} {train_acc:10.2%} "
        columns += f"{'-':>10} {'-':>9}" if row["val_loss"] is None else "{val_loss:10.4f} {val_acc:9.2%}"
        self.tell((columns + " {seconds:9.1f} {images_per_second:9,.0f}").format_map(row))
        self.last_line = time.monotonic()
        self.recorder.log(trainer.position.history)
        self.recorder.curves(trainer.position.history, self.title)

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.clear()  # close() alone leaves what a bar with a delay has shown
            self.bar.close()
            self.bar = None


def clock(seconds: float) -> str:
    """1:02:03 or 2:03."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


class stopping_on_signals:
    """Within this block Ctrl-C and SIGTERM ask the trainer to stop after its step; a second Ctrl-C stops at once."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.received: list[int] = []
        self.before: dict[int, Any] = {}

    def __enter__(self) -> list[int]:
        for number in (signal.SIGINT, signal.SIGTERM):
            self.before[number] = signal.signal(number, self.handle)
        return self.received

    def handle(self, number: int, frame: FrameType | None) -> None:
        if self.trainer.stop_requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        print("\nstopping after this step ...", file=sys.stderr, flush=True)
        self.trainer.stop_requested = True
        self.received.append(number)

    def __exit__(self, *error: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)


def how_to_go_on(folder: str | Path, recorder: Recorder) -> str:
    """The command that continues the run, also kept in train.log."""
    words = [sys.executable, str(Path(sys.argv[0]).resolve()), "--resume", str(Path(folder).resolve())]
    line = f"to go on: {subprocess.list2cmdline(words) if os.name == 'nt' else shlex.join(words)}"
    recorder.say(line)
    return line


def in_flags(error: Exception | str) -> str:
    """The sentence of an error of the library, with flags for the arguments it names."""
    text = getattr(error, "for_scripts", str(error))
    for argument, flag in FLAGS.items():
        text = text.replace(argument, flag)
    return text


def notice_in_flags(notice: str) -> str:
    """The notice of `data.load`, with flags for the arguments it names, in a box of the same width."""
    border, *lines, _ = notice.splitlines()
    text = "\n".join(line.removeprefix("##").removesuffix("##").strip() for line in lines)
    wrapped = []
    for paragraph in text.split("\n\n"):
        words = in_flags(paragraph.replace("\n", " "))
        wrapped += ["", *textwrap.wrap(words, len(border) - 6, break_on_hyphens=False)]
    return "\n".join([border, *(f"## {line:<{len(border) - 6}} ##" for line in wrapped[1:]), border])


def fail(error: Exception | str, code: int = 1) -> int:
    print(f"error: {error}", file=sys.stderr)
    return code


def evaluation_table(evaluation: Evaluation, classes: Sequence[str], label: str) -> Iterator[str]:
    """Lines: loss and accuracy on the test set, then each class."""
    correct, total = sum(evaluation.class_correct), sum(evaluation.class_total)
    share = f"{evaluation.accuracy:.2%} ({correct:,} of {total:,})"
    yield f"test loss {evaluation.loss:.4f}   test accuracy {share}   {label}"
    width = max(map(len, classes))
    for name, right, of in zip(classes, evaluation.class_correct, evaluation.class_total, strict=True):
        yield f"  {name:<{width}}  {f'{right / of:7.2%}' if of else '      -'}  {right:5,} of {of:5,}"


def none_for_nan(value: float) -> float | None:
    return None if math.isnan(value) else value
