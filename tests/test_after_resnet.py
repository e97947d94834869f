"""The networks after ResNet: parameters counted, every number against PyTorch, gradients through their blocks."""

import numpy as np
import pytest
from networks_in_pytorch import (
    NO_WEIGHTS,
    assert_a_pass_agrees,
    normal,
    of_consequence,
    parameters,
    peer,
    with_the_arrays_of,
)

from minires import models, no_grad
from minires.gradcheck import gradcheck
from minires.layers import BatchNorm2d
from minires.models.blocks import Bottleneck
from minires.models.preact import PreActBlock, PreActBottleneck, PreActResNet
from minires.models.resnet_d import BottleneckD, deep_stem
from minires.models.resnext import CifarResNeXt, ResNeXt
from minires.models.rezero import ReZeroBlock
from minires.models.seresnet import SEBottleneck
from minires.models.staged import Staged, make_stages, make_stem

COUNTS = {
    "preact_resnet110": 1_730_522,
    "preact_resnet164": 1_703_258,
    "preact_resnet1001": 10_327_706,
    "wide_resnet28_10": 36_479_194,
    "wide_resnet50_2": 68_883_240,
    "resnext50_32x4d": 25_028_904,
    "resnext101_32x8d": 88_791_336,
    "resnext29_8x64d": 34_426_698,
    "seresnet50": 28_088_024,
    "resnet50d": 25_576_264,
    "rezero_resnet20": 269_731,
}
DEPTHS = {"preact_resnet110": 110, "preact_resnet164": 164, "preact_resnet1001": 1001, "resnext29_8x64d": 29}


def staged(block, channels=64, deep=False, blocks=(2, 1), expansion=4, small_input=True):
    """A network of two stages of such blocks."""
    rng = np.random.default_rng(0)
    stem = deep_stem(small_input, rng) if deep else make_stem(channels, small_input, rng)
    stages = make_stages(lambda *shape: block(*shape, rng), channels, (16, 32), blocks, expansion)
    return Staged(stem, stages, 32 * expansion, 5, rng, not small_input)


def rezero(in_channels, channels, stride, rng):
    return ReZeroBlock(in_channels, channels, stride, "A", rng)


