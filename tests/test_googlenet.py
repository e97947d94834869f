"""GoogLeNet: parameters counted, names and every number against PyTorch, its three heads, features, seeds.

Of full size, against torchvision: python benchmarks/families_parity.py --only googlenet
"""

import numpy as np
import pytest
from networks_in_pytorch import (
    NO_WEIGHTS,
    assert_a_lean_pass_gives_the_same,
    assert_a_pass_agrees,
    assert_a_seed_fixes_the_weights,
    assert_maps_agree,
    normal,
    of_consequence,
    parameters,
    peer,
    with_the_arrays_of,
)

from minires.gradcheck import gradcheck
from minires.layers import BatchNorm2d, Conv2d, Linear
from minires.models import GoogLeNet, fold, googlenet
from minires.models.branches import side_by_side
from minires.models.googlenet import Inception

COUNT, WITH_HEADS = 6_624_904, 13_004_888  # the first in torchvision's documentation, too


def test_number_of_parameters():
    assert parameters(googlenet(rng=NO_WEIGHTS)) == COUNT
    assert parameters(googlenet(aux_logits=True, rng=NO_WEIGHTS)) == WITH_HEADS
    assert f"{COUNT:,} parameters, {WITH_HEADS:,}" in googlenet.__doc__


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize(
    ("small_input", "heads", "size"), [(False, False, 64), (False, True, 75), (True, True, 16)], ids=str
)
def test_it_is_pytorchs(torch, small_input, heads, size, training):
    """75 pixels leave windows of the max pools that reach over the border, 64 too."""
    ours = of_consequence(googlenet(5, small_input, rng=0, aux_logits=heads))
    theirs = with_the_arrays_of(ours, peer("torch_googlenet").TorchGoogLeNet(5, small_input, heads))
    assert_a_pass_agrees(ours, theirs, normal(2, size, size, 3), training)


@pytest.mark.parametrize("given", [(0, 1, 2, 3, 4), (2,)], ids=str)
def test_features_and_their_gradients_are_pytorchs(torch, given):
    ours = of_consequence(googlenet(3, return_features=True, rng=0))
    theirs = with_the_arrays_of(ours, peer("torch_googlenet").TorchGoogLeNet(3))
    assert_maps_agree(ours, theirs, normal(2, 64, 64, 3), given)


def test_sizes_of_the_maps():
    x = np.zeros((1, 64, 96, 3), "f")
    maps, _ = googlenet(1, return_features=True, rng=NO_WEIGHTS)(x)
    sizes = [(1, 32, 48, 64), (1, 16, 24, 192), (1, 8, 12, 480), (1, 4, 6, 832), (1, 2, 3, 1024)]
    assert [y.shape for y in maps] == sizes
    maps, _ = googlenet(1, small_input=True, return_features=True, rng=NO_WEIGHTS)(x[:, :32, :32])
    assert [y.shape[1] for y in maps] == [32, 32, 32, 16, 8]


def test_gradients_of_a_module():
    module = of_consequence(Inception(3, 2, 2, 3, 2, 2, 1, rng=0))
    y, _ = module(normal(2, 5, 4, 3))
    assert y.shape == (2, 5, 4, 8)
    gradcheck(module, normal(2, 5, 4, 3), max_elements=8, rtol=1e-5, atol=1e-7)


def test_branches_side_by_side():
    """y = [2 x, x^2, x]: dx = 2 dy1 + 2 x dy2 + dy3."""

    def twice(x):
        return 2 * x, lambda dy: 2 * dy

    def square(x):
        return x * x, lambda dy: 2 * x * dy

    def same(x):
        return x.copy(), lambda dy: dy

    x, dy = normal(2, 3, 2), normal(2, 3, 6, seed=1)
    y, backward = side_by_side((twice, square, same), x)
    np.testing.assert_array_equal(y, np.concatenate([2 * x, x * x, x], axis=-1))
    before = dy.copy()
    np.testing.assert_allclose(backward(dy), 2 * dy[..., :2] + 2 * x * dy[..., 2:4] + dy[..., 4:], rtol=1e-14)
    np.testing.assert_array_equal(dy, before)


def test_heads_speak_in_training_alone():
    model, x = googlenet(4, small_input=True, aux_logits=True, rng=0), normal(2, 16, 16, 3).astype("f")
    heads, backward = model(x)
    assert [head.shape for head in heads] == [(2, 4)] * 3 == [(2, 4)] * len(GoogLeNet.head_weights)
    assert backward(tuple(map(np.ones_like, heads))).shape == x.shape
    assert model.eval()(x)[0].shape == (2, 4)
    assert fold(model)(x)[0].shape == (2, 4)


def test_initial_weights():
    model = googlenet(100, aux_logits=True, rng=0)
    for name, module in model.named_modules():
        if isinstance(module, (Conv2d, Linear)):
            assert module.weight.data.std() == pytest.approx(0.01, rel=0.1), name
        if isinstance(module, BatchNorm2d):
            assert module.eps == 0.001


def test_a_seed_fixes_the_weights():
    assert_a_seed_fixes_the_weights(lambda rng: googlenet(3, rng=rng, aux_logits=True))


@pytest.mark.parametrize("heads", [False, True])
def test_lean(heads):
    model = googlenet(3, small_input=True, rng=0, aux_logits=heads)
    assert_a_lean_pass_gives_the_same(model, normal(2, 16, 16, 3))


@pytest.mark.parametrize("heads", [False, True])
def test_frozen_parts(heads):
    """A frozen beginning: no gradients there, those of the rest as ever."""
    model = of_consequence(googlenet(3, small_input=True, rng=0, aux_logits=heads))
    x, frozen = normal(2, 16, 16, 3), (model.conv1, model.conv2, model.conv3, model.inception3a)
    for module in frozen:
        module.freeze()
    found = []
    for lean in (False, True):
        model.zero_grad()
        y, backward = model(x, lean=lean)
        backward(tuple(normal(*head.shape) for head in y) if heads else normal(*y.shape))
        assert all(parameter.grad is None for module in frozen for parameter in module.parameters())
        found.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys() and len(found[0]) > 100
    for name, gradient in found[0].items():
        np.testing.assert_allclose(found[1][name], gradient, rtol=1e-9, atol=1e-9 * np.abs(gradient).max())


def test_folded():
    model, x = of_consequence(googlenet(3, small_input=True, rng=0)).eval(), normal(2, 16, 16, 3)
    folded = fold(model)
    assert not any(isinstance(module, BatchNorm2d) for module in folded.modules())
    np.testing.assert_allclose(folded(x)[0], model(x)[0], rtol=1e-9, atol=1e-9)


def test_bad_input():
    with pytest.raises(ValueError, match="GoogLeNet: num_classes must be at least 1, got 0"):
        googlenet(0)
    _, backward = googlenet(2, small_input=True, return_features=True, rng=NO_WEIGHTS)(np.zeros((1, 16, 16, 3), "f"))
    with pytest.raises(
        ValueError, match=r"GoogLeNet: backward takes 5 gradients, .* got \(None, None, None, None, None\)"
    ):
        backward((None,) * 5)
