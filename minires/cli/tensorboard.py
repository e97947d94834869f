"""--tensorboard: what a run shows in TensorBoard, in the folder `tensorboard` within its own.

    tensorboard --logdir runs

All that depends on the state of the run alone (losses, accuracies, learning rate, weights, predictions) is as in a run
that was never stopped, whenever this one was: `EventFile` keeps what lies before the checkpoint that it goes on from,
and what a killed process has not come to write of that checkpoint is written then.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from minires.backend import to_numpy
from minires.cli.events import EventFile
from minires.cli.graph import graph_of
from minires.cli.progress import Watcher
from minires.cli.testing import Answers
from minires.columns import cut
from minires.inspection.pictures.mistakes import draw_images
from minires.modes import evaluating, no_grad
from minires.module import Module
from minires.parameter import Parameter
from minires.textbook import softmax
from minires.types import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from minires.cli.recording import Recorder
    from minires.position import HistoryRow
    from minires.trainer import Trainer

FOLDER = "tensorboard"
EVERY = 50  # iterations between two entries of what changes in each
IMAGES = 12
BINS = 64
EPOCH = {  # tag: column of a HistoryRow
    "loss/training": "train_loss",
    "accuracy/training": "train_acc",
    "loss/validation": "val_loss",
    "accuracy/validation": "val_acc",
    "loss/validation_averaged": "ema_val_loss",
    "accuracy/validation_averaged": "ema_val_acc",
    "images_per_second": "images_per_second",
}
TEST = {"loss/test": "test_loss", "accuracy/test": "test_acc"}
METRICS = (*TEST, "loss/validation", "accuracy/validation", "loss/training")
NOT_SHOWN = {"out", "data_dir", "data_url", "no_progress", "timeout", "save_every", "threads", "device", "cuda_graph"}
NOT_SHOWN |= {"tensorboard", "recompute"}  # settings on which the result does not depend


class TensorBoardWatcher(Watcher):
    """A Watcher that also writes events. Where they cannot be written, the run goes on without them."""

    def __init__(self, recorder: Recorder, config: Mapping[str, Any]) -> None:
        super().__init__(recorder, config)
        self.events: EventFile | None = None
        self.sample: Any = None  # (x, labels, pixels) of some images, while there is an event file

    def start(self, trainer: Trainer) -> None:
        """Open the event file, and write what it does not have of where the run stands."""
        super().start(trainer)
        if self.recorder.writes:
            self.recorder.beside_the_result(FOLDER, lambda: self._begin(trainer))

    def batch(self, trainer: Trainer) -> None:
        super().batch(trainer)
        if trainer.position.iteration % EVERY == 0 and trainer.position.seen:
            self._write(lambda events: self._add_step(events, trainer))

    def epoch(self, trainer: Trainer, row: HistoryRow) -> None:
        super().epoch(trainer, row)
        self._write(lambda events: self._add_state(events, trainer))

    def tested(self, trainer: Trainer, result: Mapping[str, Any]) -> None:
        """After the test of the best model."""
        super().tested(trainer, result)
        self._write(lambda events: self._add_result(events, trainer.position.iteration, result))

    def _begin(self, trainer):
        events = EventFile(self.recorder.folder / FOLDER, trainer.position.iteration)
        self.events, self.sample = events, sample_of(trainer, self.config)
        self._write(lambda events: self._add_beginning(events, trainer))
        self._write(lambda events: self._add_state(events, trainer))

    def _write(self, add):
        """add(the event file). After a failure, which may have left half a record, nothing more is written."""
        events = self.events
        if events is None:
            return

        def write():
            try:
                add(events)
                events.write()
            except Exception:
                self.events = None
                raise

        self.recorder.beside_the_result(FOLDER, write)

    # What is written ------------------------------------------------------------------------------------------------

    def _add_beginning(self, events, trainer):
        """The network and the settings, at step 0."""
        x, _, _ = self.sample
        events.add(0, "graph", lambda: {"graph_def": graph_of(trainer.model, x[:1]).SerializeToString()})
        experiment, start, _ = hyperparameters(self.config["settings"])
        for value in (experiment, start):
            events.add(0, value.tag, lambda value=value: {"metadata": value.metadata})

    def _add_step(self, events, trainer):
        """What changes in each step: means over the images of the epoch so far, and the last gradients."""
        position = trainer.position
        numbers = {
            "loss/training_epoch_so_far": position.loss_sum / position.seen,
            "accuracy/training_epoch_so_far": position.correct / position.seen,
            "learning_rate": trainer.optimizer.lr,
            **{f"gradient_norm/{layer}": norm for layer, norm in gradient_norms(trainer.model).items()},
        }
        for tag, number in numbers.items():
            add_number(events, position.iteration, tag, number)

    def _add_state(self, events, trainer):
        """All finished epochs, and of the last of them, where the model is still that, weights and predictions."""
        position = trainer.position
        for row in position.history:
            for tag, name in EPOCH.items():
                if row[name] is not None:
                    add_number(events, row["iteration"], tag, row[name])
        if position.batch:
            return
        for path, parameter in trainer.model.named_parameters():
            events.add(position.iteration, f"weights/{path}", lambda data=parameter.data: {"histo": histogram(data)})
        events.add(position.iteration, "predictions", lambda: {"image": self._predictions(trainer)})

    def _add_result(self, events, step, result):
        """The test, and that the run has come to its end."""
        for tag, name in TEST.items():
            if result[name] is not None:
                add_number(events, step, tag, result[name])
        _, _, end = hyperparameters(self.config["settings"])
        events.add(step, end.tag, lambda: {"metadata": end.metadata})

    def _predictions(self, trainer):
        """A picture of the sample's images, each under what the network says and what it is."""
        x, labels, pixels = self.sample
        with evaluating(trainer.model), no_grad():
            logits, _ = trainer.model(x)
        probabilities = softmax(to_numpy(logits).astype(np.float64))[0]
        titles = []
        for label, row in zip(labels, probabilities, strict=True):
            said, known = (cut(self.config["classes"][number], 18) for number in (row.argmax(), label))
            titles.append(f"{said} {row.max():.0%}\n{'right' if said == known else f'is {known}'}")
        return image(draw_images(np.stack(pixels), titles))


