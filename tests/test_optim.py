"""Optimizers against steps worked out by hand, against PyTorch, and against themselves resumed half-way."""

import inspect
import json
import math

import numpy as np
import pytest

from minires import schedules
from minires.models import resnet8
from minires.module import Parameter
from minires.optim import LAMB, LARS, SGD, Adam, AdamW, RMSprop, clip_grad_norm_

SHAPES = [(4, 3, 2, 2), (5, 4), (5,), (1, 1), ()]

CASES = [  # an optimizer and options; PyTorch takes the same
    (SGD, {"lr": 0.1}),
    (SGD, {"lr": 0.1, "weight_decay": 0.05}),
    (SGD, {"lr": 0.1, "momentum": 0.9}),
    (SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.05}),
    (SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    (SGD, {"lr": 0.1, "momentum": 0.5, "nesterov": True, "weight_decay": 0.05}),
    (Adam, {}),
    (Adam, {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-3}),
    (Adam, {"lr": 0.02, "weight_decay": 0.1}),
    (AdamW, {}),
    (AdamW, {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.3}),
    (AdamW, {"lr": 0.02, "weight_decay": 0.0}),
    (RMSprop, {}),
    (RMSprop, {"alpha": 0.9, "eps": 1e-3, "weight_decay": 0.1}),
    (RMSprop, {"momentum": 0.9}),
    (RMSprop, {"centered": True}),
    (RMSprop, {"momentum": 0.9, "centered": True, "weight_decay": 0.1}),
]
NAMES = [f"{cls.__name__}-{'-'.join(options) or 'defaults'}" for cls, options in CASES]
every_case = pytest.mark.parametrize(("cls", "options"), CASES, ids=NAMES)
OTHERS = [  # which PyTorch has not: tests/test_layerwise.py holds them against others
    (LARS, {"lr": 0.5}),
    (LARS, {"lr": 0.5, "momentum": 0.0, "weight_decay": 0.05, "trust_coefficient": 0.1}),
    (LAMB, {}),
    (LAMB, {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.3}),
]
all_cases = pytest.mark.parametrize(
    ("cls", "options"), CASES + OTHERS, ids=NAMES + [f"{cls.__name__}-{len(options)}" for cls, options in OTHERS]
)


