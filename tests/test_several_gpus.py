"""Two GPUs, here two of the double, whose arrays are used on no other: what is computed follows the arrays."""

import sys

import cupy_double
import numpy as np
import pytest
from device_cases import MODULES, OPERATIONS, OPTIMIZERS, run_module, run_operation, run_optimizer

from minires import backend, layers, models, optim
from minires.backend import DeviceError, array_module, device_of, resolve_device, to_device, to_numpy
from minires.cli import runs
from minires.data import Augment, Loader
from minires.gradcheck import gradcheck
from minires.inspection.summary import summary
from minires.models.fold import fold
from minires.precision import options_for
from minires.recorded_step import RecordedStep
from minires.training import evaluate, loss_and_gradients, train_step

GPUS = ("gpu", "gpu:1")


@pytest.fixture(autouse=True)
def cupy(monkeypatch):
    """Two GPUs, of which the first is the current one."""
    monkeypatch.setitem(sys.modules, "cupy", cupy_double)
    monkeypatch.setattr(cupy_double, "devices", 2)
    monkeypatch.setattr(cupy_double, "_current", 0)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return cupy_double


# Names ----------------------------------------------------------------------------------------------------------


def test_names_of_gpus():
    assert [resolve_device(name) for name in ("auto", "gpu", "gpu:0", "gpu:1")] == ["gpu", "gpu", "gpu", "gpu:1"]
    for name in GPUS:
        x = to_device(np.ones(3), name)
        assert device_of(x) == name and to_device(x, name) is x
        assert type(to_numpy(x)) is np.ndarray and backend.describe(name)["gpu"] and backend.memory_peak(name) > 0
        backend.synchronize(name)
    assert to_device(x, "gpu:1") is x
    first = to_device(np.ones(3), "gpu")
    assert to_device(first, "gpu:0") is first


@pytest.mark.parametrize("name", ["gpu:", "gpu:x", "gpu:-1", "cuda:1", "GPU:1", "gpu 1", ""])
def test_names_of_nothing(name):
    with pytest.raises(ValueError, match="unknown device"):
        resolve_device(name)
    with pytest.raises(ValueError, match="unknown device"):
        to_device(np.ones(3), name)
    with pytest.raises(ValueError, match="unknown device"):
        models.resnet8(rng=0).to(name)


@pytest.mark.parametrize(
    ("count", "shown", "sentence"),
    [
        (2, None, "no GPU 7: there are 2, gpu:0 and gpu:1; use one of these"),
        (3, None, "no GPU 7: there are 3, gpu:0, gpu:1 and gpu:2; use one of these"),
        (1, None, "no GPU 7: there is one, gpu:0; use that one"),
        (1, "7", "no GPU 7: there is one with CUDA_VISIBLE_DEVICES=7, gpu:0; use that one"),
    ],
)
def test_a_gpu_that_is_not_there(cupy, monkeypatch, count, shown, sentence):
    monkeypatch.setattr(cupy, "devices", count)
    if shown:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    with pytest.raises(DeviceError) as caught:
        resolve_device("gpu:7")
    assert str(caught.value) == f'{sentence}, or use device="cpu"'
    assert caught.value.for_scripts == f"{sentence}, or use --device cpu"


# Computing where the arrays lie ---------------------------------------------------------------------------------


def test_arrays_move_between_gpus():
    x = to_device(np.arange(3.0), "gpu:1")
    for name in ("gpu", "gpu:1", "cpu"):
        x = to_device(x, name)
        assert device_of(x) == name and to_numpy(x).tolist() == [0, 1, 2]


def test_arrays_of_two_gpus_in_one_operation():
    with pytest.raises(TypeError, match="must be on one GPU, got gpu:0 and gpu:1: move one with to"):
        array_module(*(to_device(np.ones(3), name) for name in GPUS))


@pytest.mark.parametrize(
    ("run", "args"),
    [
        *((run_operation, (case, "float32")) for case in OPERATIONS),
        *((run_module, (*MODULES[name], "float32")) for name in MODULES),
        *((run_optimizer, (OPTIMIZERS[name], "float32")) for name in OPTIMIZERS),
    ],
    ids=[*map(str, OPERATIONS), *MODULES, *OPTIMIZERS],
)
def test_the_same_on_the_second(run, args):
    first, second = (run(*args, name) for name in GPUS)
    for what, want in first.items():
        assert (device_of(want), device_of(second[what])) == GPUS, what
        np.testing.assert_array_equal(to_numpy(second[what]), to_numpy(want), err_msg=what)


