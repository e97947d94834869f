"""The experiments' quick forms: they run, write their table and picture, and do nothing twice."""

import json
import math
import re
import subprocess
import sys

import numpy as np
import pytest
import scripts
from safetensors.numpy import save_file
from scripts import EXAMPLES, picture, table

from minires import layers, models
from minires.data import make_synthetic, read_cifar10
from minires.gradcheck import gradcheck


def test_finetuning_on_shapes(tmp_path):
    save_file(models.resnet8(rng=0).state_dict(), tmp_path / "weights.safetensors")
    command = [sys.executable, EXAMPLES / "experiments" / "finetuning.py", "shapes", "--quick", "--seeds", "0"]
    command += ["--weights", tmp_path / "weights.safetensors", "--out", tmp_path / "out"]
    first = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = table(tmp_path / "out" / "results.csv")
    assert [row["way"] for row in rows] == ["fine-tuned", "head alone", "from scratch"]
    assert all(row["images of a class"] == "10" and 0 <= float(row["test_acc"]) <= 1 for row in rows)
    assert picture(tmp_path / "out" / "results.png").size == (825, 440)
    assert "images/s" in first.stdout
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "images/s" not in again.stdout  # no run
    assert again.stdout.splitlines()[-4:] == first.stdout.splitlines()[-4:]


@pytest.fixture
def load(monkeypatch):
    """load(name) -> examples/experiments/NAME.py as a module."""
    monkeypatch.syspath_prepend(EXAMPLES / "experiments")
    return lambda name: scripts.load(f"experiments/{name}")


@pytest.fixture
def quickly(load, cifar, tmp_path, monkeypatch, capsys):
    """quickly(name, flags) -> the rows of results.csv; what is found again is not done again, and tells the same."""

    def run(name, *flags):
        script, out = load(name), tmp_path / "out"
        flags = ("--quick", "--data-dir", cifar, "--out", out, *flags)
        code, printed, err = scripts.call(script, monkeypatch, capsys, *flags)
        assert code == 0, err
        files = sorted(out.rglob("*.csv")) + sorted(out.rglob("result.json"))
        written = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files[1:]}
        table_before, picture_before = files[0].read_bytes(), (out / "results.png").read_bytes()
        (out / "results.png").unlink()
        assert scripts.call(script, monkeypatch, capsys, *flags)[1].splitlines()[-3:] == printed.splitlines()[-3:]
        assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files[1:]} == written
        assert (files[0].read_bytes(), (out / "results.png").read_bytes()) == (table_before, picture_before)
        assert picture(out / "results.png").size > (600, 300)
        return table(files[0])

    return run


@pytest.mark.parametrize(
    ("name", "epochs_of_runs"),
    [
        ("degradation", {f"{kind}{depth}": 2 for kind in ("plain", "resnet") for depth in (8, 20, 32, 56)}),
        (
            "regularisation",
            dict.fromkeys(
                ("nothing", "augmentation", "weight decay", "dropout", "all three", "augmentation, shortcut B"), 2
            ),
        ),
        (
            "optimizers",
            dict.fromkeys(
                (
                    "SGD, momentum, steps from 0.05",
                    "SGD at 0.001, no momentum",
                    "Adam at 0.001",
                    "AdamW at 0.001, decay 0.01",
                    "RMSprop at 0.001",
                    "Adam, steps from 0.001",
                ),
                2,
            ),
        ),
    ],
)
def test_curves(quickly, name, epochs_of_runs):
    rows = quickly(name, "--seeds", 3)
    assert [(row["run"], row["epoch"]) for row in rows] == [
        (run, str(epoch)) for run, epochs in epochs_of_runs.items() for epoch in range(1, epochs + 1)
    ]
    assert all(row["seed"] == "3" and float(row["train_seconds"]) > 0 for row in rows)
    assert all(0 <= float(row[error]) <= 1 for row in rows for error in ("train_error", "test_error"))
    last = [(row["train_loss"], row["test_loss"]) for row in rows if row["epoch"] == str(epochs_of_runs[row["run"]])]
    assert len(set(last)) == len(epochs_of_runs)  # no two runs are the same


