"""What flows through a network in 16 bits: every operation against float64, products that round to TF32, loss scaling.

Each runs on the CPU, on CuPy's double and, where there is one, on a GPU.
"""

import functools
import sys

import cupy_double
import numpy as np
import pytest
from device_cases import GPU, LOSSES, MODELS, OPERATIONS, half_inputs

from minires import models, optim
from minires.backend import half, matmul, to_device, to_numpy
from minires.calibration import temperature_scaling
from minires.ensemble import log_mean_softmax
from minires.layers import Conv2d, Linear, conv2d, linear
from minires.losses import cross_entropy, distillation, giou_loss, mse_loss, pixel_cross_entropy, sigmoid_focal_loss
from minires.parameter import Parameter
from minires.precision import PRECISIONS, GradScaler, activations, options_for, use_tf32
from minires.recorded_step import RecordedStep
from minires.robustness import margin
from minires.training import train_step

pytest.importorskip("ml_dtypes")
EPS = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "tf32": 2.0**-11}  # half the distance from 1 to the next number
CASES = {str(case): case for case in OPERATIONS if case.function.__name__ not in LOSSES}


@pytest.fixture(params=["cpu", "double", GPU])
def device(request, monkeypatch):
    """Where arrays are to be."""
    if request.param == "double":
        monkeypatch.setitem(sys.modules, "cupy", cupy_double)
    return "cpu" if request.param == "cpu" else "gpu"


def run(case, arrays, dy, device="cpu"):
    """[y, gradients...] as NumPy's arrays."""
    y, backward = case.function(*(to_device(array, device) for array in arrays), **case.options)
    gradients = backward(to_device(np.asarray(dy.astype(y.dtype)), device))
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    return [to_numpy(array) for array in (y, *gradients) if array is not None]


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
@pytest.mark.parametrize("case", CASES)
def test_operations(case, name, device):
    """Beside float64 of the same numbers: what is stored is off by a rounding or two, what is summed by the inputs'."""
    case, dtype = CASES[case], half(name)
    arrays = half_inputs(case, name)
    exact = [array.astype(np.float64) if array.dtype.kind in "fV" else array for array in arrays]
    shape = case.function(*(array.copy() for array in exact), **case.options)[0].shape
    dy = np.random.default_rng(1).standard_normal(shape).astype(dtype)
    wanted = run(case, exact, dy.astype(np.float64))
    found = run(case, [array.copy() for array in arrays], dy, device)
    parameters = [array.shape for array in arrays if array.dtype == np.float32]
    for number, (got, want) in enumerate(zip(found, wanted, strict=True)):
        assert got.dtype == (np.float32 if number and got.shape in parameters else dtype)
        error = np.linalg.norm(got.astype(np.float64) - want) / max(1e-30, np.linalg.norm(want))
        assert error < (3 * EPS[name] if got.dtype == dtype else 1e-5), f"{number}: {error}"


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_sums_are_float32(name, device):
    """In float16 a sum of ones ends at 2,048, in bfloat16 at 256: one more is rounded away."""
    dtype, count = half(name), 5000
    x, weight = np.ones((3, count), dtype), np.ones((2, count), dtype)
    found = matmul(to_device(x, device), to_device(weight.T, device))
    assert found.dtype == np.float32 and (to_numpy(found) == count).all()
    images = to_device(np.ones((count, 1, 1, 2), dtype), device)
    weight, bias = (to_device(np.ones(shape, np.float32), device) for shape in ((2, 2, 1, 1), 2))
    _, backward = conv2d(images, weight, bias)
    _, dweight, dbias = backward(images)
    assert (to_numpy(dweight) == count).all() and (to_numpy(dbias) == count).all()


def test_parameters_stay_in_float32():
    x, weight = np.ones((2, 5), np.float16), np.ones((3, 5), np.float16)
    with pytest.raises(ValueError, match=r"linear: x is float16, its parameters float16: keep those in float32"):
        linear(x, weight)
    with pytest.raises(ValueError, match="linear: arrays of different dtypes"):
        linear(x.astype(np.float32), weight)


