"""examples/finetune.py, predict.py and convert_weights.py as their user meets them."""

import json
import shutil

import numpy as np
import pytest
import scripts
from PIL import Image
from safetensors.numpy import load_file, save_file
from scripts import one_sentence

from minires import checkpoint, models, no_grad, pretrained
from minires.data import folders, normalize, read_cifar10
from minires.data.images import Preprocessing

COLORS = {"green": (30, 200, 60), "red": (200, 30, 40), "violet": (150, 40, 200)}


@pytest.fixture(scope="module")
def finetune_script():
    return scripts.load("finetune")


@pytest.fixture
def finetune(finetune_script, monkeypatch, capsys):
    """finetune("--flag", ...) -> (exit code, stdout, stderr)."""
    monkeypatch.setattr(finetune_script.runs.Recorder, "picture", lambda self, name, draw: None)  # slower than a run
    return lambda *flags: scripts.call(finetune_script, monkeypatch, capsys, *flags, "--device", "cpu", "--no-progress")


@pytest.fixture
def script(monkeypatch, capsys):
    """script(name, *arguments) -> (exit code, stdout, stderr)."""
    return lambda name, *arguments: scripts.call(scripts.load(name), monkeypatch, capsys, *arguments)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """resnet8 for ten classes, as another program would leave it."""
    path = tmp_path_factory.mktemp("weights") / "resnet8.safetensors"
    save_file(models.resnet8(rng=5).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Three classes of noisy pictures of one color each, of any size."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for name, color in COLORS.items():
        (folder / name).mkdir()
        for index in range(20):
            size = (*rng.integers(33, 60, 2), 3)
            pixels = np.clip(np.array(color) + rng.normal(0, 25, size), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.{'jpg' if index % 2 else 'png'}")
    return folder


SHORT = ("--epochs", 2, "--batch-size", 16, "--seed", 3)


def state_of(run, name="best"):
    return checkpoint.load(run / f"{name}.safetensors").model


class TestFreeze:
    @pytest.mark.parametrize(
        ("freeze", "trained"),
        [
            ("none", {"conv1", "bn1", "layer1", "layer2", "layer3", "fc"}),
            ("layer2", {"layer3", "fc"}),
            ("backbone", {"fc"}),
        ],
    )
    def test_what_is_frozen_stays_bit_for_bit(self, finetune, weights, cifar, tmp_path, freeze, trained):
        code, printed, err = finetune("--weights", weights, "--data-dir", cifar, *SHORT, "--freeze", freeze, "--out",
                                      tmp_path / "run")  # fmt: skip
        assert code == 0, err
        before, after = load_file(weights), state_of(tmp_path / "run", "last")
        changed = {key.split(".")[0] for key in after if after[key].tobytes() != before[key].tobytes()}
        assert changed == trained
        number = sum(array.size for key, array in before.items() if key.split(".")[0] in trained
                     and ".running_" not in key)  # fmt: skip
        assert f"head: the file's; trained: {number:,} parameters" in printed

    def test_unfreeze_at(self, finetune, weights, cifar, tmp_path):
        flags = ("--weights", weights, "--data-dir", cifar, "--epochs", 2, "--batch-size", 16, "--freeze", "backbone")
        finetune(*flags, "--unfreeze-at", 1, "--out", tmp_path / "run")
        before, after = load_file(weights), state_of(tmp_path / "run", "last")
        assert {key for key in after if after[key].tobytes() == before[key].tobytes()} == set()

    def test_a_stage_the_network_lacks(self, finetune, weights, cifar):
        code, _, err = finetune("--weights", weights, "--data-dir", cifar, "--freeze", "layer4")
        assert code == 1
        assert "no such stage: choose one of none, backbone, layer1, layer2, layer3" in one_sentence(err)


class TestHead:
    def test_multiplier(self, finetune, weights, cifar, tmp_path):
        """With a multiplier of 0 the head alone stands still."""
        finetune(
            "--weights", weights, "--data-dir", cifar, *SHORT, "--head-lr-multiplier", 0, "--out", tmp_path / "run"
        )
        before, after = load_file(weights), state_of(tmp_path / "run", "last")
        same = {key for key in after if after[key].tobytes() == before[key].tobytes()}
        assert same == {"fc.weight", "fc.bias"}

    def test_keep_refuses_other_classes(self, finetune, weights, pictures):
        code, _, err = finetune("--weights", weights, "--image-folder", pictures, "--head", "keep")
        assert code == 1
        assert "for other classes (10) than the data's (3)" in one_sentence(err)

    def test_new_and_from_scratch(self, finetune, weights, cifar, tmp_path):
        flags = ("--data-dir", cifar, "--epochs", 1, "--lr", 0)
        assert "head: new" in finetune("--weights", weights, *flags, "--head", "new", "--out", tmp_path / "a")[1]
        finetune("--weights", weights, *flags, "--from-scratch", "--out", tmp_path / "b")
        before, new, scratch = load_file(weights), state_of(tmp_path / "a"), state_of(tmp_path / "b")
        for key in ("conv1.weight", "layer3.0.conv2.weight"):
            np.testing.assert_array_equal(new[key], before[key])
            assert not np.array_equal(scratch[key], before[key])
        assert not np.array_equal(new["fc.weight"], before["fc.weight"])


class TestImageFolder:
    def test_learns_predicts_and_is_evaluated(self, finetune, script, weights, pictures, tmp_path):
        """Colors are learned from pictures of any size, and named by the checkpoint."""
        run = tmp_path / "run"
        flags = ("--weights", weights, "--image-folder", pictures, "--epochs", 4, "--batch-size", 8)
        code, printed, err = finetune(*flags, "--out", run)
        assert code == 0, err
        assert "head: new" in printed
        assert "the file does not say how its images were prepared" in err
        assert json.loads((run / "result.json").read_text())["test_acc"] > 0.8
        code, printed, _ = script("predict", pictures / "red" / "1.jpg", pictures / "green" / "0.png", "--weights", run,
                                  "--json")  # fmt: skip
        answers = [json.loads(line) for line in printed.splitlines()]
        assert [answer["top"][0]["class"] for answer in answers] == ["red", "green"]
        assert all(abs(sum(guess["probability"] for guess in answer["top"]) - 1) < 1e-5 for answer in answers)
        code, _, err = script("train_cifar", "--evaluate", run, "--device", "cpu")
        assert code == 1
        assert "finetune.py --resume tests that again" in one_sentence(err)

    def test_broken_files(self, finetune, weights, pictures, tmp_path):
        folder = tmp_path / "pictures"
        shutil.copytree(pictures, folder)
        (folder / "red" / "broken.jpg").write_bytes(b"hello")
        flags = ("--weights", weights, "--image-folder", folder, "--epochs", 1)
        code, _, err = finetune(*flags)
        assert code == 1
        assert "broken.jpg" in err
        assert "give --skip-broken" in err.splitlines()[-1]
        assert finetune(*flags, "--skip-broken", "--out", tmp_path / "run")[0] == 0


class TestFoldersAsPeopleHaveThem:
    FLAGS = ("--epochs", 1, "--batch-size", 8, "--lr", 0.01)

    @pytest.fixture
    def unequal(self, pictures, tmp_path):
        """20 pictures of red, 4 of green."""
        folder = tmp_path / "unequal"
        shutil.copytree(pictures / "red", folder / "red")
        (folder / "green").mkdir()
        for index in range(4):
            shutil.copy(pictures / "green" / f"{2 * index}.png", folder / "green")
        return folder

    def test_parts(self, finetune, weights, pictures, tmp_path):
        for number, name in enumerate(("test", "train", "Valid")):
            for color in COLORS:
                (tmp_path / "set" / name / color).mkdir(parents=True)
                for index in range(6 * number, 6 * number + 6):
                    kind = "jpg" if index % 2 else "png"
                    shutil.copy(pictures / color / f"{index}.{kind}", tmp_path / "set" / name / color)
        flags = ("--weights", weights, "--image-folder", tmp_path / "set", *self.FLAGS)
        code, printed, err = finetune(*flags, "--out", tmp_path / "run")
        assert code == 0, err
        assert "18 to train, 18 to validate, 18 to test" in printed
        assert "split already: train to learn from, Valid to validate, test to test (--splits none" in err
        config = json.loads((tmp_path / "run" / "config.json").read_text())
        assert (config["sizes"], config["classes"]) == ({"train": 18, "val": 18, "test": 18}, sorted(COLORS))
        code, _, err = finetune(*flags, "--val-split", 3)
        assert (code, "a part to validate of its own: leave the flag out" in err.splitlines()[-1]) == (1, True)
        assert finetune("--resume", tmp_path / "run")[0] == 0
        code, _, err = finetune(*flags[:2], "--image-folder", tmp_path / "set", tmp_path / "set" / "none")
        assert (code, "no such folder" in err) == (1, True)

    def test_asked_in_flags(self, finetune, weights, pictures, tmp_path):
        shutil.copytree(pictures, tmp_path / "set" / "train")
        shutil.copytree(pictures, tmp_path / "set" / "extra")
        code, _, err = finetune("--weights", weights, "--image-folder", tmp_path / "set")
        assert code == 1
        assert "Give --splits none if they are classes" in one_sentence(err) and "as --test-folder" in err

    @pytest.mark.parametrize("balance", ["none", "loss", "sampling"])
    def test_unequal_classes(self, finetune, weights, unequal, tmp_path, balance):
        flags = ("--weights", weights, "--image-folder", unequal, "--balance", balance, "--val-split", 0, *self.FLAGS)
        code, printed, err = finetune(*flags, "--out", tmp_path / "run")
        assert code == 0, err
        assert "from 3 pictures to learn from (green) to 16 (red)" in err and "--balance loss or sampling" in err
        result = json.loads((tmp_path / "run" / "result.json").read_text())
        assert set(result["class_acc"]) == {"green", "red"}
        assert result["balanced_acc"] == pytest.approx(sum(result["class_acc"].values()) / 2)
        assert f"balanced accuracy {result['balanced_acc']:.2%}" in printed
        assert json.loads((tmp_path / "run" / "config.json").read_text())["settings"]["balance"] == balance
        if balance == "none":
            assert finetune("--resume", tmp_path / "run")[0] == 0
            code, _, err = finetune("--resume", tmp_path / "run", "--balance", "loss")
            assert (code, "--balance loss (was none)" in err) == (1, True)

    def test_balance_by_the_loss_is_the_loss_of_as_many(self, unequal):
        """N / (classes * images of the class): the weights of all images add up to N."""
        from minires.cli.settings import class_weights
        from minires.data import Loader

        labels = np.array([0] * 3 + [2] * 9)
        loader = Loader(np.zeros((12, 2, 2, 3), np.uint8), labels, 4, (0.5,) * 3, (0.5,) * 3)
        weights = class_weights({"balance": "loss"}, loader, 3)
        np.testing.assert_allclose(weights, [12 / 6, 0, 12 / 18])
        assert weights[labels].sum() == pytest.approx(12)
        assert class_weights({"balance": "none"}, loader, 3) is None

    def test_a_table(self, finetune, weights, pictures, tmp_path):
        rows = ["name;colour;who"]
        (tmp_path / "flat").mkdir()
        for color in COLORS:
            for path in sorted((pictures / color).iterdir()):
                shutil.copy(path, tmp_path / "flat" / f"{color[0]}{path.name}")
                rows.append(f"{color[0]}{path.stem};{color};me")
        table = tmp_path / "labels.csv"
        table.write_text("\n".join(rows), encoding="utf-8-sig")
        flags = ("--weights", weights, "--image-folder", tmp_path / "flat", "--labels", table, *self.FLAGS)
        code, _, err = finetune(*flags)
        assert code == 1
        assert "which column holds the classes? Of name, colour, who name two with --label-columns, such as" in err
        code, printed, err = finetune(*flags, "--label-columns", "name", "colour", "--out", tmp_path / "run")
        assert code == 0, err
        assert "3 classes" in printed and "60 of 60 pictures are in it" in err
        assert finetune("--resume", tmp_path / "run")[0] == 0

    def test_deep_pictures_and_what_predicts_them(self, finetune, script, weights, tmp_path):
        rng = np.random.default_rng(0)
        for label, name in enumerate(("dark", "light")):
            (tmp_path / "set" / name).mkdir(parents=True)
            for index in range(8):
                values = rng.integers(100 + 3000 * label, 1000 + 3000 * label, (40, 40)).astype(np.uint16)
                Image.fromarray(values).save(tmp_path / "set" / name / f"{index}.png")
        flags = ("--weights", weights, "--image-folder", tmp_path / "set", *self.FLAGS)
        code, _, err = finetune(*flags, "--out", tmp_path / "a")
        assert code == 0, err
        assert "integers of 16 bits: 0 becomes black and 65,535 white" in err and "give --range 0 39" in err
        code, _, err = finetune(*flags, "--range", 0, 4095, "--out", tmp_path / "b")
        assert code == 0, err
        assert "4,095 white" in err
        picture = tmp_path / "set" / "light" / "0.png"
        code, _, err = script("predict", picture, "--weights", tmp_path / "b", "--device", "cpu")
        assert code == 0 and "0 is black and 4,095 white" in err
        code, _, err = script("predict", picture, "--weights", tmp_path / "a", "--device", "cpu")
        assert code == 0 and "65,535 white; --range LOW HIGH" in err

    def test_says_no_more_than_it_must(self, finetune, weights, pictures, tmp_path):
        flags = ("--weights", weights, "--image-folder", pictures, "--limit-train", 12, "--limit-test", 6, *self.FLAGS)
        code, printed, err = finetune(*flags, "--out", tmp_path / "run")
        assert code == 0, err
        assert "12 to train and validate, 6 to test" in printed
        assert [line for line in err.splitlines() if not line.startswith("note: ") and "unequal" not in line] == []


class TestResume:
    def test_goes_on_with_the_same_bits(self, finetune, weights, cifar, tmp_path, monkeypatch, finetune_script):
        mine = shutil.copy(weights, tmp_path / "mine.safetensors")
        flags = ("--weights", mine, "--data-dir", cifar, "--epochs", 3, "--batch-size", 16)
        flags = (*flags, "--freeze", "layer1", "--unfreeze-at", 2)
        finetune(*flags, "--out", tmp_path / "whole")
        stop = finetune_script.runs.Trainer._finish_epoch

        def stop_after_one(trainer, evaluation):
            stop(trainer, evaluation)
            trainer.stop_requested = True

        monkeypatch.setattr(finetune_script.runs.Trainer, "_finish_epoch", stop_after_one)
        monkeypatch.setattr(finetune_script.runs, "stopping_on_signals", Signalled)
        assert finetune(*flags, "--out", tmp_path / "parts")[0] == 130
        mine.unlink()  # the run holds all it needs
        monkeypatch.undo()
        monkeypatch.setattr(finetune_script.runs.Recorder, "curves", lambda self, *of_picture: None)
        code, printed, err = finetune("--resume", tmp_path / "parts")
        assert code == 0, err
        whole, parts = state_of(tmp_path / "whole", "last"), state_of(tmp_path / "parts", "last")
        assert {key: array.tobytes() for key, array in whole.items()} == {k: a.tobytes() for k, a in parts.items()}

    def test_by_the_script_that_began_it(self, finetune, script, weights, cifar, tmp_path):
        finetune("--weights", weights, "--data-dir", cifar, "--epochs", 1, "--out", tmp_path / "a")
        code, _, err = script("train_cifar", "--resume", tmp_path / "a")
        assert (code, "was begun by finetune.py" in one_sentence(err)) == (1, True)
        flags = ("--data-dir", cifar, "--epochs", 1, "--model", "simple_cnn", "--out", tmp_path / "b")
        script("train_cifar", *flags)
        code, _, err = finetune("--resume", tmp_path / "b")
        assert (code, "was begun by train_cifar.py" in one_sentence(err)) == (1, True)

    def test_other_settings_are_refused(self, finetune, weights, cifar, tmp_path):
        finetune("--weights", weights, "--data-dir", cifar, "--epochs", 1, "--out", tmp_path / "run")
        code, _, err = finetune("--resume", tmp_path / "run", "--freeze", "backbone")
        assert code == 1
        assert "--freeze backbone (was none)" in one_sentence(err)

    def test_past_the_thaw(self, finetune, weights, cifar, tmp_path):
        flags = ("--weights", weights, "--data-dir", cifar, *SHORT, "--freeze", "backbone", "--unfreeze-at", 1)
        printed = finetune(*flags, "--out", tmp_path / "run")[1]
        assert "head: the file's; trained: 650 parameters until epoch 1 ends" in printed
        code, printed, err = finetune("--resume", tmp_path / "run")
        assert code == 0, err
        number = sum(array.size for key, array in load_file(weights).items() if ".running_" not in key)
        assert f"head: the run's; trained: {number:,} parameters\n" in printed

    def test_a_folder_that_changed(self, finetune, weights, pictures, tmp_path):
        folder, run = tmp_path / "pictures", tmp_path / "run"
        for name in ("green", "red"):
            shutil.copytree(pictures / name, folder / name)
        finetune("--weights", weights, "--image-folder", folder, "--epochs", 1, "--out", run)
        code, printed, err = finetune("--resume", run)
        assert code == 0, err
        assert "head: the run's" in printed

        def refused(now):
            code, _, err = finetune("--resume", run)
            assert code == 1
            was = f"--resume {run}: {folder} has changed since the run began (2 classes, 40 pictures; now {now})"
            assert f"{was}: put it back as it was, or start a new run" in one_sentence(err)

        (folder / "red" / "0.png").rename(folder / "red" / "99.png")
        refused("as many, but others")
        (folder / "red" / "99.png").rename(folder / "red" / "0.png")
        shutil.copy(folder / "red" / "0.png", folder / "red" / "one more.png")
        refused("2 classes, 41")
        shutil.copytree(pictures / "violet", folder / "violet")
        refused("3 classes, 61")

    def test_a_folder_of_an_older_run(self, finetune, finetune_script, weights, pictures, tmp_path, monkeypatch):
        """Its checkpoint has no fingerprint: classes and sizes alone are compared."""
        folder, run = tmp_path / "pictures", tmp_path / "run"
        shutil.copytree(pictures, folder)
        with monkeypatch.context() as older:
            older.setattr(folders, "fingerprint", lambda listing, parts: None)
            older.setattr(finetune_script.runs, "of_data", lambda loaders, fingerprint: {})
            finetune("--weights", weights, "--image-folder", folder, "--epochs", 1, "--out", run)
        (folder / "red" / "0.png").unlink()
        code, _, err = finetune("--resume", run)
        assert (code, "(3 classes, 60 pictures; now 3 classes, 59)" in one_sentence(err)) == (1, True)
        shutil.copy(pictures / "red" / "0.png", folder / "red")
        assert finetune("--resume", run)[0] == 0


class Signalled:
    """In place of the signals: Ctrl-C has come."""

    def __init__(self, trainer):
        pass

    def __enter__(self):
        return [2]

    def __exit__(self, *error):
        pass


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        ((), "--weights is missing"),
        (("--weights", "none.pth"), "none.pth: cannot be read"),
        (("--weights", "x", "--unfreeze-at", 1), "--unfreeze-at: nothing is frozen"),
        (("--weights", "x", "--freeze", "backbone", "--unfreeze-at", 3), "give one from 1 to 2"),
        (
            ("--weights", "x", "--freeze", "backbone", "--unfreeze-at", 1, "--epochs", 1),
            "got --epochs 1: give --epochs 2",
        ),
        (("--weights", "x", "--label-smoothing", 2), "--label-smoothing must be a number from 0 to 1, got 2.0"),
        (("--weights", "x", "--label-smoothing", "nan"), "--label-smoothing must be a number from 0 to 1, got nan"),
        (("--weights", "x", "--val-split", -1), "--val-split must be at least 0, got -1"),
        (
            ("--weights", "x", "--image-folder", "y", "--dataset", "cifar10"),
            "--image-folder and --dataset cifar10 name two",
        ),
        (("--weights", "x", "--image-folder", "y", "--data-dir", "z"), "--image-folder and --data-dir z name two"),
        (("--weights", "x", "--from-scratch", "--head", "keep"), "--head keep its last layer: leave one of them out"),
        (("--weights", "x", "--skip-broken"), "--skip-broken goes with --image-folder"),
        (("--weights", "x", "--test-folder", "y"), "--test-folder goes with --image-folder"),
        (("--weights", "x", "--labels", "y.csv"), "--labels goes with --image-folder"),
        (("--weights", "x", "--image-folder", "y", "--label-columns", "a", "b"), "--label-columns goes with --labels"),
        (
            ("--weights", "x", "--image-folder", "y", "--range", 5, 5),
            "--range 5 5: give two finite numbers, the lower one first",
        ),
        (("--weights", "x", "--image-folder", "y", "--range", 0, "nan"), "--range 0 nan: give two finite numbers"),
        (("--weights", "x", "--image-folder", "y", "--range", "-1e-3", "-inf"), "--range -0.001 -inf: give two finite"),
        (("--weights", "x", "--from-scratch", "--freeze", "backbone"), "leave --freeze out"),
        (("--weights", "x", "--epochs", 0), "--epochs must be at least 1, got 0"),
        (("--weights", "x", "--lr", "nan"), "--lr must be a number from 0 up, got nan"),
        (("--weights", "x", "--head-lr-multiplier", -1), "--head-lr-multiplier must be a number from 0 up"),
        (("--resume", "nowhere"), "no run there"),
    ],
)
def test_wrong_flags(finetune, flags, match):
    code, _, err = finetune(*flags)
    assert code == 1
    assert match in one_sentence(err)