def parameters(dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return [Parameter(np.asarray(rng.standard_normal(shape)).astype(dtype)) for shape in SHAPES]


def give_gradients(params, iteration):
    """Random gradients; one parameter goes without in two iterations, the first among them."""
    rng = np.random.default_rng(100 + iteration)
    for index, parameter in enumerate(params):
        gradient = np.asarray(rng.standard_normal(parameter.shape)).astype(parameter.data.dtype)
        parameter.grad = None if index == 1 and iteration in (0, 7) else gradient


def scalar(value, gradient):
    """One parameter of one element, with a gradient; two dimensions, so that it is no bias."""
    parameter = Parameter(np.array([[value]]))
    parameter.grad = np.array([[gradient]])
    return parameter


def after_steps(cls, gradients, value=2.0, **options):
    """The scalar's values after each step with these gradients."""
    parameter = scalar(value, 0.0)
    optimizer = cls([parameter], **options)
    values = []
    for gradient in gradients:
        parameter.grad = np.array([[gradient]])
        optimizer.step()
        values.append(parameter.data.item())
    return values


# By hand -------------------------------------------------------------------------------------------------------


def test_sgd_on_a_quadratic_shrinks_by_the_same_factor_each_step():
    parameter = Parameter(np.array([[4.0, -8.0]]))
    optimizer = SGD([parameter], lr=0.1)
    for _ in range(10):  # loss w^2 / 2, gradient w:  w <- (1 - lr) w
        parameter.grad = parameter.data.copy()
        optimizer.step()
    np.testing.assert_allclose(parameter.data, np.array([[4.0, -8.0]]) * 0.9**10, rtol=1e-14)


@pytest.mark.parametrize(
    ("cls", "options", "expected"),
    [
        (SGD, {"lr": 0.1}, [1.9, 1.7]),
        (SGD, {"lr": 0.1, "weight_decay": 0.5}, [1.8, 1.51]),  # g = 1 + 1, then 2 + 0.9
        (SGD, {"lr": 0.1, "l1": 0.5}, [1.85, 1.6]),  # g = 1.5, then 2.5
        (SGD, {"lr": 0.1, "momentum": 0.5}, [1.9, 1.65]),  # b = 1, then 0.5 + 2
        (SGD, {"lr": 0.1, "momentum": 0.5, "nesterov": True}, [1.85, 1.525]),  # 1 + 0.5, then 2 + 1.25
        (RMSprop, {"lr": 0.1, "alpha": 0.75, "eps": 0.5}, [1.9, 1.9 - 0.2 / (math.sqrt(1.1875) + 0.5)]),
        (
            RMSprop,  # v = 1/4, then 19/16; a = 1/4, then 11/16
            {"lr": 0.1, "alpha": 0.75, "eps": 0.5, "centered": True},
            [
                2 - 0.1 / (math.sqrt(3 / 16) + 0.5),
                2 - 0.1 / (math.sqrt(3 / 16) + 0.5) - 0.2 / (math.sqrt(183) / 16 + 0.5),
            ],
        ),
        (
            RMSprop,  # u = 1, then 2 / (sqrt(19) / 4 + 0.5)
            {"lr": 0.1, "alpha": 0.75, "eps": 0.5, "momentum": 0.5},
            [1.9, 1.85 - 0.2 / (math.sqrt(19) / 4 + 0.5)],
        ),
        (
            Adam,  # m / (1 - beta1^t) = 1, then 5/3;  v / (1 - beta2^t) = 1, then 19/7
            {"lr": 0.1, "betas": (0.5, 0.75), "eps": 0.25},
            [1.92, 1.92 - 0.1 * (5 / 3) / (math.sqrt(19 / 7) + 0.25)],
        ),
        (
            AdamW,  # the same steps, each after w <- 0.95 w
            {"lr": 0.1, "betas": (0.5, 0.75), "eps": 0.25, "weight_decay": 0.5},
            [1.82, 1.82 * 0.95 - 0.1 * (5 / 3) / (math.sqrt(19 / 7) + 0.25)],
        ),
    ],
)
def test_two_steps_by_hand(cls, options, expected):
    np.testing.assert_allclose(after_steps(cls, [1.0, 2.0], **options), expected, rtol=1e-14)


def test_first_step_of_adam_is_lr_long_whatever_the_gradient():
    for gradient in (1e-3, 1.0, -1e6):
        (value,) = after_steps(Adam, [gradient], lr=0.1)
        assert value == pytest.approx(2.0 - math.copysign(0.1, gradient), rel=1e-5)


@pytest.mark.parametrize("cls", [SGD, Adam, AdamW, RMSprop])
def test_l1_is_a_part_of_the_gradient(cls):
    options = {"lr": 0.1, "weight_decay": 0.0}
    for value, sign in ((2.0, 1.0), (-3.0, -1.0), (0.0, 0.0)):
        plain = after_steps(cls, [1.5 + 0.25 * sign], value, **options)
        np.testing.assert_array_equal(after_steps(cls, [1.5], value, **options, l1=0.25), plain)
    # Adam's first step hides the gradient's length but for eps, the second does not
    assert after_steps(cls, [1.5, 0.5], 2.0, **options, l1=0.25) != after_steps(cls, [1.5, 0.5], 2.0, **options)


def test_weight_decay_of_adamw_acts_without_a_gradient_to_speak_of_and_that_of_adam_is_rescaled():
    (decoupled,) = after_steps(AdamW, [0.0], lr=0.1, weight_decay=0.01)
    assert decoupled == pytest.approx(2.0 * (1 - 0.1 * 0.01), rel=1e-15)
    (coupled,) = after_steps(Adam, [0.0], lr=0.1, weight_decay=0.01)
    assert coupled == pytest.approx(1.9, rel=1e-6)


@pytest.mark.parametrize("cls", [SGD, Adam, AdamW, RMSprop])
@pytest.mark.parametrize("penalty", ["weight_decay", "l1"])
def test_decay_bias_and_norm(cls, penalty):
    def moved(decay_bias_and_norm, factor):
        params = parameters()
        give_gradients(params, 1)
        penalties = {"weight_decay": 0.0, penalty: factor}
        cls(params, lr=0.01, **penalties, decay_bias_and_norm=decay_bias_and_norm, **eps).step()
        return [parameter.data for parameter in params]

    eps = {} if cls is SGD else {"eps": 1.0}  # so that the first step depends on the gradient's length
    free, everything, weights = moved(True, 0.0), moved(True, 0.5), moved(False, 0.5)
    for shape, w_free, w_everything, w_weights in zip(SHAPES, free, everything, weights, strict=True):
        assert (w_free != w_everything).all()
        np.testing.assert_array_equal(w_weights, w_everything if len(shape) >= 2 else w_free)


def test_centered_rmsprop_survives_a_variance_that_rounding_makes_negative():
    parameter = Parameter(np.full((50, 50), 1.0, np.float32))
    gradient = np.random.default_rng(0).standard_normal((50, 50)).astype(np.float32)
    optimizer = RMSprop([parameter], lr=1e-12, alpha=0.5, centered=True)
    for _ in range(60):
        parameter.grad = gradient
        optimizer.step()
    v, a = optimizer.state[parameter]["square_avg"], optimizer.state[parameter]["grad_avg"]
    assert (v - a * a < 0).any()  # the case is there
    assert np.isfinite(parameter.data).all()


# Against PyTorch -----------------------------------------------------------------------------------------------


def pair(cls, options, dtype, groups=None):
    """The same parameters and optimizer here and in PyTorch. groups: (indices, options) for each group."""
    torch = pytest.importorskip("torch")
    ours = parameters(dtype)
    theirs = [torch.nn.Parameter(torch.tensor(parameter.data)) for parameter in ours]

    def grouped(params):
        if groups is None:
            return params
        return [{"params": [params[index] for index in indices], **extra} for indices, extra in groups]

    return (
        torch,
        ours,
        cls(grouped(ours), **options),
        theirs,
        getattr(torch.optim, cls.__name__)(grouped(theirs), **options),
    )


def assert_20_equal_steps(torch, ours, optimizer, theirs, reference, schedule=None):
    tolerance = 1e-12 if ours[0].data.dtype == np.float64 else 1e-6
    for iteration in range(20):
        if schedule is not None:
            optimizer.lr = schedule(iteration)
            reference.param_groups[0]["lr"] = schedule(iteration)
        give_gradients(ours, iteration)
        for mine, other in zip(ours, theirs, strict=True):
            other.grad = None if mine.grad is None else torch.tensor(mine.grad)
        optimizer.step()
        reference.step()
        for mine, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(mine.data, other.detach().numpy(), rtol=tolerance, atol=tolerance)


@every_case
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_agrees_with_pytorch(cls, options, dtype):
    if cls is SGD or "lr" in options:
        assert_20_equal_steps(*pair(cls, options, dtype))
    else:
        assert_20_equal_steps(*pair(cls, {**options, "lr": 0.02}, dtype))
        assert_20_equal_steps(*pair(cls, options, dtype))  # PyTorch's default, too


@every_case
def test_agrees_with_pytorch_on_a_schedule(cls, options):
    assert_20_equal_steps(*pair(cls, options, np.float64), schedule=lambda iteration: 0.05 / (1 + iteration))


@every_case
def test_agrees_with_pytorch_on_groups(cls, options):
    groups = [([3, 0], {}), ([1], {"lr": 0.3, "weight_decay": 0.2}), ([4, 2], {"lr": 0.0003, "weight_decay": 0.0})]
    assert_20_equal_steps(*pair(cls, options, np.float64, groups))


@every_case
def test_state_has_pytorchs_names_and_values(cls, options):
    torch, ours, optimizer, theirs, reference = pair(cls, options, np.float64)
    assert_20_equal_steps(torch, ours, optimizer, theirs, reference)
    state = reference.state_dict()["state"]
    expected = {
        f"{name}.{index}": value.numpy()
        for index, values in state.items()
        for name, value in values.items()
        if name != "step" and value is not None
    }
    arrays = optimizer.state_dict()["arrays"]
    assert arrays.keys() == expected.keys()
    for key, array in arrays.items():
        np.testing.assert_allclose(array, expected[key], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("max_norm", [0.0, 0.5, 1e3])
def test_clip_grad_norm_agrees_with_pytorch(max_norm):
    torch, ours, _, theirs, _ = pair(SGD, {"lr": 1.0}, np.float64)
    give_gradients(ours, 0)
    for mine, other in zip(ours, theirs, strict=True):
        other.grad = None if mine.grad is None else torch.tensor(mine.grad)
    norm = clip_grad_norm_(iter(ours), max_norm)
    assert norm == pytest.approx(torch.nn.utils.clip_grad_norm_(theirs, max_norm).item(), rel=1e-12)
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine.grad is None) == (other.grad is None)
        if mine.grad is not None:
            np.testing.assert_allclose(mine.grad, other.grad.numpy(), rtol=1e-12)


# What a step leaves alone --------------------------------------------------------------------------------------


@all_cases
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_step_writes_into_no_array_but_its_own_and_keeps_the_dtype(cls, options, dtype):
    params = parameters(dtype)
    optimizer = cls(params, **{"lr": 0.1, **options}, l1=0.01)
    for iteration in range(1, 4):
        give_gradients(params, iteration)
        arrays = [parameter.data for parameter in params]
        gradients = [parameter.grad for parameter in params]
        copies = [array.copy() for array in (*arrays, *gradients)]
        for array in (*arrays, *gradients):
            array.flags.writeable = False
        optimizer.step()
        for array, copy in zip((*arrays, *gradients), copies, strict=True):
            np.testing.assert_array_equal(array, copy)
        for parameter, array, gradient in zip(params, arrays, gradients, strict=True):
            assert parameter.data.dtype == dtype
            assert parameter.data.shape == array.shape
            assert (parameter.data != array).all()
            assert parameter.grad is gradient
            for held in (array, gradient, *optimizer.state[parameter].values()):
                assert not np.shares_memory(parameter.data, held)
    assert all(array.dtype == dtype for array in optimizer.state_dict()["arrays"].values())


@all_cases
@pytest.mark.parametrize(
    "extra", [{}, {"l1": 0.01}, {"decay_bias_and_norm": False}], ids=lambda extra: str(list(extra))
)
def test_a_backward_pass_after_the_step_is_that_of_its_forward_pass(cls, options, extra):
    model = resnet8(rng=0).to(np.float64)
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, 8, 8, 3)), rng.standard_normal((2, 10))
    optimizer = cls(model.parameters(), **{"lr": 0.1, **options}, **extra)
    for _ in range(2):  # the second step finds its state made
        model.zero_grad()
        _, backward = model(x)
        dx = backward(dy)
        gradients = [parameter.grad for parameter in model.parameters()]
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        model.zero_grad()
        np.testing.assert_array_equal(backward(dy), dx)
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            np.testing.assert_array_equal(parameter.grad, gradient)


