"""What a file of weights leaves open: said, overruled in Python and by flags, and kept by conversion."""

import json

import numpy as np
import pytest
import scripts
from PIL import Image
from safetensors.numpy import load_file, save_file
from scripts import one_sentence
from test_networks import R8, R18, R50, under

from minires import checkpoint, models, no_grad, pretrained
from minires.pretrained.readings import PREPROCESSINGS, usual_preprocessing

R18S = {**R18, "conv1.weight": R18["conv1.weight"][:, :, 2:5, 2:5].copy()}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """{name: path} of files that say nothing beside their arrays."""
    folder = tmp_path_factory.mktemp("weights")
    states = {"resnet8": R8, "resnet18": R18, "small": R18S, "resnet50": R50}
    for name, state in states.items():
        save_file(state, folder / f"{name}.safetensors")
    return {name: folder / f"{name}.safetensors" for name in states}


@pytest.fixture
def script(monkeypatch, capsys):
    """script(name, *arguments) -> (exit code, stdout, stderr)."""
    return lambda name, *arguments: scripts.call(scripts.load(name), monkeypatch, capsys, *arguments)


def logits_of(model, seed=0, size=32):
    x = np.random.default_rng(seed).standard_normal((2, size, size, 3)).astype(np.float32)
    with no_grad():
        return model.eval()(x)[0]


# Said ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "assumed"),
    [
        ("resnet8", {"padding", "eps", "classes"}),
        ("resnet18", {"eps", "classes"}),
        ("small", {"maxpool", "eps", "classes"}),
        ("resnet50", {"stride", "eps", "classes"}),
    ],
)
def test_what_the_arrays_leave_open_is_assumed_and_said(files, name, assumed):
    metadata = pretrained.read(files[name])[1]
    fields = {"mean", "std", "order", "size", "resize", "interpolation"}
    assert set(metadata["assumptions"]) == assumed | fields
    text = pretrained.identify(files[name])
    assert "; assumed, the file does not say" in text
    words = {
        "padding": "pad-end",
        "maxpool": "max-pool",
        "stride": "v1",
        "eps": "eps=NUMBER",
        "classes": "the order of",
    }
    for question, word in words.items():
        assert (word in text) == (question in assumed)


# Overruled -----------------------------------------------------------------------------------------------------------


def read_as(path, **overrides):
    return pretrained.read(path, overrides=overrides)[1]


def test_preprocessing_by_name_and_by_field(files):
    metadata = read_as(files["resnet8"], preprocessing="half", std=(0.25, 0.5, 0.75), size=24)
    assert metadata["preprocessing"] == {
        "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.5, 0.75), "order": "RGB", "size": 24, "resize": 24,
        "interpolation": "bilinear"}  # fmt: skip
    assert {"mean", "std", "order", "size"}.isdisjoint(metadata["assumptions"])
    assert "interpolation" in metadata["assumptions"] and metadata["assumed"]
    metadata = read_as(files["resnet50"], size=288)
    assert (metadata["preprocessing"]["size"], metadata["preprocessing"]["resize"]) == (288, 329)
    assert read_as(files["resnet50"], size=288, resize=288)["preprocessing"]["resize"] == 288


@pytest.mark.parametrize("name", [*PREPROCESSINGS, "tf", "torch", "inception"])
def test_every_named_preprocessing(files, name):
    preprocessing = read_as(files["resnet8"], preprocessing=name)["preprocessing"]
    white, black = ((value - np.array(preprocessing["mean"])) / preprocessing["std"] for value in (1, 0))
    expected = {
        "imagenet": (2.249, -2.118), "torch": (2.249, -2.118), "half": (1, -1), "tf": (1, -1), "inception": (1, -1),
        "none": (1, 0), "bytes": (255, 0), "caffe": (151.061, -103.939), "cifar10": (2.059, -1.989),
        "cifar10-images": (2.514, -2.429), "cifar100": (1.844, -1.897),
    }  # fmt: skip
    np.testing.assert_allclose((white[0], black[0]), expected[name], atol=6e-4)
    assert preprocessing["order"] == ("BGR" if name == "caffe" else "RGB")


