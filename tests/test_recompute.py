"""What is computed a second time has the bits of the first, leaves no trace, and saves memory."""

import contextlib
import copy
import sys

import cupy_double
import numpy as np
import pytest

from minires import Module, Parameter, Sequential, models, no_grad
from minires.backend import to_device
from minires.backend.cpu import memory
from minires.backend.gpu.graphs import Graph
from minires.gradcheck import gradcheck
from minires.layers import BatchNorm2d, BatchNormReLU2d, Conv2d, Dropout, GlobalAvgPool2d, Linear, ReLU, StochasticDepth
from minires.models import DenseNet
from minires.models.blocks import BasicBlock, Bottleneck
from minires.models.preact import PreActBottleneck, PreActResNet
from minires.optim import SGD
from minires.precision import options_for
from minires.recompute import blocks, recompute
from minires.recomputed import _State, recomputed
from minires.recorded_step import RecordedStep
from minires.sequential import in_sequence
from minires.sharded_step import sharded_step
from minires.shards import Batch
from minires.training import train_step


def batch(seed=0, size=4, shape=(8, 8, 3), classes=10, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((size, *shape)).astype(dtype), rng.integers(0, classes, size)


class Counter(Module):
    """A module as somebody may write it: a generator and a buffer under names of its own, the latter assigned anew."""

    def __init__(self):
        self.noise = np.random.default_rng(7)
        self.register_buffer("calls", np.zeros(1, np.float32))
        self.scale = Parameter(np.full(1, 0.5, np.float32))

    def forward(self, x):
        self.calls = self.calls + 1
        drawn = (self.noise.random(x.shape) / self.calls).astype(x.dtype)  # another number in every call
        y = x + self.scale.data * drawn

        def backward(dy):
            self.scale.add_grad((dy * drawn).sum(keepdims=True).reshape(1).astype(self.scale.data.dtype))
            return dy

        return y, backward


class Net(Module):
    """Blocks with batch norm, dropout and a Counter; two layers of dropout share a generator."""

    def __init__(self, dtype=np.float32):
        rng, shared = np.random.default_rng(0), np.random.default_rng(5)
        self.stem = Conv2d(3, 4, 3, padding=1, rng=rng)
        self.stage1 = Sequential(
            Sequential(BatchNormReLU2d(4), Conv2d(4, 4, 3, padding=1, rng=rng), Dropout(0.3, rng=shared)),
            Counter(),
            BasicBlock(4, 4, 1, "A", rng),
            Dropout(0.3, rng=shared),
        )
        block = Sequential(BasicBlock(4, 8, 2, "B", rng), StochasticDepth(0.4, rng=1))
        self.stage2 = Sequential(block, Dropout(0.2, rng=2), BasicBlock(8, 8, 1, "B", rng))
        self.pool, self.fc = GlobalAvgPool2d(), Linear(8, 10, rng=rng)

    def forward(self, x, lean=False):
        parts = [self.stem, self.stage1, self.stage2, self.pool, self.fc]
        return in_sequence([(part, [part]) for part in parts], x, lean)


def bottlenecks():
    rng = np.random.default_rng(0)
    blocks = [Bottleneck(3, 2, 1, "torchvision", rng), *(Bottleneck(8, 2, 1, "torchvision", rng) for _ in range(5))]
    return Sequential(*blocks, GlobalAvgPool2d(), Linear(8, 10, rng=rng))


def whole_state(model):
    """Bits of everything that a step changes."""
    drawn = [module.rng.bit_generator.state for module in model.modules() if hasattr(module, "rng")]
    drawn += [module.noise.bit_generator.state for module in model.modules() if hasattr(module, "noise")]
    return {key: array.tobytes() for key, array in model.state_dict().items()} | {"generators": drawn}


def trained(model, steps=3, change=lambda number, model: None, **options):
    """Losses of some steps, and the state after each."""
    optimizer, found = SGD(model.parameters(), 0.1, momentum=0.9), []
    for number in range(steps):
        change(number, model)
        found.append((float(train_step(model, optimizer, *batch(number), **options)[0]), whole_state(model)))
    return found


def assert_same(make, segments, **options):
    model = recompute(make(), segments)
    assert any(module.segment is not None for module in model.modules()) == (segments != 1)
    same = trained(model, **options) == trained(make(), **options)
    assert same  # pytest would spell the difference of megabytes out, for a minute


# The same bits --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("segments", [None, 1, 2, 3, 7])
def test_training_has_the_bits_that_it_has_without(segments):
    assert_same(Net, segments)


@pytest.mark.parametrize(
    ("make", "segments"),
    [
        (lambda: models.resnet20(rng=0), 4),
        (lambda: models.plain8(rng=0), None),
        (lambda: models.resnet8(shortcut="B", rng=0), 3),
        (bottlenecks, 3),
        (lambda: PreActResNet(2, PreActBottleneck, rng=0), None),
        (lambda: DenseNet((2, 3), 4, 8, 10, small_input=True, rng=0), None),
        (lambda: models.googlenet(10, small_input=True, rng=0), None),
    ],
    ids=["resnet20", "plain8", "option B", "bottlenecks", "before activation", "DenseNet", "GoogLeNet"],
)
def test_the_networks(make, segments):
    assert_same(make, segments, steps=1 if segments is None else 2)


@pytest.mark.parametrize("precision", ["tf32", "float16", "bfloat16"])
def test_halves(precision):
    if precision == "bfloat16":
        pytest.importorskip("ml_dtypes")

    def run(model):
        return trained(model, **options_for(model, precision))

    assert run(recompute(models.resnet8(rng=0), 3)) == run(models.resnet8(rng=0))


def test_what_is_frozen_may_change():
    def change(number, model):
        if number == 1:
            model.stem.freeze()
            model.stage1.freeze()
        if number == 2:
            model.stage2.freeze()
        if number == 3:
            model.stage1.unfreeze()
            model.train()

    assert_same(Net, 7, change=change, steps=5)


def test_a_model_in_inference_mode_is_trained_on_its_running_statistics():
    assert_same(Net, 5, change=lambda number, model: model.eval())


@pytest.mark.parametrize("shards", [1, 2, 3])
def test_shards(shards):
    def run(model):
        optimizer = SGD(model.parameters(), 0.1)
        found = [sharded_step(model, optimizer, Batch.of(*batch(number, 7), shards)) for number in range(3)]
        return [(float(one.loss), int(one.right)) for one in found], whole_state(model)

    assert run(recompute(Net(), 5)) == run(Net())


def test_a_recorded_step_on_a_gpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", cupy_double)
    replays, replay = [], Graph.replay
    monkeypatch.setattr(Graph, "replay", lambda self, *arrays: replays.append(self) or replay(self, *arrays))

    def run(model):
        step = RecordedStep(model.to("gpu"), SGD(model.parameters(), 0.1, momentum=0.9))
        given = [[to_device(array, "gpu") for array in batch(number)] for number in range(4)]
        return [float(step(*arrays)[0]) for arrays in given], whole_state(model)

    plain = run(models.resnet8(rng=0))
    assert len(replays) == 3
    assert run(recompute(models.resnet8(rng=0), 3)) == plain
    assert len(replays) == 6


def test_steps_are_recorded_anew_for_other_segments(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", cupy_double)
    model = models.resnet8(rng=0).to("gpu")
    step, graphs = RecordedStep(model, SGD(model.parameters(), 0.1)), set()
    for number in range(6):
        step(*(to_device(array, "gpu") for array in batch(number)))
        graphs.add(id(step._alike))
        if number == 2:
            recompute(model, 3)
    assert len(graphs) == 3  # none yet, and one for each


# A backward pass at any time ------------------------------------------------------------------------------------


def both(seed=0):
    """The same network with recomputing and without, its input and a gradient."""
    x, dy = batch(seed)[0], np.random.default_rng(1).standard_normal((4, 10)).astype(np.float32)
    return [recompute(Net(), 5), Net()], x, dy


def gradients(model, dx):
    return [dx.tobytes(), *(parameter.grad.tobytes() for parameter in model.parameters())]


def test_backward_may_be_called_again_and_adds_the_same_once_more():
    found, (nets, x, dy) = [], both()
    for model in nets:
        y, backward = model(x)
        backward(dy)
        found.append((y.tobytes(), gradients(model, backward(-2 * dy)), whole_state(model)))
    assert found[0] == found[1]


def test_a_closures_numbers_are_those_of_its_forward_pass():
    """Whatever happens in between: other batches, an optimizer's step, another mode, freezing, other buffers."""
    found, (nets, x, dy) = [], both()
    for model in nets:
        optimizer = SGD(model.parameters(), 0.5)
        _, backward = model(x)
        trained(model, 2)
        optimizer.step()
        model.eval()
        model.stage2.freeze()
        model.stage2.unfreeze()
        model.load_state_dict({key: array + 1 for key, array in model.state_dict().items()})
        model.zero_grad()
        state = whole_state(model)
        found.append(gradients(model, backward(dy)))
        same = whole_state(model) == state
        assert same and not model.training
    same = found[0] == found[1]
    assert same


def test_backward_within_no_grad():
    found, (nets, x, dy) = [], both()
    for model in nets:
        _, backward = model(x)
        with no_grad():
            found.append(gradients(model, backward(dy)))
    assert found[0] == found[1]


def test_under_no_grad_nothing_is_kept_and_nothing_else_returned():
    found, (nets, x, dy) = [], both()
    for model in nets:
        with no_grad():
            y, backward = model(x)
        found.append((y.tobytes(), whole_state(model)))
        with pytest.raises(RuntimeError, match="under no_grad"):
            backward(dy)
    assert found[0] == found[1]


def test_one_within_another():
    def nested(model):
        recompute(model.stage1[0], 3)
        for block in model.stage1:
            block.segment = 0
        return model

    assert trained(nested(Net())) == trained(Net())


def test_gradcheck():
    module = Sequential(Conv2d(2, 3, 3, padding=1, rng=0), BatchNorm2d(3), ReLU(), Conv2d(3, 2, 1, rng=1)).to(
        np.float64
    )
    x = np.random.default_rng(3).standard_normal((3, 4, 4, 2))
    assert gradcheck(lambda x: recomputed(module, x), x)


# No trace -------------------------------------------------------------------------------------------------------


class Passes(Module):
    """Counts its forward passes outside of its state."""

    def __init__(self, count, fails_at=None):
        self.count, self.fails_at = [count], fails_at
        self.norm = BatchNorm2d(3)

    def forward(self, x):
        self.count[0] += 1
        y, backward = self.norm(x)
        if self.count[0] == self.fails_at:
            raise KeyboardInterrupt
        return y, backward


def test_all_segments_but_the_last_run_twice():
    model = recompute(Sequential(*(Passes(0) for _ in range(7))), 3)
    _, backward = model(batch()[0])
    assert [block.count[0] for block in model] == [1] * 7
    backward(batch()[0])
    assert [block.count[0] for block in model] == [2, 2, 2, 2, 1, 1, 1]


def test_a_second_pass_that_is_broken_off_leaves_everything_in_its_place():
    model = Sequential(Passes(0), Passes(0, fails_at=2), Passes(0))
    recompute(model, 2)
    for block in model:
        block.segment = 0
    _, backward = model(batch()[0])
    places, state = [id(buffer) for buffer in model.buffers()], whole_state(model)
    with pytest.raises(KeyboardInterrupt):
        backward(batch()[0])
    assert [id(buffer) for buffer in model.buffers()] == places and whole_state(model) == state
    backward(batch()[0])  # and it may be called once more


def test_keys_stay_as_they_are_and_a_copy_is_cut_likewise():
    plain, model = Net(), recompute(Net(), 4)
    assert list(plain.state_dict()) == list(model.state_dict())
    assert repr(plain) == repr(model)
    copied = copy.deepcopy(model)
    assert [module.segment for module in copied.modules()] == [module.segment for module in model.modules()]
    recompute(model, 1)
    assert {module.segment for module in model.modules()} == {None}


# Memory ---------------------------------------------------------------------------------------------------------


def most_lent(monkeypatch, segments):
    """Bytes that a training step of sixteen equal blocks has of the pool at most, in arrays of one block's output."""
    model = Sequential(*(BasicBlock(16, 16, 1, "A", 0) for _ in range(16)), GlobalAvgPool2d(), Linear(16, 10, rng=0))
    x, labels = batch(size=8, shape=(32, 32, 16))
    monkeypatch.setattr(memory, "_pool", pool := memory._Pool())
    train_step(recompute(model, segments), SGD(model.parameters(), 0.1), x, labels)
    return pool.most_lent / x.nbytes


def test_the_memory_of_a_step_has_its_minimum_near_the_square_root(monkeypatch):
    plain, two, six, all_of_them = (most_lent(monkeypatch, segments) for segments in (1, 2, 6, 18))
    assert plain > 4 * 16  # each block keeps four arrays
    assert two < 0.65 * plain
    assert six < 0.55 * two
    assert six < all_of_them < two


# The blocks -----------------------------------------------------------------------------------------------------


def test_blocks_are_what_stands_in_sequentials_and_modules_that_hold_others():
    model = models.resnet20(rng=0)
    assert blocks(model) == [*model.layer1, *model.layer2, *model.layer3]
    nested = Sequential(Sequential(Linear(2, 2), ReLU()), Linear(2, 2))
    assert blocks(nested) == [nested[0][0], nested[0][1], nested[1]]
    net = Net()
    assert len(blocks(net)) == 3 + 3 + 4


@pytest.mark.parametrize(("name", "segments"), [("resnet20", 4), ("resnet56", 7), ("resnet110", 10), ("resnet8", 2)])
def test_without_a_number_it_is_the_square_root_of_the_layers(name, segments):
    found = [block.segment for block in blocks(recompute(models.build(name, rng=0)))]
    assert len(set(found)) == segments
    assert found[-1] is None and found[0] == 0


def test_what_cannot_be_cut_is_said():
    with pytest.raises(ValueError, match="Linear is no chain of blocks, 0 were found: give the part that is one, or"):
        recompute(Linear(2, 2))
    for segments in (0, 10, -1):
        with pytest.raises(ValueError, match=f"segments is {segments}, of 9 blocks: give 1 to 9"):
            recompute(models.resnet20(), segments)
    with pytest.raises(ValueError, match=r"which modules does .* use\? Give modules=\[\.\.\.\], or \[\] for none"):
        recomputed(lambda x: (x, lambda dy: dy), batch()[0])


def test_a_function_that_depends_on_something_else_is_found_where_the_shape_shows_it():
    rows = iter([4, 3])
    y, backward = recomputed(lambda x: (x[: next(rows)], lambda dy: dy), batch()[0], [])
    with pytest.raises(
        ValueError, match=r"first forward pass gave \(4, 8, 8, 3\) of float32, the second \(3, 8, 8, 3\)"
    ):
        backward(y)


# What these tests would find ------------------------------------------------------------------------------------


@contextlib.contextmanager
def nothing(self):
    yield


def without(what):
    """once_more that forgets one kind of what it should put back."""
    once_more = _State.once_more

    def sabotaged(self):
        self.values = [triple for triple in self.values if triple[1] != what]
        self.buffers = [] if what == "buffers" else self.buffers
        return once_more(self)

    return sabotaged


@pytest.mark.parametrize(
    ("once_more", "test"),
    [
        (nothing, lambda: assert_same(Net, 5)),
        (without("state"), lambda: assert_same(Net, 5)),
        (without("buffers"), lambda: assert_same(Net, 5)),
        (without("training"), test_a_closures_numbers_are_those_of_its_forward_pass),
        (without("data"), test_a_closures_numbers_are_those_of_its_forward_pass),
    ],
    ids=["nothing", "generators", "buffers", "modes", "parameters"],
)
def test_a_second_pass_that_finds_another_state_is_noticed(monkeypatch, once_more, test):
    monkeypatch.setattr(_State, "once_more", once_more)
    with pytest.raises(AssertionError):
        test()
