"""The networks: parameters counted independently, shapes, seeds, and gradients through a whole network."""

import numpy as np
import pytest
from networks_in_pytorch import NO_WEIGHTS

from minires.gradcheck import gradcheck
from minires.layers import BatchNorm2d, Conv2d, conv2d
from minires.models import IMAGENET, MODELS, PLAIN, RESNETS, ResNet, build, options_of, simple_cnn
from minires.models.blocks import BasicBlock
from minires.modes import no_grad

COUNTS = {8: 75_290, 20: 269_722, 32: 464_154, 44: 658_586, 56: 853_018, 110: 1_727_962}


def count(depth, shortcut, num_classes=10):
    """Parameters of a 6n + 2 network: weights of 3x3 convolutions, two numbers a channel for each norm, fc."""
    n = (depth - 2) // 6
    total = 3 * 16 * 9 + 2 * 16
    for inside, outside in ((16, 16), (16, 32), (32, 64)):
        total += inside * outside * 9 + (2 * n - 1) * outside * outside * 9 + 2 * n * 2 * outside
        if shortcut == "B" and inside != outside:
            total += inside * outside + 2 * outside
    return total + 64 * num_classes + num_classes


def parameters(model):
    return sum(parameter.size for parameter in model.parameters())


@pytest.mark.parametrize("depth", COUNTS)
def test_number_of_parameters(depth):
    assert count(depth, "A") == COUNTS[depth]
    assert parameters(build(f"resnet{depth}")) == COUNTS[depth]
    assert parameters(build(f"plain{depth}")) == COUNTS[depth]
    assert parameters(build(f"resnet{depth}", shortcut="B")) == count(depth, "B")


def test_number_of_parameters_of_simple_cnn():
    assert parameters(simple_cnn()) == 3 * 32 * 9 + 32 + 32 * 64 * 9 + 64 + 6 * 6 * 64 * 10 + 10 == 42_442
    assert parameters(simple_cnn(image_size=28)) == 3 * 32 * 9 + 32 + 32 * 64 * 9 + 64 + 5 * 5 * 64 * 10 + 10


@pytest.mark.parametrize("depth", COUNTS)
def test_depth_counts_the_layers_with_weights(depth):
    model = ResNet(depth)
    assert sum(isinstance(module, Conv2d) for module in model.modules()) + 1 == depth


@pytest.mark.parametrize("num_classes", [1, 7, 100])
def test_number_of_classes_is_free(num_classes):
    x = np.zeros((2, 32, 32, 3), np.float32)
    for name, shortcut in (("resnet8", "A"), ("resnet8", "B"), ("plain8", "A"), ("simple_cnn", "A")):
        model = build(name, num_classes, shortcut)
        assert model(x)[0].shape == (2, num_classes)
    assert parameters(build("resnet20", num_classes)) == count(20, "A", num_classes)


@pytest.mark.parametrize("name", ["resnet8", "plain8", "simple_cnn"])
def test_a_seed_fixes_the_weights(name):
    def weights(rng):
        return np.concatenate([p.data.ravel() for p in build(name, rng=rng).parameters()])

    np.testing.assert_array_equal(weights(3), weights(3))
    np.testing.assert_array_equal(weights(3), weights(np.random.default_rng(3)))
    assert not np.array_equal(weights(3), weights(4))


def test_initial_convolutions_have_the_papers_variance():
    for name, module in ResNet(20, rng=0).named_modules():
        if isinstance(module, Conv2d):
            O, _, KH, KW = module.weight.shape
            assert module.weight.data.std() == pytest.approx(np.sqrt(2 / (O * KH * KW)), rel=0.1), name
            assert module.bias is None
            assert module.weight.data.dtype == np.float32


@pytest.mark.parametrize("shape", [(1, 32, 32, 3), (2, 8, 8, 3), (1, 11, 7, 3), (3, 5, 5, 3)])
@pytest.mark.parametrize("shortcut", ["A", "A-end", "B"])
def test_odd_sizes_and_a_batch_of_one(shape, shortcut):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    model = ResNet(8, shortcut=shortcut, rng=0)
    y, backward = model(x)
    assert y.shape == (shape[0], 10)
    assert y.dtype == np.float32
    assert backward(y).shape == shape
    assert all(parameter.grad.shape == parameter.shape for parameter in model.parameters())


@pytest.mark.parametrize("shortcut", ["A", "A-end", "B", "none"])
@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
def test_gradients_of_a_whole_network(shortcut, training):
    model = ResNet(8, num_classes=3, shortcut=shortcut, rng=0).train(training)
    x = np.random.default_rng(1).standard_normal((2, 6, 6, 3))
    gradcheck(model, x, max_elements=3, eps=1e-7, rtol=1e-4, atol=1e-6)