@all_cases
def test_state_follows_its_parameter_to_another_dtype(cls, options):
    params = parameters(np.float32)
    optimizer = cls(params, **{"lr": 0.1, **options})
    train(params, optimizer, range(2))
    exact = [Parameter(parameter.data.astype(np.float64)) for parameter in params]
    reference = cls(exact, **{"lr": 0.1, **options}).load_state_dict(optimizer.state_dict())
    for parameter in params:
        parameter.data = parameter.data.astype(np.float64)
    train(params, optimizer, range(2, 5))
    train(exact, reference, range(2, 5))
    for parameter, expected in zip(params, exact, strict=True):
        assert parameter.data.dtype == np.float64
        np.testing.assert_array_equal(parameter.data, expected.data)
    arrays = optimizer.state_dict()["arrays"]
    assert all(array.dtype == np.float64 for array in arrays.values())


@all_cases
@pytest.mark.parametrize("scalar", [np.float64, np.array], ids=["float64", "0-d"])
def test_numpys_scalars_as_options_give_the_same_bits_as_pythons(cls, options, scalar):
    def run(options, lr):
        params = parameters(np.float32)
        optimizer = cls([{"params": params[:3]}, {"params": params[3:], "lr_multiplier": options["l1"]}], **options)
        for iteration in range(4):
            optimizer.param_groups[0]["lr"] = lr
            give_gradients(params, iteration)
            optimizer.step()
        assert {parameter.data.dtype for parameter in params} == {np.dtype(np.float32)}
        state = optimizer.state_dict()
        assert all(array.dtype == np.float32 for array in state.pop("arrays").values())
        return [parameter.data.tobytes() for parameter in params], json.dumps(state)

    def numpys(value):
        if isinstance(value, tuple):
            return tuple(scalar(item) for item in value)
        return np.bool_(value) if isinstance(value, bool) else scalar(value)

    full = {"lr": 0.1, "weight_decay": 0.05, **options, "l1": 0.3, "decay_bias_and_norm": False}
    assert run({name: numpys(value) for name, value in full.items()}, scalar(0.03)) == run(full, 0.03)


