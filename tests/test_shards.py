"""Shards of a batch: their gradients are the batch's, their sum has one order, and one shard is today's training."""

import copy
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minires import backend, layers, models, optim
from minires.data import Augment, Loader
from minires.losses import cross_entropy
from minires.module import Module
from minires.precision import options_for
from minires.ranks import Ranks
from minires.ranks.adding import add_over_ranks
from minires.sequential import Sequential
from minires.sharded_step import sharded_step
from minires.shards import Batch, TreeSum, cut
from minires.stepping import check_shards
from minires.trainer import Trainer
from minires.training import train_step

# Cutting ------------------------------------------------------------------------------------------------------------


@given(st.integers(0, 300), st.integers(1, 64))
def test_shards_cover_the_batch_and_none_is_empty(count, shards):
    parts = cut(count, shards)
    assert [n for part in parts for n in range(part.start, part.stop)] == list(range(count))
    sizes = [part.stop - part.start for part in parts]
    assert len(parts) == min(shards, count) and (not sizes or max(sizes) - min(sizes) <= 1 <= min(sizes))


def test_no_shards_at_all_are_refused():
    with pytest.raises(ValueError, match="cut: shards is 0, expected at least 1"):
        cut(8, 0)
    with pytest.raises(ValueError, match="shards must be at least 1, got 0"):
        check_shards(0)


# The sum ------------------------------------------------------------------------------------------------------------


def level_by_level(terms):
    """The order as the page has it."""
    while len(terms) > 1:
        pairs = itertools.zip_longest(terms[::2], terms[1::2])
        terms = [a if b is None else a + b for a, b in pairs]
    return terms[0]


def drawn(shards, seed=0):
    """Numbers of very different sizes, whose sum depends on the order in almost every place."""
    rng = np.random.default_rng(seed)
    return [(rng.standard_normal(50) * 10.0 ** rng.integers(-3, 4, 50)).astype(np.float32) for _ in range(shards)]


def of(terms, shards):
    sums = TreeSum()
    for shard in shards:
        sums.put(shard, [terms[shard]])
    return sums


@pytest.mark.parametrize("shards", [*range(1, 18), 64, 100])
def test_the_sum_goes_up_the_tree_level_by_level(shards):
    terms = drawn(shards)
    total = of(terms, range(shards)).total()[0]
    assert np.array_equal(total, level_by_level(terms))
    if shards > 4:  # other orders have other bits
        assert not np.array_equal(total, sum(terms[1:], terms[0]))
        assert not np.array_equal(total, np.sum(terms, axis=0))


def test_few_sums_are_kept_at_a_time():
    sums = TreeSum()
    for shard, term in enumerate(drawn(100)):
        sums.put(shard, [term])
        assert len(sums.nodes) <= 7  # log2(100) + 1


