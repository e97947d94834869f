"""A flag that a script does not have: what it says was meant."""

import pytest
import scripts

from minires.cli.console import Parser
from minires.cli.meant import MEANINGS, flag_for
from minires.cli.settings import ARGUMENTS, add_arguments

SCRIPTS = ("train_cifar", "finetune", "predict", "explain", "convert_weights", "compare")


def flags_of(script):
    return set(scripts.load(script).command_line()._option_string_actions)


@pytest.mark.parametrize(
    ("script", "given", "meant"),
    [
        ("train_cifar", "--gpu", "--device gpu"),
        ("train_cifar", "--cuda", "--device gpu"),
        ("train_cifar", "--cpu", "--device cpu"),
        ("train_cifar", "-gpu", "--device gpu"),
        ("train_cifar", "--GPU", "--device gpu"),
        ("train_cifar", "--learning-rate", "--lr"),
        ("train_cifar", "--learning_rate=0.1", "--lr 0.1"),
        ("train_cifar", "--batch_size", "--batch-size"),
        ("train_cifar", "--batchsize", "--batch-size"),
        ("train_cifar", "--bs", "--batch-size"),
        ("train_cifar", "--arch", "--model"),
        ("train_cifar", "--data", "--data-dir"),
        ("train_cifar", "--output", "--out"),
        ("train_cifar", "--wd", "--weight-decay"),
        ("train_cifar", "--num-workers", "--threads"),
        ("train_cifar", "--ephocs", "--epochs"),
        ("train_cifar", "--epoch", "--epochs"),
        ("train_cifar", "--lr-finder", "--find-lr"),
        ("train_cifar", "--early-stopping", "--patience"),
        ("train_cifar", "--no-such-flag", None),
        ("finetune", "--model", "--weights"),
        ("finetune", "--pretrained", "--weights"),
        ("predict", "--gpu", "--device gpu"),
        ("predict", "--output", "--plot"),
        ("predict", "--arch", "--weights"),
        ("explain", "--cuda", "--device gpu"),
    ],
)
def test_what_was_meant(script, given, meant):
    assert flag_for(given, flags_of(script)) == meant


def test_the_error_names_it(monkeypatch, capsys):
    code, _, err = scripts.call(scripts.load("train_cifar"), monkeypatch, capsys, "--gpu", "--epochs", 1)
    assert code == 2 and err == "error: unrecognized argument: --gpu: did you mean --device gpu? (see --help)\n"


def test_every_advice_is_a_flag_of_some_script():
    flags = set().union(*map(flags_of, SCRIPTS))
    assert not [flag for meant in MEANINGS.values() for flag in meant if flag.split()[0] not in flags]


def test_what_a_script_has_itself_is_never_corrected():
    """Whatever of MEANINGS is a flag of a script, that script takes."""
    parser = Parser()
    add_arguments(parser, *(name for name in ARGUMENTS if name.startswith("--")))
    assert parser.parse_args(["--weights", "a", "--patience", "3"]).patience == 3


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("cuda", "gpu"),
        ("cuda:0", "gpu"),
        ("cuda:1", "gpu:1"),
        ("cpu:1", "cpu"),
        ("GPU", "gpu"),
        ("CPU", "cpu"),
        ("mps", None),
    ],
)
def test_devices_as_other_programs_call_them(monkeypatch, capsys, given, meant):
    code, _, err = scripts.call(scripts.load("predict"), monkeypatch, capsys, "a.jpg", "--device", given)
    assert code == 2 and (f"did you mean --device {meant}?" in err) == (meant is not None)
    assert meant is not None or "did you mean" not in err
