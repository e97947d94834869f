"""Weights files: what PyTorch, safetensors and NumPy wrote comes back, and nothing hostile does harm."""

import errno
import os
import pickle
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import weights_cases as cases
from safetensors.numpy import save_file
from weights_cases import GOOD, READERS, STORAGES, dictionary, named, number, storage, tensor, text, torch_zip, whole

from minires import pickles
from minires.pretrained import files, zip_file
from minires.pretrained.content import MAX_INFO
from minires.pretrained.errors import WeightsError
from minires.pretrained.networks import _note_of_parts
from minires.pretrained.npz_file import read_npz
from minires.pretrained.parts import find_parts
from minires.pretrained.safetensors_file import read_safetensors
from minires.pretrained.torch_file import read_torch

WEIGHTS = Path(__file__).resolve().parents[2] / "shared" / "weights" / "resnet20-12fca82f.th"
INTEGERS = ("int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8")
DTYPES = ("float64", "float32", "float16", "bfloat16", *INTEGERS, "bool")


def assert_same(state, tensors):
    """state holds PyTorch's tensors: keys in their order, dtypes (bfloat16 as float32), shapes and values."""
    assert list(state) == list(tensors)
    for key, value in tensors.items():
        value = value.detach()
        expected = (value.float() if str(value.dtype) == "torch.bfloat16" else value).numpy()
        assert state[key].dtype == expected.dtype, key
        np.testing.assert_array_equal(state[key], expected, key)


@pytest.fixture(params=["zip", "old"])
def through_file(request, tmp_path, torch):
    """through_file(object): (state, info) of the file that PyTorch writes of it, in either format."""

    def write_and_read(content, protocol=2):
        new = request.param == "zip"
        torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=new, pickle_protocol=protocol)
        return read_torch(tmp_path / "a.pth")

    return write_and_read


# --- PyTorch's files ------------------------------------------------------------------------------------------------


def test_every_dtype_comes_back(torch, through_file):
    tensors = {name: (torch.arange(24) % 7 - 3).reshape(4, 3, 2).to(getattr(torch, name)) for name in DTYPES}
    state, info = through_file(tensors)
    assert_same(state, tensors)
    assert info == {"left_out": []}


def test_views_come_back_as_what_they_show(torch, through_file):
    x = torch.randn(4, 6, 5)
    tensors = {
        "all": x,
        "slice": x[1:3, 2:, ::2],
        "transposed": x.permute(2, 0, 1),
        "column": x[:, 3, 2],
        "scalar": x[3, 5, 4],
        "own scalar": torch.tensor(7),
        "empty": torch.empty(0, 3),
        "nothing of it": x[4:],
        "channels last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "half of a bfloat16": torch.randn(8).bfloat16()[4:],
        "parameter": torch.nn.Parameter(x[0]),
        "buffer of integers": torch.arange(5)[3],
    }
    state, _ = through_file(tensors)
    assert_same(state, tensors)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_checkpoint_is_its_state_and_its_plain_values(torch, through_file, protocol):
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    adam = {
        "state": {0: {"step": torch.tensor(1.0), "exp_avg": torch.randn(4, 3, 3, 3)}},
        "param_groups": [{"lr": 0.1}],
    }
    plain = {"epoch": 3, "arch": "größe", "best": 91.5, "seeds": [1, -(10**30)], "args": {"lr": 0.1, "ema": None}}
    others = {"optimizer": adam, "mean": torch.ones(3), "raw": b"\xff\0", "size": torch.Size([2, 3])}
    state, info = through_file({**plain, "state_dict": model.state_dict(), **others, "set": {5}}, protocol)
    beside = {"optimizer.state.0.step": torch.tensor(1.0), "optimizer.state.0.exp_avg": adam["state"][0]["exp_avg"]}
    expected = {f"state_dict.{key}": tensor for key, tensor in model.state_dict().items()}
    assert_same(state, expected | beside | {"mean": torch.ones(3)})
    assert info == {**plain, "size": [2, 3], "set": [5], "left_out": []}


def test_only_what_is_wanted_is_read(tmp_path):
    entries = {
        "ema": dictionary(c=tensor(storage("1", 2), (2,))),
        "net": dictionary(a=tensor(storage("0", 12), (4, 3))),
    }
    damaged = {"0": STORAGES["0"], "1": b""}
    (tmp_path / "a.pth").write_bytes(torch_zip(whole(dictionary(**entries)), damaged))
    shapes = {}
    state, _ = read_torch(tmp_path / "a.pth", lambda found: shapes.update(found) or ["net.a"])
    np.testing.assert_array_equal(state.pop("net.a"), cases.A)
    assert state == {} and shapes == {"ema.c": (2,), "net.a": (4, 3)}


def test_parameters_with_attributes_and_entries_that_are_no_tensors(torch, through_file):
    parameter = torch.nn.Parameter(torch.randn(3))
    parameter.note = "kept by PyTorch"
    state, info = through_file({"a": parameter, "version": 2, "extra": None})
    assert_same(state, {"a": parameter})
    assert info == {"version": 2, "extra": None, "left_out": []}


