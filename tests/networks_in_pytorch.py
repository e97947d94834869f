"""A network of ours and the same in PyTorch: one pass of both, number by number."""

import importlib.util
from pathlib import Path

import numpy as np

from minires.layers import BatchNorm2d, Conv2d, Dropout, Linear, Scale

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


def assert_close(ours, theirs, name):
    """To 1e-9 of the largest number, or of 1e-3: before batch norm a bias has no gradient but rounding errors."""
    theirs = theirs.detach().numpy()
    assert ours.shape == theirs.shape, name
    assert np.abs(ours - theirs).max() <= 1e-9 * max(np.abs(theirs).max(), 1e-3), name


def of_consequence(model, seed=1):
    """The model in float64 without dropout, in which no statistic, weight or bias is one that says nothing.

    Weights are such that numbers keep their size from layer to layer.
    """
    rng = np.random.default_rng(seed)
    for module in model.modules():
        if isinstance(module, BatchNorm2d):
            C = len(module.running_mean)
            module.running_mean, module.running_var = rng.normal(0, 0.3, C), rng.uniform(0.5, 2, C)
            module.weight.data, module.bias.data = rng.normal(1, 0.3, C), rng.normal(0, 0.3, C)
        if isinstance(module, (Conv2d, Linear)):
            shape = module.weight.shape
            module.weight.data = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
            if module.bias is not None:
                module.bias.data = rng.normal(0, 0.3, module.bias.shape)
        if isinstance(module, Scale):
            module.weight.data = rng.normal(0.5, 0.1, module.weight.shape)
        if isinstance(module, Dropout):
            module.p = 0.0
    return model.to(np.float64)


def assert_same_names(model, network):
    """The names of their states, the shapes and the order are the same."""
    theirs = {key: value for key, value in network.state_dict().items() if "num_batches_tracked" not in key}
    ours = model.state_dict()
    assert [(key, tuple(value.shape)) for key, value in theirs.items()] == [(key, a.shape) for key, a in ours.items()]


def with_the_arrays_of(model, network):
    """The PyTorch network, in float64 and without dropout, with the model's arrays, which it and then ours takes."""
    import torch

    assert_same_names(model, network)
    state = {key: torch.tensor(array) for key, array in model.state_dict().items()}
    network.load_state_dict(state | {key: v for key, v in network.state_dict().items() if key not in state})
    model.load_state_dict({key: value.numpy() for key, value in network.state_dict().items()})
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return network.double()


def assert_gradients_agree(ours, theirs):
    names = [name for name, _ in theirs.named_parameters()]
    assert [name for name, _ in ours.named_parameters()] == names
    for (name, parameter), their_parameter in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert (parameter.grad is None) == (their_parameter.grad is None), name
        if parameter.grad is not None:
            assert_close(parameter.grad, their_parameter.grad, name)


def assert_a_pass_agrees(ours, theirs, x, training):
    """Logits, of all heads, dx, every gradient, and the running statistics."""
    import torch

    ours.train(training).zero_grad()
    theirs.train(training).zero_grad()
    y, backward = ours(x)
    their_x = torch.tensor(x, requires_grad=True)
    their_y = theirs(their_x.permute(0, 3, 1, 2))
    heads, their_heads = (y, their_y) if isinstance(y, tuple) else ((y,), (their_y,))
    dheads = [normal(*head.shape, seed=1 + number) for number, head in enumerate(heads)]
    dx = backward(tuple(dheads) if isinstance(y, tuple) else dheads[0])
    torch.autograd.backward(their_heads, [torch.tensor(dhead) for dhead in dheads])
    for head, their_head in zip(heads, their_heads, strict=True):
        assert_close(head, their_head, "logits")
    assert_close(dx, their_x.grad, "dx")
    assert_gradients_agree(ours, theirs)
    their_buffers = dict(theirs.named_buffers())
    for key, array in ours.state_dict().items():
        if "running" in key:
            assert_close(array, their_buffers[key], key)


def assert_maps_agree(ours, theirs, x, given):
    """The maps of return_features, and the gradients where only the maps of `given` have one."""
    import torch

    maps, backward = ours(x)
    their_x = torch.tensor(x, requires_grad=True)
    their_maps = theirs.maps(their_x.permute(0, 3, 1, 2))
    for y, their_y in zip(maps, their_maps, strict=True):
        assert_close(y, their_y.permute(0, 2, 3, 1), "map")
    dmaps = [normal(*y.shape, seed=k) if k in given else None for k, y in enumerate(maps)]
    dx = backward(tuple(dmaps))
    sum((their_maps[k].permute(0, 2, 3, 1) * torch.tensor(dmaps[k])).sum() for k in given).backward()
    assert_close(dx, their_x.grad, "dx")
    assert_gradients_agree(ours, theirs)


class Zeros(np.random.Generator):
    """Weights of zeros, where only their number matters: many millions of random ones take seconds."""

    def uniform(self, low, high, size):
        return np.zeros(size)

    def normal(self, mean, std, size):
        return np.zeros(size)


NO_WEIGHTS = Zeros(np.random.PCG64(0))


def assert_a_seed_fixes_the_weights(make):
    one, same, other = (make(rng=seed).state_dict() for seed in (0, 0, 1))
    for key, array in one.items():
        np.testing.assert_array_equal(array, same[key])
        if key.endswith("weight") and array.ndim > 1:
            assert not np.array_equal(array, other[key]), key


def assert_a_lean_pass_gives_the_same(model, x):
    """The same gradients, and no dx."""
    of_consequence(model)
    y, backward = model(x)
    dy = tuple(normal(*head.shape) for head in y) if isinstance(y, tuple) else normal(*y.shape)
    backward(dy)
    usual = [(name, parameter.grad) for name, parameter in model.named_parameters()]
    model.zero_grad()
    _, backward = model(x, lean=True)
    assert backward(dy) is None
    for (name, gradient), parameter in zip(usual, model.parameters(), strict=True):
        scale = np.abs(gradient).max()
        np.testing.assert_allclose(parameter.grad, gradient, rtol=1e-9, atol=1e-9 * scale, err_msg=name)
