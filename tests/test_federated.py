"""Federated averaging: who has what, the mean over clients, and the one case in which it is a step on all images."""

import copy
from pathlib import Path

import numpy as np
import pytest
import test_ranks
from hypothesis import given
from hypothesis import strategies as st

from minires import layers, models, optim
from minires.federated import (
    bytes_to_send,
    choose_clients,
    class_counts,
    federated_round,
    split_dirichlet,
    split_iid,
    split_shards,
    train_locally,
)
from minires.ranks import Ranks
from minires.sequential import Sequential
from minires.sharded_step import sharded_step
from minires.shards import Batch, TreeSum
from minires.training import train_step

LABELS = np.random.default_rng(0).integers(0, 10, 300)
SPLITS = {
    "iid": lambda labels, clients, rng: split_iid(labels, clients, rng),
    "shards": lambda labels, clients, rng: split_shards(labels, clients, 2, rng),
    "dirichlet": lambda labels, clients, rng: split_dirichlet(labels, clients, 1.0, rng),
}


# Who has which images -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", SPLITS.values(), ids=list(SPLITS))
@given(clients=st.integers(1, 8), seed=st.integers(0, 20))
def test_every_image_has_one_client(split, clients, seed):
    parts = split(LABELS, clients, np.random.default_rng(seed))
    assert len(parts) == clients and min(map(len, parts)) >= 1
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(LABELS)))
    np.testing.assert_array_equal(class_counts(LABELS, parts, 10).sum(axis=0), np.bincount(LABELS, minlength=10))
    again = split(LABELS, clients, np.random.default_rng(seed))
    assert all(np.array_equal(one, other) for one, other in zip(parts, again, strict=True))


@given(clients=st.integers(1, 20), seed=st.integers(0, 20))
def test_equal_clients_are_of_one_size(clients, seed):
    sizes = [len(part) for part in split_iid(LABELS, clients, np.random.default_rng(seed))]
    assert max(sizes) - min(sizes) <= 1


def test_two_shards_are_two_classes():
    labels = np.repeat(np.arange(10), 40)
    for each in (1, 2, 3):
        parts = split_shards(labels, 10, each, np.random.default_rng(0))
        assert ((class_counts(labels, parts, 10) > 0).sum(axis=1) <= (each if each < 3 else 6)).all()


def test_the_concentration_is_how_even_classes_are_shared():
    labels = np.repeat(np.arange(10), 200)

    def spread(concentration):
        counts = class_counts(labels, split_dirichlet(labels, 5, concentration, np.random.default_rng(0)), 10)
        return (counts / 200).std(axis=0).mean()

    assert spread(0.1) > 2 * spread(1.0) > 4 * spread(100.0)
    # of Dirichlet(a, ..., a) of K numbers the variance is (K - 1) / (K^2 (K a + 1))
    assert spread(1.0) == pytest.approx(np.sqrt(4 / (25 * 6)), rel=0.3)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda rng: split_iid(LABELS, 0, rng), "0 clients with 1 parts each"),
        (lambda rng: split_iid(LABELS, 301, rng), "301 clients need 301 images or more, and there are 300"),
        (lambda rng: split_shards(LABELS, 151, 2, rng), "151 clients need 302 images or more"),
        (lambda rng: split_shards(LABELS, 5, 0, rng), "5 clients with 0 parts each"),
        (lambda rng: split_dirichlet(LABELS, 5, 0.0, rng), "concentration is 0.0, expected a number above 0"),
        (lambda rng: split_dirichlet(LABELS, 301, 1.0, rng), "301 clients need 301 images or more"),
        (lambda rng: split_dirichlet(LABELS, 100, 0.01, rng), "in 100 draws some of the 100 clients had fewer than 1"),
        (lambda rng: choose_clients(10, 0.0, rng), "a fraction of 0.0 of 10 clients: give a fraction above 0"),
        (lambda rng: choose_clients(10, 1.5, rng), "a fraction of 1.5"),
        (lambda rng: choose_clients(0, 0.5, rng), "of 0 clients"),
    ],
)
def test_what_cannot_be_shared_out(call, words):
    with pytest.raises(ValueError, match=words):
        call(np.random.default_rng(0))


@given(clients=st.integers(1, 30), fraction=st.floats(0.001, 1), seed=st.integers(0, 5))
def test_who_takes_part(clients, fraction, seed):
    chosen = choose_clients(clients, fraction, np.random.default_rng(seed))
    assert len(chosen) == max(1, round(fraction * clients)) == len(set(chosen))
    assert chosen == sorted(chosen) and chosen[0] >= 0 and chosen[-1] < clients


# A round ------------------------------------------------------------------------------------------------------------


