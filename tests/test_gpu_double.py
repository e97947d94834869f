"""The GPU's path through the whole library on machines without one, with `cupy_double` in CuPy's place."""

import importlib.util
import inspect
import sys
import types
from unittest import mock

import cupy_double
import numpy as np
import pytest
from device_cases import (
    MODELS,
    MODULES,
    OPERATIONS,
    OPTIMIZERS,
    assert_same,
    missing_cases,
    run_module,
    run_operation,
    run_optimizer,
    run_training,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from minires import backend, layers
from minires.backend import DeviceError, array_module, device_of, resolve_device, to_device, to_numpy
from minires.backend.gpu import parameters
from minires.losses import cross_entropy
from minires.models import resnet8
from minires.modes import no_grad
from minires.module import Parameter
from minires.optim import SGD

TOLERANCE = {"float64": 1e-10, "float32": 1e-4}


@pytest.fixture
def cupy(monkeypatch):
    """The double, where CuPy would be."""
    monkeypatch.setitem(sys.modules, "cupy", cupy_double)
    return cupy_double


def fake(*values):
    return cupy_double.asarray(np.array(values, np.float32))


# The double itself ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mix",
    [
        lambda x, host: x + host,
        lambda x, host: host + x,
        lambda x, host: x * host,
        lambda x, host: host * x,
        lambda x, host: host / x,
        lambda x, host: x @ host,
        lambda x, host: host @ x,
        lambda x, host: x == host,
        lambda x, host: host < x,
        lambda x, host: x.__iadd__(host),
        lambda x, host: host.__setitem__(slice(None), x),
        lambda x, host: x.__setitem__(slice(None), host),
        lambda x, host: x[host > 0],
        lambda x, host: x.dot(host),
        lambda x, host: cupy_double.maximum(x, host),
        lambda x, host: cupy_double.maximum(host, 0),
        lambda x, host: cupy_double.maximum(x, 0, out=host),
        lambda x, host: cupy_double.matmul(x, host),
        lambda x, host: cupy_double.sum(host),
        lambda x, host: cupy_double.where(x > 0, x, host),
        lambda x, host: cupy_double.concatenate([x, host]),
        lambda x, host: cupy_double.maximum(x, [1.0, 2.0]),
        lambda x, host: x - [1.0, 2.0],
    ],
)
def test_double_refuses_to_mix(mix):
    with pytest.raises(TypeError):
        mix(fake(1, 2), np.ones(2, np.float32))


def test_double_refuses_in_place_of_numpy_arrays():
    host = np.ones(2, np.float32)
    with pytest.raises(TypeError):
        host += fake(1, 2)


@pytest.mark.parametrize(
    "convert",
    [
        np.asarray,
        np.array,
        lambda x: np.array([x, x]),
        lambda x: np.maximum(x, 0),
        lambda x: np.add(x, x, out=x),
        np.exp,
        np.sum,
        np.zeros_like,
        lambda x: np.concatenate([x, x]),
        np.shape,
        lambda x: range(x),
        lambda x: np.ones(2)[x],
    ],
)
def test_double_refuses_implicit_conversion_and_numpy_functions(convert):
    with pytest.raises((TypeError, IndexError)):
        convert(fake(1, 2))


@pytest.mark.parametrize(
    "absent",
    [
        lambda x: cupy_double.errstate(all="ignore"),
        lambda x: cupy_double.nditer(x),
        lambda x: cupy_double.frompyfunc(abs, 1, 1),
        lambda x: x.setflags(write=False),
        lambda x: x.__array_interface__,
        lambda x: setattr(x, "shape", (2, 1)),
        lambda x: cupy_double.add(x, x, where=x > 0),
        lambda x: cupy_double.sum(x, where=x > 0),
        lambda x: x.sum(initial=0),
        lambda x: x.max(where=x > 0),
        lambda x: cupy_double.zeros(2, like=x),
        lambda x: x.view("V8"),
        lambda x: x.astype(object),
        lambda x: cupy_double.asarray(np.array(["a"])),
        lambda x: cupy_double.matmul(fake(1, 2)[:, None], x[None], out=cupy_double.zeros((2, 2), np.float32).T),
        lambda x: cupy_double.lib.stride_tricks.as_strided(x, (3,), (4,)),
    ],
)
def test_double_lacks_what_cupy_lacks(absent):
    with pytest.raises((AttributeError, TypeError, ValueError)):
        absent(fake(1, 2))


