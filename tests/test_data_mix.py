"""mixup and CutMix: their formulas, whom they mix, and that the same images come whoever makes them, and when."""

import sys

import cupy_double
import numpy as np
import pytest
import scripts
from hypothesis import given
from hypothesis import strategies as st
from scripts import one_sentence, table
from test_data_loader import MEAN, STD, make_set
from test_train_cifar import FAST

from minires import models, optim
from minires.backend import to_numpy
from minires.data import Augment, Loader, Mix, cutmix, mixup
from minires.data.mix import draw_box, mixed_labels
from minires.losses import cross_entropy
from minires.recorded_step import RecordedStep
from minires.sharded_step import sharded_step
from minires.training import train_step

CLASSES = 10
MIXES = {"mixup": Mix(CLASSES, mixup=0.4), "cutmix": Mix(CLASSES, cutmix=1.0), "both": Mix(CLASSES, 0.4, 1.0)}
every_mix = pytest.mark.parametrize("mix", MIXES.values(), ids=MIXES)


def some(count):
    """Images, and labels of the classes."""
    images, labels = make_set(count)
    return images, labels % CLASSES


def loader(mix, count=33, device="cpu", shuffle=True, augment=Augment(padding=2, cutout=2), **options):  # noqa: B008
    return Loader(*some(count), 8, MEAN, STD, augment, shuffle, seed=4, device=device, mix=mix, **options)


def test_mixup_by_hand():
    a, b = np.full((2, 1, 1, 3), 4.0), np.full((2, 1, 1, 3), 8.0)
    np.testing.assert_array_equal(mixup(a, b, 0.75), np.full((2, 1, 1, 3), 5.0))
    assert a.max() == 4 and b.min() == 8


def test_cutmix_by_hand():
    a, b = np.zeros((2, 4, 4, 1)), np.ones((2, 4, 4, 1))
    y = cutmix(a, b, (1, 3, 2, 4))
    np.testing.assert_array_equal(y[1, :, :, 0], [[0, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0]])
    assert a.max() == 0


def test_labels_by_hand():
    t = mixed_labels(np.array([0, 2]), np.array([1, 2]), 0.75, 3)
    np.testing.assert_array_equal(t, np.array([[0.75, 0.25, 0], [0, 0, 1]], np.float32))
    assert t.dtype == np.float32


@given(st.floats(0, 1), st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32))
def test_a_box_is_inside_and_no_larger_than_its_share(share, height, width, seed):
    top, bottom, left, right = draw_box(share, (height, width), np.random.default_rng(seed))
    assert 0 <= top <= bottom <= height and 0 <= left <= right <= width
    assert bottom - top <= int(height * (1 - share) ** 0.5) and right - left <= int(width * (1 - share) ** 0.5)


def test_boxes_have_the_papers_distribution():
    """Of boxes that nothing cuts off, the area is 1 - share; centres are everywhere."""
    rng = np.random.default_rng(0)
    boxes = np.array([draw_box(0.75, (32, 32), rng) for _ in range(4000)])
    whole = boxes[(boxes[:, 0] > 0) & (boxes[:, 1] < 32) & (boxes[:, 2] > 0) & (boxes[:, 3] < 32)]
    assert set(((whole[:, 1] - whole[:, 0]) * (whole[:, 3] - whole[:, 2])).tolist()) == {256}
    assert set(boxes[:, 0].tolist()) == set(range(24)) and (boxes[:, 0] == 0).mean() == pytest.approx(9 / 32, abs=0.03)


@every_mix
def test_a_share_is_what_stays_of_an_image(mix):
    """Images of one colour each: what is in the mixed image is what its label says."""
    rng, kinds = np.random.default_rng(1), set()
    for _ in range(200):
        mixing = mix.draw(5, (8, 8), rng)
        kinds.add(mixing.box is None)
        assert sorted(mixing.partners) == list(range(5)) and 0 <= mixing.share <= 1
        x = np.broadcast_to(np.eye(5)[:, None, None], (5, 8, 8, 5)).copy()
        y = mix.images(x, x[mixing.partners], mixing)
        labels = mix.labels(np.arange(5), mixing.partners, mixing)
        np.testing.assert_allclose(y.mean(axis=(1, 2)), labels[:, :5], atol=1e-6)
    assert kinds == ({True, False} if mix.mixup and mix.cutmix else {bool(mix.mixup)})