def batches(sizes=(5, 3, 8)):
    """Images of 8x8 and labels of three clients of unequal size, float64."""
    rng = np.random.default_rng(1)
    return [(rng.standard_normal((n, 8, 8, 3)), rng.integers(0, 10, n)) for n in sizes]


def state_of(model):
    return [parameter.data.copy() for parameter in model.parameters()] + [buffer.copy() for buffer in model.buffers()]


def one_step(given, lr=0.1):
    """A client's training: one step of plain SGD on all its images at once."""
    return lambda model, client: train_locally(
        model, lambda epoch: [given[client]], 0, 1, lambda parameters: optim.SGD(parameters, lr=lr)
    )


def test_one_step_on_all_images_is_data_parallel_training():
    """FedSGD: w - lr * sum n_k / n g_k, the step of shards with those sizes; batch norm's statistics as there."""
    given, sizes = batches(), [5, 3, 8]
    model = models.resnet8(rng=0).to(np.float64)
    sharded = copy.deepcopy(model)
    federated_round(model, sizes, [0, 1, 2], one_step(given))
    parts = [slice(0, 5), slice(5, 8), slice(8, 16)]
    x, labels = (np.concatenate([pair[which] for pair in given]) for which in (0, 1))
    batch = Batch(labels, parts, range(3), lambda shard: (x[parts[shard]], labels[parts[shard]]))
    sharded_step(sharded.train(), optim.SGD(sharded.parameters(), lr=0.1), batch)
    for one, other in zip(state_of(model), state_of(sharded), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-13)


def test_without_batch_norm_it_is_a_step_on_all_images():
    given = batches()
    model = Sequential(layers.GlobalAvgPool2d(), layers.Linear(3, 10, rng=0)).to(np.float64)
    whole, before = copy.deepcopy(model), model[1].weight.data.copy()
    federated_round(model, [5, 3, 8], [0, 1, 2], one_step(given))
    x, labels = (np.concatenate([pair[which] for pair in given]) for which in (0, 1))
    train_step(whole, optim.SGD(whole.parameters(), lr=0.1), x, labels)
    np.testing.assert_allclose(model[1].weight.data, whole[1].weight.data, rtol=1e-13)
    assert np.abs(model[1].weight.data - before).max() > 1e-3


def test_two_local_steps_are_no_longer_that():
    """The second step begins where the client's own first one has led."""
    given = batches()
    models_ = [models.resnet8(rng=0).to(np.float64) for _ in range(2)]
    for model, epochs in zip(models_, (1, 2), strict=True):

        def train(model, client, epochs=epochs):
            train_locally(model, lambda epoch: [given[client]], 0, epochs, lambda ps: optim.SGD(ps, lr=0.1 / epochs))

        federated_round(model, [5, 3, 8], [0, 1, 2], train)
    assert np.abs(models_[0].fc.weight.data - models_[1].fc.weight.data).max() > 1e-4


def test_the_mean_is_weighted_by_images_and_every_client_begins_at_the_same_weights():
    model, begun = models.resnet8(rng=0), []
    before = model.fc.bias.data.copy()

    def train(model, client):
        begun.append(state_of(model))
        for parameter in model.parameters():
            parameter.data[...] = client
        for buffer in model.buffers():
            buffer[...] = client
        model.fc.bias.data = model.fc.bias.data + 1  # another array, as an optimizer of one's own may leave it

    federated_round(model, [10, 99, 30, 60], [0, 2, 3], train)
    mean = (10 * 0 + 30 * 2 + 60 * 3) / 100
    for array in state_of(model):
        np.testing.assert_allclose(array, mean + (array.shape == before.shape), rtol=1e-6)
    for of_client in begun[1:]:
        assert all(np.array_equal(one, other) for one, other in zip(of_client, begun[0], strict=True))


def test_buffers_that_are_not_averaged_stay():
    model, given = models.resnet8(rng=0).to(np.float64), batches()
    before = state_of(model)
    federated_round(model, [5, 3, 8], [0, 1, 2], one_step(given), average_buffers=False)
    count = len(model.parameters())
    assert all(np.array_equal(one, other) for one, other in zip(state_of(model)[count:], before[count:], strict=True))
    assert not any(
        np.array_equal(one, other) for one, other in zip(state_of(model)[:count], before[:count], strict=True)
    )


def test_epochs_are_counted_on_from_round_to_round():
    asked = []
    model = Sequential(layers.GlobalAvgPool2d(), layers.Linear(3, 10, rng=0))
    for number in range(3):
        train_locally(model, lambda epoch: asked.append(epoch) or [], number, 2, lambda ps: optim.SGD(ps, lr=0.1))
    assert asked == [0, 1, 2, 3, 4, 5]


