"""What stands around the weights does not matter: checkpoints of PyTorch with 70 kinds of things beside the state."""

import argparse
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import logging
import pathlib
import random
import re
import types
import uuid

import numpy as np
import pytest
from weights_cases import read_safely

from minires.pretrained.torch_file import read_torch

torch = pytest.importorskip("torch", reason="PyTorch writes the files of this test")
pytestmark = [
    pytest.mark.filterwarnings("ignore:torch.quantize_per_:UserWarning"),  # deprecated, and still in files
    pytest.mark.filterwarnings("ignore:.*nested tensors.*:UserWarning"),
    pytest.mark.filterwarnings("ignore:Sparse .* tensor support:UserWarning"),
    pytest.mark.filterwarnings("ignore:TypedStorage is deprecated:UserWarning"),
]


class Colour(enum.Enum):
    RED = 1


class Meter(dict):
    """A dictionary with attributes, as many a training script has one."""


class Names(list):
    """A list with attributes."""


class Slots:
    __slots__ = ("a",)


@dataclasses.dataclass
class Settings:
    lr: float = 0.1
    steps: tuple = (30, 60)


Point = collections.namedtuple("Point", "x y")


class Scaled(torch.Tensor):
    """A tensor of a class of its own."""


def with_attributes(thing, **attributes):
    thing.__dict__.update(attributes)
    return thing


def of_slots():
    thing = Slots()
    thing.a = 3
    return thing


def optimizer(kind="SGD"):
    parameter = torch.nn.Parameter(torch.ones(3))
    made = getattr(torch.optim, kind)([parameter], lr=0.1)
    parameter.grad = torch.ones(3)
    made.step()
    return made


def of_itself():
    circle = {"lr": 0.1}
    circle["self"] = circle
    return circle


