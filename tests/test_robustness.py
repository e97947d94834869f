"""Corruptions, attacks and the checks of attacks: closed forms, brute force, PyTorch, and defences that are none."""

import io
import itertools
import json
import math
import sys

import cupy_double
import numpy as np
import pytest
import scripts
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import save_file

from minires import layers, models, optim
from minires.backend import to_device, to_numpy
from minires.data import normalize
from minires.data.images import Preprocessing
from minires.gradcheck import gradcheck
from minires.losses import cross_entropy
from minires.module import Module
from minires.robustness import (
    CORRUPTIONS,
    OnPixels,
    Quantised,
    Scaled,
    accuracy,
    adversarial_step,
    attack_accuracy,
    attack_table,
    balls,
    check_gradients,
    corrupt,
    corruption_accuracy,
    corruption_table,
    corruptions,
    ensemble_on_pixels,
    fgsm,
    loss_gradient,
    margin,
    means_table,
    pgd,
    report,
    summary,
)
from minires.robustness.attacks import generators
from minires.sequential import Sequential
from minires.textbook import softmax


def photographs(number=6, side=32, seed=0):
    """uint8 images with edges and slopes, grey values from 40 to 215."""
    rng = np.random.default_rng(seed)
    waves = sum(
        np.sin(rng.uniform(-0.6, 0.6, (number, 1, 1, 3)) * np.arange(side).reshape(1, *shape, 1) + rng.uniform(0, 6))
        for shape in ((side, 1), (1, side))
    )
    return np.rint(127.5 + 36 * waves + rng.uniform(-14, 14, waves.shape)).astype(np.uint8)


class Fixed:
    """In place of a Generator: random() and integers() give this."""

    def __init__(self, value):
        self.value = value

    def random(self):
        return self.value

    def integers(self, high):
        return self.value