def test_a_size_that_is_too_small_for_the_network_is_refused_before_there_is_a_folder(finetune, pictures, tmp_path):
    save_file(models.densenet_bc100(3, rng=0).state_dict(), tmp_path / "a.safetensors")
    files = ("--weights", tmp_path / "a.safetensors", "--image-folder", pictures, "--out", tmp_path / "run")
    code, _, err = finetune(*files, "--size", 2)
    assert code == 1 and "--size 2: densenet_bc100 needs 4x4 pixels or more: give --size 4" in one_sentence(err)
    assert not (tmp_path / "run").exists()


class TestEvaluate:
    def test_foreign_weights_as_json(self, script, weights, cifar):
        """Against the network called by hand on the same images, normalised with ImageNet's mean and std."""
        code, printed, err = script(
            "train_cifar", "--evaluate", weights, "--data-dir", cifar, "--json", "--device", "cpu"
        )
        assert code == 0, err
        result = json.loads(printed)
        dataset, model = read_cifar10(cifar), models.resnet8(rng=5).eval()
        x = normalize(dataset.test_images, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        with no_grad():
            logits, _ = model(x)
        right = int((logits.argmax(axis=1) == dataset.test_labels).sum())
        assert (result["test_correct"], result["test_total"]) == (right, len(x))
        assert result["test_acc"] == right / len(x)

    def test_a_network_for_other_images(self, script, cifar, tmp_path):
        save_file(models.build("resnet18", 10, rng=0).state_dict(), tmp_path / "a.safetensors")
        code, _, err = script("train_cifar", "--evaluate", tmp_path / "a.safetensors", "--data-dir", cifar)
        assert code == 1
        assert "resnet18 for 10 classes and 224x224 pixels cannot be tested on" in one_sentence(err)

    def test_json_needs_evaluate(self, script):
        code, _, err = script("train_cifar", "--json")
        assert code == 1
        assert "--json goes with --evaluate" in one_sentence(err)


class TestPredict:
    def test_probabilities_are_the_networks(self, script, weights, pictures):
        picture = pictures / "violet" / "3.jpg"
        code, printed, _ = script("predict", picture, "--weights", weights, "--json", "--top", 10, "--device", "cpu")
        assert code == 0
        preprocessing = Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), size=32, resize=32)
        pixels = preprocessing.pixels(scripts.picture(picture))
        with no_grad():
            logits, _ = models.resnet8(rng=5).eval()(normalize(pixels[None], preprocessing.mean, preprocessing.std))
        expected = np.exp(logits[0].astype(np.float64))
        expected /= expected.sum()
        top = json.loads(printed)["top"]
        got = {guess["class"]: guess["probability"] for guess in top}
        np.testing.assert_allclose([got[f"class {label}"] for label in range(10)], expected, rtol=1e-4)
        assert [guess["probability"] for guess in top] == sorted(got.values(), reverse=True)

    def test_names_from_a_file_and_a_picture_of_the_answer(self, script, weights, pictures, tmp_path):
        names = tmp_path / "names.txt"
        names.write_text("\n".join(f"thing {label}" for label in range(10)) + "\n")
        code, printed, _ = script("predict", pictures / "red" / "0.png", "--weights", weights, "--classes", names,
                                  "--plot", tmp_path / "answer.png")  # fmt: skip
        assert code == 0
        assert printed.count("thing ") == 5
        assert scripts.picture(tmp_path / "answer.png").size == (1210, 396)
        names.write_text("one\ntwo\n")
        code, _, err = script("predict", pictures / "red" / "0.png", "--weights", weights, "--classes", names)
        assert (code, "2 names, the weights have 10 classes" in one_sentence(err)) == (1, True)

    def test_a_broken_picture_does_not_keep_the_others_back(self, script, weights, pictures, tmp_path):
        (tmp_path / "a.jpg").write_bytes(b"hello")
        code, printed, err = script("predict", tmp_path / "a.jpg", pictures / "red" / "0.png", "--weights", weights)
        assert code == 1
        assert "a.jpg: is not a picture" in one_sentence(err)
        assert "0.png" in printed


