"""The networks for ImageNet: parameters counted, names and every number against PyTorch, features, both variants.

The deeper ones against PyTorch: python benchmarks/parity.py --imagenet
"""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from minires.gradcheck import gradcheck
from minires.layers import BatchNorm2d, Conv2d
from minires.models import IMAGENET, ImageNetResNet, build, resnet18, resnet50
from minires.models.imagenet import Bottleneck
from minires.module import lean_backward, no_grad
from minires.summary import summary

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
COUNTS = {18: 11_689_512, 34: 21_797_672, 50: 25_557_032, 101: 44_549_160, 152: 60_192_808}
NETWORKS = {
    "resnet18": (18, {}),
    "resnet18, small input": (18, {"small_input": True}),
    "resnet50": (50, {}),
    "resnet50, keras": (50, {"variant": "keras"}),
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
    spec = importlib.util.spec_from_file_location("torch_imagenet", BENCHMARKS / "torch_imagenet.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def make(model, depth, variant="torchvision", **options):
        options |= {"keras": variant == "keras", "num_classes": len(model.fc.weight.data)}
        network = module.TorchImageNetResNet(depth, **options).double()
        state = {key: torch.tensor(array) for key, array in model.state_dict().items()}
        theirs = {key: value for key, value in network.state_dict().items() if "num_batches_tracked" not in key}
        assert [(key, value.shape) for key, value in theirs.items()] == [(key, a.shape) for key, a in state.items()]
        network.load_state_dict(state, strict=False)
        return network

    return make


def assert_close(ours, theirs, name):
    theirs = theirs.detach().numpy()
    assert ours.shape == theirs.shape, name
    assert np.abs(ours - theirs).max() <= 1e-9 * np.abs(theirs).max(), name


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_pytorchs(torch, in_pytorch, name):
    """Names and shapes; logits, dx, gradients and running statistics; in training and in inference, folded and not."""
    depth, options = NETWORKS[name]
    size = 17 if options.get("small_input") else 64
    x, dlogits = normal(2, size, size, 3), normal(2, 7, seed=1)
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
        for (key, parameter), their_parameter in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            if not (training and options.get("variant") and key.endswith(("conv1.bias", "conv2.bias", "conv3.bias", "0.bias"))):
                assert_close(parameter.grad, their_parameter.grad, key)
        if not training:
            with no_grad():
                assert_close(ours(x)[0], their_logits, "logits under no_grad()")
    for key, array in ours.state_dict().items():
        assert_close(array, theirs.state_dict()[key], key)