def test_shares_follow_the_beta_distribution():
    rng = np.random.default_rng(0)
    for alpha in (0.2, 1.0, 4.0):
        shares = np.array([Mix(2, mixup=alpha).draw(2, (4, 4), rng).share for _ in range(4000)])
        assert shares.mean() == pytest.approx(0.5, abs=0.03)
        assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)


# The loader ---------------------------------------------------------------------------------------------------------


@every_mix
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_batch_is_the_plain_batch_mixed_within_itself(mix, shuffle):
    plain = loader(None, shuffle=shuffle).epoch(3)
    for b, ((x, labels), (mixed, soft)) in enumerate(zip(plain, loader(mix, shuffle=shuffle).epoch(3), strict=True)):
        mixing = mix.draw(len(x), x.shape[1:3], np.random.default_rng([4, 3, 3, b]))
        np.testing.assert_array_equal(mixed, mix.images(x, x[mixing.partners], mixing))
        np.testing.assert_array_equal(soft, mix.labels(labels, labels[mixing.partners], mixing))
        assert mixed.dtype == soft.dtype == np.float32 and soft.shape == (len(x), CLASSES)
        np.testing.assert_allclose(soft.sum(axis=1), 1, rtol=1e-6)


@every_mix
@pytest.mark.parametrize("start", [0, 2, 5])
def test_begun_in_the_middle_the_batches_are_the_same(mix, start):
    whole = list(loader(mix).epoch(1))
    for (x, labels), (x_whole, labels_whole) in zip(loader(mix).epoch(1, start), whole[start:], strict=True):
        np.testing.assert_array_equal(x, x_whole)
        np.testing.assert_array_equal(labels, labels_whole)


