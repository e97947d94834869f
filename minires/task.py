"""What a network is trained for, where it is not the class of an image: a loss, what counts as right, an evaluation."""

from collections.abc import Callable
from typing import Any

from minires.module import Module
from minires.ranks.alone import ALONE, Ranks
from minires.types import Array, Backward, Operation


class Task:
    """A criterion of `train_step` and Trainer that also says what is right and how a network is evaluated.

    Subclasses define the three functions below; targets are whatever the loader gives beside x.
    measure: what the `accuracy` of its evaluations is, a word for the head of a column, such as "AP".
    """

    measure = "acc"

    def __call__(self, x: Array) -> Operation:
        """The loss of the batch x, as `train_step` calls it; its options, which are of classes, have no part in it."""
        return lambda y, targets, **options: self.loss(y, targets)

    def loss(self, y: Array, targets: Any) -> tuple[Array, Backward]:
        """-> (loss, backward), of what the network gave for a batch."""
        raise NotImplementedError(f"{type(self).__name__} must define loss(y, targets) -> (loss, backward)")

    def count_right(self, y: Array, targets: Any) -> Array:
        """How many answers to the batch are right, an array (): the training accuracy is their share."""
        raise NotImplementedError(f"{type(self).__name__} must define count_right(y, targets)")

    def count_answers(self, targets: Any) -> Array | None:
        """How many there are, an array (); None: one for each image."""
        return None

    def evaluate(
        self,
        model: Module,
        loader: Any,
        num_classes: int,
        should_stop: Callable[[], bool] = lambda: False,
        ranks: Ranks = ALONE,
    ) -> Any:
        """An Evaluation of `model`, or what has a loss and an accuracy as it does, in inference mode, on all batches of
        `loader`; leaves the model as it was.

        Raises Interrupted when should_stop() says so.
        """
        raise NotImplementedError(f"{type(self).__name__} must define evaluate(model, loader, num_classes, ...)")
