"""Files of all families: recognised by shapes, under foreign names, incomplete, of other widths, with more heads.

Most states here are zeros that take no memory: what tells a network is the shapes of its arrays.
"""

import re
import tracemalloc

import numpy as np
import pytest
import scripts
from safetensors.numpy import save_file
from test_networks import filled, same, under, zeros

from minires import models, no_grad, pretrained
from minires.inspection.explain import last_maps
from minires.models.last_layer import head_of
from minires.pretrained.families import FAMILIES, family_of
from minires.pretrained.families.vgg import HIDDEN
from minires.pretrained.networks import find_network
from minires.pretrained.readings import check_options, open_questions
from minires.pretrained.renamings import SOURCES
from minires.pretrained.skeletons import _skeleton, skeleton, without_numbers


def shaped(*shape):
    return np.broadcast_to(np.float32(0), shape)


def shapes_of(name, classes=7, **options):
    """A state of zeros for a network of this name."""
    known = skeleton(name, options)
    state = {key: shaped(*shape) for key, shape in known.shapes.items()}
    weight = state[f"{known.head_name}.weight"]
    return state | {
        f"{known.head_name}.weight": shaped(classes, weight.shape[1]),
        f"{known.head_name}.bias": shaped(classes),
    }


def headless(name, state):
    head = skeleton(name, {}).head_name + "."
    return {key: array for key, array in state.items() if not key.startswith(head)}