class TestCorruptions:
    @pytest.mark.parametrize("kind", CORRUPTIONS)
    def test_each_strength_is_worse_and_the_images_stay(self, kind):
        images = photographs()
        before, changes = images.copy(), []
        for strength in range(6):
            worse = corrupt(images, kind, strength)
            assert worse.dtype == np.uint8 and worse.shape == images.shape and not np.shares_memory(worse, images)
            changes.append(np.abs(worse.astype(float) - images).mean())
        assert changes[0] == 0 and (np.diff(changes) > 0).all()
        np.testing.assert_array_equal(images, before)

    @pytest.mark.parametrize("kind", CORRUPTIONS)
    def test_an_image_is_changed_alike_in_any_batch(self, kind):
        images = photographs()
        whole = corrupt(images, kind, 3, seed=5)
        parts = [corrupt(images[start : start + 4], kind, 3, seed=5, first=start) for start in (0, 4)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
        drawn = kind not in ("gaussian_blur", "contrast", "jpeg")
        assert (corrupt(images, kind, 3, seed=6) != whole).any() == drawn

    @pytest.mark.parametrize("side", [16, 64, (24, 40)])
    def test_sizes(self, side):
        images = photographs(2, 64)[:, : np.ravel(side)[0], : np.ravel(side)[-1]]
        for kind in CORRUPTIONS:
            assert corrupt(images, kind, 5).shape == images.shape

    def test_gaussian_noise(self):
        """The same numbers at each strength, of the deviation that it says."""
        grey = np.full((1, 100, 100, 3), 128, np.uint8)
        weak, strong = (corrupt(grey, "gaussian_noise", strength)[0].astype(float) - 128 for strength in (1, 5))
        assert strong.std() == pytest.approx(25, rel=0.02) and abs(strong.mean()) < 0.5
        assert np.abs(strong - 5 * weak).max() <= 3  # both are rounded

    def test_shot_noise(self):
        """Mean x, variance x * 255 / photons: that of a Poisson number of photons."""
        for value in (40, 160):
            noisy = corruptions.shot_noise(np.full((100, 100, 3), value, np.uint8), 400, np.random.default_rng(0))
            assert noisy.mean() == pytest.approx(value, abs=0.3)
            assert noisy.var() == pytest.approx(value * 255 / 400, rel=0.05)

    def test_occlusion(self):
        """A square of the side, in any place inside, as large in proportion in larger images."""
        for edge, where in ((8, 0.0), (8, 0.999), (20, 0.5)):
            for side in (32, 64):
                white = np.full((side, side, 3), 255, np.uint8)
                hidden = (corruptions.occlusion(white, edge, Fixed(where)) == 128).all(axis=2)
                size = edge * side // 32
                assert hidden.sum() == size**2
                assert hidden.any(axis=0).argmax() == int(where * (side - size + 1))

    def test_rotation(self):
        image = photographs(1)[0]
        np.testing.assert_array_equal(corruptions.rotation(image, 90, Fixed(0)), np.rot90(image))
        np.testing.assert_array_equal(corruptions.rotation(image, 90, Fixed(1)), np.rot90(image, -1))
        white = np.full((32, 32, 3), 255, np.uint8)
        assert (corruptions.rotation(white, 45, Fixed(0)) == 255).all()  # no black corners

    def test_brightness_and_contrast(self):
        image = np.array([[[0, 100, 250]]], np.uint8)
        assert corruptions.brightness(image, 20, Fixed(0)).ravel().tolist() == [20, 120, 255]
        assert corruptions.brightness(image, 20, Fixed(1)).ravel().tolist() == [0, 80, 230]
        flat = corruptions.contrast(image, 0.1, None)  # the mean is 116.67
        assert flat.ravel().tolist() == [105, 115, 130]

    def test_jpeg(self):
        image, file = photographs(1)[0], io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=10)
        np.testing.assert_array_equal(corrupt(image[None], "jpeg", 5)[0], np.array(Image.open(file)))

    def test_blur_keeps_the_mean(self):
        image = photographs(1)[0]
        blurred = corruptions.gaussian_blur(image, 1.5, None)
        assert blurred.mean() == pytest.approx(image.mean(), abs=1.0)
        assert np.abs(np.diff(blurred.astype(int), axis=0)).sum() < np.abs(np.diff(image.astype(int), axis=0)).sum()

    def test_the_page_has_their_numbers(self):
        page = (scripts.EXAMPLES.parent / "docs" / "robustness.md").read_text(encoding="utf-8")
        for kind, corruption in CORRUPTIONS.items():
            row = next(line for line in page.splitlines() if line.startswith(f"| `{kind}` |"))
            assert tuple(map(float, row.split("|")[3:8])) == corruption.amounts

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((photographs(), "gausian_noise", 1), "unknown corruption 'gausian_noise': did you mean 'gaussian_noise'"),
            ((photographs(), "jpeg", 6), "strength is 6, expected 1 to 5"),
            ((photographs(), "jpeg", -1), "strength is -1"),
            ((photographs().astype(np.float32), "jpeg", 1), "images are float32"),
            ((photographs()[0], "jpeg", 1), r"\(32, 32, 3\), expected uint8 \(N, H, W, 3\)"),
            ((photographs()[:0], "jpeg", 1), r"\(0, 32, 32, 3\)"),
        ],
    )
    def test_errors(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            corrupt(*arguments)


PREPARED = Preprocessing((0.5, 0.4, 0.3), (0.2, 0.25, 0.5), size=8, resize=8)


class TestPixels:
    @pytest.mark.parametrize("order", ["RGB", "BGR"])
    def test_a_network_on_pixels(self, order):
        network, own = small().eval(), Preprocessing(PREPARED.mean, PREPARED.std, order, 8, 8)
        model, x = OnPixels(network, own), np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3))
        turned = x if order == "RGB" else x[..., ::-1]
        logits, backward = model(x)
        np.testing.assert_allclose(logits, network((turned / 255 - own.mean) / own.std)[0], rtol=1e-5)
        bytes_ = np.rint(x).astype(np.uint8)
        prepared = normalize(np.rint(turned).astype(np.uint8), own.mean, own.std)  # as in training
        np.testing.assert_allclose(model(bytes_.astype(float))[0], network(prepared.astype(float))[0], rtol=1e-4)
        dx = backward(np.eye(4)[:2])
        for channel in range(3):
            shift = np.zeros_like(x)
            shift[0, 3, 4, channel] = 1e-3
            up, down = (model(x + sign * shift)[0][0, 0] for sign in (1, -1))
            assert dx[0, 3, 4, channel] == pytest.approx((up - down) / 2e-3, rel=1e-6)
        assert dx.shape == x.shape

    def test_an_ensemble_is_attacked_together(self):
        """By the gradient of its mean, which misleads it; of one member alone it is that member."""
        networks = [(models.resnet8(rng=seed).eval(), PREPARED) for seed in range(3)]
        model, x = ensemble_on_pixels(networks), photographs(4).astype(np.float32)
        probabilities = [softmax(OnPixels(*network)(x)[0])[0] for network in networks]
        np.testing.assert_allclose(softmax(model(x)[0])[0], np.mean(probabilities, axis=0), rtol=1e-4)
        labels = model(x)[0].argmax(axis=1)
        attacked = pgd(model, x, labels, 8.0, 4)
        assert cross_entropy(model(attacked)[0], labels)[0] > cross_entropy(model(x)[0], labels)[0]
        alone = ensemble_on_pixels(networks[:1])
        dx, expected = (loss_gradient(one, x, labels)[0] for one in (alone, OnPixels(*networks[0])))
        np.testing.assert_allclose(dx, expected, rtol=1e-3, atol=1e-7)


def small():
    """Convolution, ReLU, mean of all pixels, linear, in float64."""
    model = Sequential(
        layers.Conv2d(3, 5, 3, padding=1, rng=0), layers.ReLU(), layers.GlobalAvgPool2d(), layers.Linear(5, 4, rng=1)
    )
    return model.to(np.float64)


VECTORS = st.lists(st.floats(-50, 50), min_size=4, max_size=4)


