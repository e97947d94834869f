"""examples/detect.py as its user meets it: trained, stopped, gone on with, tested, and looking at pictures."""

import json
import sys

import cupy_double
import numpy as np
import pytest
import scripts
from PIL import Image
from safetensors.numpy import load_file, save_file
from scripts import one_sentence

from minires import checkpoint, models
from minires.compression import prune_filters
from minires.data.scenes import SCENE_CLASSES

TINY = ("--scenes", 20, "--test-scenes", 3, "--size", 32, "--batch-size", 8, "--seed", 3)


@pytest.fixture(scope="module")
def detect_script():
    return scripts.load("detect")


@pytest.fixture
def detect(detect_script, monkeypatch, capsys):
    """detect("--flag", ...) -> (exit code, stdout, stderr)."""
    return lambda *flags: scripts.call(detect_script, monkeypatch, capsys, *flags)


@pytest.fixture
def train(detect, monkeypatch, detect_script):
    """A tiny run, without pictures, which take longer than it."""
    monkeypatch.setattr(detect_script.runs.Recorder, "picture", lambda self, name, draw: None)
    return lambda *flags: detect(*flags, "--device", "cpu", "--no-progress")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "resnet8.safetensors"
    save_file(models.resnet8(rng=5).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def annotated(tmp_path_factory):
    """Twelve pictures of several sizes, each with a bright square, one without a box; a category has none."""
    folder, rng = tmp_path_factory.mktemp("annotated"), np.random.default_rng(0)
    content = {"images": [], "annotations": [], "categories": [{"id": 4, "name": "sun"}, {"id": 9, "name": "moon"}]}
    for n in range(12):
        height, width = (int(side) for side in rng.integers(40, 90, 2))
        pixels = rng.integers(0, 90, (height, width, 3)).astype(np.uint8)
        x, y, side = (int(number) for number in (*rng.integers(0, 20, 2), rng.integers(12, 20)))
        pixels[y : y + side, x : x + side] = 250
        Image.fromarray(pixels).save(folder / f"{n}.png")
        content["images"].append({"id": n, "file_name": f"{n}.png"})
        if n:
            content["annotations"].append({"id": n, "image_id": n, "category_id": 4, "bbox": [x, y, side, side]})
    (folder / "boxes.json").write_text(json.dumps(content))
    return folder


def test_a_run_from_scenes_to_boxes_in_a_picture(detect, tmp_path):
    run = tmp_path / "run"
    code, out, err = detect(*TINY, "--epochs", 1, "--out", run, "--device", "cpu", "--no-progress")
    assert code == 0, err
    names = {"config.json", "log.csv", "train.log", "curves.png", "found.png", "result.json"}
    assert names < {path.name for path in run.iterdir()}
    result = json.loads((run / "result.json").read_text())
    assert 0 <= result["test_ap50"] <= 1 and set(result["class_ap50"]) == set(SCENE_CLASSES[1:])
    assert "val loss  val AP" in out and "AP50" in out
    assert scripts.picture(run / "found.png").size[0] > 300

    code, again, err = detect("--evaluate", run, "--device", "cpu")
    assert code == 0, err
    line = next(line for line in out.splitlines() if line.startswith("AP50 "))
    assert line in again.splitlines()

    picture, drawn = tmp_path / "wide.png", tmp_path / "detected.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 90, 3)).astype(np.uint8)).save(picture)
    flags = ("--weights", run, "--device", "cpu", "--out", drawn, "--least-score", 1e-6)
    code, out, err = detect("--predict", picture, tmp_path / "none.png", *flags)
    assert code == 1 and err.count("error:") == 1 and "none.png: no such file" in err
    first, *boxes = out.splitlines()
    assert first.endswith("boxes") and len(boxes) > 1
    for box in boxes:
        x1, y1, x2, y2 = map(float, box.rpartition(": ")[2].split(", "))
        assert 0 <= x1 <= x2 <= 90 and 0 <= y1 <= y2 <= 40
    assert scripts.picture(drawn).size[0] > 300
    code, _, err = detect("--predict", picture, *flags)  # its own picture is replaced
    assert code == 0, err
    code, out, err = detect("--predict", picture, *flags[:-1], 1)
    assert code == 0 and out.endswith("wide.png: no boxes\n")
    code, _, err = detect("--predict", picture, "--weights", run, "--device", "cpu", "--out", picture)
    assert "is there, and not a picture of this script: name another file with --out" in one_sentence(err)


def test_goes_on_with_the_same_bits(train, tmp_path, monkeypatch, detect_script):
    code, _, err = train(*TINY, "--epochs", 2, "--out", tmp_path / "whole")
    assert code == 0, err
    stop = detect_script.runs.Watcher.batch

    def batch(watcher, trainer):
        trainer.stop_requested = trainer.position.iteration == 4  # in the middle of the second epoch
        stop(watcher, trainer)

    with monkeypatch.context() as patched:
        patched.setattr(detect_script.runs.Watcher, "batch", batch)
        patched.setattr(detect_script.runs, "stopping_on_signals", Signalled)
        code, out, err = train(*TINY, "--epochs", 2, "--out", tmp_path / "parts")
    assert code == 130 and "stopped and saved" in out
    position = checkpoint.load(tmp_path / "parts" / "last.safetensors").position
    assert (position["epoch"], position["batch"]) == (1, 1)
    code, _, err = train("--resume", tmp_path / "parts")
    assert code == 0, err
    for name in ("last", "best"):
        whole, parts = (checkpoint.load(tmp_path / run / f"{name}.safetensors") for run in ("whole", "parts"))
        for key, array in whole.model.items():
            np.testing.assert_array_equal(array, parts.model[key], err_msg=key)
    results = [json.loads((tmp_path / run / "result.json").read_text()) for run in ("whole", "parts")]
    assert results[0]["class_ap50"] == results[1]["class_ap50"]


def test_boxes_are_scaled_back_to_the_picture(detect_script):
    """A detector that says of one position: an object of class 1, from 8 to 24 across and over the whole height."""
    from minires.cli.trained import Trained
    from minires.detection import positions

    where = positions(32)
    y = np.concatenate([np.full((84, 2), -9.0), np.ones((84, 4))], axis=1)
    m = int(np.flatnonzero((where.stride == 16) & (where.x == 8) & (where.y == 8))[0])
    y[m] = -9, 9, 0, 99, 16, 99
    saved = Trained(lambda x: (y[None], None), 32, (0.5,) * 3, (0.25,) * 3, ("a", "b"), {})
    found = detect_script.look(saved, np.zeros((40, 80, 3), np.uint8), "cpu")
    np.testing.assert_allclose(found.boxes, [[20, 0, 60, 40]])
    assert found.labels.tolist() == [1]


def test_on_a_gpu(detect, detect_script, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "cupy", cupy_double)
    monkeypatch.setattr(detect_script.runs.Recorder, "picture", lambda self, name, draw: None)
    code, out, err = detect(*TINY, "--epochs", 1, "--out", tmp_path / "run", "--device", "gpu", "--no-progress")
    assert code == 0, err
    assert "device: gpu" in out and "AP50 " in out
    code, again, err = detect("--evaluate", tmp_path / "run", "--device", "gpu")
    assert code == 0 and next(line for line in out.splitlines() if line.startswith("AP50 ")) in again


class Signalled:
    """In place of the signals: Ctrl-C has come."""

    def __init__(self, trainer):
        pass

    def __enter__(self):
        return [2]

    def __exit__(self, *error):
        pass


def test_backbones_from_weights(train, weights, tmp_path):
    code, out, err = train(*TINY, "--epochs", 1, "--weights", weights, "--freeze", "backbone", "--out", tmp_path / "f")
    assert code == 0, err
    assert "weights: resnet8, 10 classes" in out
    before, after = load_file(weights), checkpoint.load(tmp_path / "f" / "last.safetensors").model
    for key, array in before.items():
        if not key.startswith("fc"):
            np.testing.assert_array_equal(after[f"backbone.{key}"], array, err_msg=key)
    code, _, err = train("--resume", tmp_path / "f", "--epochs", 2, "--lr", 0.001)
    assert code == 0, err
    after = checkpoint.load(tmp_path / "f" / "last.safetensors").model
    np.testing.assert_array_equal(after["backbone.bn1.running_mean"], before["bn1.running_mean"])
    code, _, err = train(*TINY, "--epochs", 1, "--weights", weights, "--out", tmp_path / "t")
    assert code == 0, err
    after = checkpoint.load(tmp_path / "t" / "last.safetensors").model
    assert (after["backbone.conv1.weight"] != before["conv1.weight"]).any()


def test_a_backbone_whose_filters_were_pruned(train, detect, tmp_path):
    """Its detector is built of its widths again wherever it is read."""
    pruned, _ = prune_filters(models.resnet8(rng=5), 0.5, (32, 32, 3))
    save_file(pruned.state_dict(), tmp_path / "pruned.safetensors")
    run = tmp_path / "run"
    code, _, err = train(*TINY, "--epochs", 1, "--weights", tmp_path / "pruned.safetensors", "--out", run)
    assert code == 0, err
    for flags in (("--evaluate", run), ("--resume", run, "--epochs", 2, "--lr", 0.001)):
        code, _, err = detect(*flags, "--device", "cpu")
        assert code == 0, err


def test_a_detector_of_an_earlier_version(train, detect, tmp_path):
    """Its config has no options, but the shortcut's kind among the settings; drawn scenes are not pictures' folders."""
    run = tmp_path / "run"
    code, _, err = train(*TINY, "--epochs", 1, "--out", run)
    assert code == 0, err
    for name in ("best.safetensors", "last.safetensors"):
        saved = checkpoint.load(run / name)
        del saved.info["config"]["options"]
        saved.info["config"]["settings"]["shortcut"] = "A"
        checkpoint.write(run / name, saved)
    for flags in (("--evaluate", run), ("--resume", run, "--epochs", 2, "--lr", 0.001)):
        code, _, err = detect(*flags, "--device", "cpu")
        assert code == 0, err
    code, _, err = detect("--evaluate", run, "--device", "cpu", "--images", tmp_path)
    assert code == 1 and "--images goes with --annotations" in one_sentence(err)


def test_pictures_of_ones_own(train, detect, annotated, tmp_path):
    flags = ("--annotations", annotated / "boxes.json", "--images", annotated, "--size", 32, "--batch-size", 4)
    code, out, err = train(*flags, "--epochs", 1, "--out", tmp_path / "run")
    assert code == 0, err
    assert "boxes.json, 32x32, 2 classes, 9 images to train, 0 to validate, 3 to test" in out
    row = next(line for line in out.splitlines() if line.startswith("moon"))
    assert row.split() == ["moon", "0", "-", "-"]
    code, again, err = detect("--evaluate", tmp_path / "run", "--device", "cpu")
    assert code == 0, err
    assert next(line for line in out.splitlines() if line.startswith("AP50 ")) in again
    code, _, err = detect("--evaluate", tmp_path / "run", "--device", "cpu", "--seed", 1)
    assert code == 1 and "pictures to test on, which were trained on: leave it out" in one_sentence(err)
    code, _, err = train("--resume", tmp_path / "run", "--epochs", 2, "--schedule", "constant", "--lr", 0.001)
    assert code == 0, err
    code, out, err = train(
        *flags[:6], "--test-annotations", annotated / "boxes.json", "--out", tmp_path / "both", "--epochs", 1
    )
    assert code == 0 and "11 images to train, 1 to validate, 12 to test" in out


def broken(annotated, tmp_path, **changes):
    content = json.loads((annotated / "boxes.json").read_text())
    content["annotations"][0] |= changes
    (tmp_path / "boxes.json").write_text(json.dumps(content))
    return "--annotations", tmp_path / "boxes.json", "--images", annotated, "--size", 32, "--batch-size", 4


def test_broken_annotations_are_named_or_left_out(train, annotated, tmp_path):
    flags = broken(annotated, tmp_path, bbox=[0, 0, float("nan"), 9])
    code, _, err = train(*flags, "--out", tmp_path / "run", "--epochs", 1)
    sentence = one_sentence(err)
    assert code == 1 and "annotation 1: bbox is [0, 0, nan, 9]: give four finite numbers" in sentence
    assert sentence.endswith("or leave what is broken out with --skip-broken")
    assert not (tmp_path / "run").exists()
    code, _, err = train(*flags, "--out", tmp_path / "run", "--epochs", 1, "--skip-broken")
    assert code == 0, err
    assert "note: boxes.json: left out: 1 annotation or image that is broken; the first: " in err


def test_boxes_that_changed_are_other_data(train, annotated, tmp_path):
    flags = broken(annotated, tmp_path)
    code, _, err = train(*flags, "--out", tmp_path / "run", "--epochs", 1)
    assert code == 0, err
    broken(annotated, tmp_path, bbox=[1, 1, 9, 9])
    code, _, err = train("--resume", tmp_path / "run", "--epochs", 2, "--lr", 0.001)
    assert code == 1 and "images or their labels are not those with which the run began" in one_sentence(err)


BAD_FLAGS = {
    ("--images", "."): "--images goes with --annotations: give both, or neither",
    ("--skip-broken",): "--skip-broken goes with --annotations",
    ("--annotations", "x.json"): "--annotations needs --images DIR, the folder that their pictures are in",
    ("--annotations", "x.json", "--images", "."): "x.json: no such file: name a JSON file of annotations",
    (
        "--annotations",
        "x.json",
        "--images",
        ".",
        "--scenes",
        30,
    ): "--scenes is of drawn scenes: leave it or",
    ("--freeze", "backbone"): "--freeze backbone: random layers that are frozen learn nothing: give --weights as well",
    ("--weights", "none.th"): "none.th",
    ("--weights", "w", "--model", "resnet8"): "--weights says which network it is: leave it out",
    ("--model", "vgg11"): "--model vgg11: give a ResNet for CIFAR, such as resnet8 or resnet20",
    ("--size", 40): "--size must be a multiple of 16 from 32 up, got 40",
    ("--size", 16): "--size must be a multiple of 16 from 32 up, got 16",
    ("--scenes", 3): "--scenes must be at least 20, got 3",
    ("--epochs", 0): "--epochs must be at least 1, got 0",
    ("--lr", "nan"): "--lr must be a number from 0 up, got nan",
    ("--scenes", 20, "--val-split", 19): "--val-split 19: of 20 images at least two must be left to train on",
    ("--scenes", 20, "--val-split", -1): "--val-split must be at least 0, got -1",
    ("--predict", "x.png"): "--predict IMAGE goes with --weights, a run of detect.py: give both",
    ("--predict", "x.png", "--weights", "none"): "none: no such checkpoint",
    (
        "--predict",
        "x.png",
        "--weights",
        "r",
        "--epochs",
        3,
    ): "and trains nothing: leave --epochs out",
    (
        "--predict",
        "x.png",
        "--weights",
        "r",
        "--least-score",
        0,
    ): "--least-score 0.0: give a probability, above 0",
    ("--least-score", 0.5): "--least-score is of --predict",
    ("--evaluate", "r", "--epochs", 3): "--evaluate tests, and trains nothing: leave --epochs out",
    ("--resume", "none"): "--resume none: no run there",
}


@pytest.mark.parametrize("flags", BAD_FLAGS, ids=str)
def test_bad_flags(detect, tmp_path, monkeypatch, flags):
    monkeypatch.chdir(tmp_path)
    code, _, err = detect(*flags, "--device", "cpu")
    assert code == 1 and BAD_FLAGS[flags] in one_sentence(err)
    assert not any(tmp_path.iterdir())


def test_weights_of_other_networks(train, detect, weights, tmp_path):
    plain = tmp_path / "vgg.safetensors"
    save_file(models.build("simple_cnn", rng=0).state_dict(), plain)
    code, _, err = train(*TINY, "--weights", plain)
    assert code == 1 and "give a ResNet for CIFAR, such as resnet8" in one_sentence(err)
    code, _, err = detect("--predict", "x.png", "--weights", weights)
    assert code == 1 and "resnet8.safetensors: " in one_sentence(err) and "give " in err
    model = models.resnet8(rng=0)
    checkpoint.save(tmp_path / "best.safetensors", model, info={"config": {"classes": ["a"]}})
    code, _, err = detect("--evaluate", tmp_path)
    assert code == 1 and "holds no detector (config lacks 'settings'): give a run of detect.py" in one_sentence(err)


def test_the_backbone_of_another_detector(train, tmp_path):
    code, _, err = train(*TINY, "--epochs", 1, "--out", tmp_path / "one")
    assert code == 0, err
    more = ("--weights", tmp_path / "one", "--freeze", "backbone", "--out", tmp_path / "other")
    code, _, err = train(*TINY, "--epochs", 1, *more)
    assert code == 0, err
    one, other = (checkpoint.load(tmp_path / run / "best.safetensors").model for run in ("one", "other"))
    for key, array in one.items():
        if key.startswith("backbone."):
            np.testing.assert_array_equal(other[key], array, err_msg=key)


def test_other_scripts_say_whose_run_it_is(train, tmp_path, monkeypatch, capsys):
    code, _, err = train(*TINY, "--epochs", 1, "--out", tmp_path / "run")
    assert code == 0, err
    code, _, err = scripts.call(scripts.load("finetune"), monkeypatch, capsys, "--resume", tmp_path / "run")
    assert code == 1 and "was begun by detect.py: go on with it there" in one_sentence(err)
