"""Ensembles and views: log_mean_softmax and its derivative, networks as they were trained, scripts with several."""

import json
import math

import numpy as np
import pytest
import scripts
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import save_file
from scripts import one_sentence

from minires import data, models, no_grad
from minires.data import normalize
from minires.data.images import Preprocessing
from minires.ensemble import Ensemble, Prepared, Views, log_mean_softmax, tta_views, view_of
from minires.gradcheck import gradcheck
from minires.losses import cross_entropy
from minires.models.fold import fold
from minires.training import evaluate

CIFAR = Preprocessing((0.5, 0.4, 0.3), (0.2, 0.25, 0.3), size=32, resize=32)
CAFFE = Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "BGR", size=32, resize=32)


def normal(*shape, seed=0):
    return np.random.default_rng([seed, 11]).standard_normal(shape)


def pixels(n=3):
    return np.random.default_rng(0).integers(0, 256, (n, 32, 32, 3)).astype(np.uint8)


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


# The mean of probabilities ------------------------------------------------------------------------------------------


@st.composite
def logits_of_several(draw):
    K, N, C = draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(st.integers(1, 5))
    return 3 * np.random.default_rng(draw(st.integers(0, 1000))).standard_normal((K, N, C))


@given(logits_of_several())
def test_gradient_and_purity(check_operation, logits):
    check_operation(log_mean_softmax, logits)


@given(logits_of_several())
def test_naive_loop(logits):
    y, _ = log_mean_softmax(logits)
    K, N, C = logits.shape
    for n in range(N):
        for c in range(C):
            shares = [math.exp(z[n, c]) / sum(math.exp(other) for other in z[n]) for z in logits]
            assert y[n, c] == pytest.approx(math.log(sum(shares) / K), rel=1e-9, abs=1e-11)


