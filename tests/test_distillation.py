"""distillation, Teacher and examples/distill.py: the loss and its derivative, the same pictures, a run like others."""

import json
import math
import os
import shutil
import signal

import numpy as np
import pytest
import scripts
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file
from scripts import one_sentence

from minires import checkpoint, models, optim
from minires.cli.saved import Script, checked_config
from minires.data import normalize
from minires.data.images import Preprocessing
from minires.losses import cross_entropy, distillation
from minires.losses.distillation import softened
from minires.pretrained import weights as pretrained_weights
from minires.sharded_step import sharded_step
from minires.shards import Batch
from minires.teacher import Teacher, prepared
from minires.training import loss_and_gradients, train_step

CIFAR = Preprocessing((0.5, 0.4, 0.3), (0.2, 0.25, 0.3), size=32, resize=32)
IMAGENET = Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), size=32, resize=32)


def normal(*shape, seed=0):
    return np.random.default_rng([seed, 5]).standard_normal(shape)


# The loss -----------------------------------------------------------------------------------------------------------


@st.composite
def cases(draw):
    """(logits, labels, the teacher's logits, temperature, alpha)"""
    N, K = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    logits, teachers = 2 * rng.standard_normal((2, N, K))
    T, alpha = draw(st.sampled_from([0.5, 1.0, 3.0, 20.0])), draw(st.sampled_from([0.0, 0.3, 0.9, 1.0]))
    return logits, rng.integers(0, K, N), teachers, T, alpha


def naive(logits, labels, teachers, T, alpha):
    """The formula, item by item and class by class."""
    total = 0.0
    for z, label, v in zip(logits, labels, teachers, strict=True):
        p, q = ([math.exp(a / T) / sum(math.exp(b / T) for b in row) for a in row] for row in (z, v))
        total += alpha * T**2 * sum(b * math.log(b / a) for a, b in zip(p, q, strict=True))
        total -= (1 - alpha) * math.log(math.exp(z[label]) / sum(math.exp(b) for b in z))
    return total / len(logits)


@given(cases())
def test_gradient_and_purity(check_operation, drawn):
    logits, labels, teachers, T, alpha = drawn
    q = softened(teachers, T)
    before = q.copy()
    check_operation(lambda logits: distillation(logits, labels, q, T, alpha), logits)
    np.testing.assert_array_equal(q, before)


@given(cases())
def test_naive_loop(drawn):
    logits, labels, teachers, T, alpha = drawn
    loss, _ = distillation(logits, labels, softened(teachers, T), T, alpha)
    assert loss == pytest.approx(naive(*drawn), rel=1e-9, abs=1e-11)


@given(cases())
def test_pytorch(torch, drawn):
    """kl_div with batchmean, the form that PyTorch's own tutorial multiplies by T^2."""
    logits, labels, teachers, T, alpha = drawn
    F, z = torch.nn.functional, torch.tensor(logits, requires_grad=True)
    q = F.softmax(torch.tensor(teachers) / T, dim=1)
    soft = F.kl_div(F.log_softmax(z / T, dim=1), q, reduction="batchmean")
    theirs = alpha * T**2 * soft + (1 - alpha) * F.cross_entropy(z, torch.tensor(labels))
    theirs.backward(torch.tensor(1.7, dtype=torch.float64))
    loss, backward = distillation(logits, labels, q.numpy(), T, alpha)
    assert loss == pytest.approx(theirs.item(), rel=1e-9, abs=1e-11)
    np.testing.assert_allclose(backward(1.7), z.grad.numpy(), rtol=1e-9, atol=1e-12)


def test_closed_form_of_the_gradient():
    logits, labels, T, alpha = normal(3, 4), np.array([1, 3, 0]), 3.0, 0.6
    q, p, t = softened(normal(3, 4, seed=1), T), softened(logits, T), np.eye(4)[labels]
    _, backward = distillation(logits, labels, q, T, alpha)
    expected = alpha * T * (p - q) / 3 + (1 - alpha) * (softened(logits) - t) / 3
    np.testing.assert_allclose(backward(), expected, rtol=1e-13)