VGGS = [f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")]
DENSENETS = [f"densenet{depth}" for depth in (121, 161, 169, 201)]
KIN = ["seresnet50", "wide_resnet50_2", "resnext50_32x4d", "resnext101_32x8d"]
FOR_CIFAR = ["preact_resnet110", "preact_resnet164", "preact_resnet1001", "wide_resnet28_10", "resnext29_8x64d"]
NETWORKS = [
    *((name, {"small_input": small}) for name in [*VGGS, *DENSENETS, *KIN, "googlenet"] for small in (False, True)),
    *((name, {}) for name in [*FOR_CIFAR, "densenet_bc100", "inception_v3", "resnet50d"]),
    *(("rezero_resnet20", {"shortcut": shortcut}) for shortcut in "AB"),
]


# Which network it is -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "options"), NETWORKS, ids=lambda value: str(value))
def test_every_network_is_recognised_by_its_shapes(name, options):
    state = shapes_of(name, **options)
    found = find_network(under("state_dict.module.", state))
    assert (found.architecture.model, found.architecture.num_classes, found.architecture.options) == (name, 7, options)
    assert (found.left_out, found.notes, found.part) == ((), (), "state_dict.module")
    assert found.state.keys() == state.keys()
    assert found.head == "state_dict.module." + skeleton(name, options).head_name


def test_no_network_of_the_library_is_left_out():
    known = {name for name, _ in NETWORKS} | {f"resnet{depth}" for depth in (18, 34, 50, 101, 152)} | {"simple_cnn"}
    assert {name for name in models.MODELS if not re.fullmatch(r"(resnet|plain)\d+", name)} <= known


def test_a_network_is_known_before_its_numbers_are_drawn():
    """vgg19 has 144 million."""
    _skeleton.cache_clear()
    tracemalloc.start()
    state = shapes_of("vgg19")
    assert find_network(state).architecture.model == "vgg19"
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()
    assert sum(np.prod(array.shape) for array in state.values()) > 1e8


def test_each_family_is_told_by_its_own_key():
    assert [family_of([family.anchor, "fc.weight"]) for family in FAMILIES] == list(FAMILIES)
    assert family_of(["fc.weight"]) is None


@pytest.mark.parametrize("name", ["densenet121", "vgg16_bn", "vgg11", "inception_v3", "googlenet", "seresnet50"])
def test_a_body_without_a_head(name):
    found = find_network(under("backbone.", headless(name, shapes_of(name))))
    assert (found.architecture.model, found.architecture.num_classes, found.head) == (name, None, None)


def test_features_of_vgg_alone_are_those_of_the_small_form():
    state = {key: array for key, array in shapes_of("vgg16").items() if key.startswith("features.")}
    found = find_network(state)
    assert (found.architecture.model, found.architecture.options) == ("vgg16", {"small_input": True})


@pytest.mark.parametrize(("first", "second", "taken"), [("model.", "ema.", 1), ("momentum.", "model.", 1)])
def test_of_two_networks_one_is_taken(first, second, taken):
    state = {**under(first, shapes_of("densenet121")), **under(second, shapes_of("densenet121", 3))}
    found = find_network(state)
    assert found.part == [first, second][taken].removesuffix(".")
    assert found.architecture.num_classes == [7, 3][taken]


def test_networks_of_two_families_in_one_file():
    state = {**under("a.", shapes_of("vgg11_bn")), **under("b.", shapes_of("rezero_resnet20", shortcut="A"))}
    assert find_network(state, "a").architecture.model == "vgg11_bn"
    assert find_network(state, "b").architecture.model == "rezero_resnet20"


# Heads -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["densenet121", "vgg16", "inception_v3", "googlenet", "seresnet50", "resnext29_8x64d"])
@pytest.mark.parametrize("head", ["fc", "head.fc", "last_linear", "classifier.7", "my_layer"])
def test_a_head_of_one_linear_layer_under_any_name(name, head):
    state = shapes_of(name)
    own = skeleton(name, {}).head_name
    other = headless(name, state) | {f"{head}.{key}": state[f"{own}.{key}"] for key in ("weight", "bias")}
    found = find_network(under("module.", other))
    assert (found.architecture.model, found.architecture.num_classes) == (name, 7)
    assert found.state.keys() == state.keys()
    assert found.head == f"module.{head}"


def test_heads_that_do_not_fit_are_named():
    state = headless("densenet121", shapes_of("densenet121")) | {"classifier.weight": shaped(7, 99)}
    assert find_network(state).notes[0].startswith("its head classifier takes 99 numbers, the network gives 1,024")
    small = {key: array for key, array in shapes_of("vgg16_bn").items() if key.startswith("features.")}
    layers = {f"classifier.{number}.weight": shaped(512, 512) for number in (1, 4)} | {
        "classifier.6.weight": shaped(10, 512)
    }
    found = find_network(small | layers)
    assert found.notes[0].startswith("its head classifier is no single linear layer (classifier.1 (512, 512), ")
    assert (found.architecture.options, found.left_out) == ({"small_input": True}, ("classifier",))


@pytest.mark.parametrize("name", ["simple_cnn", "vgg11"])
def test_a_head_of_nothing_for_more_classes_than_memory_holds(name):
    found = find_network(headless(name, shapes_of(name)) | {"fc.weight": shaped(2**40, 0)})
    assert found.notes[0] == "its head fc is no linear layer but of shape (1099511627776, 0) and is left out"


EXTRA = {"googlenet": ("aux1", "aux2"), "inception_v3": ("AuxLogits",)}


@pytest.mark.parametrize("name", EXTRA)
def test_heads_in_the_middle_are_left_out_by_name(name):
    state = shapes_of(name)
    more = {f"{head}.conv0.conv.weight": shaped(8, 8, 1, 1) for head in EXTRA[name]}
    more |= {f"{head}.fc.weight": shaped(7, 8) for head in EXTRA[name]}
    found = find_network(under("net.", state | more))
    names = tuple(f"net.{head}" for head in EXTRA[name])
    assert (found.left_out, found.notes) == (names, (f"left out: {', '.join(names)}",))
    assert found.state.keys() == state.keys()


@pytest.fixture(scope="module")
def googlenet(tmp_path_factory):
    """(path, state) of a small GoogLeNet with its extra heads."""
    path = tmp_path_factory.mktemp("weights") / "googlenet.safetensors"
    state = filled(models.googlenet(7, small_input=True, aux_logits=True, rng=0))
    save_file(state, path)
    return path, state


def test_heads_in_the_middle_are_taken_where_the_network_has_them(googlenet):
    path, state = googlenet
    model, metadata = pretrained.build(path)
    assert model.aux1 is None and metadata["left_out"] == ["aux1", "aux2"]
    three = models.googlenet(7, small_input=True, aux_logits=True, rng=1)
    assert pretrained.load(three, path)["left_out"] == []
    same({key: array for key, array in three.state_dict().items() if key in state}, state)
    assert last_maps(three) == last_maps(model) == "inception5b"


def test_for_other_classes_all_heads_start_anew(googlenet):
    path, state = googlenet
    three = models.googlenet(3, small_input=True, aux_logits=True, rng=1)
    before = three.state_dict()
    pretrained.load(three, path, head="new")
    after = three.state_dict()
    heads = ("fc.", "aux1.", "aux2.")
    for key, array in after.items():
        np.testing.assert_array_equal(array, (before if key.startswith(heads) else state)[key], err_msg=key)
    with pytest.raises(pretrained.WeightsError, match=r"misshapen: .*fc\.weight has \(7, 1024\), the model \(3, "):
        pretrained.load(models.googlenet(3, small_input=True, rng=1), path)


# Foreign names -----------------------------------------------------------------------------------------------------


def timm_vgg(key):
    key = key.replace("classifier.0.", "pre_logits.fc1.").replace("classifier.3.", "pre_logits.fc2.")
    return key.replace("classifier.6.", "head.fc.")


@pytest.mark.parametrize("name", ["vgg16", "vgg16_bn"])
def test_timms_vgg(name):
    """Its hidden layers are convolutions: over the whole of 7x7 pixels, then of one."""
    state = shapes_of(name)
    theirs = {timm_vgg(key): array for key, array in state.items()}
    theirs["pre_logits.fc1.weight"] = shaped(4096, 512, 7, 7)
    theirs["pre_logits.fc2.weight"] = shaped(4096, 4096, 1, 1)
    found = find_network(under("model.", theirs))
    assert {key: array.shape for key, array in found.state.items()} == {key: a.shape for key, a in state.items()}
    assert (found.architecture.model, found.head) == (name, "model.head.fc")


def test_a_convolution_over_all_pixels_is_a_linear_layer_of_their_numbers():
    (source,) = (source for source in SOURCES if source.anchor == "features.0.weight")
    kernel = np.arange(2 * 3 * 7 * 7, dtype=np.float32).reshape(2, 3, 7, 7)
    x = np.random.default_rng(0).standard_normal((3, 7, 7))
    flat = source.adapted({HIDDEN[0]: kernel, "features.0.weight": kernel})
    assert np.shares_memory(flat[HIDDEN[0]], kernel)
    np.testing.assert_allclose(flat[HIDDEN[0]] @ x.reshape(-1), (kernel * x).sum(axis=(1, 2, 3)), rtol=1e-12)
    assert flat["features.0.weight"].ndim == 4 and HIDDEN[1] not in flat


def test_only_one_hidden_layer_of_a_vgg_may_be_copied():
    """A file may hold the same numbers under many names, each time with other axes first."""
    (source,) = (source for source in SOURCES if source.anchor == "features.0.weight")
    turned = np.zeros((7, 7, 3, 2), np.float32).transpose(3, 2, 0, 1)
    pixel = np.zeros((3, 2), np.float32).transpose()[:, :, None, None]
    flat = source.adapted({HIDDEN[0]: turned, HIDDEN[1]: turned})
    assert flat[HIDDEN[0]].shape == (2, 3 * 7 * 7) and flat[HIDDEN[1]] is turned
    flat = source.adapted({HIDDEN[1]: pixel})
    assert flat[HIDDEN[1]].shape == (2, 3) and np.shares_memory(flat[HIDDEN[1]], pixel)


def densenet_of_2017(key):
    return re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", key)


def without_a_number(key):
    return key.replace("norm5.", "norm_final.")


@pytest.mark.parametrize("renaming", [densenet_of_2017, without_a_number])
@pytest.mark.parametrize("name", ["densenet169", "densenet_bc100"])
def test_densenets_under_older_names(renaming, name):
    state = shapes_of(name)
    theirs = {renaming(key): array for key, array in state.items()}
    assert theirs.keys() != state.keys()
    found = find_network(under("module.", theirs))
    assert found.state.keys() == state.keys() and found.architecture.model == name


def test_wide_networks_whose_stages_are_called_blocks():
    def theirs(key):
        return re.sub(r"^layer(\d)\.(\d)\.", r"block\1.layer.\2.", key).replace("downsample.", "convShortcut.")

    state = shapes_of("wide_resnet28_10")
    found = find_network(under("module.", {theirs(key): array for key, array in state.items()}))
    assert found.state.keys() == state.keys() and found.architecture.model == "wide_resnet28_10"


# What fits nothing -------------------------------------------------------------------------------------------------


def changed(name, *without, **arrays):
    """The shapes of a network without keys that begin so, and with others; two underscores stand for a dot."""
    options = {"small_input": True} if name.startswith(("vgg", "googlenet")) else {}
    state = {key: array for key, array in shapes_of(name, **options).items() if not key.startswith(without)}
    return state | {key.replace("__", "."): array for key, array in arrays.items()}


FIRST = {
    "vgg16": "features.0.weight", "densenet121": "features.conv0.weight", "googlenet": "conv1.conv.weight",
    "inception_v3": "Conv2d_1a_3x3.conv.weight", "seresnet50": "conv1.weight", "preact_resnet164": "conv1.weight",
    "resnext50_32x4d": "conv1.weight", "rezero_resnet20": "conv1.weight", "resnext29_8x64d": "conv1.weight",
    "resnet50d": "conv1.0.weight",
}  # fmt: skip


@pytest.mark.parametrize("name", FIRST)
def test_grey_pictures(name):
    state = shapes_of(name)
    O, _, KH, KW = state[FIRST[name]].shape
    first = FIRST[name].replace(".", r"\.")
    grey = rf"{name}, but its {first} \({O}, 1, .* images of 1 channel, .*: for grey pictures save {first} as weight"
    with pytest.raises(pretrained.WeightsError, match=grey):
        find_network(state | {FIRST[name]: shaped(O, 1, KH, KW)})
    with pytest.raises(pretrained.WeightsError, match=r"takes images of 5 channels, here they have 3;"):
        find_network(state | {FIRST[name]: shaped(O, 5, KH, KW)})


def blocks_added(state, stage, first, count):
    """More blocks in a stage, as its second is."""
    new = {key.replace(f"{stage}.1.", f"{stage}.{first + number}."): array for number in range(count)
           for key, array in state.items() if key.startswith(f"{stage}.1.")}  # fmt: skip
    return state | new


def scaled(name, factor, key=""):
    """A network with so many times the channels, in the arrays whose names hold a key; the image's aside."""
    return {k: shaped(*(int(n * factor) if n > 7 else n for n in array.shape)) if key in k else array
            for k, array in shapes_of(name).items()}  # fmt: skip


DENSE = "features.denseblock3.denselayer25."
MISFITS = [
    (changed("vgg16_bn", "features.40.", "features.41."),
     r"vgg16_bn, but it has 12 convolutions, known are 8, 10, 13, 16"),
    (changed("vgg16", features__30__weight=shaped(512, 512, 3, 3)), "vgg16, but it has 14 convolutions"),
    (changed("vgg16", features__5__weight=shaped(64, 64, 3, 3)), r"misshapen: features\.5\.weight has \(64, 64, 3"),
    (shapes_of("vgg16") | {"classifier.0.weight": shaped(512, 512)},
     r"misshapen: classifier\.0\.weight has \(512, 512\), known here is \(4096, 25088\)"),
    (changed("vgg11", features__1__scale=shaped(64)), r"most like vgg11, but unexpected: features\.1\.scale"),
    (changed("densenet121", DENSE) | {f"{DENSE}conv1.weight": zeros(1)},
     r"a DenseNet, but it has 6, 12, 25, 16 layers in its dense blocks"),
    (scaled("densenet121", 2), r"densenet121, but misshapen: features\.conv0\.weight has \(128, 3, 7, 7\)"),
    (changed("densenet121", features__conv0__weight=shaped(64, 3, 5, 5)),
     r"misshapen: features\.conv0\.weight has \(64, 3, 5, 5\), known here is \(64, 3, 7, 7\)"),
    (scaled("inception_v3", 2), r"inception_v3, but misshapen: Conv2d_1a_3x3\.bn\.|Conv2d_1a_3x3\.conv"),
    (changed("googlenet", inception4a__branch5__weight=zeros(1)), r"googlenet, but unexpected: inception4a\.branch5"),
    (blocks_added(shapes_of("seresnet50"), "layer3", 6, 17),
     r"seresnet50, but it has 3, 4, 23 and 3 blocks, known here are 3, 4, 6 and 3"),
    (scaled("seresnet50", 0.5, ".se."), r"seresnet50, but misshapen: layer1\.0\.se\.fc1\.weight has \(8, 128, 1, 1\)"),
    (blocks_added(shapes_of("resnet50d"), "layer3", 6, 17), r"resnet50d, but it has 3, 4, 23 and 3 blocks"),
    (changed("resnet50d", layer1__0__se__conv__weight=zeros(1, 1, 7)), r"resnet50d, but unexpected: layer1\.0\.se"),
    (blocks_added(shapes_of("wide_resnet50_2"), "layer3", 6, 17),
     r"a wide ResNet, but its first 3x3 convolutions have 128 channels, with 3, 4, 23 and 3 blocks, as none"),
    (blocks_added(shapes_of("resnext50_32x4d"), "layer3", 6, 17),
     r"a ResNeXt, but its first 3x3 convolutions are in 32 groups of 4 channels, with 3, 4, 23 and 3 blocks"),
    (changed("resnext29_8x64d", conv1__bias=zeros(64)), r"resnext29_8x64d, but unexpected: conv1\.bias"),
    (blocks_added(shapes_of("preact_resnet110"), "layer1", 18, 1),
     r"a pre-activation ResNet, but it has 19 blocks of two convolutions in a stage"),
    (blocks_added(shapes_of("preact_resnet164"), "layer1", 18, 1), r"but it has 19 bottlenecks in a stage"),
    (scaled("wide_resnet28_10", 0.5), r"wide_resnet28_10, but misshapen: conv1\.weight|bn1"),
    (blocks_added(shapes_of("rezero_resnet20"), "layer1", 3, 1), r"rezero_resnet20, but unexpected: layer1\.3\."),
]  # fmt: skip


@pytest.mark.parametrize(("state", "message"), MISFITS, ids=range(len(MISFITS)))
def test_the_likeliest_network_and_the_first_reason(state, message):
    with pytest.raises(pretrained.WeightsError, match=message) as error:
        find_network(under("module.", state))
    text = str(error.value)
    assert text.startswith("its arrays are most like") and len(text) < 400 and text.count("\n") == 0


@pytest.mark.parametrize(
    "keys",
    [
        {"features.0.weight": (64, 3, 11, 11), "features.3.weight": (192, 64, 5, 5)},
        {"features.0.weight": (64, 3, 3, 3), "features.3.squeeze.weight": (16, 64, 1, 1)},
        {"features.0.weight": (64, 3, 3, 3), "features.1.weight": (64, 64, 3, 3), "features.2.weight": (64, 64, 3, 3)},
        {"features.0.weight": (64, 3, 3, 3), "features.2.weight": (64, 32, 3, 3)},
    ],
    ids=["AlexNet", "SqueezeNet", "no ReLU", "groups"],
)
def test_what_is_no_vgg(keys):
    with pytest.raises(pretrained.WeightsError, match=r"look like AlexNet, or a VGG of its own kind"):
        find_network({key: zeros(*shape) for key, shape in keys.items()})


def test_an_array_that_is_called_as_a_layer_of_detectrons():
    state = {"res2_0_branch2a_w": zeros(64, 64, 1, 1), "bn1": zeros(3), "conv1": zeros(3)}
    with pytest.raises(pretrained.WeightsError, match=r"its first convolution, conv1\.weight, is missing"):
        find_network(state)


@pytest.mark.parametrize("name", ["densenet_bc100", "vgg11_bn", "rezero_resnet20"])
def test_an_incomplete_or_damaged_file(tmp_path, name):
    options = {"small_input": True} if name == "vgg11_bn" else {}
    state = filled(models.build(name, 7, rng=0, **options))
    last = list(state)[-5]
    for damage, message in (
        ({last: None}, rf"missing: {last}: the file is incomplete"),
        ({last: np.full_like(state[last], np.nan)}, rf"{last} holds NaN or infinity"),
    ):
        spoilt = {key: array for key, array in {**state, **damage}.items() if array is not None}
        save_file(spoilt, tmp_path / "a.safetensors")
        with pytest.raises(pretrained.WeightsError, match=message):
            pretrained.build(tmp_path / "a.safetensors")


# Numbers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["densenet_bc100", "vgg11_bn", "rezero_resnet20", "googlenet"])
def test_what_is_read_answers_as_what_was_saved(tmp_path, name):
    options = {"small_input": True} if name in ("vgg11_bn", "googlenet") else {}
    model = models.build(name, 7, rng=0, **options)
    state = filled(model)
    model.load_state_dict(state)
    save_file(under("state_dict.module.", state), tmp_path / "a.safetensors")
    read, metadata = pretrained.build(tmp_path / "a.safetensors")
    x = np.random.default_rng(0).standard_normal((1, 32, 32, 3)).astype(np.float32)
    with no_grad():
        np.testing.assert_array_equal(read.eval()(x)[0], model.eval()(x)[0])
    assert metadata["model"] == name
    three = models.build(name, 3, rng=1, **options)
    own = head_of(three).weight.data
    pretrained.load(three, tmp_path / "a.safetensors", head="new")
    assert head_of(three).weight.data is not own and np.array_equal(head_of(three).weight.data, own)
    pretrained.write(tmp_path / "b.safetensors", *pretrained.read(tmp_path / "a.safetensors"))
    again, metadata_again = pretrained.read(tmp_path / "b.safetensors")
    same(again, state)
    assert metadata_again["assumptions"] == metadata["assumptions"]


# What a file leaves open -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "questions"),
    [
        ("vgg16", {"small_input": False}, ()),
        ("vgg16_bn", {"small_input": True}, ("eps",)),
        ("densenet121", {"small_input": False}, ("eps",)),
        ("inception_v3", {}, ("eps",)),
        ("resnet50d", {}, ("stem", "eps")),
        ("rezero_resnet20", {"shortcut": "A"}, ("padding", "eps")),
        ("rezero_resnet20", {"shortcut": "B"}, ("eps",)),
        ("resnext50_32x4d", {"small_input": True}, ("eps",)),
        ("resnet50", {"small_input": True, "variant": "torchvision"}, ("maxpool", "stride", "eps")),
        ("simple_cnn", {}, ()),
    ],
)
def test_what_the_arrays_leave_open(name, options, questions):
    assert open_questions(name, options) == questions


