"""Which network is taken from a file: prefixes, several networks, what stands beside them, heads, names."""

import re
import time

import numpy as np
import pytest
from safetensors.numpy import save_file

from minires import models, no_grad, pretrained
from minires.pretrained import parts
from minires.pretrained.networks import find_network


def filled(model, seed=0):
    """{key: array} of a model, its statistics included, all of some consequence."""
    rng = np.random.default_rng(seed)
    state = {key: array for key, array in model.state_dict().items() if not key.endswith("num_batches_tracked")}
    for key, array in state.items():
        if key.endswith("running_var") or (".bn" in key and key.endswith("weight")):
            state[key] = rng.uniform(0.5, 1.5, array.shape).astype(np.float32)
        elif array.ndim == 1:
            state[key] = rng.normal(0, 0.1, array.shape).astype(np.float32)
    return state


R8 = filled(models.resnet8(rng=0))
R8B = filled(models.resnet8(shortcut="B", rng=1), 1)
R18 = {key: array.astype(np.float16) for key, array in filled(models.resnet18(10, rng=0)).items()}
R50 = {key: array.astype(np.float16) for key, array in filled(models.resnet50(3, rng=0)).items()}


def under(prefix, state):
    return {prefix + key: array for key, array in state.items()}


def headless(state):
    return {key: array for key, array in state.items() if not key.startswith("fc.")}


def zeros(*shape):
    return np.zeros(shape, np.float32)


def same(found, expected):
    assert found.keys() == expected.keys()
    for key, array in expected.items():
        np.testing.assert_array_equal(found[key], array, err_msg=key)


# Prefixes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prefix",
    [
        "", "module.", "_orig_mod.module.", "module._orig_mod.", "module.model.", "state_dict.module.", "net.",
        "model.backbone.", "a.very.long.way.down.", "classy_state_dict.base_model.model.trunk._feature_blocks.",
        "model_ema.", "0.", "1.model.", "resnet.", "encoder.encoder.", "backbone.0.body.",
    ],
)  # fmt: skip
def test_any_prefix(prefix):
    found = find_network(under(prefix, R8))
    same(found.state, R8)
    assert (found.architecture.model, found.architecture.num_classes) == ("resnet8", 10)
    assert (found.part, found.left_out, found.notes) == (prefix.removesuffix(".") or ".", (), ())


def test_counts_are_no_arrays_and_not_left_out():
    found = find_network({**R8, "bn1.num_batches_tracked": np.array(3), "fc.num_batches_tracked": np.array(3)})
    same(found.state, R8)
    assert found.left_out == ()


# Several networks ----------------------------------------------------------------------------------------------------

PAIRS = [  # two prefixes, and the one that is taken
    ("student.module.backbone.", "teacher.backbone.", 1),
    ("state_dict.", "state_dict_ema.", 1),
    ("model_ema.", "model.", 0),
    ("ema.module.", "module.", 0),
    ("module.encoder_q.", "module.encoder_k.", 0),
    ("module.encoder_k.", "module.encoder_q.", 1),
    ("module.base_encoder.", "module.momentum_encoder.", 0),
    ("target_network.", "online_network.", 1),
    ("module.attacker.model.", "module.model.", 1),
    ("", "ema.", 1),
    ("shadow.", "model.", 0),
    ("one.", "two.", 0),
    ("swa_model.module.", "model.module.", 0),
]


@pytest.mark.parametrize(("first", "second", "taken"), PAIRS)
def test_of_two_networks_one_is_taken_by_a_rule_and_said(first, second, taken):
    other = {key: array + 1 for key, array in R8.items()}
    state = {**under(first, R8), **under(second, other)}
    found = find_network(state)
    names = [prefix.removesuffix(".") or "." for prefix in (first, second)]
    head = "target" not in first and "encoder" not in first
    if head:
        same(found.state, [R8, other][taken])
    assert (found.part, found.parts) == (names[taken], tuple(names))
    assert f"took {names[taken]} of 2 networks in the file, not {names[1 - taken]}: part=NAME" in found.notes[0]
    for name, each in zip(names, (R8, other), strict=True):
        same(headless(find_network(state, name).state), headless(each))


