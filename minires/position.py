"""Where a run stands, and what it has come through: all of it that is not in the model and the optimizer."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypedDict, get_type_hints

from minires.checkpoint import Checkpoint, CheckpointError
from minires.plain import check
from minires.wording import quoted


class HistoryRow(TypedDict):
    """What is kept of a finished epoch: the columns of log.csv, in their order.

    iteration: steps so far.   lr: of the last of them.   val_loss, val_acc: None without validation images.
    seconds: training time so far.   images_per_second: of this epoch's training, by all ranks together.
    ema_val_loss, ema_val_acc: of the averaged weights, None where none are kept.
    shards: into which each batch was cut.   ranks: processes that trained when the epoch ended.
    """

    epoch: int
    iteration: int
    lr: float
    train_loss: float
    train_acc: float
    val_loss: float | None
    val_acc: float | None
    seconds: float
    images_per_second: float
    ema_val_loss: float | None
    ema_val_acc: float | None
    shards: int
    ranks: int


# What rows of earlier versions lack
SINCE_THEN: dict[str, Any] = {"shards": 1, "ranks": 1, "ema_val_loss": None, "ema_val_acc": None}


def validation(row: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Validation loss and accuracy, by which the best epoch is chosen: of the averaged weights where some are kept."""
    prefix = "" if row.get("ema_val_acc") is None else "ema_"
    return row[f"{prefix}val_loss"], row[f"{prefix}val_acc"]


@dataclass
class Position:
    """Where a run stands: all that is not in the model and the optimizer.

    epoch: epochs finished.   batch: batches done of the next one.   iteration: steps taken in all.
    loss_sum, correct, seen: sums over the answers of the epoch in progress, one for each image or, of masks, for each
    pixel that counts.   images: seen in it.   seconds: training time so far.
    epoch_seconds: of them, in the epoch in progress, validation aside.   history: a HistoryRow for each finished epoch.
    best_model: `checkpoint.digest` of the best model's arrays, "" where the file with them was lost and the best is
    looked for anew, None before the first and where an earlier version did not keep it.
    scaler: `GradScaler.state_dict()`, None where the loss is not scaled.
    """

    epoch: int = 0
    batch: int = 0
    iteration: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    seen: int = 0
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    best_val_acc: float | None = None
    best_val_loss: float | None = None
    best_epoch: int = 0
    best_model: str | None = None
    history: list[HistoryRow] = field(default_factory=list)
    scaler: dict[str, float] | None = None
    images: int = 0

    def add(self, loss: float, right: int, answers: int, images: int) -> None:
        """A step of the epoch in progress: the mean loss of its answers, how many are right, how many there are."""
        self.loss_sum += loss * answers
        self.correct += right
        self.seen += answers
        self.images += images

    def finish_epoch(self, lr: float, validated: Mapping[str, float], shards: int = 1, ranks: int = 1) -> HistoryRow:
        """Put the epoch in progress into the history and begin the next; returns the new row.

        validated: those columns of the row that the validation images have given.
        """
        row = HistoryRow(
            epoch=self.epoch + 1,
            iteration=self.iteration,
            lr=lr,
            train_loss=self.loss_sum / self.seen,
            train_acc=self.correct / self.seen,
            val_loss=validated.get("val_loss"),
            val_acc=validated.get("val_acc"),
            seconds=self.seconds,
            images_per_second=self.images / self.epoch_seconds,
            ema_val_loss=validated.get("ema_val_loss"),
            ema_val_acc=validated.get("ema_val_acc"),
            shards=shards,
            ranks=ranks,
        )
        self.history.append(row)
        self.epoch += 1
        self.batch, self.loss_sum, self.correct, self.seen, self.images, self.epoch_seconds = 0, 0.0, 0, 0, 0, 0.0
        return row

    def take_if_best(self, row: HistoryRow, by: str) -> bool:
        """Whether the epoch that has just ended is better than the best so far, by "accuracy" or "loss", and of equals
        by the other; it is the best then.

        Where averaged weights are kept, by what they give. Without validation images, or where the best is lost, the
        latest is the best.
        """
        loss, accuracy = validation(row)
        if not (loss is None or accuracy is None or self.best_val_acc is None or self.best_val_loss is None):
            now, before = (accuracy, -loss), (self.best_val_acc, -self.best_val_loss)
            if not (now > before if by == "accuracy" else now[::-1] > before[::-1]):
                return False
        self.best_val_loss, self.best_val_acc, self.best_epoch = loss, accuracy, self.epoch
        return True

    def plain(self) -> dict[str, Any]:
        """All of it as a dictionary for JSON, of which `of` makes it again."""
        plain = asdict(self)
        if plain["scaler"] is None:
            del plain["scaler"]  # which earlier versions do not know
        if plain["images"] == plain["seen"]:
            del plain["images"]  # likewise
        return plain

    @classmethod
    def of(cls, plain: dict[str, Any]) -> "Position":
        """The Position that `plain` was made of. Raises ValueError for anything else."""
        names = {one.name for one in fields(cls)}
        if unknown := set(plain) - names:
            raise ValueError(f"its position has {quoted(min(unknown))}")
        if isinstance(history := plain.get("history"), list):
            plain = plain | {"history": [SINCE_THEN | row if isinstance(row, dict) else row for row in history]}
        plain = {"images": plain.get("seen", 0), **plain}
        check({**asdict(cls()), **plain}, _POSITION, "its position")
        return cls(**plain)


def position_of(loaded: Checkpoint) -> Position:
    """Where the run of a Checkpoint stood. Raises CheckpointError for one that does not say, or not as we do."""
    if loaded.optimizer is None or loaded.position is None:
        raise CheckpointError("this checkpoint holds a model only: resume from last.safetensors")
    try:
        return Position.of(loaded.position)
    except ValueError as error:
        raise CheckpointError(
            f"this checkpoint says where it stood in another way ({error}): give another copy of it"
        ) from error


def best_info(position: Position) -> dict[str, Any]:
    """What best.safetensors says of itself, of the epoch that has just ended."""
    return {"epoch": position.epoch, "val_acc": position.best_val_acc}


_KINDS: dict[Any, Any] = {int: int, float: float, float | None: (None, float), str | None: (None, str)}
_KINDS[dict[str, float] | None] = (None, {"scale": float, "taken": float})
_ROW = {name: _KINDS[hint] for name, hint in get_type_hints(HistoryRow).items()}
_POSITION = {name: _KINDS.get(hint, [_ROW]) for name, hint in get_type_hints(Position).items()}