def test_detection_quickly(load, tmp_path, monkeypatch, capsys):
    """Three backbones, of which the frozen one trains least; what has been done is not done again."""
    save_file(models.resnet8(rng=1).state_dict(), tmp_path / "resnet8.safetensors")
    script, out = load("detection"), tmp_path / "out"
    flags = ("--quick", "--weights", tmp_path / "resnet8.safetensors", "--seeds", 2, "--out", out)
    code, printed, err = scripts.call(script, monkeypatch, capsys, *flags)
    assert code == 0, err
    rows = table(out / "results.csv")
    assert [row["run"] for row in rows] == ["from scratch", "CIFAR weights", "CIFAR weights, frozen"]
    trained = [int(row["trained_parameters"]) for row in rows]
    assert trained[0] == trained[1] > trained[2] > 0 and all(0 <= float(row["ap50"]) <= 100 for row in rows)
    assert picture(out / "results.png").size > (600, 300)
    written = {path: path.stat().st_mtime_ns for path in out.rglob("result.json")}
    code, again, err = scripts.call(script, monkeypatch, capsys, *flags)
    assert code == 0 and again.splitlines()[-5:] == printed.splitlines()[-5:]
    assert {path: path.stat().st_mtime_ns for path in out.rglob("result.json")} == written and len(written) == 3
    (out / "from-scratch-2" / "result.json").unlink()  # as one that was interrupted
    assert scripts.call(script, monkeypatch, capsys, *flags)[0] == 0
    assert table(out / "results.csv")[0]["ap50"] == rows[0]["ap50"]
    monkeypatch.setattr(script, "QUICK_SIZE", script.QUICK_SIZE | {"scenes": 30})
    code, _, err = scripts.call(script, monkeypatch, capsys, *flags)
    assert code == 1 and "holds a run with another scenes: name another --out" in scripts.one_sentence(err)


def test_segmentation_quickly(load, tmp_path, monkeypatch, capsys):
    """Four networks; what has been done is not done again, and nothing of other settings is taken for it."""
    save_file(models.resnet8(rng=1).state_dict(), tmp_path / "resnet8.safetensors")
    script, out = load("segmentation"), tmp_path / "out"
    flags = ("--quick", "--weights", tmp_path / "resnet8.safetensors", "--seeds", 2, "--out", out)
    code, printed, err = scripts.call(script, monkeypatch, capsys, *flags)
    assert code == 0, err
    rows = table(out / "results.csv")
    names = ["from scratch", "from scratch, no skips", "CIFAR weights", "CIFAR weights, frozen"]
    assert [row["run"] for row in rows] == names
    trained = [int(row["trained_parameters"]) for row in rows]
    assert trained[0] == trained[2] > trained[1] > trained[3] > 0
    assert all(0 <= float(row[name]) <= 100 for row in rows for name in ("mean_iou", "pixel_accuracy", "thin"))
    assert picture(out / "results.png").size > (600, 300)
    written = {path: path.stat().st_mtime_ns for path in out.rglob("result.json")}
    code, again, err = scripts.call(script, monkeypatch, capsys, *flags)
    assert code == 0 and again.splitlines()[-6:] == printed.splitlines()[-6:]
    assert {path: path.stat().st_mtime_ns for path in out.rglob("result.json")} == written and len(written) == 4
    (out / "from-scratch-2" / "result.json").unlink()  # as one that was interrupted
    assert scripts.call(script, monkeypatch, capsys, *flags)[0] == 0
    assert table(out / "results.csv")[0]["mean_iou"] == rows[0]["mean_iou"]
    monkeypatch.setattr(script, "QUICK_SIZE", script.QUICK_SIZE | {"limit_test": 9})
    code, _, err = scripts.call(script, monkeypatch, capsys, *flags)
    assert code == 1 and "holds a run with another limit_test: name another --out" in err


def test_images_needed(quickly, tmp_path):
    rows = quickly("images_needed")
    assert list(dict.fromkeys(row["run"] for row in rows)) == [
        "12, plain",
        "12, augmented",
        "48, plain",
        "48, augmented",
    ]
    assert picture(tmp_path / "out" / "by_count.png").size > (600, 300)
    assert len({row["train_loss"] for row in rows}) == len(rows)


def test_the_first_images_again_and_again(load):
    dataset = make_synthetic(train=10, test=5)
    few = load("images_needed").first_of(dataset, 4, 10)
    np.testing.assert_array_equal(few.train_labels, dataset.train_labels[[0, 1, 2, 3, 0, 1, 2, 3, 0, 1]])
    np.testing.assert_array_equal(few.train_images[4:8], dataset.train_images[:4])
    assert len(few.test_images) == 5


def test_simple_against_residual(quickly, load):
    rows = quickly("simple_against_residual")
    epochs = {run: sum(row["run"] == run for row in rows) for run in dict.fromkeys(row["run"] for row in rows)}
    assert list(epochs) == ["resnet20"] + [
        f"{name}, equal {what}" for name in ("simple_cnn", "wide simple_cnn") for what in ("epochs", "time")
    ]
    assert epochs["simple_cnn, equal epochs"] == epochs["wide simple_cnn, equal epochs"] == epochs["resnet20"] == 1
    assert epochs["simple_cnn, equal time"] > 1 and epochs["wide simple_cnn, equal time"] > 1
    sizes = [sum(parameter.size for parameter in build(0).parameters())
             for build in load("simple_against_residual").NETWORKS.values()]  # fmt: skip
    assert sizes == [269_722, 42_442, 268_222]