class TestBalls:
    @given(delta=VECTORS, other=VECTORS, eps=st.floats(0.01, 20))
    @pytest.mark.parametrize("norm", balls.NORMS)
    def test_the_projection_is_the_nearest_point(self, norm, delta, other, eps):
        """p is inside, and no point q of the ball is nearer, since <delta - p, q - p> <= 0 for all of them."""
        delta, other = np.array([delta]), np.array([other])
        p, q = balls.project(delta, eps, norm), balls.project(other, eps, norm)
        for point in (p, q):
            assert balls.norms(point, norm)[0] <= eps * (1 + 1e-12)
        assert ((delta - p) * (q - p)).sum() <= 1e-9 * (1 + np.abs(delta).sum()) * eps
        np.testing.assert_allclose(balls.project(p, eps, norm), p, rtol=1e-12)
        if balls.norms(delta, norm)[0] <= eps:
            np.testing.assert_array_equal(p, delta)

    @pytest.mark.parametrize("norm", balls.NORMS)
    def test_to_the_edge_and_no_further(self, norm):
        delta = np.random.default_rng(0).standard_normal((5, 2, 2, 3))
        delta *= np.array([0.5, 0.99, 1.01, 1.5, 30])[:, None, None, None] / balls.norms(delta, norm).reshape(
            5, 1, 1, 1
        )
        found = balls.norms(balls.project(7 * delta, 7.0, norm), norm)
        np.testing.assert_allclose(found, [3.5, 6.93, 7, 7, 7])

    @pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2)])
    def test_the_steepest_direction(self, norm, dual):
        """<dx, d> is the dual norm of dx, which nothing in the ball exceeds; tiny and huge gradients included."""
        for size in (1e-30, 1.0, 1e30):
            dx = size * np.random.default_rng(0).standard_normal((3, 2, 2, 3))
            d = balls.steepest(dx, norm)
            np.testing.assert_allclose(balls.norms(d, norm), 1)
            expected = [np.linalg.norm(each.ravel(), dual) for each in dx]
            np.testing.assert_allclose((dx * d).sum(axis=(1, 2, 3)), expected)
        np.testing.assert_array_equal(balls.steepest(np.zeros((1, 2)), norm), [[0, 0]])

    def test_points_at_random(self):
        """Evenly: in l2 the share of them within r is (r / eps)^D, in linf each number's is r / eps."""
        flat = balls.drawn((4000, 3), 5.0, "linf", generators(0, 0, 4000))
        round_ = balls.norms(balls.drawn((4000, 3), 5.0, "l2", generators(0, 0, 4000)), "l2")
        assert np.abs(flat).max() <= 5 and round_.max() <= 5
        for r in (2.0, 4.0):
            assert (np.abs(flat) <= r).mean() == pytest.approx(r / 5, abs=0.02)
            assert (round_ <= r).mean() == pytest.approx((r / 5) ** 3, abs=0.025)

    def test_of_each_image_its_own(self):
        whole = balls.drawn((5, 2, 3), 1.0, "l2", generators(7, 0, 5))
        np.testing.assert_array_equal(balls.drawn((2, 2, 3), 1.0, "l2", generators(7, 3, 2)), whole[3:])

    def test_errors(self):
        with pytest.raises(ValueError, match="unknown norm 'l1'"):
            balls.project(np.zeros((1, 2)), 1, "l1")
        with pytest.raises(ValueError, match="1 generators for 2 images"):
            balls.drawn((2, 3), 1, "linf", generators(0, 0, 1))


class TestMargin:
    @given(st.integers(0, 10_000), st.integers(1, 4), st.integers(2, 5))
    def test_the_derivative(self, seed, N, classes):
        rng = np.random.default_rng(seed)
        logits = rng.permuted(np.tile(np.arange(classes, dtype=float), (N, 1)), axis=1) + rng.uniform(0, 0.5)  # no ties
        labels = rng.integers(0, classes, N)
        gradcheck(lambda logits: margin(logits, labels), logits)
        by_loop = [max(np.delete(row, label)) - row[label] for row, label in zip(logits, labels, strict=True)]
        assert float(margin(logits, labels)[0]) == pytest.approx(np.mean(by_loop))

    def test_its_sign_says_who_is_right(self):
        logits = np.array([[2.0, 1, 0], [0, 2, 1.5]])
        assert margin(logits, np.array([0, 1]))[0] == pytest.approx((-1 - 0.5) / 2)
        assert margin(logits, np.array([1, 0]))[0] > 0

    @pytest.mark.parametrize(
        ("logits", "labels", "message"),
        [
            (np.zeros((2, 1)), np.array([0, 0]), "two classes or more"),
            (np.zeros((2, 3)), np.array([0]), r"2 integers, got int.. of shape \(1,\)"),
            (np.zeros((2, 3)), np.array([0.0, 1.0]), "got float64"),
            (np.zeros((0, 3)), np.array([], int), "margin"),
        ],
    )
    def test_errors(self, logits, labels, message):
        with pytest.raises(ValueError, match=message):
            margin(logits, labels)


class Linear(Module):
    """logits = x w + b of the pixels in a row: every attack has a closed form."""

    def __init__(self, pixels=4, classes=2, seed=0):
        self.flatten, self.linear = layers.Flatten(), layers.Linear(pixels, classes, rng=seed)
        self.linear.weight.data[:] = np.random.default_rng(seed).standard_normal((classes, pixels)) / 50

    def forward(self, x):
        flat, flatten_backward = self.flatten(x)
        logits, linear_backward = self.linear(flat)
        return logits, lambda dlogits: flatten_backward(linear_backward(dlogits))


