"""benchmarks/cpu.py and its parts: every peer computes the same, figures are put together rightly, nothing is timed."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import breakdown  # noqa: E402
import cpu  # noqa: E402
import freezing  # noqa: E402
import gpu_budget  # noqa: E402
import machine_peaks  # noqa: E402
import peers  # noqa: E402
import turns  # noqa: E402
from cases import CASES, Conv, Network, select  # noqa: E402
from peers import peer_minires, textbook  # noqa: E402

from minires import backend, layers, models  # noqa: E402
from minires.inspection import summary  # noqa: E402
from minires.layers import conv2d  # noqa: E402

TRAIN, INFER = Network("resnet8", True, 4), Network("resnet8", False, 4)
LAYERS = [Conv(2, 3, 8, 2), Conv(3, 4, 15, 2, kernel=7, stride=2), Conv(8, 8, 9, 2, groups=4)]
PEAKS = {"threads": 1, "sgemm_gflops": 100.0, "copy_gb_per_s": 10.0, "cached_copy_gb_per_s": 50.0}


def normal(*shape):
    return np.random.default_rng(0).standard_normal(shape)


# The textbook ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (1, 1), (2, 1), (3, 2)])
@pytest.mark.parametrize("with_bias", [False, True])
def test_the_textbook_convolution_is_that_of_minires(stride, padding, with_bias):
    x, weight, bias = normal(2, 7, 8, 3), normal(4, 3, 3, 3), normal(4) if with_bias else None
    y, backward = conv2d(x, weight, bias, stride, padding)
    dx, *others = backward(np.cos(y))
    their_y, their_backward = textbook.conv2d(x.transpose(0, 3, 1, 2), weight, bias, stride, padding)
    their_dx, *their_others = their_backward(np.cos(their_y))
    np.testing.assert_allclose(their_y.transpose(0, 2, 3, 1), y, atol=1e-12)
    np.testing.assert_allclose(their_dx.transpose(0, 2, 3, 1), dx, atol=1e-12)
    for theirs, ours in zip(their_others, others, strict=True):
        np.testing.assert_allclose(theirs, ours, atol=1e-11)


def test_textbook_running_statistics_move_as_those_of_minires():
    state = models.resnet8(rng=0).state_dict()
    network, model = textbook.ResNet(state, 8), models.resnet8(rng=0)
    x = normal(4, 16, 16, 3).astype(np.float32)
    network(x.transpose(0, 3, 1, 2))
    model(x)
    for name, array in model.state_dict().items():
        np.testing.assert_allclose(network.state[name], array, rtol=1e-4, atol=1e-5, err_msg=name)
    assert not any(np.shares_memory(network.state[name], array) for name, array in state.items())


# Peers -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def load():
    """load(peer): its module, on as many threads as minires; the test is skipped where it is not installed."""

    def load_or_skip(peer):
        if peer != "textbook":
            pytest.importorskip("torch")
        return peers.load(peer, backend.get_threads())

    before = set(os.environ)
    yield load_or_skip
    for name in set(os.environ) - before:  # set by a peer, to tell its framework
        del os.environ[name]
    if sys.modules.get("torch"):
        sys.modules["torch"].set_num_threads(1)


@pytest.mark.parametrize("peer", peers.PEERS)
@pytest.mark.parametrize("case", [TRAIN, INFER, *LAYERS], ids=lambda case: case.name)
def test_a_peer_computes_the_same(load, peer, case):
    if peer in peers.SLOW and not isinstance(case, Network):
        pytest.skip("takes part in networks only")
    runners = {"minires": peer_minires.make_step(case), peer: load(peer).make_step(case, peer)}
    assert list(cpu.warm_up(case, runners)) == ["minires", peer]


def test_a_peer_that_computes_something_else_is_found():
    step = peer_minires.make_step(INFER)
    with pytest.raises(AssertionError, match="liar computes something else in resnet8-infer-4"):
        cpu.warm_up(INFER, {"minires": step, "liar": lambda: [step()[0] + 1]})


def test_without_torch_the_textbook_is_left(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "peers.peer_torch", raising=False)
    found, missing = peers.load_installed(["pytorch-nchw", "textbook"], 1)
    assert list(found) == ["textbook"]
    assert "without pytorch-nchw, which needs torch" in missing[0]
    assert list(cpu.find_peers(cpu.parse(["--quick"]))) == ["textbook"]


def test_slow_peers_take_part_in_few_cases():
    train, deep, conv = CASES["resnet20-train-128"], CASES["resnet56-train-128"], CASES["conv3x3-512ch-7x7-16"]
    assert peers.taking_part(train, peers.PEERS) == list(peers.PEERS)
    assert peers.taking_part(deep, peers.PEERS) == ["pytorch-nchw", "pytorch-channels-last"]
    assert peers.taking_part(conv, ["textbook"]) == []


# A run -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(monkeypatch, tmp_path, load):
    """run(*arguments): the JSON of a run in which TRAIN and INFER are cases, and memory is not measured."""
    for case in (TRAIN, INFER):
        monkeypatch.setitem(CASES, case.name, case)
    monkeypatch.setattr(peers, "SLOW_CASES", (TRAIN.name, INFER.name))
    monkeypatch.setattr(cpu, "peak_memories", lambda case, names, *_: dict.fromkeys(["minires", *names], 10.0))
    monkeypatch.setattr(turns, "PAUSE", 0)

    def run_and_read(*arguments):
        cpu.main([*arguments, "--json", str(tmp_path / "figures.json")])
        return json.loads((tmp_path / "figures.json").read_text())

    return run_and_read


def test_the_json_of_a_run(run, capsys):
    content = run("--quick", "--case", "resnet8-*", "--peer", "textbook", "--rounds", "2")
    assert set(content) == {"machine", "results"}
    assert content["machine"]["threads"] == backend.get_threads()
    rows = content["results"]
    assert [(row["case"], row["peer"]) for row in rows] == [(TRAIN.name, "textbook"), (INFER.name, "textbook")]
    for row in rows:
        low, high = row["spread"]
        assert 0 < low <= row["ratio"] <= high
        assert min(row["images_per_second"], row["peer_images_per_second"]) > 0
        assert row["peak_mb"] == row["peer_peak_mb"] == 10
    assert TRAIN.name in capsys.readouterr().out


def test_the_json_with_no_peer_at_hand(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "peers.peer_torch", raising=False)
    monkeypatch.setattr(peers, "SLOW_CASES", ())
    (row,) = run("--quick", "--case", INFER.name, "--rounds", "1")["results"]
    assert row["peer"] is row["ratio"] is row["peer_images_per_second"] is row["peer_peak_mb"] is None
    assert row["images_per_second"] > 0


def test_the_json_of_a_breakdown(run, monkeypatch):
    monkeypatch.setattr(machine_peaks, "measure", lambda threads, seconds: PEAKS)
    monkeypatch.setattr(peer_minires, "make_step", lambda case, make=peer_minires.make_step: make(TRAIN))
    content = run("--quick", "--breakdown", "resnet8", "4")
    assert content["results"] == []
    assert content["peaks"] == PEAKS
    assert content["breakdown"]["case"] == TRAIN.name


def test_ratios_are_of_rounds_and_slow_peers_have_fewer():
    speeds = {"minires": [10.0, 30.0, 20.0, 50.0], "pytorch-nchw": [10.0, 60.0, 20.0, 10.0], "textbook": [1.0, 1.0]}
    rows = list(cpu.report(TRAIN, speeds, dict.fromkeys(speeds, 1.0)))
    assert [row["ratio"] for row in rows] == [1.0, 20.0]
    assert rows[0]["spread"] == [0.5, 5.0]
    assert {row["images_per_second"] for row in rows} == {25.0}
    assert "pytorch-nchw" in cpu.line(rows[0])


def test_slow_peers_have_fewer_rounds(monkeypatch):
    monkeypatch.setattr(turns, "PAUSE", 0)
    modules = {"minires": peer_minires, "textbook": peers.load("textbook", 1)}
    speeds = cpu.measure(INFER, modules, rounds=turns.SLOW_ROUNDS + 1, steps=1)
    assert {who: len(found) for who, found in speeds.items()} == {"minires": 4, "textbook": 3}


def test_memory_is_that_of_a_process_of_its_own():
    memory = cpu.peak_memories(CASES["resnet20-infer-1"], [], threads=1, steps=1)
    assert 0 <= memory["minires"] < 500


# Arguments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--case", "resnet20-trian-128"], "error: unknown case 'resnet20-trian-128': did you mean 'resnet20-train-1"),
        (["--case", "alexnet*"], "error: unknown case 'alexnet*': "),
        (["--peer", "pytorch-nhcw"], "error: unknown peer 'pytorch-nhcw': did you mean 'pytorch-nchw'?"),
        (["--breakdown", "resnet21", "8"], "error: unknown model 'resnet21': did you mean 'resnet20'?"),
        (["--breakdown", "resnet20", "none"], "BATCH must be a whole number of at least 1, got 'none'"),
        (["--json", "nowhere/at/all.json"], "make it first"),
    ],
)
def test_a_bad_argument_is_named(arguments, sentence):
    with pytest.raises(SystemExit) as stopped:
        cpu.parse(arguments)
    assert sentence in str(stopped.value)


def test_what_a_run_consists_of():
    everything, quick = cpu.parse([]), cpu.parse(["--quick"])
    assert [case.name for case in everything.cases] == list(CASES)
    assert everything.breakdown.name == "resnet20-train-128"
    assert 0 < len(quick.cases) < len(CASES)
    only = cpu.parse(["--case", "resnet20-*-128", "conv3x3-512ch-7x7-16"])
    assert [case.name for case in only.cases] == ["resnet20-train-128", "resnet20-infer-128", "conv3x3-512ch-7x7-16"]
    assert not only.breakdown
    assert cpu.parse(["--breakdown", "resnet56", "64"]).cases == []


def test_cases_are_named_after_what_they_are():
    assert all(name == case.name for name, case in CASES.items())
    wanted = ["conv3x3-128ch-28x28-16", "conv3x3-256ch-14x14-16", "conv7x7-stride2-3to64ch-224x224-8"]
    assert select(wanted, CASES) == wanted
    for case in LAYERS:
        arrays = case.arrays()
        assert peer_minires.make_step(case)()[0].shape == arrays[-1].shape


# Where the time goes ---------------------------------------------------------------------------------------------


def test_shares_of_the_breakdown_add_up():
    rows = breakdown.measure(peer_minires.make_step(TRAIN), 2, PEAKS)
    assert sum(row["share"] for row in rows[:-1]) == pytest.approx(1)
    assert rows[-1]["share"] == 1
    assert all(row["share"] >= 0 for row in rows)
    found = {(row["operation"], row["pass"]): row["calls"] for row in rows}
    for direction in ("forward", "backward"):
        assert found["conv2d 3x3 16->16 32x32", direction] == 2
        assert found["conv2d 3x3 16->32 32x32 stride 2", direction] == 1
        assert found["linear 64->10", direction] == 1
    assert len(breakdown.table(rows).splitlines()) == len(rows) + 2


def test_the_breakdown_counts_the_networks_multiply_adds():
    step = peer_minires.make_step(INFER)
    with breakdown.recording() as recorder:
        step()
    flops = sum(operation.flops for operation in recorder.operations.values())
    total = summary(models.resnet8(rng=0), (32, 32, 3)).split()[-1]
    assert flops == 2 * INFER.batch_size * int(total.replace(",", ""))


def test_a_backward_pass_costs_a_product_for_each_gradient():
    recorder = breakdown.Recorder()
    x, weight = normal(2, 5, 5, 3), normal(4, 3, 3, 3)
    y, backward = recorder.wrap("conv2d", conv2d)(x, weight, padding=1)
    backward(y)
    forward, back = (recorder.operations["conv2d 3x3 3->4 5x5", way] for way in ("forward", "backward"))
    assert forward.flops == 2 * y.size * 27
    assert back.flops == 2 * forward.flops
    assert forward.bytes == x.nbytes + weight.nbytes + y.nbytes
    assert back.bytes == 2 * x.nbytes + 2 * weight.nbytes + y.nbytes


def test_a_gradient_that_is_handed_on_moves_nothing():
    recorder = breakdown.Recorder()
    x = normal(2, 3)
    _, backward = recorder.wrap("add", layers.add)(x, x)
    assert backward(x)[0] is x
    assert recorder.operations["add", "backward"].bytes == 0


def test_an_operation_within_another_belongs_to_it():
    recorder = breakdown.Recorder()
    relu = recorder.wrap("relu", layers.relu)
    outer = recorder.wrap("outer", lambda x: relu(x))
    _, backward = outer(normal(2, 3))
    backward(normal(2, 3))
    assert list(recorder.operations) == [("outer", "forward"), ("outer", "backward")]


def test_operations_are_put_back():
    places = [(module, name) for module in (layers, layers.conv, models.resnet) for name in vars(module)]
    before = [getattr(*place) for place in places]
    with pytest.raises(ZeroDivisionError), breakdown.recording():
        assert layers.conv.conv2d is not conv2d
        assert layers.conv2d is layers.conv.conv2d
        1 / 0  # noqa: B018
    assert all(getattr(*place) is value for place, value in zip(places, before, strict=True))


def test_every_operation_is_found():
    found = breakdown.exported_operations()
    assert {"conv2d", "batch_norm", "relu", "add", "linear", "max_pool2d", "cross_entropy"} <= set(found)
    assert not any(name.startswith("check") for name in found)


def test_peaks_are_positive(monkeypatch):
    monkeypatch.setattr(machine_peaks, "MATRIX_SIZES", (64,))
    monkeypatch.setattr(machine_peaks, "LARGE", 1024)
    peaks = machine_peaks.measure(2, seconds=0)
    assert set(peaks) == set(PEAKS)
    assert all(value > 0 for value in peaks.values())


# Freezing --------------------------------------------------------------------------------------------------------


def test_the_more_is_frozen_the_less_is_kept(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(freezing, "NETWORK", Network("resnet20", True, 8))
    monkeypatch.setattr(freezing, "STEPS", 1)
    freezing.main(["--rounds", "2", "--json", str(tmp_path / "figures.json")])
    rows = json.loads((tmp_path / "figures.json").read_text())["results"]
    kept = [row["kept_mb"] for row in rows]
    assert kept == sorted(kept, reverse=True) and kept[0] > kept[1] > kept[2] > kept[3] == kept[4] == 0
    assert rows[-1]["ratio"] == 1
    printed = capsys.readouterr().out
    for row in rows:
        low, high = row["spread"]
        assert 0 < low <= row["ratio"] <= high and row["images_per_second"] > 0
        assert row["kind"] in printed


def test_threads_are_measured_beside_processes(monkeypatch, tmp_path, capsys):
    import sharing

    monkeypatch.setattr(sharing, "BATCHES", (1,))
    monkeypatch.setattr(sharing, "SECONDS", 0.01)
    sharing.main(["--rounds", "2", "--threads", "2", "--json", str(tmp_path / "figures.json")])
    (row,) = json.loads((tmp_path / "figures.json").read_text())["results"]
    for name in ("threads", "processes"):
        low, high = row[name]["spread"]
        assert 0 < low <= row[name]["ratio"] <= high
    assert row["images_per_second"] > 0 and row["case"] in capsys.readouterr().out


def test_the_folder_of_pictures_is_measured_and_kept(tmp_path, capsys):
    import folder

    flags = ["--pictures", "60", "--batch-size", "4", "--rounds", "1", "--threads", "1"]
    folder.main([*flags, "--folder", str(tmp_path / "pictures"), "--json", str(tmp_path / "a.json")])
    printed, found = capsys.readouterr().out, json.loads((tmp_path / "a.json").read_text())
    assert len(list((tmp_path / "pictures").rglob("*.jpg"))) == 60
    assert found["pictures"] == 60 and found["first_batch_seconds"] > 0 and found["peak_memory_mb"] > 50
    assert 0 <= found["waited"] <= found["waited_largest"] < 1 and found["decoding"] > 0
    assert f"{found['waited']:8.1%}" in printed


# What a step asks of a GPU: counted on the double, which waits for nothing and computes little -----------------------


def test_a_step_of_resnet20_keeps_to_its_budget():
    count = gpu_budget.of_minires(Network("resnet20", True, 128), graph=False)
    assert (count.total("copy"), count.total("wait"), count.total("graph")) == (0, 0, 0)
    assert count.total("kernel", "product") <= 245 and count.total("product") == 59
    assert count.total("kernel", "product", number=1) / 128 < 44.5e6


def test_a_recorded_step_is_given_in_a_few_launches():
    count = gpu_budget.of_minires(Network("resnet8", True, 8), graph=True)
    assert (count.total("copy"), count.total("wait"), count.total("graph")) == (0, 0, 1)
    assert count.total("kernel", "product") <= 12


def test_the_budget_is_printed_and_saved(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(gpu_budget.CASES, "small", Network("resnet8", True, 4))
    gpu_budget.main(["--case", "small", "--rows", "--json", str(tmp_path / "a.json")])
    output, saved = capsys.readouterr().out, json.loads((tmp_path / "a.json").read_text())
    assert "predicted, not measured" in output and "layers/conv.py: conv2d" in output
    assert sum(row["times"] for row in saved["counted"] if row["kind"] == "graph") == 1
    for row in saved["predicted"]:
        assert row["step_ms"] == max(row["host_ms"], row["device_ms"]) > 0