def test_families_quickly(load, cifar, tmp_path):
    out, script = tmp_path / "out", load("families")
    command = [sys.executable, EXAMPLES / "experiments" / "families.py", "--data-dir", cifar, "--quick", "--out", out]
    subprocess.run([*command, "--seeds", "0"], capture_output=True, check=True)
    rows = table(out / "results.csv")
    assert {row["run"] for row in rows} == {
        f"{name}, {kind}" for name in script.NETWORKS for kind in ("equal epochs", "equal time")
    }
    lines = (out / "table.md").read_text(encoding="utf-8").splitlines()[2:]
    assert [line.split(" | ")[0] for line in lines] == [f"| {name}" for name in script.NETWORKS]
    assert all(float(line.split(" | ")[3]) > 1 for line in lines)  # MB of a step
    sizes = [int(line.split(" | ")[1].replace(",", "")) for line in lines]
    assert sizes == [sum(p.size for p in build(0).parameters()) for build in script.NETWORKS.values()]
    assert all(240_000 <= size <= 305_000 for size in sizes)  # about as large, as the text says


def test_networks_quickly(load, tmp_path, monkeypatch, capsys):
    code, printed, err = scripts.call(load("networks"), monkeypatch, capsys, "--quick", "--out", tmp_path)
    assert code == 0, err
    counted = {row["network"]: row for row in table(tmp_path / "networks.csv")}
    assert set(counted) == {"preact_resnet164", "wide_resnet28_10", "rezero_resnet20"}
    page = (EXAMPLES.parent / "docs" / "networks.md").read_text(encoding="utf-8")
    assert all(line in page for line in printed.splitlines()[:-1])  # the rows of the page
    shown = set(re.findall(r"images/networks/(\w+)\.png", page))
    assert shown - {"families"} == {path.stem for path in tmp_path.glob("*.png")}
    assert all(picture(path).size > (150, 100) for path in tmp_path.glob("*.png"))


class TestBatchNormStatistics:
    def test_quickly(self, quickly, tmp_path):
        save_file(models.resnet8(rng=0).state_dict(), tmp_path / "weights.safetensors")
        rows = quickly("batch_norm_statistics", "--weights", tmp_path / "weights.safetensors", "--seeds", 0)
        before, after = rows[::2], rows[1::2]
        assert [row["way"] for row in after] == ["kept", "drifting", "drifting, small batches"]
        assert {(float(row["mean_moved"]), float(row["variance_factor"])) for row in before} == {(0.0, 1.0)}
        assert (float(after[0]["mean_moved"]), float(after[0]["variance_factor"])) == (0.0, 1.0)
        assert all(float(row["mean_moved"]) > 0 and float(row["variance_factor"]) > 1 for row in after[1:])

    def test_distance(self, load):
        model, original = models.resnet8(rng=0), models.resnet8(rng=0)
        for norm in (module for module in model.modules() if isinstance(module, layers.BatchNorm2d)):
            norm.running_mean += 3.0  # the variance is 1
            norm.running_var[::2] *= 4.0
        moved, factor = load("batch_norm_statistics").distance(model, original)
        assert moved == pytest.approx(3.0, rel=1e-4)
        assert factor == pytest.approx(2.0, rel=1e-4)  # the geometric mean of 4 and 1


def test_steps_of_the_optimizers_as_the_page_has_them(load):
    """A tenth in the middle of the third epoch, a hundredth only from the end of the fourth on."""
    page = (EXAMPLES.parent / "docs" / "experiments.md").read_text(encoding="utf-8")
    named = re.search(r"step (\d+) of (\d+),[^.]*step (\d+)", " ".join(page.split()))
    tenth, all_steps, hundredth = map(int, named.groups())
    _, schedule = load("optimizers").WAYS["Adam, steps from 0.001"]
    rates = [schedule(all_steps)(step) for step in range(all_steps)]
    falls = [step for step in range(1, all_steps) if rates[step] != rates[step - 1]]
    assert falls == [tenth, hundredth]
    assert hundredth / (all_steps / 5) == pytest.approx(3.75, abs=0.01)  # epochs


