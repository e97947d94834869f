"""Inception v3: parameters counted, names and every number against PyTorch, its two heads, features, seeds.

Of full size, against torchvision: python benchmarks/families_parity.py --only inception
"""

import numpy as np
import pytest
from networks_in_pytorch import (
    NO_WEIGHTS,
    assert_a_pass_agrees,
    assert_a_seed_fixes_the_weights,
    assert_maps_agree,
    normal,
    of_consequence,
    parameters,
    peer,
    with_the_arrays_of,
)

from minires import models
from minires.gradcheck import gradcheck
from minires.layers import BatchNorm2d, Conv2d
from minires.models import InceptionV3, fold, inception_v3
from minires.models.inception_blocks import InceptionB, InceptionE

COUNT, WITH_HEAD = 23_834_568, 27_161_264  # the second in torchvision's documentation, too
SIZE = 107  # leaves 2x2 pixels, of two images eight values a channel, which batch norm can tell apart


def with_a_padded_head(model, torch=None):
    """Its extra head for small images: no pooling, and a 5x5 convolution with a border of two."""
    head = model.AuxLogits
    if torch is None:
        head.pool.kernel_size = head.pool.stride = 1
        head.conv1.conv.padding = 2
    else:
        head.pool = torch.nn.Identity()
        head.conv1.conv.padding = (2, 2)
    return model


def test_number_of_parameters():
    assert parameters(inception_v3(rng=NO_WEIGHTS)) == COUNT
    assert parameters(inception_v3(aux_logits=True, rng=NO_WEIGHTS)) == WITH_HEAD
    assert f"{COUNT:,} parameters, {WITH_HEAD:,}" in inception_v3.__doc__


def test_it_is_pytorchs(torch):
    """In training, with its extra head."""
    ours = of_consequence(inception_v3(5, rng=0, aux_logits=True))
    theirs = with_the_arrays_of(ours, peer("torch_inception").TorchInceptionV3(5, head=True))
    assert_a_pass_agrees(with_a_padded_head(ours), with_a_padded_head(theirs, torch), normal(2, SIZE, SIZE, 3), True)


def test_the_extra_head_is_pytorchs(torch):
    """On 17x17 pixels, as it is meant."""
    from minires.models.inception_v3 import ExtraHead

    ours = of_consequence(ExtraHead(768, 3, np.random.default_rng(0)))
    theirs = with_the_arrays_of(ours, peer("torch_inception").Head(3))
    assert_a_pass_agrees(ours, theirs, normal(3, 17, 17, 768), training=False)


def test_features_and_their_gradients_are_pytorchs(torch):
    """In inference."""
    ours = of_consequence(inception_v3(3, return_features=True, rng=0)).eval()
    theirs = with_the_arrays_of(ours, peer("torch_inception").TorchInceptionV3(3)).eval()
    assert_maps_agree(ours, theirs, normal(1, 75, 75, 3), (0, 2, 4))


def test_sizes_of_the_maps():
    maps, _ = inception_v3(1, return_features=True, rng=NO_WEIGHTS)(np.zeros((1, 299, 299, 3), "f"))
    sizes = [(1, 147, 147, 64), (1, 71, 71, 192), (1, 35, 35, 288), (1, 17, 17, 768), (1, 8, 8, 2048)]
    assert [y.shape for y in maps] == sizes


@pytest.mark.parametrize(("make", "size"), [(InceptionB, 5), (InceptionE, 2)])
def test_gradients_of_a_module(make, size):
    """Of x alone: their parameters have the gradients of PyTorch's."""
    module = of_consequence(make(2, np.random.default_rng(0))).freeze()
    gradcheck(lambda x: module(x), normal(2, size, size, 2), max_elements=8, rtol=1e-5, atol=1e-7)


def test_heads_speak_in_training_alone():
    model, x = with_a_padded_head(inception_v3(4, aux_logits=True, rng=0)), normal(2, 75, 75, 3).astype("f")
    heads, backward = model(x)
    assert [head.shape for head in heads] == [(2, 4)] * 2 == [(2, 4)] * len(InceptionV3.head_weights)
    assert backward(tuple(map(np.ones_like, heads))).shape == x.shape
    assert model.eval()(x)[0].shape == (2, 4)


def test_initial_weights():
    model = inception_v3(100, aux_logits=True, rng=0)
    for name, module in model.named_modules():
        if isinstance(module, Conv2d):
            assert module.weight.data.std() == pytest.approx(0.1, rel=0.1), name
        if isinstance(module, BatchNorm2d):
            assert module.eps == 0.001
    assert model.fc.weight.data.std() == pytest.approx(0.1, rel=0.05)
    assert model.AuxLogits.fc.weight.data.std() == pytest.approx(0.001, rel=0.05)


def test_a_seed_fixes_the_weights():
    assert_a_seed_fixes_the_weights(lambda rng: inception_v3(3, rng=rng))


def test_folded():
    for make in (InceptionB, InceptionE):
        module, x = of_consequence(make(2, np.random.default_rng(0))).eval(), normal(1, 5, 5, 2)
        folded = fold(module)
        assert not any(isinstance(inner, BatchNorm2d) for inner in folded.modules())
        np.testing.assert_allclose(folded(x)[0], module(x)[0], rtol=1e-9, atol=1e-9)


def test_bad_input():
    with pytest.raises(ValueError, match="InceptionV3: num_classes must be at least 1, got 0"):
        inception_v3(0)


def test_all_other_networks_take_32x32():
    """By what they say of themselves; that they do is tested with each of them."""
    of_each_kind = ("inception_v3", "googlenet", "vgg11", "densenet_bc100", "resnet8", "simple_cnn")
    networks = {name: models.build(name, 10, rng=NO_WEIGHTS, small_input=True) for name in of_each_kind}
    least = {name: getattr(model, "least_size", 1) for name, model in networks.items()}
    assert {name: size for name, size in least.items() if size > 32} == models.LEAST_SIZES