def test_at_a_high_temperature_logits_are_matched():
    """T^2 KL -> sum of d^2 / 2K, where d = (z - mean of z) - (v - mean of v); its gradient d / NK; the rest ~ 1/T."""
    z, v, labels = normal(3, 5), normal(3, 5, seed=1), np.array([0, 1, 2])
    difference = (z - z.mean(axis=1, keepdims=True)) - (v - v.mean(axis=1, keepdims=True))
    errors = []
    for T in (10.0, 100.0, 1000.0):
        loss, backward = distillation(z, labels, softened(v, T), T, 1.0)
        errors.append(np.abs(backward() - difference / (3 * 5)).max())
    np.testing.assert_allclose(loss, (difference**2).sum() / (2 * 3 * 5), rtol=1e-2)
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.2) and errors[1] / errors[2] == pytest.approx(10, rel=0.2)


def test_the_teacher_s_share_does_not_shrink_with_the_temperature():
    """Without the factor T^2 the gradient of the soft part would fall like 1/T^2: from 4 to 40, to a hundredth."""
    z, v = normal(3, 5), normal(3, 5, seed=1)
    norms = [
        np.linalg.norm(distillation(z, np.array([0, 1, 2]), softened(v, T), T, 1.0)[1]()) for T in (4.0, 40.0, 400.0)
    ]
    assert max(norms) / min(norms) < 1.5


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.2}, {"weight": np.array([1.0, 2, 0.5, 1])}])
def test_alpha_0_is_cross_entropy(options):
    logits, labels = normal(3, 4), np.array([1, 3, 0])
    loss, backward = distillation(logits, labels, softened(normal(3, 4, seed=1), 2.0), 2.0, 0.0, **options)
    usual, usual_backward = cross_entropy(logits, labels, **options)
    assert loss == pytest.approx(usual, rel=1e-14)
    np.testing.assert_array_equal(backward(), usual_backward())


def test_alpha_1_looks_at_no_label_and_ends_at_0():
    logits = normal(3, 4)
    found = [
        distillation(logits, np.array(labels), softened(logits, 5.0), 5.0, 1.0) for labels in ([0, 0, 0], [1, 2, 3])
    ]
    for loss, backward in found:
        assert loss == pytest.approx(0, abs=1e-12)
        np.testing.assert_allclose(backward(), 0, atol=1e-15)


def test_a_class_that_the_teacher_excludes():
    """0 * log 0 = 0: no NaN."""
    q = np.array([[0.0, 1.0, 0.0]])
    loss, backward = distillation(np.zeros((1, 3)), np.array([1]), q, 1.0, 1.0)
    assert loss == pytest.approx(math.log(3))
    np.testing.assert_allclose(backward(), [[1 / 3, -2 / 3, 1 / 3]])


def test_large_logits_are_no_danger():
    logits = np.array([[1e4, 0, -1e4]], np.float32)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        q = softened(-logits, 1.0)
        loss, backward = distillation(logits, np.array([0]), q, 1.0, 0.5)
    assert loss == pytest.approx(1e4) and loss.dtype == backward().dtype == np.float32


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"temperature": 0}, "the temperature is 0, expected a number above 0"),
        ({"temperature": math.inf}, "the temperature is inf"),
        ({"alpha": 1.5}, "alpha is 1.5, expected a number from 0"),
        ({"alpha": math.nan}, "alpha is nan"),
        ({"teacher": np.ones((3, 5))}, r"of shape \(3, 5\), expected floats: probabilities of the logits' shape"),
        ({"teacher": np.ones((3, 4), np.int64)}, "teacher is int64"),
    ],
)
def test_what_cannot_be(changes, words):
    given = {"teacher": softened(normal(3, 4)), "temperature": 1.0, "alpha": 0.5, **changes}
    with pytest.raises(ValueError, match=words):
        distillation(normal(3, 4), np.array([0, 1, 2]), **given)


# The teacher --------------------------------------------------------------------------------------------------------


def pixels(n=3):
    return np.random.default_rng(0).integers(0, 256, (n, 32, 32, 3)).astype(np.uint8)


@pytest.mark.parametrize("own", [CIFAR, IMAGENET])
def test_a_teacher_sees_the_pictures_as_it_learned_them(own):
    x = normalize(pixels(), CIFAR.mean, CIFAR.std)
    found = prepared(own, CIFAR.mean, CIFAR.std)(x)
    np.testing.assert_allclose(found, normalize(pixels(), own.mean, own.std), atol=2e-6)
    assert (found is x) == (own is CIFAR)


