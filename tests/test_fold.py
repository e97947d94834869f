"""fold(model): the same answers without batch norms, from a copy that nothing reaches."""

import numpy as np
import pytest
from hypothesis import given
from test_protocol import C, bodies, images

from minires import Module, Sequential, no_grad
from minires.gradcheck import gradcheck
from minires.layers import BatchNorm2d, BatchNormReLU2d, Conv2d, Linear, ReLU
from minires.losses import cross_entropy
from minires.models import IMAGENET, PLAIN, RESNETS, build, fold, resnet8, resnet18, resnet50, simple_cnn
from minires.models.blocks import BasicBlock
from minires.models.fold import Rectify
from minires.modes import no_backward
from minires.optim import SGD
from minires.training import train_step


def unsettled(model, seed=0):
    """The model in float64, with statistics and parameters that no batch norm starts with."""
    rng = np.random.default_rng(seed)
    model.to(np.float64)
    for module in model.modules():
        if isinstance(module, BatchNorm2d):
            module.running_mean = rng.standard_normal(module.running_mean.shape)
            module.running_var = rng.uniform(0.5, 2, module.running_var.shape)
            module.weight.data = rng.uniform(-2, 2, module.weight.shape)
            module.bias.data = rng.standard_normal(module.bias.shape)
    return model.eval()


def assert_same_answers(model, x, folds=True):
    folded = fold(model)
    y = model(x)[0]
    np.testing.assert_allclose(folded(x)[0], y, rtol=0, atol=1e-11 * np.abs(y).max())
    with no_grad():
        np.testing.assert_array_equal(folded(x)[0], folded(x)[0])
    norms = [name for name, module in folded.named_modules() if isinstance(module, BatchNorm2d)]
    assert not (folds and norms), norms
    return folded


FOLDABLE = [make.__name__ for make in (*RESNETS, *PLAIN, simple_cnn, *IMAGENET)]  # the others: in tests of their own


@pytest.mark.parametrize(
    "name", [name for name in FOLDABLE if name not in ("resnet101", "resnet152", "resnet110", "plain110")]
)
def test_every_network(name):
    model = unsettled(build(name, shortcut="B", small_input=True, rng=0))
    assert_same_answers(model, np.random.default_rng(1).standard_normal((2, 32, 32, 3)))


@pytest.mark.parametrize(
    "model", [lambda: resnet50(10, variant="keras", rng=0), lambda: resnet18(10, return_features=True)]
)
def test_biases_and_feature_maps(model):
    model = unsettled(model())
    x = np.random.default_rng(1).standard_normal((1, 32, 32, 3))
    ours, theirs = fold(model)(x)[0], model(x)[0]
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-11 * np.abs(other).max())


@given(bodies)
def test_every_module_of_the_grammar(body):
    assert_same_answers(unsettled(body), images(4, C), folds=False)


def test_in_a_sequential_whatever_stands_around():
    conv = Conv2d(3, 3, 1, rng=0)
    parts = [conv, BatchNorm2d(3), conv, BatchNormReLU2d(3), ReLU(), BatchNorm2d(3), conv, Conv2d(3, 3, 1, bias=False)]
    model = unsettled(Sequential(*parts, BatchNorm2d(3)))
    folded = assert_same_answers(model, images(4), folds=False)
    assert sum(isinstance(module, BatchNorm2d) for module in folded.modules()) == 1  # the one after ReLU


class Otherwise(BasicBlock):
    """Its batch norms do not follow its convolutions."""

    def forward(self, x):
        y, _ = self.conv1(x)
        y, _ = self.bn1(np.tanh(y))
        return y, no_backward


class DoublesWeights(Conv2d):
    def forward(self, x, lean=False):
        y, backward = super().forward(x)
        return 2 * y, backward


def test_what_somebody_else_wrote_is_called_as_ever():
    rng = np.random.default_rng(0)
    assert_same_answers(unsettled(Otherwise(3, 3, 1, "A", rng)), images(4), folds=False)
    assert_same_answers(unsettled(Sequential(DoublesWeights(3, 3, 1, rng=0), BatchNorm2d(3))), images(4), folds=False)
    model = unsettled(resnet8(rng=0))
    conv = model.layer1[0].conv1
    plain = conv.forward
    conv.forward = lambda x: plain(3 * x)
    assert_same_answers(model, images(8), folds=False)


def test_the_model_stays_as_it_was_and_the_copy_too():
    model = resnet8(num_classes=3, rng=0)
    before, x = model.state_dict(), images(8, dtype=np.float32)
    folded = fold(model)
    y = folded(x)[0]
    assert model.training and model.conv1.weight.requires_grad
    for key, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[key])
    optimizer = SGD(model.parameters(), lr=0.1)
    train_step(model, optimizer, x, np.array([0, 1, 2]))
    np.testing.assert_array_equal(folded(x)[0], y)


def test_the_copy_has_a_backward_pass_and_learns_nothing():
    model = unsettled(resnet8(num_classes=3, shortcut="B", rng=0))
    x, labels = images(6), np.array([0, 1, 2])
    gradients = []
    for network in (model, fold(model)):
        logits, backward = network(x)
        gradients.append(backward(cross_entropy(logits, labels)[1]()))
    np.testing.assert_allclose(gradients[1], gradients[0], rtol=0, atol=1e-10 * np.abs(gradients[0]).max())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_what_is_left_of_batch_norm_and_relu():
    rng = np.random.default_rng(0)
    x, shortcut = rng.standard_normal((2, 2, 3, 3, 2))
    gradcheck(Rectify(), x)
    gradcheck(Rectify(), x, shortcut)


def test_a_module_of_two_places_stays_one():
    class Shared(Module):
        def __init__(self):
            self.first = Linear(3, 3, rng=0)
            self.second = self.first

        def forward(self, x):
            y, _ = self.first(x)
            return self.second(y)

    folded = fold(Shared())
    assert folded.first is folded.second


@pytest.mark.parametrize("model", [ReLU, np.tanh, None])
def test_only_a_model_can_be_folded(model):
    with pytest.raises(TypeError, match=r"fold: expected a Module, got .*: build the model first"):
        fold(model)