@given(logits_of_several())
def test_pytorch(torch, logits):
    z = torch.tensor(logits, requires_grad=True)
    theirs = torch.logsumexp(torch.log_softmax(z, dim=-1), dim=0) - math.log(len(logits))
    dy = normal(*logits.shape[1:], seed=1)
    theirs.backward(torch.tensor(dy))
    y, backward = log_mean_softmax(logits)
    np.testing.assert_allclose(y, theirs.detach().numpy(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(backward(dy), z.grad.numpy(), rtol=1e-9, atol=1e-12)


@given(logits_of_several())
def test_the_mean_of_probabilities_is_never_worse_than_the_mean_of_losses(logits):
    """Jensen: -log is convex, so -log(mean of p) <= mean of -log p, for each image; equal where all members agree."""
    labels = np.random.default_rng(1).integers(0, logits.shape[2], logits.shape[1])
    loss, _ = cross_entropy(log_mean_softmax(logits)[0], labels)
    of_each = [float(cross_entropy(z, labels)[0]) for z in logits]
    assert loss <= np.mean(of_each) + 1e-12
    alike = np.broadcast_to(logits[:1], logits.shape)
    assert cross_entropy(log_mean_softmax(alike)[0], labels)[0] == pytest.approx(of_each[0], rel=1e-12, abs=1e-13)


def test_probabilities_too_small_for_a_float():
    """In float32 exp(-200) is 0, and its logarithm would be minus infinity."""
    logits = np.array([[[0.0, -200.0]], [[0.0, -300.0]]], np.float32)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        y, backward = log_mean_softmax(logits)
        dlogits = backward(np.ones_like(y))
    np.testing.assert_allclose(y, [[0, -200 - math.log(2)]], rtol=1e-6)
    assert y.dtype == dlogits.dtype == np.float32 and np.isfinite(dlogits).all()


@pytest.mark.parametrize(
    ("logits", "error", "words"),
    [
        (np.zeros((2, 3)), ValueError, r"logits must have shape \(K, N, classes\), got \(2, 3\): stack them"),
        (np.zeros((0, 2, 3)), ValueError, "empty batch"),
        (np.zeros((1, 2, 3), np.int64), Exception, "int64"),
    ],
)
def test_what_cannot_be(logits, error, words):
    with pytest.raises(error, match=words):
        log_mean_softmax(logits)


# Networks -----------------------------------------------------------------------------------------------------------


def test_each_member_sees_the_pictures_as_it_learned_them():
    networks = [(models.resnet8(rng=0), CIFAR), (models.resnet8(rng=1), CAFFE), (models.simple_cnn(rng=2), CIFAR)]
    ensemble = Ensemble(networks, CIFAR.mean, CIFAR.std).eval()
    y, _ = ensemble(normalize(pixels(), CIFAR.mean, CIFAR.std))
    each = []
    for network, own in networks:
        turned = pixels() if own.order == "RGB" else np.ascontiguousarray(pixels()[..., ::-1])
        each.append(softmax(network(normalize(turned, own.mean, own.std))[0]))
    np.testing.assert_allclose(softmax(y), np.mean(each, axis=0), rtol=1e-4)


def test_a_member_of_the_same_preprocessing_is_the_network_itself():
    x, network = normalize(pixels(), CIFAR.mean, CIFAR.std), models.resnet8(rng=0).eval()
    np.testing.assert_array_equal(Prepared(network, CIFAR, CIFAR.mean, CIFAR.std)(x)[0], network(x)[0])


@pytest.mark.parametrize("kind", ["members", "views"])
def test_the_gradient_of_the_images(kind):
    """In float64, through both networks, their preprocessing, and every view."""
    networks = [(models.simple_cnn(num_classes=3, rng=seed), own) for seed, own in enumerate((CIFAR, CAFFE))]
    ensemble = Ensemble(networks, CIFAR.mean, CIFAR.std).to(np.float64).eval()
    model = ensemble if kind == "members" else Views(ensemble.member1, tta_views("shifts", 32))
    gradcheck(model, normal(1, 32, 32, 3), max_elements=30)


def test_evaluate_and_fold_take_an_ensemble():
    """The loss and the accuracy of the mean, batch norms folded; the networks stay as they were."""
    networks = [(models.resnet8(rng=seed), own) for seed, own in enumerate((CIFAR, CAFFE))]
    ensemble, labels = Ensemble(networks, CIFAR.mean, CIFAR.std), np.arange(6) % 10
    loader = data.Loader(pixels(6), labels, 4, CIFAR.mean, CIFAR.std)
    found = evaluate(ensemble, loader, 10)
    assert ensemble.training and networks[0][0].training
    ensemble.eval()
    with no_grad():
        y, _ = ensemble(normalize(pixels(6), CIFAR.mean, CIFAR.std))
        folded, _ = fold(ensemble)(normalize(pixels(6), CIFAR.mean, CIFAR.std))
    assert found.loss == pytest.approx(float(cross_entropy(y, labels)[0]), rel=1e-5)
    assert found.accuracy == (y.argmax(axis=1) == labels).mean()
    np.testing.assert_allclose(folded, y, rtol=1e-4, atol=1e-5)


def test_networks_that_cannot_share_a_batch():
    with pytest.raises(ValueError, match="no network is given: give one"):
        Ensemble([], CIFAR.mean, CIFAR.std)
    large = Preprocessing(CIFAR.mean, CIFAR.std, size=64, resize=64)
    with pytest.raises(ValueError, match="networks for images of 32 and 64 pixels cannot share a batch: prepare"):
        Ensemble([(models.resnet8(), CIFAR), (models.resnet8(), large)], CIFAR.mean, CIFAR.std)


# Views --------------------------------------------------------------------------------------------------------------


@given(st.booleans(), st.integers(-4, 4), st.integers(-4, 4))
def test_a_view_pixel_by_pixel(check_operation, mirrored, down, right):
    x = normal(2, 3, 4, 2)
    y, _ = view_of(x, mirrored, down, right)
    for h in range(3):
        for w in range(4):
            i, j = h - down, (3 - w if mirrored else w) - right
            inside = 0 <= i < 3 and 0 <= j < 4
            np.testing.assert_array_equal(y[:, h, w], x[:, i, j] if inside else np.zeros((2, 2)))
    if (mirrored, down, right) != (False, 0, 0):
        check_operation(lambda x: view_of(x, mirrored, down, right), x)


def test_views_by_name():
    assert tta_views("none", 32) == [(False, 0, 0)]
    assert tta_views("mirror", 32) == [(False, 0, 0), (True, 0, 0)]
    shifts = tta_views("shifts", 32)
    assert len(set(shifts)) == 10 and (True, -2, 0) in shifts and (False, 0, 2) in shifts
    with pytest.raises(ValueError, match="augmentation 'flip' is unknown: choose one of none, mirror, shifts"):
        tta_views("flip", 32)
    with pytest.raises(ValueError, match="no view is given"):
        Views(models.resnet8(), [])


def test_a_mirror_image_gets_the_same_answer():
    """Of the image and its mirror image together, and not of the image alone."""
    model, x = models.resnet8(rng=0).eval(), normal(2, 32, 32, 3).astype("f")
    both = Views(model, tta_views("mirror", 32))
    np.testing.assert_allclose(both(x)[0], both(x[:, :, ::-1])[0], rtol=1e-4, atol=1e-5)
    assert np.abs(model(x)[0] - model(x[:, :, ::-1])[0]).max() > 1e-2
    each = [softmax(model(view)[0]) for view in (x, np.ascontiguousarray(x[:, :, ::-1]))]
    np.testing.assert_allclose(softmax(both(x)[0]), np.mean(each, axis=0), rtol=1e-4)


# The scripts --------------------------------------------------------------------------------------------------------


@pytest.fixture
def script(monkeypatch, capsys):
    return lambda name, *flags: scripts.call(scripts.load(name), monkeypatch, capsys, *flags)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ensemble")
    paths = [folder / f"{name}.safetensors" for name in ("a", "b", "c")]
    for seed, path in enumerate(paths):
        save_file((models.simple_cnn if seed == 2 else models.resnet8)(rng=seed).state_dict(), path)
    Image.fromarray(pixels(1)[0]).resize((40, 50)).save(folder / "picture.png")
    save_file(models.resnet8(num_classes=7, rng=9).state_dict(), folder / "seven.safetensors")
    return folder, paths


def figures(printed):
    return json.loads(printed.splitlines()[-1])


def test_evaluate_is_the_mean(script, files, cifar):
    """Against the networks called by hand; one file alone, and one with itself, is that file."""
    _, paths = files
    flags = ("--data-dir", cifar, "--device", "cpu", "--json")
    code, printed, err = script("train_cifar", "--evaluate", *paths[:2], *flags)
    assert code == 0, err
    found, dataset = figures(printed), data.read_cifar10(cifar)
    x = normalize(dataset.test_images, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    with no_grad():
        mean = np.mean([softmax(models.resnet8(rng=seed).eval()(x)[0]) for seed in (0, 1)], axis=0)
    assert found["model"] == "resnet8 + resnet8"
    assert found["test_correct"] == (mean.argmax(axis=1) == dataset.test_labels).sum()
    expected = -np.log(mean[np.arange(len(x)), dataset.test_labels]).mean()
    assert found["test_loss"] == pytest.approx(expected, rel=1e-4)
    alone = figures(script("train_cifar", "--evaluate", paths[0], *flags)[1])
    code, printed, err = script("train_cifar", "--evaluate", paths[0], paths[0], *flags)
    assert "a.safetensors is given twice and counts twice" in err
    assert figures(printed)["test_loss"] == pytest.approx(alone["test_loss"], rel=1e-5)
    assert alone["test_loss"] > found["test_loss"]


def test_evaluate_with_views(script, files, cifar):
    _, paths = files
    flags = ("--evaluate", *paths[:2], "--data-dir", cifar, "--device", "cpu", "--json")
    results = {tta: figures(script("train_cifar", *flags, "--tta", tta)[1])["test_loss"] for tta in ("none", "mirror")}
    dataset = data.read_cifar10(cifar)
    x = normalize(dataset.test_images, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    with no_grad():
        networks = [models.resnet8(rng=seed).eval() for seed in (0, 1)]
        mean = np.mean([softmax(network(v)[0]) for network in networks for v in (x, x[:, :, ::-1].copy())], axis=0)
    expected = -np.log(mean[np.arange(len(x)), dataset.test_labels]).mean()
    assert results["mirror"] == pytest.approx(expected, rel=1e-4) and results["none"] != results["mirror"]


def test_predict_is_the_mean(script, files):
    """Of networks of several kinds, and of their views."""
    folder, paths = files
    picture = folder / "picture.png"
    flags = ("--json", "--top", 10, "--device", "cpu")
    code, printed, err = script("predict", picture, "--weights", *paths, "--tta", "mirror", *flags)
    assert code == 0, err
    found = json.loads(printed)
    assert found["model"] == "resnet8 + resnet8 + simple_cnn"
    preprocessing = Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), size=32, resize=32)
    x = normalize(preprocessing.pixels(scripts.picture(picture))[None], preprocessing.mean, preprocessing.std)
    networks = [models.resnet8(rng=0), models.resnet8(rng=1), models.simple_cnn(rng=2)]
    with no_grad():
        mean = np.mean([softmax(model.eval()(v)[0]) for model in networks for v in (x, x[:, :, ::-1].copy())], axis=0)
    got = {guess["label"]: guess["probability"] for guess in found["top"]}
    np.testing.assert_allclose([got[label] for label in range(10)], mean[0], rtol=1e-4)


def test_files_that_cannot_answer_together(script, files, cifar):
    folder, paths = files
    seven = folder / "seven.safetensors"
    for name, flags in (
        ("train_cifar", ("--evaluate", paths[0], seven, "--data-dir", cifar)),
        ("predict", (folder / "picture.png", "--weights", paths[0], seven)),
    ):
        code, printed, err = script(name, *flags, "--device", "cpu")
        assert code == 1 and "a.safetensors has 10 classes and" in one_sentence(err)
        assert "seven.safetensors 7: give weights for the same classes" in err
    code, _, err = script("train_cifar", "--tta", "mirror")
    assert code == 1 and "--tta goes with --evaluate" in one_sentence(err)
