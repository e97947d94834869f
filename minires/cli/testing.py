"""The end of a run: its best model is tested, once, and what it gets wrong is drawn."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minires import backend, checkpoint, data
from minires.cli.console import evaluation_table, none_for_nan
from minires.cli.output import note
from minires.cli.recording import Recorder
from minires.columns import cut, listed
from minires.inspection.explain import confusion_matrix
from minires.inspection.pictures.mistakes import draw_confusion_matrix, draw_images
from minires.textbook import softmax
from minires.trainer import Trainer
from minires.training import Evaluation
from minires.types import Array
from minires.wording import readable


def test(
    trainer: Trainer, test_loader: data.Loader, recorder: Recorder, config: Mapping[str, Any], trained: bool = True
) -> int:
    """Evaluate the best model on the test set, once, and write result.json and pictures; returns the exit code.

    trained: whether this process trained the run, so that the last model is at hand where the best one's file is not.
    The exit code is 0 where the result reached result.json or standard output.
    """
    epoch = load_best(trainer, trained)
    classes, label = config["classes"], config["dataset"]["label"]
    answers = Answers(test_loader, len(classes), config.get("preprocessing", {}).get("order", "RGB"))
    evaluation = trainer.evaluate(test_loader, look=answers.see, take=answers.take)
    lines = evaluation_table(evaluation, classes, label, "result.json has all of them")
    pictures = {"confusion.png": lambda: draw_confusion_matrix(answers.counts(), classes)}
    if answers.mistakes:
        pictures["mistakes.png"] = lambda: answers.draw(classes)
    return conclude(trainer, recorder, config, epoch, test_figures(evaluation, classes, label), lines, pictures)


def conclude(
    trainer: Trainer,
    recorder: Recorder,
    config: Mapping[str, Any],
    epoch: int,
    figures: Mapping[str, Any],
    lines: Iterable[str],
    pictures: Mapping[str, Callable[[], Any]],
) -> int:
    """Tell and write what a test has found; returns the exit code, 0 where it reached result.json or standard output.

    epoch: that the model is of.   figures: for result.json.   pictures: {file: what draws it}.
    """
    position = trainer.position
    result = {
        "run": config["run"],
        **figures,
        "model_of_epoch": epoch,
        f"best_val_{config.get('measure', 'acc').lower()}": position.best_val_acc,
        "epochs": position.epoch,
        "iterations": position.iteration,
        "seconds": position.seconds,
        "peak_memory_mb": max(trainer.ranks.gather(backend.memory_peak(config["device"]) / 1e6)),
    }
    tell = trainer.watcher.tell
    for line in lines:
        tell(line)
    written = recorder.result(result)
    trainer.watcher.tested(trainer, result)
    if not written:
        tell(f"the result, to keep: {json.dumps(result)}")
    for name, draw in pictures.items():
        recorder.picture(name, draw)
    for error in trainer.unsaved.values():
        note(f"{error}: the result stands; --resume {trainer.folder} makes up for it")
    chosen = "best on the validation images" if trainer.val_loader else "the last, as there are no validation images"
    tell(f"model of epoch {epoch} ({chosen}); {position.seconds:,.0f} s; results in {trainer.folder}")
    return 0 if written or getattr(sys.stdout, "lost", None) is None else 1


def load_best(trainer: Trainer, trained: bool) -> int:
    """Put the best model into trainer.model; the epoch that it is of."""
    last = trainer.steps.kept.state_dict()
    if trainer.unsaved and trainer.position.best_epoch == trainer.position.epoch:  # it is the one in memory
        trainer.model.load_state_dict(last)
        return trainer.position.best_epoch
    try:
        best = trainer.ranks.on_first(lambda: checkpoint.load(trainer.folder / "best.safetensors").model)
        trainer.model.load_state_dict(best)
    except (ValueError, OSError) as error:
        if not trained:
            raise
        note(f"the model of the last epoch is tested, since the best one's file cannot be read: {error}")
        trainer.model.load_state_dict(last)
        return trainer.position.epoch
    return trainer.position.best_epoch


def lost(trouble: str, folder: Path) -> str:
    """What to do where the best model of a run that has ended is lost; a sentence."""
    return (
        f"{trouble}, without which the test cannot be done again: put a copy of it back, or --evaluate "
        f"{folder / 'last.safetensors'}, or train for longer"
    )


def test_figures(evaluation: Evaluation, classes: Sequence[str], label: str) -> dict[str, Any]:
    """What a test found, for a JSON file. Classes of one name get their numbers in `class_acc`, which is said."""
    by_class = zip(_distinct(classes), evaluation.class_accuracy, strict=True)
    return {
        "test_loss": none_for_nan(evaluation.loss),
        "test_acc": evaluation.accuracy,
        "balanced_acc": evaluation.balanced_accuracy,
        "test_correct": sum(evaluation.class_correct),
        "test_total": sum(evaluation.class_total),
        "class_acc": {name: none_for_nan(value) for name, value in by_class},
        "dataset": label,
    }


def _distinct(classes):
    """The names, none twice."""
    numbered = [f"{name} (class {label})" for label, name in enumerate(classes)]
    times = Counter(classes)
    if not (twins := [name for name, number in times.items() if number > 1]):
        return classes
    note(f"classes of one name ({listed(map(readable, twins), 60)}): class_acc tells them apart by their numbers")
    names = [name if times[name] == 1 else other for name, other in zip(classes, numbered, strict=True)]
    return names if len(set(names)) == len(names) else numbered


class Answers:
    """Collects, batch by batch, what a model says: all answers, and the images it was surest and most wrong about.

    loader: whose normalisation the images have.   order: of the images' colours.   most: how many mistakes are kept, as
    tuples (probability, label, answer, pixels) in `mistakes`, the surest first.
    """

    def __init__(self, loader: data.Loader, num_classes: int, order: str = "RGB", most: int = 18) -> None:
        self.mean, self.std, self.order = np.array(loader.mean), np.array(loader.std), order
        self.num_classes, self.most = num_classes, most
        self.labels: list[np.ndarray] = []
        self.said: list[np.ndarray] = []
        self.mistakes: list[tuple[float, int, int, np.ndarray]] = []

    def see(self, x: Array, logits: Array, labels: Array) -> tuple[np.ndarray, np.ndarray, list[Any]]:
        """What there is to keep of a batch: x (B, H, W, C) as the model got it, logits (B, classes), labels (B,).

        (labels, answers, the surest mistakes), all on the host, for `take`.
        """
        labels = backend.to_numpy(labels)
        probabilities = softmax(backend.to_numpy(logits).astype(np.float64))[0]
        said, mistakes = probabilities.argmax(axis=1), []
        sureness = np.where(said == labels, -1.0, probabilities.max(axis=1))
        for n in np.argsort(-sureness, kind="stable")[: self.most]:
            if sureness[n] >= 0:
                pixels = backend.to_numpy(x[int(n)])
                mistakes.append((float(sureness[n]), int(labels[n]), int(said[n]), pixels))
        return labels, said, mistakes

    def take(self, seen: tuple[np.ndarray, np.ndarray, list[Any]]) -> None:
        """Keep what `see` has found in the next batch."""
        labels, said, mistakes = seen
        self.labels.append(labels)
        self.said.append(said)
        self.mistakes = sorted(self.mistakes + mistakes, key=lambda mistake: -mistake[0])[: self.most]

    def counts(self) -> np.ndarray:
        """counts[i, j]: how many images of class i were taken for class j."""
        return confusion_matrix(np.concatenate(self.labels), np.concatenate(self.said), self.num_classes)

    def draw(self, classes: Sequence[str]) -> Any:
        """A Figure of the mistakes, each under what it was taken for and what it is."""
        titles = [
            f"{cut(classes[said], 18)} {sureness:.0%}\nis {cut(classes[label], 18)}"
            for sureness, label, said, _ in self.mistakes
        ]
        return draw_images(np.stack([self.picture(pixels) for *_, pixels in self.mistakes]), titles)

    def picture(self, x: np.ndarray) -> np.ndarray:
        """uint8 pixels in RGB from normalised ones."""
        pixels = np.clip((x * self.std + self.mean) * 255, 0, 255).round().astype(np.uint8)
        return pixels[:, :, ::-1] if self.order == "BGR" else pixels