def test_a_part_goes_by_enough_of_its_name():
    state = {**under("student.module.backbone.", R8), **under("teacher.backbone.", R8B)}
    assert find_network(state, "student").part == "student.module.backbone"
    assert find_network(state, "module.backbone").architecture.options == {"shortcut": "A"}
    with pytest.raises(pretrained.WeightsError, match=r"part 'backbone' fits 2 of its networks \(student\.module\."):
        find_network(state, "backbone")
    with pytest.raises(pretrained.WeightsError, match=r"unknown part 'teachr': did you mean 'teacher.backbone'\?"):
        find_network(state, "teachr")


def test_a_network_that_is_known_comes_before_one_that_is_not():
    strange = {key: array for key, array in R8.items() if not key.startswith("layer3.")}
    assert find_network({**under("teacher.", strange), **under("student.", R8)}).part == "student"


def test_the_part_chosen_in_a_file(tmp_path):
    other = {key: array + 1 for key, array in R8.items()}
    save_file({**under("state_dict.", R8), **under("state_dict_ema.", other)}, tmp_path / "a.safetensors")
    path = tmp_path / "a.safetensors"
    same(pretrained.read(path)[0], other)
    state, metadata = pretrained.read(path, part="state_dict")
    same(state, R8)
    assert (metadata["part"], metadata["parts"]) == ("state_dict", ("state_dict", "state_dict_ema"))
    model, _ = pretrained.build(path, part="state_dict")
    np.testing.assert_array_equal(model.fc.bias.data, R8["fc.bias"])
    pretrained.load(model, path)
    np.testing.assert_array_equal(model.fc.bias.data, other["fc.bias"])
    assert "took state_dict_ema of 2 networks" in pretrained.identify(path)


# What stands beside --------------------------------------------------------------------------------------------------


def test_moco():
    q = {"fc.0.weight": zeros(64, 64), "fc.0.bias": zeros(64), "fc.2.weight": zeros(128, 64), "fc.2.bias": zeros(128)}
    state = {**under("module.encoder_q.", {**headless(R8), **q}), **under("module.encoder_k.", {**headless(R8B), **q})}
    found = find_network({**state, "module.queue": zeros(128, 64), "module.queue_ptr": np.zeros(1, np.int64)})
    same(found.state, headless(R8))
    assert (found.part, found.head, found.architecture.num_classes) == ("module.encoder_q", None, None)
    assert found.left_out == ("module.encoder_q.fc", "module.queue", "module.queue_ptr")
    assert "its head module.encoder_q.fc is no single linear layer" in found.notes[1]


def test_moco_of_one_layer_is_no_classifier():
    state = {**under("module.encoder_q.", R8), **under("module.encoder_k.", R8)}
    found = find_network(state)
    assert found.architecture.num_classes is None
    assert "module.encoder_q.fc is the projection of contrastive learning and is left out" in found.notes[1]
    assert found.left_out == ("module.encoder_q.fc",)


@pytest.mark.parametrize(
    "beside",
    [
        {
            "projection_head.0.weight": zeros(8, 64),
            "projection_head.0.bias": zeros(8),
            "prototypes.weight": zeros(30, 8),
        },
        {"head.mlp.0.weight": zeros(8, 64)},
        {"predictor.weight": zeros(8, 64), "predictor.bias": zeros(8)},
        {"criterion.center": zeros(1, 64)},
        {"queue": zeros(64, 128)},
        {"optimizer.state.0.momentum_buffer": zeros(16, 3, 3, 3), "optimizer.state.60.exp_avg": zeros(10, 64)},
        {"neck.0.weight": zeros(64, 64, 1, 1), "rpn.conv.weight": zeros(4, 64, 3, 3)},
    ],
    ids=lambda beside: next(iter(beside)),
)
def test_what_is_no_part_of_the_network_is_left_out_and_named(beside):
    for state, prefix in (({**under("module.", headless(R8)), **under("module.", beside)}, "module."),
                          ({**under("backbone.", headless(R8)), **beside}, "")):  # fmt: skip
        found = find_network(state)
        same(found.state, headless(R8))
        assert found.head is None
        assert {name.removeprefix(prefix).split(".")[0] for name in found.left_out} == {
            key.split(".")[0] for key in beside
        }
        assert found.notes[-1].startswith("left out: ")


