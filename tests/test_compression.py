"""minires.compression: zeros that stay, filters that go, weights of 8 bits; files of them, and examples/compress.py."""

import copy
import json
import shutil

import numpy as np
import pytest
import scripts
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from scripts import one_sentence

from minires import models, no_grad, pretrained
from minires.cli.recording import Recorder
from minires.cli.weights import weights_line
from minires.compression import (
    PruningSGD,
    dequantize,
    dequantized_state,
    filter_scores,
    gradual_sparsity,
    magnitude_prune,
    prunable,
    prune_filters,
    quantize,
    quantized_state,
    sparsity_of,
)
from minires.inspection.summary import costs
from minires.losses import cross_entropy
from minires.models.blocks import Bottleneck
from minires.models.fold import fold
from minires.models.narrow import inner_channels, keep_channels, narrow, widths_of
from minires.optim import SGD
from minires.parameter import Parameter
from minires.sequential import Sequential
from minires.training import train_step

SMALL = (16, 16, 3)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def used(model, seed=0):
    """The model in float64 with running statistics, scales and shifts of every size, in inference mode."""
    rng = np.random.default_rng(seed)
    state = model.state_dict()
    for key, array in state.items():
        if ".bn" in key or key.startswith("bn") or ".downsample.1." in key:
            low = 0.3 if key.endswith(("running_var", "weight")) else -0.5
            state[key] = rng.uniform(low, 1.5, array.shape)
    return model.to(np.float64).load_state_dict(state).eval()


def answers(model, seed=1, size=16):
    with no_grad():
        return model(normal(2, size, size, 3, seed=seed).astype(model.parameters()[0].data.dtype))[0]


# Magnitude pruning --------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 30), min_size=1, max_size=4), st.floats(0, 0.99), st.sampled_from(["global", "layer"]))
def test_the_smallest_weights_become_zero(sizes, sparsity, scope):
    before = [normal(size, 2, seed=number) for number, size in enumerate(sizes)]
    weights = [Parameter(array.copy()) for array in before]
    magnitude_prune(weights, sparsity, scope)
    groups = [range(len(sizes))] if scope == "global" else [[number] for number in range(len(sizes))]
    for group in groups:
        was = np.concatenate([before[number].ravel() for number in group])
        now = np.concatenate([weights[number].data.ravel() for number in group])
        assert (now == 0).sum() == round(sparsity * was.size)
        assert (now[now != 0] == was[now != 0]).all()
        if 0 < (now == 0).sum() < was.size:
            assert np.abs(was[now == 0]).max() <= np.abs(now[now != 0]).min()


def test_equal_weights_are_pruned_to_the_very_number():
    weights = [Parameter(np.ones((4, 5)))]
    magnitude_prune(weights, 0.5)
    assert sparsity_of(weights) == 0.5
    assert not np.signbit(weights[0].data).any()


def test_pruning_again_prunes_no_other():
    weights = [Parameter(normal(20, 20))]
    magnitude_prune(weights, 0.3)
    zeros = weights[0].data == 0
    magnitude_prune(weights, 0.3)
    assert ((weights[0].data == 0) == zeros).all()
    magnitude_prune(weights, 0.6)
    assert (weights[0].data == 0)[zeros].all() and sparsity_of(weights) == 0.6


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, float("nan")])
def test_a_sparsity_out_of_range(sparsity):
    with pytest.raises(ValueError, match=r"sparsity must be at least 0 and below 1, got .*: 0\.8 leaves a fifth"):
        magnitude_prune([Parameter(np.ones((2, 2)))], sparsity)


def test_magnitude_prune_refuses():
    with pytest.raises(ValueError, match="no weights are given: pass prunable"):
        magnitude_prune([], 0.5)
    with pytest.raises(ValueError, match="unknown scope 'block': choose one of global, layer"):
        magnitude_prune([Parameter(np.ones((2, 2)))], 0.5, "block")