@pytest.mark.parametrize("precision", ["float32", "tf32", "float16"])
@pytest.mark.parametrize("recorded", [False, True])
def test_a_network_on_each_in_turn(recorded, precision):
    """In one process: loader, steps, and a test in between; every array stays where it belongs."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (16, 8, 8, 3), np.uint8), rng.integers(0, 10, 16)

    def training(device):
        model = models.resnet8(rng=0).to(device)
        optimizer = optim.SGD(model.parameters(), 0.1, momentum=0.9)
        loader = Loader(images, labels, 4, (0.5,) * 3, (0.2,) * 3, augment=Augment(), shuffle=True, device=device)
        how = options_for(model, precision)
        recorded_step = RecordedStep(model, optimizer, **how) if recorded else None
        step = recorded_step or (lambda x, y: train_step(model, optimizer, x, y, **how))
        for x, y in loader.epoch(0):
            loss, _ = step(x, y)
            yield float(loss)
        assert not recorded_step or recorded_step.whynot is None
        yield evaluate(model, loader, 10).loss
        yield model.to("cpu").state_dict()

    for first, second in zip(*map(training, GPUS), strict=True):
        np.testing.assert_equal(second, first)


def test_what_is_done_between_steps_is_done_where_the_arrays_lie(cupy):
    """While the first GPU is the current one: to cast, to save and load, to fold, to clip, to show."""

    def on_the_second(what):
        cupy.cuda.Device(0).use()
        what()
        assert {device_of(array) for array in arrays()} == {"gpu:1"}

    model = models.resnet8(rng=0).to("gpu:1")
    x, labels = to_device(np.ones((2, 8, 8, 3), np.float32), "gpu:1"), to_device(np.array([1, 2]), "gpu:1")

    def arrays():
        return [*(parameter.data for parameter in model.parameters()), *model.buffers()]

    on_the_second(lambda: model.load_state_dict(model.state_dict()))
    on_the_second(lambda: loss_and_gradients(model, x, labels))
    on_the_second(lambda: optim.clip_grad_norm_(model.parameters(), 1e-3))
    on_the_second(lambda: summary(model, (8, 8, 3)))
    on_the_second(lambda: fold(model.eval()))
    on_the_second(lambda: gradcheck(layers.relu, to_numpy(x).astype(np.float64)))
    on_the_second(lambda: model.to(np.float64))
    on_the_second(lambda: model.to("gpu").to("gpu:1"))


# Memory ---------------------------------------------------------------------------------------------------------


def advice(settings, given=None, error=None):
    failed = runs.out_of_memory(settings, given or {}, error or cupy_double.cuda.memory.OutOfMemoryError())
    assert failed.code == 1
    return str(failed).removeprefix("out of memory with batch size ")


def test_memory_that_others_hold_is_told(cupy, monkeypatch):
    monkeypatch.setattr(cupy, "free", {0: 2 * 10**9, 1: 79 * 10**9})
    held = "of GPU 0 2.0 of its 80.0 GB are free, and other programs hold 78.0 GB"
    elsewhere = "or give --device gpu:1, which has more free"
    assert advice({"batch_size": 128}) == f"128; {held}: try --batch-size 64 or --shards 2, {elsewhere}"
    assert advice({"batch_size": 1}) == f"1; {held}: try a smaller network, {elsewhere}"
    assert advice({"batch_size": 7, "shards": 4}) == f"7; {held}: try --batch-size 3, {elsewhere}"
    again = advice({"batch_size": 8}, {"resume": "a"})
    assert again == f"8; {held}: start a new run with --batch-size 4 or --shards 2, {elsewhere}"
    assert advice({"batch_size": 8, "shards": 2}, error=MemoryError()) == "8: try --batch-size 4 or --shards 4"


def test_memory_that_nobody_else_holds(cupy, monkeypatch):
    monkeypatch.setattr(cupy, "free", {0: 79 * 10**9, 1: 3 * 10**9})
    assert advice({"batch_size": 8}) == "8: try --batch-size 4 or --shards 2"


def test_memory_of_scripts_without_batches(cupy, monkeypatch, capsys):
    def full(given):
        raise cupy.cuda.memory.OutOfMemoryError

    monkeypatch.setattr(cupy, "free", {0: 2 * 10**9, 1: 79 * 10**9})
    assert runs.call(full, dict) == 1
    held = "of GPU 0 2.0 of its 80.0 GB are free, and other programs hold 78.0 GB"
    cures = "give --device gpu:1, which has more free, or take fewer or smaller images, or a smaller network"
    assert capsys.readouterr().err == f"error: out of memory: {held}: {cures}\n"


def test_a_gpu_whose_memory_is_full_before_anything_is_computed(cupy, monkeypatch):
    def full(*args, **kwargs):
        raise RuntimeError("cudaErrorMemoryAllocation: out of memory")

    monkeypatch.setattr(cupy, "ones", full, raising=False)
    with pytest.raises(DeviceError, match=r"other programs hold its memory .*end those that nvidia-smi lists"):
        resolve_device("gpu")


def test_cublas_without_memory_is_out_of_memory(cupy, monkeypatch):
    from minires.backend.gpu import products

    assert isinstance(products._failure(cupy, "does nothing", 3), backend.out_of_memory())
    with pytest.raises(DeviceError, match="cuBLAS does nothing: status 7; report it"):
        raise products._failure(cupy, "does nothing", 7)