def test_with_a_new_head_it_is_fine_tuned(tmp_path):
    save_file({**under("module.", headless(R8)), "module.prototypes.weight": zeros(30, 8)}, tmp_path / "a.safetensors")
    model = models.resnet8(3, rng=0)
    metadata = pretrained.load(model, tmp_path / "a.safetensors", head="new")
    np.testing.assert_array_equal(model.conv1.weight.data, R8["conv1.weight"])
    assert metadata["left_out"] == ["module.prototypes"]
    pretrained.write(tmp_path / "b.safetensors", *pretrained.read(tmp_path / "a.safetensors"))
    assert pretrained.read(tmp_path / "b.safetensors")[1]["left_out"] == ["module.prototypes"]


def test_many_names_are_cut_to_a_line():
    found = find_network({**R8, **{f"thing{number}.weight": zeros(3, 3, 3) for number in range(1000)}})
    assert len(found.left_out) == 1000
    assert len(found.notes[-1]) < 150 and "and 994 more" in found.notes[-1]


# Heads ---------------------------------------------------------------------------------------------------------------

W, B = R8["fc.weight"], R8["fc.bias"]
HEADS = [
    "fc.1", "head.fc", "classifier", "classifier.1", "last_linear", "head", "linear", "fc.0", "head.layers.fc",
    "classifier.fc", "output", "logits", "heads.0", "fc.drop.linear", "my_layer", "top.1",
]  # fmt: skip


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize(("inside", "outside"), [("module.", ""), ("backbone.", ""), ("model.backbone.", "model.")])
def test_a_head_of_one_linear_layer_under_any_name(name, inside, outside):
    state = {**under(inside, headless(R8)), f"{outside}{name}.weight": W, f"{outside}{name}.bias": B}
    found = find_network(state)
    same(found.state, R8)
    assert (found.architecture.num_classes, found.head, found.left_out) == (10, outside + name, ())
    unusual = name.split(".")[0] in ("my_layer", "top")
    assert any("is taken for its head" in note for note in found.notes) == unusual


def test_a_head_without_bias_and_one_that_is_a_convolution():
    found = find_network({**headless(R8), "fc.weight": W})
    same(found.state, {**R8, "fc.bias": np.zeros_like(B)})
    assert found.notes == ("its head fc has no bias: it is 0",)
    same(find_network({**headless(R8), "fc.weight": W[:, :, None, None], "fc.bias": B}).state, R8)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ({"fc.0.weight": zeros(32, 64), "fc.0.bias": zeros(32), "fc.3.weight": zeros(5, 32), "fc.3.bias": zeros(5)},
         r"its head fc is no single linear layer \(fc\.0 \(32, 64\), fc\.3 \(5, 32\)\) and is left out"),
        ({"classifier.0.weight": zeros(64), "classifier.0.running_mean": zeros(64),
          "classifier.1.weight": zeros(5, 64)},
         r"its head classifier is no single linear layer"),
        ({"fc.weight": zeros(10, 64, 2), "fc.bias": zeros(10)},
         r"its head fc is no linear layer but of shape \(10, 64, 2\) and is left out"),
        ({"fc.weight": zeros(10, 128), "fc.bias": zeros(10)}, r"its head fc takes 128 numbers, the network gives 64"),
        ({"head.fc.weight": zeros(10, 64), "head.fc.bias": zeros(10), "head.fc.scale": zeros(1)},
         r"its head head\.fc has more to it \(fc\.scale\)|its head head\.fc has more to it \(head\.fc\.scale\)"),
        ({"fc.weight_g": zeros(10, 1), "fc.weight_v": zeros(10, 64), "fc.bias": zeros(10)},
         r"its head fc is of no kind that is known here \(fc\.weight_g"),
    ],
)  # fmt: skip
def test_other_heads_are_named_and_left_out(tmp_path, head, message):
    found = find_network({**headless(R8), **head})
    same(found.state, headless(R8))
    assert re.search(message, found.notes[0])
    assert found.left_out == (next(iter(head)).split(".")[0],)
    save_file({**headless(R8), **head}, tmp_path / "a.safetensors")
    with pytest.raises(
        pretrained.WeightsError, match=r"has no head, so it predicts nothing \(its head .*load it with head"
    ):
        pretrained.build(tmp_path / "a.safetensors")
    pretrained.load(models.resnet8(4, rng=1), tmp_path / "a.safetensors", head="new")


