"""What ranks settle before they train, played by hand: which device each takes, on hosts with one rank or several."""

import sys

import cupy_double
import pytest

from minires import backend
from minires.backend import DeviceError
from minires.cli.together import Place, prepare_device, settle_shards
from minires.ranks import Ranks

CPU = {"device": "cpu", "threads": None}
GPU = {"device": "gpu", "threads": None}


class Played(Ranks):
    """One of several ranks on `hosts`, which hears from the others what `places` say, and of all else what it says."""

    def __init__(self, rank, hosts, places=None):
        self.rank, self.size, self.hosts = rank, len(hosts), hosts
        self.local_size = hosts.count(hosts[rank])
        self.local_rank = hosts[:rank].count(hosts[rank])
        self.places, self.gathered = places, 0

    def gather(self, thing):
        self.gathered += 1
        if isinstance(thing, Place) and self.places:
            return self.places
        return [thing] * self.size


@pytest.fixture
def threads():
    before = backend.get_threads()
    yield
    backend.set_threads(before)


@pytest.fixture
def gpus(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", cupy_double)
    monkeypatch.setattr(cupy_double, "devices", 2)
    monkeypatch.setattr(cupy_double, "_current", 0)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_ranks_alone_on_a_host_and_not_ask_each_other_as_often(threads):
    """Or one would wait for ever for what another does not give."""
    ranks = [Played(rank, ["a", "a", "b"]) for rank in range(3)]
    for rank in ranks:
        prepare_device(CPU, {}, lambda line: None, rank)
    assert len({rank.gathered for rank in ranks}) == 1


@pytest.mark.parametrize(
    ("cores", "expected"),
    [([{0, 1, 2, 3}] * 3, [2, 2, 4]), ([{0, 1}, {2, 3}, {0, 1}], [4, 4, 4])],
    ids=["shared", "bound"],
)
def test_ranks_of_a_host_share_its_cores_unless_each_has_its_own(threads, cores, expected):
    hosts, found = ["a", "a", "b"], []
    places = [Place(host, its, None) for host, its in zip(hosts, cores, strict=True)]
    for rank in range(3):
        backend.set_threads(4)
        prepare_device(CPU, {}, lambda line: None, Played(rank, hosts, places))
        found.append(backend.get_threads())
    assert found == expected


@pytest.mark.parametrize(
    ("shown", "expected"),
    [([None, None], ["gpu", "gpu:1"]), (["0,1", "0,1"], ["gpu", "gpu:1"]), (["3", "5"], ["gpu", "gpu"])],
)
def test_each_rank_takes_a_gpu_of_its_own(gpus, shown, expected):
    """Also where the launcher shows each of them another one, which is then its first."""
    places = [Place("a", {0}, its) for its in shown]
    found = [prepare_device(GPU, {}, lambda line: None, Played(rank, ["a", "a"], places)) for rank in range(2)]
    assert found == expected


def test_more_ranks_than_gpus_are_refused(gpus):
    places = [Place("a", {0}, None)] * 3
    with pytest.raises(DeviceError, match=r"3 ranks on a, each needs a GPU of its own .*start one for each GPU"):
        prepare_device(GPU, {}, lambda line: None, Played(2, ["a"] * 3, places))
    with pytest.raises(ValueError, match=r"--device gpu:1: 3 ranks of a host cannot share it: give --device gpu"):
        prepare_device({**GPU, "device": "gpu:1"}, {}, lambda line: None, Played(0, ["a"] * 3, places))


def test_ranks_on_gpus_and_on_cpus_do_not_mix(monkeypatch):
    class Mixed(Played):
        def gather(self, thing):
            return ["gpu", "cpu"] if thing == "cpu" else super().gather(thing)

    with pytest.raises(ValueError, match=r"rank 1 on b has other kind of device than rank 0 on a .cpu, not gpu.: give"):
        prepare_device(CPU, {}, lambda line: None, Mixed(1, ["a", "b"]))


def test_how_a_batch_is_shared_out_is_said():
    told, settings = [], {"shards": None, "batch_size": 8}
    settle_shards(settings, Played(0, ["a", "b"]), told.append)
    assert settings["shards"] == 2
    assert told == ["2 ranks on 2 hosts; each batch is cut into 2 shards, as many as there are ranks, 1 for each rank"]
    with pytest.raises(ValueError, match=r"4 ranks, and a batch has 3 images: give a larger --batch-size"):
        settle_shards({"shards": None, "batch_size": 3}, Played(0, ["a"] * 4), told.append)
    with pytest.raises(ValueError, match=r"cannot be shared out evenly to 2 ranks: start 1 or 3 of them$"):
        settle_shards({"shards": 3, "batch_size": 8, "found": object()}, Played(0, ["a", "b"]), told.append)