def test_precision_quickly(quickly, load):
    rows = quickly("precision", "--seeds", 0, "--device", "cpu")
    script = load("precision")
    assert len(rows) == 2 * len(script.KINDS) * 7  # before and after, seven convolutions
    found = {(row["kind"], row["when"], row["layer"]): float(row["error"]) for row in rows}
    for when in script.WHEN:
        for layer in map(str, range(1, 8)):
            errors = [found[kind, when, layer] for kind in script.KINDS]
            assert errors[0] < 1e-3 < min(errors[1:]) and max(errors) < 1


def test_large_batches_quickly(quickly, load):
    rows = quickly("large_batches", "--seeds", 0)
    script = load("large_batches")
    assert [row["run"] for row in rows[::2]] == list(script.RUNS)
    rates = [script.schedule(4, True, 6)(120)(step) for step in range(120)]
    assert rates[0] == pytest.approx(0.1) and rates[20] == rates[59] == 0.4 and rates[60] == pytest.approx(0.04)
    assert max(np.diff(rates[:20])) == pytest.approx(min(np.diff(rates[:20])))  # a straight line


def test_distillation_quickly(quickly, load):
    """Labels alone are cross-entropy; each way of teaching gives other numbers from the first epoch on."""
    script = load("distillation")
    rows = quickly("distillation", "--seeds", 0)
    assert [row["run"] for row in rows[::2]] == list(script.WAYS)
    assert len({row["train_loss"] for row in rows[::2]}) == len(script.WAYS)


def test_a_teacher_read_from_a_file_is_part_of_what_a_run_was(quickly, load, tmp_path):
    save_file(models.resnet8(rng=1).state_dict(), tmp_path / "teacher.safetensors")
    flags = ("--seeds", 0, "--only", "T 4, alpha 0.9", "--teacher", tmp_path / "teacher.safetensors")
    assert [row["run"] for row in quickly("distillation", *flags)[::2]] == ["labels alone", "T 4, alpha 0.9"]
    result = json.loads((tmp_path / "out" / "T-4-alpha-0.9-0" / "result.json").read_text(encoding="utf-8"))
    ingredients = result["settings"]["ingredients"]
    assert (ingredients["temperature"], ingredients["alpha"], len(ingredients["teacher"][0])) == (4.0, 0.9, 64)


def test_federated_quickly(quickly, load):
    """Of data-parallel training every step sends ten gradients and ten sets of weights, of a round five of each."""
    rows = quickly("federated", "--seeds", 0)
    script = load("federated")
    assert list(dict.fromkeys(row["run"] for row in rows)) == [*script.WAYS, script.PARALLEL]
    sent = {row["run"]: float(row["sent_mb"]) for row in reversed(rows)}  # after the first round or step
    whole = script.bytes_to_send(script.network("batch", 0)) / 1e6
    assert sent["IID, 1 epoch"] == sent["two classes, 5 epochs"] == pytest.approx(10 * whole)
    assert sent[script.PARALLEL] == pytest.approx(20 * whole)
    assert sent["IID, 5 epochs, group norm"] < sent["IID, 5 epochs"]


def test_group_norm_in_the_place_of_batch_norm(load):
    model = load("federated").network("group", 0).to(np.float64)
    assert model.buffers() == [] and not [m for m in model.modules() if isinstance(m, layers.BatchNorm2d)]
    x = np.random.default_rng(0).standard_normal((2, 8, 8, 3))
    gradcheck(model, x, max_elements=30)


def test_strong_quickly(quickly, load):
    script = load("strong")
    rows = quickly("strong", "--seeds", 0)
    assert [row["run"] for row in rows[::2]] == list(script.WAYS)
    first = {row["run"]: row["train_loss"] for row in rows if row["epoch"] == "2"}
    assert first["EMA 0.995"] == first["EMA 0.999"] == first["standard"]  # an average is nothing that training sees
    assert first["strong"] == first["clipped at 1"]
    assert len(set(first.values())) == len(first) - 3  # no other two are the same
    assert script.WAYS["strong"] == {"clip_norm": 1.0, "ema": 0.995}
    assert {name for names in script.PANELS.values() for name in names} == set(script.WAYS)


def test_strong_in_small(quickly, load, tmp_path):
    rows = quickly("strong", "--seeds", 0, "--small", "--only", "cutout 8")
    assert [row["run"] for row in rows[::2]] == ["standard", "cutout 8"]
    result = json.loads((tmp_path / "out" / "cutout-8-0" / "result.json").read_text(encoding="utf-8"))
    assert "16x16" in result["settings"]["data"] and "held out" in result["settings"]["data"]
    assert result["settings"]["ingredients"] == {"cutout": 4, "padding": 2}