def test_gradients_of_simple_cnn():
    x = np.random.default_rng(1).standard_normal((2, 11, 11, 3))
    gradcheck(simple_cnn(3, rng=0, image_size=11), x, max_elements=4, rtol=1e-5, atol=1e-7)


def trained(shortcut, dtype):
    """A resnet8 or its plain twin in inference, whose statistics, weights and biases are all of some consequence."""
    model, rng = ResNet(8, shortcut=shortcut, rng=0), np.random.default_rng(1)
    for _, module in model.named_modules():
        if isinstance(module, BatchNorm2d):
            C = len(module.running_mean)
            module.running_mean, module.running_var = rng.normal(0, 0.3, C), rng.uniform(0.5, 2, C)
            module.weight.data, module.bias.data = rng.normal(1, 0.3, C), rng.normal(0, 0.3, C)
    return model.to(dtype).eval()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shortcut", ["A", "A-end", "B", "none"])
def test_inference_without_gradients_is_inference(shortcut, dtype):
    """Under no_grad() a network may compute in another order; it changes nothing, neither x nor the model."""
    model, x = trained(shortcut, dtype), np.random.default_rng(0).standard_normal((3, 10, 9, 3)).astype(dtype)
    before, x_before = model.state_dict(), x.copy()
    expected, _ = model(x)
    tolerance = 1e-4 if dtype == np.float32 else 1e-11
    with no_grad():
        for _ in range(2):
            y, _ = model(x)
            assert y.dtype == dtype
            np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(x, x_before)
    for key, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[key])


@pytest.mark.parametrize("shortcut", ["A", "A-end", "B", "none"])
def test_training_without_gradients_is_training(shortcut):
    """The batch's statistics, and the running ones moved."""
    x = np.random.default_rng(0).standard_normal((3, 10, 9, 3))
    model, other = (trained(shortcut, np.float64).train() for _ in "12")
    expected, _ = model(x)
    with no_grad():
        y, _ = other(x)
    np.testing.assert_array_equal(y, expected)
    for key, array in other.state_dict().items():
        np.testing.assert_array_equal(array, model.state_dict()[key])