class TestAttacks:
    def of_two_classes(self, low=60, high=190):
        model = Linear(12).to(np.float64)
        x = np.random.default_rng(1).uniform(low, high, (5, 2, 2, 3))
        return model, x, np.array([0, 1, 0, 1, 1])

    @pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2)])
    def test_one_step_is_the_worst_for_a_linear_model(self, norm, dual):
        """margin(x + delta) = margin(x) + <w, delta>, at most margin(x) + eps * ||w||_dual."""
        model, x, labels = self.of_two_classes()
        eps = 20.0
        attacked = fgsm(model, x, labels, eps, norm)
        before, after = (self.margins(model, images, labels) for images in (x, attacked))
        w = model.linear.weight.data[1] - model.linear.weight.data[0]
        np.testing.assert_allclose(after - before, eps * np.linalg.norm(w, dual))
        np.testing.assert_allclose(balls.norms(attacked - x, norm), eps)
        many = pgd(model, x, labels, eps, 60, eps / 2, norm, rngs=generators(0, 0, 5))
        np.testing.assert_allclose(self.margins(model, many, labels), after, rtol=1e-6)

    def margins(self, model, x, labels):
        logits, _ = model(x)
        one = np.arange(len(labels))
        return logits[one, 1 - labels] - logits[one, labels]

    def test_it_is_the_worst_of_all_corners_within_what_a_picture_can_be(self):
        """By trying all 4,096 corners of the box: the ball cut off at 0 and 255. No loss is higher in any."""
        model, x, labels = self.of_two_classes(0, 255)
        eps, attacked = 40.0, fgsm(*self.of_two_classes(0, 255), 40.0)
        assert attacked.min() == 0 and attacked.max() == 255  # it does touch the bounds
        for image, label, found in zip(x, labels, attacked, strict=True):
            signs = np.array(list(itertools.product((-1, 1), repeat=12))).reshape(-1, 2, 2, 3)
            corners = np.clip(image + eps * signs, 0, 255)
            worst = self.margins(model, corners, np.full(len(corners), label)).max()
            assert self.margins(model, found[None], np.array([label]))[0] == pytest.approx(worst, rel=1e-12)

    def test_targeted_goes_the_other_way(self):
        model, x, labels = self.of_two_classes()
        for attack in (fgsm, pgd):
            np.testing.assert_allclose(
                attack(model, x, 1 - labels, 5.0, targeted=True), attack(model, x, labels, 5.0), rtol=1e-12
            )

    @pytest.mark.parametrize("norm", balls.NORMS)
    @pytest.mark.parametrize("loss", [cross_entropy, margin])
    def test_a_network_is_misled_within_the_ball(self, norm, loss):
        model, x = OnPixels(models.resnet8(rng=0), PREPARED), photographs(4).astype(np.float32)
        labels = model.eval()(x)[0].argmax(axis=1)
        eps = 8.0 if norm == "linf" else 200.0
        for attacked in (fgsm(model, x, labels, eps, norm, loss=loss),
                         pgd(model, x, labels, eps, 5, norm=norm, loss=loss, rngs=generators(0, 0, 4))):  # fmt: skip
            assert attacked.dtype == np.float32 and attacked.min() >= 0 and attacked.max() <= 255
            assert balls.norms(attacked - x, norm).max() <= eps * 1.0001
            assert cross_entropy(model(attacked)[0], labels)[0] > cross_entropy(model(x)[0], labels)[0]

    def test_each_image_by_itself(self):
        """Neither the batch nor its size changes what happens to an image."""
        model, x = OnPixels(small(), PREPARED), np.random.default_rng(0).uniform(0, 255, (5, 8, 8, 3))
        labels = np.array([0, 1, 2, 3, 0])
        whole = pgd(model, x, labels, 8.0, 3, rngs=generators(1, 0, 5))
        part = pgd(model, x[3:], labels[3:], 8.0, 3, rngs=generators(1, 3, 2))
        np.testing.assert_allclose(part, whole[3:], rtol=1e-12)
        dx, logits = loss_gradient(model, x, labels)
        alone, _ = loss_gradient(model, x[:1], labels[:1])
        np.testing.assert_allclose(dx[:1], alone, rtol=1e-12)
        np.testing.assert_allclose(logits, model(x)[0])

    def test_no_steps_or_no_way_to_go(self):
        model, x, labels = self.of_two_classes()
        np.testing.assert_array_equal(pgd(model, x, labels, 0.0, 5, rngs=generators(0, 0, 5)), x)
        started = pgd(model, x, labels, 3.0, 0, rngs=generators(0, 0, 5))
        np.testing.assert_allclose(started, x + balls.drawn(x.shape, 3.0, "linf", generators(0, 0, 5)))
        np.testing.assert_allclose(pgd(model, x, labels, 3.0, 2, step=1.0), fgsm(model, x, labels, 2.0))

    def test_the_model_is_left_as_it_was(self):
        network = models.resnet8(rng=0).train()
        network.layer2.freeze()
        model, x, labels = OnPixels(network, PREPARED), photographs(3).astype(np.float32), np.array([1, 2, 3])
        state = {key: value.copy() for key, value in model.state_dict().items()}

        def facts():
            of_parameters = [(parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
            return [module.training for module in model.modules()], of_parameters

        before = facts()
        pgd(model, x, labels, 8.0, 2)
        assert facts() == before
        for key, value in model.state_dict().items():
            np.testing.assert_array_equal(value, state[key])

    @pytest.mark.parametrize("norm", balls.NORMS)
    def test_against_pytorch(self, torch, norm):
        """Three steps with PyTorch's autograd, in float64."""
        network, x = small(), np.random.default_rng(0).uniform(0, 255, (4, 8, 8, 3))
        labels, eps, step = np.array([0, 1, 2, 3]), 30.0, 13.0
        weights = [torch.tensor(parameter.data) for parameter in network.parameters()]
        mean, std = (
            torch.tensor(numbers, dtype=torch.float64).view(1, 3, 1, 1) for numbers in (PREPARED.mean, PREPARED.std)
        )
        images = torch.tensor(x.transpose(0, 3, 1, 2))
        attacked = images.clone()
        for _ in range(3):
            attacked = attacked.detach().requires_grad_(True)
            maps = torch.relu(
                torch.nn.functional.conv2d((attacked / 255 - mean) / std, weights[0], weights[1], padding=1)
            )
            logits = maps.mean((2, 3)) @ weights[2].T + weights[3]
            torch.nn.functional.cross_entropy(logits, torch.tensor(labels), reduction="sum").backward()
            g = attacked.grad
            length = g.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
            moved = attacked.detach() + step * (g.sign() if norm == "linf" else g / length)
            delta = moved - images
            delta = delta.clamp(-eps, eps) if norm == "linf" else delta.flatten(1).renorm(2, 0, eps).view_as(delta)
            attacked = (images + delta).clamp(0, 255)
        found = pgd(OnPixels(network, PREPARED), x, labels, eps, 3, step, norm)
        np.testing.assert_allclose(found.transpose(0, 3, 1, 2), attacked.numpy(), rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize("norm", balls.NORMS)
    def test_on_a_gpu(self, monkeypatch, norm):
        model, x, labels = OnPixels(small(), PREPARED), photographs(3, 8).astype(float), np.array([0, 1, 2])
        expected = pgd(model, x, labels, 9.0, 2, norm=norm, rngs=generators(0, 0, 3), loss=margin)
        monkeypatch.setitem(sys.modules, "cupy", cupy_double)
        model.to("gpu")
        there = (to_device(each, "gpu") for each in (x, labels))
        found = pgd(model, *there, 9.0, 2, norm=norm, rngs=generators(0, 0, 3), loss=margin)
        assert isinstance(found, cupy_double.ndarray)
        np.testing.assert_allclose(to_numpy(found), expected, rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"eps": -1.0}, "eps is -1.0, expected a number from 0 up"),
            ({"eps": math.nan}, "eps is nan"),
            ({"eps": math.inf}, "eps is inf"),
            ({"eps": 1.0, "norm": "l1"}, "unknown norm 'l1'"),
            ({"eps": 1.0, "steps": -1}, "steps is -1"),
            ({"eps": 1.0, "step": -0.5}, "step is -0.5"),
        ],
    )
    def test_errors(self, options, message):
        model, x, labels = self.of_two_classes()
        with pytest.raises(ValueError, match=message):
            pgd(model, x, labels, **options)