@pytest.mark.parametrize(
    "loss",
    [
        cross_entropy,
        mse_loss,
        lambda z, t: distillation(z, np.array([0, 1]), z),
        sigmoid_focal_loss,
        giou_loss,
        lambda z, t: pixel_cross_entropy(z[None, None], np.array([[[0, 1]]])),
        lambda z, t: margin(z, np.array([0, 1])),
        lambda z, t: log_mean_softmax(z[None]),
        lambda z, t: temperature_scaling(z, z[0, 0]),
    ],
)
@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_losses_refuse_halves(loss, name):
    logits = np.ones((2, 3), half(name))
    with pytest.raises(ValueError, match=f"{name} is too narrow to add numbers up in: convert with x.astype"):
        loss(logits, np.array([0, 1]) if loss is cross_entropy else logits)


# TF32 -----------------------------------------------------------------------------------------------------------


def in_tf32(x):
    """x rounded to 11 bits, by arithmetic: half to even."""
    mantissa, exponent = np.frexp(x.astype(np.float64))
    return np.ldexp(np.round(mantissa * 2**11) / 2**11, exponent).astype(np.float32)


def test_tf32_rounds_factors(device):
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((7, 33), (33, 5)))
    b[0, 0] = 1 + 2.0**-11  # between two numbers of TF32
    exact = in_tf32(a).astype(np.float64) @ in_tf32(b)
    found = to_numpy(matmul(to_device(a, device), to_device(b, device), tf32=True))
    near = 2e-6 if device == "cpu" else 2e-3  # a GPU may cut off where this rounds
    np.testing.assert_allclose(found, exact, atol=near)
    assert np.abs(to_numpy(matmul(to_device(a, device), to_device(b, device))) - exact).max() > 1e-5


@pytest.mark.parametrize("stride", [1, 2])
def test_tf32_reaches_all_three_products(device, stride):
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((2, 6, 6, 3)).astype("f"), rng.standard_normal((4, 3, 3, 3)).astype("f")
    results = {}
    for tf32 in (False, True):
        y, backward = conv2d(to_device(x, device), to_device(weight, device), None, stride, 1, tf32=tf32)
        dy = to_device(np.random.default_rng(1).standard_normal(y.shape).astype("f"), device)  # the same for both
        results[tf32] = [to_numpy(array) for array in (y, *backward(dy))]
    for plain, rounded in zip(results[False], results[True], strict=True):
        error = np.linalg.norm(plain - rounded) / np.linalg.norm(plain)
        assert 1e-6 < error < 3 * EPS["tf32"]


def test_tf32_of_what_is_no_number():
    a = np.array([[np.inf, -np.inf, np.nan, np.finfo("f").max]], "f")
    found = matmul(a.T, np.ones((1, 1), "f"), tf32=True).reshape(-1)
    np.testing.assert_array_equal(found, [np.inf, -np.inf, np.nan, np.inf])


def test_use_tf32():
    model = use_tf32(models.resnet8(rng=0))
    layers = [module for module in model.modules() if isinstance(module, (Conv2d, Linear))]
    assert all(module.tf32 for module in layers)
    use_tf32(model, False)
    assert not any(module.tf32 for module in layers)


def test_winograd_does_not_go_with_tf32():
    with pytest.raises(ValueError, match=r"conv2d: winograd is for .*, tf32 on a CPU: use im2col"):
        conv2d(np.ones((1, 4, 4, 1), "f"), np.ones((1, 1, 3, 3), "f"), padding=1, algorithm="winograd", tf32=True)


# Steps ----------------------------------------------------------------------------------------------------------


def batch(device, shape=(8, 8, 8, 3)):
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal(shape).astype(np.float32), rng.integers(0, 10, shape[0])
    return to_device(x, device), to_device(labels, device)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", MODELS)