def test_a_published_file_comes_back(torch):
    if not WEIGHTS.exists():
        pytest.skip(f"needs {WEIGHTS}")
    state, info = read_torch(WEIGHTS)
    theirs = torch.load(WEIGHTS, map_location="cpu", weights_only=True)
    assert_same(state, {f"state_dict.{key}": tensor for key, tensor in theirs["state_dict"].items()})
    assert len(state) == 97 and list(info) == ["best_prec1", "left_out"]
    assert info["best_prec1"] == theirs["best_prec1"]


def test_what_python_2_wrote_comes_back(tmp_path):
    """Names as byte strings, an OrderedDict from a list of pairs, a view of a storage as a storage of its own."""
    word = lambda name: b"U" + bytes([len(name)]) + name.encode()  # noqa: E731
    view = b"(" + word("view") + number(4) + number(8) + b"t"
    place = tensor(storage("0", 12, view=view), (2, 3), offset=1).replace(text("storage"), word("storage"))
    steps = named("collections", "OrderedDict") + b"(](](" + word("a") + place + b"eetR"
    (tmp_path / "a.pth").write_bytes(cases.torch_old(whole(steps), {"0": STORAGES["0"]}))
    state, _ = read_torch(tmp_path / "a.pth")
    np.testing.assert_array_equal(state["a"], [[5, 6, 7], [8, 9, 10]])


@pytest.mark.parametrize("kind", READERS)
def test_a_file_takes_its_own_size_in_memory(tmp_path, kind):
    x = np.random.default_rng(0).standard_normal((1024, 1024), np.float32)  # 4 MiB
    steps = whole(dictionary(x=tensor(storage("0", x.size), x.shape)))
    header = {"x": {"dtype": "F32", "shape": x.shape, "data_offsets": [0, x.nbytes]}}
    np.savez(tmp_path / "npz.npz", x=x)
    content = {
        "torch zip": torch_zip(steps, {"0": x.tobytes()}),
        "torch old": cases.torch_old(steps, {"0": x.tobytes()}),
        "safetensors": cases.safetensors(header, x.tobytes()),
        "npz": (tmp_path / "npz.npz").read_bytes(),
    }[kind]
    (tmp_path / "x").write_bytes(content)
    tracemalloc.start()
    state, _ = READERS[kind](tmp_path / "x")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(state["x"], x)
    assert peak < 1.3 * len(content)


# --- safetensors and NumPy's archives -------------------------------------------------------------------------------


def arrays():
    """An array of every dtype that NumPy has, a scalar, an empty one and one of four axes."""
    state = {name: (np.arange(24) % 7).reshape(4, 3, 2).astype(name) for name in DTYPES if name != "bfloat16"}
    return state | {
        "scalar": np.array(2.5),
        "empty": np.zeros((0, 3)),
        "four": np.random.default_rng(0).standard_normal((2, 3, 4, 5)),
    }


def assert_equal(state, expected):
    assert set(state) == set(expected)
    for key, array in expected.items():
        assert state[key].dtype == array.dtype.newbyteorder("="), key
        np.testing.assert_array_equal(state[key], array, key)
        state[key][...] = 0  # arrays of the caller's own, to write to as well


def test_what_safetensors_wrote_comes_back(tmp_path):
    save_file(arrays(), tmp_path / "a.safetensors", metadata={"arch": "größe"})
    state, info = read_safetensors(tmp_path / "a.safetensors")
    assert_equal(state, arrays())
    assert info == {"arch": "größe"}