def test_strong_chooses_without_the_test_images(load, cifar):
    dataset = read_cifar10(cifar / "cifar-10-batches-bin")
    held = load("strong").hold_out(dataset, 20)
    np.testing.assert_array_equal(np.concatenate([held.train_images, held.test_images]), dataset.train_images)
    np.testing.assert_array_equal(np.concatenate([held.train_labels, held.test_labels]), dataset.train_labels)
    assert len(held.test_labels) == 20 and "held out" in held.label


class TestShardStatistics:
    def test_quickly(self, quickly, load):
        rows = quickly("shard_statistics", "--seeds", 0)
        assert len(rows) == len(load("shard_statistics").QUICK_IMAGES) * 7  # batch norms
        assert all(0 < float(row["mean_noise"]) < 1 for row in rows)

    def test_noise_as_the_law_has_it(self, load):
        """Images drawn independently, whose means differ, each with pixels that differ as well."""
        rng = np.random.default_rng(0)
        x = rng.standard_normal((200, 8, 16, 1, 3)) + 2 * rng.standard_normal((200, 8, 16, 64, 3))
        means, squares = x.mean(axis=3).swapaxes(1, 2), (x**2).mean(axis=3).swapaxes(1, 2)
        found = load("shard_statistics").noise(means, squares)  # 16 shards of 8 images in each of 200 batches
        assert found["mean_noise"] == pytest.approx(found["mean_law"], rel=0.05)
        assert found["mean_law"] == pytest.approx(math.sqrt((1 + 4 / 64) / 5 / 8), rel=0.02)
        assert found["var_noise"] == pytest.approx(found["var_law"], rel=0.1)
        assert found["var_bias"] == pytest.approx(-(1 + 4 / 64) / 5 / 8, rel=0.05)


def test_small_shards_quickly(quickly, load):
    rows = quickly("small_shards", "--seeds", 0)
    script = load("small_shards")
    assert len(rows) == len(script.NORMS) * len(script.QUICK_SHARDS)
    of_group_norm = [row for row in rows if row["run"].startswith("group norm")]
    losses = [float(row["train_loss"]) for row in of_group_norm]
    assert losses == pytest.approx([losses[0]] * len(losses), rel=1e-4)  # the shards are none of its business
    assert len({row["train_loss"] for row in rows}) > 2


class TestSummationOrder:
    def test_quickly(self, quickly):
        rows = quickly("summation_order", "--seeds", 0)
        assert [row["step"] for row in rows] == ["1", "2", "3"]
        assert {float(row["distance_again"]) for row in rows} == {0.0}
        assert 0 < float(rows[0]["distance"]) < 1e-6

    def test_the_other_order_is_a_sum_of_the_same_shards(self, load):
        script = load("summation_order")
        labels = np.arange(10)
        parts = script.Batch(
            labels, [slice(0, 4), slice(4, 7), slice(7, 10)], range(3), lambda s: (s, labels[s : s + 1])
        )
        other = script.ordered(parts, (2, 0, 1))
        assert [(shard.number, shard.x) for shard in other] == [(0, 2), (1, 0), (2, 1)]
        assert [other.share(number) for number in range(3)] == [0.3, 0.4, 0.3]


class TestScalingModel:
    def test_step(self, load):
        script = load("scaling_model")
        network, link = script.Network(image=0.01, bytes=8_000_000), script.Link(latency=1e-3, bandwidth=1e9)
        assert script.step(network, link, 100, 1) == (1.0, 1.0)
        seconds, compute = script.step(network, link, 100, 4, adding=8e9)
        assert compute == 0.25
        assert seconds == pytest.approx(0.25 + 6e-3 + 12e-3 + 1e-3)

    def test_the_best_number_of_ranks(self, load):
        script = load("scaling_model")
        network, link = script.Network(image=0.01, bytes=1000), script.Link(latency=1e-4, bandwidth=1e9)
        best = script.best(network, link, 128)
        assert best == 80
        times = {ranks: script.step(network, link, 128, ranks)[0] for ranks in range(2, 300)}
        assert abs(min(times, key=times.get) - best) <= 1

    def test_what_is_added_up(self, load):
        assert load("scaling_model").bytes_of("resnet20") == 4 * (269_722 + 2 * 688 + 2)

    def test_runs(self, load, tmp_path, monkeypatch, capsys):
        flags = ("--latency", 1e-5, "--out", tmp_path)
        code, printed, err = scripts.call(load("scaling_model"), monkeypatch, capsys, *flags)
        assert code == 0, err
        assert "| resnet20, as given | " in printed
        assert picture(tmp_path / "results.png").size > (600, 300)
        rows = table(tmp_path / "results.csv")
        assert {float(row["efficiency"]) for row in rows if row["ranks"] == "1"} == {1.0}
        assert all(float(row["efficiency"]) <= 1 for row in rows)

    def test_measuring_is_the_work_of_several(self, load, monkeypatch, capfd):
        code, _, err = scripts.call(load("scaling_model"), monkeypatch, capfd, "--measure")
        assert code not in (0, None)
        assert "two or more" in scripts.one_sentence(err)