class Brightest(Module):
    """logits: an eighth of each channel's mean. The brightest is the class: known, and as robust as its margin."""

    def __init__(self):
        self.pool = layers.GlobalAvgPool2d()

    def forward(self, x):
        means, pool_backward = self.pool(x)
        return means / 8, lambda dy: pool_backward(dy / 8)


def coloured(number=60):
    """Images of three classes, (x, labels); the right channel is ahead by 2, 2.5, ... to 31.5."""
    labels = np.arange(number) % 3
    x = 100 + np.random.default_rng(0).uniform(-30, 30, (number, 6, 6, 3))
    x += 100 - x.mean(axis=(1, 2), keepdims=True)
    x[np.arange(number), :, :, labels] += np.linspace(2, 31.5, number)[:, None, None]
    x[np.arange(number), :, :, (labels + 1) % 3] -= 1  # no ties
    return x, labels


class TestMasking:
    """Brightest is within reach of eps where its margin is below 2 * eps: 8 of 255 takes half of the images."""

    def verdicts(self, model, **options):
        checks = check_gradients(model, *coloured(), 8.0, **options)
        assert len(report(checks)) == len(checks)
        return {check.name: check.passed for check in checks}

    def test_each_check_is_told_when_it_is_done(self):
        told, calls = [], []

        class Tiring(Brightest):
            def forward(self, x):
                calls.append(len(told))
                return super().forward(x)

        checks = check_gradients(Tiring(), *coloured(), 8.0, surrogate=Brightest(), tell=told.append)
        assert told == [f"{check.name}: {'passed' if check.passed else 'FAILED'}" for check in checks]
        assert set(calls) == set(range(len(checks)))  # between any two of them there is work

    def test_an_honest_model_passes(self):
        model = Brightest()
        verdicts = self.verdicts(model, surrogate=Brightest())
        assert len(verdicts) == 8 and all(verdicts.values())
        x, labels = coloured()
        attacked = pgd(model, x, labels, 8.1)
        assert (model(attacked)[0].argmax(axis=1) == labels).sum() == 31  # those that are ahead by more than 16.2
        assert all(self.verdicts(model, norm="l2").values())

    def test_a_network_passes(self):
        """A network with kinks and batch norms, though one that knows nothing: its own answers are the labels."""
        model = OnPixels(models.resnet8(rng=3).to(np.float64), PREPARED)
        x = np.random.default_rng(0).uniform(0, 255, (10, 8, 8, 3))
        labels = model.eval()(x)[0].argmax(axis=1)
        checks = check_gradients(model, x, labels, 4.0, steps=4, tries=3)
        assert checks[0].passed and checks[1].passed, report(checks)

    def test_few_shades_are_caught(self):
        verdicts = self.verdicts(Quantised(Brightest()), surrogate=Brightest())
        assert verdicts["the input gradient is the derivative"]  # 0, almost everywhere
        for name in ("the input gradient is not 0", "without a bound no image is left", "blind tries are not stronger",
                     "another network's gradients are not stronger"):  # fmt: skip
            assert not verdicts[name], name

    def test_few_shades_straight_through(self):
        """The attack goes through, and the first check says by what."""
        model = Quantised(Brightest(), straight_through=True)
        verdicts = self.verdicts(model, surrogate=Brightest())
        assert [name for name, passed in verdicts.items() if not passed] == ["the input gradient is the derivative"]

    def test_logits_too_large_are_caught(self):
        verdicts = self.verdicts(Scaled(Brightest()), surrogate=Brightest())
        assert verdicts["the input gradient is the derivative"]
        for name in ("the input gradient is not 0", "without a bound no image is left",
                     "another network's gradients are not stronger"):  # fmt: skip
            assert not verdicts[name], name

    def test_logits_too_large_by_the_margin(self):
        assert all(self.verdicts(Scaled(Brightest()), loss=margin, surrogate=Brightest()).values())

    def test_a_backward_pass_that_is_none(self):
        class Wrong(Brightest):
            def forward(self, x):
                y, backward = super().forward(x)
                return y, lambda dy: -backward(dy)

        verdicts = self.verdicts(Wrong())
        assert not verdicts["the input gradient is the derivative"]
        assert not verdicts["blind tries are not stronger"] or not verdicts["without a bound no image is left"]

    def test_a_zigzag_weakens_many_steps(self):
        """Near x the slope says the truth, further off it lies: one long step is stronger than many short ones."""

        class Zigzag(Brightest):
            def forward(self, x):
                y, backward = super().forward(x)
                far = np.abs(x - coloured()[0][: len(x)]).max(axis=(1, 2, 3), keepdims=True) > 1
                return y, lambda dy: np.where(far, -1, 1) * backward(dy)

        assert not self.verdicts(Zigzag())["many steps are stronger than one"]

    def test_a_slope_that_ends(self):
        """Further than 9 from x there is none: what starts there stays there, and a larger ball is safer."""

        class Plateau(Brightest):
            def forward(self, x):
                y, backward = super().forward(x)
                near = np.abs(x - coloured()[0][: len(x)]).max(axis=(1, 2, 3), keepdims=True) <= 9
                return y, lambda dy: near * backward(dy)

        verdicts = self.verdicts(Plateau())
        assert not verdicts["a larger ball is not safer"] and verdicts["more steps are not weaker"]

    def test_steps_that_lead_back(self):

        class Timid(Brightest):
            """Its slope is turned round after some calls, so that later attacks undo what they did."""

            calls = 0

            def forward(self, x):
                y, backward = super().forward(x)
                Timid.calls += 1
                return y, lambda dy: (1 if Timid.calls < 20 else -1) * backward(dy)

        verdicts = self.verdicts(Timid(), steps=8)
        assert not verdicts["more steps are not weaker"]


