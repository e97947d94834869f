"""Which data set a command line gets, and what it is told."""

import subprocess
import sys

import numpy as np
import pytest
from test_data_cifar import make_batches, write_binary

from minires.data import DatasetError, DatasetUnavailable, find_cifar10, load

nowhere = pytest.fixture(lambda tmp_path: tmp_path / "nothing here")


def test_cifar10_is_read_from_the_folder(tmp_path):
    batches = make_batches()
    write_binary(tmp_path, batches)
    for name in ("cifar10", "auto"):
        dataset, notice = load(name, data_dir=tmp_path)
        assert dataset.name == "cifar10" and notice is None
        np.testing.assert_array_equal(dataset.test_images, batches["test_batch"][0])


def test_without_data_cifar10_is_an_error_and_auto_the_shapes_with_a_notice(nowhere):
    with pytest.raises(DatasetUnavailable, match="nothing here"):
        load("cifar10", data_dir=nowhere, download=False)
    dataset, notice = load("auto", data_dir=nowhere, download=False, seed=3)
    assert dataset.name == "synthetic"
    lines = notice.splitlines()
    assert len(lines) > 8 and {len(line) for line in lines} == {80}
    text = " ".join(line.strip("# ") for line in lines)  # where lines end depends on how long the folder's name is
    assert "NOT CIFAR-10" in text and dataset.label in text and "switched off" in text and "as data_dir" in text
    with pytest.raises(DatasetUnavailable):
        find_cifar10(nowhere, download=False)


def test_synthetic_needs_no_notice_and_follows_the_seed(nowhere):
    first, notice = load("synthetic", data_dir=nowhere, seed=3)
    assert first.name == "synthetic" and notice is None and not nowhere.exists()
    assert (first.train_images != load("synthetic", seed=4)[0].train_images).any()


@pytest.mark.parametrize("how", ["data_dir", "environment"])
def test_auto_does_not_hide_damaged_data(tmp_path, monkeypatch, how):
    folder = write_binary(tmp_path, make_batches())
    (folder / "data_batch_3.bin").write_bytes(b"cut short")
    monkeypatch.setenv("MINIRES_DATA", str(tmp_path) if how == "environment" else "")
    with pytest.raises(DatasetError, match=r"data_batch_3.bin: 9 bytes are no whole number"):
        load("auto", data_dir=tmp_path if how == "data_dir" else None, download=False)


@pytest.mark.parametrize("name, meant", [("cifar-10", "cifar10"), ("CIFAR10", "cifar10"), ("syntetic", "synthetic")])
def test_an_unknown_name_gets_the_nearest_one(name, meant):
    with pytest.raises(
        ValueError,
        match=f"unknown data set '{name}': did you mean '{meant}'.*auto, cifar10, cifar100, cifar100-coarse, synth",
    ):
        load(name)
    with pytest.raises(
        ValueError, match=r"unknown data set 'xyz': choose one of auto, cifar10, cifar100, cifar100-coarse, synthetic"
    ):
        load("xyz")


def test_importing_the_package_imports_no_optional_one():
    code = "import sys, minires.data; print({'pooch', 'tqdm', 'requests', 'PIL', 'cupy'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