def test_prunable_are_weights_alone():
    model = models.resnet8(rng=0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert all(names[id(p)].endswith(("conv1.weight", "conv2.weight", "fc.weight")) for p in prunable(model))
    assert len(prunable(model)) == 8


def test_the_schedule_of_zhu_and_gupta():
    s = gradual_sparsity(0.8, steps=10, initial=0.2, begin=5)
    assert s(0) == s(5) == pytest.approx(0.2) and s(15) == s(99) == 0.8
    assert s(10) == pytest.approx(0.8 - 0.6 * 0.5**3)
    rises = np.diff([s(t) for t in range(5, 16)])
    assert (rises > 0).all() and (np.diff(rises) < 0).all()  # fast at first
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        gradual_sparsity(0.8, 0)


# Zeros that stay ----------------------------------------------------------------------------------------------------


def trained(optimizer_of, steps=3):
    model = models.resnet8(rng=0)
    magnitude_prune(prunable(model), 0.5)
    zeros = [weight.data == 0 for weight in prunable(model)]
    optimizer = optimizer_of(model)
    for step in range(steps):
        x = normal(8, 8, 8, 3, seed=step).astype(np.float32)
        train_step(model, optimizer, x, np.arange(8))
    return model, zeros, optimizer


OPTIONS = {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-2}


def test_zeros_stay_and_the_others_learn():
    model, zeros, _ = trained(lambda model: PruningSGD(model.parameters(), pruned=prunable(model), **OPTIONS))
    for weight, zero in zip(prunable(model), zeros, strict=True):
        assert ((weight.data == 0) == zero).all()
    model, zeros, _ = trained(lambda model: SGD(model.parameters(), **OPTIONS))
    assert sparsity_of(prunable(model)) < 0.01  # a usual optimizer brings them back


def test_momentum_from_before_brings_no_weight_back():
    """PruningSGD does to the weights that are left what a usual SGD does to them alone."""
    weight, mask = Parameter(normal(4, 5)), normal(4, 5, seed=3) > 0
    optimizer = PruningSGD([weight], pruned=[weight], **OPTIONS)
    weight.grad = normal(4, 5, seed=1)
    optimizer.step()
    weight.data = np.where(mask, weight.data, 0.0)
    expected = Parameter(weight.data[mask].copy())  # only what is there, by a usual SGD with the same memory
    usual = SGD([expected], **OPTIONS)
    usual.state[expected] = {"step": 1, "momentum_buffer": optimizer.state[weight]["momentum_buffer"][mask].copy()}
    for seed in (5, 6, 7):
        weight.grad = normal(4, 5, seed=seed)
        expected.grad = weight.grad[mask]
        optimizer.step()
        usual.step()
        assert (weight.data[~mask] == 0).all()
        np.testing.assert_array_equal(weight.data[mask], expected.data)


def test_without_its_mask_momentum_would():
    weight = Parameter(normal(4, 5))
    optimizer = SGD([weight], **OPTIONS)
    weight.grad = normal(4, 5, seed=1)
    optimizer.step()
    weight.data, weight.grad = np.zeros((4, 5)), np.zeros((4, 5))
    optimizer.step()
    assert (weight.data != 0).all()


def test_zeros_become_more_by_the_schedule_and_from_its_state_alone():
    def optimizer_of(model):
        rises = gradual_sparsity(0.8, steps=4)
        return PruningSGD(model.parameters(), pruned=prunable(model), sparsity=rises, every=2, **OPTIONS)

    model, optimizer, shares = models.resnet8(rng=0), None, []
    for step in range(7):
        if step in (0, 3):  # a run that goes on has a new optimizer, with the old one's state
            state = optimizer and optimizer.state_dict()
            optimizer = optimizer_of(model)
            if state:
                optimizer.load_state_dict(state)
        x = normal(8, 8, 8, 3, seed=step).astype(np.float32)
        train_step(model, optimizer, x, np.arange(8))
        shares.append(sparsity_of(prunable(model)))
    at = gradual_sparsity(0.8, 4)
    assert shares == pytest.approx([at(0), at(0), at(2), at(2), at(4), at(4), at(6)], abs=1e-4)


def test_what_is_not_trained_is_not_pruned():
    with pytest.raises(ValueError, match="1 of `pruned` are not among its parameters"):
        PruningSGD([Parameter(np.ones(2))], lr=0.1, pruned=[Parameter(np.ones((2, 2)))])
    with pytest.raises(ValueError, match="every must be at least 1, got 0"):
        PruningSGD([weight := Parameter(np.ones((2, 2)))], lr=0.1, pruned=[weight], every=0)


# Filters ------------------------------------------------------------------------------------------------------------

NETWORKS = {
    "resnet8": lambda: models.resnet8(rng=1),
    "resnet14, shortcut B": lambda: models.build("resnet14", shortcut="B", rng=1),
    "plain8": lambda: models.plain8(rng=1),
    "resnet18": lambda: models.resnet18(num_classes=5, small_input=True, rng=1),
    "resnet50, Keras's": lambda: models.resnet50(num_classes=5, variant="keras", rng=1),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_filters_of_zeros_go_and_the_function_stays(name):
    """Their channels are 0 behind batch norm without shift, and no one can tell that they are gone."""
    model, rng = used(NETWORKS[name]()), np.random.default_rng(7)
    modules, kept = dict(model.named_modules()), []
    for convolution, norm, _ in inner_channels(model):
        channels = len(modules[convolution].weight.data)
        gone = rng.permutation(channels)[: channels // 3]
        for array in (modules[convolution].weight.data, modules[norm].bias.data, modules[norm].running_mean):
            array[gone] = 0
        if modules[convolution].bias is not None:
            modules[convolution].bias.data[gone] = 0
        kept.append(np.setdiff1d(np.arange(channels), gone))
    size = 32 if "50" in name else 16
    expected = answers(model, size=size)
    by_score = [
        np.sort(np.argsort(-score)[: len(rest)]) for score, rest in zip(filter_scores(model), kept, strict=True)
    ]
    assert all((one == other).all() for one, other in zip(by_score, kept, strict=True))  # L1 finds them
    pruned = keep_channels(copy.deepcopy(model), kept)
    np.testing.assert_allclose(answers(pruned, size=size), expected, rtol=0, atol=1e-12 * np.abs(expected).max())
    np.testing.assert_allclose(answers(fold(pruned), size=size), expected, rtol=0, atol=1e-10 * np.abs(expected).max())
    assert costs(pruned, (size, size, 3))[1] < costs(model, (size, size, 3))[1]


@pytest.mark.parametrize("criterion", ["l1", "gamma"])
@pytest.mark.parametrize("keep", [0.3, 0.5, 0.9])
def test_so_much_work_is_left_and_no_less_than_can_be(criterion, keep):
    model = used(models.build("resnet14", rng=1))
    pruned, kept = prune_filters(model, keep, SMALL, criterion=criterion, multiple=1)
    left, whole = costs(pruned, SMALL)[1], costs(model, SMALL)[1]
    assert 0.92 * keep * whole <= left <= keep * whole
    assert widths_of(pruned) == tuple(len(channels) for channels in kept)
    assert widths_of(model) == (16, 16, 32, 32, 64, 64)  # the model itself is as it was
    for score, channels in zip(filter_scores(model, criterion), kept, strict=True):
        rest = np.delete(score, channels)
        assert (np.diff(channels) > 0).all() and (rest.size == 0 or rest.max() <= score[channels].min())


def test_scores_by_a_loop():
    model = used(models.resnet8(rng=2))
    block = model.layer2[0] if hasattr(model.layer2, "__getitem__") else dict(model.layer2.children())["0"]
    by_hand = [sum(abs(float(w)) for w in filter.ravel()) for filter in block.conv1.weight.data]
    np.testing.assert_allclose(filter_scores(model)[1], by_hand)
    np.testing.assert_allclose(filter_scores(model, "gamma")[1], np.abs(block.bn1.weight.data))


def test_stages_and_multiples():
    model = models.build("resnet14", rng=1)
    pruned, _ = prune_filters(model, 0.5, stages=(2, 1, 1))
    widths = widths_of(pruned)
    assert all(width % 4 == 0 for width in widths)
    assert 16 - widths[0] > 2 * (32 - widths[2]) / 2 * 0.9 and len(set(widths)) == 3
    assert widths_of(prune_filters(model, 0.8, stages=(0, 0, 1))[0])[:4] == (16, 16, 32, 32)


def test_prune_filters_refuses():
    model = models.resnet8(rng=0)
    for keep in (0, 1.5, 1, -1, float("nan")):
        with pytest.raises(ValueError, match=r"keep_macs must be above 0 and below 1, got .*: 0\.5 halves"):
            prune_filters(model, keep)
    with pytest.raises(ValueError, match=r"keep_macs 0\.02: 0\.\d+ is the least that can be left: give more"):
        prune_filters(model, 0.02)
    with pytest.raises(ValueError, match="multiple must be at least 1, got 0"):
        prune_filters(model, 0.5, multiple=0)
    for stages in ((1, 1), (0, 0, 0), (1, -1, 1), (1, 1, float("inf"))):
        with pytest.raises(
            ValueError, match="for the 3 stages layer1, layer2, layer3: give a number from 0 up for each"
        ):
            prune_filters(model, 0.5, stages=stages)
    with pytest.raises(ValueError, match="unknown criterion 'l2': choose one of l1, gamma"):
        prune_filters(model, 0.5, criterion="l2")
    with pytest.raises(ValueError, match="SimpleCNN has no BasicBlock or Bottleneck"):
        prune_filters(models.simple_cnn(rng=0), 0.5)
    with pytest.raises(ValueError, match=r"0\.conv1 is in groups"):
        prune_filters(Sequential(Bottleneck(8, 4, 1, "torchvision", 0, width=4, groups=2)), 0.5)
    with pytest.raises(ValueError, match=r"layer1\.0\.bn1 is no batch norm, it was folded away"):
        prune_filters(fold(model), 0.5)


def test_narrow_networks_are_built_and_trained():
    model = models.build("resnet8", rng=0, widths=[4, 20, 40])
    assert widths_of(model) == (4, 20, 40)
    x, before = normal(4, 8, 8, 3).astype(np.float32), model.layer1
    loss, _ = train_step(model, SGD(model.parameters(), lr=0.1), x, np.arange(4))
    assert np.isfinite(float(loss)) and before is model.layer1
    for widths in ([4, 20], [4, 20, 65], [0, 20, 40], [4, 20, 2.5]):
        with pytest.raises(ValueError, match="widths: "):
            narrow(models.resnet8(rng=0), widths)


# 8 bits -------------------------------------------------------------------------------------------------------------


@given(st.integers(1, 6), st.integers(1, 12), st.floats(-30, 30), st.booleans(), st.integers(0, 99))
def test_no_weight_is_further_off_than_half_a_scale(O, C, exponent, per_channel, seed):
    w = (normal(O, C, 3, 3, seed=seed) * 10.0**exponent).astype(np.float32)
    q, scale = quantize(w, per_channel)
    assert q.dtype == np.int8 and q.min() >= -127 and scale.dtype == np.float32
    assert scale.shape == ((O,) if per_channel else (1,))
    off = np.abs(w.astype(np.float64) - q * scale.astype(np.float64).reshape(-1, 1, 1, 1))
    assert (off <= scale.reshape(-1, 1, 1, 1) / 2 * (1 + 1e-5)).all()
    again, same = quantize(dequantize(q, scale), per_channel)
    assert (again == q).all()
    np.testing.assert_allclose(same, scale, rtol=1e-6)


def test_the_largest_of_each_channel_is_127():
    q, scale = quantize(np.array([[0.5, -1.27], [0, 0], [254, 3]], np.float32))
    assert q.tolist() == [[50, -127], [0, 0], [127, 2]]
    np.testing.assert_allclose(scale, [0.01, 1, 2], rtol=1e-6)


def test_what_can_not_be_quantised():
    for weight in (np.ones((2, 2), np.int8), np.ones((0, 3), np.float32)):
        with pytest.raises(ValueError, match="expected floating-point weights, got"):
            quantize(weight)
    with pytest.raises(ValueError, match="the weights hold NaN or infinity"):
        quantize(np.array([[1, np.nan]], np.float32))


def test_folding_first_gives_the_same_integers():
    """By channel q is of the ratio of weights, and folding multiplies a whole channel."""
    model = used(models.resnet8(rng=3))
    folded = fold(model)
    for (name, module), (_, other) in zip(model.named_modules(), folded.named_modules(), strict=False):
        if name.endswith(("conv1", "conv2")):
            plain, after = quantize(module.weight.data)[0], quantize(other.weight.data)[0]
            assert np.abs(plain.astype(int) - after).max() <= 1 and (plain != after).mean() < 1e-3  # ties, rounded
    one = [quantize(net.layer1.parameters()[0].data, False)[0] for net in (model, folded)]
    assert (one[0] != one[1]).mean() > 0.3  # of one scale for all it is not so


def test_a_state_and_back():
    state = models.resnet8(rng=0).state_dict()
    quantized = quantized_state(state)
    assert quantized["conv1.weight"].dtype == np.int8 and quantized["conv1.weight_scale"].shape == (16,)
    assert quantized["bn1.weight"].dtype == np.float32
    restored = dequantized_state(quantized)
    assert restored.keys() == state.keys()
    for key, array in state.items():
        np.testing.assert_allclose(restored[key], array, atol=np.abs(array).max() / 250 if array.ndim > 1 else 0)
    assert dequantized_state(state) == state
    with pytest.raises(ValueError, match=r"conv1.weight_scale has shape \(3,\), its weights"):
        dequantized_state({**quantized, "conv1.weight_scale": np.ones(3, np.float32)})


# Files --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """resnet8 for ten classes, as another program would leave it."""
    path = tmp_path_factory.mktemp("weights") / "resnet8.safetensors"
    save_file(used(models.resnet8(rng=5)).to(np.float32).state_dict(), path)
    return path


@pytest.fixture
def script(monkeypatch, capsys):
    """script(name, *arguments) -> (exit code, stdout, stderr)."""
    monkeypatch.setattr(Recorder, "picture", lambda self, name, draw: None)  # slower than a run
    return lambda name, *arguments: scripts.call(scripts.load(name), monkeypatch, capsys, *arguments)


def test_a_pruned_file_is_read_by_its_shapes_alone(tmp_path):
    """Whatever the order of its keys: layer1.10 stands before layer1.2 in a file."""
    widths = [1 + number % 16 for number in range(18)] + [30] * 18 + [50] * 18
    model = models.build("resnet110", rng=0, widths=widths)
    save_file(model.state_dict(), path := tmp_path / "r.safetensors")
    read, metadata = pretrained.build(path)
    assert metadata["model"] == "resnet110" and widths_of(read) == tuple(widths) == metadata["options"]["widths"]
    assert (answers(read.eval()) == answers(model.eval())).all()


def test_what_is_said_of_it(tmp_path):
    save_file(
        models.build("resnet14", rng=0, widths=[4, 4, 20, 32, 7, 7]).state_dict(), path := tmp_path / "r.safetensors"
    )
    first = pretrained.identify(path).splitlines()[0]
    assert first.startswith("model          resnet14, shortcut A, widths 2 of 4, 20, 32, 2 of 7, ")
    assert weights_line(path, pretrained.read(path)[1]).startswith("weights: resnet14 with pruned blocks, 10 classes")


def test_bottlenecks_too(tmp_path):
    model = models.resnet50(num_classes=3, rng=0)
    pruned, _ = prune_filters(model, 0.5, (32, 32, 3))
    save_file(pruned.state_dict(), path := tmp_path / "r.safetensors")
    read, metadata = pretrained.build(path)
    assert metadata["model"] == "resnet50" and widths_of(read) == widths_of(pruned)


def test_no_unpruned_network_takes_it(weights, script, tmp_path):
    assert script("compress", weights, tmp_path / "p.safetensors", "--keep-macs", 0.5)[0] == 0
    with pytest.raises(pretrained.WeightsError, match=r"is a resnet8 of pruned blocks, narrower than this: build"):
        pretrained.load(models.resnet8(rng=0), tmp_path / "p.safetensors")
    model, metadata = pretrained.build(tmp_path / "p.safetensors")
    pretrained.load(models.build("resnet8", **metadata["options"]), tmp_path / "p.safetensors")


def test_shapes_that_do_not_agree_are_no_pruned_network(tmp_path):
    state = models.build("resnet8", rng=0, widths=[4, 20, 40]).state_dict()
    state["layer1.0.bn1.weight"] = np.ones(5, np.float32)
    save_file(state, path := tmp_path / "r.safetensors")
    with pytest.raises(pretrained.WeightsError, match="it is wider or narrower"):
        pretrained.build(path)


def test_an_int8_file_is_read_as_float32(weights, script, tmp_path):
    code, printed, err = script("compress", weights, tmp_path / "q.safetensors", "--int8")
    assert code == 0, err
    assert load_file(tmp_path / "q.safetensors")["layer3.0.conv2.weight"].dtype == np.int8
    model, metadata = pretrained.build(tmp_path / "q.safetensors")
    assert metadata["bits"] == 8 and "stored in 8 bits" in metadata["notes"][-1]
    whole = pretrained.build(weights)[0]
    expected = answers(whole.eval())
    assert np.abs(answers(model.eval()) - expected).max() < 0.05 * np.abs(expected).max()
    state = load_file(tmp_path / "q.safetensors")
    state["conv1.weight_scale"] = state["conv1.weight_scale"][:3]
    save_file(state, tmp_path / "damaged.safetensors")
    with pytest.raises(pretrained.WeightsError, match=r"conv1.weight_scale has shape \(3,\).*: give another copy"):
        pretrained.read(tmp_path / "damaged.safetensors")


@pytest.mark.parametrize(
    "flags", [("--keep-macs", 0.5), ("--sparsity", 0.8), ("--int8",), ("--keep-macs", 0.6, "--sparsity", 0.5, "--int8")]
)
def test_every_script_takes_what_was_compressed(weights, script, tmp_path, cifar, flags):
    small = tmp_path / "small.safetensors"
    code, printed, err = script("compress", weights, small, *flags)
    assert code == 0, err
    assert printed.splitlines()[-1].startswith(f"wrote {small}")
    on_cifar = ("--data-dir", cifar, "--device", "cpu", "--no-progress")
    code, printed, err = script("train_cifar", "--evaluate", small, *on_cifar)
    assert code == 0 and "test accuracy" in printed and ("8 bits" in err) == ("--int8" in flags), err
    assert script("convert_weights", small, "-")[0] == 0
    run = tmp_path / "run"
    more = ("--keep-zeros",) if "--sparsity" in flags else ()
    code, printed, err = script(
        "finetune", "--weights", small, "--epochs", 1, "--batch-size", 16, "--out", run, *more, *on_cifar
    )
    assert code == 0, err
    before, after = (pretrained.build(path)[0] for path in (small, run))
    assert widths_of(before) == widths_of(after)
    if more:
        zeros = [weight.data == 0 for weight in prunable(before)]
        assert all((weight.data == 0)[zero].all() for weight, zero in zip(prunable(after), zeros, strict=True))
        assert sparsity_of(prunable(after)) == pytest.approx(flags[flags.index("--sparsity") + 1], abs=0.03)
    code, _, err = script("finetune", "--resume", run, *on_cifar[:2], "--epochs", 2, "--lr", 0.01, "--no-progress")
    assert code == 0, err
    assert json.loads((run / "config.json").read_text())["settings"]["keep_zeros"] is bool(more)


@pytest.mark.parametrize("epochs", [2, 3])
def test_a_pruning_run_that_was_stopped_ends_with_the_same_bits(weights, script, tmp_path, cifar, epochs):
    """Stopped while weights still become zero, or afterwards: the mask is in the checkpoint's zeros."""
    more = ("--data-dir", cifar, "--device", "cpu", "--no-progress")
    flags = ("--weights", weights, "--sparsity", 0.7, "--batch-size", 16, "--epochs", epochs, *more)
    code, printed, err = script("finetune", *flags, "--out", tmp_path / "whole")
    assert code == 0 and "zeros: 0.0% of the weights, 70.0% from step" in printed, err
    stopped = tmp_path / "stopped"
    stopped.mkdir()
    shutil.copy(tmp_path / "whole" / "previous.safetensors", stopped / "last.safetensors")  # an epoch before the end
    shutil.copy(tmp_path / "whole" / "config.json", stopped)
    code, printed, err = script("finetune", "--resume", stopped, *more[2:])
    assert code == 0 and f"going on after epoch {epochs - 1}" in printed, err
    whole, again = (load_file(folder / "last.safetensors") for folder in (tmp_path / "whole", stopped))
    assert all(whole[key].tobytes() == again[key].tobytes() for key in whole)
    assert sparsity_of(prunable(pretrained.build(stopped)[0])) == pytest.approx(0.7, abs=1e-3)


BAD = {
    "nothing to do: give --keep-macs X, --sparsity S or --int8": (),
    "--keep-macs must be above 0 and below 1, got 0": ("--keep-macs", 0),
    "--keep-macs must be above 0 and below 1, got 1.5": ("--keep-macs", 1.5),
    "--sparsity must be at least 0 and below 1, got 1.0": ("--sparsity", 1),
    "--stages goes with --keep-macs": ("--int8", "--stages", 1, 1, 1),
    "--scope goes with --sparsity": ("--int8", "--scope", "layer"),
    "error: --stages: [1.0, 1.0] for the 3 stages layer1, layer2, layer3": ("--keep-macs", 0.5, "--stages", 1, 1),
}


@pytest.mark.parametrize("sentence", BAD)
def test_bad_flags_are_one_sentence_and_write_nothing(weights, script, tmp_path, sentence):
    code, _, err = script("compress", weights, tmp_path / "out.safetensors", *BAD[sentence])
    assert code == 1 and sentence in one_sentence(err)
    assert not (tmp_path / "out.safetensors").exists()


def test_files_that_are_refused_or_would_be_lost(weights, script, tmp_path):
    target = tmp_path / "out.safetensors"
    assert script("compress", weights, target, "--int8")[0] == 0
    content = target.read_bytes()
    code, _, err = script("compress", weights, target, "--int8")
    assert code == 1 and "exists already" in one_sentence(err) and target.read_bytes() == content
    code, _, err = script("compress", target, tmp_path / "again.safetensors", "--int8")
    assert code == 1 and "its weights are of 8 bits already" in one_sentence(err)
    code, _, err = script("compress", target, target, "--sparsity", 0.5, "--overwrite")
    assert code == 1 and "is the file that is read" in one_sentence(err) and target.read_bytes() == content
    code, _, err = script("compress", weights, tmp_path / "out.pth", "--int8")
    assert code == 1 and "only safetensors are written" in one_sentence(err)
    code, _, err = script("compress", tmp_path / "none.th", tmp_path / "new.safetensors", "--int8")
    assert code == 1 and "none.th" in one_sentence(err)
    for name in ("simple_cnn", "densenet_bc100"):
        save_file(models.build(name, rng=0).state_dict(), path := tmp_path / f"{name}.safetensors")
        code, _, err = script("compress", path, tmp_path / "new.safetensors", "--keep-macs", 0.5)
        assert code == 1 and "has no BasicBlock or Bottleneck" in one_sentence(err)
        assert script("compress", path, tmp_path / f"{name}-8.safetensors", "--int8")[0] == 0
    assert not (tmp_path / "new.safetensors").exists()


def test_half_precision_weights_are_taken(weights, script, tmp_path):
    halves = {key: array.astype(np.float16) for key, array in load_file(weights).items()}
    save_file(halves, path := tmp_path / "half.safetensors")
    for flags in (("--int8",), ("--keep-macs", 0.5), ("--sparsity", 0.5)):
        assert script("compress", path, tmp_path / "out.safetensors", *flags, "--overwrite")[0] == 0
        assert pretrained.build(tmp_path / "out.safetensors")[0].conv1.weight.data.dtype == np.float32


@pytest.mark.parametrize(
    "flags, sentence",
    [
        (("--sparsity", 1.5), "sparsity must be at least 0 and below 1"),
        (("--sparsity", 0.5, "--val-split", 10), "leave --val-split out"),
        (("--sparsity", 0.5, "--freeze", "backbone"), "leave --freeze out"),
        (("--sparsity", 0.5, "--ema", 0.9), "leave --ema out"),
        (("--keep-zeros", "--from-scratch"), "--keep-zeros is of the file's weights"),
        (("--keep-zeros",), "--keep-zeros: none of the file's weights is zero: make some so"),
    ],
)
def test_zeros_that_would_not_stay_are_refused(weights, script, tmp_path, cifar, flags, sentence):
    code, _, err = script("finetune", "--weights", weights, *flags, "--out", tmp_path / "run", "--data-dir", cifar)
    assert code == 1 and sentence in one_sentence(err) and not (tmp_path / "run").exists()


def test_a_loss_through_pruned_blocks_has_the_right_gradient():
    """A narrow network's gradient against differences, along a random direction."""
    model = used(models.build("resnet8", rng=0, widths=[3, 5, 7])).train()
    x, labels = normal(4, 8, 8, 3), np.arange(4)
    logits, backward = model(x)
    _, loss_backward = cross_entropy(logits, labels)
    model.zero_grad()
    backward(loss_backward())
    direction = [normal(*parameter.data.shape, seed=9) for parameter in model.parameters()]
    slope = sum((parameter.grad * d).sum() for parameter, d in zip(model.parameters(), direction, strict=True))
    losses = []
    for step in (1e-6, -1e-6):
        other = copy.deepcopy(model)
        for parameter, d in zip(other.parameters(), direction, strict=True):
            parameter.data = parameter.data + step * d
        losses.append(float(cross_entropy(other(x)[0], labels)[0]))
    assert slope == pytest.approx((losses[0] - losses[1]) / 2e-6, rel=1e-5)
