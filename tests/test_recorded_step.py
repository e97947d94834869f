"""RecordedStep gives train_step's bits, whatever changes between two steps, and says when it records nothing."""

import gc
import sys

import cupy_double
import numpy as np
import pytest
from device_cases import GPU

from minires import models, optim
from minires.backend import memory_peak, to_device, to_numpy
from minires.backend.gpu import memory
from minires.backend.gpu.graphs import Graph
from minires.backend.gpu.products import product
from minires.data.images import Preprocessing
from minires.layers import (
    Conv2d,
    Dropout,
    GlobalAvgPool2d,
    GroupNorm,
    LayerNorm,
    Linear,
    Scale,
    SqueezeExcitation,
    StochasticDepth,
)
from minires.module import Module
from minires.recorded_step import RecordedStep
from minires.sequential import Sequential
from minires.teacher import Teacher
from minires.training import train_step


@pytest.fixture(params=["double", GPU])
def replays(request, monkeypatch):
    """On CuPy's double and on a GPU: a list to which each replay of a graph appends the graph."""
    if request.param == "double":
        monkeypatch.setitem(sys.modules, "cupy", cupy_double)
    marks, replay = [], Graph.replay

    def marked(self, *arrays):
        marks.append(self)
        return replay(self, *arrays)

    monkeypatch.setattr(Graph, "replay", marked)
    return marks


def network(make=lambda: models.resnet8(rng=0), device="gpu"):
    model = make().to(device)
    return model, optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-2, nesterov=True)


def batch(number, size=4, device="gpu", shape=(8, 8, 3)):
    rng = np.random.default_rng(number)
    images = rng.standard_normal((size, *shape)).astype(np.float32)
    return to_device(images, device), to_device(rng.integers(0, 10, size), device)


def run(step, model, optimizer, sizes, change=lambda number, model, optimizer: None, device="gpu", shape=(8, 8, 3)):
    """What every step returned, and the state at the end."""
    found = []
    for number, size in enumerate(sizes):
        change(number, model, optimizer)
        found += [float(value) for value in step(*batch(number, size, device, shape))]
    return found, model.state_dict() | optimizer.state_dict()["arrays"]


def compare(sizes, change=lambda number, model, optimizer: None, make=lambda: models.resnet8(rng=0), **options):
    """The same steps by RecordedStep and by train_step must give the same bits. Returns the RecordedStep."""
    more = {key: options.pop(key) for key in ("device", "shape") if key in options}
    plain_model, plain = network(make, more.get("device", "gpu"))
    expected = run(
        lambda x, y: train_step(plain_model, plain, x, y, **options), plain_model, plain, sizes, change, **more
    )
    model, optimizer = network(make, more.get("device", "gpu"))
    step = RecordedStep(model, optimizer, **options)
    losses, state = run(step, model, optimizer, sizes, change, **more)
    assert losses == expected[0]
    assert state.keys() == expected[1].keys()
    for key, array in state.items():
        np.testing.assert_array_equal(array, expected[1][key], err_msg=key)
    assert all(parameter.grad is None for parameter in model.parameters())
    return step


def test_the_bits_of_train_step(replays):
    step = compare([4] * 5)
    assert step.whynot is None
    assert len(replays) == 4  # the first is plain


@pytest.mark.parametrize("own", [(0.5, 0.25), (0.0, 1.0)], ids=["prepared anew", "as the student's"])
def test_a_teacher_s_look_at_the_images_is_recorded_with_the_step(replays, own):
    """Of two teachers: their forward passes, the mean of their probabilities, the loss against these."""
    preprocessing = Preprocessing((own[0],) * 3, (own[1],) * 3, size=8, resize=8)
    networks = [(models.resnet8(rng=seed), preprocessing) for seed in (1, 2)]
    teacher = Teacher(networks, (0.0,) * 3, (1.0,) * 3, temperature=2.0, device="gpu")
    step = compare([4] * 4, criterion=teacher.criterion(0.7))
    assert step.whynot is None and len(replays) == 3


