"""A checkpoint from somebody else: its settings are checked as flags are, and name no folder to make or host to ask."""

import os
import shutil
import sys
import urllib.request

import pytest
import scripts
from safetensors.numpy import save_file
from scripts import one_sentence

from minires import checkpoint, models
from minires.cli.saved import Script, checked_config
from minires.plain import read_json
from minires.position import Position

FAST = ("--batch-size", 16, "--seed", 3, "--lr", 0.05, "--device", "cpu", "--epochs", 1, "--limit-test", 4)
KINDS = ("train_cifar", "finetune")


@pytest.fixture(scope="module")
def examples():
    return {name: scripts.load(name) for name in KINDS}


@pytest.fixture(scope="module")
def finished(examples, cifar, tmp_path_factory):
    """{script: the folder of a run of one epoch}."""
    top = tmp_path_factory.mktemp("finished")
    save_file(models.simple_cnn(rng=1).state_dict(), top / "weights.safetensors")
    for name, own in (
        ("train_cifar", ("--model", "simple_cnn", "--data-dir", cifar)),
        ("finetune", ("--weights", top / "weights.safetensors", "--data-dir", cifar)),
    ):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(examples[name].runs.Recorder, "picture", lambda self, name, draw: None)
            patched.setattr(sys, "argv", [name, *map(str, (*FAST, *own, "--out", top / name))])
            assert examples[name].main() == 0
    return {name: top / name for name in KINDS}


@pytest.fixture
def resume(examples, finished, tmp_path, monkeypatch, capsys):
    """resume(script, change, *flags): of a copy of the run whose config is changed -> (exit code, stdout, stderr)."""

    def call(name, change, *flags):
        shutil.copytree(finished[name], tmp_path / "run", dirs_exist_ok=True)
        path = tmp_path / "run" / "last.safetensors"
        path.with_name("previous.safetensors").unlink(missing_ok=True)  # which would stand in for a damaged one
        loaded = checkpoint.load(path)
        change(loaded.info["config"])
        example = examples[name]
        model = models.simple_cnn(rng=0)
        steps = (1,) if name == "finetune" else ()  # of its run, over which zeros would become more
        optimizer = example.make_optimizer(OF_OPTIMIZER, model, *steps)
        optimizer.load_state_dict(loaded.optimizer)
        model.load_state_dict(loaded.model)
        checkpoint.save(path, model, optimizer, loaded.position, loaded.info)
        monkeypatch.setattr(example.runs.Recorder, "picture", lambda self, name, draw: None)
        return scripts.call(example, monkeypatch, capsys, "--resume", tmp_path / "run", *flags)

    return call


OF_OPTIMIZER = {"optimizer": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4, "l1": 0.0}
OF_OPTIMIZER |= {"decay_bias_and_norm": True, "head_lr_multiplier": 1.0}


@pytest.mark.parametrize("name", KINDS)
def test_a_checkpoint_names_no_folder_to_make_and_no_address_to_ask(resume, name, cifar, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(urllib.request, "urlopen", lambda *arguments, **options: asked.append(arguments))
    monkeypatch.setenv("MINIRES_DATA", str(cifar))

    def hostile(config):
        places = {"data_dir": str(tmp_path / "made"), "data_url": "http://localhost:1/x", "out": str(tmp_path / "out")}
        config["settings"] |= places

    code, _, err = resume(name, hostile)
    assert code == 0, err
    assert err.splitlines()[0].startswith(f"note: the run's data is no longer in {tmp_path / 'made'}")
    assert sorted(os.listdir(tmp_path)) == ["run"] and asked == []


@pytest.mark.parametrize("name", KINDS)
def test_data_that_is_still_there_is_found_again(resume, name, monkeypatch, tmp_path):
    monkeypatch.setenv("MINIRES_DATA", str(tmp_path / "none"))
    code, _, err = resume(name, lambda config: None)
    assert code == 0 and "no longer" not in err


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("threads", 10**9),
        ("epochs", "x"),
        ("epochs", None),
        ("epochs", True),
        ("batch_size", 1e308),
        ("batch_size", 0),
        ("batch_size", 10**30),
        ("lr", "0.1"),
        ("lr", None),
        ("lr", -1.0),
        ("lr", 10**400),
        ("seed", -1),
        ("schedule", "../.."),
        ("schedule", ["cosine"]),
        ("best", {}),
        ("data_dir", 7),
        ("augment", "no"),
        ("no_progress", 1),
        ("val_split", -3),
        ("label_smoothing", 2.0),
        ("ema", 1.0),
        ("ema", [0.9]),
        ("mixup", 0.0),
        ("cutmix", "1"),
        ("clip_norm", -1.0),
        ("random_erasing", 2.0),
        ("random_erasing", None),
        ("randaugment", [2]),
        ("randaugment", [0, 9]),
        ("randaugment", [2, 9.5]),
    ],
)
@pytest.mark.parametrize("name", KINDS)
def test_settings_that_no_flag_takes(resume, name, key, value):
    code, _, err = resume(name, lambda config: config["settings"].update({key: value}))
    assert code == 1 and "its settings are damaged" in one_sentence(err)
    assert key in err or key.replace("_", "-") in err