def test_two_linear_layers_by_different_names_are_one_head_of_two():
    embedding = {"fc.weight": zeros(64, 64), "fc.bias": zeros(64)}
    found = find_network(
        {**under("backbone.", headless(R8)), **embedding, "classifier.weight": W, "classifier.bias": B}
    )
    assert found.head is None and found.left_out == ("fc", "classifier")
    assert found.notes[0] == "its head is more than one linear layer (fc, classifier) and is left out"


def test_of_two_heads_the_usual_one_is_taken():
    found = find_network({**R8, "rotation.weight": zeros(4, 64), "rotation.bias": zeros(4), "top.weight": zeros(5, 64)})
    same(found.state, R8)
    assert found.left_out == ("rotation", "top")
    several = {f"{name}.{end}": array for name in ("cls_a", "cls_b") for end, array in (("weight", W), ("bias", B))}
    found = find_network({**headless(R8), **several})
    assert found.head is None and found.left_out == ("cls_a", "cls_b")
    assert found.notes[0] == "its head is one of several layers (cls_a, cls_b), none of which is taken"


# Normalisers ---------------------------------------------------------------------------------------------------------

MEAN, STD = np.float32([0.4914, 0.4822, 0.4465]), np.float32([0.2023, 0.1994, 0.2010])


@pytest.mark.parametrize(
    ("mean", "std", "scale"),
    [
        ("module.normalizer.new_mean", "module.normalizer.new_std", 1),
        ("module.mu", "module.sigma", 1),
        ("module.normalize.mean", "module.normalize.std", 1),
        ("mean", "std", 1),
        ("pixel_mean", "pixel_std", 255),
    ],
)
def test_a_normaliser_in_the_file_is_used(tmp_path, mean, std, scale):
    state = {**under("module.model.", R8), mean: MEAN.reshape(3, 1, 1) * scale, std: STD.reshape(1, 3, 1, 1) * scale}
    save_file(state, tmp_path / "a.safetensors")
    read, metadata = pretrained.read(tmp_path / "a.safetensors")
    same(read, R8)
    np.testing.assert_allclose(metadata["preprocessing"]["mean"], MEAN, rtol=1e-6)
    np.testing.assert_allclose(metadata["preprocessing"]["std"], STD, rtol=1e-6)
    assert not {"mean", "std"} & set(metadata["assumptions"]) and "order" in metadata["assumptions"]
    assert metadata["left_out"] == []
    assert "which is in the file" in metadata["notes"][0]


def test_a_normaliser_of_another_network_is_none():
    state = {**under("module.model.", R8), **under("module.attacker.model.", R8)}
    state |= {"module.attacker.normalize.mean": MEAN, "module.attacker.normalize.std": STD}
    assert find_network(state).normaliser is None
    assert find_network({**R8, "a.mean": MEAN, "a.std": zeros(3)}).normaliser is None
    assert find_network({**R8, "a.mean": zeros(5), "a.std": zeros(5)}).normaliser is None


# Names of well-known sources -----------------------------------------------------------------------------------------


def hugging_face(key):
    key = re.sub(r"^conv1\.", "resnet.embedder.embedder.convolution.", key)
    key = re.sub(r"^bn1\.", "resnet.embedder.embedder.normalization.", key)
    block = lambda m: f"resnet.encoder.stages.{int(m[1]) - 1}.layers.{m[2]}."  # noqa: E731
    key = re.sub(r"^layer(\d)\.(\d)\.conv(\d)\.", lambda m: f"{block(m)}layer.{int(m[3]) - 1}.convolution.", key)
    key = re.sub(r"^layer(\d)\.(\d)\.bn(\d)\.", lambda m: f"{block(m)}layer.{int(m[3]) - 1}.normalization.", key)
    key = re.sub(r"^layer(\d)\.(\d)\.downsample\.0\.", lambda m: f"{block(m)}shortcut.convolution.", key)
    key = re.sub(r"^layer(\d)\.(\d)\.downsample\.1\.", lambda m: f"{block(m)}shortcut.normalization.", key)
    return re.sub(r"^fc\.", "classifier.1.", key)