class TestAccuracy:
    def test_rows_and_the_ensemble(self):
        x, labels = coloured()
        images = np.clip(np.rint(x), 0, 255).astype(np.uint8)
        named = {"a": Brightest(), "b": Scaled(Brightest(), -1.0)}  # what a knows, b does not
        rows = corruption_accuracy(named, images, labels, ["jpeg", "occlusion"], [5, 1], ensemble=True, batch_size=7)
        assert rows == corruption_accuracy(named, images, labels, ["jpeg", "occlusion"], [5, 1], ensemble=True)
        assert len(rows) == 3 * 5 and rows[0]["corruption"] == "none"
        assert [row["model"] for row in rows[:3]] == ["a", "b", "ensemble"]
        assert rows[0]["correct"] > 55 and rows[1]["correct"] == 0
        by_hand = (corrupt(images, "jpeg", 5).mean(axis=(1, 2)).argmax(axis=1) == labels).sum()
        counted = {(row["model"], row["corruption"], row["strength"]): row["correct"] for row in rows}
        assert counted["a", "jpeg", 5] == by_hand

    def test_an_ensemble_is_the_mean_of_probabilities(self):
        """What neither finds likeliest may be the likeliest of both."""

        class Says(Module):
            def __init__(self, p):
                self.logits = tuple(np.log(np.maximum(p, 1e-9)))

            def forward(self, x):
                return np.tile(self.logits, (len(x), 1)), None

        named = {"a": Says([0.6, 0.4, 0.0]), "b": Says([0.0, 0.45, 0.55])}
        said = accuracy.answers(named, photographs(1), ensemble=True)
        assert {name: answer.tolist() for name, answer in said.items()} == {"a": [0], "b": [2], "ensemble": [1]}

    def test_summary_by_hand(self):
        def row(kind, strength, correct):
            return {"model": "m", "corruption": kind, "strength": strength, "correct": correct, "images": 10}

        rows = [row("none", 0, 8), row("jpeg", 1, 6), row("jpeg", 5, 2), row("contrast", 1, 8), row("contrast", 5, 0)]
        found = summary(rows, "m")
        assert found["jpeg"] == {1: 0.6, 5: 0.2, "mean": pytest.approx(0.4), "relative": pytest.approx(0.5)}
        assert found["mean"] == {
            1: pytest.approx(0.7),
            5: pytest.approx(0.1),
            "mean": pytest.approx(0.4),
            "relative": pytest.approx(0.5),
        }
        assert corruption_table(rows)[2:] == [
            "| m | none |  |  | 80.0 | 1.00 |",
            "| m | jpeg | 60.0 | 20.0 | 40.0 | 0.50 |",
            "| m | contrast | 80.0 | 0.0 | 40.0 | 0.50 |",
            "| m | mean | 70.0 | 10.0 | 40.0 | 0.50 |",
        ]
        assert means_table(rows)[2:] == ["| m | 80.0 | 40.0 | 40.0 | 40.0 | 0.50 |"]
        assert corruption_table([row("none", 0, 0), row("jpeg", 1, 0)])[3] == "| m | jpeg | 0.0 | 0.0 | - |"

    def starts(self, images, labels, batch_size):
        """What a model is shown by an attack of no steps, which is where attacks begin: one checksum an image."""
        seen = []

        class Seen(Brightest):
            def forward(self, x):
                seen.extend(x.sum(axis=(1, 2, 3)).tolist())
                return super().forward(x)

        attack_accuracy({"m": Seen()}, images, labels, [8.0], ["pgd"], steps=0, batch_size=batch_size)
        return seen

    def test_attacks(self):
        x, labels = coloured()
        images = np.clip(np.rint(x), 0, 255).astype(np.uint8)
        rows = attack_accuracy({"m": Brightest()}, images, labels, [0.0, 8.0, 30.0], steps=5)
        assert rows == attack_accuracy({"m": Brightest()}, images, labels, [0.0, 8.0, 30.0], steps=5, batch_size=7)
        assert self.starts(images, labels, 60) == self.starts(images, labels, 7)
        for of_one in (rows[:3], rows[3:]):
            first, second, third = (row["correct"] for row in of_one)
            assert first > second > third == 0
        assert attack_table(rows)[2].startswith("| m | FGSM, linf | ")
        assert attack_table(rows)[3].startswith("| m | PGD, 5 steps, linf | ")

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda m, x, y: corruption_accuracy({"m": m}, x[:0], y[:0]), "0 images and 0 labels"),
            (lambda m, x, y: corruption_accuracy({"m": m}, x, y[:1]), "and 1 labels"),
            (
                lambda m, x, y: attack_accuracy({"m": m}, x, y, [1.0], ["pdg"]),
                "unknown attack 'pdg': did you mean 'pgd'",
            ),
            (lambda m, x, y: attack_accuracy({"m": m}, x, y, [-1.0]), "eps is -1.0"),
        ],
    )
    def test_errors(self, call, message):
        with pytest.raises(ValueError, match=message):
            call(Brightest(), photographs(3), np.array([0, 1, 2]))