def test_bytes():
    model = models.resnet8(rng=0)
    parameters, buffers = sum(p.data.size for p in model.parameters()), sum(b.size for b in model.buffers())
    assert bytes_to_send(model) == 4 * (parameters + buffers) and bytes_to_send(model, buffers=False) == 4 * 75_290
    assert buffers > 0


# By several ranks ---------------------------------------------------------------------------------------------------


class Part(Ranks):
    """Rank `rank` of `size`: hands its sums in and, once all are there, gets the total of the one tree."""

    def __init__(self, rank, size, handed, generators):
        self.rank, self.size, self.handed, self.generators = rank, size, handed, generators
        self.hosts = ["here"] * size

    def sum(self, sums, count, numbers=()):
        self.handed[self.rank] = sums.nodes
        total = TreeSum()
        for rank in sorted(self.handed):
            for node in self.handed[rank]:
                total.put(node.first, node.value, node.level)
        return total.total(), list(numbers)

    def broadcast(self, thing):
        return self.generators.setdefault(0, thing)


@pytest.mark.parametrize("clients", [4, 5, 7])
@pytest.mark.parametrize("size", [2, 3])
def test_the_bits_do_not_depend_on_the_ranks(clients, size):
    """Dropout's draws and batch norm's statistics included: a rank has no client's but its own."""
    given = batches([4] * clients)

    def network():
        body = models.resnet8(rng=0)
        return Sequential(body, layers.Dropout(0.3, rng=7), layers.Linear(10, 10, rng=1)).to(np.float32)

    given = [(x.astype(np.float32), labels) for x, labels in given]
    alone = network()
    for _ in range(2):
        federated_round(alone, [4] * clients, list(range(clients)), one_step(given))
    of_ranks = [network() for _ in range(size)]
    for _ in range(2):
        handed, generators = {}, {}
        starts = [copy.deepcopy(model) for model in of_ranks]
        for rank in range(size):  # so that all have handed their sums in
            ranks = Part(rank, size, handed, generators)
            federated_round(starts[rank], [4] * clients, list(range(clients)), one_step(given), ranks=ranks)
        for rank in range(size):
            ranks = Part(rank, size, handed, generators)
            federated_round(of_ranks[rank], [4] * clients, list(range(clients)), one_step(given), ranks=ranks)
    for model in of_ranks:
        assert all(np.array_equal(one, other) for one, other in zip(state_of(model), state_of(alone), strict=True))


@test_ranks.needs_mpi
def test_the_bits_do_not_depend_on_real_ranks():
    script, found = Path(__file__).with_name("federated_by_ranks.py"), []
    for size in (1, 2, 3):
        code, output, errors = test_ranks.run(size, script)
        assert code == 0, errors
        number, digest = output.split()
        assert int(number) == size
        found.append(digest)
    assert len(set(found)) == 1


@pytest.mark.parametrize(
    ("images", "chosen", "size", "words"),
    [
        ([5, 3], [], 1, "no client is chosen"),
        ([5, 0], [0, 1], 1, "client 1 has no images, and nothing to train on: leave it out"),
        ([5, 3], [1, 1], 1, r"a client is chosen twice in \[1, 1\]"),
        ([5, 3], [0], 2, "1 clients a round cannot be dealt to 2 ranks: start at most 1"),
    ],
)
def test_rounds_that_cannot_be(images, chosen, size, words):
    model = models.resnet8(rng=0)
    before = state_of(model)
    with pytest.raises(ValueError, match=words):
        federated_round(model, images, chosen, one_step(batches()), ranks=Part(0, size, {}, {}))
    assert all(np.array_equal(one, other) for one, other in zip(state_of(model), before, strict=True))


def test_random_streams_go_on_from_round_to_round():
    """Else every round would draw the masks of the first."""
    given = batches()
    model = Sequential(layers.GlobalAvgPool2d(), layers.Dropout(0.5, rng=7), layers.Linear(3, 10, rng=1)).to(np.float64)
    states = [model[1].rng.bit_generator.state]
    for _ in range(2):
        federated_round(model, [5, 3, 8], [0, 1, 2], one_step(given))
        states.append(model[1].rng.bit_generator.state)
    assert states[0] != states[1] != states[2]


def test_each_client_draws_from_a_stream_of_its_own():
    """Else all would drop the same numbers, and errors that ought to cancel in the mean would add up."""
    model, drawn = Sequential(layers.Dropout(0.5, rng=7)), []
    federated_round(model, [5, 3, 8], [0, 1, 2], lambda model, client: drawn.append(model[0].rng.random()))
    assert len(set(drawn)) == 3
    assert drawn[0] == np.random.default_rng(7).random()  # the first has the model's, as one shard alone would