def test_the_size_that_a_deep_stem_is_for(tmp_path):
    save_file({key: np.array(array) for key, array in shapes_of("resnet50d").items()}, tmp_path / "a.safetensors")
    text = pretrained.identify(tmp_path / "a.safetensors")
    assert "assumed        a stem of three convolutions at stride 2 and a max pool (variant small-input: at" in text
    for word, small in (("small-input", True), ("large-input", False)):
        model, metadata = pretrained.build(tmp_path / "a.safetensors", overrides={"variant": word})
        assert metadata["options"] == {"small_input": small} and "stem" not in metadata["assumptions"]
        assert (model.maxpool is None) == small
    assert check_options("resnet50d", {}, {"small_input": True}) == {"small_input": True}
    with pytest.raises(ValueError, match="option small_input 3"):
        check_options("resnet50d", {}, {"small_input": 3})


def test_the_usual_eps_is_the_networks_own(tmp_path):
    save_file({key: np.array(array) for key, array in shapes_of("googlenet").items()}, tmp_path / "a.safetensors")
    text = pretrained.identify(tmp_path / "a.safetensors")
    assert "assumed        0.001 as eps of batch norm (variant eps=NUMBER: another)" in text
    assert "224x224 cut out after scaling to 256, bilinear, RGB, mean (0.5000, 0.5000, 0.5000)" in text
    model, _ = pretrained.build(tmp_path / "a.safetensors", overrides={"variant": "eps=1e-5"})
    assert model.conv1.bn.eps == 1e-5


