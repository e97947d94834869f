"""Saliency and Grad-CAM against finite differences, a closed form and PyTorch; the check that makes layers random."""

import sys

import cupy_double
import numpy as np
import pytest

from minires import models
from minires.backend import to_device, to_numpy
from minires.gradcheck import numeric_gradient
from minires.inspection import explain
from minires.inspection.watching import watching
from minires.layers import Conv2d, GlobalAvgPool2d, Linear, ReLU
from minires.modes import no_grad
from minires.sequential import Sequential


def batch(number=3, side=32, dtype=np.float32):
    return np.random.default_rng(1).standard_normal((number, side, side, 3)).astype(dtype)


def small():
    """Convolution, ReLU, mean of all pixels, linear: grad_cam has a closed form here."""
    model = Sequential(Conv2d(3, 5, 3, padding=1, rng=0), ReLU(), GlobalAvgPool2d(), Linear(5, 4, rng=1))
    return model.to(np.float64)


class TestSaliency:
    @pytest.mark.parametrize("name", ["resnet8", "plain8", "simple_cnn"])
    def test_is_the_derivative_of_the_logit(self, name):
        """Central differences of logits[1, 7], pixel by pixel, in a model whose batch norms have seen something."""
        model = models.build(name, rng=0).to(np.float64)
        x = batch(dtype=np.float64)
        model.train()(x)
        dx, logits, labels = explain.input_gradient(model, x, [2, 7, 0])
        assert labels.tolist() == [2, 7, 0]
        model.eval()
        np.testing.assert_array_equal(logits, model(x)[0])
        part = x[1, 10:12, 20:22]  # a view: numeric_gradient changes x through it
        numeric = numeric_gradient(lambda: model(x)[0][1, 7], part)
        np.testing.assert_allclose(dx[1, 10:12, 20:22], numeric, rtol=1e-5, atol=1e-8)
        heat = explain.saliency(model, x, [2, 7, 0])
        np.testing.assert_allclose(heat[1, 10:12, 20:22], np.abs(numeric).max(axis=-1), rtol=1e-5, atol=1e-8)
        assert heat.shape == (3, 32, 32)

    def test_the_likeliest_class_where_none_is_named(self):
        model, x = models.resnet8(rng=0), batch()
        _, logits, labels = explain.input_gradient(model, x)
        np.testing.assert_array_equal(labels, logits.argmax(axis=1))
        np.testing.assert_array_equal(explain.saliency(model, x), explain.saliency(model, x, labels))

    def test_one_label_for_all_and_images_apart(self):
        model, x = models.resnet8(rng=0), batch()
        together = explain.saliency(model, x, 4)
        for n in range(3):
            np.testing.assert_allclose(explain.saliency(model, x[n : n + 1], [4])[0], together[n], rtol=1e-3, atol=1e-6)