@pytest.mark.parametrize(
    "function",
    [
        lambda xp, x: np.float32(3) * x + 1,
        lambda xp, x: 1 - x / 2 - x // 2 + x**2 - abs(-x),
        lambda xp, x: (x > 0) & ~(x <= 1) | (x == 2),
        lambda xp, x: x @ x.T,
        lambda xp, x: xp.maximum(x, 0, out=xp.empty(x.shape, x.dtype)),
        lambda xp, x: xp.matmul(x, x.T, out=xp.empty((3, 3), x.dtype)),
        lambda xp, x: x[1:, ::2],
        lambda xp, x: x[None, 1, ..., -1],
        lambda xp, x: x[x > 0],
        lambda xp, x: x[xp.arange(2)],
        lambda xp, x: xp.where(x > 0, x, 0),
        lambda xp, x: xp.concatenate([x, x], axis=-1),
        lambda xp, x: xp.tile(x[0], 2),
        lambda xp, x: xp.broadcast_to(x[0], (2, 4)).copy(),
        lambda xp, x: x.reshape(2, 6).transpose(1, 0).astype(np.float32),
        lambda xp, x: x.std(axis=0, keepdims=True),
        lambda xp, x: xp.ones(3) @ x,
        lambda xp, x: x.argmax(axis=1),
        lambda xp, x: xp.log(xp.zeros(2)),
        lambda xp, x: xp.lib.stride_tricks.as_strided(x, (2, 2, 4), (32, 32, 8)),
        lambda xp, x: sum(row for row in x),
    ],
)
def test_double_computes_what_numpy_computes(function):
    x = np.random.default_rng(0).standard_normal((3, 4))
    with np.errstate(all="ignore"):
        want = function(np, x.copy())
    got = function(cupy_double, cupy_double.asarray(x))
    assert isinstance(got, cupy_double.ndarray)
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got.get(), want)


def test_double_keeps_views_scalars_and_in_place_changes_on_the_device():
    host = np.arange(6.0).reshape(2, 3)
    x = cupy_double.asarray(host)
    same, row, element = x, x[0], x[1, 2]
    x += 1
    x[:, 0] = -1
    assert same is x
    np.testing.assert_array_equal(row.get(), [-1, 2, 3])
    assert isinstance(element, cupy_double.ndarray) and element.shape == () and float(element) == 6 == int(element)
    for reduced in (x.sum(), x.max(), cupy_double.mean(x), cupy_double.array_equal(x, x), x.sum() / 2, x[0, 0] == 1):
        assert isinstance(reduced, cupy_double.ndarray) and reduced.shape == ()
    assert host[0, 0] == 0, "the device shares no memory with the host"
    taken = x.get()
    taken[:] = 0
    assert float(x.max()) == 6
    integers = cupy_double.arange(3)
    with pytest.raises(TypeError):
        integers += 0.5
    with pytest.raises(ValueError):
        bool(x)


def test_double_has_nothing_that_cupy_lacks():
    """Names and parameters, against CuPy itself where it is installed; no GPU is needed for that."""
    real = pytest.importorskip("cupy")
    names = {*cupy_double._UFUNCS, *cupy_double._SIGNATURES, *cupy_double._CONSTANTS}
    assert not {name for name in names if not hasattr(real, name)}
    assert not {name for name in cupy_double._METHODS if not hasattr(real.ndarray, name)}
    own = set(vars(cupy_double.ndarray)) - {"__getattr__", "__weakref__"}
    assert not {name for name in own if not hasattr(real.ndarray, name)}
    invented = []
    for name in set(cupy_double._SIGNATURES) - cupy_double._ON_HOST:
        known = inspect.signature(getattr(real, name)).parameters.values()
        if not any(parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) for parameter in known):
            unknown = set(cupy_double._SIGNATURES[name].split()) - {parameter.name for parameter in known}
            invented += [f"{name}({parameter})" for parameter in sorted(unknown)]
    assert not sorted(invented)


# The library ----------------------------------------------------------------------------------------------------


