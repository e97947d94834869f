"""Federated averaging: clients train on images that stay with them, and what travels are weights.

Derivation, and what it does not give: docs/federated.md.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minires.backend import count_each, one_blas_thread
from minires.module import Module
from minires.optim import Optimizer
from minires.ranks.alone import ALONE, Ranks
from minires.sharded_step import ForwardState, times
from minires.shards import TreeSum, cut
from minires.training import train_step

TRIES = 100  # draws of a Dirichlet split until every client has images


# Who has which images -----------------------------------------------------------------------------------------------


def split_iid(labels: np.ndarray, clients: int, rng: np.random.Generator) -> list[np.ndarray]:
    """The images' numbers, shuffled and dealt to the clients: of each an array, of sizes that differ by at most one.

    labels: integers (N,).   Raises ValueError for less than one client, and for more clients than images.
    """
    _check_clients("split_iid", labels, clients)
    order = rng.permutation(len(labels))
    return [order[part] for part in cut(len(labels), clients)]


def split_shards(labels: np.ndarray, clients: int, each: int, rng: np.random.Generator) -> list[np.ndarray]:
    """The images sorted by class and cut into clients * each shards, of which every client is dealt `each` at random.

    With each = 2 most clients have two classes. Arguments, result and errors as `split_iid`.
    Source: McMahan et al. 2017, section 3, "Pathological Non-IID".
    """
    _check_clients("split_shards", labels, clients, each)
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    shards = [order[part] for part in cut(len(labels), clients * each)]
    dealt = rng.permutation(len(shards)).reshape(clients, each)
    return [np.concatenate([shards[number] for number in own]) for own in dealt]


def split_dirichlet(
    labels: np.ndarray, clients: int, concentration: float, rng: np.random.Generator, least: int = 1
) -> list[np.ndarray]:
    """Each class cut by shares drawn for it: of class c client k gets p[c, k],  p[c] ~ Dirichlet(concentration).

    The lower the concentration, the fewer clients share a class; the higher, the nearer to `split_iid`. Clients differ
    in size, too; drawn again until each has `least` images. Arguments and result else as `split_iid`.
    Raises ValueError also for a concentration that is not above 0, and where TRIES draws leave a client with too few.
    Source: Hsu, Qi, Brown 2019, section 3; the form by classes: Li et al. 2022, section 4.
    """
    _check_clients("split_dirichlet", labels, clients, max(1, least))
    if not 0 < concentration < math.inf:
        raise ValueError(f"split_dirichlet: concentration is {concentration}, expected a number above 0: 0.3 is usual")
    for _ in range(TRIES):
        own: list[list[np.ndarray]] = [[] for _ in range(clients)]
        for number in np.unique(labels):
            images = rng.permutation(np.flatnonzero(labels == number))
            shares = rng.dirichlet(np.full(clients, concentration))
            ends = (np.cumsum(shares)[:-1] * len(images)).astype(np.int64)
            for client, part in enumerate(np.split(images, ends)):
                own[client].append(part)
        parts = [np.concatenate(of_one) for of_one in own]
        if min(map(len, parts)) >= least:
            return parts
    raise ValueError(
        f"split_dirichlet: in {TRIES} draws some of the {clients} clients had fewer than {least} images each time: "
        f"take fewer clients, or a concentration above {concentration:g}"
    )


def class_counts(labels: np.ndarray, parts: Sequence[np.ndarray], num_classes: int) -> np.ndarray:
    """(clients, num_classes): how many images of each class each client has."""
    return np.stack([count_each(labels[part], num_classes) for part in parts])


def _check_clients(name, labels, clients, each=1):
    if clients < 1 or each < 1:
        raise ValueError(f"{name}: {clients} clients with {each} parts each: give at least one of both")
    if clients * each > len(labels):
        raise ValueError(
            f"{name}: {clients} clients need {clients * each} images or more, and there are {len(labels)}: take fewer "
            "clients, or more images"
        )


# A round ------------------------------------------------------------------------------------------------------------


def choose_clients(clients: int, fraction: float, rng: np.random.Generator) -> list[int]:
    """max(1, round(fraction * clients)) different numbers below `clients`, in order: who takes part in a round.

    Raises ValueError for a fraction outside (0, 1], and for less than one client.
    """
    if not 0 < fraction <= 1 or clients < 1:
        raise ValueError(
            f"choose_clients: a fraction of {fraction} of {clients} clients: give a fraction above 0 and at most 1, of "
            "at least one client"
        )
    count = max(1, round(fraction * clients))
    return sorted(rng.choice(clients, count, replace=False).tolist())


def train_locally(
    model: Module,
    batches: Callable[[int], Any],
    number: int,
    epochs: int,
    optimizer_of: Callable[[Any], Optimizer],
    **options: Any,
) -> None:
    """What a client does in round `number`, from 0: `epochs` of training, by an optimizer that begins anew.

    batches(epoch): yields (x, labels); epochs are counted on from round to round, so that each is shuffled anew.
    options: of `train_step`.
    """
    optimizer = optimizer_of(model.train().parameters())
    for epoch in range(number * epochs, (number + 1) * epochs):
        for x, labels in batches(epoch):
            train_step(model, optimizer, x, labels, **options)
    model.zero_grad()


def federated_round(
    model: Module,
    images: Sequence[int],
    chosen: Sequence[int],
    train: Callable[[Module, int], Any],
    average_buffers: bool = True,
    ranks: Ranks = ALONE,
) -> None:
    """w <- sum over the chosen clients k of  n_k / n * w_k,   w_k = w after train(model, k),   n = sum of their n_k

    images: n_k of every client.   chosen: numbers of clients, each once.   train(model, k): trains the model in place.
    w are the parameters and, with average_buffers, the buffers, batch norm's running statistics; without, the buffers
    stay as they were. Every client begins with the w of before, and with a random stream of its own.
    ranks: deal the chosen clients among them; the sum is that of one tree, so the bits do not depend on their number.
    Raises ValueError for no client, for one without images, for fewer clients than ranks, and for a buffer or a
    generator that `sharded_step` cannot take either.
    Source: McMahan et al. 2017, algorithm 1.
    """
    _check_round(images, chosen, ranks)
    total = sum(images[client] for client in chosen)
    before, state, sums = [array.copy() for array in _weights(model)], ForwardState(model), TreeSum()
    for place in ranks.mine(len(chosen)):
        _assign(_weights(model), before)
        state.begin(place)
        with one_blas_thread(ranks.size > 1 or len(chosen) > 1):  # or its bits would depend on its rank's threads
            train(model, chosen[place])
        state.end(place)
        sums.put(place, times(images[chosen[place]] / total, [*_weights(model), *state.buffers]))
    mean, _ = ranks.sum(sums, len(chosen))
    _assign(_weights(model), mean[: len(before)])
    state.finish(mean[len(before) :] if average_buffers else state.before, ranks)


def bytes_to_send(model: Module, buffers: bool = True) -> int:
    """Bytes of the weights that go to a client, and as many come back: of parameters and, where averaged, buffers."""
    return sum(array.nbytes for array in _weights(model) + (model.buffers() if buffers else []))


def _check_round(images, chosen, ranks):
    if not chosen:
        raise ValueError(
            "federated_round: no client is chosen, and the mean of none means nothing: choose at least one"
        )
    for client in chosen:
        if images[client] < 1:
            raise ValueError(
                f"federated_round: client {client} has no images, and nothing to train on: leave it out, or split again"
            )
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"federated_round: a client is chosen twice in {list(chosen)}: give each once")
    if len(chosen) < ranks.size:
        raise ValueError(
            f"federated_round: {len(chosen)} clients a round cannot be dealt to {ranks.size} ranks: start at most "
            f"{len(chosen)}, or choose more clients"
        )


def _weights(model):
    return [parameter.data for parameter in model.parameters()]


def _assign(arrays, values):
    for array, value in zip(arrays, values, strict=True):
        array[...] = value