def detectron2(key):
    key = re.sub(r"^conv1\.", "backbone.bottom_up.stem.conv1.", key)
    key = re.sub(r"^bn1\.", "backbone.bottom_up.stem.conv1.norm.", key)
    key = re.sub(r"^layer(\d)\.", lambda m: f"backbone.bottom_up.res{int(m[1]) + 1}.", key)
    key = re.sub(r"\.bn(\d)\.", r".conv\1.norm.", key)
    key = re.sub(r"\.downsample\.0\.", ".shortcut.", key).replace(".downsample.1.", ".shortcut.norm.")
    return re.sub(r"^fc\.", "backbone.bottom_up.linear.", key)


def conv2_x(key):
    key = re.sub(r"^bn1\.", "conv1.1.", re.sub(r"^conv1\.", "conv1.0.", key))
    inner = {"conv1": 0, "bn1": 1, "conv2": 3, "bn2": 4, "conv3": 6, "bn3": 7}
    key = re.sub(
        r"^layer(\d)\.(\d)\.(conv\d|bn\d)\.",
        lambda m: f"conv{int(m[1]) + 1}_x.{m[2]}.residual_function.{inner[m[3]]}.",
        key,
    )
    return re.sub(r"^layer(\d)\.(\d)\.downsample\.", lambda m: f"conv{int(m[1]) + 1}_x.{m[2]}.shortcut.", key)


def pytorchcv(key):
    key = re.sub(r"^conv1\.", "features.init_block.conv.conv.", re.sub(r"^bn1\.", "features.init_block.conv.bn.", key))
    unit = lambda m: f"features.stage{m[1]}.unit{int(m[2]) + 1}."  # noqa: E731
    key = re.sub(r"^layer(\d)\.(\d)\.(conv|bn)(\d)\.", lambda m: f"{unit(m)}body.conv{m[4]}.{m[3]}.", key)
    key = re.sub(r"^layer(\d)\.(\d)\.downsample\.0\.", lambda m: f"{unit(m)}identity_conv.conv.", key)
    key = re.sub(r"^layer(\d)\.(\d)\.downsample\.1\.", lambda m: f"{unit(m)}identity_conv.bn.", key)
    return re.sub(r"^fc\.", "output.", key)


def sequential(key):
    key = re.sub(r"^conv1\.", "f.0.", re.sub(r"^bn1\.", "f.1.", key))
    return re.sub(r"^layer(\d)\.", lambda m: f"f.{int(m[1]) + 3}.", key)


def cadene(key):
    return re.sub(r"^fc\.", "last_linear.", re.sub(r"^(conv1|bn1)\.", r"layer0.\1.", key))


def maskrcnn(key):
    return "module.backbone.body." + re.sub(r"^(conv1|bn1)\.", r"stem.\1.", key)


def shortcut_names(key):
    return key.replace("downsample.0", "shortcut.conv").replace("downsample.1", "shortcut.bn")


RENAMINGS = [hugging_face, detectron2, conv2_x, pytorchcv, sequential, cadene, maskrcnn, shortcut_names]


@pytest.mark.parametrize("renaming", RENAMINGS, ids=lambda function: function.__name__)
@pytest.mark.parametrize("state", [R18, R50, R8B], ids=["resnet18", "resnet50", "resnet8"])
def test_names_of_well_known_sources(renaming, state):
    renamed = {renaming(key): array for key, array in state.items()}
    assert len(renamed) == len(state)
    found = find_network({f"model.{key}": array for key, array in renamed.items()})
    same(found.state, state)
    assert found.left_out == ()