LEG = {"from_epoch": 1, "from_iteration": 1, "to_epoch": 2, "to_iteration": 2, "schedule": None, "lr": None}


@pytest.mark.parametrize(("key", "value"), [("model", "../.."), ("model", None), ("momentum", "x"), ("cutout", [1])])
def test_settings_of_train_cifar_alone(resume, key, value):
    code, _, err = resume("train_cifar", lambda config: config["settings"].update({key: value}))
    assert code == 1 and f"{key} is {value!r}" in one_sentence(err)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("settings", []),
        ("sizes", {"train": "x", "val": 1, "test": 1}),
        ("sizes", None),
        ("dataset", "cifar10"),
        ("dataset", {"name": [], "label": ""}),
        ("classes", "abc"),
        ("legs", [{"from_epoch": 1}]),
        ("legs", 3),
        ("sizes", {"train": 0, "val": 1, "test": 1}),
        ("sizes", {"train": 10**400, "val": 1, "test": 1}),
        ("legs", [LEG | {"to_iteration": -2}]),
        ("legs", [LEG | {"to_iteration": 10**400}]),
        ("legs", [LEG | {"schedule": "../..", "lr": 0.1}]),
        ("legs", [LEG | {"schedule": "constant", "lr": -0.1}]),
        ("legs", [LEG | {"schedule": "constant", "lr": None}]),
    ],
)
def test_a_config_in_another_shape(resume, key, value):
    code, _, err = resume("train_cifar", lambda config: config.update({key: value}))
    assert code == 1 and "damaged" in one_sentence(err)


def test_names_of_a_run_and_of_its_data_are_shown_escaped(resume, tmp_path):
    code, _, err = resume("train_cifar", lambda config: config["dataset"].update(label="x\x1b[2J"))
    assert code == 1 and "trained on x\\x1b[2J, this is" in one_sentence(err)
    code, _, err = resume("train_cifar", lambda config: config.update(run="x\x1b[2J"))
    assert code == 1 and "is of run x\\x1b[2J, config.json" in one_sentence(err)


@pytest.fixture
def evaluate(examples, finished, cifar, tmp_path, monkeypatch, capsys):
    """evaluate(change): of the best model of a run whose config is changed -> (exit code, stdout, stderr)."""

    def call(change):
        loaded = checkpoint.load(finished["train_cifar"] / "best.safetensors")
        change(loaded.info["config"])
        checkpoint.write(tmp_path / "best.safetensors", loaded)
        flags = ("--evaluate", tmp_path / "best.safetensors", "--data-dir", cifar)
        return scripts.call(examples["train_cifar"], monkeypatch, capsys, *flags)

    return call


def test_what_a_model_was_trained_on_is_shown_escaped(evaluate):
    code, _, err = evaluate(lambda config: config["dataset"].update(label="x\x1b[2J"))
    assert code == 0 and "trained on x\\x1b[2J\n" in err


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sizes", {"test": [4]}),
        ("sizes", {"test": "4"}),
        ("sizes", {"test": 10**400}),
        ("dataset", {"name": "cifar10", "label": [1]}),
        ("dataset", {"name": {}, "label": "CIFAR-10"}),
        ("settings", []),
    ],
)
def test_what_a_model_was_trained_on_in_another_shape(evaluate, key, value):
    code, _, err = evaluate(lambda config: config.update({key: value}))
    assert code == 1 and "its metadata is damaged" in one_sentence(err)


@pytest.mark.parametrize("value", [["a", "b"], [0, 1, 2], [1, 0], 7, [0, 10**400], [[], []]])
def test_a_range_of_pixels_that_is_none(evaluate, value):
    code, _, err = evaluate(lambda config: config["settings"].update(range=value))
    assert code == 1 and "its metadata is damaged" in one_sentence(err)


@pytest.mark.parametrize("number", [10**400, True, "1"])
def test_a_position_whose_seconds_are_no_number(finished, number):
    loaded = checkpoint.load(finished["train_cifar"] / "last.safetensors")
    with pytest.raises(ValueError, match="seconds"):
        Position.of({**loaded.position, "seconds": number})


@pytest.mark.parametrize("text", ["1e999", "[-1e999]", '{"a": NaN}', "Infinity"])
def test_json_without_numbers_that_are_none(text):
    with pytest.raises(ValueError, match="is no number"):
        read_json(text)


@pytest.mark.parametrize("name", KINDS)
def test_a_run_of_the_other_script(finished, examples, name, monkeypatch, capsys):
    other = KINDS[1 - KINDS.index(name)]
    code, _, err = scripts.call(examples[name], monkeypatch, capsys, "--resume", finished[other])
    assert code == 1 and f"was begun by {other}.py: go on with it there" in one_sentence(err)


def test_every_setting_that_the_scripts_write_is_taken_back(finished, examples):
    for name in KINDS:
        script = Script(examples[name].command_line(), examples[name].DEFAULTS, f"{name}.py")
        path = finished[name] / "last.safetensors"
        config = checkpoint.load(path).info["config"]
        for settings in ({}, {"variant": ["eps=1e-3"], "mean": [0.5, 0.5, 0.5], "image_folder": "one"}):
            given = settings if name == "finetune" else {}
            checked_config(path, config | {"settings": config["settings"] | given}, script, "run")