# Scripts -----------------------------------------------------------------------------------------------------------


def test_conversion_of_a_network_whose_head_is_no_fc(tmp_path, monkeypatch, capsys):
    convert = scripts.load("convert_weights")
    state = filled(models.densenet_bc100(7, rng=0))
    save_file({key: array for key, array in state.items() if "classifier" not in key}, tmp_path / "a.safetensors")
    code, printed, err = scripts.call(convert, monkeypatch, capsys, tmp_path / "a.safetensors", "-")
    assert code == 0, err
    assert "model          densenet_bc100, " in printed and "of 342 features" in printed


def test_a_run_says_the_options_that_its_arrays_do_not():
    """A run on images of 32x32 of a network whose first kernel is 3x3 for images of any size."""
    options_of = scripts.load("train_cifar").options_of
    for name, options in (
        ("resnet50d", {"small_input": True}),
        ("rezero_resnet20", {"shortcut": "A"}),
        ("inception_v3", {}),
    ):
        assert options_of({"model": name, "shortcut": "A"}) == options
    assert check_options("resnet50d", {}, options_of({"model": "resnet50d", "shortcut": "A"})) == {"small_input": True}
    assert check_options("vgg16", {"small_input": True}, {"small_input": True}) == {}


@pytest.mark.parametrize(
    ("name", "freeze", "trained"),
    [
        ("densenet_bc100", "backbone", {"classifier"}),
        ("densenet_bc100", "features.denseblock3", {"features.norm5", "classifier"}),
        ("densenet_bc100", "features", {"classifier"}),
        ("vgg11", "features", {"classifier.0", "classifier.3", "classifier.6"}),
        ("vgg11", "backbone", {"classifier.6"}),
        ("vgg11", "classifier.0", {"classifier.3", "classifier.6"}),
        ("vgg11", "classifier", {"classifier.6"}),
        ("preact_resnet110", "layer3", {"bn1", "fc"}),
        ("resnet8", "none", {"conv1", "bn1", "layer1", "layer2", "layer3", "fc"}),
    ],
)
def test_what_is_frozen(name, freeze, trained):
    model = models.build(name, 3, rng=without_numbers(0))
    for part in scripts.load("finetune").frozen_parts(model, freeze):
        part.freeze()
    left = [path for path, parameter in model.named_parameters() if parameter.requires_grad]
    assert {next((name for name in trained if path.startswith(f"{name}.")), path) for path in left} == trained


