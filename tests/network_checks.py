"""What every network is checked for against its twin in PyTorch."""

import importlib.util
from pathlib import Path

import numpy as np

from minires.layers import BatchNorm2d, Conv2d, Scale

PEERS = Path(__file__).resolve().parents[1] / "benchmarks" / "peers"


def peer(name):
    """benchmarks/peers/NAME.py"""
    spec = importlib.util.spec_from_file_location(name, PEERS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parameters(model):
    """How many numbers a model learns."""
    return sum(parameter.size for parameter in model.parameters())


def normal(*shape, seed=0):
    return np.random.default_rng([seed, 3]).standard_normal(shape)


def of_consequence(model, seed=1):
    """The model in float64, with no statistic, weight of a norm, bias or scale that is 0 or 1."""
    rng = np.random.default_rng(seed)
    for module in model.modules():
        if isinstance(module, BatchNorm2d):
            C = len(module.running_mean)
            module.running_mean, module.running_var = rng.normal(0, 0.3, C), rng.uniform(0.5, 2, C)
            module.weight.data, module.bias.data = rng.normal(1, 0.3, C), rng.normal(0, 0.3, C)
        if isinstance(module, Conv2d) and module.bias is not None:
            module.bias.data = rng.normal(0, 0.3, module.bias.shape)
        if isinstance(module, Scale):
            module.weight.data = rng.normal(0.5, 0.1, module.weight.shape)
    return model.to(np.float64)


def load(torch, network, model):
    """PyTorch's network in float64 with the arrays of the model, of which it must have all, and none besides."""
    state = {key: torch.tensor(array) for key, array in model.state_dict().items()}
    theirs = {key: value for key, value in network.state_dict().items() if "num_batches_tracked" not in key}
    assert {key: value.shape for key, value in theirs.items()} == {key: a.shape for key, a in state.items()}
    network.double().load_state_dict(state, strict=False)
    return network


def assert_close(ours, theirs, name):
    """To 1e-9 of the largest number, or of 1e-3: before batch norm a bias has no gradient but rounding errors."""
    theirs = theirs.detach().numpy()
    assert ours.shape == theirs.shape, name
    assert np.abs(ours - theirs).max() <= 1e-9 * max(np.abs(theirs).max(), 1e-3), name


def assert_agree(torch, ours, theirs, x):
    """Logits, dx, every gradient and the running statistics, in inference and in training."""
    for training in (False, True):
        ours.train(training).zero_grad()
        theirs.train(training).zero_grad()
        logits, backward = ours(x)
        dlogits = normal(*logits.shape, seed=1)
        dx = backward(dlogits)
        their_x = torch.tensor(x, requires_grad=True)
        their_logits = theirs(their_x.permute(0, 3, 1, 2))
        their_logits.backward(torch.tensor(dlogits))
        assert_close(logits, their_logits, "logits")
        assert_close(dx, their_x.grad, "dx")
        their_parameters = dict(theirs.named_parameters())
        for name, parameter in ours.named_parameters():
            assert_close(parameter.grad, their_parameters[name].grad, name)
    their_buffers = dict(theirs.named_buffers())
    for key, array in ours.state_dict().items():
        if "running" in key:
            assert_close(array, their_buffers[key], key)