def test_channels_turned_round():
    own = Preprocessing(IMAGENET.mean, IMAGENET.std, "BGR", 32, 32)
    found = prepared(own, CIFAR.mean, CIFAR.std)(normalize(pixels(), CIFAR.mean, CIFAR.std))
    np.testing.assert_allclose(found, normalize(pixels()[..., ::-1], own.mean, own.std), atol=2e-6)


def test_several_teachers_are_the_mean_of_their_probabilities():
    """And they run as at a test: the same answer twice, running statistics and modes as before."""
    networks = [(models.resnet8(rng=0), CIFAR), (models.resnet8(rng=1), IMAGENET)]
    before = {key: array.copy() for key, array in networks[0][0].state_dict().items()}
    x = normalize(pixels(), CIFAR.mean, CIFAR.std)
    q = Teacher(networks, CIFAR.mean, CIFAR.std, 3.0)(x)
    each = []
    for network, own in networks:
        logits, _ = network.eval()(normalize(pixels(), own.mean, own.std))
        each.append(np.exp(logits / 3) / np.exp(logits / 3).sum(axis=1, keepdims=True))
        network.train()
    np.testing.assert_allclose(q, (each[0] + each[1]) / 2, rtol=1e-4)
    for key, array in networks[0][0].state_dict().items():
        np.testing.assert_array_equal(array, before[key])


def test_a_teacher_of_no_network():
    with pytest.raises(ValueError, match="no network is given: give one"):
        Teacher([], CIFAR.mean, CIFAR.std)


def test_a_step_of_distillation():
    """The gradients are those of the loss, and the number of right answers is the labels'."""
    x, labels = normal(4, 32, 32, 3).astype("f"), np.array([0, 1, 2, 3])
    teacher, student = Teacher([(models.resnet8(rng=1), CIFAR)], CIFAR.mean, CIFAR.std, 2.0), models.resnet8(rng=0)
    loss, right = loss_and_gradients(student, x, labels, criterion=teacher.criterion(0.7))
    found = [parameter.grad for parameter in student.parameters()]
    student = models.resnet8(rng=0)
    logits, backward = student(x)
    expected, loss_backward = distillation(logits, labels, teacher(x), 2.0, 0.7)
    backward(loss_backward())
    assert loss == expected and right == (logits.argmax(axis=1) == labels).sum()
    for gradient, parameter in zip(found, student.parameters(), strict=True):
        np.testing.assert_allclose(gradient, parameter.grad, rtol=1e-4, atol=1e-6)


def test_shards_of_a_batch_have_the_batch_s_gradient():
    """Without batch norm, whose statistics are a shard's."""
    x, labels = normal(6, 32, 32, 3).astype("f"), np.arange(6)
    criterion = Teacher([(models.resnet8(rng=1), CIFAR)], CIFAR.mean, CIFAR.std, 2.0).criterion(0.7)
    whole, cut = models.simple_cnn(rng=0), models.simple_cnn(rng=0)
    loss, _ = train_step(whole, optim.SGD(whole.parameters(), 0.1), x, labels, criterion=criterion)
    found = sharded_step(cut, optim.SGD(cut.parameters(), 0.1), Batch.of(x, labels, 3), criterion=criterion)
    assert float(found.loss) == pytest.approx(float(loss), rel=1e-5)
    for one, other in zip(whole.parameters(), cut.parameters(), strict=True):
        np.testing.assert_allclose(one.data, other.data, rtol=1e-3, atol=1e-6)


# The script ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def script():
    return scripts.load("distill")


@pytest.fixture
def distill(script, cifar, monkeypatch, capsys):
    """distill("--flag", ...) -> (exit code, stdout, stderr), on the tiny copy."""
    monkeypatch.setattr(script.runs.Recorder, "picture", lambda self, name, draw: None)  # slower than a run
    more = ("--data-dir", cifar, "--device", "cpu", "--no-progress")
    return lambda *flags: scripts.call(script, monkeypatch, capsys, *flags, *more)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """resnet8 for ten classes, as another program would leave it."""
    path = tmp_path_factory.mktemp("teacher") / "resnet8.safetensors"
    save_file(models.resnet8(rng=5).state_dict(), path)
    return path


SHORT = ("--model", "simple_cnn", "--epochs", 2, "--batch-size", 16, "--seed", 3)


