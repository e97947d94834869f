"""Files of one task given to the scripts of another: one sentence says what they hold and which script reads them."""

import re

import pytest
import scripts
from PIL import Image
from safetensors.numpy import save_file
from scripts import one_sentence

from minires import models

QUICK = ("--epochs", 1, "--batch-size", 8, "--device", "cpu", "--no-progress")
SCENES = {
    "segment": ("--limit-train", 16, "--limit-test", 2, "--val-split", 2, "--size", 32, "--model", "resnet8"),
    "detect": ("--scenes", 20, "--test-scenes", 2, "--val-split", 2, "--size", 32),
}
READERS = {  # of classifiers
    "predict": "{picture} --weights {file}",
    "explain": "{picture} --weights {file} --out {out}",
    "retrieve": "{picture} --folder {folder} --weights {file} --out {out}",
    "robustness": "--weights {file} --dataset synthetic --out {out}",
    "calibrate": "--weights {file} --dataset synthetic --out {out}",
    "compress": "{file} {out}.safetensors --int8",
    "distill": "--teacher {file} --dataset synthetic --out {out}",
    "train_cifar": "--evaluate {file} --dataset synthetic",
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with a tiny run of each of SCENES, by the script's name, a classifier's weights and a picture."""
    folder = tmp_path_factory.mktemp("runs")
    Image.new("RGB", (40, 40), (200, 30, 30)).save(folder / "picture.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("minires.cli.recording.Recorder.picture", lambda self, name, draw: None)
        for name, flags in SCENES.items():
            script = scripts.load(name)
            patch.setattr("sys.argv", [name, *map(str, (*flags, *QUICK, "--out", folder / name))])
            assert script.main() == 0
    save_file(models.resnet8(rng=0).state_dict(), folder / "classifier.safetensors")
    return folder


@pytest.fixture
def call(monkeypatch, capsys):
    return lambda name, *flags: scripts.call(scripts.load(name), monkeypatch, capsys, *flags)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("task", SCENES)
def test_readers_of_classifiers_name_the_script(runs, call, tmp_path, reader, task):
    places = {"picture": runs / "picture.png", "folder": runs, "file": runs / task, "out": tmp_path / "out"}
    code, _, err = call(reader, *(word.format(**places) for word in READERS[reader].split()))
    assert code == 1
    what = rf"{task}: holds a network of {task}.py, no classifier: use it there, or load .* --head new of finetune.py$"
    assert re.search(what, one_sentence(err)), err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("task", SCENES)
def test_finetune_makes_a_classifier_of_the_backbone_and_says_so(runs, call, tmp_path, task, monkeypatch):
    monkeypatch.setattr("minires.cli.recording.Recorder.picture", lambda self, name, draw: None)
    flags = ("--dataset", "synthetic", "--limit-train", 16, "--limit-test", 4, *QUICK, "--out", tmp_path / "out")
    code, _, err = call("finetune", "--weights", runs / task, *flags)
    assert code == 0, err
    assert f"note: a network of {task}.py, of which the backbone is taken" in err
    code, _, err = call("finetune", "--weights", runs / task, *flags[:-1], tmp_path / "other", "--head", "keep")
    assert code == 1 and not (tmp_path / "other").exists(), err


@pytest.mark.parametrize(("task", "other"), [("segment", "detect"), ("detect", "segment")])
def test_the_backbone_of_another_task_is_taken(runs, call, tmp_path, task, other, monkeypatch):
    monkeypatch.setattr("minires.cli.recording.Recorder.picture", lambda self, name, draw: None)
    flags = [flag for flag in SCENES[task] if flag not in ("--model", "resnet8")]
    code, _, err = call(task, "--weights", runs / other, *flags, *QUICK, "--out", tmp_path / "out")
    assert code == 0 and f"note: a network of {other}.py, of which the backbone is taken" in err


def looking(task, file, picture, out):
    return ("--predict", picture, "--weights", file, "--device", "cpu", "--out", out)


@pytest.mark.parametrize(("task", "other"), [("segment", "detect"), ("detect", "segment")])
def test_the_scripts_of_other_tasks_name_each_other(runs, call, tmp_path, task, other):
    nouns = {"segment": "network of segment.py", "detect": "detector"}
    for flags in (looking(task, runs / other, runs / "picture.png", tmp_path / "out"), ("--evaluate", runs / other)):
        code, _, err = call(task, *flags)
        what = rf"holds a {nouns[other]}, no {nouns[task]}: {other}.py reads it: give a run of {task}.py"
        assert code == 1 and re.search(what, one_sentence(err)), err


@pytest.mark.parametrize("task", SCENES)
def test_a_classifier_is_no_network_of_another_task(runs, call, tmp_path, task):
    file = runs / "classifier.safetensors"
    for flags in (looking(task, file, runs / "picture.png", tmp_path / "out"), ("--evaluate", file)):
        code, _, err = call(task, *flags)
        what = (
            rf"holds the classifier resnet8, no .*: predict.py reads it, and {task}.py --weights trains one over it: "
        )
        assert code == 1 and re.search(what, one_sentence(err)), err
    assert not list(tmp_path.iterdir())