def test_numbers_of_bytes_are_taken_for_these(files):
    usual = read_as(files["resnet8"], mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))["preprocessing"]
    np.testing.assert_allclose((usual["mean"], usual["std"]), ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    caffe = read_as(files["resnet8"], mean=(123.68, 116.779, 103.939), std=(1, 1, 1))["preprocessing"]
    np.testing.assert_allclose(caffe["std"], np.full(3, 1 / 255))
    plain = read_as(files["resnet8"], mean=(0, 0, 0), std=(1, 1, 1))["preprocessing"]
    assert (plain["mean"], plain["std"]) == ((0, 0, 0), (1, 1, 1))
    assert read_as(files["resnet8"], mean=(0, 0, 0), std=(255, 255, 255))["preprocessing"]["std"] == (1, 1, 1)


VARIANTS = [
    ("small", "max-pool", {"maxpool": True}),
    ("small", "no-max-pool", {"maxpool": False}),
    ("resnet50", "v1", {"variant": "v1"}),
    ("resnet50", "torchvision", {"variant": "torchvision"}),
    ("resnet8", "pad-end", {"shortcut": "A-end"}),
    ("resnet8", "pad-both", {"shortcut": "A"}),
    ("resnet8", "eps=1e-3", {"eps": 1e-3}),
]
QUESTIONS = {"maxpool": "maxpool", "variant": "stride", "shortcut": "padding", "eps": "eps"}


@pytest.mark.parametrize(("name", "word", "option"), VARIANTS)
def test_a_variant_answers_as_that_network_does_and_stays_so(files, tmp_path, name, word, option):
    plain, metadata = pretrained.build(files[name])
    model, known = pretrained.build(files[name], overrides={"variant": word})
    assert known["options"] == {**metadata["options"], **option}
    assert set(metadata["assumptions"]) - set(known["assumptions"]) == {QUESTIONS[next(iter(option))]}
    expected = models.build(metadata["model"], metadata["num_classes"], rng=1, **{**metadata["options"], **option})
    expected.load_state_dict(plain.state_dict())
    np.testing.assert_array_equal(logits_of(model), logits_of(expected))
    usual = word in ("no-max-pool", "torchvision", "pad-both")
    assert np.allclose(logits_of(model), logits_of(plain), rtol=1e-3) == usual
    state, known = pretrained.read(files[name], overrides={"variant": [word]})
    pretrained.write(tmp_path / "a.safetensors", state, known)
    again, said = pretrained.build(tmp_path / "a.safetensors")
    assert said["options"] == known["options"] and set(said["assumptions"]) == set(known["assumptions"])
    np.testing.assert_array_equal(logits_of(again), logits_of(model))


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        (
            "resnet18",
            {"variant": "max-pool"},
            r"variant max-pool: resnet18 is none, by its arrays: choose of eps=NUMBER",
        ),
        (
            "resnet8",
            {"variant": "v1"},
            r"variant v1: resnet8 is none, by its arrays: choose of pad-both, pad-end, eps=",
        ),
        ("small", {"variant": "maxpool"}, r"unknown variant 'maxpool': did you mean 'max-pool'\?"),
        ("small", {"variant": "eps=much"}, r"variant eps=much: give a number above 0 and below 1, such as eps=1e-3"),
        ("small", {"preprocessing": "cifar"}, r"unknown preprocessing 'cifar': did you mean 'cifar10'\?"),
        ("small", {"std": (0, 1, 1)}, r"give three numbers each, std above 0"),
        ("small", {"mean": (0.5,)}, r"give three numbers each"),
        ("small", {"size": 0}, r"size 0, resize 0: 1 <= size"),
        ("small", {"order": "GBR"}, r"unknown order 'GBR': choose RGB or BGR"),
    ],
)
def test_wrong_overrides(files, name, overrides, message):
    with pytest.raises(pretrained.WeightsError, match=message) as error:
        pretrained.read(files[name], overrides=overrides)
    assert str(error.value).startswith(f"{files[name]}: ")
    with pytest.raises(TypeError, match="unknown 'sice': choose of preprocessing, variant, mean"):
        pretrained.read(files[name], overrides={"sice": 3})


# Kept by conversion --------------------------------------------------------------------------------------------------


def test_a_converted_file_knows_what_the_flags_said_and_nothing_more(files, script, tmp_path):
    target = tmp_path / "a.safetensors"
    code, printed, err = script("convert_weights", files["small"], target, "--preprocessing", "half", "--variant",
                                "max-pool")  # fmt: skip
    assert code == 0, err
    assert "maxpool True" in printed and "; assumed: size, resize, interpolation" in printed
    metadata = pretrained.read(target)[1]
    assert (metadata["preprocessing"]["mean"], metadata["options"]["maxpool"]) == ([0.5] * 3, True)
    assert set(metadata["assumptions"]) == {"size", "resize", "interpolation", "eps", "classes"}
    assert read_as(target, variant="no-max-pool", mean=(0, 0, 0))["preprocessing"]["mean"] == (
        0,
        0,
        0,
    )  # flags overrule
    header = json.loads(load_metadata(target)["minires"])
    assert sorted(header["assumed"]) == ["classes", "eps"] and sorted(header["preprocessing"]) == [
        "mean",
        "order",
        "std",
    ]


