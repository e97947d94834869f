"""The same comparisons as in test_gpu_double.py on a real GPU, where there is one."""

import numpy as np
import pytest
from device_cases import (
    MODELS,
    MODULES,
    OPERATIONS,
    OPTIMIZERS,
    assert_same,
    run_module,
    run_operation,
    run_optimizer,
    run_training,
)

from minires import backend
from minires.losses import cross_entropy
from minires.models import resnet20
from minires.optim import SGD


def _why_not():
    """What is missing for these tests, or an empty string."""
    try:
        backend.resolve_device("gpu")
    except backend.DeviceError as error:
        return str(error)
    return ""


_REASON = _why_not()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(bool(_REASON), reason=_REASON)]

TOLERANCE = {"float64": 1e-10, "float32": 1e-4}
IMAGES = (8, 32, 32, 3)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("case", OPERATIONS, ids=str)
def test_operation(case, dtype):
    assert_same(run_operation, case, dtype, rtol=TOLERANCE[dtype])


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("name", MODULES)
def test_module(name, training):
    assert_same(run_module, *MODULES[name], "float64", rtol=1e-10, training=training)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizer(optimizer):
    assert_same(run_optimizer, OPTIMIZERS[optimizer], "float64", rtol=1e-10)


@pytest.mark.parametrize("model", MODELS)
def test_training(model):
    assert_same(run_training, *MODELS[model], OPTIMIZERS["SGD"], "float64", rtol=1e-8)


@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-8), ("float32", 1e-3)])
def test_training_step_of_resnet20(dtype, rtol):
    assert_same(run_training, lambda: resnet20(rng=0), IMAGES, OPTIMIZERS["SGD"], dtype, rtol=rtol, steps=1)


def test_the_same_seed_gives_the_same_bits():
    runs = [run_training(lambda: resnet20(rng=0), IMAGES, OPTIMIZERS["SGD"], "float32", "gpu") for _ in range(2)]
    for what, array in runs[0].items():
        np.testing.assert_array_equal(backend.to_numpy(array), backend.to_numpy(runs[1][what]), err_msg=what)


def test_memory_stays_bounded():
    model = resnet20(rng=0).to("gpu")
    optimizer = SGD(model.parameters(), 0.1, momentum=0.9)
    rng = np.random.default_rng(0)
    held = []
    for _ in range(20):
        x = backend.to_device(rng.standard_normal(IMAGES, np.float32), "gpu")
        logits, backward = model(x)
        _, loss_backward = cross_entropy(logits, backend.to_device(rng.integers(0, 10, IMAGES[0]), "gpu"))
        optimizer.zero_grad()
        backward(loss_backward())
        optimizer.step()
        backend.synchronize("gpu")
        held.append(backend.memory_peak("gpu"))
    assert held[-1] <= 1.1 * held[4], f"CuPy's pool holds {held[4]} bytes after 5 steps, {held[-1]} after 20"