X = torch.arange(6.0).reshape(2, 3)
READ_BY_WEIGHTS_ONLY = {  # {name: (made by, left out)}
    "nothing": (lambda: None, None),
    "whole numbers": (lambda: [0, -1, 255, 65_536, 2**31, 2**40, -(10**30)], None),
    "a number of 250 bytes": (lambda: 2**1990, None),
    "text": (lambda: ["größe", "猫", "", "x" * 1000], None),
    "bytes": (lambda: b"\x80\xff", None),
    "a bytearray": (lambda: bytearray(b"\x80\xff"), None),
    "300,000 floats": (lambda: [n / 7 for n in range(300_000)], None),
    "50,000 named numbers": (lambda: {f"step {n}": n / 7 for n in range(50_000)}, None),
    "5,000 rows of a history": (lambda: [{"loss": n / 3, "accuracy": n / 7} for n in range(5_000)], None),
    "10,000 pairs": (lambda: [(n, n / 7) for n in range(10_000)], None),
    "a complex number": (lambda: 1 + 2j, None),
    "an OrderedDict": (lambda: collections.OrderedDict(a=1), None),
    "a Counter": (lambda: collections.Counter("abba"), None),
    "a set": (lambda: {1, "b"}, None),
    "keys of many kinds": (lambda: {1: "a", "b": 2, None: 3, 0.5: 4, (1, 2): 5}, None),
    "a dictionary within itself": (of_itself, None),
    "a device": (lambda: torch.device("cuda", 1), None),
    "a dtype": (lambda: [torch.float16, torch.complex64, torch.float8_e4m3fn, torch.quint8], None),
    "a size": (lambda: X.shape, None),
    "a sparse tensor": (lambda: X.to_sparse(), "sparse tensor"),
    "a sparse tensor by rows": (lambda: X.to_sparse_csr(), "sparse tensor"),
    "a quantized tensor": (lambda: torch.quantize_per_tensor(X, 0.1, 0, torch.quint8), "quantized tensor"),
    "one quantized by channel": (
        lambda: torch.quantize_per_channel(X, torch.ones(2), torch.zeros(2, dtype=torch.long), 0, torch.qint8),
        "quantized tensor",
    ),
    "a meta tensor": (lambda: torch.ones(2, device="meta"), "meta tensor"),
    "a nested tensor": (lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), "nested tensor"),
    "float8, e4m3": (lambda: X.to(torch.float8_e4m3fn), "float8_e4m3fn tensor"),
    "float8, e5m2": (lambda: X.to(torch.float8_e5m2), "float8_e5m2 tensor"),
    "a complex tensor": (lambda: torch.ones(2, dtype=torch.complex64), "complex64 tensor"),
    "a complex tensor of float64": (lambda: torch.ones(2, dtype=torch.complex128), "complex128 tensor"),
    "a negated tensor": (lambda: torch.ones(2, dtype=torch.complex64).conj().imag, "conjugated or negated tensor"),
    "a random generator's state": (lambda: torch.get_rng_state(), ...),
    "an optimizer's state": (lambda: optimizer("Adam").state_dict(), ...),
    "a parameter with attributes": (lambda: with_attributes(torch.nn.Parameter(X), note="kept"), ...),
    "a tensor with attributes": (lambda: with_attributes(X.clone(), note="kept"), ...),
    "an empty tensor": (lambda: torch.empty(0, 3), ...),
    "tensors in a list": (lambda: [X, (X, [X])], ...),
    "a tensor's gradient": (lambda: X.clone().requires_grad_(), ...),
}
OTHERS = {
    "a Namespace": (lambda: argparse.Namespace(lr=0.1, arch="resnet8"), "argparse.Namespace"),
    "a SimpleNamespace": (lambda: types.SimpleNamespace(lr=0.1), "types.SimpleNamespace"),
    "NumPy numbers": (lambda: [np.float64(1.5), np.float32(2), np.int64(3), np.bool_(True), np.uint8(4)], None),
    "NumPy's array": (lambda: np.arange(6, dtype=np.float32).reshape(2, 3), ...),
    "NumPy's array by columns": (lambda: np.asfortranarray(np.arange(6).reshape(2, 3)), ...),
    "NumPy's array of the other byte order": (lambda: np.arange(6, dtype=">i2"), ...),
    "NumPy's array of texts": (lambda: np.array(["cat", "dog"]), "NumPy array of objects or text"),
    "NumPy's array of objects": (lambda: np.array([{}, None]), "NumPy array of objects or text"),
    "NumPy's dtype": (lambda: np.dtype("f4"), None),
    "NumPy's random state": (lambda: np.random.RandomState(0).get_state(), ...),
    "NumPy's generator": (lambda: np.random.default_rng(0), r"numpy.random.*"),
    "Python's random state": (lambda: random.Random(0).getstate(), None),
    "a defaultdict": (lambda: collections.defaultdict(list, a=[1]), None),
    "a deque": (lambda: collections.deque([1, 2], maxlen=3), "collections.deque"),
    "a frozenset": (lambda: frozenset((1, 2)), None),
    "a range and a slice": (lambda: [range(3), slice(1, 2)], r"(__builtin__|builtins).x?(range|slice)"),
    "a datetime": (
        lambda: datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone.utc),
        "datetime.(datetime|timezone|timedelta)",
    ),
    "a timedelta": (lambda: datetime.timedelta(1), "datetime.timedelta"),
    "a path": (lambda: pathlib.PurePosixPath("/data/cifar"), "pathlib.*PurePosixPath"),
    "an enum": (lambda: Colour.RED, ".*Colour"),
    "a partial": (lambda: functools.partial(max, 3), "functools.partial|(__builtin__|builtins).max"),
    "a function": (lambda: read_safely, "weights_cases.read_safely"),
    "a class": (lambda: Settings, ".*Settings"),
    "a dataclass": (lambda: Settings(), ".*Settings"),
    "a namedtuple": (lambda: Point(1, 2), ".*Point"),
    "a subclass of a dictionary": (lambda: with_attributes(Meter(a=1), best=3), ".*Meter"),
    "a subclass of a list": (lambda: with_attributes(Names("ab"), best=3), ".*Names"),
    "an object with slots": (of_slots, ".*Slots"),
    "a Decimal": (lambda: decimal.Decimal("0.1"), "decimal.Decimal"),
    "a Fraction": (lambda: fractions.Fraction(1, 3), "fractions.Fraction"),
    "a UUID": (lambda: uuid.UUID(int=3), "uuid.UUID"),
    "a logger": (lambda: logging.getLogger("train"), "logging.getLogger"),
    "an exception": (lambda: ValueError("diverged"), "(exceptions|builtins).ValueError"),
    "objects in objects": (lambda: types.SimpleNamespace(a={"b": [Settings()]}), ".*(Namespace|Settings)"),
    "a whole optimizer": (lambda: optimizer(), ...),
    "a whole scheduler": (lambda: torch.optim.lr_scheduler.StepLR(optimizer(), 30), ...),
    "a whole module": (lambda: torch.nn.Conv2d(2, 3, 1), "torch.nn.modules.conv.Conv2d"),
    "a whole module without tensors": (lambda: torch.nn.ReLU(), "torch.nn.modules.activation.ReLU"),
    "a loss": (lambda: torch.nn.CrossEntropyLoss(weight=torch.ones(3)), "torch.nn.modules.loss.CrossEntropyLoss"),
    "a storage": (lambda: X.untyped_storage(), None),
    "a tensor of a class of its own": (lambda: X.as_subclass(Scaled), ...),
}
KINDS = READ_BY_WEIGHTS_ONLY | OTHERS
STATE = {
    "conv.weight": torch.randn(4, 3, 3, 3),
    "bn.running_mean": torch.randn(4),
    "bn.num_batches_tracked": torch.tensor(7),
}


