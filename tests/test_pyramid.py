"""FeaturePyramid: by hand, differences, and a torch definition of it."""

import numpy as np
import pytest

from minires.detection import FeaturePyramid
from minires.gradcheck import gradcheck


def make(channels=(3, 2, 4), out=5):
    pyramid = FeaturePyramid(channels, out, rng=0).to(np.float64)
    rng = np.random.default_rng(1)
    maps = [rng.standard_normal((2, 8 >> k, 6 >> k, C)) for k, C in enumerate(channels)]
    return pyramid, maps


def as_one(pyramid):
    """The pyramid as a function of its maps that gives all of its levels in one array."""

    def function(*maps):
        levels, backward = pyramid(maps)
        ends = np.cumsum([level.size for level in levels])[:-1]

        def backward_of_one(dy):
            parts = np.split(dy, ends)
            return backward([part.reshape(level.shape) for part, level in zip(parts, levels, strict=True)])

        return np.concatenate([level.ravel() for level in levels]), backward_of_one

    return function


@pytest.mark.parametrize("channels", [(3,), (3, 2), (3, 2, 4)])
def test_gradients_of_the_maps(channels):
    pyramid, maps = make(channels)
    gradcheck(as_one(pyramid), *maps)


def test_sums_of_gradients_by_hand():
    """1x1 maps of one channel, every weight 1: a map reaches its own level and all finer ones, so its gradient is
    the sum of theirs.
    """
    pyramid = FeaturePyramid((1, 1, 1), 1, rng=0).to(np.float64)
    for parameter in pyramid.parameters():
        parameter.data = np.zeros_like(parameter.data)
        if parameter.data.ndim == 4:
            parameter.data[..., parameter.shape[2] // 2, parameter.shape[3] // 2] = 1
    levels, backward = pyramid([np.full((1, 1, 1, 1), value) for value in (1.0, 10.0, 100.0)])
    assert [level.item() for level in levels] == [111, 110, 100]
    dmaps = backward([np.full((1, 1, 1, 1), value) for value in (1.0, 2.0, 4.0)])
    assert [dmap.item() for dmap in dmaps] == [1, 1 + 2, 1 + 2 + 4]


def test_pytorch(torch):
    pyramid, maps = make()
    levels, backward = pyramid(maps)
    dlevels = [np.random.default_rng(2).standard_normal(level.shape) for level in levels]
    dmaps = backward(dlevels)
    weights = {name: torch.tensor(array, requires_grad=True) for name, array in pyramid.state_dict().items()}
    tensors = [torch.tensor(m.transpose(0, 3, 1, 2), requires_grad=True) for m in maps]

    def conv(x, name, padding=0):
        return torch.nn.functional.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=padding)

    merged = [conv(x, f"lateral.{k}") for k, x in enumerate(tensors)]
    for k in (1, 0):
        size = merged[k].shape[2:]
        merged[k] = merged[k] + torch.nn.functional.interpolate(merged[k + 1], size=size, mode="bilinear")
    theirs = [conv(x, f"output.{k}", padding=1) for k, x in enumerate(merged)]
    total = sum((level * torch.tensor(d.transpose(0, 3, 1, 2))).sum() for level, d in zip(theirs, dlevels, strict=True))
    total.backward()
    for level, expected in zip(levels, theirs, strict=True):
        np.testing.assert_allclose(level, expected.detach().numpy().transpose(0, 2, 3, 1), rtol=1e-9, atol=1e-12)
    for dmap, tensor in zip(dmaps, tensors, strict=True):
        np.testing.assert_allclose(dmap, tensor.grad.numpy().transpose(0, 2, 3, 1), rtol=1e-9, atol=1e-12)
    for name, parameter in pyramid.named_parameters():
        np.testing.assert_allclose(parameter.grad, weights[name].grad.numpy(), rtol=1e-9, atol=1e-12, err_msg=name)


def test_maps_must_be_as_many():
    pyramid, maps = make()
    with pytest.raises(ValueError, match=r"^FeaturePyramid: 2 maps, it is built for 3: give as many$"):
        pyramid(maps[:2])