def test_detectrons_norms_are_a_scale_and_a_shift():
    """res2_0_branch2a_bn_s and _b: the same numbers as a batch norm whose statistics are those of no data."""
    letters = {"1": "a", "2": "b", "3": "c"}

    def name(key):
        last = {"weight": "s", "bias": "b"}[key.rpartition(".")[2]]
        if key.startswith(("conv1.", "fc.")):
            return {"conv1.weight": "conv1_w", "fc.weight": "pred_w", "fc.bias": "pred_b"}[key]
        key = re.sub(r"^bn1\..*", f"res_conv1_bn_{last}", key)
        block = lambda m: f"res{int(m[1]) + 1}_{m[2]}_branch"  # noqa: E731
        key = re.sub(r"^layer(\d)\.(\d)\.conv(\d)\..*", lambda m: f"{block(m)}2{letters[m[3]]}_w", key)
        key = re.sub(r"^layer(\d)\.(\d)\.bn(\d)\..*", lambda m: f"{block(m)}2{letters[m[3]]}_bn_{last}", key)
        key = re.sub(r"^layer(\d)\.(\d)\.downsample\.0\..*", lambda m: f"{block(m)}1_w", key)
        return re.sub(r"^layer(\d)\.(\d)\.downsample\.1\..*", lambda m: f"{block(m)}1_bn_{last}", key)

    affine = {key: array for key, array in R50.items() if "running" not in key}
    found = find_network({f"blobs.{name(key)}": array for key, array in affine.items()})
    same({key: array for key, array in found.state.items() if "running" not in key}, affine)
    assert (found.architecture.model, found.architecture.num_classes) == ("resnet50", 3)
    np.testing.assert_allclose(np.sqrt(found.state["layer3.1.bn2.running_var"] + 1e-5), 1, rtol=1e-7)
    assert not found.state["layer3.1.bn2.running_mean"].any()


# What fits nothing ---------------------------------------------------------------------------------------------------


def deep_stem(state):
    del state["conv1.weight"]
    state |= {
        "conv1.0.weight": zeros(32, 3, 3, 3),
        "conv1.3.weight": zeros(32, 32, 3, 3),
        "conv1.6.weight": zeros(64, 32, 3, 3),
    }


def numbered_stem(state):
    del state["conv1.weight"]
    state |= {"stem.0.weight": zeros(32, 3, 3, 3), "stem.3.weight": zeros(64, 32, 3, 3)}


def clip_stem(state):
    state |= {
        "conv1.weight": zeros(32, 3, 3, 3),
        "conv2.weight": zeros(32, 32, 3, 3),
        "conv3.weight": zeros(64, 32, 3, 3),
    }


def pre_activation(state):
    for stage, width in ((2, 64), (3, 128), (4, 256)):
        state[f"layer{stage}.0.bn1.weight"] = zeros(width)
    del state["bn1.weight"]


def no_norms(state):
    for key in [key for key in state if "bn" in key or "downsample.1" in key]:
        del state[key]


def channels(number):
    return lambda state: state.update({"conv1.weight": zeros(64, number, 7, 7)})


def first_block(width, channels):
    arrays = {"layer1.0.conv1.weight": zeros(width, 64, 1, 1), "layer1.0.conv2.weight": zeros(width, channels, 3, 3)}
    return lambda state: state.update(arrays)


def more_blocks(state):
    state |= {key.replace("layer3.1", "layer3.2"): array for key, array in state.items() if "layer3.1" in key}


MISFITS = [
    (channels(1), R18,
     r"most like resnet18 for ImageNet, but its conv1\.weight \(64, 1, 7, 7\) takes images of 1 channel, "
     r"here they have 3: for grey pictures save conv1\.weight as weight\.repeat"),
    (channels(4), R18, r"takes images of 4 channels, here they have 3"),
    (deep_stem, R18, r"most like resnet18 for ImageNet, but its stem is several convolutions \(a deep stem"),
    (numbered_stem, R18, r"its stem is several convolutions"),
    (clip_stem, R50, r"most like resnet50 for ImageNet, but its stem is several convolutions"),
    (pre_activation, R18, r"its batch norms stand before the convolutions \(pre-activation"),
    (no_norms, R18, r"it has no batch norms"),
    (more_blocks, R18, r"most like resnet20 for ImageNet, but it has 2, 2, 3 and 2 blocks of two convolutions"),
    (lambda s: s.update({"layer1.0.se.fc1.weight": zeros(4, 64)}), R18,
     r"unexpected: layer1\.0\.se\.fc1\.weight \(squeeze"),
    (lambda s: s.update({"layer2.0.downsample.2.weight": zeros(4)}), R18, r"average pool, ResNet-D"),
    (first_block(128, 4), R50,
     r"most like resnext50_32x4d, but misshapen: layer1\.0\.bn1\.\w+ has \(64,\), known here is \(128,\)"),
    (first_block(128, 128), R50,
     r"most like wide_resnet50_2, but misshapen: layer1\.0\.bn1\.\w+ has \(64,\), known here is \(128,\)"),
    (lambda s: s.update({"conv1.weight": zeros(32, 3, 7, 7), "bn1.weight": zeros(32)}), R18,
     r"wider or narrower: misshapen: conv1\.weight has \(32, 3, 7, 7\), known here is \(64, 3, 7, 7\)"),
    (lambda s: s.update({"conv1.weight": zeros(64, 3, 5, 5)}), R18, r"known here are 3x3 and 7x7"),
    (lambda s: s.update({"conv1.bias": zeros(64)}), R18, r"its convolutions have biases"),
    (lambda s: s.pop("conv1.weight"), R18, r"its first convolution, conv1\.weight, is missing"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "state", "message"), MISFITS, ids=range(len(MISFITS)))