class TestGradients:
    def test_quickly(self, quickly, load):
        rows = quickly("gradients", "--seeds", 0)
        script = load("gradients")
        assert len(rows) == len(script.QUICK_DEPTHS) * len(script.KINDS) * 2 * 8  # before and after, eight layers
        assert [row["layer"] for row in rows[:8]] == [str(layer) for layer in range(1, 9)]
        assert (rows[0]["name"], rows[7]["name"]) == ("conv1", "fc")
        assert all(math.isfinite(float(row["gradient_norm"])) for row in rows)

    def test_a_layer_without_batch_norm(self, load):
        rng = np.random.default_rng(0)
        x, shortcut = rng.standard_normal((2, 2, 3, 4, 5))
        module = load("gradients").BiasReLU2d(5)
        gradcheck(module, x)
        gradcheck(module, x, shortcut)

    @pytest.mark.parametrize("kind", ["plain", "residual", "plain, batch norm", "residual, batch norm"])
    def test_kinds(self, load, kind):
        """Where every convolution gives 0, only what goes round the blocks comes through."""
        model = load("gradients").build(8, kind, 0)
        assert any(isinstance(module, layers.BatchNorm2d) for module in model.modules()) == ("batch norm" in kind)
        for module in (model.layer1, model.layer2, model.layer3):
            for name, parameter in module.named_parameters():
                if "conv" in name:
                    parameter.data[:] = 0
        x = np.random.default_rng(0).standard_normal((2, 32, 32, 3)).astype(np.float32)
        y, _ = model(x)
        assert np.array_equal(y[0], y[1]) == kind.startswith("plain")

    @pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")
    def test_a_rate_that_is_too_high_is_divided(self, load, cifar, monkeypatch):
        script = load("gradients")
        loader, _ = script._shared.make_loaders(read_cifar10(cifar / "cifar-10-batches-bin"), script.QUICK_SIZE, 0)
        monkeypatch.setattr(script, "LEARNING_RATES", (1e30, 0.01))
        assert script.measure(8, "residual", 0, loader, 3)["lr"] == 0.01


def test_recomputing(tmp_path):
    command = [sys.executable, EXAMPLES / "experiments" / "recomputing.py", "--quick", "--out", tmp_path]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.splitlines()[-1].startswith("resnet8, batch size 2, ")
    rows = table(tmp_path / "results.csv")
    assert [row["segments"] for row in rows] == ["1", "2", "3"]
    assert rows[0]["ratio"] == "1.0" and all(float(row["seconds"]) > 0 for row in rows)
    kept = [float(row["kept_mb"]) for row in rows]  # by the formula, in arrays of 2 images of 32x32 with 16 channels
    unit = 2 * 32 * 32 * 16 * 4 / 1e6
    assert kept == [round(unit * arrays, 1) for arrays in (1 + 4 * 1.75, 1 + 1 + 4, 2.5 + 4)]
    assert picture(tmp_path / "results.png").size > (600, 300)


def test_ensembles(quickly):
    """Every network alone and together, on one view and on two, the means of the members among them."""
    rows = quickly("ensembles", "--seeds", 3, 4)
    alone = ["seed 3", "seed 4", "one run", "cycle 1", "cycle 2", "cycle 3", "mean of the seeds", "mean of the cycles"]
    names = [*alone, "ensemble of 2 seeds", "ensemble of 3 cycles"]
    assert [(row["network"], row["views"]) for row in rows] == [(n, v) for v in ("none", "mirror") for n in names]
    nll = {(row["network"], row["views"]): float(row["nll"]) for row in rows}
    for views in ("none", "mirror"):
        mean = nll["mean of the cycles", views]
        assert mean == pytest.approx(sum(nll[f"cycle {n}", views] for n in (1, 2, 3)) / 3)
        assert nll["ensemble of 3 cycles", views] <= mean
    assert len({row["nll"] for row in rows}) == len(rows)