@pytest.mark.parametrize(
    "shards, ranks", [(s, w) for s in (1, 2, 4, 6, 8, 12, 15, 30) for w in range(1, s + 1) if s % w == 0]
)
def test_ranks_that_share_it_have_its_bits(shards, ranks):
    """The exchange played by hand: every rank in turn, with all the others' numbers."""
    terms = drawn(shards, seed=shards)
    doubles = [np.float64([[shard, 1 / (shard + 1)]]) for shard in range(shards)]
    shares = [range(r * shards // ranks, (r + 1) * shards // ranks) for r in range(ranks)]
    alone = of(terms, range(shards)).total()[0]
    sent, parts = {}, {}

    def values(share):
        sums = TreeSum()
        for shard in share:
            sums.put(shard, [terms[shard], doubles[shard], terms[shard][:1]])
        return sums

    for rank, share in enumerate(shares):  # what each sends

        def exchange(rows_of_all, rows, rank=rank):
            sent[rank, rows_of_all.dtype.str] = rows_of_all
            return np.zeros((sum(rows), rows_of_all.shape[2]), rows_of_all.dtype)

        add_over_ranks(values(share), shares, exchange, lambda part: np.tile(part, ranks))
    for rank, share in enumerate(shares):  # what each adds

        def received(rows_of_all, rows, rank=rank):
            return np.concatenate([sent[other, rows_of_all.dtype.str][rank] for other in range(ranks)])

        def keep(part, rank=rank):
            parts[rank, part.dtype.str] = part
            return np.tile(part, ranks)

        add_over_ranks(values(share), shares, received, keep)
    spread = lambda part: np.concatenate([parts[rank, part.dtype.str] for rank in range(ranks)])  # noqa: E731
    ones = values(shares[0])
    total = add_over_ranks(ones, shares, lambda rows_of_all, rows: received(rows_of_all, rows, 0), spread)
    assert np.array_equal(total[0], alone) and np.array_equal(total[2], alone[:1])
    assert np.array_equal(total[1], level_by_level(doubles)) and total[1].shape == (1, 2)


# The step -----------------------------------------------------------------------------------------------------------


def network(dtype=np.float64):
    return models.build("resnet8", 10, rng=0, shortcut="A", small_input=True).to(dtype).train()


def data(count=13, classes=10, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, 8, 8, 3)).astype(dtype), rng.integers(0, classes, count)


def batch_of(x, labels, shards):
    return Batch.of(x, labels, shards)


def stepped(model, x, labels, shards, **options):
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    found = sharded_step(model, optimizer, batch_of(x, labels, shards), **options)
    return found, [parameter.grad for parameter in model.parameters()]


def gradients_by_hand(model, x, labels, shares, parts, weight=None):
    """The weighted mean over single passes, each with a model of its own."""
    loss_sum, total, buffers = 0, None, None
    for share, part in zip(shares, parts, strict=True):
        own = copy.deepcopy(model)
        logits, backward = own(x[part])
        loss, loss_backward = cross_entropy(logits, labels[part], weight=weight)
        backward(loss_backward())
        terms = [share * parameter.grad for parameter in own.parameters()]
        total = terms if total is None else [a + b for a, b in zip(total, terms, strict=True)]
        means = [(part.stop - part.start) / len(x) * buffer for buffer in own.buffers()]
        buffers = means if buffers is None else [a + b for a, b in zip(buffers, means, strict=True)]
        loss_sum += share * loss
    return loss_sum, total, buffers


@pytest.mark.parametrize("count, shards", [(16, 4), (13, 4), (13, 5), (6, 3)])
def test_the_gradient_is_the_mean_over_the_shards(count, shards):
    x, labels = data(count)
    model = network()
    parts = cut(count, shards)
    shares = [(part.stop - part.start) / count for part in parts]
    loss, expected, buffers = gradients_by_hand(model, x, labels, shares, parts)
    found, gradients = stepped(model, x, labels, shards)
    np.testing.assert_allclose(found.loss, loss, rtol=1e-14)
    for mine, by_hand in zip([*gradients, *model.buffers()], [*expected, *buffers], strict=True):
        assert np.abs(mine - by_hand).max() <= 1e-14 * np.abs(by_hand).max()


def test_without_batch_norm_shards_are_the_batch():
    """Nothing else mixes images: then the shards' mean is the batch's gradient, whatever their sizes."""
    layer = Sequential(layers.GlobalAvgPool2d(), layers.Linear(3, 10, rng=0)).to(np.float64)
    x, labels = data(13)
    whole = copy.deepcopy(layer)
    loss, right = train_step(whole, optim.SGD(whole.parameters(), lr=0.1), x, labels)
    found, gradients = stepped(layer, x, labels, 4)
    np.testing.assert_allclose(found.loss, loss, rtol=1e-14)
    assert found.right == right
    for mine, expected in zip(gradients, whole.parameters(), strict=True):
        np.testing.assert_allclose(mine, expected.grad, rtol=1e-13, atol=1e-16)


def test_class_weights_are_those_of_the_whole_batch():
    layer = Sequential(layers.GlobalAvgPool2d(), layers.Linear(3, 10, rng=0)).to(np.float64)
    x, labels = data(13)
    weight = np.random.default_rng(1).uniform(0.1, 5, 10)
    whole = copy.deepcopy(layer)
    loss, _ = train_step(whole, optim.SGD(whole.parameters(), lr=0.1), x, labels, class_weights=weight)
    found, gradients = stepped(layer, x, labels, 4, class_weights=weight)
    np.testing.assert_allclose(found.loss, loss, rtol=1e-14)
    for mine, expected in zip(gradients, whole.parameters(), strict=True):
        np.testing.assert_allclose(mine, expected.grad, rtol=1e-13, atol=1e-16)


@pytest.mark.parametrize("images, size", [(1, 8), (3, 8), (8, 8), (2, 32), (8, 32), (17, 32)])
def test_a_shard_has_the_same_bits_on_any_number_of_threads(images, size):
    """Where there is one block only, BLAS would share it out, and its bits depend on that."""
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((2 * images, size, size, 3), np.float32), rng.integers(0, 10, 2 * images)
    before, found = backend.get_threads(), []
    try:
        for threads in (1, 2, 3):
            backend.set_threads(threads)
            model = network(np.float32)
            stepped(model, x, labels, 2)
            found.append([*model.state_dict().values()])
    finally:
        backend.set_threads(before)
    for other in found[1:]:
        assert all(np.array_equal(mine, theirs) for mine, theirs in zip(found[0], other, strict=True))


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
def test_one_shard_is_the_step_of_before(precision):
    if precision == "bfloat16":
        pytest.importorskip("ml_dtypes")
    x, labels = data(8, dtype=np.float32)
    models_ = [network(np.float32), network(np.float32)]
    optimizers = [optim.SGD(model.parameters(), lr=0.1, momentum=0.9) for model in models_]
    options = [options_for(model, precision) for model in models_]
    for _ in range(3):
        loss, right = train_step(models_[0], optimizers[0], x, labels, **options[0])
        found = sharded_step(models_[1], optimizers[1], batch_of(x, labels, 1), **options[1])
        assert found.loss == loss and found.right == right
    states = [model.state_dict() for model in models_]
    assert all(np.array_equal(states[0][name], states[1][name]) for name in states[0])


def test_what_no_gradient_reaches_stays_without_one():
    class Unused(Module):
        def __init__(self):
            self.used, self.unused = layers.Linear(3, 10, rng=0), layers.Linear(3, 10, rng=1)

        def forward(self, x):
            return self.used(x)

    model = Unused()
    x = np.random.default_rng(0).standard_normal((8, 3)).astype(np.float32)
    found, _ = stepped(model, x, np.arange(8), 4)
    assert np.isfinite(found.loss) and model.used.weight.grad is not None and model.unused.weight.grad is None


def test_frozen_parts_stay_as_they_are():
    model = network(np.float32)
    model.layer1.freeze()
    before = {name: array for name, array in model.state_dict().items() if name.startswith("layer1")}
    x, labels = data(8, dtype=np.float32)
    stepped(model.train(), x, labels, 4)
    after = model.state_dict()
    assert before and all(np.array_equal(before[name], after[name]) for name in before)


class Some(Ranks):
    """A rank that takes its own sum for that of all."""

    def sum(self, sums, count, numbers=()):
        return sums.nodes[0].value, list(numbers)


def test_every_shard_draws_for_itself_whoever_computes_it():
    def step(mine, seed=3):
        model = Sequential(layers.Linear(4, 64, rng=0), layers.Dropout(0.5, rng=seed), layers.Linear(64, 10, rng=1))
        x, labels = np.ones((8, 4), np.float32), np.zeros(8, np.int64)
        parts = cut(8, 4)
        batch = Batch(labels, parts, mine, lambda shard: (x[parts[shard]], labels[parts[shard]]))
        found = sharded_step(model.train(), optim.SGD(model.parameters(), lr=0.1), batch, ranks=Some())
        return found.own, model[1].rng.bit_generator.state

    own, state = step(range(4))
    assert len({float(loss) for loss in own.values()}) == 4  # four images alike, and four masks
    for shard in range(4):
        assert step([shard])[0][shard] == own[shard]
    assert step([0])[1] == state
    alone, _ = step([0], seed=3)
    assert alone[0] == own[0]


def test_what_cannot_be_a_step_or_a_sum_is_said():
    x, labels = data(9)
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    before = [parameter.data for parameter in model.parameters()]
    with pytest.raises(TypeError, match=r"sharded_step: batch is a tuple: give a Batch, of Batch.of or Loader.sharded"):
        sharded_step(model, optimizer, (x, labels))
    with pytest.raises(ValueError, match="of a batch's 3 shards not all are there, and no other rank has them"):
        sharded_step(model, optimizer, Batch.of(x, labels, 3, lambda count: range(2)))
    assert all(parameter.data is data for parameter, data in zip(model.parameters(), before, strict=True))
    with pytest.raises(ValueError, match="the total of no terms"):
        TreeSum().total()
    sums = of(drawn(4), range(2))
    for number in (1, 3, 0):
        with pytest.raises(ValueError, match=f"the term of shard {number} has come, expected that of shard 2"):
            sums.put(number, [drawn(4)[number]])


def test_generators_that_cannot_jump_are_refused():
    model = Sequential(layers.Linear(4, 10, rng=0), layers.Dropout(0.5, np.random.Generator(np.random.SFC64(1))))
    with pytest.raises(ValueError, match="SFC64 cannot jump to a stream for each shard: use np"):
        stepped(model.train(), np.ones((8, 4), np.float32), np.zeros(8, np.int64), 2)


def test_buffers_without_a_mean_are_refused():
    class Counting(Module):
        def __init__(self):
            self.fc = layers.Linear(4, 10, rng=0)
            self.register_buffer("seen", np.zeros((), np.int64))

        def forward(self, x):
            return self.fc(x)

    with pytest.raises(ValueError, match="a buffer of int64 has no mean over shards"):
        stepped(Counting(), np.ones((8, 4), np.float32), np.zeros(8, np.int64), 2)


# The loader ---------------------------------------------------------------------------------------------------------


def loader(count=45, augment=None, **options):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (count, 8, 8, 3), np.uint8), rng.integers(0, 10, count)
    return Loader(images, labels, 10, (0.5,) * 3, (0.25,) * 3, augment=augment, shuffle=True, seed=4, **options)