def test_bfloat16_of_safetensors_becomes_float32(tmp_path, torch):
    safetensors_torch = pytest.importorskip("safetensors.torch")
    x = torch.randn(3, 5).bfloat16()
    safetensors_torch.save_file({"x": x, "y": x[0].float()}, tmp_path / "a.safetensors")
    state, info = read_safetensors(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(state["x"], x.float().numpy())
    assert state["x"].dtype == np.float32 and info == {}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_wrote_comes_back(tmp_path, save):
    swapped = {"swapped": np.arange(6, dtype=">f4").reshape(2, 3), "columns first": np.asfortranarray(arrays()["four"])}
    save(tmp_path / "a.npz", **arrays(), **swapped)
    state, info = read_npz(tmp_path / "a.npz")
    assert_equal(state, arrays() | swapped)
    assert info == {}


# --- files that are refused -----------------------------------------------------------------------------------------


def refusal(read, path, content):
    """The sentence that refuses a file, read as safely as any."""
    message = cases.read_safely(read, path, content).refusal
    assert message is not None, "read, and should not have been"
    return message


@pytest.mark.parametrize("read", [read_torch, read_safetensors, read_npz])
def test_a_file_that_is_not_there_or_something_else_is_named(tmp_path, read):
    for path in (tmp_path / "missing.pth", tmp_path):
        with pytest.raises(WeightsError, match="no such file; give the path"):
            read(path)
    for content in (b"", b"<!DOCTYPE html><html>404</html>", b"version https://git-lfs.github.com/spec/v1", b"PK\3\4"):
        refusal(read, tmp_path / "a.pth", content)
    for other in set(READERS.values()) - {read}:
        kind = next(kind for kind in READERS if READERS[kind] is other)
        refusal(read, tmp_path / "a.pth", GOOD[kind])


def test_an_unreadable_file_is_named(tmp_path, monkeypatch):
    def fail(*args):
        raise PermissionError(errno.EACCES, "Permission denied")

    (tmp_path / "a.pth").write_bytes(GOOD["torch zip"])
    monkeypatch.setattr("builtins.open", fail)
    with pytest.raises(WeightsError, match=r"a\.pth: cannot be read \(Permission denied\); check"):
        read_torch(tmp_path / "a.pth")


def test_a_file_that_does_not_fit_into_memory_is_named(tmp_path, monkeypatch):
    def fail(*args):
        raise MemoryError

    (tmp_path / "a.safetensors").write_bytes(GOOD["safetensors"])
    monkeypatch.setattr(np, "empty", fail)
    with pytest.raises(WeightsError, match=r"a\.safetensors: does not fit into memory; close other programs, or use"):
        read_safetensors(tmp_path / "a.safetensors")


def test_a_file_that_grows_shorter_while_it_is_read_is_refused(tmp_path, monkeypatch):
    """Another program writes it anew."""
    path = tmp_path / "a.pth"
    pickled = whole(dictionary(x=tensor(storage("0", 100_000), (100_000,))))
    path.write_bytes(cases.torch_old(pickled, {"0": bytes(400_000)}))
    size = path.stat().st_size

    def before(file):
        os.truncate(path, size // 2)
        return size

    monkeypatch.setattr(files, "size_of", before)
    with pytest.raises(
        WeightsError, match=r"a\.pth: cut short while it was read: 400000 bytes were expected; download"
    ):
        read_torch(path)


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("kept", [1, 8, 100, 0.5, 0.9, 0.99])
def test_a_file_cut_short_is_refused(tmp_path, kind, kept):
    content = GOOD[kind]
    refusal(READERS[kind], tmp_path / "a", content[: int(kept * len(content)) if isinstance(kept, float) else kept])


@pytest.mark.parametrize("kind", ["torch zip", "npz"])
def test_a_bit_turned_in_a_zip_file_is_noticed(tmp_path, kind):
    content = bytearray(GOOD[kind])
    content[content.index(cases.A.tobytes()) + 7] ^= 1
    assert "does not match its checksum; download it again" in refusal(READERS[kind], tmp_path / "a", bytes(content))


def torch_file_of(steps, storages=STORAGES, **others):
    return torch_zip(whole(steps), storages, **others)


STATE = dictionary(b=tensor(storage("1", 2), (2,)))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (torch_file_of(STATE, **{"constants.pkl": b""}), "is a TorchScript program"),
        (torch_file_of(STATE, byteorder=b"big"), "was written on a big-endian machine"),
        (cases.torch_old(whole(STATE), STORAGES, little_endian=False), "was written on a big-endian machine"),
        (cases.torch_old(whole(STATE), {"1": STORAGES["1"]}).replace(b"M\xe9\x03", b"M\xea\x03"), "an unknown version"),
        (bytes(257) + b"ustar\x0000" + bytes(300), "the tar format of PyTorch's first versions"),
        (cases.zip_of({"a/b": b""}), "a zip file without PyTorch's data.pkl"),
        (torch_file_of(number(3)), "no dictionary of tensors"),
        (torch_file_of(dictionary(loss=number(3))), "only 'loss'; save the state_dict"),
        (torch_file_of(STATE, {}), "data/1"),
        (torch_file_of(dictionary(b=named("torchvision.models.resnet", "ResNet"))), "torchvision.models.resnet.ResNet"),
        (torch_file_of(dictionary(b=tensor(storage("1", 1, "ComplexFloatStorage"), (1,)))), "only complex64 tensor;"),
    ],
)
def test_other_files_of_pytorch_are_refused(tmp_path, content, sentence):
    assert sentence in refusal(read_torch, tmp_path / "a.pth", content)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")  # deprecated, and still in files