def test_retrieval(load, cifar, tmp_path, monkeypatch, capsys):
    save_file(models.resnet8(rng=0).state_dict(), tmp_path / "a.safetensors")
    flags = ("--quick", "--data-dir", cifar, "--weights", tmp_path / "a.safetensors", "--out", tmp_path / "out")
    code, printed, err = scripts.call(load("retrieval"), monkeypatch, capsys, *flags)
    assert code == 0, err
    rows = table(tmp_path / "out" / "results.csv")
    assert [row["numbers"] for row in rows] == ["64", "64", "3072", "3072"]
    assert all(0 <= float(row[f"precision at {k}"]) <= 1 for row in rows for k in (1, 5, 10, 50))
    files = sorted(file.name for file in (tmp_path / "out" / "pictures").iterdir())
    assert all(picture(tmp_path / "out" / "pictures" / name).size == (32, 32) for name in files)
    dataset = read_cifar10(cifar)
    named = [f"{dataset.classes[label]}-{n:03}.png" for n, label in enumerate(dataset.test_labels[:20])]
    assert sorted(named) == files
    assert "search among 1,000 x 64" in printed and picture(tmp_path / "out" / "results.png").size > (600, 300)


@pytest.mark.parametrize(
    ("name", "flags", "message"),
    [
        ("batch_norm_statistics", ["--weights", "nowhere.th", "--data-dir", "cifar", "--quick"], "nowhere.th"),
        ("degradation", ["--data-dir", "a file"], "a file"),
        ("distillation", ["--data-dir", "a file"], "a file"),
        ("distillation", ["--data-dir", "cifar"], "--teacher is missing: name a file of weights"),
        ("distillation", ["--data-dir", "cifar", "--quick", "--teacher", "nowhere.th"], "nowhere.th"),
        ("ensembles", ["--data-dir", "a file"], "a file"),
        ("ensembles", ["--data-dir", "cifar", "--seeds", 1], "--seeds 1: an ensemble has two networks or more"),
        ("retrieval", ["--data-dir", "cifar", "--weights", "nowhere.th"], "nowhere.th"),
        ("federated", ["--data-dir", "a file"], "a file"),
        ("finetuning", ["shapes", "--weights", "nowhere.th", "--quick"], "nowhere.th"),
        ("finetuning", ["cifar", "--weights", "nowhere.th", "--data-dir", "cifar"], "nowhere.th"),
        ("gradients", ["--data-dir", "a file"], "a file"),
        ("gates", ["--out", "a file/picture.png"], "a file"),
        ("large_batches", ["--data-dir", "a file"], "a file"),
        ("linear_to_resnet", ["--quick", "--out", "a file"], "a file"),
        ("linear_to_resnet", ["--quick", "--epochs", 0], "--epochs"),
        ("linear_to_resnet", ["--quick", "--threads", 0], "threads"),
        ("measuring", ["--weights", "nowhere.th", "--dataset", "synthetic"], "nowhere.th"),
        ("measuring", ["--weights", "nowhere.th", "--data-dir", "a file"], "a file"),
        ("optimizers", ["--data-dir", "a file"], "a file"),
        ("pictures", ["--weights", "nowhere.th"], "nowhere.th"),
        ("recomputing", ["--quick", "--out", "a file"], "a file"),
        ("recomputing", ["--quick", "--segments", 4], "--segments 4: resnet8 has 3 blocks: give 1 to 3"),
        ("recomputing", ["--quick", "--rounds", 0], "--rounds"),
        ("regularisation", ["--data-dir", "a file"], "a file"),
        ("scaling_model", ["--out", "a file/picture"], "a file"),
        ("schedules", ["--out", "a file/picture.png"], "a file"),
        ("shard_statistics", ["--data-dir", "a file"], "a file"),
        ("small_shards", ["--data-dir", "a file"], "a file"),
        ("strong", ["--data-dir", "a file"], "a file"),
        ("summation_order", ["--data-dir", "a file"], "a file"),
        ("simple_against_residual", ["--data-dir", "cifar", "--quick", "--out", "a file"], "a file"),
    ],
)
def test_errors_are_one_sentence(load, cifar, tmp_path, monkeypatch, capfd, name, flags, message):
    (tmp_path / "a file").write_bytes(b"?")
    (tmp_path / "cifar").symlink_to(cifar)
    monkeypatch.chdir(tmp_path)
    code, _, err = scripts.call(load(name), monkeypatch, capfd, *flags)
    assert code not in (0, None)
    assert message in scripts.one_sentence(err)