def test_a_smaller_batch_in_between_is_a_plain_step(replays):
    compare([4, 4, 2, 4, 4, 2, 4])
    assert len(replays) == 4 and len(set(replays)) == 1


def test_learning_rate_weights_and_buffers_may_change(replays):
    def change(number, model, optimizer):
        optimizer.lr = 0.1 / (number + 1)
        if number == 3:
            model.load_state_dict({key: array * np.float32(0.5) for key, array in model.state_dict().items()})
        if number == 5:
            for module in model.modules():
                if hasattr(module, "running_mean"):
                    module.running_mean = module.running_mean + 1

    compare([4] * 8, change)
    assert len(set(replays)) == 3  # for each set of buffers, which are elsewhere in memory, one


def test_what_is_frozen_may_change(replays):
    def change(number, model, optimizer):
        if number == 2:
            model.layer1.freeze()
        if number == 5:
            model.layer1.unfreeze()
            model.train()

    compare([4] * 8, change)
    assert len(set(replays)) == 3


def test_label_smoothing_and_class_weights(replays):
    weights = to_device(np.linspace(0.5, 1.5, 10, dtype=np.float32), "gpu")
    compare([4] * 3, label_smoothing=0.1, class_weights=weights)
    assert len(replays) == 2


def test_random_draws_on_the_host_are_not_recorded(replays):
    def make():
        return Sequential(Linear(6, 5, rng=0), Dropout(0.5, rng=1), Linear(5, 10, rng=2))

    step = compare([4] * 3, make=make, shape=(6,))
    assert not replays and step.whynot == "its 1 draws random numbers on the host"


def test_nor_is_stochastic_depth(replays):
    def make():
        return Sequential(Linear(6, 5, rng=0), StochasticDepth(0.5, rng=1), Linear(5, 10, rng=2))

    step = compare([4] * 3, make=make, shape=(6,))
    assert not replays and step.whynot == "its 1 draws random numbers on the host"


def test_norms_within_an_image_gates_and_scales_are_recorded(replays):
    def make():
        first, second = Conv2d(3, 4, 3, rng=0), Conv2d(4, 4, 3, rng=1)
        inside = [first, GroupNorm(2, 4), SqueezeExcitation(4, 2, rng=2), second, LayerNorm(4), Scale(0.5)]
        return Sequential(*inside, GlobalAvgPool2d(), Linear(4, 10, rng=3))

    step = compare([4] * 4, make=make, shape=(6, 6, 3))
    assert len(replays) == 3 and step.whynot is None


class Waits(Module):
    def __init__(self):
        self.inside = Linear(6, 10, rng=0)

    def forward(self, x):
        if float(x.sum()) > 1e9:
            raise ValueError
        return self.inside(x)


def test_what_waits_for_the_device_is_not_recorded(replays):
    step = compare([4] * 4, make=Waits, shape=(6,))
    assert not replays and step.whynot.startswith("it cannot be recorded: ")
    compare([4] * 2, make=lambda: Linear(6, 10, rng=0), shape=(6,))  # and the GPU goes on working
    assert len(replays) == 1


def test_steps_on_a_cpu_are_plain(replays):
    compare([4] * 3, device="cpu")
    assert not replays


def test_the_results_are_the_callers(replays):
    model, optimizer = network()
    step = RecordedStep(model, optimizer)
    found = [step(*batch(number)) for number in range(4)]
    assert len({float(loss) for loss, _ in found}) == 4


def test_the_memory_of_a_recording_is_counted_while_there_is_one_and_in_the_peak(replays, monkeypatch):
    gc.collect()  # graphs of other tests
    monkeypatch.setattr(memory, "_largest", {})
    monkeypatch.setattr(cupy_double, "_pool", cupy_double._MemoryPool(1 << 20, 1 << 19))
    model, optimizer = network()
    step = RecordedStep(model, optimizer)
    step(*batch(0, 64))
    plain = memory_peak("gpu")
    for _ in range(2):
        step(*batch(0, 64))
    recorded = memory_peak("gpu")
    xp = sys.modules["cupy"]
    assert recorded >= plain + xp.get_default_memory_pool().used_bytes() // 2
    del step
    replays.clear()
    gc.collect()
    xp.get_default_memory_pool().free_all_blocks()
    assert memory_peak("gpu") == recorded and not any(memory._of_graphs.values())