def test_tensors_that_are_no_views_of_numbers_are_left_out_by_name(torch, through_file):
    for content, name in (
        (torch.ones(2, 2).to_sparse(), "sparse tensor"),
        (torch.ones(2, device="meta"), "meta tensor"),
        (torch.ones(2, dtype=torch.complex64), "complex64 tensor"),
        (torch.ones(2).to(torch.float8_e5m2), "float8_e5m2 tensor"),
        (torch.ones(2, dtype=torch.complex64).conj().imag, "conjugated or negated tensor"),
        (torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), "quantized tensor"),
    ):
        with pytest.raises(WeightsError, match=f"holds no tensors that are read, only {name}; save the state_dict"):
            through_file({"a": content})
        state, info = through_file({"a": content, "b": torch.ones(2)})
        assert_same(state, {"b": torch.ones(2)})
        assert info == {"left_out": [name]}


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [
        ((4, 3), (3, 1), 1),  # one past the end
        ((4, 3), (3, 2), 0),
        ((13,), (1,), 0),
        ((2,), (12,), 0),
        ((2,), (-1,), 1),
        ((-1,), (1,), 0),
        ((2,), (1,), -1),
        ((2,), (1,), 2**62),
        ((2**62,), (2**62,), 0),
        ((10**6, 10**6), (0, 0), 0),  # expanded: a million million numbers out of one
        ((2,), (1, 1), 0),
        ((2, 2), (1,), 0),
        ((0, 2**63), (1, 1), 0),
        ((2**63,) * 33, (1,) * 33, 0),
    ],
)
@pytest.mark.parametrize("kind", ["torch zip", "torch old"])
def test_a_view_beyond_its_storage_is_never_made(tmp_path, kind, shape, strides, offset):
    steps = whole(dictionary(a=tensor(storage("0", 12), shape, strides, offset)))
    content = (torch_zip if kind == "torch zip" else cases.torch_old)(steps, {"0": STORAGES["0"]})
    refusal(read_torch, tmp_path / "a.pth", content)


@pytest.mark.parametrize("write", [torch_zip, cases.torch_old])
def test_a_view_of_a_view_of_a_storage_is_checked_too(tmp_path, write):
    for first in (number(-1), number(11), number(2**70), text("4"), b"}"):
        view = b"(" + text("view") + first + number(2) + b"t"
        steps = whole(dictionary(a=tensor(storage("0", 12, view=view), (2,))))
        refusal(read_torch, tmp_path / "a.pth", write(steps, {"0": STORAGES["0"]}))


# --- hostile files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "BUILD"])
def test_the_hostile_calls_are_hostile(tmp_path, way):
    """Python's own reader takes them; the others in WAYS are steps that it refuses for these functions."""
    sentinel = tmp_path / "sentinel"
    argument = cases.leaving(sentinel)["builtins", "eval"]
    pickle.loads(whole(cases.call(way, "builtins", "eval", argument)))
    assert sentinel.exists()


@pytest.mark.parametrize("way", cases.WAYS)
@pytest.mark.parametrize("write", [torch_zip, cases.torch_old])
def test_no_call_is_made(tmp_path, write, way):
    sentinel = tmp_path / "sentinel"
    for (module, name), argument in cases.leaving(sentinel).items():
        steps = dictionary(state_dict=STATE, x=cases.call(way, module, name, argument))
        message = refusal(read_torch, tmp_path / "a.pth", write(whole(steps), STORAGES))
        assert way == "of text" or f"refuses to load {module}.{name}: only tensors and plain values" in message
    assert not sentinel.exists()


def test_a_hostile_call_in_the_pickles_around_the_state_is_not_made(tmp_path):
    sentinel = tmp_path / "sentinel"
    call = whole(cases.call("GLOBAL", "os", "system", f"touch {sentinel}"))
    head, rest = GOOD["torch old"].split(cases.PICKLE)
    for content in (
        head.replace(pickle.dumps(1001, 2), call) + cases.PICKLE + rest,
        head + cases.PICKLE + call + rest,
    ):
        assert "refuses to load os.system" in refusal(read_torch, tmp_path / "a.pth", content)
    assert not sentinel.exists()


PUT, GET = b"q\x00", b"h\x00"
DOUBLED = b")" + (PUT + GET + b"\x86") * 60  # a tuple of two tuples of two tuples ...: 2**60 in all
LONG_TEXT, LONG_LIST = text("x" * 20_000), b"](" + b"NN\x86" * 5000 + b"e"

PAIRS = b"](" + b"".join(b"M%sN\x86" % struct.pack("<H", i) for i in range(5000)) + b"e"