class TestRuns:
    """_shared.py"""

    def test_goes_on_where_it_was_interrupted(self, load, cifar, tmp_path, monkeypatch):
        script = load("degradation")
        shared, dataset = script._shared, read_cifar10(cifar / "cifar-10-batches-bin")

        def train(folder):
            size = shared.Size(train=32, test=13, epochs=3, batch_size=16)
            build = lambda seed: models.resnet8(rng=seed)  # noqa: E731
            return shared.train(tmp_path / folder, dataset, size, 0, build, shared.sgd(), shared.steps(0.05))

        def stop_after_one(trainer, evaluation, finish=shared.Trainer._finish_epoch):
            finish(trainer, evaluation)
            trainer.stop_requested = True

        whole = train("whole")["history"]
        with monkeypatch.context() as patch:
            patch.setattr(shared.Trainer, "_finish_epoch", stop_after_one)
            with pytest.raises(SystemExit):
                train("parts")
        assert not (tmp_path / "parts" / "result.json").exists()
        parts = train("parts")["history"]
        assert [row["epoch"] for row in parts] == [1, 2, 3]
        for row in (*whole, *parts):
            del row["train_seconds"]
        assert parts == whole

    @pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")
    def test_a_run_that_diverges(self, load, cifar, tmp_path, capsys):
        shared = load("degradation")._shared
        size = shared.Size(train=32, test=13, epochs=2, batch_size=16)
        networks = (
            tmp_path / "run",
            read_cifar10(cifar / "cifar-10-batches-bin"),
            size,
            0,
            lambda seed: models.resnet8(),
        )
        result = shared.train(*networks, shared.sgd(), shared.steps(1e30))
        assert "no longer a finite number" in result["diverged"]
        shared.write_curves(tmp_path, {("bad", 0): result}, {"panel": ["bad"]})
        assert "| bad | 75,290 | 2 | diverged | diverged | - |" in capsys.readouterr().out

    def test_other_settings(self, load, tmp_path):
        once = load("degradation")._shared.once
        assert once(tmp_path / "run", {"lr": 1, "seed": 0}, lambda: {"x": 1})["x"] == 1
        assert once(tmp_path / "run", {"lr": 1, "seed": 0}, lambda: {"x": 2})["x"] == 1
        with pytest.raises(ValueError, match="run holds a run with another lr: name another --out"):
            once(tmp_path / "run", {"lr": 2, "seed": 0}, lambda: {"x": 2})


def test_robust_training_quickly(quickly, load):
    rows, script = quickly("robust_training", "--seeds", 4), load("robust_training")
    assert list(dict.fromkeys(row["model"] for row in rows)) == [*script.WAYS, script.ENSEMBLE]
    assert len(rows) == 5 * 41 and {row["seed"] for row in rows} == {"4"}
    assert all(0 <= int(row["correct"]) <= int(row["images"]) == 13 for row in rows)
    of_each = {name: tuple(row["correct"] for row in rows if row["model"] == name) for name in script.WAYS}
    assert len(set(of_each.values())) > 1


def test_adversarial_training_quickly(load, cifar, tmp_path, monkeypatch, capsys):
    script, out = load("adversarial_training"), tmp_path / "out"
    flags = ("--quick", "--data-dir", cifar, "--out", out, "--seeds", 2)
    code, printed, err = scripts.call(script, monkeypatch, capsys, *flags)
    assert code == 0, err
    rows = table(out / "results.csv")
    assert len(rows) == 3 * 2 * 4 and list(dict.fromkeys(row["model"] for row in rows)) == list(script.WAYS)
    assert (out / "checks.txt").read_text().count("the input gradient is the derivative") == 3
    networks = [(out / f"{way.replace(' ', '-')}-2" / "network.safetensors").read_bytes() for way in script.WAYS]
    assert len(set(networks)) == 3  # trained in three ways
    written = {path: path.stat().st_mtime_ns for path in out.rglob("result.json")}
    again = scripts.call(script, monkeypatch, capsys, *flags)[1]
    assert again.splitlines()[-10:] == printed.splitlines()[-10:]
    assert {path: path.stat().st_mtime_ns for path in out.rglob("result.json")} == written


def test_compression(quickly):
    rows = quickly("compression")
    assert {row["part"] for row in rows} == {"bits", "zeros", "stages", "files"}
    of = {row["way"]: row for row in rows}
    assert float(of["half"]["multiply_adds"]) <= 0.5 * float(of["whole"]["multiply_adds"])
    assert 0.2 < float(of["int8"]["bytes"]) / float(of["whole"]["bytes"]) < 0.3
    assert float(of["30% zeros, layer"]["zeros"]) == pytest.approx(0.3, abs=1e-3)
    assert all(0 <= float(row["accuracy"]) <= 1 for row in rows)


def test_compression_says_what_is_missing(load, monkeypatch, capsys, tmp_path):
    code, _, err = scripts.call(load("compression"), monkeypatch, capsys, "--out", tmp_path / "out")
    assert code == 1 and "--weights is missing" in scripts.one_sentence(err)
