"""The networks for ImageNet: parameters counted, names and every number against PyTorch, features, both variants.

The deeper ones against PyTorch: python benchmarks/parity.py --imagenet
"""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from minires.gradcheck import gradcheck
from minires.inspection.summary import summary
from minires.layers import BatchNorm2d, Conv2d
from minires.models import IMAGENET, ImageNetResNet, build, resnet18, resnet34, resnet50
from minires.models.imagenet import Bottleneck
from minires.modes import no_grad

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
COUNTS = {18: 11_689_512, 34: 21_797_672, 50: 25_557_032, 101: 44_549_160, 152: 60_192_808}
NETWORKS = {
    "resnet18": (18, {}),
    "resnet50": (50, {}),
    "resnet50, keras": (50, {"variant": "keras"}),
    "resnet50, v1": (50, {"variant": "v1"}),
    "resnet18, 3x3 and a max pool": (18, {"small_input": True, "maxpool": True}),
    "resnet18, 7x7 without one": (18, {"maxpool": False}),
}


def normal(*shape, seed=0):
    return np.random.default_rng([seed, 3]).standard_normal(shape)


def of_consequence(model, seed=1):
    """The model in float64 with running statistics, norms' weights and all biases that are neither 0 nor 1."""
    rng = np.random.default_rng(seed)
    for module in model.modules():
        if isinstance(module, BatchNorm2d):
            C = len(module.running_mean)
            module.running_mean, module.running_var = rng.normal(0, 0.3, C), rng.uniform(0.5, 2, C)
            module.weight.data, module.bias.data = rng.normal(1, 0.3, C), rng.normal(0, 0.3, C)
        if isinstance(module, Conv2d) and module.bias is not None:
            module.bias.data = rng.normal(0, 0.3, module.bias.shape)
    return model.to(np.float64)