NETWORKS = {  # ours, and how PyTorch's is made
    "preact": (lambda: PreActResNet(2, PreActBlock, 5, rng=0), lambda p: p.TorchPreAct(2, False, 5)),
    "preact, bottlenecks": (lambda: PreActResNet(2, PreActBottleneck, 5, rng=0), lambda p: p.TorchPreAct(2, True, 5)),
    "wide": (lambda: PreActResNet(1, PreActBlock, 5, width=2, rng=0), lambda p: p.TorchPreAct(1, False, 5, 2)),
    "resnext, CIFAR": (
        lambda: CifarResNeXt(1, 4, 8, 5, rng=0),
        lambda p: p.TorchStaged(p.Bottleneck, (1, 1, 1), (64, 64, 128, 256), 5, groups=4, base=8),
    ),
    "resnext50": (
        lambda: ResNeXt(50, 32, 4, 5, rng=0),
        lambda p: p.TorchStaged(
            p.Bottleneck, (3, 4, 6, 3), (64, 64, 128, 256, 512), 5, small_input=False, groups=32, base=4
        ),
    ),
    "SE": (
        lambda: staged(SEBottleneck),
        lambda p: p.TorchStaged(p.Bottleneck, (2, 1), (64, 16, 32), 5, se=True),
    ),
    "D": (
        lambda: staged(BottleneckD, deep=True, small_input=False),
        lambda p: p.TorchStaged(
            p.Bottleneck, (2, 1), (64, 16, 32), 5, small_input=False, deep_stem=True, mean=True
        ),
    ),
    "ReZero": (
        lambda: staged(rezero, channels=16, expansion=1),
        lambda p: p.TorchStaged(p.ReZero, (2, 1), (16, 16, 32), 5),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_pytorchs(torch, name):
    """Names and shapes; logits, dx, gradients and running statistics; in training and in inference."""
    make, make_theirs = NETWORKS[name]
    ours = of_consequence(make())
    theirs = with_the_arrays_of(ours, make_theirs(peer("torch_after")))
    size = 64 if name == "resnext50" else 32  # batch norm over few pixels makes much of rounding errors
    for training in (False, True):
        assert_a_pass_agrees(ours, theirs, normal(3, size + (name == "D"), size, 3), training)


@pytest.mark.parametrize("name", COUNTS)
def test_number_of_parameters(name):
    model = models.MODELS[name](rng=NO_WEIGHTS)
    assert parameters(model) == COUNTS[name]
    assert f"{COUNTS[name]:,} parameters" in models.MODELS[name].__doc__


@pytest.mark.parametrize("name", DEPTHS)
def test_depth_counts_the_layers_with_weights(name):
    kernels = [
        name for name, _ in models.MODELS[name](rng=0).named_parameters() if "conv" in name and "down" not in name
    ]
    assert len(kernels) + 1 == DEPTHS[name]


BLOCKS = {
    "PreActBlock": lambda rng: PreActBlock(3, 4, 2, rng),
    "PreActBlock, same shape": lambda rng: PreActBlock(3, 3, 1, rng),
    "PreActBottleneck": lambda rng: PreActBottleneck(3, 2, 2, rng),
    "grouped Bottleneck": lambda rng: Bottleneck(3, 2, 2, "torchvision", rng, width=4, groups=2),
    "SEBottleneck": lambda rng: SEBottleneck(3, 4, 2, rng),
    "BottleneckD": lambda rng: BottleneckD(3, 2, 2, rng),
    "ReZeroBlock": lambda rng: ReZeroBlock(3, 4, 2, "A", rng),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_gradients_of_a_block(name):
    block = of_consequence(BLOCKS[name](np.random.default_rng(0)))
    gradcheck(block, normal(2, 5, 4, 3))


def test_a_rezero_block_is_its_shortcut_at_first():
    block = ReZeroBlock(4, 4, 1, "A", 0)
    x = normal(2, 4, 4, 4).astype(np.float32)
    y, backward = block(x)
    np.testing.assert_array_equal(y, np.maximum(x, 0))
    dx = backward(np.ones_like(y))
    np.testing.assert_array_equal(dx, (x > 0).astype(np.float32))
    assert block.scale.weight.grad[0] != 0


def test_the_identity_reaches_through_a_whole_stage():
    """What pre-activation is for: with no weight in the last convolutions, a stage is the identity, and so is dx."""
    stage = PreActResNet(3, PreActBlock, rng=0).layer1
    for block in stage:
        block.conv2.weight.data[...] = 0
    x = normal(2, 4, 4, 16).astype(np.float32)
    y, backward = stage(x)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(backward(x), x)


@pytest.mark.parametrize("name", ["SE", "D", "ReZero", "resnext, CIFAR", "preact"])
def test_folded_it_gives_the_same(name):
    model = of_consequence(NETWORKS[name][0]()).eval()
    x = normal(2, 16, 16, 3)
    folded = models.fold(model)
    with no_grad():
        np.testing.assert_allclose(folded(x)[0], model(x)[0], rtol=1e-10, atol=1e-12)
    norms, left = (sum(isinstance(each, BatchNorm2d) for each in one.modules()) for one in (model, folded))
    after_no_convolution = {"preact": 7, "D": 1}.get(name, 0)  # each first, and the last; a stem of three
    assert norms > left == after_no_convolution


@pytest.mark.parametrize("name", ["resnext50_32x4d", "seresnet50", "resnet50d", "wide_resnet50_2"])
def test_feature_maps(name):
    model = models.MODELS[name](num_classes=3, small_input=True, return_features=True, rng=0)
    x = normal(1, 16, 16, 3).astype(np.float32)
    maps, backward = model(x)
    assert [y.shape for y in maps] == [(1, 16, 16, 256), (1, 8, 8, 512), (1, 4, 4, 1024), (1, 2, 2, 2048)]
    assert backward((None, None, None, np.ones_like(maps[3]))).shape == x.shape


def test_bad_input():
    for make, message in (
        (lambda: ResNeXt(34, 32, 4), "depth must be one of 50, 101, 152, got 34"),
        (lambda: ResNeXt(50, 0, 4), "groups must be at least 1, got 0"),
        (lambda: PreActResNet(0, PreActBlock), "n must be at least 1, got 0"),
        (lambda: models.MODELS["seresnet50"](num_classes=0), "num_classes must be at least 1, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
