"""DenseNet: parameters counted, names and every number against PyTorch, features, seeds.

Of full size, against torchvision: python benchmarks/families_parity.py --only densenet
"""

import numpy as np
import pytest
from networks_in_pytorch import (
    NO_WEIGHTS,
    assert_a_lean_pass_gives_the_same,
    assert_a_pass_agrees,
    assert_a_seed_fixes_the_weights,
    assert_maps_agree,
    assert_same_names,
    normal,
    of_consequence,
    parameters,
    peer,
    with_the_arrays_of,
)

from minires import models
from minires.gradcheck import gradcheck
from minires.layers import BatchNorm2d, Conv2d
from minires.models import DenseNet, densenet, densenet121, densenet_bc100, fold
from minires.models.densenet import DenseLayer
from minires.sequential import Sequential

COUNTS = {121: 7_978_856, 161: 28_681_000, 169: 14_149_480, 201: 20_013_928}  # as in torchvision's documentation
SMALL = {"blocks": (2, 1, 2, 1), "k": 4, "channels": 6, "num_classes": 5}


def small(rng=0, **options):
    return DenseNet(**SMALL, rng=rng, **options)


@pytest.mark.parametrize("depth", COUNTS)
def test_number_of_parameters(depth):
    make = getattr(models, f"densenet{depth}")
    model = make(rng=NO_WEIGHTS)
    assert parameters(model) == COUNTS[depth]
    assert f"{COUNTS[depth]:,} parameters" in make.__doc__ and f"{COUNTS[depth]:,}" in densenet.__doc__
    assert sum(isinstance(module, Conv2d) for module in model.modules()) + 1 == depth


def test_number_of_parameters_for_small_images():
    model = densenet_bc100(rng=NO_WEIGHTS)
    assert parameters(model) == 769_162  # Huang et al. 2017, table 2: 0.8M
    assert "769,162 parameters" in densenet_bc100.__doc__
    assert sum(isinstance(module, Conv2d) for module in model.modules()) + 1 == 100
    stem = 64 * 3 * (49 - 9) + 2 * 64
    assert parameters(densenet121(small_input=True, rng=NO_WEIGHTS)) == COUNTS[121] - stem


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize(("small_input", "size"), [(False, 64), (True, 16)], ids=str)
def test_it_is_pytorchs(torch, small_input, size, training):
    ours = of_consequence(small(small_input=small_input))
    theirs = with_the_arrays_of(ours, peer("torch_densenet").TorchDenseNet(**SMALL, small_input=small_input))
    assert_a_pass_agrees(ours, theirs, normal(2, size, size, 3), training)


@pytest.mark.parametrize("depth", [121, 161, 169, 201])
def test_the_large_ones_have_pytorchs_names(torch, depth):
    options = {161: {"k": 48, "channels": 96}}.get(depth, {})
    blocks = {121: (6, 12, 24, 16), 161: (6, 12, 36, 24), 169: (6, 12, 32, 32), 201: (6, 12, 48, 32)}[depth]
    with torch.device("meta"):
        theirs = peer("torch_densenet").TorchDenseNet(blocks, num_classes=3, **options)
    assert_same_names(getattr(models, f"densenet{depth}")(3, rng=NO_WEIGHTS), theirs)


@pytest.mark.parametrize("given", [(0, 1, 2, 3), (1,)], ids=str)
def test_features_and_their_gradients_are_pytorchs(torch, given):
    ours = of_consequence(small(return_features=True))
    theirs = with_the_arrays_of(ours, peer("torch_densenet").TorchDenseNet(**SMALL))
    assert_maps_agree(ours, theirs, normal(2, 64, 64, 3), given)


def test_sizes_of_the_maps():
    maps, _ = densenet121(1, return_features=True, rng=NO_WEIGHTS)(np.zeros((1, 64, 96, 3), "f"))
    assert [y.shape for y in maps] == [(1, 16, 24, 256), (1, 8, 12, 512), (1, 4, 6, 1024), (1, 2, 3, 1024)]
    maps, _ = densenet_bc100(1, return_features=True, rng=NO_WEIGHTS)(np.zeros((1, 32, 32, 3), "f"))
    assert [y.shape for y in maps] == [(1, 32, 32, 216), (1, 16, 16, 300), (1, 8, 8, 342)]