def test_the_likeliest_network_and_the_first_reason(tmp_path, change, state, message):
    state = dict(state)
    change(state)
    save_file(state, tmp_path / "a.safetensors")
    for call in (pretrained.read, pretrained.build, pretrained.identify):
        with pytest.raises(pretrained.WeightsError, match=message) as error:
            call(tmp_path / "a.safetensors")
        text = str(error.value)
        assert text.startswith(f"{tmp_path / 'a.safetensors'}: its arrays are most like")
        assert len(text) - len(str(tmp_path)) < 400 and text.count("\n") == 0


def test_counts_of_batches_beside_a_network_are_not_named():
    assert find_network({**R8, "more.num_batches_tracked": zeros(), "more.x": zeros(1)}).left_out == ("more",)


def test_an_array_named_as_the_head_is_left_out_beside_it():
    assert find_network({**R8, "fc": zeros(3)}).left_out == ("fc",)


def test_a_simple_cnn_under_a_prefix():
    state = filled(models.build("simple_cnn", 10, rng=0))
    found = find_network(under("module.", state))
    assert found.architecture.model == "simple_cnn" and found.part == "module"
    same(found.state, state)


def test_more_blocks_than_any_network_has():
    state = {"conv1.weight": zeros(16, 3, 3, 3), "bn1.weight": zeros(16)}
    for layer, width in ((1, 16), (2, 32), (3, 64)):
        for block in range(201):
            for number in (1, 2):
                state[f"layer{layer}.{block}.conv{number}.weight"] = zeros(width, width, 3, 3)
                state[f"layer{layer}.{block}.bn{number}.weight"] = zeros(width)
    with pytest.raises(pretrained.WeightsError, match="it has 201 blocks in a stage, the most that are known is 200"):
        find_network(state)


def test_bottlenecks_for_cifar():
    state = {"conv1.weight": zeros(16, 3, 3, 3)}
    for layer, width in ((1, 16), (2, 32), (3, 64)):
        for block in range(18):
            for number, shape in (
                (1, (width, 4 * width, 1, 1)),
                (2, (width, width, 3, 3)),
                (3, (4 * width, width, 1, 1)),
            ):
                state |= {f"layer{layer}.{block}.conv{number}.weight": zeros(*shape)}
                state |= {f"layer{layer}.{block}.bn{number}.weight": zeros(shape[0])}
    with pytest.raises(pretrained.WeightsError, match="most like resnet164 for CIFAR, but it is built of bottlenecks"):
        find_network(under("module.", state))


def test_a_depth_whose_name_is_taken():
    state = {"conv1.weight": zeros(16, 3, 3, 3), "bn1.weight": zeros(16)}
    for layer, width in ((1, 16), (2, 32), (3, 64)):
        for block in range(8):
            for number in (1, 2):
                state[f"layer{layer}.{block}.conv{number}.weight"] = zeros(width, width, 3, 3)
                state[f"layer{layer}.{block}.bn{number}.weight"] = zeros(width)
    with pytest.raises(pretrained.WeightsError, match="most like resnet50 for CIFAR, but a network of that depth"):
        find_network(state)