def sample_of(trainer: Trainer, config: Mapping[str, Any]) -> tuple[Array, np.ndarray, list[np.ndarray]]:
    """(x, labels, pixels) of the first validation images, or of the first training images where there are none.

    x (B, H, W, C) as the model gets it, labels (B,), pixels: uint8 (H, W, 3) in RGB, all but x on the host.
    """
    loader = trainer.val_loader or trainer.train_loader
    with contextlib.closing(loader.epoch(0)) as batches:
        x, labels = next(batches)
    answers = Answers(loader, len(config["classes"]), config.get("preprocessing", {}).get("order", "RGB"))
    x = x[:IMAGES].copy()
    return x, to_numpy(labels[:IMAGES]), [answers.picture(to_numpy(one)) for one in x]


def gradient_norms(model: Module) -> dict[str, float]:
    """{path: norm} of the gradients of each module's own parameters; without those that have none.

    A recorded step leaves no gradients behind.
    """
    found = {}
    for path, module in model.named_modules():
        own = [value for value in vars(module).values() if isinstance(value, Parameter)]
        squares = [
            np.square(to_numpy(one.grad).astype(np.float64, copy=False)).sum() for one in own if one.grad is not None
        ]
        if squares:
            found[path or type(module).__name__] = math.sqrt(sum(squares))
    return found


# Contents of an event -------------------------------------------------------------------------------------------------


def add_number(events: EventFile, step: int, tag: str, number: float) -> None:
    """One number, drawn as a curve."""
    events.add(step, tag, lambda: {"simple_value": float(number)})


def histogram(data: Array) -> Any:
    """How the numbers of an array are distributed, in BINS bins of equal width."""
    from tensorboardX.summary import make_histogram

    return make_histogram(to_numpy(data).astype(np.float64), BINS)


def image(figure: Figure) -> Any:
    """A figure as a PNG."""
    from tensorboardX.proto.summary_pb2 import Summary

    file = io.BytesIO()
    figure.savefig(file, format="png")
    width, height = figure.canvas.get_width_height()
    return Summary.Image(height=height, width=width, colorspace=4, encoded_image_string=file.getvalue())


def hyperparameters(settings: Mapping[str, Any]) -> list[Any]:
    """Three Summary.Values: which settings and results there are, the settings themselves, and that the run is over."""
    from tensorboardX.summary import hparams

    shown = {name: value for name, value in settings.items() if name not in NOT_SHOWN and value is not None}
    plain = {name: value if isinstance(value, (bool, int, float, str)) else str(value) for name, value in shown.items()}
    return [summary.value[0] for summary in hparams(plain, dict.fromkeys(METRICS))]
