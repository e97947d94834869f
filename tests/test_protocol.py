"""The protocol holds for everybody: what a user writes trains on the gradients that gradcheck saw."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minires import Module, Sequential
from minires.gradcheck import gradcheck
from minires.layers import BatchNorm2d, BatchNormReLU2d, Conv2d, GlobalAvgPool2d, Linear, ReLU, Tanh, add, concat
from minires.losses import cross_entropy
from minires.models import resnet18
from minires.models.blocks import BasicBlock, Bottleneck
from minires.optim import SGD
from minires.training import train_step

LABELS = np.array([0, 2, 1])


def images(size, channels=3, dtype=np.float64):
    return np.random.default_rng(0).standard_normal((len(LABELS), size, size, channels)).astype(dtype)


def gradients_in_training(model, x):
    """{name: gradient} that train_step leaves; with a learning rate of 0, so that the model stays as it is."""
    train_step(model, SGD(model.parameters(), lr=0.0), x, LABELS)
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def plain_gradients(model, x):
    """The same by the plain protocol."""
    model.zero_grad()
    logits, backward = model(x)
    backward(cross_entropy(logits, LABELS)[1]())
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def assert_trains_on_its_gradients(model, x):
    plain, training = plain_gradients(model, x), gradients_in_training(model, x)
    for name, gradient in plain.items():
        if gradient is None:
            assert training[name] is None, name
        else:
            scale = np.abs(gradient).max() + 1e-9  # a bias before batch norm has a gradient of 0 and rounding
            np.testing.assert_allclose(training[name], gradient, rtol=0, atol=1e-9 * scale, err_msg=name)


class ConvThenTail(Module):
    """A network as docs/protocol.md teaches it: a layer, then a Sequential that begins with one without parameters."""

    def __init__(self):
        self.conv1 = Conv2d(3, 4, 3, padding=1, rng=0)
        self.tail = Sequential(ReLU(), Conv2d(4, 5, 3, rng=1), GlobalAvgPool2d(), Linear(5, 3, rng=2))

    def forward(self, x):
        y, conv1_backward = self.conv1(x)
        y, tail_backward = self.tail(y)
        return y, lambda dy: conv1_backward(tail_backward(dy))


class PreActivation(Module):
    """y = x + conv2(relu(bn2(conv1(relu(bn1(x))))))   (He et al. 2016, figure 4e)."""

    def __init__(self, channels, rng):
        self.bn1 = BatchNorm2d(channels)
        self.rest = Sequential(
            ReLU(),
            Conv2d(channels, channels, 3, padding=1, rng=rng),
            BatchNormReLU2d(channels),
            Conv2d(channels, channels, 3, padding=1, rng=rng),
        )

    def forward(self, x):
        y, bn1_backward = self.bn1(x)
        y, rest_backward = self.rest(y)
        y, add_backward = add(x, y)

        def backward(dy):
            dx, dy = add_backward(dy)
            return dx + bn1_backward(rest_backward(dy))

        return y, backward


class TestGradientsThatWereWrong:
    def test_a_layer_and_a_tail_without_parameters_first(self):
        model = ConvThenTail().to(np.float64)
        assert_trains_on_its_gradients(model, images(6))
        gradcheck(model, images(6), max_elements=20)

    def test_a_pre_activation_block_within_a_sequential(self):
        blocks = Sequential(PreActivation(3, 0), PreActivation(3, 1), GlobalAvgPool2d(), Linear(3, 3, rng=2))
        assert_trains_on_its_gradients(blocks.to(np.float64), images(5))

    @pytest.mark.parametrize(
        "frozen", [["layer1"], ["conv1", "bn1", "layer1", "layer2.0.downsample"], ["layer2.0.conv1"], ["layer4"]]
    )
    def test_feature_maps_with_parts_frozen(self, frozen):
        model = resnet18(num_classes=3, small_input=True, return_features=True, rng=0).to(np.float64)
        x, modules = images(8), dict(model.named_modules())
        for name in frozen:
            modules[name].freeze()
        weights = [np.random.default_rng(k).standard_normal(y.shape) for k, y in enumerate(model(x)[0])]

        class Sum(Module):
            """Logits from weighted sums of all maps, so that train_step can be asked."""

            def __init__(self):
                self.model = model

            def forward(self, x):
                maps, backward = self.model(x)
                y = np.stack([sum((w * m)[n].sum() for w, m in zip(weights, maps, strict=True)) for n in range(len(x))])

                def logits_backward(dy):
                    return backward([w * dy.sum(axis=1)[:, None, None, None] for w in weights])

                return np.stack([y, 2 * y, 0 * y], axis=1) / 1000, lambda dy: logits_backward(dy * [1e-3, 2e-3, 0])

        assert_trains_on_its_gradients(Sum(), x)

    def test_a_subclass_with_a_forward_of_its_own(self):
        class Scaled(type(resnet18(num_classes=3, small_input=True))):
            def forward(self, x):
                y, backward = super().forward(2 * x)
                return y, lambda dy: 2 * backward(dy)

        assert_trains_on_its_gradients(Scaled(18, 3, small_input=True, rng=0).to(np.float64), images(8))


# Modules drawn from a small grammar ----------------------------------------------------------------------------------


class Fork(Module):
    """y = f(x) + g(x), or both side by side along the channels."""

    def __init__(self, f, g, join):
        self.f, self.g, self.join = f, g, join

    def forward(self, x):
        f, f_backward = self.f(x)
        g, g_backward = self.g(x)
        y, join_backward = self.join(f, g)

        def backward(dy):
            df, dg = join_backward(dy)
            return f_backward(df) + g_backward(dg)

        return y, backward


class Twice(Module):
    """y = f(f(x)): one module, used twice."""

    def __init__(self, f):
        self.f = f

    def forward(self, x):
        y, first_backward = self.f(x)
        y, second_backward = self.f(y)
        return y, lambda dy: first_backward(second_backward(dy))


class Around(Module):
    """y = g(f(x)), chained by hand."""

    def __init__(self, f, g):
        self.f, self.g = f, g

    def forward(self, x):
        y, f_backward = self.f(x)
        y, g_backward = self.g(y)
        return y, lambda dy: f_backward(g_backward(dy))


C = 2  # channels between any two modules
LEAVES = {
    "conv": lambda: Conv2d(C, C, 3, padding=1, rng=3),
    "conv 1x1": lambda: Conv2d(C, C, 1, bias=False, rng=4),
    "norm": lambda: BatchNorm2d(C),
    "norm relu": lambda: BatchNormReLU2d(C),
    "relu": ReLU,
    "tanh": Tanh,
    "block": lambda: BasicBlock(C, C, 1, "B", np.random.default_rng(5)),
    "bottleneck": lambda: Bottleneck(C, 1, 1, "torchvision", np.random.default_rng(6)),
}


def _joined(f, g, narrow):
    return Sequential(Fork(f, g, concat), narrow)


def _module(name):
    module = LEAVES[name]()
    return Sequential(module, Conv2d(4, C, 1, rng=7)) if name == "bottleneck" else module


leaves = st.sampled_from(sorted(LEAVES)).map(_module)


def _larger(inner):
    return st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: Sequential(*parts)),
        inner.map(lambda part: Sequential(ReLU(), part)),
        st.tuples(inner, inner).map(lambda parts: Fork(*parts, add)),
        st.tuples(inner, inner).map(lambda parts: _joined(*parts, Conv2d(2 * C, C, 1, rng=8))),
        inner.map(Twice),
        st.tuples(inner, inner).map(lambda parts: Around(*parts)),
        inner.map(lambda part: part.freeze()),
    )


bodies = st.recursive(leaves, _larger, max_leaves=6)


@given(bodies, st.booleans())
def test_lean_and_plain_give_the_same_gradients_and_both_are_right(body, whole):
    """Whether the network is a Sequential, which knows of lean backward passes, or one written by hand."""
    head = Sequential(GlobalAvgPool2d(), Linear(C, 3, rng=9))
    model = (Sequential(body, head) if whole else Around(body, head)).to(np.float64)
    rng = np.random.default_rng(10)
    for parameter in model.parameters():
        parameter.data = parameter.data + 0.3 * rng.standard_normal(parameter.shape)  # a bias of 0 is relu's kink
    x = images(3, C)
    assert_trains_on_its_gradients(model, x)
    model.unfreeze()
    assert_trains_on_its_gradients(model, x)
    gradcheck(model, x, max_elements=3)
