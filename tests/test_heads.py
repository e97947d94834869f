"""Several heads, one loss: its value, its gradients, and steps of training with it."""

import numpy as np
import pytest
from networks_in_pytorch import normal, of_consequence

from minires import Module
from minires.heads import loss_of_heads
from minires.layers import Linear, global_avg_pool2d
from minires.losses import cross_entropy
from minires.models import densenet121, googlenet
from minires.optim import SGD
from minires.precision import options_for
from minires.training import loss_and_gradients, train_step

LABELS = np.array([2, 0])


def test_the_loss_is_the_weighted_sum():
    heads, weights = tuple(normal(2, 3, seed=k) for k in range(3)), (1.0, 0.3, 0.5)
    loss, backward = loss_of_heads(heads, LABELS, weights, label_smoothing=0.1)
    terms = [cross_entropy(logits, LABELS, 0.1) for logits in heads]
    assert loss == pytest.approx(sum(w * term for w, (term, _) in zip(weights, terms, strict=True)))
    for dlogits, weight, (_, term_backward) in zip(backward(2.0), weights, terms, strict=True):
        np.testing.assert_allclose(dlogits, 2 * weight * term_backward(), rtol=1e-14)


def test_one_head_is_cross_entropy_to_the_bit():
    logits = normal(2, 3).astype("f")
    loss, backward = loss_of_heads(logits, LABELS)
    usual, usual_backward = cross_entropy(logits, LABELS)
    assert loss == usual and loss.dtype == np.float32
    np.testing.assert_array_equal(backward(), usual_backward())


class TwoHeads(Module):
    """Both of the mean of all pixels."""

    def __init__(self, **attributes):
        self.one, self.other = Linear(3, 4, rng=0), Linear(3, 4, rng=1)
        vars(self).update(attributes)

    def forward(self, x):
        means, pool_backward = global_avg_pool2d(x)
        y1, backward1 = self.one(means)
        y2, backward2 = self.other(means)
        return (y1, y2), lambda dy: pool_backward(backward1(dy[0]) + backward2(dy[1]))


def test_gradients_of_a_step_are_those_of_the_sum():
    model, x = TwoHeads(head_weights=(1.0, 0.25)).to(np.float64), normal(2, 4, 4, 3)
    loss, right = loss_and_gradients(model, x, LABELS)
    means = x.mean(axis=(1, 2))
    logits = [means @ head.weight.data.T + head.bias.data for head in (model.one, model.other)]
    (loss1, backward1), (loss2, backward2) = (cross_entropy(y, LABELS) for y in logits)
    assert float(loss) == pytest.approx(float(loss1 + 0.25 * loss2))
    np.testing.assert_allclose(model.one.weight.grad, backward1().T @ means, rtol=1e-12)
    np.testing.assert_allclose(model.other.weight.grad, 0.25 * backward2().T @ means, rtol=1e-12)
    assert int(right) == int((logits[0].argmax(axis=1) == LABELS).sum())


@pytest.mark.parametrize("attributes", [{}, {"head_weights": (1.0, 0.3, 0.3)}], ids=["none", "three"])
def test_outputs_without_weights_are_told(attributes):
    model = TwoHeads(**attributes)
    with pytest.raises(ValueError, match=r"the model gives 2 outputs, its head_weights are \(1.0,.*give it an attrib"):
        loss_and_gradients(model, normal(2, 4, 4, 3).astype("f"), LABELS)


def test_maps_are_no_heads():
    model = densenet121(3, small_input=True, return_features=True, rng=0)
    with pytest.raises(ValueError, match="the model gives 4 outputs"):
        loss_and_gradients(model, normal(2, 16, 16, 3).astype("f"), LABELS)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_googlenet_learns_by_its_heads(precision):
    """In three steps on one batch the loss falls, and every parameter of every head has a gradient."""
    if precision == "bfloat16":
        pytest.importorskip("ml_dtypes")
    model = of_consequence(googlenet(3, small_input=True, rng=0, aux_logits=True)).to(np.float32)
    optimizer, x = SGD(model.parameters(), lr=0.01, momentum=0.9), normal(2, 16, 16, 3).astype("f")
    losses = [train_step(model, optimizer, x, LABELS, **options_for(model, precision))[0] for _ in range(4)]
    assert losses[-1] < losses[0]
    assert all(parameter.grad is not None for parameter in model.parameters())