def test_adversarial_step():
    """It is train_step on the attacked images; the model is attacked as it answers and trained as it trains."""
    x, labels, seen = photographs(4, 8).astype(np.float32), np.array([0, 1, 2, 3]), []
    trained = []
    for adversarial in (True, False):
        model = OnPixels(models.resnet8(rng=0), PREPARED).train()
        optimizer = optim.SGD(model.parameters(), lr=0.1)

        def attack(model, x, labels):
            seen.append(pgd(model, x, labels, 8.0, 2))
            return seen[-1]

        images = x if adversarial else seen[0]
        loss, _ = adversarial_step(model, optimizer, images, labels, attack if adversarial else lambda m, x, y: x)
        trained.append((float(loss), model.state_dict()))
        assert model.training
    assert trained[0][0] == trained[1][0]
    for key, value in trained[0][1].items():
        np.testing.assert_array_equal(value, trained[1][1][key])


# The script ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def weights(tmp_path):
    """Two files of weights of resnet8."""
    paths = [tmp_path / f"{name}.safetensors" for name in ("first", "second")]
    for seed, path in enumerate(paths):
        save_file(models.resnet8(rng=seed).state_dict(), path)
    return paths


@pytest.fixture
def script(monkeypatch, capsys):
    """script(*flags) -> (exit code, stdout, stderr)"""
    loaded = scripts.load("robustness")
    return lambda *flags: scripts.call(loaded, monkeypatch, capsys, "--threads", 1, *flags)