def test_a_gradient_of_another_layout_or_dtype_gives_the_same_step():
    rng = np.random.default_rng(0)
    double = rng.standard_normal((50, 40))
    gradient = double.astype(np.float32)
    results = []
    for given in (gradient, np.asfortranarray(gradient), double):
        parameter = Parameter(np.zeros((50, 40), np.float32))
        parameter.grad = given
        optimizer = SGD([parameter], lr=0.1, momentum=0.9, nesterov=True)
        optimizer.step()
        assert optimizer.state[parameter]["momentum_buffer"].dtype == np.float32
        results.append(parameter.data)
    np.testing.assert_array_equal(results[1], results[0])
    np.testing.assert_array_equal(results[2], results[0])


def test_zero_grad_forgets_and_step_then_does_nothing():
    params = parameters()
    optimizer = Adam(params)
    give_gradients(params, 1)
    optimizer.zero_grad()
    assert all(parameter.grad is None for parameter in params)
    optimizer.step()
    for parameter, untouched in zip(params, parameters(), strict=True):
        np.testing.assert_array_equal(parameter.data, untouched.data)
    assert optimizer.state_dict()["arrays"] == {}


# Learning rates of groups --------------------------------------------------------------------------------------


def test_assigning_lr_keeps_the_groups_ratios_even_through_zero():
    a, b, c = parameters()[:3]
    optimizer = SGD([{"params": [a]}, {"params": [b], "lr": 0.05}, {"params": [c], "lr_multiplier": 4.0}], lr=0.1)
    assert optimizer.lr == 0.1
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.05, 0.4]
    for value in (0.0, np.float64(0.2)):
        optimizer.lr = value
        assert optimizer.lr == value
        assert [group["lr"] for group in optimizer.param_groups] == [value, value / 2, value * 4]
    assert type(optimizer.lr) is float