# Against PyTorch -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def in_pytorch(torch):
    """in_pytorch(model, depth, options): PyTorch's network with the arrays of the model."""
    spec = importlib.util.spec_from_file_location("torch_imagenet", BENCHMARKS / "peers" / "torch_imagenet.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def make(model, depth, variant="torchvision", **options):
        options |= {"keras": variant == "keras", "v1": variant == "v1", "num_classes": len(model.fc.weight.data)}
        network = module.TorchImageNetResNet(depth, **options).double()
        state = {key: torch.tensor(array) for key, array in model.state_dict().items()}
        theirs = {key: value for key, value in network.state_dict().items() if "num_batches_tracked" not in key}
        assert [(key, value.shape) for key, value in theirs.items()] == [(key, a.shape) for key, a in state.items()]
        network.load_state_dict(state, strict=False)
        return network

    return make


def assert_close(ours, theirs, name):
    """To 1e-9 of the largest number, or of 1e-3: before batch norm a bias has no gradient but rounding errors."""
    theirs = theirs.detach().numpy()
    assert ours.shape == theirs.shape, name
    assert np.abs(ours - theirs).max() <= 1e-9 * max(np.abs(theirs).max(), 1e-3), name


def assert_gradients_agree(ours, theirs):
    for (name, parameter), their_parameter in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert (parameter.grad is None) == (their_parameter.grad is None), name
        if parameter.grad is not None:
            assert_close(parameter.grad, their_parameter.grad, name)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_pytorchs(torch, in_pytorch, name):
    """Names and shapes; logits, dx, gradients and running statistics; in training and in inference, folded and not."""
    depth, options = NETWORKS[name]
    x, dlogits = normal(2, 64, 64, 3), normal(2, 7, seed=1)
    ours = of_consequence(ImageNetResNet(depth, 7, rng=0, **options))
    theirs = in_pytorch(ours, depth, **options)
    for training in (False, True):
        ours.train(training).zero_grad()
        theirs.train(training).zero_grad()
        logits, backward = ours(x)
        dx = backward(dlogits)
        their_x = torch.tensor(x, requires_grad=True)
        their_logits = theirs(their_x.permute(0, 3, 1, 2))
        their_logits.backward(torch.tensor(dlogits))
        assert_close(logits, their_logits, "logits")
        assert_close(dx, their_x.grad, "dx")
        assert_gradients_agree(ours, theirs)
        if not training:
            with no_grad():
                assert_close(ours(x)[0], their_logits, "logits under no_grad()")
    their_buffers = dict(theirs.named_buffers())
    for key, array in ours.state_dict().items():
        if "running" in key:
            assert_close(array, their_buffers[key], key)


@pytest.mark.parametrize("given", [(0, 1, 2, 3), (0, 2)], ids=str)
def test_features_and_their_gradients_are_pytorchs(torch, in_pytorch, given):
    """With a gradient for some maps and None for the others; what lies behind the last of them receives none."""
    ours = of_consequence(small(return_features=True))
    theirs = in_pytorch(ours, 18, small_input=True)
    x = normal(2, 16, 16, 3)
    maps, backward = ours(x)
    their_x = torch.tensor(x, requires_grad=True)
    their_maps = theirs.features(their_x.permute(0, 3, 1, 2))
    dmaps = [normal(*y.shape, seed=k) if k in given else None for k, y in enumerate(maps)]
    for y, their_y in zip(maps, their_maps, strict=True):
        assert_close(y, their_y.permute(0, 2, 3, 1), "map")
    before = [None if dmap is None else dmap.copy() for dmap in dmaps]
    dx = backward(tuple(dmaps))
    sum((their_maps[k].permute(0, 2, 3, 1) * torch.tensor(dmaps[k])).sum() for k in given).backward()
    assert_close(dx, their_x.grad, "dx")
    assert_gradients_agree(ours, theirs)
    for k in given:
        np.testing.assert_array_equal(dmaps[k], before[k])


# Without PyTorch -------------------------------------------------------------------------------------------------


class Zeros(np.random.Generator):
    """Weights of zeros, where only their number matters: many millions of random ones take seconds."""

    def uniform(self, low, high, size):
        return np.zeros(size)

    def normal(self, mean, std, size):
        return np.zeros(size)


NO_WEIGHTS = Zeros(np.random.PCG64(0))


def small(rng=0, **options):
    return ImageNetResNet(18, 3, small_input=True, rng=rng, **options)


def parameters(model):
    return sum(parameter.size for parameter in model.parameters())


@pytest.mark.parametrize("make", IMAGENET)
def test_number_of_parameters(make):
    depth = int(make.__name__.removeprefix("resnet"))
    model = make(rng=NO_WEIGHTS)
    assert parameters(model) == COUNTS[depth]
    assert f"{COUNTS[depth]:,} parameters" in make.__doc__
    projections = 3 if depth < 50 else 4
    assert sum(isinstance(module, Conv2d) for module in model.modules()) + 1 == depth + projections


def test_number_of_parameters_of_the_variants():
    keras, small_input = resnet50(variant="keras", rng=NO_WEIGHTS), build("resnet18", small_input=True, rng=NO_WEIGHTS)
    assert parameters(keras) == 25_583_592  # trainable ones, as Keras's summary() says
    assert parameters(small_input) == COUNTS[18] - 64 * 3 * (49 - 9) - 990 * (512 + 1)


def test_initial_weights():
    model = ImageNetResNet(50, 1, variant="keras", rng=0)
    for name, module in model.named_modules():
        if isinstance(module, Conv2d):
            O, _, KH, KW = module.weight.shape
            assert module.weight.data.std() == pytest.approx(np.sqrt(2 / (O * KH * KW)), rel=0.05), name
            assert not module.bias.data.any()


def test_a_seed_fixes_the_weights():
    one, same, other = (small_input.state_dict() for small_input in (small(), small(), small(rng=1)))
    for key, array in one.items():
        np.testing.assert_array_equal(array, same[key])
    assert not np.array_equal(one["layer4.1.conv2.weight"], other["layer4.1.conv2.weight"])
    assert not np.array_equal(one["fc.weight"], other["fc.weight"])


@pytest.mark.parametrize("variant", ["torchvision", "keras"])
@pytest.mark.parametrize(("in_channels", "stride"), [(8, 1), (3, 1), (8, 2)])
def test_gradients_of_a_bottleneck(in_channels, stride, variant):
    block = of_consequence(Bottleneck(in_channels, 2, stride, variant, rng=0))
    assert block.changes_shape == (stride == 2 or in_channels == 3)
    gradcheck(block, normal(2, 5, 4, in_channels), max_elements=8, rtol=1e-5, atol=1e-7)


def test_a_lean_backward_pass_gives_the_same():
    x, dy = normal(2, 9, 9, 3), normal(2, 3, seed=1)
    usual, lean = of_consequence(small()), of_consequence(small())
    _, backward = usual(x)
    backward(dy)
    _, backward = lean(x, lean=True)
    assert backward(dy) is None
    for (name, one), other in zip(usual.named_parameters(), lean.parameters(), strict=True):
        np.testing.assert_allclose(other.grad, one.grad, rtol=1e-9, atol=1e-9, err_msg=name)


def test_sizes_of_the_maps():
    x = np.zeros((1, 64, 96, 3), np.float32)
    expected = [(1, 16, 24, 256), (1, 8, 12, 512), (1, 4, 6, 1024), (1, 2, 3, 2048)]
    for variant in ("torchvision", "keras"):
        maps, _ = resnet50(1, return_features=True, variant=variant, rng=NO_WEIGHTS)(x)
        assert [y.shape for y in maps] == expected
    maps, _ = small(return_features=True)(x[:, :15, :16])
    assert [y.shape for y in maps] == [(1, 15, 16, 64), (1, 8, 8, 128), (1, 4, 4, 256), (1, 2, 2, 512)]


def test_the_table_of_a_network():
    """Multiply-adds of one image as torchvision's documentation has them, in billions."""
    for name, giga in (("resnet18", 1.814), ("resnet50", 4.089)):
        *rows, last = summary(build(name, 1000, rng=NO_WEIGHTS), (224, 224, 3)).splitlines()
        assert round(int(last.split()[-1].replace(",", "")) / 1e9, 3) == giga
        assert rows[2].split()[:4] == ["conv1", "112", "x", "112"]
        assert any(row.startswith("layer4.1.conv2") for row in rows)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ImageNetResNet(20), "depth must be one of 18, 34, 50, 101, 152, got 20"),
        (lambda: resnet50(variant="caffe"), "unknown variant 'caffe': choose one of torchvision, keras, v1"),
        (lambda: resnet34(variant="v1"), "v1 has depths 50, 101, 152, got 34: use variant='torchvision'"),
        (lambda: resnet18(variant="keras"), "keras has depths 50, 101, 152, got 18: use variant='torchvision'"),
        (lambda: resnet18(num_classes=0), "num_classes must be at least 1, got 0"),
        (lambda: features_backward(None, None, None, None), "4 gradients.*got .None, None, None, None.: give at"),
        (lambda: features_backward(np.ones(2)), r"4 gradients, one for each of the maps, got \(\(2,\)\)"),
        (lambda: features_backward(np.ones((1, 1)), None, None, None), r"dy has shape \(1, 1\), y \(1, 16, 16, 64\)"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def features_backward(*dmaps):
    return small(NO_WEIGHTS, return_features=True)(np.ones((1, 16, 16, 3), np.float32))[1](dmaps)


@pytest.mark.parametrize("name", ["resnet8", "resnet18"])
def test_eps_is_every_batch_norms(torch, name):
    """Against PyTorch's batch norm on the last one's input, and everywhere by its attribute."""
    model = of_consequence(build(name, 3, eps=1e-2, rng=0)).eval()
    norms = [module for module in model.modules() if isinstance(module, BatchNorm2d)]
    assert {norm.eps for norm in norms} == {1e-2} and len(norms) > 6
    x, norm = normal(2, 4, 4, len(norms[0].weight.data)), norms[0]
    arrays = (norm.running_mean, norm.running_var, norm.weight.data, norm.bias.data)
    theirs = torch.nn.functional.batch_norm(torch.tensor(x).permute(0, 3, 1, 2), *map(torch.tensor, arrays), eps=1e-2)
    np.testing.assert_allclose(norm(x)[0], theirs.relu().permute(0, 2, 3, 1).numpy(), rtol=1e-12, atol=1e-12)
    assert {m.eps for m in build(name, 3, rng=0).modules() if isinstance(m, BatchNorm2d)} == {1e-5}