def is_state(state):
    for key, tensor in STATE.items():
        np.testing.assert_array_equal(state[f"state_dict.{key}"], tensor.numpy(), key)


@pytest.mark.parametrize(("new_format", "protocol"), [(True, 2), (False, 2), (True, 4)], ids=["zip", "old", "zip-4"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_state_is_read_whatever_stands_beside_it(tmp_path, kind, new_format, protocol):
    make, left_out = KINDS[kind]
    path = tmp_path / "a.pth"
    thing = make()
    content = {"first": thing, "state_dict": STATE, "last": {"deep": [thing]}, "epoch": 3}
    torch.save(content, path, _use_new_zipfile_serialization=new_format, pickle_protocol=protocol)
    if kind in READ_BY_WEIGHTS_ONLY and protocol == 2 and new_format:
        torch.load(path, weights_only=True)
    state, info = read_torch(path)
    is_state(state)
    assert info["epoch"] == 3
    if left_out is not ...:
        assert [name for name in info["left_out"] if not re.fullmatch(left_out or "", name)] == []
        assert bool(info["left_out"]) == (left_out is not None)


def test_there_are_at_least_forty():
    assert len(READ_BY_WEIGHTS_ONLY) > 30 and len(KINDS) > 70


def test_numbers_of_numpy_are_numbers(tmp_path):
    torch.save({"a": X, "best": np.float64(91.5), "seed": np.int64(3)}, tmp_path / "a.pth")
    _, info = read_torch(tmp_path / "a.pth")
    assert info == {"best": 91.5, "seed": 3, "left_out": []}


def test_arrays_of_numpy_come_back(tmp_path):
    arrays = {dtype: (np.arange(12) % 5).reshape(4, 3).astype(dtype) for dtype in ("f2", "f4", ">f8", "i8", "u1", "?")}
    arrays |= {"columns": np.asfortranarray(arrays["f4"]), "scalar": np.array(3.5), "empty": np.zeros((0, 3))}
    for protocol in (2, 3, 4, 5):
        torch.save({"x": arrays, "y": X}, tmp_path / "a.pth", pickle_protocol=protocol)
        state, _ = read_torch(tmp_path / "a.pth")
        for key, array in arrays.items():
            np.testing.assert_array_equal(state[f"x.{key}"], array, key)
            assert state[f"x.{key}"].dtype == array.dtype.newbyteorder("=")


def test_objects_hand_on_their_tensors(tmp_path):
    """A dataclass, a namedtuple, an object within another; the same dictionary under two names is two networks."""
    content = {"average": Settings(lr=X), "pair": Point(X, {"a": X}), "names": with_attributes(Meter(a=X), best=X)}
    torch.save({**content, "model": STATE, "model_ema": STATE}, tmp_path / "a.pth")
    state, info = read_torch(tmp_path / "a.pth")
    names = {key for key in state if not key.startswith("model")}
    assert names == {"average.lr", "pair.0", "pair.1.a", "names.a", "names.best"}
    assert {key for key in state if key.startswith("model")} == {
        f"{m}.{k}" for m in ("model", "model_ema") for k in STATE
    }
    assert info["left_out"] == []


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code:UserWarning")
@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "old"])
def test_a_whole_pickled_network_gives_its_state_dict(tmp_path, new_format):
    block = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU())
    network = torch.nn.Sequential(block, torch.nn.DataParallel(block[1]), torch.nn.Flatten())
    for content, prefix in ((network, ""), ({"model": network, "epoch": 3}, "model.")):
        torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=new_format)
        state, info = read_torch(tmp_path / "a.pth")
        assert list(state) == [prefix + key for key in network.state_dict()]
        for key, tensor in network.state_dict().items():
            np.testing.assert_array_equal(state[prefix + key], tensor.numpy(), key)
        assert info["left_out"] == ["torch.nn.modules.container.Sequential"]


def test_much_history_takes_little_time_and_memory(tmp_path):
    torch.save({"state_dict": STATE, "losses": [n / 7 for n in range(300_000)]}, tmp_path / "a.pth")
    outcome = read_safely(read_torch, tmp_path / "a.pth", (tmp_path / "a.pth").read_bytes())
    assert outcome.refusal is None