def test_a_layer_keeps_what_is_there_and_adds_to_it():
    layer, x = of_consequence(DenseLayer(3, 2, np.random.default_rng(0))), normal(2, 4, 5, 3)
    y, _ = layer(x)
    assert y.shape == (2, 4, 5, 5)
    np.testing.assert_array_equal(y[..., :3], x)
    gradcheck(layer, x, max_elements=20, rtol=1e-5, atol=1e-7)


def test_the_gradient_of_a_map_is_the_sum_over_all_later_layers():
    """Three layers, each taken alone: what comes back for x are four terms."""
    rng = np.random.default_rng(0)
    layers = [of_consequence(DenseLayer(3 + 2 * i, 2, rng), seed=i).eval() for i in range(3)]
    x, dy = normal(2, 4, 4, 3), normal(2, 4, 4, 9, seed=1)
    _, backward = Sequential(*layers)(x)
    inputs = [x, layers[0](x)[0]]
    inputs.append(layers[1](inputs[1])[0])
    dmaps = [dy[..., :3], dy[..., 3:5], dy[..., 5:7], dy[..., 7:]]
    for i in (2, 1, 0):  # what layer i wants of each of the maps that it sees
        alone = np.concatenate([np.zeros_like(inputs[i]), dmaps[i + 1]], axis=-1)
        wanted = layers[i](inputs[i])[1](alone)
        ends = [0, 3, 5, 7][: i + 2]
        for number in range(i + 1):
            dmaps[number] = dmaps[number] + wanted[..., ends[number] : ends[number + 1]]
    np.testing.assert_allclose(backward(dy), dmaps[0], rtol=1e-10, atol=1e-12)


def test_initial_weights():
    model = DenseNet((2, 2), 16, 32, 50, rng=0)
    for name, module in model.named_modules():
        if isinstance(module, Conv2d):
            _, C, KH, KW = module.weight.shape
            assert module.weight.data.std() == pytest.approx(np.sqrt(2 / (C * KH * KW)), rel=0.1), name
    assert not model.classifier.bias.data.any()


def test_a_seed_fixes_the_weights():
    assert_a_seed_fixes_the_weights(small)


@pytest.mark.parametrize("small_input", [False, True])
def test_lean(small_input):
    assert_a_lean_pass_gives_the_same(small(small_input=small_input), normal(2, 32, 32, 3))


def test_frozen_features():
    model, x = small(small_input=True), normal(2, 16, 16, 3).astype("f")
    model.features.freeze()
    before = model.features.state_dict()
    y, backward = model(x, lean=True)
    assert backward(np.ones_like(y)) is None
    assert all(parameter.grad is None for parameter in model.features.parameters())
    assert model.classifier.weight.grad is not None
    for key, array in model.features.state_dict().items():
        np.testing.assert_array_equal(array, before[key])


def test_folded():
    """What follows a convolution is folded away: norm0, and norm2 of every layer."""
    model, x = of_consequence(small()).eval(), normal(2, 32, 32, 3)
    folded = fold(model)
    left = [name for name, module in folded.named_modules() if isinstance(module, BatchNorm2d)]
    assert left and all(name.endswith((".norm1", ".norm", "norm5")) for name in left)
    np.testing.assert_allclose(folded(x)[0], model(x)[0], rtol=1e-9, atol=1e-9)


def test_bad_input():
    for options in ({"k": 0}, {"channels": 0}, {"num_classes": 0}):
        name = next(iter(options))
        with pytest.raises(ValueError, match=f"DenseNet: {name} must be at least 1, got 0"):
            DenseNet(**options)
    _, backward = small(return_features=True)(np.zeros((2, 64, 64, 3), "f"))
    with pytest.raises(
        ValueError, match=r"DenseNet: backward takes 4 gradients, one for each of the maps, got \(None, None\): "
    ):
        backward((None, None))