def test_a_group_may_be_one_parameter_and_params_may_be_an_iterator():
    a, b = parameters()[:2]
    assert SGD([{"params": a}], lr=0.1).param_groups[0]["params"] == [a]
    assert SGD(iter([a, b]), lr=0.1).param_groups[0]["params"] == [a, b]


# Saving and resuming -------------------------------------------------------------------------------------------


def train(params, optimizer, iterations):
    for iteration in iterations:
        optimizer.lr = 0.1 / (1 + iteration)
        give_gradients(params, iteration)
        optimizer.step()


@all_cases
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("saved_at", [0, 1, 6])
def test_resumed_steps_have_the_same_bits(cls, options, dtype, saved_at):
    def build(params, **options):
        return cls([{"params": params[:3]}, {"params": params[3:], "lr_multiplier": 0.3, "l1": 0.01}], **options)

    whole = parameters(dtype)
    optimizer = build(whole, **{"lr": 0.1, **options})
    train(whole, optimizer, range(saved_at))
    state = optimizer.state_dict()
    resumed = [Parameter(parameter.data.copy()) for parameter in whole]
    train(whole, optimizer, range(saved_at, 12))  # must not change what was saved

    arrays = state.pop("arrays")
    assert all(type(array) is np.ndarray for array in arrays.values())
    second = build(resumed, lr=5.0, weight_decay=0.7)  # other options: those of the state must win
    assert second.load_state_dict({**json.loads(json.dumps(state)), "arrays": arrays}) is second
    assert second.lr == state["lr"]
    saved = {key: array.copy() for key, array in arrays.items()}
    train(resumed, second, range(saved_at, 12))
    for parameter, expected in zip(resumed, whole, strict=True):
        assert parameter.data.tobytes() == expected.data.tobytes()
    first_end, second_end = optimizer.state_dict(), second.state_dict()
    assert first_end["steps"] == second_end["steps"]
    for key, array in first_end["arrays"].items():
        assert array.tobytes() == second_end["arrays"][key].tobytes()
    for key, array in arrays.items():
        np.testing.assert_array_equal(array, saved[key])  # loading copied