def load_metadata(path):
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        return file.metadata()


@pytest.mark.parametrize(
    "header",
    [
        {"options": {"eps": "small"}}, {"options": {"eps": 5.0}}, {"options": {"shortcut": "C"}}, {"options": [1]},
        {"left_out": [1]}, {"left_out": 5}, {"preprocessing": {"mean": [1]}}, {"preprocessing": {"color": 1}},
        {"preprocessing": {"mean": [0, 0, float("nan")]}}, {"preprocessing": {"std": [1, 1, float("inf")]}},
        {"preprocessing": {"size": None}}, {"source": ["a"]}, {"classes": "0123456789"}, {"classes": {"a": 0}},
        {"left_out": "ab"},
    ],
)  # fmt: skip
def test_damaged_answers(tmp_path, header):
    header = {"model": "resnet8", "classes": None, "source": "", **header}
    save_file(R8, tmp_path / "a.safetensors", {"format": "minires-weights-1", "minires": json.dumps(header)})
    with pytest.raises(pretrained.WeightsError, match=r"a.safetensors: .*damaged"):
        pretrained.read(tmp_path / "a.safetensors")


def test_a_checkpoint_without_a_run_leaves_everything_to_be_assumed(tmp_path):
    checkpoint.save(tmp_path / "a.safetensors", models.resnet8(rng=0))
    metadata = pretrained.read(tmp_path / "a.safetensors")[1]
    assert metadata["model"] == "resnet8" and "run" not in metadata
    assert {"mean", "std", "classes"} <= set(metadata["assumptions"])


@pytest.mark.parametrize("preprocessing", [{"mean": [1]}, {"colour": 1}, {"mean": ["a", 0, 0]}])
def test_preprocessing_of_others_that_makes_no_sense_is_assumed(torch, tmp_path, preprocessing):
    state = {key: torch.tensor(array) for key, array in R8.items()}
    torch.save({"state_dict": state, "preprocessing": preprocessing}, tmp_path / "a.pth")
    assert {"mean", "std"} <= set(pretrained.read(tmp_path / "a.pth")[1]["assumptions"])


AB = {"classes": ["a", "b"]}


@pytest.mark.parametrize(
    ("info", "names"),
    [
        ({"classes": ["a", "b", "c", "d", "e", "f", "g", "h", "i", "猫"]}, [*"abcdefghi", "猫"]),
        ({"class_to_idx": {letter: 9 - number for number, letter in enumerate("abcdefghij")}}, list("jihgfedcba")),
        ({"meta": {"CLASSES": list("abcdefghij")}}, list("abcdefghij")),
        (AB, None),
        ({"classes": 10}, None),
        ({"class_to_idx": {"a": 5}}, None),
    ],
)
def test_names_of_classes_that_a_checkpoint_holds(torch, tmp_path, info, names):
    torch.save({"state_dict": {key: torch.tensor(array) for key, array in R8.items()}, **info}, tmp_path / "a.pth")
    metadata = pretrained.read(tmp_path / "a.pth")[1]
    assert metadata["classes"] == names
    assert ("classes" in metadata["assumptions"]) == (names is None)
    assert metadata["notes"] == (["left out: 2 names of classes, its last layer has 10"] if info == AB else [])


# Flags ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures") / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(path)
    return path


def test_flags_of_predict_change_its_answer_as_the_arguments_do(files, script, picture):
    from minires.data import normalize
    from minires.data.images import Preprocessing, open_image

    def predicted(*flags):
        code, printed, err = script("predict", picture, "--weights", files["resnet8"], "--json", "--top", 10, *flags)
        assert code == 0, err
        return {guess["label"]: guess["probability"] for guess in json.loads(printed)["top"]}, err

    def expected(**overrides):
        model, metadata = pretrained.build(files["resnet8"], overrides=overrides)
        preprocessing = Preprocessing(**metadata["preprocessing"])
        x = normalize(preprocessing.pixels(open_image(picture))[None], preprocessing.mean, preprocessing.std)
        with no_grad():
            logits = model.eval()(x)[0][0].astype(np.float64)
        exponentials = np.exp(logits - logits.max())
        return dict(enumerate(exponentials / exponentials.sum()))

    cases = [
        ((), {}),
        (("--preprocessing", "half"), {"preprocessing": "half"}),
        (("--mean", 0.1, 0.2, 0.3, "--std", 0.4, 0.5, 0.6), {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)}),
        (("--channel-order", "bgr"), {"order": "BGR"}),
        (("--size", 24), {"size": 24}),
        (("--variant", "pad-end", "--variant", "eps=0.1"), {"variant": ["pad-end", "eps=0.1"]}),
    ]
    answers = []
    for flags, overrides in cases:
        got, err = predicted(*flags)
        answers.append(got[0])
        for label, probability in expected(**overrides).items():
            assert got[label] == pytest.approx(probability, rel=1e-4)
        assert ("the file does not say how its images were prepared" in err) is True
    assert len(set(answers)) == len(cases)