def test_a_step_of_every_model(name, precision, device):
    """Weights after a step are float32's, within what the gradients lose."""
    make, shape = MODELS[name]
    x, labels = batch(device, (32, *shape[1:]))
    steps = {}
    for each in ("float32", precision):
        model, before = make().to(device), make()
        optimizer = optim.SGD(model.parameters(), 0.1, momentum=0.9)
        loss, _ = train_step(model, optimizer, x, labels, **options_for(model, each))
        assert loss.dtype == np.float32 and all(parameter.data.dtype == np.float32 for parameter in model.parameters())
        pairs = zip(model.parameters(), before.parameters(), strict=True)
        steps[each] = np.concatenate([(to_numpy(new.data) - old.data).ravel() for new, old in pairs])
    error = np.linalg.norm(steps[precision] - steps["float32"]) / np.linalg.norm(steps["float32"])
    assert error <= 200 * EPS.get(precision, 0)  # of random labels; where ReLU clips flips with the last bits
    assert error > 1e-5 or precision == "float32"


@pytest.mark.parametrize("precision", PRECISIONS)
def test_recorded_steps_have_the_same_bits(precision, device):
    x, labels = batch(device)
    found = {}
    for recorded in (False, True):
        model = models.resnet8(rng=0).to(device)
        optimizer = optim.SGD(model.parameters(), 0.1, momentum=0.9)
        options = options_for(model, precision)
        step = RecordedStep(model, optimizer, **options) if recorded else None
        plain = functools.partial(train_step, model, optimizer, **options)
        losses = [float((step or plain)(x, labels)[0]) for _ in range(4)]
        found[recorded] = losses, [to_numpy(parameter.data) for parameter in model.parameters()]
        assert step is None or step.whynot is None
    assert found[False][0] == found[True][0]
    for plain, recorded in zip(found[False][1], found[True][1], strict=True):
        np.testing.assert_array_equal(plain, recorded)


def test_a_precision_that_is_none():
    with pytest.raises(ValueError, match="unknown precision 'fp16': choose one of float32, tf32, float16, bfloat16"):
        activations("fp16")


# Loss scaling ---------------------------------------------------------------------------------------------------

OPTIMIZERS = {
    "SGD": lambda parameters: optim.SGD(parameters, 0.1, momentum=0.9, weight_decay=1e-2),
    "plain SGD": lambda parameters: optim.SGD(parameters, 0.1),
    "Adam": lambda parameters: optim.Adam(parameters, 0.1),
    "RMSprop": lambda parameters: optim.RMSprop(parameters, 0.1, momentum=0.9, centered=True),
}


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_scaled_steps_are_plain_steps_without_the_infinite_ones(kind, device):
    """Beside an optimizer that is given the gradients themselves, and not called where they are infinite."""
    rng = np.random.default_rng(0)
    start = [rng.standard_normal(shape).astype(np.float32) for shape in ((3, 4), (5,))]
    scaled, plain = ([Parameter(to_device(array.copy(), device)) for array in start] for _ in range(2))
    with_scale, alone = OPTIMIZERS[kind](scaled), OPTIMIZERS[kind](plain)
    scaler, scale, taken = GradScaler(1024.0, growth_interval=3), 1024.0, 0
    for spoilt in (None, np.inf, None, None, None, np.nan, -np.inf, None):
        for one, other in zip(scaled, plain, strict=True):
            gradient = rng.standard_normal(one.shape).astype(np.float32)
            one.grad, other.grad = to_device(gradient.copy(), device), to_device(gradient, device)
        if spoilt is None:
            alone.step()
            taken += 1
            scale, taken = (scale * 2, 0) if taken == 3 else (scale, taken)
        else:
            scaled[1].grad[2] = spoilt
            scale, taken = scale / 2, 0
        scaler.step(with_scale)
        assert scaler.state_dict() == {"scale": scale, "taken": taken}
        for one, other in zip(scaled, plain, strict=True):
            np.testing.assert_array_equal(to_numpy(one.data), to_numpy(other.data))
    for one, other in zip(scaled, plain, strict=True):
        for name in with_scale.state[one]:
            if name != "step":
                np.testing.assert_array_equal(to_numpy(with_scale.state[one][name]), to_numpy(alone.state[other][name]))