def test_state_dict_is_json_and_a_copy():
    params = parameters()
    optimizer = Adam(params, lr=0.1)
    train(params, optimizer, range(3))
    state = optimizer.state_dict()
    arrays = state.pop("arrays")
    assert json.loads(json.dumps(state)) == state
    assert state["kind"] == "Adam"
    assert state["steps"] == [3, 2, 3, 3, 3]
    arrays["exp_avg.0"][:] = np.nan
    assert np.isfinite(optimizer.state_dict()["arrays"]["exp_avg.0"]).all()


def test_options_changed_between_steps_can_be_saved_at_once():
    params = parameters()
    optimizer = SGD(params, lr=0.1)
    train(params, optimizer, range(2))
    optimizer.param_groups[0]["momentum"] = 0.9
    resumed = [Parameter(parameter.data.copy()) for parameter in params]
    second = SGD(resumed, lr=0.1).load_state_dict(optimizer.state_dict())
    train(params, optimizer, range(2, 5))
    train(resumed, second, range(2, 5))
    for parameter, expected in zip(resumed, params, strict=True):
        assert parameter.data.tobytes() == expected.data.tobytes()


def test_load_casts_to_the_parameters_dtype():
    params = parameters(np.float64)
    optimizer = Adam(params)
    train(params, optimizer, range(2))
    single = parameters(np.float32)
    second = Adam(single).load_state_dict(optimizer.state_dict())
    assert second.state[single[0]]["exp_avg"].dtype == np.float32


def trained_adam():
    params = parameters()
    optimizer = Adam(params)
    train(params, optimizer, range(3))
    return optimizer


def test_load_lists_everything_that_does_not_fit_and_changes_nothing():
    optimizer = trained_adam()
    state = optimizer.state_dict()
    del state["arrays"]["exp_avg.0"], state["arrays"]["exp_avg_sq.3"]
    state["arrays"]["momentum_buffer.1"] = np.zeros(3)
    state["arrays"]["exp_avg.2"] = np.zeros((5, 1))
    state["lr"] = state["param_groups"][0]["lr"] = 77.0
    before = optimizer.state_dict()
    with pytest.raises(ValueError, match="state does not fit Adam") as error:
        optimizer.load_state_dict(state)
    message = str(error.value)
    assert "missing: exp_avg.0, exp_avg_sq.3" in message
    assert "unexpected: momentum_buffer.1" in message
    assert "misshapen: exp_avg.2 has (5, 1), the parameter (5,)" in message
    after = optimizer.state_dict()
    arrays, old_arrays = after.pop("arrays"), before.pop("arrays")
    assert after == before
    assert all(arrays[key].tobytes() == old_arrays[key].tobytes() for key in old_arrays)