class TestGradCam:
    def test_closed_form(self):
        """logit = sum_k weight[c, k] * mean(A_k) + bias, so that alpha_k = weight[c, k] / (H * W)."""
        model, x = small(), batch(2, 8, np.float64)
        maps = explain.feature_maps(model, x, "1")
        weight = model[3].weight.data[[3, 1]]  # of the classes asked for
        expected = np.maximum(np.einsum("nhwk,nk->nhw", maps, weight / 64), 0)
        heat = explain.grad_cam(model, x, [3, 1])
        np.testing.assert_allclose(heat, expected, rtol=1e-12, atol=1e-15)
        assert (heat == 0).any() and (heat > 0).any()  # the ReLU cuts something off

    @pytest.mark.parametrize(("layer", "shape"), [(None, (8, 8)), ("layer2", (16, 16)), ("layer1.0", (32, 32))])
    def test_closed_form_in_a_residual_network(self, layer, shape):
        model, x = models.resnet8(rng=0), batch()
        heat = explain.grad_cam(model, x, 5, layer)
        assert heat.shape == (3, *shape)
        if layer is None:
            maps = explain.feature_maps(model, x)
            expected = np.maximum(maps @ model.fc.weight.data[5] / 64, 0)
            np.testing.assert_allclose(heat, expected, rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize(
        ("name", "shape"), [("plain8", (8, 8)), ("simple_cnn", (6, 6)), ("resnet18", (1, 1)), ("resnet50", (1, 1))]
    )
    def test_other_networks(self, name, shape):
        heat = explain.grad_cam(models.build(name, rng=0), batch(1), 1)
        assert heat.shape == (1, *shape)
        assert np.isfinite(heat).all() and heat.min() >= 0


def test_against_pytorch(torch):
    """The small network once more, with PyTorch's autograd."""
    model, x = small(), batch(2, 8, np.float64)
    weights = [torch.tensor(parameter.data) for parameter in model.parameters()]
    images = torch.tensor(x.transpose(0, 3, 1, 2), requires_grad=True)
    maps = torch.relu(torch.nn.functional.conv2d(images, weights[0], weights[1], padding=1))
    maps.retain_grad()
    logits = maps.mean((2, 3)) @ weights[2].T + weights[3]
    (logits[0, 3] + logits[1, 1]).backward()
    alpha = maps.grad.mean((2, 3), keepdim=True)
    expected = torch.relu((alpha * maps).sum(1)).detach().numpy()
    np.testing.assert_allclose(explain.grad_cam(model, x, [3, 1]), expected, rtol=1e-10, atol=1e-14)
    expected = images.grad.abs().amax(1).numpy()
    np.testing.assert_allclose(explain.saliency(model, x, [3, 1]), expected, rtol=1e-10, atol=1e-14)


def test_the_model_is_left_as_it_was():
    model, x = models.resnet8(rng=0), batch()
    model.train().layer2.freeze()
    model(x)[1](np.ones((3, 10), np.float32))
    state = model.state_dict()
    facts = lambda: [(module.training, "forward" in vars(module)) for module in model.modules()]  # noqa: E731
    gradients = lambda: [None if p.grad is None else p.grad.copy() for p in model.parameters()]  # noqa: E731
    before = (facts(), [p.requires_grad for p in model.parameters()], gradients())
    explain.grad_cam(model, x)
    explain.saliency(model, x)
    with pytest.raises(ValueError, match="labels from 10"):
        explain.saliency(model, x, 10)
    assert facts() == before[0]
    assert [p.requires_grad for p in model.parameters()] == before[1]
    for now, then in zip(gradients(), before[2], strict=True):
        np.testing.assert_array_equal(now, then)
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(value, state[key])


def test_on_a_gpu(monkeypatch):
    """On the double of CuPy: the same maps, on the device of x."""
    model, x = models.resnet8(rng=0), batch()
    expected = [explain.saliency(model, x, 1), explain.grad_cam(model, x)]
    monkeypatch.setitem(sys.modules, "cupy", cupy_double)
    model.to("gpu")
    x = to_device(x, "gpu")
    found = [explain.saliency(model, x, 1), explain.grad_cam(model, x)]
    for one, other in zip(found, expected, strict=True):
        assert isinstance(one, cupy_double.ndarray)
        np.testing.assert_allclose(to_numpy(one), other, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(explain.rank_correlation(found[0], to_device(expected[0], "gpu")), 1, atol=1e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x: explain.saliency(m, x, 10), "labels from 10 to 10: the model has classes 0 to 9"),
        (lambda m, x: explain.saliency(m, x, [0, -1, 2]), "labels from -1 to 2"),
        (lambda m, x: explain.saliency(m, x, [1, 2]), r"shape \(2,\): give 3 integers"),
        (lambda m, x: explain.saliency(m, x, 0.5), "labels of float64"),
        (lambda m, x: explain.saliency(m, x[0]), r"input_gradient: x"),
        (lambda m, x: explain.grad_cam(m, x, 1, "layer4"), "unknown layer 'layer4': did you mean 'layer1'"),
        (lambda m, x: explain.grad_cam(m, x, 1, "avgpool"), "'avgpool' gives no maps"),
        (lambda m, x: explain.last_maps(m.layer1), "Sequential has no GlobalAvgPool2d or Flatten"),
        (lambda m, x: explain.saliency(m.layer1[0].bn1, batch(2)[:, :, :, :1].repeat(16, -1)), "no logits"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call(models.resnet8(rng=0), batch())


def test_features_are_no_logits():
    model = models.resnet18(10, small_input=True, return_features=True, rng=0)
    with pytest.raises(ValueError, match="gives no logits"):
        explain.saliency(model, batch(1, 16))


class TestRandomisation:
    def test_maps_of_a_trained_network_change(self):
        """Whole networks with other weights: maps that stay are those that ask the image alone, not the network."""
        model, other, x = models.resnet8(rng=0), models.resnet8(rng=1), batch(2)
        before = model.state_dict()
        stages = explain.randomisation_check(explain.saliency, model, other, x)
        assert [name for name, *_ in stages] == [None, "fc", "layer3", "layer2", "layer1", "bn1", "conv1"]
        assert (stages[0][2] == 1).all()
        assert stages[-1][2].mean() < 0.5
        labels = explain.input_gradient(model, x)[2]
        np.testing.assert_allclose(stages[0][1], explain.saliency(model, x, labels))
        np.testing.assert_allclose(stages[-1][1], explain.saliency(other, x, labels), rtol=1e-4, atol=1e-7)
        image_alone = explain.randomisation_check(lambda model, x, labels: abs(x).max(-1), model, other, x)
        assert all((correlations > 1 - 1e-12).all() for _, _, correlations in image_alone)
        for key, value in model.state_dict().items():
            np.testing.assert_array_equal(value, before[key])

    def test_rank_correlation(self):
        a = np.array([[1.0, -2.0, 3.0, 10.0], [1.0, 1.0, 2.0, 3.0], [5.0, 5.0, 5.0, 5.0]])
        b = np.array([[1.0, 2.0, -3.0, 4.0], [9.0, 4.0, 4.0, 1.0], [1.0, 2.0, 3.0, 4.0]])
        # ranks of the second: 1.5 1.5 3 4 and 4 2.5 2.5 1, less their mean 2.5: -1 -1 .5 1.5 and 1.5 0 0 -1.5
        np.testing.assert_allclose(explain.rank_correlation(a, b), [1, -3.75 / 4.5, 0])


class TestMistakes:
    def test_confusion_matrix(self):
        counts = explain.confusion_matrix([0, 0, 1, 2, 2, 2], [0, 1, 1, 2, 0, 0], 3)
        assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [2, 0, 1]]
        for labels, predicted, message in (
            ([0], [3], "predicted from 3"),
            ([-1], [0], "labels from -1"),
            ([0], [], "1"),
        ):
            with pytest.raises(ValueError, match=message):
                explain.confusion_matrix(labels, np.array(predicted, int), 3)

    def test_confident_mistakes(self):
        probabilities = np.array([[0.6, 0.4], [0.1, 0.9], [0.2, 0.8], [0.45, 0.55]])
        assert explain.confident_mistakes(probabilities, [1, 0, 1, 0], 5).tolist() == [1, 0, 3]
        assert explain.confident_mistakes(probabilities, [1, 0, 1, 0], 2).tolist() == [1, 0]


class TestWatching:
    def test_what_layers_gave_and_were_handed(self):
        model, x = small(), batch(2, 8, np.float64)
        with watching(model) as calls:
            y, backward = model(x)
        dy = np.ones(y.shape)
        backward(dy)
        assert [call.name for call in calls] == ["0", "1", "2", "3", ""]
        assert calls[-1].y is y and calls[-1].dy is dy and calls[3].dy is dy
        np.testing.assert_allclose(calls[2].dy, dy @ model[3].weight.data)
        assert calls[1].inputs[0] is calls[0].y
        with no_grad():
            np.testing.assert_allclose(model(x)[0], y)
        assert len(calls) == 5  # nobody watches any more

    def test_a_module_called_twice_has_two_calls(self):
        model = models.simple_cnn(rng=0)
        with watching(model, ["pool"]) as calls:
            model(batch(1))
        assert [call.y.shape for call in calls] == [(1, 15, 15, 32), (1, 6, 6, 64)]
