"""group_norm and GroupNorm: against loops, differences and PyTorch; images do not know of each other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minires.gradcheck import gradcheck
from minires.layers import BatchNorm2d, Conv2d, GroupNorm, batch_norm, group_norm
from minires.models.fold import fold
from minires.modes import no_grad
from minires.sequential import Sequential


def naive_group_norm(x, num_groups, weight, bias, eps=1e-5):
    """The formula, an image and a group at a time."""
    y, K = np.empty_like(x), x.shape[-1] // num_groups
    for n, image in enumerate(x):
        for first in range(0, x.shape[-1], K):
            values = image[..., first : first + K]
            mean = sum(values.ravel()) / values.size
            var = sum((values.ravel() - mean) ** 2) / values.size
            normalised = (values - mean) / (var + eps) ** 0.5
            y[n, ..., first : first + K] = weight[first : first + K] * normalised + bias[first : first + K]
    return y


@st.composite
def cases(draw):
    """(x, num_groups, weight, bias), at least three numbers a group: two are always normalised to +-1."""
    shapes = [((4, 6), 2), ((2, 3, 8), 4), ((1, 2, 2, 3), 3), ((3, 2, 3, 4), 2), ((2, 3, 5, 6), 1), ((2, 1, 3, 4), 4)]
    shape, num_groups = draw(st.sampled_from(shapes))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    x = rng.standard_normal(shape) * 2 + rng.standard_normal(shape[-1])
    return x, num_groups, rng.standard_normal(shape[-1]), rng.standard_normal(shape[-1])


@given(cases(), st.booleans(), st.booleans())
def test_gradient_and_purity(check_operation, drawn, scaled, shifted):
    x, num_groups, weight, bias = drawn

    def operation(x, *rest):
        rest = list(rest)
        w = rest.pop(0) if scaled else None
        b = rest.pop(0) if shifted else None
        return group_norm(x, num_groups, w, b)

    check_operation(operation, x, *([weight] if scaled else []), *([bias] if shifted else []))


@given(cases())
def test_naive_loop(drawn):
    y, _ = group_norm(*drawn)
    np.testing.assert_allclose(y, naive_group_norm(*drawn), rtol=1e-11, atol=1e-11)


@given(cases())
def test_output_is_normalised(drawn):
    x, num_groups = drawn[:2]
    y, backward = group_norm(x, num_groups, eps=0)
    groups = (len(x), -1, num_groups, x.shape[-1] // num_groups)
    np.testing.assert_allclose(y.reshape(groups).mean(axis=(1, 3)), 0, atol=1e-10)
    np.testing.assert_allclose(y.reshape(groups).var(axis=(1, 3)), 1, rtol=1e-10)
    (dx,) = backward(np.random.default_rng(0).standard_normal(x.shape))
    # neither a shift nor a scaling of a group changes y, so dx has no part in either direction
    np.testing.assert_allclose(dx.reshape(groups).sum(axis=(1, 3)), 0, atol=1e-10)
    np.testing.assert_allclose((dx * y).reshape(groups).sum(axis=(1, 3)), 0, atol=1e-9)


def test_blocks(check_blocks):
    rng = np.random.default_rng(0)
    x, (weight, bias) = rng.standard_normal((7, 5, 3, 4)) + 3, rng.standard_normal((2, 4))
    check_blocks(lambda x, *affine: group_norm(x, 2, *affine), x, weight, bias, sizes=(1, 2500, 5000))


@pytest.mark.parametrize(
    ("shape", "num_groups"), [((3, 6, 7, 8), 4), ((2, 4, 4, 6), 6), ((5, 3, 2, 6), 1), ((4, 9), 3)]
)
@pytest.mark.parametrize("affine", [True, False])
def test_pytorch(torch, shape, num_groups, affine):
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal(shape) * 2 + 1] + ([*rng.standard_normal((2, shape[-1]))] if affine else [])
    tensors = [torch.tensor(array, requires_grad=True) for array in inputs]
    theirs = torch.nn.functional.group_norm(tensors[0].movedim(-1, 1), num_groups, *tensors[1:], eps=1e-3).movedim(
        1, -1
    )
    y, backward = group_norm(inputs[0], num_groups, *inputs[1:], eps=1e-3)
    dy = rng.standard_normal(shape)
    theirs.backward(torch.tensor(dy))
    np.testing.assert_allclose(y, theirs.detach().numpy(), rtol=1e-10, atol=1e-10)
    for gradient, tensor in zip(backward(dy), tensors, strict=True):
        np.testing.assert_allclose(gradient, tensor.grad.numpy(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("mean", [100, 1000, 1e5])
def test_far_from_zero_float32_keeps_its_digits(mean):
    """Against float64 of the same numbers; mean(x^2) - mean(x)^2 would lose them all."""
    x = (np.random.default_rng(0).standard_normal((4, 16, 16, 6)) + mean).astype(np.float32)
    dy = np.random.default_rng(1).standard_normal(x.shape).astype(np.float32)
    (y, backward), (exact, exact_backward) = group_norm(x, 3), group_norm(x.astype(np.float64), 3)
    np.testing.assert_allclose(y, exact, atol=1e-5)
    np.testing.assert_allclose(backward(dy)[0], exact_backward(dy.astype(np.float64))[0], atol=1e-4 + 1e-7 * mean)


@pytest.mark.parametrize("value", [0, 7.1, -1e4, 1e8])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_constant_group_stays_finite(value, dtype):
    x = np.full((3, 5, 7, 4), value, dtype)
    with np.errstate(all="raise", under="ignore"):
        y, backward = group_norm(x, 2)
        (dx,) = backward(np.ones_like(x))
    np.testing.assert_allclose(y, 0, atol=1e-3)
    np.testing.assert_allclose(dx, 0, atol=1e-2)


def test_an_image_does_not_know_the_batch():
    """The same bits, whatever the other images are; batch norm's change with them."""
    x = np.random.default_rng(0).standard_normal((4, 5, 5, 6)).astype(np.float32)
    other = np.concatenate([x[:1], 10 * x[1:] + 3])
    dy = np.ones_like(x)
    (y, backward), (y_of_other, backward_of_other) = group_norm(x, 2), group_norm(other, 2)
    np.testing.assert_array_equal(y[0], y_of_other[0])
    np.testing.assert_array_equal(backward(dy)[0][0], backward_of_other(dy)[0][0])
    assert not np.allclose(*(batch_norm(z, None, None, training=True)[0][0] for z in (x, other)))


