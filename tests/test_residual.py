"""add, concat and pad_shortcut: against loops, differences and PyTorch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minires.gradcheck import gradcheck
from minires.layers import add, concat, conv2d, pad_shortcut, relu

small = st.integers(1, 5)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@given(st.lists(small, min_size=1, max_size=4))
def test_add(check_operation, shape):
    x1, x2 = normal(2, *shape)
    check_operation(add, x1, x2)
    y, backward = add(x1, x2)
    np.testing.assert_array_equal(y, [a + b for a, b in zip(x1, x2, strict=True)])
    assert [dx.tolist() for dx in backward(x1)] == [x1.tolist()] * 2


def test_add_in_blocks(check_blocks):
    check_blocks(add, normal(7, 5, 3), normal(7, 5, 3, seed=1), sizes=(1, 300, 1000))


def test_a_block_with_its_sum(check_operation):
    """x is used twice, and both gradients reach it."""

    def block(x, weight):
        y, conv_backward = conv2d(x, weight, padding=1)
        y, _ = add(y, x)
        y, relu_backward = relu(y)

        def backward(dy):
            dy = relu_backward(dy)
            dx, dweight = conv_backward(dy)
            return add(dx, dy)[0], dweight

        return y, backward

    gradcheck(block, normal(2, 4, 3, 2), normal(2, 2, 3, 3, seed=1))


@given(st.lists(small, min_size=0, max_size=3), st.lists(small, min_size=1, max_size=4))
def test_concat(check_operation, leading, channels):
    xs = [normal(*leading, C, seed=k) for k, C in enumerate(channels)]
    check_operation(concat, *xs)
    y, _ = concat(*xs)
    for index in np.ndindex(*leading):
        assert y[index].tolist() == [value for x in xs for value in x[index]]


def test_concat_in_blocks(check_blocks):
    check_blocks(concat, normal(7, 5, 3), normal(7, 5, 1, seed=1), normal(7, 5, 4, seed=2), sizes=(1, 300, 1000))


def test_the_gradients_of_concat_are_the_callers_own():
    dy = np.ones((2, 5))
    for dx in concat(np.zeros((2, 3)), np.zeros((2, 2)))[1](dy):
        dx[:] = 7
    assert (dy == 1).all()


@given(small, small, small, small, st.integers(0, 5), st.integers(1, 3))
def test_pad_shortcut(check_operation, N, H, W, C, more, stride):
    x = normal(N, H, W, C)
    check_operation(lambda x: pad_shortcut(x, C + more, stride), x)
    y, _ = pad_shortcut(x, C + more, stride)
    assert y.shape == (N, -(-H // stride), -(-W // stride), C + more)
    for n, oh, ow, o in np.ndindex(y.shape):
        c = o - more // 2
        assert y[n, oh, ow, o] == (x[n, oh * stride, ow * stride, c] if 0 <= c < C else 0)


@given(small, small, small, small, st.integers(0, 5), st.integers(1, 3))
def test_pad_shortcut_at_the_end(check_operation, N, H, W, C, more, stride):
    x = normal(N, H, W, C)
    check_operation(lambda x: pad_shortcut(x, C + more, stride, at_end=True), x)
    y, _ = pad_shortcut(x, C + more, stride, at_end=True)
    np.testing.assert_array_equal(y, np.concatenate([x[:, ::stride, ::stride], np.zeros((*y.shape[:3], more))], -1))


def test_pytorch(torch):
    """add, concat and the shortcut as published PyTorch code writes them."""
    x1, x2 = normal(2, 5, 6, 4), normal(2, 5, 6, 4, seed=1)
    t1, t2 = (torch.tensor(x, requires_grad=True) for x in (x1, x2))
    total = (t1 + t2).permute(0, 3, 1, 2)
    side_by_side = torch.cat([total, t2.permute(0, 3, 1, 2)], dim=1)
    theirs = torch.nn.functional.pad(side_by_side[:, :, ::2, ::2], (0, 0, 0, 0, 3, 3)).permute(0, 2, 3, 1)

    y, add_backward = add(x1, x2)
    y, concat_backward = concat(y, x2)
    y, pad_backward = pad_shortcut(y, 14, 2)
    np.testing.assert_array_equal(y, theirs.detach().numpy())
    dy = normal(*y.shape, seed=2)
    theirs.backward(torch.tensor(dy))
    dsum, dx2 = concat_backward(pad_backward(dy))
    dx1, dx2_of_sum = add_backward(dsum)
    np.testing.assert_allclose(dx1, t1.grad.numpy())
    np.testing.assert_allclose(dx2 + dx2_of_sum, t2.grad.numpy())


X = normal(2, 4, 4, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: add(X, X[:, ::2]), r"branches have shapes \(2, 4, 4, 3\) and \(2, 2, 4, 3\): the shortcut must match"),
        (lambda: add(X, X[..., :1]), "branches have shapes"),  # which NumPy would broadcast
        (lambda: add(X, X.astype(np.float32)), "add: arrays of different dtypes"),
        (lambda: add(X.astype(int), X.astype(int)), "add: needs floating-point arrays"),
        (lambda: concat(), "concat: no arrays: give at least one"),
        (lambda: concat(X, X[:, :2]), r"concat: shapes \(2, 4, 4, 3\), \(2, 2, 4, 3\) differ before the channels"),
        (lambda: concat(X, X.astype(np.float32)), "concat: arrays of different dtypes"),
        (lambda: pad_shortcut(X, 2), "pad_shortcut: 3 input channels cannot become 2: use option B"),
        (lambda: pad_shortcut(X[0], 4), "pad_shortcut: x must have shape"),
        (lambda: pad_shortcut(X[:0], 4), "pad_shortcut: empty batch"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("stride", [0, -1])
def test_bad_stride_of_the_shortcut(stride):
    with pytest.raises(ValueError, match=f"pad_shortcut: stride must be at least 1, got {stride}"):
        pad_shortcut(X, 4, stride)


def test_integers_are_refused_by_the_shortcut():
    with pytest.raises(ValueError, match="pad_shortcut: needs floating-point arrays"):
        pad_shortcut(X.astype(int), 4)