class TestScript:
    def test_all_of_it(self, script, weights, cifar, tmp_path):
        out = tmp_path / "out"
        flags = ["--weights", *weights, "--data-dir", cifar, "--ensemble", "--attack", "fgsm", "pgd", "--eps", 2, 8]
        flags += ["--limit-test", 4]
        code, printed, err = script(*flags, "--steps", 2, "--check", "--out", out)
        assert code in (0, 1), err  # a network that knows nothing may well fail a check
        found = json.loads((out / "results.json").read_text())
        assert found["images"] == 4 and found["data"].startswith("CIFAR-10")
        assert {row["model"] for row in found["corruptions"]} == {"first", "second", "ensemble"}
        assert len(found["corruptions"]) == 3 * 41 and len(found["attacks"]) == 12
        assert [len(checks) for checks in found["checks"].values()] == [8, 8, 8]
        assert err.count(", the input gradient is the derivative: passed") == 3  # it is said while it works
        assert (code == 0) == all(check["passed"] for checks in found["checks"].values() for check in checks)
        assert len(scripts.table(out / "corruptions.csv")) == 123 and len(scripts.table(out / "attacks.csv")) == 12
        for name in ("accuracies", "adversarial", "corruptions", "attacks"):
            assert scripts.picture(out / f"{name}.png").size > (500, 300)
        assert printed.count("| first | ") == 10 + 2 and "| ensemble | mean | " in printed
        before = (out / "results.json").read_bytes()
        code, _, err = script(*flags, "--out", out)
        assert code == 1 and "holds" in scripts.one_sentence(err.splitlines()[-1])
        assert (out / "results.json").read_bytes() == before

    def test_pictures_of_a_folder(self, script, weights, tmp_path):
        for number, image in enumerate(photographs(20, 40)):
            folder = tmp_path / "pictures" / f"class{number % 10}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{number}.png")
        flags = ["--weights", weights[0], "--image-folder", tmp_path / "pictures", "--out", tmp_path / "out"]
        code, printed, err = script(*flags, "--kinds", "jpeg", "--strengths", 2, "--size", 32, "--resize", 32)
        assert code == 0, err
        assert len(scripts.table(tmp_path / "out" / "corruptions.csv")) == 2

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            (["--strengths", 6], "unknown strength '6'"),
            (["--kinds", "fog"], "unknown kind 'fog'"),
            (["--kinds", "none", "jpeg"], "--kinds none goes alone"),
            (["--kinds", "none"], "leaves nothing to do"),
            (["--eps", -1, "--attack", "pgd"], "eps is -1.0, expected a number from 0 up"),
            (["--eps", "nan", "--attack", "pgd"], "eps is nan"),
            (["--steps", 0], "--steps must be at least 1, got 0"),
            (["--limit-test", 0], "--limit-test must be at least 1"),
            (["--seed", -1], "--seed must be at least 0"),
            (["--ensemble"], "--ensemble is the mean of several networks"),
            (["--size", 64], "give an --image-folder"),
            (["--norm", "l1"], "invalid choice: 'l1'"),
        ],
    )
    def test_bad_flags(self, script, weights, cifar, tmp_path, flags, message):
        code, _, err = script("--weights", weights[0], "--data-dir", cifar, "--out", tmp_path / "out", *flags)
        assert code != 0 and message in scripts.one_sentence(err)
        assert not (tmp_path / "out").exists()

    def test_bad_files(self, script, weights, cifar, tmp_path):
        other = tmp_path / "seven.safetensors"
        save_file(models.resnet8(7, rng=0).state_dict(), other)
        (tmp_path / "empty").mkdir()
        (tmp_path / "text.pth").write_text("no weights")
        out = ["--out", tmp_path / "out"]
        for flags, message in (
            (["--weights", tmp_path / "missing.th", "--data-dir", cifar], "missing.th"),
            (["--weights", tmp_path / "text.pth", "--data-dir", cifar], "text.pth"),
            (["--weights", other, "--data-dir", cifar], "resnet8 for 7 classes, and CIFAR-10"),
            (["--weights", weights[0], "--image-folder", tmp_path / "empty"], "empty"),
            (["--weights", weights[0], "--image-folder", tmp_path / "nowhere"], "nowhere"),
            (["--weights", weights[0], "--image-folder", tmp_path, "--dataset", "cifar10"], "name two data sets"),
        ):
            code, _, err = script(*flags, *out)
            assert code == 1 and message in scripts.one_sentence(err), err
        assert not (tmp_path / "out").exists()