def test_load_refuses_another_optimizer_other_groups_and_foreign_states():
    state = trained_adam().state_dict()
    with pytest.raises(ValueError, match=r"kind 'Adam'.* does not fit AdamW"):
        AdamW(parameters()).load_state_dict(state)
    with pytest.raises(ValueError, match=r"groups of \[5\] parameters, this optimizer has \[4\]"):
        Adam(parameters()[:4]).load_state_dict(state)
    with pytest.raises(ValueError, match=r"groups of \[5\] parameters, this optimizer has \[2, 3\]"):
        Adam([{"params": parameters()[:2]}, {"params": parameters()[2:]}]).load_state_dict(state)
    with pytest.raises(ValueError, match="with keys kind does not fit Adam, which needs kind, lr, steps"):
        Adam(parameters()).load_state_dict({"kind": "Adam"})
    with pytest.raises(ValueError, match="steps of 3 parameters, this optimizer has 5"):
        Adam(parameters()).load_state_dict({**state, "steps": [1, 1, 1]})
    state["param_groups"][0]["eps"] = -1.0
    with pytest.raises(ValueError, match=r"eps is -1\.0"):
        Adam(parameters()).load_state_dict(state)


# Errors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cls", "options", "message"),
    [
        (SGD, {"lr": -0.1}, r"SGD: lr is -0\.1, must be at least 0 and finite: 0\.1 is a usual start"),
        (SGD, {"lr": math.nan}, "lr is nan"),
        (SGD, {"lr": math.inf}, "lr is inf"),
        (SGD, {"lr": 0.1, "momentum": -0.9}, r"momentum is -0\.9, must be at least 0"),
        (SGD, {"lr": 0.1, "nesterov": True}, "SGD: momentum is 0, nesterov needs more"),
        (SGD, {"lr": 0.1, "weight_decay": -1e-4}, r"weight_decay is -0\.0001"),
        (SGD, {"lr": 0.1, "l1": -1}, "l1 is -1"),
        (Adam, {"lr": -1}, "Adam: lr is -1"),
        (Adam, {"betas": (0.9,)}, r"betas is \(0\.9,\), must be two numbers: \(0.9, 0.999\) is usual"),
        (Adam, {"betas": 0.9}, r"betas is 0\.9, must be two numbers"),
        (SGD, {"lr": "0.1"}, r"lr is '0\.1', must be at least 0 and finite: 0\.1 is a usual start"),
        (SGD, {"lr": 0.1, "weight_decay": None}, r"weight_decay is None, must be at least 0 and finite"),
        (Adam, {"betas": (0.9, 1.0)}, r"betas is \(0\.9, 1\.0\), must be at least 0 and below 1"),
        (Adam, {"betas": (-0.1, 0.9)}, "betas is"),
        (Adam, {"eps": -1e-8}, "eps is -1e-08"),
        (AdamW, {"betas": (1.0, 0.9)}, "AdamW: betas is"),
        (RMSprop, {"alpha": 1.0}, r"RMSprop: alpha is 1\.0, must be at least 0 and below 1"),
        (RMSprop, {"momentum": -1}, "momentum is -1"),
    ],
)
def test_options_out_of_range(cls, options, message):
    with pytest.raises(ValueError, match=message):
        cls(parameters(), **options)
    with pytest.raises(ValueError, match=message):  # of a group, too
        cls([{"params": parameters(), **options}], lr=0.1)


def test_lr_out_of_range_when_assigned():
    optimizer = SGD(parameters(), lr=0.1)
    with pytest.raises(ValueError, match="lr is -1"):
        optimizer.lr = -1
    assert optimizer.lr == 0.1


def test_parameters_that_are_none():
    a, b = parameters()[:2]
    with pytest.raises(ValueError, match="no parameters, at least 1"):
        SGD([], lr=0.1)
    with pytest.raises(ValueError, match="no parameters, at least 1"):
        SGD([{"params": []}], lr=0.1)
    with pytest.raises(ValueError, match="a parameter is given twice"):
        SGD([a, b, a], lr=0.1)
    with pytest.raises(ValueError, match="a parameter is given twice"):
        SGD([{"params": [a, b]}, {"params": [a]}], lr=0.1)
    with pytest.raises(TypeError, match=r"expected Parameters, got a ndarray: pass model.parameters\(\)"):
        SGD([a, b.data], lr=0.1)
    with pytest.raises(TypeError, match="params is a Parameter"):
        SGD(a, lr=0.1)
    with pytest.raises(TypeError, match="params is a dict"):
        SGD({"params": [a]}, lr=0.1)
    with pytest.raises(TypeError, match="a Parameter among groups"):
        SGD([{"params": [a]}, b], lr=0.1)


