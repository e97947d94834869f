"""RandAugment: its operations against Pillow's, whoever stands beside an image, and what a loader gives with it."""

import math
import sys
from pathlib import Path

import cupy_double
import numpy as np
import pytest
import scripts
from PIL import Image, ImageEnhance, ImageOps
from scripts import one_sentence
from test_data_loader import MEAN, STD, make_set
from test_train_cifar import FAST

from minires.backend import to_numpy
from minires.data import Augment, Loader, Mix, RandAugment, operations
from minires.data.randaugment import OPERATIONS
from minires.data.stream import Pictures

FILL = (9, 8, 7)


def images(n=12, size=(20, 24)):
    """Smooth and rough ones, one of a single value, dark and bright ones, and one with two values."""
    rng = np.random.default_rng(0)
    made = rng.integers(0, 256, (n, *size, 3), np.uint8)
    ramp = np.add.outer(np.arange(size[0]) * 4, np.arange(size[1]) * 5)
    made[1] = (ramp[..., None] + [0, 30, 60]).astype(np.uint8) // 2
    made[2], made[3], made[4] = 77, made[3] // 8, 200 + made[4] // 8
    made[5] = np.where(rng.random(size)[..., None] < 0.1, 10, 240)
    return made


def of_pillow(function, x, strengths):
    return np.stack([np.asarray(function(Image.fromarray(one), s)) for one, s in zip(x, strengths, strict=True)])


def affine(*entries):
    """Pillow's transform by these entries of the matrix, made of the strength."""

    def transform(image, s):
        matrix = [entry(s) for entry in entries]
        return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST, fillcolor=FILL)

    return transform


def one(s):
    return 1.0


def no(s):
    return 0.0


def it(s):
    return s


PILLOW = {
    "identity": lambda image, s: image,
    "shear x": affine(one, it, no, no, one, no),
    "shear y": affine(one, no, no, it, one, no),
    "translate x": affine(one, no, it, no, one, no),
    "translate y": affine(one, no, no, no, one, it),
    "rotate": lambda image, s: image.rotate(math.degrees(s), Image.Resampling.NEAREST, fillcolor=FILL),
    "brightness": lambda image, s: ImageEnhance.Brightness(image).enhance(1 + s),
    "color": lambda image, s: ImageEnhance.Color(image).enhance(1 + s),
    "contrast": lambda image, s: ImageEnhance.Contrast(image).enhance(1 + s),
    "sharpness": lambda image, s: ImageEnhance.Sharpness(image).enhance(1 + s),
    "posterize": lambda image, s: ImageOps.posterize(image, round(s)),
    "solarize": lambda image, s: ImageOps.solarize(image, s),
    "autocontrast": lambda image, s: ImageOps.autocontrast(image),
    "equalize": lambda image, s: ImageOps.equalize(image),
}
BLENDS = ("brightness", "color", "contrast", "sharpness")  # in float32 here: to 1


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("m", [0, 1 / 3, 0.7, 1.0])
def test_operations_agree_with_pillow(name, m):
    x, operation = images(), OPERATIONS[name]
    before, strength = x.copy(), operation.strength(m, x.shape[1:3])
    strengths = strength * (np.where(np.arange(len(x)) % 2, -1, 1) if operation.signed else np.ones(len(x)))
    y = operation.change(x, strengths, FILL)
    np.testing.assert_array_equal(x, before)
    assert y.dtype == np.uint8 and y.shape == x.shape and not np.shares_memory(x, y)
    expected = of_pillow(PILLOW[name], x, strengths).astype(int)
    differing = np.abs(y - expected)
    if name in BLENDS:
        assert differing.max() <= 1
    elif name == "rotate":  # a place on the edge of two pixels may fall on either side
        assert (differing > 0).mean() < 0.01
    else:
        np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_image_does_not_depend_on_those_beside_it(name):
    x, operation = images(), OPERATIONS[name]
    strengths = np.full(len(x), operation.strength(0.5, x.shape[1:3]), float)
    together = operation.change(x, strengths, FILL)
    for n in range(len(x)):
        np.testing.assert_array_equal(operation.change(x[n : n + 1], strengths[:1], FILL)[0], together[n])


def test_the_strengths_are_torchvisions():
    size = (32, 40)
    at = {name: [operation.strength(m / 30, size) for m in (0, 9, 30)] for name, operation in OPERATIONS.items()}
    assert len(at) == 14
    np.testing.assert_allclose(at["shear x"], [0, 0.09, 0.3])
    assert at["translate x"] == [0, int(40 * 150 / 331 * 0.3), int(40 * 150 / 331)]
    assert at["translate y"] == [0, int(32 * 150 / 331 * 0.3), int(32 * 150 / 331)]
    np.testing.assert_allclose(at["rotate"], np.radians([0, 9, 30]))
    np.testing.assert_allclose(at["contrast"], [0, 0.27, 0.9])
    np.testing.assert_allclose(at["solarize"], [255, 178.5, 0])
    assert at["posterize"] == [8, 7, 4]


def test_other_numbers_of_channels():
    x = images()[..., :1]
    y = RandAugment(6, 15, fill=(3,)).apply(x, RandAugment(6, 15).draw(len(x), np.random.default_rng(0)))
    assert y.shape == x.shape and y.dtype == np.uint8
    np.testing.assert_array_equal(operations.grey(x), x)
    small = np.zeros((2, 2, 2, 3), np.uint8)
    np.testing.assert_array_equal(operations.sharpness(small, np.ones(2)), small)