def test_every_operation_has_a_case():
    assert not missing_cases(), "add a case to device_cases.py"


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("case", OPERATIONS, ids=str)
def test_operation(cupy, case, dtype):
    assert_same(run_operation, case, dtype, rtol=TOLERANCE[dtype])


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("name", MODULES)
def test_module(cupy, name, training):
    assert_same(run_module, *MODULES[name], "float64", rtol=1e-10, training=training)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_optimizers_state_follows_a_model_to_the_gpu_and_back(cupy, optimizer):
    def run(*devices):
        model = resnet8(rng=0).to(np.float64)
        steps = OPTIMIZERS[optimizer](model.parameters())
        for seed, device in enumerate(devices):
            model.to(device)
            for parameter in model.parameters():
                gradient = np.random.default_rng(seed).standard_normal(parameter.shape)
                parameter.grad = to_device(gradient, device)
            steps.step()
            assert {device_of(parameter.data) for parameter in model.parameters()} == {device}
        return model.state_dict()

    want = run("cpu", "cpu", "cpu")
    for key, array in run("cpu", "gpu", "cpu").items():
        np.testing.assert_allclose(array, want[key], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizer(cupy, optimizer):
    assert_same(run_optimizer, OPTIMIZERS[optimizer], "float64", rtol=1e-12)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("model", MODELS)
def test_training(cupy, model, optimizer):
    assert_same(run_training, *MODELS[model], OPTIMIZERS[optimizer], "float64", rtol=1e-10)


@pytest.mark.parametrize("model", MODELS)
def test_training_with_one_lean_backward_pass(cupy, model):
    assert_same(run_training, *MODELS[model], OPTIMIZERS["SGD"], "float64", rtol=1e-10, lean=True)


def test_training_in_float32(cupy):
    assert_same(run_training, *MODELS["resnet8-A"], OPTIMIZERS["SGD"], "float32", rtol=1e-4)


def test_state_dict_from_and_onto_the_gpu(cupy):
    trained, other = resnet8(rng=0).to("gpu"), resnet8(rng=1).to("gpu")
    state = trained.state_dict()
    assert all(type(array) is np.ndarray for array in state.values())
    for source in (state, {key: to_device(array, "gpu") for key, array in state.items()}):
        other.load_state_dict(source)
        for key, (module, name) in other._state().items():
            value = getattr(module, name)
            value = value.data if isinstance(value, Parameter) else value
            assert device_of(value) == "gpu", key
            np.testing.assert_array_equal(value.get(), state[key])
    on_cpu = other.to("cpu").state_dict()
    for key, array in state.items():
        np.testing.assert_array_equal(on_cpu[key], array)


def test_loading_onto_the_gpu_shares_nothing_with_the_state(cupy):
    state = {key: to_device(array, "gpu") for key, array in resnet8(rng=0).state_dict().items()}
    model = resnet8(rng=1).to("gpu").load_state_dict(state)
    before = state["fc.weight"].get()
    weight = model.fc.weight.data
    weight += 1
    np.testing.assert_array_equal(state["fc.weight"].get(), before)


def test_inference_without_gradients(cupy):
    model, x = resnet8(rng=0).eval(), np.random.default_rng(0).standard_normal((2, 8, 8, 3)).astype(np.float32)
    with no_grad():
        want, _ = model(x)
        got, backward = model.to("gpu")(to_device(x, "gpu"))
    np.testing.assert_allclose(to_numpy(got), want, rtol=1e-4, atol=1e-5)
    with pytest.raises(RuntimeError, match="no_grad"):
        backward(got)


@pytest.mark.parametrize(
    "mix",
    [
        lambda x, host: layers.conv2d(x, host),
        lambda x, host: layers.conv2d(host, x),
        lambda x, host: layers.linear(x[0, 0], host[0, 0]),
        lambda x, host: layers.add(x, host),
        lambda x, host: layers.concat(host, x),
        lambda x, host: layers.batch_norm(x, None, None, host[0, 0, 0], host[0, 0, 0], training=True),
        lambda x, host: cross_entropy(x[0, 0], np.array([0, 1])),
        lambda x, host: layers.relu(x)[1](host),
        lambda x, host: layers.max_pool2d(x, 2)[1](host[:, :1, :1]),
        lambda x, host: resnet8(rng=0)(to_device(np.ones((1, 8, 8, 3), np.float32), "gpu")),
        lambda x, host: resnet8(rng=0).to("gpu")(np.ones((1, 8, 8, 3), np.float32)),
    ],
)
def test_arrays_of_two_devices_in_one_operation(cupy, mix):
    host = np.ones((2, 2, 2, 2), np.float32)
    with pytest.raises(TypeError):
        mix(to_device(host, "gpu"), host)


def test_a_stray_numpy_call_is_caught(cupy, monkeypatch):
    monkeypatch.setattr("minires.layers.pooling.array_module", lambda *arrays: np)
    with pytest.raises(TypeError):
        run_operation(next(case for case in OPERATIONS if case.function is layers.global_avg_pool2d), "float32", "gpu")


@pytest.mark.parametrize("labels", [[0, 3], [-1, 0], [-100, -100]])
def test_wrong_labels_make_the_loss_nan_where_nobody_waits_for_them(cupy, labels):
    loss, backward = cross_entropy(fake([1, 2, 3], [1, 2, 3]), to_device(np.array(labels), "gpu"))
    assert np.isnan(float(loss)) and np.isnan(to_numpy(backward())).any()


@pytest.mark.parametrize(
    ("labels", "ignore_index"), [(np.eye(4, dtype="e")[[1, 0, 3]], -100), (np.array([3, 2, 0]), 2**64)]
)
def test_what_the_kernels_of_the_loss_do_not_take_is_computed_by_cupy(cupy, labels, ignore_index):
    """float16 as soft labels, and a number to ignore that no label can be."""
    logits = np.random.default_rng(0).standard_normal((3, 4))
    want, backward = cross_entropy(logits, labels, 0.1, ignore_index)
    got, backward_there = cross_entropy(to_device(logits, "gpu"), to_device(labels, "gpu"), 0.1, ignore_index)
    np.testing.assert_allclose(to_numpy(got), want, rtol=1e-12)
    np.testing.assert_allclose(to_numpy(backward_there()), backward(), rtol=1e-12)


@pytest.mark.parametrize("labels", [[0, 2, 1], [0, -100, 1]])
def test_weights_of_classes_as_on_a_cpu(cupy, labels):
    logits, labels, weight = np.random.default_rng(0).standard_normal((3, 4)), np.array(labels), np.arange(1.0, 5)
    loss, backward = cross_entropy(logits, labels, 0.1, weight=weight)
    on_gpu = [to_device(array, "gpu") for array in (logits, labels, weight)]
    gpu_loss, gpu_backward = cross_entropy(*on_gpu[:2], 0.1, weight=on_gpu[2])
    np.testing.assert_allclose(float(gpu_loss), loss, rtol=1e-12)
    np.testing.assert_allclose(to_numpy(gpu_backward()), backward(), rtol=1e-12)


# Devices --------------------------------------------------------------------------------------------------------


def test_devices_with_cupy(cupy):
    assert resolve_device("gpu") == resolve_device("auto") == "gpu"
    assert resolve_device("cpu") == "cpu"
    x = to_device(np.ones(3), "gpu")
    assert array_module(x) is cupy and device_of(x) == "gpu" and to_device(x, "gpu") is x
    assert type(to_numpy(x)) is np.ndarray
    assert isinstance(backend.empty((2, 3), x), cupy.ndarray)
    backend.synchronize("gpu")
    assert backend.memory_peak("gpu") > 0
    assert cupy.cuda.memory.OutOfMemoryError in backend.out_of_memory()


def test_devices_without_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(DeviceError, match=r"CuPy is not installed.*pip install cupy-cuda12x"):
        resolve_device("gpu")
    with pytest.raises(DeviceError, match="pip install"):
        to_device(np.ones(3), "gpu")
    assert resolve_device("auto") == "cpu"
    assert backend.out_of_memory() == (MemoryError,)


def test_devices_with_a_broken_cupy(monkeypatch):
    def fail(name, *_, **__):
        raise ImportError("\n=======\nFailed to import CuPy.\nlibcudart.so.12: cannot open shared object file\n")

    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(sys, "meta_path", [types.SimpleNamespace(find_spec=fail)])
    with pytest.raises(DeviceError, match=r"cannot be imported \(Failed to import CuPy.*pip install"):
        resolve_device("gpu")
    assert resolve_device("auto") == "cpu"


OLD = "cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version"
MISSING = 'Failure finding "libnvrtc.so.13 or libnvrtc.so.12": No such file: libnvrtc.so.13'
NO_IMAGE = "cudaErrorNoKernelImageForDevice: no kernel image is available for execution on the device"
UNKNOWN = "nvrtc: error: invalid value for --gpu-architecture (-arch)"


def broken_cupy(monkeypatch, answer, driver=13020, built=13020):
    """A CuPy in which whoever asks for the number of GPUs gets an answer, or an exception."""

    def count():
        if isinstance(answer, Exception):
            raise answer
        return answer

    versions = {"driverGetVersion": lambda: driver, "runtimeGetVersion": lambda: built}
    broken = types.ModuleType("cupy")
    broken.ndarray = cupy_double.ndarray
    broken.cuda = types.SimpleNamespace(runtime=types.SimpleNamespace(getDeviceCount=count, **versions))
    monkeypatch.setitem(sys.modules, "cupy", broken)


@pytest.mark.parametrize(
    ("answer", "versions", "sentence"),
    [
        (0, (13020, 13020), "CuPy found no CUDA device; check with: nvidia-smi"),
        (RuntimeError(OLD), (0, 13020), f"there is no NVIDIA driver ({OLD}); install it and check it with: nvidia-smi"),
        (
            RuntimeError(OLD),
            (12040, 13020),
            f"the NVIDIA driver knows CUDA up to 12.4 and CuPy was built for 13.2 ({OLD}); install a newer driver, "
            "or CuPy for its CUDA: pip install cupy-cuda12x",
        ),
        (
            RuntimeError(OLD),
            (11080, 12090),
            f"the NVIDIA driver knows CUDA up to 11.8 and CuPy was built for 12.9 ({OLD}); install a newer driver",
        ),
        (
            RuntimeError(f"{MISSING}\n{MISSING}"),
            (13000, 13020),
            f"CuPy was built for CUDA 13.2 and does not find its libnvrtc.so.13 ({MISSING}); install CUDA 13 with it: "
            'pip install "cupy-cuda13x[ctk]"',
        ),
        (
            RuntimeError(NO_IMAGE),
            (13000, 13020),
            f"this card has no place in CUDA 13.2, which CuPy was built for ({NO_IMAGE}); install CuPy for an older "
            "one: pip install cupy-cuda12x",
        ),
        (
            RuntimeError(UNKNOWN),
            (12090, 12090),
            f"this card has no place in CUDA 12.9, which CuPy was built for ({UNKNOWN}); install an older CuPy",
        ),
        (
            RuntimeError(),
            (13020, 12090),
            "CuPy found no working CUDA device (RuntimeError); install NVIDIA's driver and check it with: nvidia-smi",
        ),
    ],
)
def test_devices_that_do_not_work_name_the_reason_and_the_cure(monkeypatch, answer, versions, sentence):
    broken_cupy(monkeypatch, answer, *versions)
    with pytest.raises(DeviceError) as caught:
        resolve_device("gpu")
    assert str(caught.value) == f'no GPU: {sentence}, or use device="cpu"'
    assert resolve_device("auto") == "cpu"


def test_a_driver_that_does_not_even_tell_its_version(monkeypatch):
    broken_cupy(monkeypatch, 1)
    monkeypatch.delattr(sys.modules["cupy"].cuda.runtime, "driverGetVersion")
    with pytest.raises(DeviceError, match=r"no working CUDA device .*driverGetVersion"):
        resolve_device("gpu")


def test_a_kernel_that_does_not_compile_names_the_architecture_and_the_log(cupy, monkeypatch):
    log = """/tmp/a.cu(18): error: identifier "y" is undefined
        x[0] = y;
    ptxas fatal   : Ptx assembly aborted due to errors
    1 error detected in the compilation of "/tmp/a.cu"."""

    def refuse(*, code):
        raise cupy.cuda.compiler.CompileException(log)

    monkeypatch.setattr(cupy, "RawModule", refuse)
    monkeypatch.setattr(parameters, "_made", {})
    with pytest.raises(DeviceError) as caught:
        backend.elementwise(lambda x: x - 12345.0, fake(1, 2))
    assert str(caught.value) == (
        'the kernel fused does not compile for this GPU, sm_90, with CuPy 14.0.0 (/tmp/a.cu(18): error: identifier "y" '
        "is undefined; ptxas fatal   : Ptx assembly aborted due to errors); install another CuPy, or report it, or use "
        'device="cpu"'
    )
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    assert to_numpy(backend.elementwise(lambda x: x - 12345.0, fake(12345))) == 0, "it is not remembered as wrong"


def test_a_gpu_that_cannot_compute(cupy, monkeypatch):
    def ones(*_):
        raise RuntimeError("no kernel image is available for execution on the device")

    monkeypatch.setattr(cupy, "ones", ones, raising=False)
    with pytest.raises(DeviceError, match="no kernel image"):
        resolve_device("gpu")
    assert resolve_device("auto") == "cpu"


# Kernels ---------------------------------------------------------------------------------------------------------


def test_every_element_wise_function_of_the_library_becomes_a_kernel(cupy, monkeypatch):
    made = {}
    monkeypatch.setattr(parameters, "_made", made)
    for case in OPERATIONS:
        run_operation(case, "float32", "gpu")
    for make in OPTIMIZERS.values():
        run_optimizer(make, "float32", "gpu")
    assert made and all(made.values())


@pytest.mark.parametrize("shape", [(7, 5), (3, 4, 5, 6), (1, 2), (40, 9, 9, 19)], ids=str)
def test_what_follows_the_sums_is_done_by_the_kernel_that_ends_them(cupy, monkeypatch, shape):
    made = {}
    monkeypatch.setattr(parameters, "_made", made)
    rng = np.random.default_rng(0)
    x, vector, changed = (rng.standard_normal(size).astype(np.float32) for size in (shape, shape[-1], shape[-1]))

    def then(total, squares, vector, missing, changed, factor, count):
        changed += total / count
        return total * vector * factor, squares / count + (0 if missing is None else 1), changed * 2

    def run(x, vector, changed):
        count = x.size // x.shape[-1]
        options = {"changed": changed, "factor": 0.5, "count": count}
        return backend.sum_channels(lambda x, out: (x, (x, x)), (x,), (), then, vector, None, **options)

    launched = []
    on_device = [to_device(array.copy(), "gpu") for array in (x, vector)]
    every_second = to_device(np.repeat(changed, 2), "gpu")[::2]  # not as a kernel wants it to lie
    with cupy_double.telling(lambda kind, name, *sizes: launched.append((kind, name))):
        got = run(*on_device, every_second)
    assert [name for kind, name in launched if kind == "kernel"][:2] == ["sums", "cupy.ascontiguousarray"]
    assert [name for kind, name in launched if kind == "kernel"].count("sums") == 2 and all(made.values())
    want = run(x, vector, changed)
    for found, expected in zip((*got, every_second), (*want, changed), strict=True):
        np.testing.assert_allclose(to_numpy(found), expected, rtol=2e-4, atol=1e-5)


def test_what_a_gpu_would_be_asked_for_is_told(cupy):
    def told(function):
        found = []
        with cupy_double.telling(lambda *event: found.append(event)):
            function()
        return found

    x, y = to_device(np.ones((6, 4), np.float32), "gpu"), to_device(np.ones((4, 3), np.float32), "gpu")
    assert told(lambda: (x.T, x[1:], x.reshape(-1), x[:, None])) == []
    assert told(lambda: x + x) == [("memory", "add", 96, 0), ("kernel", "cupy.add", 288, 0)]
    assert told(lambda: backend.empty((6, 4), x)) == [("memory", "empty", 96, 0)]
    assert ("kernel", "fused", 192, 0) in told(lambda: backend.elementwise(lambda x: x * 2 + 1, x))
    assert ("product", "3 x 4 x 6", 4 * (24 + 12 + 18), 2 * 6 * 4 * 3) in told(lambda: backend.matmul(x, y))
    for waits in (lambda: float(x.sum()), lambda: x.get(), lambda: to_device(np.ones(3), "gpu"), backend_waits):
        assert [kind for kind, *_ in told(waits)].count("wait") == 1
    assert [kind for kind, *_ in told(lambda: x[0])] == []
    assert ("kernel", "cupy.setitem", 32, 0) in told(lambda: x.__setitem__(0, x[1]))
    dry = []
    with cupy_double.telling(lambda *event: dry.append(event), dry=True):
        z = backend.elementwise(lambda x: x * 2 + 1, x)
    assert dry and z.shape == x.shape


def backend_waits():
    backend.synchronize("gpu")


def test_what_is_no_kernel_is_called_as_it_is(cupy):
    numbers = fake(1, 2, 3)

    def holds_an_array(x, out):
        cupy.multiply(x, numbers, out=out)

    def of_its_own(x):
        return cupy.exp(x), x.sum()

    assert to_numpy(backend.map_blocks(holds_an_array, numbers)).tolist() == [1, 4, 9]
    powers, total = backend.elementwise(of_its_own, numbers)
    assert to_numpy(total) == 6 and np.allclose(to_numpy(powers), np.exp([1, 2, 3]))


NUMBERS = np.array([0.0, -0.0, 1.5, -2.0, 3.0, 0.25, np.inf, -np.inf, np.nan, 1e-40, 7.0])
ONE, TWO = "sqrt exp log tanh square absolute sign isnan", "add subtract multiply divide maximum minimum"
COMPARED = "greater less greater_equal less_equal equal not_equal"


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", f"{ONE} {TWO} {COMPARED}".split())
def test_functions_of_kernels_are_numpys(cupy, monkeypatch, name, dtype):
    made = {}
    monkeypatch.setattr(parameters, "_made", made)
    x, y = (array.ravel().astype(dtype) for array in np.meshgrid(NUMBERS, NUMBERS))
    operands = (x,) if name in ONE.split() else (x, y)
    on_device = [to_device(operand, "gpu") for operand in operands]
    got = to_numpy(backend.elementwise(lambda *operands: getattr(array_module(*operands), name)(*operands), *on_device))
    with np.errstate(all="ignore"):
        want = getattr(np, name)(*operands)
    assert all(made.values()), "it was not a kernel that ran"
    np.testing.assert_allclose(got, want, rtol=1e-6 if dtype == "float32" else 1e-14)
    assert got.dtype == want.dtype


@pytest.mark.parametrize(
    "call",
    [
        lambda x, y, v: backend.elementwise(lambda x, y: x + y, x, y),
        lambda x, y, v: backend.map_blocks(lambda x, y, out: array_module(x).add(x, y, out=out), x, y),
        lambda x, y, v: backend.map_channels(lambda x, y, out: array_module(x).add(x, y, out=out), (x, y)),
        lambda x, y, v: backend.map_channels(lambda x, v, out: array_module(x).add(x, v, out=out), (x,), (v,)),
        lambda x, y, v: backend.sum_channels(lambda x, y, out: (x, y), (x, y)),
        lambda x, y, v: backend.sum_channels(lambda x, v, out: (x,), (x,), (v,)),
        lambda x, y, v: backend.sum_channels(lambda x, out: (x,), (x,), (), lambda s, v: s + v, v),
        lambda x, y, v: list(backend.elementwise_each(lambda x, y: x + y, [((x, x), {}), ((x, y), {})])),
    ],
)
def test_kernels_read_no_further_than_their_arrays(cupy, call):
    x, y, v = (to_device(np.ones(shape), "gpu") for shape in ((5, 4), (3, 4), (3,)))
    with pytest.raises(ValueError, match="shape"):
        call(x, y, v)


def test_many_arrays_leave_room_for_fewer_sets(cupy):
    def total(*arrays):
        return sum(arrays[1:], arrays[0])

    sets = [(tuple(to_device(np.full(3, float(k + n)), "gpu") for k in range(12)), {}) for n in range(70)]
    results = list(backend.elementwise_each(total, sets))
    assert [to_numpy(result).tolist() for result in results] == [[66 + 12 * n] * 3 for n in range(70)]


def test_a_subclass_has_kernels_of_its_own(cupy):
    class Gentle(SGD):
        def _update(self, w, g, lr, **_):
            return w - lr * self._gradient(g)

        def _gradient(self, g):
            return g * 0.5

    class Reversed(Gentle):
        def _gradient(self, g):
            return -g

    for kind, want in ((Gentle, 0.5), (Reversed, 2.0), (Gentle, 0.5)):
        parameters = [Parameter(fake(1.0)) for _ in range(2)]
        for parameter in parameters:
            parameter.grad = fake(1.0)
        kind(parameters, lr=1.0).step()
        assert [to_numpy(parameter.data).item() for parameter in parameters] == [want] * 2


def test_numbers_may_differ_from_call_to_call(cupy):
    def line(x, slope, shift):
        return x * slope + shift if shift else x * slope

    for slope, shift in [(2.0, 1.0), (3.0, 0.0), (0.0, 1.5), (-1.0, 2.0)]:
        y = backend.elementwise(line, fake(1, 2, 3), slope=slope, shift=shift)
        assert to_numpy(y).tolist() == [slope * x + shift for x in (1, 2, 3)]


def test_what_is_assigned_in_place_is_written_however_it_lies(cupy):
    def double(x):
        x *= 2
        return ()

    grid = to_device(np.arange(6.0).reshape(2, 3), "gpu")
    assert backend.elementwise(double, grid.T) == ()
    assert to_numpy(grid).tolist() == [[0, 2, 4], [6, 8, 10]]


def test_a_step_of_many_parameters_is_that_of_each(cupy):
    rng = np.random.default_rng(0)
    shapes = [(int(size),) for size in rng.integers(1, 400, 150)]  # more than one launch has room for
    values, gradients = ([rng.standard_normal(shape) for shape in shapes] for _ in range(2))
    results = []
    for device in ("cpu", "gpu"):
        parameters = [Parameter(to_device(value, device)) for value in values]
        optimizer = OPTIMIZERS["SGD"](parameters)
        for _ in range(2):
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = to_device(gradient, device)
            optimizer.step()
        results.append([to_numpy(parameter.data) for parameter in parameters])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (1000, 16), (5000, 300), (300, 1025), (3, 2, 5, 64)])
