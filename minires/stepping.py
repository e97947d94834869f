"""How a Trainer takes its steps: plain or recorded, on whole batches or on shards of them."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minires.backend import one_blas_thread
from minires.checkpoint import Checkpoint, CheckpointError, digest, restore_generators
from minires.ema import AveragedModel
from minires.module import Module
from minires.optim import Optimizer
from minires.position import Position
from minires.precision import GradScaler, options_for
from minires.ranks.alone import ALONE, Ranks
from minires.recorded_step import RecordedStep
from minires.sharded_step import Found, sharded_step
from minires.training import Criterion, train_step
from minires.types import Array


class Stepping:
    """The steps of one training, by all of its ranks.

    precision, cuda_graph, shards, ranks, ema, clip_norm, criterion: as in Trainer.
    label_smoothing, class_weights: of the loss.
    scaler: of the loss, None where it is not scaled.   recorded: the RecordedStep, None where steps are not recorded.
    average: the averaged model, None where none is kept.   models: what is evaluated, {prefix of its columns: model}.
    kept: the model that the training is after, the averaged one where there is one.
    """

    def __init__(
        self,
        model: Module,
        optimizer: Optimizer,
        precision: str = "float32",
        cuda_graph: bool = False,
        shards: int = 1,
        ranks: Ranks = ALONE,
        label_smoothing: float = 0.0,
        class_weights: Array | None = None,
        ema: float | None = None,
        clip_norm: float | None = None,
        criterion: Criterion | None = None,
    ) -> None:
        check_shards(shards, ranks.size)
        self.model, self.optimizer, self.shards, self.ranks = model, optimizer, shards, ranks
        self.options = options_for(model, precision)
        self.options |= {"label_smoothing": label_smoothing, "class_weights": class_weights, "clip_norm": clip_norm}
        self.options |= {"criterion": criterion}
        self._count_answers = getattr(criterion, "count_answers", None)
        self.scaler: GradScaler | None = self.options["scaler"]
        self.recorded = RecordedStep(model, optimizer, **self.options) if cuda_graph else None
        self._ema = None if ema is None else AveragedModel(model, ema)
        self.average = None if self._ema is None else self._ema.averaged
        self.kept = model if self.average is None else self.average
        self.models = {"": model} if self.average is None else {"": model, "ema_": self.average}

    def take_up(self, loaded: Checkpoint, scaler: dict[str, float] | None) -> None:
        """Go on from a Checkpoint's model, averaged model, optimizer and generators, and from a scaler's state.

        Raises CheckpointError, with nothing changed, where one keeps an averaged model and the other does not.
        """
        if (loaded.averaged is None) != (self.average is None):
            has, keeps = ("no averaged weights", "some") if loaded.averaged is None else ("averaged weights", "none")
            raise CheckpointError(f"this checkpoint has {has}, and ema asks for {keeps}: give the ema of its run")
        self.model.load_state_dict(loaded.model)
        if self.average is not None:
            self.average.load_state_dict(loaded.kept)
        self.optimizer.load_state_dict(loaded.optimizer or {})
        restore_generators(self.model, loaded.generators)
        if self.scaler is not None and scaler is not None:
            self.scaler.load_state_dict(scaler)

    def batches(self, loader: Any, position: Position) -> Iterator[Any]:
        """What is left of the epoch: (x, labels), or Batches of shards of which this rank's are made."""
        if self.shards == 1:
            return loader.epoch(position.epoch, position.batch)
        return loader.sharded(position.epoch, position.batch, self.shards, self.ranks.mine)

    def step(self, batch: Any, number: int, stop: Callable[[], bool]) -> tuple[int, Found]:
        """(images, what was found) of one step.   number: of steps before.   stop: whether to stop after this one."""
        images, found = self._sharded(batch, stop) if self.shards > 1 else self._whole(batch)
        if self._ema is not None:
            self._ema.update(number)
        return images, found

    def _sharded(self, batch, stop):
        more: dict[str, Any] = {"gradients": self.recorded.gradients} if self.recorded else {}
        found = sharded_step(self.model, self.optimizer, batch, ranks=self.ranks, stop=stop, **self.options, **more)
        return len(batch), found

    def _whole(self, batch):
        x, labels = batch
        answers = None if self._count_answers is None else self._count_answers(labels)
        if self.recorded:
            return len(x), Found(*self.recorded(x, labels), answers=answers)
        return len(x), Found(*train_step(self.model, self.optimizer, x, labels, **self.options), answers=answers)

    def same_bits(self) -> contextlib.AbstractContextManager[None]:
        """Within this block nothing depends on a rank's number of threads, where the batches are cut."""
        return one_blas_thread(self.shards > 1)

    def origin(self, found: Found) -> str:
        """Which shard, of which rank, a loss comes from that is no finite number; all ranks ask together."""
        own = [shard for shard, loss in found.own.items() if not np.isfinite(float(loss))]
        for rank, shards in enumerate(self.ranks.gather(own)):
            if shards and self.ranks.size > 1:
                return f" of shard {shards[0]}, which rank {rank} on {self.ranks.hosts[rank]} computes,"
        return ""

    def agree(self, cure: str) -> None:
        """Raise ValueError, on all ranks, where the models are no longer the same: which rank, and its first array."""
        if self.ranks.size > 1:
            arrays = self.model.state_dict()
            if self.average is not None:
                arrays |= {f"ema/{name}": array for name, array in self.average.state_dict().items()}
            self.ranks.agree("numbers in its model", {name: digest({name: arrays[name]}) for name in arrays}, cure)


def check_shards(shards: int, ranks: int = 1, fixed: bool = False) -> None:
    """Raise ValueError unless there are shards, and they can be shared out evenly to so many ranks.

    fixed: whether their number can no longer be changed.
    """
    if shards < 1:
        raise ValueError(f"shards must be at least 1, got {shards}: 1 leaves each batch whole")
    if shards % ranks:
        *few, most = [str(count) for count in range(1, shards + 1) if shards % count == 0]
        fitting = f"{', '.join(few)} or {most}" if few else most
        more = "" if fixed else f", or give {-(-shards // ranks) * ranks} shards"
        raise ValueError(f"{shards} shards cannot be shared out evenly to {ranks} ranks: start {fitting} of them{more}")
