"""A run: epoch after epoch, which can stop anywhere and go on with the same bits."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from minires import checkpoint
from minires.backend import steps_between_reads, synchronize
from minires.module import Module
from minires.optim import Optimizer
from minires.position import Position, best_info, position_of
from minires.ranks.alone import ALONE, Ranks
from minires.sharded_step import Found
from minires.stepping import Stepping
from minires.training import Criterion, DivergenceError, Interrupted, evaluate
from minires.types import Array


class Trainer:
    """A run: `model` trained on `train_loader` by `optimizer`, with the learning rate `schedule(iteration)`.

    epochs, iterations: how long; the run ends with the first of the two (iterations None: no such limit).
    val_loader: after each epoch the model is evaluated on it, and the best is kept, by `best`: "accuracy" (of equals,
    the lower loss) or "loss" (of equals, the higher accuracy); None: the last counts as the best.
    patience: None, or the run also ends after so many epochs without a new best, counted from epoch `since`.
    label_smoothing, class_weights: of the training loss.   save_every: iterations between checkpoints, or None.
    folder: where last.safetensors, previous.safetensors (as last was when the epoch before ended) and best.safetensors
    go, with `info` inside.
    watcher: an object with `batch(trainer)` after every step and `epoch(trainer, row)` after every epoch, or None.
    cuda_graph: whether steps on a GPU are recorded, as in RecordedStep, where the model allows it.
    precision: of the training, one of minires.precision.PRECISIONS; evaluations are in float32.
    before_epoch: None, or called with the epoch's number, from 0, before it begins or goes on, to freeze or unfreeze.
    shards: into which each batch is cut, as in `sharded_step`.   ranks: that train together, each with a Trainer like
    this one; the first of them writes the files. The bits depend on the number of shards, not on that of ranks.
    ema: None, or the decay of an AveragedModel that is updated after each step and evaluated beside the model; it then
    is what the best is chosen by, and what best.safetensors holds.   clip_norm, criterion: as in `train_step`;
    a Task also evaluates.
    """

    def __init__(
        self,
        model: Module,
        optimizer: Optimizer,
        schedule: Callable[[int], float],
        train_loader: Any,
        val_loader: Any,
        *,
        epochs: int,
        folder: Path,
        iterations: int | None = None,
        num_classes: int = 10,
        label_smoothing: float = 0.0,
        class_weights: Array | None = None,
        info: dict[str, Any] | None = None,
        save_every: int | None = None,
        watcher: Any = None,
        before_epoch: Callable[[int], Any] | None = None,
        best: Literal["accuracy", "loss"] = "accuracy",
        patience: int | None = None,
        since: int = 0,
        cuda_graph: bool = False,
        precision: str = "float32",
        shards: int = 1,
        ranks: Ranks = ALONE,
        ema: float | None = None,
        clip_norm: float | None = None,
        criterion: Criterion | None = None,
    ) -> None:
        if best not in ("accuracy", "loss"):
            raise ValueError(f"Trainer: best is {best!r}: choose 'accuracy' or 'loss'")
        self.model, self.optimizer, self.schedule = model, optimizer, schedule
        self.train_loader, self.val_loader = train_loader, val_loader
        self.epochs, self.iterations, self.num_classes = epochs, iterations, num_classes
        self.folder, self.info = folder, info or {}
        self.save_every, self.watcher, self.before_epoch = save_every, watcher, before_epoch
        self.best, self.patience, self.since = best, patience, since
        self.ranks = ranks
        of_steps = label_smoothing, class_weights, ema, clip_norm, criterion
        self.steps = Stepping(model, optimizer, precision, cuda_graph, shards, ranks, *of_steps)
        self._evaluate = getattr(criterion, "evaluate", evaluate)
        self.position = Position()
        self.stop_requested = False
        self.all_stop = False  # a rank has asked for it, and all know
        self.unsaved: dict[str, OSError] = {}  # checkpoints of the finished run that could not be written, and why
        self._last_ends_an_epoch = False  # as it stands in the folder
        self._unread: list[tuple[int, int, Found]] = []  # (iteration, images, Found) still on the device

    # Going on ---------------------------------------------------------------------------------------------------

    def resume(self, loaded: checkpoint.Checkpoint) -> None:
        """Take up a Checkpoint's model, optimizer, generators and position."""
        position = position_of(loaded)
        self.steps.take_up(loaded, position.scaler)
        self.position = position
        self._last_ends_an_epoch = position.batch == 0

    def save(self) -> None:
        """Write last.safetensors, all that is needed to go on; the one before, if it was of an epoch's end, is kept.

        Raises ValueError where the ranks' models are no longer the same.
        """
        self._read_losses()
        self.position.scaler = None if self.steps.scaler is None else self.steps.scaler.check().state_dict()
        self.steps.agree(f"go on from {self.folder}")
        try:
            self.ranks.on_first(self._write)
        except ValueError as error:
            raise self._diverged(self.position.iteration, "a parameter") from error
        self._last_ends_an_epoch = self.position.batch == 0

    def _write(self):
        previous = self.folder / "previous.safetensors" if self._last_ends_an_epoch else None
        path, model, average = self.folder / "last.safetensors", self.model, self.steps.average
        checkpoint.save(path, model, self.optimizer, self.position.plain(), self.info, previous, average)

    def _save_best(self):
        """Write best.safetensors: the model alone."""
        info, kept = {**self.info, **best_info(self.position)}, self.steps.kept
        self.ranks.on_first(lambda: checkpoint.save(self.folder / "best.safetensors", kept, info=info))

    # Running ----------------------------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Whether the run has come to its end."""
        if self.position.batch == 0 and (self._out_of_iterations() or self.out_of_patience):
            return True
        return self.position.epoch >= self.epochs

    @property
    def out_of_patience(self) -> bool:
        """Whether `patience` epochs have passed without a new best."""
        waited = self.position.epoch - max(self.position.best_epoch, self.since)
        return self.patience is not None and waited >= self.patience

    def run(self) -> None:
        """Train to the end. Raises Interrupted after `stop_requested` was set, with everything saved."""
        self.all_stop = False
        if self.position == Position():
            self.save()  # from here on there is something to go on from, whatever happens
        try:
            while not self.finished:
                self._epoch()
        except Interrupted:
            self.save()
            raise

    def _epoch(self):
        if self.before_epoch is not None:
            self.before_epoch(self.position.epoch)
        self.model.train()
        began = time.perf_counter()
        before, seconds_before = self.position.epoch_seconds, self.position.seconds

        def count_time():
            self.position.epoch_seconds = before + time.perf_counter() - began
            self.position.seconds = seconds_before + time.perf_counter() - began

        for batch in self.steps.batches(self.train_loader, self.position):
            if self._out_of_iterations():
                break
            self._step(batch)
            count_time()
            if self.watcher is not None:
                self.watcher.batch(self)
            if self.save_every and self.position.iteration % self.save_every == 0:
                self.save()
            if self.all_stop or (self.ranks.size == 1 and self.stop_requested):
                raise Interrupted
        synchronize(self.train_loader.device)
        self._read_losses()
        count_time()
        validated = {} if self.val_loader is None else self._validated(self.val_loader)
        self.position.seconds = seconds_before + time.perf_counter() - began
        self._finish_epoch(validated)

    def _validated(self, loader):
        """The columns of a HistoryRow that the validation images give."""
        columns: dict[str, float] = {}
        for prefix, model in self.steps.models.items():
            found = self.evaluate(loader, model)
            if not np.isfinite(found.loss):
                raise self._diverged(self.position.iteration, f"the validation loss ({found.loss})")
            columns |= {f"{prefix}val_loss": found.loss, f"{prefix}val_acc": found.accuracy}
        return columns

    def evaluate(self, loader: Any, model: Module | None = None, **look: Any) -> Any:
        """An Evaluation, or a Task's own, of the model or another, by all ranks, until a stop is asked for."""
        look |= {"should_stop": lambda: self.stop_requested, "ranks": self.ranks}
        with self.steps.same_bits():
            return self._evaluate(model or self.model, loader, self.num_classes, **look)

    def _step(self, batch):
        position = self.position
        self.optimizer.lr = self.schedule(position.iteration)
        images, found = self.steps.step(batch, position.iteration, lambda: self.stop_requested)
        position.iteration += 1
        position.batch += 1
        self._unread.append((position.iteration, images, found))
        if len(self._unread) >= steps_between_reads(self.train_loader.device):  # on all ranks after the same step
            self._read_losses()

    def _read_losses(self):
        unread, self._unread = self._unread, []
        for iteration, images, found in unread:
            loss = float(found.loss)
            if not np.isfinite(loss):
                raise self._diverged(iteration, f"the loss ({loss}){self.steps.origin(found)}")
            answers = images if found.answers is None else int(found.answers)
            self.position.add(loss, int(found.right), answers, images)
            self.all_stop = self.all_stop or found.stops > 0

    def _finish_epoch(self, validated):
        position = self.position
        row = position.finish_epoch(self.optimizer.lr, validated, self.steps.shards, self.ranks.size)
        if position.take_if_best(row, self.best):
            position.best_model = checkpoint.digest(self.steps.kept.state_dict())
        self._save_after_epoch()
        if self.watcher is not None:
            self.watcher.epoch(self, row)

    def _save_after_epoch(self):
        """Save; once the run is finished a failure ends nothing, as the model in memory is what the file would hold.

        First comes last.safetensors, from which best.safetensors of the same epoch can be made again.
        """
        name = "last"
        try:
            self.save()
            if self.position.best_epoch == self.position.epoch:
                name = "best"
                self._save_best()
        except OSError as error:
            if not self.finished:
                raise
            self.unsaved[name] = error

    def _out_of_iterations(self):
        return self.iterations is not None and self.position.iteration >= self.iterations

    def _diverged(self, iteration, what):
        return DivergenceError(
            f"epoch {self.position.epoch + 1}, iteration {iteration}: {what} is no longer a finite number: lower the "
            f"learning rate; the last good checkpoint is {self.folder / 'last.safetensors'}"
        )
