"""The comparison with the real networks of torchvision and timm: its table, with another definition in their place."""

import sys
import types

import pytest
from networks_in_pytorch import peer
from test_parity import from_benchmarks

from minires import models


@pytest.fixture
def script(monkeypatch):
    monkeypatch.setattr("sys.path", sys.path.copy())  # which the script adds to
    return from_benchmarks("families_parity")


def test_every_network_is_ours(script):
    for name, (package, their_name, size, _) in script.NETWORKS.items():
        assert name.split(",")[0] in models.MODELS, name
        assert package in ("torchvision", "timm") and their_name and size in (224, 299)


def test_the_table(torch, script, monkeypatch, capsys):
    network = peer("torch_densenet").TorchDenseNet
    theirs = types.SimpleNamespace(densenet121=lambda weights: network())
    monkeypatch.setitem(sys.modules, "torchvision.models", theirs)
    monkeypatch.setitem(sys.modules, "torchvision", types.SimpleNamespace(models=theirs))
    monkeypatch.setitem(script.NETWORKS, "densenet121", ("torchvision", "densenet121", 64, {}))
    monkeypatch.setattr(sys, "argv", ["families_parity.py", "--only", "densenet121"])
    script.main()
    _, _, *rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 2
    for row, expected in zip(rows, ("inference", "training"), strict=True):
        name, parameters, mode, *numbers, where = row.split()
        assert (name, parameters, mode) == ("densenet121", "7,978,856", expected)
        assert all(0 < float(number) < 1e-7 for number in numbers) and where.startswith("features.")


def test_a_name_that_none_begins_with(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["families_parity.py", "--only", "alexnet"])
    with pytest.raises(SystemExit):
        script.main()
    assert "no network begins with 'alexnet': choose one of vgg11" in capsys.readouterr().err