@pytest.mark.parametrize(
    ("key", "looks"),
    [
        ("blocks.0.attn.qkv.weight", "a transformer"),
        ("cls_token", "a transformer"),
        ("trunk.denseblock1.0.conv1.weight", "a DenseNet"),
        ("features.0.weight", "AlexNet, or a VGG of its own kind"),
        ("_blocks.0._depthwise_conv.weight", "an EfficientNet"),
        ("optimizer.state.0.exp_avg", "the state of an optimizer alone"),
    ],
)
def test_what_is_no_resnet(key, looks):
    state = {f"{key}{number}": zeros(1) for number in range(2000)} | {key: zeros(1)}
    with pytest.raises(
        pretrained.WeightsError, match=f"belong to no network that is known here and look like {looks}"
    ) as error:
        find_network(state)
    assert len(str(error.value)) < 400


def test_of_many_keys_that_do_not_fit_a_few_are_named(tmp_path):
    state = {key: array for key, array in R50.items() if "running_var" not in key}
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(
        pretrained.WeightsError, match=r"missing: bn1\.running_var, .* and 47 more: the file is"
    ) as error:
        pretrained.build(tmp_path / "a.safetensors")
    assert len(str(error.value)) < 500


def test_many_names_cost_no_time():
    start = time.process_time()
    state = {f"thing{number}.{end}": zeros(1) for number in range(20_000) for end in ("weight", "bias")}
    found = find_network({**under("a.b.c.", R8), **state})
    assert len(found.left_out) == 20_000
    assert time.process_time() - start < 10


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a." * 20_000 + "layer1.0.conv1.weight": zeros(1)}, r"holds a key of 40,021 characters, a\.a\.a"),
        ({**R8, "." * 40_000: zeros(1)}, r"holds a key of 40,000 characters"),
        ({**R8, "layer1.0." * 5_000 + "conv1.weight": zeros(1)}, r"holds a key of 45,012 characters"),
        (
            {f"n{number}.layer1.0.conv1.weight": zeros(1) for number in range(50_000)},
            r"holds 50,000 networks, more than 64",
        ),
    ],
    ids=range(4),
)
def test_names_that_attack_cost_no_time(state, message):
    start = time.process_time()
    with pytest.raises(pretrained.WeightsError, match=message) as error:
        find_network(state)
    assert len(str(error.value)) < 200
    assert time.process_time() - start < 10


def test_networks_within_networks_are_refused(monkeypatch):
    """Each array of the innermost would be renamed once for every network around it."""
    state = {f"{'a.' * depth}layer1.0.conv1.weight": zeros(1) for depth in range(20)}
    monkeypatch.setattr(parts, "MOST_RENAMED", 200)
    with pytest.raises(pretrained.WeightsError, match="holds networks within networks, 210 arrays of them; save the"):
        find_network(state)


def test_an_array_that_is_called_as_the_network_is_left_out_under_its_name():
    found = find_network({**under("model.net.", R8), "model": zeros(3), "model.net": zeros(3)})
    same(found.state, R8)
    assert set(found.left_out) == {"model", "model.net"}


def test_a_line_break_behind_the_name_that_tells_a_network(tmp_path):
    """The name of a numbered child is none then, and nothing is left that could be a layer."""
    save_file({"2.0.conv1.weight\n": zeros(4), "0.weight": zeros(4)}, tmp_path / "a.safetensors")
    with pytest.raises(pretrained.WeightsError, match=r"these 1 arrays .* belong to no network that is known"):
        pretrained.read(tmp_path / "a.safetensors")


def test_what_is_taken_answers_as_it_should(tmp_path):
    """A network under a prefix, a head under another name: the logits of the one that was saved."""
    model = models.resnet8(rng=0)
    model.load_state_dict(R8)
    x = np.random.default_rng(0).standard_normal((2, 32, 32, 3)).astype(np.float32)
    save_file(
        {**under("m.backbone.", headless(R8)), "m.head.fc.weight": W, "m.head.fc.bias": B}, tmp_path / "a.safetensors"
    )
    with no_grad():
        expected, _ = model.eval()(x)
        logits, _ = pretrained.build(tmp_path / "a.safetensors")[0].eval()(x)
    np.testing.assert_array_equal(logits, expected)