def test_stages_that_a_network_has_are_named():
    freeze = scripts.load("finetune").frozen_parts
    for name, known in (
        ("densenet_bc100", "none, backbone, features.denseblock1, features.transition1, features.denseblock2, "),
        ("vgg11_bn", "none, backbone, features$"),
        ("resnet8", "none, backbone, layer1, layer2, layer3$"),
    ):
        model = models.build(name, 3, rng=without_numbers(0))
        with pytest.raises(ValueError, match=f"--freeze layer9: .* has no such stage: choose one of {known}"):
            freeze(model, "layer9")


# Hostile files -----------------------------------------------------------------------------------------------------

SHAPES = [
    (),
    (0,),
    (3,),
    (64,),
    (0, 0),
    (7, 64),
    (64, 0, 3, 3),
    (0, 3, 3, 3),
    (64, 3, 7, 7),
    (1, 2, 3, 4, 5),
    (2**40, 0),
]


@pytest.mark.parametrize("name", [*FIRST, "vgg11_bn", "wide_resnet28_10", "resnet50"])
def test_shapes_that_make_no_sense_are_read_or_refused(name):
    """Arrays lost, added, and of any shape, the first ones above all: no exception but the library's own."""
    rng = np.random.default_rng(list(name.encode()))
    whole = shapes_of(name)
    family = family_of(whole)
    tell = [*list(whole)[:12], family.anchor, *list(whole)[-4:], "conv1.weight", "bn1", "layer2.0.bn1.weight", "layer3"]
    tell += ["classifier.0.weight", "classifier.3.weight", "fc.weight", "layer1.0.conv3.weight", "features.1.weight"]
    tell += ["features.norm5.weight", "bn1.weight", "layer1.0.conv1.weight", "layer1.0.conv2.weight"]
    refused = 0
    for _ in range(60):
        state = dict(whole)
        for key in rng.choice(tell, rng.integers(1, 4)):
            if rng.random() < 0.3:
                state.pop(key, None)
            else:
                state[key] = shaped(*SHAPES[rng.integers(len(SHAPES))])
        try:
            found = find_network(under("model.", state))
        except pretrained.WeightsError as error:
            refused += 1
            assert len(str(error)) < 500 and str(error).isprintable()
        else:
            assert found.architecture.model in models.MODELS
    assert refused