def lying(xp, array, how):
    """The array on the GPU, lying in memory in one way or another."""
    rows, columns = array.shape
    if how == "columns":
        return xp.asarray(np.ascontiguousarray(array.T)).T
    if how == "rows with gaps":
        return xp.asarray(np.pad(array, ((0, 0), (0, 3))))[:, :columns]
    if how == "columns with gaps":
        return xp.asarray(np.ascontiguousarray(np.pad(array, ((0, 3), (0, 0))).T)).T[:rows]
    if how == "gaps everywhere":
        return xp.asarray(np.repeat(array, 2, axis=1))[:, ::2]
    if how == "upside down":
        return xp.asarray(np.ascontiguousarray(array[::-1]))[::-1]
    return xp.asarray(array)


LAYOUTS = ("rows", "columns", "rows with gaps", "columns with gaps", "gaps everywhere", "upside down")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes", [(5, 3, 4), (1, 3, 4), (5, 1, 4), (5, 3, 1), (1, 1, 1), (2, 0, 3)], ids=str)
def test_products_of_matrices_however_they_lie(replays, sizes, dtype):
    M, K, N = sizes
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((M, K)).astype(dtype), rng.standard_normal((K, N)).astype(dtype)
    xp, taken = sys.modules["cupy"], 0
    for of_a in LAYOUTS:
        for of_b in LAYOUTS:
            found = product(lying(xp, a, of_a), lying(xp, b, of_b))
            if found is not NotImplemented:
                taken += 1
                np.testing.assert_allclose(to_numpy(found), a @ b, rtol=1e-5, atol=1e-6, err_msg=f"{of_a}, {of_b}")
    assert taken >= 16 * (K > 0)  # those without gaps everywhere
    for other in (b[None], b.astype("float16")):
        assert product(xp.asarray(a), xp.asarray(other)) is NotImplemented


def test_products_are_put_where_they_shall_be(replays):
    xp = sys.modules["cupy"]
    a, b, y = (xp.asarray(np.full(shape, 2, np.float32)) for shape in ((2, 3), (3, 4), (2, 4)))
    assert product(a, b, y) is y and to_numpy(y).tolist() == [[12] * 4] * 2
    assert product(a, b, xp.asarray(np.zeros((4, 2), np.float32)).T) is NotImplemented


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes", [(2, 5, 3, 4), (1, 5, 3, 4), (3, 1, 3, 4), (3, 5, 1, 4), (3, 5, 3, 1)], ids=str)
def test_stacks_of_products_are_one_launch(replays, sizes, dtype):
    """Each matrix as it is or transposed, and into every column of another array in turn."""
    G, M, K, N = sizes
    rng, xp = np.random.default_rng(0), sys.modules["cupy"]
    a, b = rng.standard_normal((G, M, K)).astype(dtype), rng.standard_normal((G, K, N)).astype(dtype)
    turned_a = xp.asarray(np.ascontiguousarray(a.swapaxes(1, 2))).swapaxes(1, 2)
    turned_b = xp.asarray(np.ascontiguousarray(b.swapaxes(1, 2))).swapaxes(1, 2)
    whole = xp.asarray(np.zeros((M, G * N), dtype))
    for of_a, of_b in ((xp.asarray(a), xp.asarray(b)), (turned_a, xp.asarray(b)), (xp.asarray(a), turned_b)):
        np.testing.assert_allclose(to_numpy(product(of_a, of_b)), a @ b, rtol=1e-5, atol=1e-6)
        out = whole.reshape(M, G, N).transpose(1, 0, 2)
        assert product(of_a, of_b, out) is out
        np.testing.assert_allclose(to_numpy(whole), (a @ b).swapaxes(0, 1).reshape(M, -1), rtol=1e-5, atol=1e-6)
    assert product(xp.asarray(a[None]), xp.asarray(b[None])) is NotImplemented
    assert product(xp.asarray(a), xp.asarray(np.concatenate([b, b]))) is NotImplemented