ORDERED = named("collections", "OrderedDict")
PICKLES = {
    "text of 4 GiB": b"X\xff\xff\xff\xff",
    "bytes of 4 GiB": b"B\xff\xff\xff\xff",
    "text of 2**62 bytes": b"\x8d" + struct.pack("<Q", 2**62),
    "bytes of 2**62": b"\x8e" + struct.pack("<Q", 2**62),
    "bytearray of 2**62": b"\x96" + struct.pack("<Q", 2**62),
    "number of 2 GiB": b"\x8b\xff\xff\xff\x7f",
    "frame of 2**62 bytes": b"\x95" + struct.pack("<Q", 2**62),
    "memo at the end": b"Nr\xff\xff\xff\xff",
    "memo of none": b"j\xff\xff\xff\xff",
    "lists in lists": b"]" * 20_000 + b"a" * 19_999,
    "tuples in tuples": b")" + b"\x85" * 20_000,
    "marks": b"(" * 100_000,
    "a list of itself": b"]" + PUT + GET + b"a",
    "a dictionary of itself": b"}" + PUT + text("model") + GET + b"s",
    "a key of 2**60 tuples": b"}" + DOUBLED + b"Ns",
    "a key that is long": b"}" + number(2**2000) + b"Ns",
    "a value of 2**60 tuples": DOUBLED,
    "a dtype of 2**60 tuples": DOUBLED + storage("0", 1).replace(named("torch", "FloatStorage"), GET),
    "a name of 2**60 tuples": DOUBLED + GET + b"\x93",
    "a shape of 2**60 tuples": tensor(storage("0", 1), (7,)).replace(b"(" + number(7) + b"t", DOUBLED),
    "one list copied": LONG_LIST + PUT + b"](" + (named("collections", "OrderedDict") + GET + b"\x85R") * 5000 + b"e",
    "one list of entries copied": PAIRS + PUT + b"](" + (named("collections", "OrderedDict") + GET + b"\x85R") * 3000,
    "attributes copied": PAIRS + PUT + b"](" + (named("a", "B") + b")\x81" + GET + b"b") * 3000,
    "tuples of objects": named("a", "B") + PUT + b"](" + (GET + b")\x81" + GET + b"R") * 40_000 + b"e",
    "objects with attributes": named("a", "B") + PUT + b"](" + (GET + b")\x81}N\x86b") * 40_000 + b"e",
    "many names": b"](" + b"".join(b"ca\n%d\n" % i for i in range(30_000)) + b"e",
    "much kept": b"N" + b"\x94" * 600_000,
    "many dictionaries": b"](" + b"}" * 700_000 + b"e",
    "many marks and keys": b"}(" + b"".join(b"J%sN" % struct.pack("<i", i) for i in range(500_000)) + b"u",
    "one text copied": LONG_TEXT + PUT + b"](" + (named("_codecs", "encode") + GET + text("latin1") + b"\x86R") * 5000,
    "one text shown often": LONG_TEXT + PUT + b"](" + GET * 20_000 + b"e",
    "a call of many arguments": named("torch", "Size") + b"(" + b"N" * 100_000 + b"tR",
    "an empty stack": b"R",
    "one tuple of entries copied": PAIRS[1:-1] + b"t" + PUT + b"](" + (ORDERED + GET + b"\x85R") * 3000 + b"e",
    "one tuple seen often": b"(" + storage("0", 1) + b"N" * 20_000 + b"t" + PUT + b"](" + GET * 20_000 + b"e",
    "a device of 2**60 tuples": DOUBLED + PUT + named("torch", "device") + GET + b"K\x01\x86R",
    "many short strings of Python 2": b"](" + b"U\x02ab" * 600_000 + b"e",
    "many short texts": b"](" + b"\x8c\x02ab" * 600_000 + b"e",
    "a shape of long numbers": tensor(storage("0", 1), (2**900,) * 30, [0] * 30),
    "a tuple of too few": b"\x87",
}


@pytest.mark.parametrize("name", PICKLES)
def test_a_pickle_takes_no_more_than_the_file_gives(tmp_path, name):
    """Refused or, where it does nothing but describe values, read; memory and time are checked by read_safely."""
    steps = whole(b"}(" + text("a") + tensor(storage("0", 12), (12,)) + text("b") + PICKLES[name] + b"u")
    cases.read_safely(read_torch, tmp_path / "a.pth", torch_zip(steps, STORAGES))


def test_many_lists_that_lead_to_one_tensor_are_refused(tmp_path):
    row = b"](" + b"N" * 100_000 + tensor(storage("0", 12), (12,)) + b"e" + PUT
    content = torch_zip(whole(b"](" + row + GET * 5000 + b"e"), STORAGES)
    assert "leads to its objects by more than" in refusal(read_torch, tmp_path / "a.pth", content)


@pytest.mark.parametrize("keys", [b"](" + DOUBLED + b"e", text("0"), b"](" + (text("0") + text("1")) * 2 + b"e"])
def test_a_list_of_storages_that_is_none_is_refused(tmp_path, keys):
    content = GOOD["torch old"].replace(pickle.dumps(["0", "1"], 2), whole(keys))
    assert "its list of storages is damaged" in refusal(read_torch, tmp_path / "a.pth", content)


@pytest.mark.parametrize("first", [text("a.b"), b"C\x03a.b", text("a.c")])
def test_two_tensors_of_one_name_are_refused(tmp_path, first):
    """By a key with a dot, and by bytes; a third name is none of theirs."""
    one, other = tensor(storage("1", 2), (2,)), tensor(storage("0", 12), (2,))
    (tmp_path / "a.pth").write_bytes(
        torch_zip(whole(b"}(" + first + one + text("a") + dictionary(b=other) + b"u"), STORAGES)
    )
    if first == text("a.c"):
        assert list(read_torch(tmp_path / "a.pth")[0]) == ["a.c", "a.b"]
    else:
        with pytest.raises(WeightsError, match=r"holds two tensors under the name a\.b;"):
            read_torch(tmp_path / "a.pth")


