"""giou_loss: against pixels counted, differences, PyTorch and torchvision."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minires.losses import giou_loss


@st.composite
def cases(draw):
    """(distances, targets, weight), no distance within 0.05 of its target: there the derivative jumps."""
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=2))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    distances = rng.uniform(0.3, 3, (*shape, 4))
    apart = rng.uniform(0.05, 1.5, distances.shape) * rng.choice([-1, 1], distances.shape)
    targets = np.where(distances + apart > 0.1, distances + apart, distances + abs(apart))
    return distances, targets, draw(st.sampled_from([None, rng.integers(0, 2, shape).astype(float), rng.random(shape)]))


@given(cases())
def test_gradient_and_purity(check_operation, drawn):
    distances, targets, weight = drawn
    kept = targets.copy()

    def loss(distances):
        """Of their sizes: the checks of the protocol also give it distances below 0."""
        of_dtype = [None if array is None else array.astype(distances.dtype) for array in (targets, weight)]
        loss, backward = giou_loss(abs(distances), *of_dtype, divisor=2)
        signs = np.sign(distances)
        return loss, lambda dloss: backward(dloss) * signs

    check_operation(loss, distances)
    np.testing.assert_array_equal(targets, kept)


def naive_giou(distances, targets):
    """Of two boxes around the origin, in coordinates."""
    a, b = ([-d[0], -d[1], d[2], d[3]] for d in (distances, targets))
    area = lambda box: (box[2] - box[0]) * (box[3] - box[1])  # noqa: E731
    inner = area([max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])])
    outer = area([min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])])
    union = area(a) + area(b) - inner
    return inner / union - (outer - union) / outer


@given(cases())
def test_naive_loop(drawn):
    distances, targets, weight = drawn
    pairs = [*zip(distances.reshape(-1, 4), targets.reshape(-1, 4), strict=True)]
    costs = np.array([1 - naive_giou(*pair) for pair in pairs])
    weights = np.ones(len(pairs)) if weight is None else weight.ravel()
    total = (costs * weights).sum()
    assert giou_loss(distances, targets, weight)[0] == pytest.approx(total / len(pairs), rel=1e-11, abs=1e-13)
    assert giou_loss(distances, targets, weight, 0.7)[0] == pytest.approx(total / 0.7, rel=1e-11, abs=1e-13)


@given(cases())
def test_pytorch(torch, drawn):
    """The same in coordinates and of PyTorch's parts, whose autograd has the derivative."""
    distances, targets, weight = drawn
    tensor = torch.tensor(distances, requires_grad=True)
    sign = torch.tensor([-1.0, -1, 1, 1], dtype=torch.float64)
    a, b = tensor * sign, torch.tensor(targets) * sign
    inner = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    outer = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - inner
    costs = 1 - (inner / union - (outer - union) / outer)
    theirs = (costs if weight is None else costs * torch.tensor(weight)).sum()
    theirs.backward(torch.tensor(1.3, dtype=torch.float64))
    loss, backward = giou_loss(distances, targets, weight, divisor=1)
    assert loss == pytest.approx(theirs.item(), rel=1e-11, abs=1e-13)
    np.testing.assert_allclose(backward(1.3), tensor.grad.numpy(), rtol=1e-10, atol=1e-13)


@given(cases())
def test_torchvision(torch, drawn):
    theirs = pytest.importorskip("torchvision").ops.generalized_box_iou_loss
    distances, targets, _ = drawn
    tensor = torch.tensor(distances.reshape(-1, 4), requires_grad=True)
    sign = torch.tensor([-1.0, -1, 1, 1], dtype=torch.float64)
    their_loss = theirs(tensor * sign, torch.tensor(targets.reshape(-1, 4)) * sign, reduction="mean")
    their_loss.backward()
    loss, backward = giou_loss(distances, targets)
    assert loss == pytest.approx(their_loss.item(), rel=1e-6)  # they add 1e-7 to what they divide by
    np.testing.assert_allclose(backward().reshape(-1, 4), tensor.grad.numpy(), rtol=1e-5, atol=1e-6)


@given(cases())
def test_a_box_that_fits_costs_nothing_and_is_left_alone(drawn):
    """At the kink both brackets are 1/2, and what they give cancels."""
    _, targets, _ = drawn
    loss, backward = giou_loss(targets, targets)
    assert loss == pytest.approx(0, abs=1e-15)
    np.testing.assert_allclose(backward(), 0, atol=1e-14)


def test_the_example_of_the_page():
    """A box one pixel too wide on the right: I 16, U 20, C 20."""
    distances, targets = np.array([[2.0, 2, 3, 2]]), np.array([[2.0, 2, 2, 2]])
    loss, backward = giou_loss(distances, targets)
    assert loss == pytest.approx(1 - 16 / 20)
    # l and t fit: 1/2 in both brackets.  r is too long: [r < r'] = 0, [r > r'] = 1
    gA, gC = 16 / 400 - 1 / 20, 20 / 400
    gI = -1 / 20 - gA
    across = np.array([4, 5, 4, 5])
    inner, outer = np.array([4, 4, 4, 4]), np.array([4, 5, 4, 5])
    below = np.array([0.5, 0.5, 0, 0.5])
    np.testing.assert_allclose(backward()[0], gA * across + gI * inner * below + gC * outer * (1 - below))
    assert backward()[0, 2] == pytest.approx(0.16)  # shorter is better


def test_weights_of_0_leave_a_pair_out():
    distances, targets = np.random.default_rng(0).uniform(1, 2, (2, 5, 4))
    weight = np.array([1.0, 0, 1, 0, 1])
    loss, backward = giou_loss(distances, targets, weight, divisor=3)
    alone, alone_backward = giou_loss(distances[::2], targets[::2])
    assert loss == pytest.approx(alone)
    np.testing.assert_allclose(backward()[::2], alone_backward())
    assert (backward()[1::2] == 0).all()


def test_dtype_follows_the_distances():
    distances = np.ones((2, 4), np.float32)
    for divisor in (None, 3, np.array(3), np.float64(3)):
        loss, backward = giou_loss(distances, distances * 2, divisor=divisor)
        assert loss.dtype == backward().dtype == np.float32
        assert loss.shape == ()


BOXES = np.ones((3, 4))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: giou_loss(BOXES, BOXES[:2]), r"distances have shape \(3, 4\), targets \(2, 4\)"),
        (lambda: giou_loss(BOXES[:, :3], BOXES[:, :3]), "distances have shape"),
        (lambda: giou_loss(BOXES, BOXES, np.ones(4)), r"weight has shape \(4,\), expected \(3,\)"),
        (lambda: giou_loss(-BOXES, BOXES), "a distance is below 0: the point must lie in both boxes"),
        (lambda: giou_loss(BOXES, -BOXES), "a distance is below 0"),
        (lambda: giou_loss(BOXES, 0 * BOXES), "a target's box is empty or NaN"),
        (lambda: giou_loss(BOXES, BOXES * np.nan), "a target's box is empty or NaN"),
        (lambda: giou_loss(BOXES[:0], BOXES[:0]), "empty batch"),
        (lambda: giou_loss(BOXES, BOXES.astype("f")), "arrays of different dtypes"),
        (lambda: giou_loss(BOXES, BOXES, divisor=-1.0), "divisor must be a number above 0, got -1.0"),
        (lambda: giou_loss(BOXES, BOXES)[1](np.ones(3)), "dloss has shape"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=rf"^giou_loss: {message}") as caught:
        make()
    assert "\n" not in str(caught.value)