@pytest.mark.parametrize("augment", [None, Augment(padding=2, flip=True, cutout=3, erasing=0.7)])
@pytest.mark.parametrize("shards", [1, 3, 4])
def test_shards_are_the_batch_in_pieces_whoever_makes_them(augment, shards):
    whole = list(loader(augment=augment).epoch(2))
    for start, mine in ((0, range), (2, range), (1, lambda count: range(count // 2, count))):
        batches = loader(augment=augment).sharded(2, start, shards, mine)
        for (x, labels), batch in zip(whole[start:], batches, strict=True):
            assert len(batch) == len(x) and np.array_equal(batch.labels, labels)
            for shard in batch:
                part = batch.parts[shard.number]
                assert np.array_equal(shard.x, x[part]) and np.array_equal(shard.labels, labels[part])
            assert list(batch.mine) == list(mine(shards))


def test_an_augmentation_of_your_own_draws_for_each_shard():
    def noise(images, rng):
        return images + rng.standard_normal(images.shape, np.float32)

    made = [[shard.x for shard in batch] for batch in loader(augment=noise).sharded(0, 0, 2)]
    for number in (0, 1):
        own = loader(augment=noise).sharded(0, 0, 2, lambda count, number=number: [number])
        for batch, shards in zip(own, made, strict=True):
            assert np.array_equal(next(iter(batch)).x, shards[number])
    plain = [[shard.x for shard in batch] for batch in loader().sharded(0, 0, 2)]
    drawn_ = [[a - b for a, b in zip(*pair, strict=True)] for pair in zip(made, plain, strict=True)]
    assert not np.allclose(drawn_[0][0], drawn_[0][1]) and not np.allclose(drawn_[0][0], drawn_[1][0])


def test_a_start_beyond_the_epoch_is_refused():
    with pytest.raises(ValueError, match="start is 6, expected 0 to 5"):
        loader().sharded(0, 6, 2)


# The run ------------------------------------------------------------------------------------------------------------


def trained(folder, shards, **options):
    model = models.build("simple_cnn", 10, rng=0)
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (45, 32, 32, 3), np.uint8), rng.integers(0, 10, 45)
    train = Loader(images, labels, 10, (0.5,) * 3, (0.25,) * 3, Augment(), shuffle=True, least_last=2 * shards)
    trainer = Trainer(model, optimizer, lambda _: 0.05, train, None, epochs=2, folder=folder, shards=shards, **options)
    trainer.run()
    return model.state_dict(), trainer.position


def test_the_number_of_shards_is_part_of_the_run(tmp_path):
    for shards in (1, 2):
        (tmp_path / str(shards)).mkdir()
    (one, first), (two, second) = (trained(tmp_path / str(shards), shards) for shards in (1, 2))
    assert [row["shards"] for row in first.history + second.history] == [1, 1, 2, 2]
    for name in one:  # without batch norm they are one training, but for rounding
        np.testing.assert_allclose(one[name], two[name], rtol=1e-3, atol=1e-5)
        assert not np.array_equal(one[name], two[name])


def test_a_trainer_of_ranks_that_cannot_share_is_refused():
    with pytest.raises(ValueError, match="6 shards cannot be shared out evenly to 4 ranks: start 1, 2, 3 or 6 of them"):
        check_shards(6, 4)
    with pytest.raises(ValueError, match=r"of them$"):
        check_shards(6, 4, fixed=True)