def test_a_storage_of_two_types_is_refused(tmp_path):
    """PyTorch would read both as the first, in silence."""
    steps = dictionary(a=tensor(storage("0", 12), (12,)), b=tensor(storage("0", 6, "LongStorage"), (6,)))
    for write in (torch_zip, cases.torch_old):
        content = write(whole(steps), STORAGES)
        assert "reads the storage 0 as two types" in refusal(read_torch, tmp_path / "a.pth", content)


def test_bfloat16_and_another_type_of_one_storage_are_refused(tmp_path):
    one = tensor(storage("0", 12), (1,)).replace(b"_rebuild_tensor_v2", b"_rebuild_tensor_v3")
    steps = {name: one[:-2] + named("torch", name) + b"tR" for name in ("bfloat16", "float16")}
    content = torch_zip(whole(dictionary(**steps)), STORAGES)
    assert "reads the storage 0 as bfloat16 and float16" in refusal(read_torch, tmp_path / "a.pth", content)


def test_bfloat16_takes_twice_its_file(tmp_path):
    """And no more while it becomes float32."""
    content = torch_zip(
        whole(dictionary(a=tensor(storage("0", 10**7, "BFloat16Storage"), (10**7,)))), {"0": bytes(2 * 10**7)}
    )
    outcome = cases.read_safely(read_torch, tmp_path / "a.pth", content)
    assert outcome.refusal is None and outcome.peak < 2.1 * len(content)


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")  # zipfile says what it is asked to do
@pytest.mark.parametrize("kind", ["torch zip", "npz"])
def test_two_entries_of_one_name_are_refused(tmp_path, kind):
    path = tmp_path / "a.zip"
    path.write_bytes(GOOD[kind])
    name = {"torch zip": "a/data/0", "npz": "a.npy"}[kind]
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"another")
    assert f"2 of its entries are called {name}" in refusal(READERS[kind], path, path.read_bytes())


def test_two_pickles_in_one_file_are_refused(tmp_path):
    content = cases.zip_of({"a/data.pkl": cases.PICKLE, "b/data.pkl": cases.PICKLE})
    assert "holds 2 files data.pkl" in refusal(read_torch, tmp_path / "a.pth", content)


@pytest.mark.parametrize("write", [cases.zip_of, lambda entries: with_end(cases.zip_of(entries), length=2**31)])
def test_a_zip_directory_has_a_bound(tmp_path, monkeypatch, write):
    monkeypatch.setattr(zip_file, "MAX_DIRECTORY", 100)
    content = write({f"{number}.npy": b"" for number in range(5)})
    assert "its zip directory has" in refusal(read_npz, tmp_path / "a.npz", content)


def test_a_pickle_takes_only_so_many_steps(tmp_path, monkeypatch):
    monkeypatch.setattr(pickles, "MAX_STEPS", 10_000)
    content = torch_file_of(b"}" * 10_001)
    assert "takes more than 10,000 steps; save the state_dict alone" in refusal(read_torch, tmp_path / "a.pth", content)


def test_many_views_of_one_storage_take_no_memory_of_their_own(tmp_path):
    one = tensor(storage("0", 50_000, "BFloat16Storage"), (50_000,))
    steps = whole(dictionary(**{f"k{i}": one for i in range(500)}))
    outcome = cases.read_safely(read_torch, tmp_path / "a.pth", torch_zip(steps, {"0": bytes(100_000)}))
    assert outcome.refusal is None and outcome.peak < 20e6  # not 500 * 200,000


def test_a_storage_under_many_dtypes_is_read_once(tmp_path):
    dtypes = [name for name in DTYPES if name not in ("bfloat16", "bool")]
    one = tensor(storage("0", 2**18), (1,)).replace(b"_rebuild_tensor_v2", b"_rebuild_tensor_v3")
    steps = {name: one[:-2] + named("torch", name) + b"tR" for name in dtypes}
    content = cases.torch_old(whole(dictionary(**steps)), {"0": bytes(2**20)})
    outcome = cases.read_safely(read_torch, tmp_path / "a.pth", content)
    assert outcome.refusal is None and outcome.peak < 1.5 * 2**20


def with_directory(content, entry, **changes):
    """A zip file whose directory says something else of its entry of that number."""
    at = [i for i in range(len(content)) if content.startswith(b"PK\1\2", i)][entry]
    fields = {"method": (10, "<H"), "packed": (20, "<I"), "size": (24, "<I"), "name": (28, "<H"), "start": (42, "<I")}
    content = bytearray(content)
    for name, value in changes.items():
        place, layout = fields[name]
        struct.pack_into(layout, content, at + place, value)
    return bytes(content)