def test_what_is_drawn_is_drawn_evenly():
    drawn = RandAugment(3, 9).draw(6000, np.random.default_rng(0))
    shares = np.bincount(drawn["operations"].ravel().astype(np.intp)) / drawn["operations"].size
    assert len(shares) == 14 and np.abs(shares - 1 / 14).max() < 0.01
    assert set(np.unique(drawn["signs"])) == {-1, 1} and abs(drawn["signs"].mean()) < 0.03


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="num_ops is 0, expected at least 1"):
        RandAugment(0)
    for magnitude in (-1, 31):
        with pytest.raises(ValueError, match=f"magnitude is {magnitude}, expected 0 to 30"):
            RandAugment(2, magnitude)


# The loader ---------------------------------------------------------------------------------------------------------


def loader(distort=RandAugment(2, 15), device="cpu", **options):  # noqa: B008
    pixels, labels = make_set(33)
    return Loader(
        pixels, labels % 10, 8, MEAN, STD, Augment(1), True, seed=4, device=device, distort=distort, **options
    )


def test_the_bytes_are_distorted_before_all_else():
    drawn = RandAugment(2, 15).draw(8, np.random.default_rng([4, 4, 1, 0]))
    pixels, labels = make_set(33)
    order = np.random.default_rng([4, 1, 1]).permutation(33)[:8]
    changed = RandAugment(2, 15).apply(pixels[order], drawn)
    by_hand = Loader(changed, labels[order] % 10, 8, MEAN, STD)
    plain = Loader(pixels, labels % 10, 8, MEAN, STD, None, True, seed=4, distort=RandAugment(2, 15))
    np.testing.assert_array_equal(next(plain.epoch(1))[0], next(by_hand.epoch(0))[0])


@pytest.mark.parametrize("mix", [None, Mix(10, mixup=0.4)])
def test_the_same_images_from_the_middle_in_shards_and_on_a_gpu(monkeypatch, mix):
    whole = list(loader(mix=mix).epoch(1))
    for (x, _), (again, _) in zip(whole[2:], loader(mix=mix).epoch(1, 2), strict=True):
        np.testing.assert_array_equal(x, again)
    for (x, labels), batch in zip(whole, loader(mix=mix).sharded(1, 0, 3), strict=True):
        for shard in batch:
            part = batch.parts[shard.number]
            np.testing.assert_array_equal(shard.x, x[part])
            np.testing.assert_array_equal(shard.labels, labels[part])
    monkeypatch.setitem(sys.modules, "cupy", cupy_double)
    for (x, _), (on_gpu, _) in zip(whole, loader(mix=mix, device="gpu").epoch(1), strict=True):
        np.testing.assert_allclose(to_numpy(on_gpu), x, rtol=1e-6, atol=1e-6)


def test_pictures_that_are_decoded_batch_by_batch():
    pixels, labels = make_set(33)
    size = min(pixels.shape[1:3])
    square = np.ascontiguousarray(pixels[:, :size, :size])
    decoded = {str(Path(f"{n}.png")): one for n, one in enumerate(square)}
    pictures = Pictures(list(decoded), decoded.__getitem__, size)
    made = [
        Loader(source, labels % 10, 8, MEAN, STD, None, True, distort=RandAugment(2, 15))
        for source in (pictures, square)
    ]
    for (x, _), (other, _) in zip(*(one.epoch(0) for one in made), strict=True):
        np.testing.assert_array_equal(x, other)


@pytest.fixture
def main(cifar, monkeypatch, capsys):
    script = scripts.load("train_cifar")
    monkeypatch.setattr(script.runs.Recorder, "picture", lambda self, name, draw: None)
    return lambda *flags: scripts.call(script, monkeypatch, capsys, *flags, "--data-dir", cifar)


def test_the_script(main, tmp_path):
    for N, M in ((0, 9), (15, 9), (2, -1), (2, 31)):
        code, _, err = main(*FAST, "--randaugment", N, M, "--out", tmp_path / "none")
        assert code == 1 and f"--randaugment {N} {M}: give it 1 to 14 changes" in one_sentence(err)
    for p in (-0.1, 1.5, "nan"):
        code, _, err = main(*FAST, "--random-erasing", p, "--out", tmp_path / "none")
        assert code == 1 and "--random-erasing must be a probability from 0 to 1" in one_sentence(err)
    for flag in (("--randaugment", 2, 9), ("--random-erasing", 0.5)):
        code, _, err = main(*FAST, *flag, "--overfit-one-batch")
        assert code == 1 and f"as it is: leave {flag[0]} out" in one_sentence(err)
    assert not (tmp_path / "none").exists()
    flags = ("--randaugment", 2, 9, "--random-erasing", 0.5)
    assert main(*FAST, *flags, "--out", tmp_path / "run")[0] == 0
    code, printed, err = main("--resume", tmp_path / "run")
    assert (code, err) == (0, "")
    code, _, err = main("--resume", tmp_path / "run", "--randaugment", 2, 8, "--epochs", 3, "--lr", 0.1)
    assert code == 1 and "was 2 9" in one_sentence(err)