def test_scaler_is_pytorchs():
    torch = pytest.importorskip("torch")
    rng, mine = np.random.default_rng(0), GradScaler(8.0, growth_interval=2)
    theirs = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
    ours = Parameter(np.zeros(3, np.float32))
    tensor = torch.zeros(3, requires_grad=True)
    optimizer, torchs = optim.SGD([ours], 0.5, momentum=0.9), torch.optim.SGD([tensor], 0.5, momentum=0.9)
    for spoilt in (False, False, True, False, False, False, True):
        gradient = rng.standard_normal(3).astype(np.float32)
        gradient[0] = np.inf if spoilt else gradient[0]
        ours.grad = gradient
        theirs.scale(torch.zeros(()))  # it makes its scale when it is first asked
        tensor.grad = torch.from_numpy(gradient) * theirs.get_scale()
        mine.step(optimizer)
        theirs.step(torchs)
        theirs.update()
        assert mine.state_dict()["scale"] == theirs.get_scale()
        np.testing.assert_allclose(ours.data, tensor.detach().numpy(), rtol=1e-6)


def test_state_of_a_scaler():
    scaler = GradScaler().load_state_dict({"scale": 4.0, "taken": 7.0})
    assert scaler.state_dict() == {"scale": 4.0, "taken": 7.0}
    for wrong in (
        {},
        {"scale": 0.0, "taken": 1.0},
        {"scale": float("inf"), "taken": 1.0},
        {"scale": 1.0, "taken": -1.0},
    ):
        with pytest.raises(ValueError, match="does not fit GradScaler"):
            scaler.load_state_dict(wrong)
    for wrong in ({"init_scale": 1e40}, {"init_scale": 1e-50}, {"init_scale": "a"}, {"growth_factor": np.nan}):
        with pytest.raises(ValueError, match="GradScaler: init_scale"):
            GradScaler(**wrong)
    for wrong in ({"init_scale": 0}, {"growth_factor": 1}, {"backoff_factor": 1}, {"growth_interval": 0}):
        with pytest.raises(ValueError, match="GradScaler: init_scale"):
            GradScaler(**wrong)


def test_a_scale_grows_no_further_than_float32(device):
    parameter = Parameter(to_device(np.ones(3, np.float32), device))
    optimizer, scaler = optim.SGD([parameter], 0.1), GradScaler(2.0**127, growth_interval=1)
    for _ in range(3):
        parameter.grad = to_device(np.zeros(3, np.float32), device)
        scaler.step(optimizer)
    assert scaler.state_dict()["scale"] == 2.0**127


def test_a_scale_that_has_come_to_nothing_is_told():
    parameter = Parameter(np.ones(3, np.float32))
    optimizer, scaler = optim.SGD([parameter], 0.1), GradScaler(1.0)
    for _ in range(25):
        scaler.check()
        parameter.grad = np.full(3, np.nan, np.float32)
        scaler.step(optimizer)
    with pytest.raises(ValueError, match=r"the loss scale has fallen to 3e-08, below 6e-08: .* or use bfloat16"):
        scaler.check()


def test_nothing_to_train():
    scaler = GradScaler()
    scaler.step(optim.SGD([Parameter(np.ones(3, np.float32))], 0.1))
    assert scaler.state_dict() == {"scale": 65536.0, "taken": 0.0}


def test_without_scaling_small_gradients_are_lost():
    """Below 2^-25 they are 0 in float16; times a scale they are not. Source: Micikevicius et al. 2018, section 3.2."""
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((64, 5)).astype(np.float16), 1e-8 * rng.uniform(-1, 1, (64, 3))
    layer = Linear(5, 3, rng=0)
    exact = dy.T @ x.astype(np.float64)
    for scale, lost in ((1.0, 1.0), (65536.0, 3 * EPS["float16"])):
        layer.zero_grad()
        _, backward = layer(x)
        backward((scale * dy).astype(np.float16))
        error = np.linalg.norm(layer.weight.grad / scale - exact) / np.linalg.norm(exact)
        assert error == lost if scale == 1 else error < lost