def with_end(content, **changes):
    """A zip file whose last record says something else of its directory."""
    at = content.rindex(b"PK\5\6")
    fields = {"count": (10, "<H"), "length": (12, "<I"), "start": (16, "<I")}
    content = bytearray(content)
    for name, value in changes.items():
        place, layout = fields[name]
        struct.pack_into(layout, content, at + place, value)
    return bytes(content)


@pytest.mark.parametrize("kind", ["torch zip", "npz"])
@pytest.mark.parametrize("value", [0, 1, 2**16 - 1, 2**32 - 1])
@pytest.mark.parametrize("field", ["method", "packed", "size", "name", "start", "end count", "end length", "end start"])
def test_a_zip_directory_that_lies_is_refused(tmp_path, kind, field, value):
    content, value = GOOD[kind], value & 0xFFFF if field in ("method", "name", "end count") else value
    place, _, name = field.rpartition(" ")
    lying = with_end(content, **{name: value}) if place else with_directory(content, 0, **{field: value})
    if lying != content:
        outcome = cases.read_safely(READERS[kind], tmp_path / "a", lying)
        assert outcome.refusal or (kind, field) == ("npz", "name")  # any name will do for an array


@pytest.mark.parametrize("kind", ["torch zip", "npz"])
def test_a_zip_directory_before_the_beginning_is_no_fault_of_the_disk(tmp_path, kind):
    message = refusal(READERS[kind], tmp_path / "a", with_end(GOOD[kind], start=2**31))
    assert "damaged (it speaks of places before its beginning); download it again" in message


def test_zip_bombs_are_refused_before_they_unpack(tmp_path):
    deflate = zlib.compressobj(9, wbits=-15)
    zeros = b"".join(deflate.compress(bytes(2**20)) for _ in range(40)) + deflate.flush()
    honest = cases.zip_of({"x.npy": b"x" * len(zeros)}).replace(b"x" * len(zeros), zeros)
    for size, sentence in ((2**30, "would unpack to 1073741824 bytes, more than"), (1000, "does not match")):
        content = with_directory(honest, 0, method=8, size=size)
        assert sentence in refusal(read_npz, tmp_path / "a.npz", content)


def test_an_entry_of_fewer_bytes_than_the_directory_says_is_refused(tmp_path):
    """Its checksum is that of the bytes that are there."""
    content = with_directory(GOOD["torch zip"], 2, size=cases.A.nbytes + 8)
    message = refusal(read_torch, tmp_path / "a.pth", content)
    assert message.endswith("damaged: an entry of this zip file is cut short; download it again")


def test_entries_over_each_other_are_refused(tmp_path):
    content = cases.zip_of({f"{i}.npy": bytes(10_000 if i == 0 else 0) for i in range(20)})
    for i in range(1, 20):
        content = with_directory(content, i, packed=10_000, size=10_000, start=0)
    assert "its entries overlap" in refusal(read_npz, tmp_path / "a.npz", content)


def test_names_of_entries_are_never_paths(tmp_path):
    entry = cases.NPY["b.npy"]
    for name in ("../x.npy", "/tmp/x.npy", "C:\\x.npy"):
        (tmp_path / "a.npz").write_bytes(cases.zip_of({name: entry}))
        state, _ = read_npz(tmp_path / "a.npz")
        assert list(state) == [name.removesuffix(".npy")]
    (tmp_path / "secret").write_bytes(cases.B.tobytes())
    steps = dictionary(a=tensor(storage("../../secret", 2), (2,)))
    refusal(read_torch, tmp_path / "a.pth", torch_file_of(steps))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.npz", "a.pth", "secret"]


def record(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    ("header", "size", "sentence"),
    [
        (struct.pack("<Q", 2**63), None, "whose header of 9223372036854775808 bytes is over 4194304"),
        (struct.pack("<Q", 2**22), None, "cut short or damaged"),
        (b"[" * 100_000, 0, "over 32 deep"),
        (b"{}" * 2, 0, "damaged (JSONDecodeError"),
        (b"\xff\xfe", 0, "damaged"),
        ([record()], 8, "its header is no dictionary"),
        ({"a": 3}, 0, "damaged (TypeError"),
        ({"a": {"dtype": "F32"}}, 0, "damaged (KeyError"),
        ({"a": record("F8_E4M3")}, 8, "'a' is of dtype 'F8_E4M3'; save it as one of F64"),
        ({"a": record(["F32"])}, 8, "'a' is of dtype"),
        ({"a": record(shape=(3,))}, 8, "the shape of 'a' does not fit its 8 bytes"),
        ({"a": record(shape=(-2,), offsets=(8, 0))}, 8, "makes no sense"),
        ({"a": record(shape=(2.0,))}, 8, "makes no sense"),
        ({"a": record(shape=(10**18,), offsets=(0, 4 * 10**18))}, 8, "its arrays take 4000000000000000000 bytes"),
        ({"a": record(shape=(10**300,) * 32)}, 8, "makes no sense"),
        ({"a": record(shape=(2**62,) * 32)}, 8, "does not fit its 8 bytes"),
        (b'{"a": 1, "a": 2}', 0, "two values are called a"),
        ({"a": record(shape=(1,) * 33)}, 8, "makes no sense"),
        ({"a": record(shape=(0, 2**63), offsets=(0, 0))}, 0, "makes no sense"),
        ({"a": record(shape=(0, 2**63 - 1), offsets=(0, 0))}, 0, "damaged"),
        ({"a": record(), "b": record()}, 8, "overlap or leave a gap at byte 8"),
        ({"a": record(offsets=(4, 12))}, 12, "overlap or leave a gap at byte 0"),
        ({"a": record()}, 9, "its arrays take 8 bytes and it has 9"),
        ({"a": record()}, 7, "its arrays take 8 bytes and it has 7"),
        ({"__metadata__": {"a": 3}}, 0, "no dictionary of texts"),
    ],
)
def test_safetensors_headers_that_lie_are_refused(tmp_path, header, size, sentence):
    content = header if size is None else cases.safetensors(header, bytes(size))
    assert sentence in refusal(read_safetensors, tmp_path / "a.safetensors", content)