def test_sums_over_channels_are_numpys(cupy, shape):
    x = np.random.default_rng(0).standard_normal(shape)
    total, squares = backend.sum_channels(lambda x, out: (x, (x, x)), (to_device(x, "gpu"),))
    rows = x.reshape(-1, shape[-1])
    np.testing.assert_allclose(to_numpy(total), rows.sum(axis=0), atol=1e-10)
    np.testing.assert_allclose(to_numpy(squares), (rows * rows).sum(axis=0), rtol=1e-12)


@pytest.mark.parametrize(("groups", "stride", "forwards", "backwards"), [(8, 1, 4, 9), (2, 1, 4, 9), (2, 2, 4, 9)])
def test_groups_are_stacks_and_no_loop(cupy, groups, stride, forwards, backwards):
    """However many groups: a launch for the products of all."""
    rng = np.random.default_rng(0)
    shapes = (2, 6, 6, 16), (16, 16 // groups, 3, 3)
    x, weight = (to_device(rng.standard_normal(shape, np.float32), "gpu") for shape in shapes)
    layers.conv2d(x, weight, None, stride, 1, groups=groups)  # cuBLAS is loaded
    told = []

    def launches(kind, name, *sizes):
        told.extend([kind] if kind in ("kernel", "product", "copy", "wait") else [])

    with cupy_double.telling(launches):
        y, backward = layers.conv2d(x, weight, None, stride, 1, groups=groups)
    assert len(told) <= forwards and told.count("product") == 1
    told.clear()
    with cupy_double.telling(launches):
        backward(y)
    assert len(told) <= backwards and told.count("product") == 2 and not {"copy", "wait"} & set(told)


@pytest.mark.parametrize(("kernel", "launches"), [((3, 3), ["im2col"]), ((1, 1), ["cupy.copy"])])
def test_patches_are_made_once_and_are_the_callers(cupy, kernel, launches):
    x, told = to_device(np.arange(36.0, dtype="f").reshape(1, 3, 6, 2), "gpu"), []
    with cupy_double.telling(lambda kind, name, *sizes: told.append(name) if kind == "kernel" else None):
        patches = backend.im2col(x, kernel)
    assert told == launches
    before = to_numpy(x).copy()
    patches.fill(0)
    np.testing.assert_array_equal(to_numpy(x), before)


@settings(max_examples=12)
@given(st.data())
def test_patches_and_their_adjoint_are_the_cpus(data):
    number = st.integers(1, 4)
    kernel, stride = (data.draw(st.tuples(number, number)) for _ in range(2))
    padding = tuple(data.draw(st.tuples(*[st.integers(0, 3)] * 2)) for _ in range(2))
    H, W = (data.draw(st.integers(max(1, k - sum(sides)), 9)) for k, sides in zip(kernel, padding, strict=True))
    N, C = data.draw(st.integers(1, 3)), data.draw(st.sampled_from([1, 2, 3, 4, 8, 12]))
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    x = np.random.default_rng(0).standard_normal((N, H, W, C)).astype(dtype)
    with mock.patch.dict(sys.modules, cupy=cupy_double):
        patches = backend.im2col(to_device(x, "gpu"), kernel, stride, padding, -2.5)
        dx = backend.col2im(patches, (H, W), stride, padding)
    want = backend.im2col(x, kernel, stride, padding, -2.5)
    np.testing.assert_array_equal(patches.get(), want)
    np.testing.assert_allclose(dx.get(), backend.col2im(want, (H, W), stride, padding), rtol=1e-5)


def test_two_cupys_in_one_process_share_no_kernel_and_no_cublas(monkeypatch):
    """As on a machine with a GPU, where these tests and those of a real CuPy may run in one process."""
    spec = importlib.util.spec_from_file_location("another_cupy", cupy_double.__file__)
    another = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(another)
    used = []
    monkeypatch.setattr(another, "_CUDA", 98000)
    monkeypatch.setattr(another, "_multiply", lambda *args, real=another._multiply: (used.append(xp), real(*args))[1])
    x, w = np.ones((1, 4, 4, 3), np.float32), np.ones((5, 3, 3, 3), np.float32)
    for xp in (cupy_double, another, cupy_double):
        monkeypatch.setitem(sys.modules, "cupy", xp)
        y, backward = layers.conv2d(xp.asarray(x), xp.asarray(w), padding=1)
        assert type(y) is xp.ndarray and float(y.get()[0, 1, 1, 0]) == 27
        assert all(type(gradient) is xp.ndarray for gradient in backward(y))
    assert set(map(id, used)) == {id(another)}
