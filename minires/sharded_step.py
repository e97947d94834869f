"""`train_step` on a batch that is cut into shards: gradients are added up, whoever computes which.

With one process it is gradient accumulation: the memory of a shard, the gradient of the batch. Derivation:
docs/scaling.md.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minires.backend import array_module, device_of, elementwise_each, one_blas_thread, to_numpy
from minires.module import Module
from minires.optim import Optimizer
from minires.precision import GradScaler
from minires.ranks.alone import ALONE, Ranks
from minires.shards import Batch, TreeSum
from minires.training import loss_and_gradients, update
from minires.types import Array

Gradients = Callable[[Array, Array], tuple[Array, Array]]


@dataclass(frozen=True)
class Found:
    """What a step has found: the batch's mean loss and its number of right answers, as arrays.

    stops: how many ranks have asked to stop.   own: the mean loss of each shard that was computed here, by its number.
    answers: how many there were, of which some are right, where they are not one for each image.
    """

    loss: Array
    right: Array
    stops: int = 0
    own: dict[int, Array] = field(default_factory=dict)
    answers: Array | None = None


def sharded_step(
    model: Module,
    optimizer: Optimizer,
    batch: Batch,
    class_weights: Array | None = None,
    scaler: GradScaler | None = None,
    ranks: Ranks = ALONE,
    stop: Callable[[], bool] = lambda: False,
    gradients: Gradients | None = None,
    clip_norm: float | None = None,
    **options: Any,
) -> Found:
    """One step: the shards of this rank one after the other, the sum over those of all ranks, update.

        gradient = sum over s of  share_s * gradient of the mean loss over shard s,      share_s = n_s / N

    A shard is a batch of its own: for batch norm its statistics are those of the shard, and each begins with the
    running ones that the step before left. Their mean over the shards, weighted by n_s / N, is kept.
    stop: whether this rank wants to stop, asked as late as it can be.   gradients: (x, labels) -> (loss, right), in
    place of `loss_and_gradients`.
    The others are those of `train_step`. Raises ValueError for a buffer that is no floating-point array, which has no
    mean, for a random generator that cannot jump ahead, and for shards that nobody has computed.
    """
    if not isinstance(batch, Batch):
        raise TypeError(f"sharded_step: batch is a {type(batch).__name__}: give a Batch, of Batch.of or Loader.sharded")
    if gradients is None:
        scale = None if scaler is None else scaler.to(device_of(model.parameters()[0].data)).scale

        def gradients(x, labels):
            return loss_and_gradients(model, x, labels, class_weights=class_weights, scale=scale, **options)

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    state, sums, own, reached = ForwardState(model), TreeSum(), {}, [0] * len(trained)
    weights = None if class_weights is None else to_numpy(class_weights)
    for shard in batch:
        state.begin(shard.number)
        with one_blas_thread(len(batch.parts) > 1):  # or its bits would depend on how many threads its rank has
            loss, right = gradients(shard.x, shard.labels)
        state.end(shard.number)
        reached = [int(been or p.grad is not None) for been, p in zip(reached, trained, strict=True)]
        terms = [*map(_gradient, trained), array_module(loss).asarray(loss)]
        share, portion = batch.share(shard.number, weights), batch.share(shard.number)
        sums.put(shard.number, [*times(share, terms), *times(portion, state.buffers), right.astype(loss.dtype)])
        own[shard.number] = loss
    (*found, right), (stops, *reached) = ranks.sum(sums, len(batch.parts), [int(stop()), *reached])
    state.finish(found[len(trained) + 1 :], ranks)
    for parameter, gradient, been in zip(trained, found, reached, strict=False):
        parameter.grad = gradient if been else None
    update(optimizer, scaler, clip_norm)
    return Found(found[len(trained)], right, stops, own)


def _gradient(parameter):
    """A parameter's gradient, zeros where nothing has reached it."""
    return array_module(parameter.data).zeros_like(parameter.data) if parameter.grad is None else parameter.grad


def times(share: float, arrays: list[Array]) -> list[Array]:
    """share * array for each of the arrays."""
    return list(elementwise_each(_scaled, [((array,), {}) for array in arrays], share=share))


def _scaled(array, share):
    return array * share


class ForwardState:
    """A model's buffers and random generators: what a forward pass changes, and every shard finds as it was before."""

    def __init__(self, model: Module) -> None:
        self.buffers = model.buffers()
        if self.buffers:
            array_module(*self.buffers)  # of several GPUs it is theirs that copies them
        for buffer in self.buffers:
            if buffer.dtype.kind != "f":
                raise ValueError(f"a buffer of {buffer.dtype} has no mean over shards: make it floating-point")
        self.before = [buffer.copy() for buffer in self.buffers]
        self.generators = [rng for module in model.modules() if (rng := getattr(module, "rng", None)) is not None]
        self.states = [rng.bit_generator.state for rng in self.generators]
        self.next = self.states

    def begin(self, number: int) -> None:
        """Before shard `number`: its draws are those of a stream of its own, shard 0's the model's."""
        _assign(self.buffers, self.before)
        for rng, state in zip(self.generators, self.states, strict=True):
            rng.bit_generator.state = _jumped(rng.bit_generator, state, number)

    def end(self, number: int) -> None:
        """After it: the next step's streams begin where shard 0's ends."""
        if number == 0:
            self.next = [rng.bit_generator.state for rng in self.generators]

    def finish(self, buffers: list[Array], ranks: Ranks) -> None:
        """After all: the buffers' mean, and the states of the rank that had shard 0."""
        _assign(self.buffers, buffers)
        if self.generators:
            for rng, state in zip(self.generators, ranks.broadcast(self.next), strict=True):
                rng.bit_generator.state = state


def _assign(buffers, values):
    """Write values into arrays that stay where they are, as a recorded step needs it."""
    for buffer, value in zip(buffers, values, strict=True):
        buffer[...] = value


def _jumped(bit_generator, state, number):
    if number == 0:
        return state
    kind = type(bit_generator)
    if not hasattr(kind, "jumped"):
        raise ValueError(f"{kind.__name__} cannot jump to a stream for each shard: use np.random.default_rng")
    other: Any = kind(np.random.SeedSequence(0))
    other.state = state
    return other.jumped(number).state