@pytest.mark.parametrize(
    "entry",
    [
        cases.npy(b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n", pickle.dumps(3)),
        cases.npy(b"{'descr': '<U1', 'fortran_order': False, 'shape': (2,), }\n", bytes(8)),
        cases.npy(b"{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }\n", bytes(8)),
        cases.npy(b"{'descr': '<f5', 'fortran_order': False, 'shape': (1,), }\n", bytes(5)),
        cases.npy(b"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }\n", bytes(8)),
        cases.npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }\n", bytes(8)),
        cases.npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }\n", bytes(8)),
        cases.npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }\n", bytes(8)),
        cases.npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (0, 99999999999999999999), }\n"),
        cases.npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", bytes(9)),
        cases.npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'x': __import__('os')}\n", bytes(8)),
        cases.npy(b"(" * 60_000, bytes(8)),
        cases.npy(b"", b"", b"\3\0")[:-1],
        b"\x93NUMPY",
        b"",
    ],
)
def test_entries_that_are_no_arrays_of_numbers_are_refused(tmp_path, entry):
    refusal(read_npz, tmp_path / "a.npz", cases.zip_of({"x.npy": entry}))


def test_two_arrays_of_one_name_are_refused(tmp_path):
    """a and a.npy are both a."""
    entries = {name: cases.NPY["a.npy"] for name in ("a", "a.npy")}
    assert "two of its arrays are called 'a'" in refusal(read_npz, tmp_path / "a.npz", cases.zip_of(entries))


@pytest.mark.parametrize("shape", [b"(2,)", b"(0,)", b"(10000000000,)"])
def test_a_shape_that_does_not_fit_its_bytes_is_named(tmp_path, shape):
    entry = cases.npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': " + shape + b", }\n", bytes(12))
    message = refusal(read_npz, tmp_path / "a.npz", cases.zip_of({"x.npy": entry}))
    assert "the shape of 'x.npy' does not fit its bytes" in message


@pytest.mark.parametrize("kind", READERS)
def test_no_damage_does_harm(tmp_path, kind):
    """Sixty files at random; the campaign tries thousands."""
    rng, sentinel = cases.generator(kind, seed=1), tmp_path / "sentinel"
    outcomes = [cases.read_safely(READERS[kind], tmp_path / "a", cases.damaged(kind, rng, sentinel)) for _ in range(60)]
    assert not sentinel.exists()
    assert any(outcome.refusal for outcome in outcomes)


@pytest.mark.parametrize("kind", READERS)
def test_the_files_that_are_damaged_here_are_good_ones(tmp_path, kind):
    (tmp_path / "a").write_bytes(GOOD[kind])
    state, info = READERS[kind](tmp_path / "a")
    within = "state_dict." if "torch" in kind else ""
    np.testing.assert_array_equal(state[f"{within}a"], cases.A)
    np.testing.assert_array_equal(state[f"{within}b"], cases.B)
    assert info.get("arch", "resnet20") == "resnet20"


def test_only_so_much_is_kept_beside_the_state(tmp_path):
    entries = {"first": text("y" * 100), "long": text("x" * MAX_INFO), "last": number(3)}
    (tmp_path / "a.pth").write_bytes(torch_file_of(dictionary(**entries, state_dict=STATE)))
    state, info = read_torch(tmp_path / "a.pth")
    assert list(state) == ["state_dict.b"] and info == {"first": "y" * 100, "last": 3, "left_out": []}


def test_names_of_the_file_are_shown_escaped_in_notes():
    state = {f"{prefix}layer1.0.conv1.weight": np.zeros((16, 16, 3, 3)) for prefix in ("a\x1b[2J.", "bb\u202e.")}
    for part in find_parts(state):
        assert "\\x1b[2J" in _note_of_parts(part, find_parts(state))[0]
        assert _note_of_parts(part, find_parts(state))[0].isprintable()