def state_of(run, name="last"):
    return checkpoint.load(run / f"{name}.safetensors").model


def same(one, other):
    return one.keys() == other.keys() and all(one[key].tobytes() == other[key].tobytes() for key in one)


def test_a_run_is_one_of_train_cifar(distill, teacher, cifar, tmp_path, monkeypatch, capsys):
    code, printed, err = distill("--teacher", teacher, *SHORT, "--out", tmp_path / "run")
    assert code == 0, err
    assert "teacher weights: resnet8, 10 classes" in printed and "the file does not say how its images" in err
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["settings"]["teacher"] == [str(teacher)] and config["settings"]["alpha"] == 0.9
    assert config["teachers"][0]["model"] == "resnet8"
    train_cifar = scripts.load("train_cifar")
    flags = ("--evaluate", tmp_path / "run", "--data-dir", cifar, "--device", "cpu", "--json")
    code, printed, err = scripts.call(train_cifar, monkeypatch, capsys, *flags)
    assert code == 0, err
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert json.loads(printed)["test_acc"] == result["test_acc"]
    code, _, err = scripts.call(train_cifar, monkeypatch, capsys, "--resume", tmp_path / "run")
    assert code == 1 and "was begun by distill.py: go on with it there" in one_sentence(err)


def test_the_teacher_matters_and_alpha_0_is_a_run_without(distill, teacher, tmp_path, monkeypatch, capsys, cifar):
    for alpha in (0, 0.9):
        assert distill("--teacher", teacher, *SHORT, "--alpha", alpha, "--out", tmp_path / f"{alpha}")[0] == 0
    train_cifar = scripts.load("train_cifar")
    monkeypatch.setattr(train_cifar.runs.Recorder, "picture", lambda self, name, draw: None)
    flags = (*SHORT, "--data-dir", cifar, "--device", "cpu", "--no-progress", "--out", tmp_path / "alone")
    assert scripts.call(train_cifar, monkeypatch, capsys, *flags)[0] == 0
    assert same(state_of(tmp_path / "0"), state_of(tmp_path / "alone"))
    assert not same(state_of(tmp_path / "0.9"), state_of(tmp_path / "alone"))


def test_a_run_that_was_stopped_ends_with_the_same_bits(distill, teacher, tmp_path):
    """Also where the teacher's file has moved since, which --teacher says."""
    assert distill("--teacher", teacher, *SHORT, "--out", tmp_path / "whole")[0] == 0
    stopped, moved = tmp_path / "stopped", tmp_path / "moved.safetensors"
    stopped.mkdir()
    shutil.copy(tmp_path / "whole" / "previous.safetensors", stopped / "last.safetensors")  # after the first epoch
    shutil.copy(tmp_path / "whole" / "config.json", stopped)
    shutil.copy(teacher, moved)
    code, printed, err = distill("--resume", stopped, "--teacher", moved)
    assert code == 0, err
    assert "going on after epoch 1" in printed
    assert same(state_of(stopped), state_of(tmp_path / "whole"))
    assert json.loads((stopped / "config.json").read_text())["settings"]["teacher"] == [str(moved)]


def test_ctrl_c_saves_and_going_on_ends_with_the_same_bits(distill, script, teacher, tmp_path, monkeypatch):
    assert distill("--teacher", teacher, *SHORT, "--out", tmp_path / "whole")[0] == 0
    batch = script.runs.Watcher.batch

    def stop_at_three(self, trainer):
        batch(self, trainer)
        if trainer.position.iteration == 3:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(script.runs.Watcher, "batch", stop_at_three)
    code, printed, _ = distill("--teacher", teacher, *SHORT, "--out", tmp_path / "run")
    assert code == 130 and f"--resume {tmp_path / 'run'}" in printed.splitlines()[-1]
    assert "distill.py" in printed.splitlines()[-1]
    monkeypatch.setattr(script.runs.Watcher, "batch", batch)
    assert distill("--resume", tmp_path / "run")[0] == 0
    assert same(state_of(tmp_path / "run"), state_of(tmp_path / "whole"))
    assert same(state_of(tmp_path / "run", "best"), state_of(tmp_path / "whole", "best"))