def test_groups_with_wrong_keys():
    a = parameters()[0]
    with pytest.raises(ValueError, match=r"group with 'params', 'weightdecay': it takes 'params'.*'weight_decay'"):
        SGD([{"params": [a], "weightdecay": 0.1}], lr=0.1)
    with pytest.raises(ValueError, match="group with 'lr': it takes 'params'"):
        SGD([{"lr": 0.1}], lr=0.1)
    with pytest.raises(ValueError, match="one of 'lr' and 'lr_multiplier'"):
        SGD([{"params": [a], "lr": 0.1, "lr_multiplier": 1.0}], lr=0.1)
    with pytest.raises(ValueError, match=r"no ratio of a group's lr 0\.1 to lr 0: give 'lr_multiplier'"):
        SGD([{"params": [a], "lr": 0.1}], lr=0.0)


def test_gradient_of_another_shape():
    parameter = Parameter(np.zeros((3, 2)))
    parameter.grad = np.zeros((1, 2))
    with pytest.raises(ValueError, match=r"gradient of shape \(1, 2\), its parameter is \(3, 2\)"):
        SGD([parameter], lr=0.1).step()


# Clipping ------------------------------------------------------------------------------------------------------


def test_clip_grad_norm_by_hand():
    a, b, c = scalar(0.0, 3.0), scalar(0.0, -4.0), scalar(0.0, 1.0)
    c.grad = None
    given = a.grad
    assert clip_grad_norm_([a, b, c], 10.0) == 5.0
    assert a.grad is given  # short enough: left as it is
    assert clip_grad_norm_([a, b, c], 1.0) == 5.0
    assert a.grad.item() == pytest.approx(0.6, rel=1e-6)
    assert b.grad.item() == pytest.approx(-0.8, rel=1e-6)
    assert clip_grad_norm_([a, b, c], 0.9) == pytest.approx(1.0, rel=1e-6)
    assert a.grad.item() == pytest.approx(0.54, rel=1e-5)
    assert given.item() == 3.0  # the array itself may be shared, and is not touched
    assert c.grad is None
    assert clip_grad_norm_([c], 1.0) == 0.0


def test_clip_grad_norm_keeps_the_dtype_and_reports_nan():
    parameter = Parameter(np.zeros((2, 2), np.float32))
    parameter.grad = np.full((2, 2), 3, np.float32)
    assert clip_grad_norm_([parameter], np.float64(1.0)) == 6.0
    assert parameter.grad.dtype == np.float32
    parameter.grad[0, 0] = np.nan
    assert math.isnan(clip_grad_norm_([parameter], 1.0))


def test_clip_grad_norm_of_a_negative_length():
    with pytest.raises(ValueError, match="max_norm is -1, must be at least 0"):
        clip_grad_norm_([scalar(0.0, 1.0)], -1)


def test_defaults_are_pytorchs_but_for_those_that_the_page_names():
    torch = pytest.importorskip("torch")
    schedulers = torch.optim.lr_scheduler
    pairs = [(cls, getattr(torch.optim, cls.__name__)) for cls in (SGD, Adam, AdamW, RMSprop)]
    pairs += [(getattr(schedules, name), getattr(schedulers, name)) for name in ("StepLR", "MultiStepLR", "OneCycleLR")]
    other = {}
    for ours, theirs in pairs:
        wanted = inspect.signature(theirs).parameters
        for name, parameter in inspect.signature(ours).parameters.items():
            required_there = name in wanted and wanted[name].default in (inspect.Parameter.empty, None)
            if name not in wanted:
                other.setdefault(name, set()).add(ours)
            elif not required_there and parameter.default != wanted[name].default:
                other[f"{ours.__name__}'s {name}"] = parameter.default
    assert other.pop("lr") == {schedules.StepLR, schedules.MultiStepLR}  # theirs have the optimizer's
    assert other == {
        "SGD's lr": inspect.Parameter.empty,
        "l1": {SGD, Adam, AdamW, RMSprop},
        "decay_bias_and_norm": {SGD, Adam, AdamW, RMSprop},
    }
