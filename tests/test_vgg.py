"""VGG: parameters counted, names and every number against PyTorch, features, seeds, and the order of its flattening.

Of full size, against torchvision: python benchmarks/families_parity.py --only vgg
"""

import re

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
from minires.layers import BatchNorm2d, Conv2d, Dropout, Linear
from minires.models import VGG, fold, vgg, vgg11, vgg16_bn
from minires.models.blocks import flatten_channels_first
from minires.protocol import check_protocol

COUNTS = {  # torchvision's documentation has the same
    "vgg11": 132_863_336,
    "vgg13": 133_047_848,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "vgg11_bn": 132_868_840,
    "vgg13_bn": 133_053_736,
    "vgg16_bn": 138_365_992,
    "vgg19_bn": 143_678_248,
}


@pytest.mark.parametrize("name", COUNTS)
def test_number_of_parameters(name):
    model = getattr(models, name)(rng=NO_WEIGHTS)
    assert parameters(model) == COUNTS[name]
    assert f"{COUNTS[name]:,} parameters" in getattr(models, name).__doc__ and f"{COUNTS[name]:,}" in vgg.__doc__
    layers = sum(isinstance(module, (Conv2d, Linear)) for module in model.modules())
    assert layers == int(re.search(r"\d+", name)[0])
    assert any(isinstance(module, BatchNorm2d) for module in model.modules()) == name.endswith("_bn")


def test_number_of_parameters_for_small_images():
    features = COUNTS["vgg16_bn"] - (512 * 49 + 1) * 4096 - 4097 * 4096 - 4097 * 1000
    assert parameters(vgg16_bn(10, small_input=True, rng=NO_WEIGHTS)) == features + 513 * 10 == 14_728_266


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("batch_norm", [False, True], ids=["plain", "bn"])
def test_a_small_one_is_pytorchs(torch, batch_norm, training):
    ours = of_consequence(VGG(11, 5, batch_norm, small_input=True, rng=0))
    theirs = peer("torch_vgg").TorchVGG(11, 5, batch_norm, small_input=True)
    assert_a_pass_agrees(ours, with_the_arrays_of(ours, theirs), normal(2, 32, 32, 3), training)


@pytest.mark.parametrize("size", [(32, 32), (64, 96)], ids=str)
def test_the_classifier_reads_its_inputs_in_pytorchs_order(torch, monkeypatch, size):
    """With hidden layers of 8 numbers; the means of 7x7 parts of 1x1 and 2x3 pixels."""
    monkeypatch.setattr(vgg, "HIDDEN", 8)
    ours = of_consequence(VGG(11, 5, rng=0))
    theirs = with_the_arrays_of(ours, peer("torch_vgg").TorchVGG(11, 5, hidden=8))
    assert_a_pass_agrees(ours, theirs, normal(2, *size, 3), training=True)


@pytest.mark.parametrize("depth", [13, 16, 19])
def test_the_deeper_ones_have_pytorchs_names(torch, depth):
    for batch_norm in (False, True):
        with torch.device("meta"):
            theirs = peer("torch_vgg").TorchVGG(depth, 3, batch_norm, small_input=True)
        assert_same_names(VGG(depth, 3, batch_norm, small_input=True, rng=NO_WEIGHTS), theirs)


@pytest.mark.parametrize("given", [(0, 1, 2, 3, 4), (1, 3)], ids=str)
def test_features_and_their_gradients_are_pytorchs(torch, given):
    ours = of_consequence(VGG(11, 3, True, small_input=True, return_features=True, rng=0))
    theirs = with_the_arrays_of(ours, peer("torch_vgg").TorchVGG(11, 3, True, small_input=True))
    assert_maps_agree(ours, theirs, normal(2, 32, 32, 3), given)


def test_sizes_of_the_maps():
    maps, backward = vgg11(3, small_input=True, return_features=True, rng=NO_WEIGHTS)(np.zeros((1, 32, 48, 3), "f"))
    sizes = [(1, 32, 48, 64), (1, 16, 24, 128), (1, 8, 12, 256), (1, 4, 6, 512), (1, 2, 3, 512)]
    assert [y.shape for y in maps] == sizes
    with pytest.raises(
        ValueError, match=r"VGG: backward takes 5 gradients, one for each of the maps, got \(None, None\): give"
    ):
        backward((None, None))


def test_flattening_turns_the_axes_back():
    x = normal(2, 3, 4, 5)
    gradcheck(flatten_channels_first, x)
    check_protocol(flatten_channels_first, x)
    y, _ = flatten_channels_first(x)
    assert y[1, (2 * 3 + 1) * 4 + 3] == x[1, 1, 3, 2]
    with pytest.raises(ValueError, match=r"flatten_channels_first: x must have shape \(N, H, W, C\), got \(2, 3\)"):
        flatten_channels_first(x[0, 0, :2, :3])


def test_initial_weights(monkeypatch):
    monkeypatch.setattr(vgg, "HIDDEN", 64)
    model = vgg11(50, rng=0)
    for name, module in model.named_modules():
        if isinstance(module, Conv2d):
            O, _, KH, KW = module.weight.shape
            assert module.weight.data.std() == pytest.approx(np.sqrt(2 / (O * KH * KW)), rel=0.05), name
        if isinstance(module, Linear):
            assert module.weight.data.std() == pytest.approx(0.01, rel=0.05), name
        if isinstance(module, (Conv2d, Linear)):
            assert not module.bias.data.any()


def test_a_seed_fixes_the_weights_and_what_dropout_drops(monkeypatch):
    assert_a_seed_fixes_the_weights(lambda rng: vgg11(3, small_input=True, rng=rng))
    monkeypatch.setattr(vgg, "HIDDEN", 16)
    x = normal(2, 32, 32, 3).astype("f")
    one, same = vgg11(3, rng=0), vgg11(3, rng=0)
    first, second = one(x)[0], one(x)[0]
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal([same(x)[0], same(x)[0]], [first, second])
    seeds = [module.rng.random() for module in one.modules() if isinstance(module, Dropout)]
    assert len(set(seeds)) == 2
    np.testing.assert_array_equal(one.eval()(x)[0], one(x)[0])


def test_lean():
    assert_a_lean_pass_gives_the_same(VGG(11, 3, True, small_input=True, rng=0), normal(2, 32, 32, 3))


def test_frozen_features():
    model, x = VGG(11, 3, True, small_input=True, rng=0), normal(2, 32, 32, 3).astype("f")
    model.features.freeze()
    before = model.features.state_dict()
    y, backward = model(x, lean=True)
    assert backward(np.ones_like(y)) is None
    assert all(parameter.grad is None for parameter in model.features.parameters())
    assert model.classifier.weight.grad is not None
    for key, array in model.features.state_dict().items():
        np.testing.assert_array_equal(array, before[key])


def test_folded():
    model, x = of_consequence(VGG(11, 3, True, small_input=True, rng=0)).eval(), normal(2, 32, 32, 3)
    folded = fold(model)
    assert not any(isinstance(module, BatchNorm2d) for module in folded.modules())
    np.testing.assert_allclose(folded(x)[0], model(x)[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: VGG(12), "VGG: depth must be one of 11, 13, 16, 19, got 12"),
        (lambda: VGG(11, 0), "VGG: num_classes must be at least 1, got 0"),
        (
            lambda: vgg11(3, True, rng=NO_WEIGHTS)(np.zeros((1, 8, 8, 3), "f")),
            "VGG: images of 8x8 pixels, it needs",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