def test_a_teacher_that_is_gone(distill, teacher, tmp_path):
    gone = tmp_path / "gone.safetensors"
    shutil.copy(teacher, gone)
    assert distill("--teacher", gone, *SHORT, "--out", tmp_path / "run")[0] == 0
    gone.unlink()
    code, _, err = distill("--resume", tmp_path / "run")
    assert code == 1 and f"its teacher {gone} is gone: say with --teacher where it is now" in one_sentence(err)
    assert distill("--resume", tmp_path / "run", "--teacher", teacher)[0] == 0


BAD = [("teacher", None), ("teacher", []), ("teacher", [3])]
BAD += [("temperature", "4"), ("temperature", None), ("alpha", [0.9])]


def test_settings_that_no_flag_takes(distill, script, teacher, tmp_path):
    assert distill("--teacher", teacher, *SHORT, "--epochs", 1, "--out", tmp_path / "run")[0] == 0
    path = tmp_path / "run" / "last.safetensors"
    config = checkpoint.load(path).info["config"]
    of_script = Script(script.command_line(), script.DEFAULTS, "distill.py")
    assert checked_config(path, config, of_script, "run") == config
    for name, value in BAD:
        with pytest.raises(checkpoint.CheckpointError, match=f"its settings are damaged .{name} is "):
            checked_config(path, config | {"settings": config["settings"] | {name: value}}, of_script, "run")


def test_teachers_that_the_run_did_not_begin_with(distill, teacher, tmp_path):
    other = tmp_path / "other.safetensors"
    save_file(models.resnet8(rng=6).state_dict(), other)
    assert distill("--teacher", teacher, *SHORT, "--out", tmp_path / "run")[0] == 0
    before = sorted((path.name, path.read_bytes()) for path in (tmp_path / "run").iterdir())
    for flags in (("--teacher", other), ("--teacher", teacher, teacher)):
        code, _, err = distill("--resume", tmp_path / "run", *flags)
        assert code == 1 and "the run began with other teachers: name their files" in one_sentence(err)
    code, _, err = distill("--resume", tmp_path / "run", "--temperature", 2)
    assert code == 1 and "--temperature 2.0 (was 4.0)" in one_sentence(err)
    assert sorted((path.name, path.read_bytes()) for path in (tmp_path / "run").iterdir()) == before


def written(path, network, **metadata):
    """A file of weights that says of itself what `metadata` does."""
    usual = {"model": "resnet8", "num_classes": network.fc.weight.shape[0], "options": {"shortcut": "A"}}
    usual |= {"classes": None, "source": "a test", "assumed": False, "preprocessing": vars(CIFAR)}
    pretrained_weights.write(path, network.state_dict(), usual | metadata)
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path, "No such file or directory): name a file of weights"),
        (lambda path: path.write_bytes(b"no weights") and path, "error: "),
        (
            lambda path: written(path, models.resnet8(7, rng=0)),
            "has 10: fine-tune it on this data first, python examples/finetune.py --weights ",
        ),
        (
            lambda path: written(path, models.resnet8(rng=0), classes=[f"thing {n}" for n in range(10)]),
            "verified), in order ('thing 0' where that has 'airplane'): fine-tune it on",
        ),
        (
            lambda path: written(path, models.resnet8(rng=0), preprocessing={**vars(CIFAR), "size": 64, "resize": 64}),
            "for 64x64 pixels, and the images have 32x32",
        ),
    ],
    ids=["missing", "no weights", "classes", "names", "size"],
)
def test_a_teacher_that_does_not_fit(distill, tmp_path, make, words):
    path = make(tmp_path / "teacher.safetensors")
    code, _, err = distill("--teacher", path, *SHORT, "--out", tmp_path / "run")
    assert code == 1 and words in one_sentence(err)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--temperature", 0), "the temperature is 0.0, expected a number above 0"),
        (("--alpha", 2), "alpha is 2.0, expected a number from 0"),
        (("--model", "googlenet", "--shortcut", "B"), "googlenet has none"),
    ],
)
def test_flags_that_cannot_be(distill, teacher, tmp_path, flags, words):
    code, _, err = distill("--teacher", teacher, *flags, "--out", tmp_path / "run")
    assert code == 1 and words in one_sentence(err)
    assert not (tmp_path / "run").exists()


def test_no_teacher(distill):
    code, _, err = distill(*SHORT)
    assert code == 1 and "--teacher is missing: name a file of weights" in one_sentence(err)