@every_mix
@pytest.mark.parametrize("shards", [1, 3, 4])
@pytest.mark.parametrize("shuffle", [False, True])
def test_shards_are_the_batch_in_pieces_whoever_makes_them(mix, shards, shuffle):
    """Partners lie in other shards."""
    whole = list(loader(mix, shuffle=shuffle).epoch(2))
    for start, mine in ((0, range), (2, range), (1, lambda count: range(count // 2, count))):
        batches = loader(mix, shuffle=shuffle).sharded(2, start, shards, mine)
        for (x, labels), batch in zip(whole[start:], batches, strict=True):
            assert len(batch) == len(x)
            np.testing.assert_array_equal(batch.labels, labels)
            for shard in batch:
                part = batch.parts[shard.number]
                np.testing.assert_array_equal(shard.x, x[part])
                np.testing.assert_array_equal(shard.labels, labels[part])
            assert sum(batch.share(number) for number in range(len(batch.parts))) == pytest.approx(1)


@every_mix
def test_a_gpu_gets_the_same_batches(monkeypatch, mix):
    monkeypatch.setitem(sys.modules, "cupy", cupy_double)
    for (x, labels), (x_gpu, labels_gpu) in zip(loader(mix).epoch(1), loader(mix, device="gpu").epoch(1), strict=True):
        np.testing.assert_allclose(to_numpy(x_gpu), x, rtol=1e-6, atol=1e-7)
        np.testing.assert_array_equal(to_numpy(labels_gpu), labels)
    sharded = loader(mix, device="gpu").sharded(1, 0, 3)
    for (x, labels), batch in zip(loader(mix, device="gpu").epoch(1), sharded, strict=True):
        for shard in batch:
            part = batch.parts[shard.number]
            np.testing.assert_array_equal(to_numpy(shard.x), to_numpy(x)[part])
            np.testing.assert_array_equal(to_numpy(shard.labels), to_numpy(labels)[part])


def test_batches_epochs_and_seeds_are_mixed_differently():
    seen = set()
    for seed in (0, 1):
        made = Loader(*some(32), 8, MEAN, STD, seed=seed, mix=MIXES["mixup"])
        seen |= {labels.tobytes() for number in (0, 1) for _, labels in made.epoch(number)}
    assert len(seen) == 2 * 2 * 4


# Training -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_mean_of_both_labels_losses(smoothing):
    rng = np.random.default_rng(0)
    logits, labels, others = rng.standard_normal((6, 4)), rng.integers(0, 4, 6), rng.integers(0, 4, 6)
    loss, _ = cross_entropy(logits, mixed_labels(labels, others, 0.3, 4).astype(np.float64), smoothing)
    first, second = (cross_entropy(logits, one, smoothing)[0] for one in (labels, others))
    assert float(loss) == pytest.approx(0.3 * float(first) + 0.7 * float(second), rel=1e-6)


def test_recorded_steps_take_soft_labels(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", cupy_double)
    states = []
    for recorded in (False, True):
        model = models.resnet8(rng=0).to("gpu")
        optimizer = optim.SGD(model.parameters(), 0.1)
        step = RecordedStep(model, optimizer) if recorded else lambda x, t, m=model, o=optimizer: train_step(m, o, x, t)
        for x, labels in loader(MIXES["both"], device="gpu").epoch(0):
            step(x, labels)
        states.append(model.state_dict())
        assert not recorded or step.whynot is None
    for key, array in states[0].items():
        np.testing.assert_array_equal(array, states[1][key], err_msg=key)


def test_shards_of_mixed_batches_add_up_to_the_batch():
    rng = np.random.default_rng(0)
    images, classes = rng.integers(0, 256, (8, 32, 32, 3), np.uint8), rng.integers(0, CLASSES, 8)
    made = Loader(images, classes, 8, MEAN, STD, shuffle=True, mix=MIXES["both"])
    (x, labels), batch = next(made.epoch(0)), next(made.sharded(0, 0, 2))
    model, other = models.simple_cnn(rng=0), models.simple_cnn(rng=0)
    loss, right = train_step(model, optim.SGD(model.parameters(), 0.1), x, labels)
    found = sharded_step(other, optim.SGD(other.parameters(), 0.1), batch)
    assert float(found.loss) == pytest.approx(float(loss), rel=1e-5) and int(found.right) == int(right)
    for key, array in model.state_dict().items():
        np.testing.assert_allclose(array, other.state_dict()[key], rtol=1e-4, atol=1e-6, err_msg=key)


# Wrong use ----------------------------------------------------------------------------------------------------------


def test_wrong_arguments_are_named():
    for name in ("mixup", "cutmix"):
        for alpha in (-1, float("nan"), float("inf")):
            with pytest.raises(ValueError, match=f"Mix: {name} is {alpha}, expected 0"):
                Mix(3, **{name: alpha})
    with pytest.raises(ValueError, match="both 0"):
        Mix(3)
    with pytest.raises(ValueError, match="num_classes is 1, expected at least 2"):
        Mix(1, mixup=0.2)
    with pytest.raises(ValueError, match="Loader: labels up to 11, and mix has 10 classes: give it more"):
        Loader(*make_set(12), 4, MEAN, STD, mix=MIXES["mixup"])


@pytest.fixture
def main(cifar, monkeypatch, capsys):
    script = scripts.load("train_cifar")
    monkeypatch.setattr(script.runs.Recorder, "picture", lambda self, name, draw: None)
    return lambda *flags: scripts.call(script, monkeypatch, capsys, *flags, "--data-dir", cifar)


@pytest.mark.parametrize("flags", [("--mixup", 0.2), ("--cutmix", 1), ("--mixup", 0.2, "--cutmix", 1)])
def test_the_script(main, tmp_path, flags):
    flags = (*flags, "--label-smoothing", 0.1)
    for name in ("one", "other"):
        code, _, err = main(*FAST, *flags, "--shards", 2, "--out", tmp_path / name)
        assert (code, err) == (0, "")
    assert main(*FAST, "--label-smoothing", 0.1, "--shards", 2, "--out", tmp_path / "plain")[0] == 0
    losses = [[row["train_loss"] for row in table(tmp_path / n / "log.csv")] for n in ("one", "other", "plain")]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("name", ["--mixup", "--cutmix"])
def test_bad_values_are_one_sentence(main, tmp_path, name):
    for value in (0, -0.5, "nan"):
        code, _, err = main(*FAST, name, value, "--out", tmp_path / "none")
        assert code == 1 and f"{name} must be a number above 0, got" in one_sentence(err)
    code, _, err = main(*FAST, name, 0.2, "--overfit-one-batch")
    assert code == 1 and f"--overfit-one-batch learns a batch by heart as it is: leave {name} out" in one_sentence(err)
    assert not (tmp_path / "none").exists()