def test_of_one_image_and_groups_of_one_channel_it_is_batch_norm():
    x, dy = np.random.default_rng(0).standard_normal((2, 1, 5, 4, 3))
    weight, bias = np.random.default_rng(1).standard_normal((2, 3))
    (y, backward), (expected, expected_backward) = (
        group_norm(x, 3, weight, bias),
        batch_norm(x, None, None, weight, bias, training=True),
    )
    np.testing.assert_allclose(y, expected, atol=1e-12)
    for ours, theirs in zip(backward(dy), expected_backward(dy), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


X, V = np.ones((2, 3, 3, 4)), np.ones(4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X, 3), "group_norm: 4 channels cannot be cut into 3 groups: choose a divisor"),
        ((X, 0), "4 channels cannot be cut into 0 groups"),
        ((X, -2), "4 channels cannot be cut into -2 groups"),
        ((X, 2, np.ones(5)), r"group_norm: 4 input channels, weight has shape \(5,\): expected \(4,\)"),
        ((X, 2, V, np.ones((4, 1))), r"4 input channels, bias has shape \(4, 1\)"),
        ((X[:, 0, 0], 4), r"4 groups of x \(2, 4\) are of one number each, whose variance is 0: use fewer groups"),
        ((V, 2), r"group_norm: x must have shape \(N, ..., C\), got \(4,\)"),
        ((X[:0], 2), "group_norm: empty batch, x has shape"),
        ((X.astype(np.float32), 2, V), "different dtypes.*float32, float64"),
        ((X.astype(np.int64), 2), "needs floating-point arrays, got int64"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        group_norm(*arguments)


class TestModule:
    def test_gradients_of_parameters(self):
        module = GroupNorm(2, 4)
        module.weight.data = np.array([0.5, -1, 2, 1.5])
        gradcheck(module.to(np.float64), np.random.default_rng(0).standard_normal((3, 2, 5, 4)))

    def test_pytorchs_state_loads(self, torch):
        theirs = torch.nn.GroupNorm(2, 4)
        state = {name: tensor.detach().numpy() for name, tensor in theirs.state_dict().items()}
        module = GroupNorm(2, 4).load_state_dict(state)
        assert set(module.state_dict()) == {"weight", "bias"} and repr(module) == "GroupNorm(2, 4, eps=1e-05)"

    def test_both_modes_and_no_grad_give_the_same_bits(self):
        module, x = GroupNorm(2, 4), np.random.default_rng(0).standard_normal((3, 2, 5, 4)).astype(np.float32)
        y, _ = module(x)
        with no_grad():
            np.testing.assert_array_equal(module.eval()(x)[0], y)

    def test_it_is_not_folded(self):
        """It depends on the image; a batch norm beside it is."""
        model = Sequential(Conv2d(3, 4, 3, rng=0), GroupNorm(2, 4), Conv2d(4, 4, 1, rng=1), BatchNorm2d(4)).eval()
        folded = fold(model)
        kinds = [type(module) for module in folded.modules()]
        assert GroupNorm in kinds and BatchNorm2d not in kinds
        x = np.random.default_rng(0).standard_normal((2, 5, 5, 3)).astype(np.float32)
        np.testing.assert_allclose(folded(x)[0], model(x)[0], rtol=1e-5, atol=1e-5)

    def test_frozen_it_still_hands_dx_on(self):
        module, x = GroupNorm(2, 4), np.random.default_rng(0).standard_normal((3, 2, 5, 4)).astype(np.float32)
        dx = module(x)[1](x)
        module.zero_grad()
        np.testing.assert_array_equal(module.freeze()(x)[1](x), dx)
        assert module.weight.grad is None and module.bias.grad is None

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: GroupNorm(0, 4), "GroupNorm: num_groups must be at least 1, got 0"),
            (lambda: GroupNorm(3, 4), "GroupNorm: 4 channels cannot be cut into 3 groups: choose a divisor"),
            (lambda: GroupNorm(2, 4, eps=-1), "GroupNorm: eps must be a number from 0 to inf, got -1"),
        ],
    )
    def test_bad_options(self, make, message):
        with pytest.raises(ValueError, match=message):
            make()