class TestConvert:
    def test_to_pytorch_and_back(self, script, torch, tmp_path):
        """What comes out is taken by PyTorch's own strict loading, and gives the same checksum."""
        model = models.resnet8(rng=0)
        state = {f"module.{key}": torch.tensor(array) for key, array in model.state_dict().items()}
        torch.save({"state_dict": state, "epoch": 3}, tmp_path / "a.pth")
        code, printed, err = script("convert_weights", tmp_path / "a.pth", tmp_path / "a.safetensors")
        assert code == 0, err
        assert "resnet8" in printed
        from safetensors.torch import load_file as load_tensors

        tensors = load_tensors(tmp_path / "a.safetensors")
        assert set(tensors) == {key.removeprefix("module.") for key in state} | {
            key.removeprefix("module.").replace("running_mean", "num_batches_tracked") for key in state
            if key.endswith("running_mean")
        }  # fmt: skip
        checksums = lambda text: [line for line in text.splitlines() if line.startswith("checksum")]  # noqa: E731
        again = script("convert_weights", tmp_path / "a.safetensors", "-")[1]
        assert checksums(printed) == checksums(again)
        other = tmp_path / "b.safetensors"
        save_file(models.resnet8(rng=1).state_dict(), other)
        assert checksums(script("convert_weights", other, "-")[1]) != checksums(printed)

    def test_classes_and_preprocessing_of_a_run_travel(self, finetune, script, weights, pictures, tmp_path):
        finetune("--weights", weights, "--image-folder", pictures, "--epochs", 1, "--out", tmp_path / "run")
        script("convert_weights", tmp_path / "run", tmp_path / "a.safetensors")
        _, metadata = pretrained.read(tmp_path / "a.safetensors")
        assert metadata["classes"] == sorted(COLORS)
        assert not metadata["assumed"]

    @pytest.mark.parametrize(
        ("target", "match"), [("a.pth", "only safetensors are written"), ("there.safetensors", "exists already")]
    )
    def test_nothing_is_lost(self, script, weights, tmp_path, target, match):
        (tmp_path / "there.safetensors").write_bytes(b"mine")
        code, _, err = script("convert_weights", weights, tmp_path / target)
        assert code == 1
        assert match in one_sentence(err)
        assert (tmp_path / "there.safetensors").read_bytes() == b"mine"