@pytest.mark.parametrize(("shortcut", "stride"), [("A", 1), ("A", 2), ("B", 1), ("B", 2), ("none", 1), ("none", 2)])
def test_gradients_of_a_block(shortcut, stride):
    block = BasicBlock(2, 2 * stride, stride, shortcut, rng=0)
    gradcheck(block, np.random.default_rng(1).standard_normal((2, 5, 4, 2)), max_elements=20, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_block_of_zeros_passes_its_shortcut_on(stride):
    """With its last norm at 0, a block is relu(shortcut(x)); its plain twin is 0."""
    x = np.random.default_rng(0).standard_normal((2, 5, 4, 2)).astype(np.float32)
    for shortcut in ("A", "none"):
        block = BasicBlock(2, 2 * stride, stride, shortcut, rng=0)
        block.bn2.weight.data[:] = 0
        expected = np.zeros((2, -(-5 // stride), -(-4 // stride), 2 * stride))
        if shortcut == "A":
            expected[..., stride - 1 : stride + 1] = np.maximum(x[:, ::stride, ::stride], 0)
        np.testing.assert_allclose(block(x)[0], expected, atol=1e-6)


def test_a_network_of_such_blocks_is_its_first_and_last_layers():
    """relu(conv1(x)), every fourth pixel, in the middle 16 of 64 channels, averaged, and fc."""
    model = ResNet(20, rng=0).eval().to(np.float64)
    for layer in (model.layer1, model.layer2, model.layer3):
        for _, block in layer.children():
            block.bn2.weight.data[:] = 0
    x = np.random.default_rng(0).standard_normal((2, 9, 8, 3))
    first = np.maximum(conv2d(x, model.conv1.weight.data, padding=1)[0] / np.sqrt(1 + 1e-5), 0)
    features = np.zeros((2, 64))
    features[:, 24:40] = first[:, ::4, ::4].mean(axis=(1, 2))
    expected = features @ model.fc.weight.data.T + model.fc.bias.data
    np.testing.assert_allclose(model(x)[0], expected, rtol=1e-6, atol=1e-8)


def test_the_names():
    assert list(MODELS)[:18] == [
        *(f"resnet{depth}" for depth in COUNTS),
        *(f"plain{depth}" for depth in COUNTS),
        "simple_cnn",
        *(f"resnet{depth}" for depth in (18, 34, 50, 101, 152)),
    ]
    assert [function.__name__ for function in IMAGENET] == list(MODELS)[13:18]
    assert len(RESNETS) == len(PLAIN) == len(COUNTS)
    for depth in COUNTS:
        assert f"{COUNTS[depth]:,} parameters" in MODELS[f"resnet{depth}"].__doc__


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("resnet-20", "resnet20"), ("ResNet20", "resnet20"), ("simplecnn", "simple_cnn"), ("plain", "plain8")],
)
def test_unknown_name(name, nearest):
    near = f"unknown model '{name}': did you mean {nearest!r}.*choose one of .*{nearest}, .* and \\d+ more"
    with pytest.raises(ValueError, match=near):
        build(name)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ResNet(18), r"depth must be 6n \+ 2 \(8, 14, 20, ...\), got 18"),
        (lambda: ResNet(2), r"depth must be 6n \+ 2 .*, got 2"),
        (lambda: ResNet(20, shortcut="C"), "unknown shortcut 'C': choose one of A, B, none"),
        (lambda: build("resnet20", shortcut="a"), "unknown shortcut 'a'"),
        (lambda: ResNet(20, num_classes=0), "num_classes must be at least 1, got 0"),
        (lambda: simple_cnn(image_size=9), "image_size must be at least 10, got 9"),
        (lambda: ResNet(8)(np.zeros((1, 8, 8, 1), np.float32)), "conv2d: 1 input channels, weight expects 3"),
        (lambda: ResNet(8)(np.zeros((1, 8, 8, 3), np.uint8)), "different dtypes.*float32, uint8"),
        (lambda: ResNet(8)(np.zeros((1, 8, 8, 3))), "different dtypes.*float32, float64"),
        (lambda: ResNet(8)(np.zeros((0, 8, 8, 3), np.float32)), "empty batch"),
        (lambda: ResNet(8)(np.zeros((1, 4, 4, 3), np.float32)), "at least two values a channel"),
        (
            lambda: simple_cnn()(np.zeros((1, 28, 28, 3), np.float32)),
            r"linear: x \(1, 1600\) and weight \(10, 2304\) do not fit",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_options_that_a_network_takes():
    assert options_of("resnet20") == options_of("resnet26") == {
        "num_classes": 10, "shortcut": "A", "rng": None, "return_features": False,
    }  # fmt: skip
    assert options_of("vgg16")["num_classes"] == 1000 and "shortcut" not in options_of("vgg16")
    with pytest.raises(ValueError, match=r"unknown model 'resnet21': did you mean 'resnet20'\?"):
        options_of("resnet21")


@pytest.mark.parametrize(
    ("name", "small_input", "least"),
    [
        ("vgg11", False, 32), ("vgg11", True, 32), ("googlenet", False, 15), ("googlenet", True, 2),
        ("inception_v3", False, 75), ("densenet121", False, 29), ("densenet121", True, 8), ("densenet_bc100", False, 4),
    ],
)  # fmt: skip
def test_images_that_are_too_small_are_refused_in_the_networks_name(name, small_input, least):
    """And the smallest that are not work."""
    model = build(name, 2, small_input=small_input, rng=0).eval()
    message = rf"^{type(model).__name__}: images of {least - 1}x{least + 1} pixels, it needs at least {least}x{least}: "
    with no_grad():
        with pytest.raises(ValueError, match=message):
            model(np.zeros((1, least - 1, least + 1, 3), np.float32))
        assert model(np.zeros((1, least, least, 3), np.float32))[0].shape == (1, 2)


@pytest.mark.parametrize("name", ["vgg11", "googlenet", "inception_v3", "densenet121", "densenet_bc100", "resnet8"])
def test_channels_first_are_named_and_not_called_small(name):
    x = np.zeros((2, 3, 224, 32), np.float32)
    model = build(name, 2, rng=NO_WEIGHTS).eval()
    with pytest.raises(ValueError, match=r"x has shape \(2, 3, 224, 32\), it takes .* x.transpose\(|32 input channels"):
        model(x)
    if name != "resnet8":
        with pytest.raises(ValueError, match=r"images of 3x3 pixels"):
            model(x[:, :, :3, :3])


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("resnet8", 16), ("plain8", 16), ("rezero_resnet20", 16), ("preact_resnet110", 16), ("preact_resnet164", 64),
    ],
)  # fmt: skip
def test_the_maps_of_a_network_for_small_images(name, channels):
    """They halve and double; from the last follow the logits, and its gradient leads to the same dx."""
    model = MODELS[name](3, rng=0, return_features=True).eval()
    x = np.random.default_rng(0).standard_normal((1, 8, 8, 3)).astype(np.float32)
    maps, maps_backward = model(x)
    assert [y.shape[1:] for y in maps] == [(8 // k, 8 // k, k * channels) for k in (1, 2, 4)]
    model.return_features = False
    logits, backward = model(x)
    mean, mean_backward = model.avgpool(maps[2])
    y, fc_backward = model.fc(mean)
    np.testing.assert_array_equal(y, logits)
    dx = maps_backward((None, None, mean_backward(fc_backward(np.ones_like(y)))))
    np.testing.assert_array_equal(dx, backward(np.ones_like(y)))


@pytest.mark.parametrize("name", sorted(set(MODELS) - {"simple_cnn"}))
def test_every_network_but_the_smallest_gives_its_maps(name):
    assert options_of(name)["return_features"] is False