def test_every_script_says_what_it_assumes_and_takes_the_part(files, script, cifar, picture, tmp_path):
    other = {key: array + 1 for key, array in R8.items()}
    path = tmp_path / "two.safetensors"
    save_file({**under("student.", R8), **under("teacher.", other)}, path)
    flags = {
        "predict": (picture, "--weights", path),
        "explain": (picture, "--weights", path, "--out", tmp_path / "a.png"),
        "train_cifar": ("--evaluate", path, "--data-dir", cifar, "--device", "cpu", "--json"),
        "finetune": ("--weights", path, "--data-dir", cifar, "--device", "cpu", "--epochs", 1, "--lr", 0,
                     "--no-progress", "--out", tmp_path / "run", "--batch-size", 8),
    }  # fmt: skip
    for name, arguments in flags.items():
        code, _, err = script(name, *arguments)
        assert code == 0, err
        assert "note: took teacher of 2 networks in the file, not student: --part NAME chooses another" in err
        assert "note: the file does not say how its images were prepared" in err
        assert "note: assumed: half of shortcut A's zero channels" in err
        if name == "finetune":
            np.testing.assert_array_equal(
                load_file(tmp_path / "run" / "best.safetensors")["conv1.weight"], other["conv1.weight"]
            )
    code, printed, _ = script("convert_weights", path, "-")
    assert "took teacher of 2 networks in the file, not student: --part NAME chooses another" in printed
    code, printed, _ = script("convert_weights", path, tmp_path / "b.safetensors", "--part", "student")
    np.testing.assert_array_equal(pretrained.read(tmp_path / "b.safetensors")[0]["conv1.weight"], R8["conv1.weight"])
    code, _, err = script("predict", picture, "--weights", path, "--part", "studnet")
    assert (code, "unknown part 'studnet': did you mean 'student'?" in one_sentence(err)) == (1, True)


def test_a_run_keeps_the_reading_it_began_with(files, script, cifar, picture, tmp_path):
    run = tmp_path / "run"
    flags = ("--data-dir", cifar, "--device", "cpu", "--epochs", 1, "--lr", 0, "--no-progress", "--batch-size", 8)
    reading = ("--preprocessing", "half", "--channel-order", "BGR", "--variant", "pad-end")
    code, _, err = script("finetune", "--weights", files["resnet8"], *flags, *reading, "--out", run)
    assert code == 0, err
    metadata = pretrained.read(run)[1]
    assert (metadata["preprocessing"]["order"], metadata["options"]["shortcut"]) == ("BGR", "A-end")
    assert metadata["assumptions"] == ()
    code, printed, err = script("train_cifar", "--evaluate", run, "--data-dir", cifar, "--device", "cpu", "--json")
    assert code == 0, err
    assert json.loads(printed)["test_acc"] == json.loads((run / "result.json").read_text())["test_acc"]


def test_flags_of_weights_need_weights(script):
    code, _, err = script("train_cifar", "--mean", 0, 0, 0)
    assert (code, "--mean is of a file of weights: give it with --evaluate" in one_sentence(err)) == (1, True)


def test_what_is_usual():
    assert usual_preprocessing("resnet26", {"shortcut": "A"}).size == 32
    for name in ("simple_cnn", "preact_resnet164", "wide_resnet28_10", "resnext29_8x64d", "densenet_bc100"):
        assert usual_preprocessing(name, {}).size == 32
    assert usual_preprocessing("resnet50", {"small_input": False, "variant": "keras"}).order == "BGR"
    assert usual_preprocessing("resnet50", {"small_input": False, "variant": "torchvision"}).resize == 256
    for name in ("vgg16", "densenet121", "seresnet50"):
        assert usual_preprocessing(name, {"small_input": True}).size == 32
        assert usual_preprocessing(name, {"small_input": False}).mean == (0.485, 0.456, 0.406)
    for name, size, resize in (("googlenet", 224, 256), ("inception_v3", 299, 342)):
        usual = usual_preprocessing(name, {})
        assert (usual.size, usual.resize, usual.mean, usual.std) == (size, resize, (0.5,) * 3, (0.5,) * 3)
