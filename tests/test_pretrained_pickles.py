"""What stands in pickles of weights beside PyTorch's tensors: NumPy's arrays, objects, and what is damaged."""

import collections
import copyreg
import pickle

import numpy as np
import pytest
import weights_cases as cases
from test_data_cifar import replace_test_batch
from weights_cases import STORAGES, dictionary, named, number, storage, tensor, text, torch_zip, whole

from minires import pickles
from minires.data.cifar import read_cifar10
from minires.data.dataset import DatasetError
from minires.pretrained import content, torch_file
from minires.pretrained.torch_file import read_torch

STATE = dictionary(b=tensor(storage("1", 2), (2,)))
ARRAY = np.arange(6, dtype="f4").reshape(2, 3)


class Settings:
    """An object of a program's own; a subclass says how it is pickled."""

    def __init__(self, **attributes):
        self.__dict__ |= attributes


class WithNames(Settings):
    """One that is made anew from named arguments, by the step NEWOBJ_EX."""

    def __new__(cls, **named):
        return super().__new__(cls)

    def __getnewargs_ex__(self):
        return (), self.__dict__


@pytest.fixture
def read(tmp_path):
    """read(steps): (state, info) of a file of PyTorch with this pickle."""

    def read(steps, storages=STORAGES):
        (tmp_path / "a.pth").write_bytes(torch_zip(whole(steps), storages))
        return read_torch(tmp_path / "a.pth")

    return read


@pytest.fixture
def refusal(tmp_path):
    """refusal(pickle): the sentence that refuses a file with it."""

    def refusal(pickled, storages=STORAGES):
        message = cases.read_safely(read_torch, tmp_path / "a.pth", torch_zip(pickled, storages)).refusal
        assert message is not None, "read, and should not have been"
        return message.removeprefix(f"{tmp_path / 'a.pth'}: ")

    return refusal


def as_steps(value, protocol=2):
    """The steps of Python's pickle of a value, without its beginning and end."""
    return pickle.dumps(value, protocol).removeprefix(b"\x80" + bytes([protocol])).removesuffix(b".")


# What is honest ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_dictionary_of_arrays_in_any_protocol(tmp_path, protocol):
    """As programs of 2015 kept their weights: a dictionary that pickle.dump wrote."""
    arrays = {"a": ARRAY, "b": np.asfortranarray(ARRAY.astype(">f8")), "c": np.arange(3, dtype="i8")}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({**arrays, "epoch": np.float64(3.5)}, protocol))
    if protocol in (0, 1):  # begins as any text may
        (tmp_path / "a.pkl").write_bytes(torch_zip(pickle.dumps({**arrays, "epoch": np.float64(3.5)}, protocol), {}))
    state, info = read_torch(tmp_path / "a.pkl")
    assert list(state) == list(arrays) and info == {"epoch": 3.5, "left_out": []}
    for name, array in arrays.items():
        np.testing.assert_array_equal(state[name], array)
        assert state[name].dtype == array.dtype.newbyteorder("=")


def test_what_stands_behind_the_end_of_a_pickle_is_passed_over(torch, tmp_path):
    (tmp_path / "a.pth").write_bytes(torch_zip(cases.PICKLE + b"more" * 100, STORAGES, version=b"3\n"))
    state, _ = read_torch(tmp_path / "a.pth")
    theirs = torch.load(tmp_path / "a.pth", weights_only=True)["state_dict"]
    for name in ("a", "b"):
        np.testing.assert_array_equal(state[f"state_dict.{name}"], theirs[name].numpy())


@pytest.mark.parametrize(("kind", "protocol"), [(Settings, 0), (Settings, 2), (Settings, 4), (WithNames, 4)])
def test_objects_are_left_out_by_the_names_of_their_classes(read, kind, protocol):
    """Made without a function, by one, and by one with named arguments: nothing of them is called."""
    state, info = read(b"}(" + text("net") + STATE + text("x") + as_steps(kind(lr=0.1, steps=[1]), protocol) + b"u")
    assert list(state) == ["net.b"] and info == {"left_out": [f"test_pretrained_pickles.{kind.__name__}"]}


def test_arrays_within_objects_are_found(read):
    state, _ = read(as_steps({"net": WithNames(weight=ARRAY)}, 4))
    assert list(state) == ["net.weight"]
    np.testing.assert_array_equal(state["net.weight"], ARRAY)


def test_an_object_that_names_its_arguments_of_a_class_that_is_known(read):
    """OrderedDict(items, **named): the items are there, and no name does anything."""
    ordered = named("collections", "OrderedDict") + b"(" + dictionary(lr=number(3)) + b"t" + dictionary(a=number(1))
    state, info = read(dictionary(net=STATE, args=ordered + b"\x92"))
    assert list(state) == ["net.b"] and info == {"args": {"lr": 3}, "left_out": []}


def test_dictionaries_as_the_oldest_protocols_make_them(read):
    """copyreg makes an empty one, which its entries fill."""
    steps = as_steps(copyreg._reconstructor) + as_steps((collections.OrderedDict, object, None)).replace(
        b"c__builtin__\nobject\n", b"N"
    )
    state, info = read(dictionary(net=STATE, args=steps + b"R(" + text("lr") + number(3) + b"u"))
    assert list(state) == ["net.b"] and info == {"args": {"lr": 3}, "left_out": []}


def test_a_tensor_of_a_class_of_its_own_is_left_out(read):
    made = named("torch._tensor", "_rebuild_from_type_v2")
    tensor_of = named("my.tensors", "make") + named("my.tensors", "Quantised") + b")}t"
    state, info = read(dictionary(net=STATE, x=made + b"(" + tensor_of + b"R"))
    assert list(state) == ["net.b"] and info == {"left_out": ["tensor of a class of its own"]}


@pytest.mark.parametrize(
    ("array", "name"),
    [
        (np.array(["a", "b"]), "NumPy array of objects or text"),
        (np.array([None]), "NumPy array of objects or text"),
        (np.ones(2, "c8"), "NumPy array of objects or text"),
        (np.datetime64("2020-01-01"), "NumPy scalar"),
        (np.complex64(1), "NumPy scalar"),
    ],
)
def test_what_numpy_has_besides_numbers_is_left_out(read, array, name):
    state, info = read(dictionary(net=STATE)[:-1] + text("x") + as_steps(array) + b"u")
    assert list(state) == ["net.b"] and info == {"left_out": [name]}


# What is damaged --------------------------------------------------------------------------------------------------


def numpy_array(kind="f4", order=b"<", shape=(2,), data=bytes(8)):
    """The steps of an array, as NumPy writes it."""
    dtype = named("numpy", "dtype") + text(kind) + b"\x89\x88\x87R(K\x03" + b"U\x01" + order + b"NNNK\x00K\x00K\x00tb"
    state = b"(K\x01" + cases.numbers(shape) + dtype + b"\x89B" + len(data).to_bytes(4, "little") + data + b"tb"
    made = named("numpy.core.multiarray", "_reconstruct") + named("numpy", "ndarray") + b"K\x00\x85U\x01b\x87R"
    return made + state


def test_the_array_that_is_damaged_here_is_a_good_one(read):
    state, _ = read(dictionary(a=numpy_array(data=np.array([1, 2], "<f4").tobytes())))
    np.testing.assert_array_equal(state["a"], np.array([1, 2], np.float32))


@pytest.mark.parametrize(("kind", "order"), [("f1", b"|"), ("b2", b"<"), ("b8", b"<"), ("f4", b"?"), ("f4", b"!")])
def test_numbers_that_numpy_does_not_have_are_left_out(read, kind, order):
    """np.dtype("b2") would be an error of NumPy's, np.dtype("?f4") one, too."""
    state, info = read(dictionary(net=STATE, x=numpy_array(kind, order)))
    assert list(state) == ["net.b"] and info == {"left_out": ["NumPy array of objects or text"]}


@pytest.mark.parametrize("shape", [(-2,), (2**63,), (1,) * 33, (0, 2**64)])
def test_an_array_whose_shape_makes_no_sense(refusal, shape):
    message = refusal(whole(dictionary(a=numpy_array(shape=shape))))
    assert message == "damaged (ValueError: an array whose shape makes no sense); download it again"


@pytest.mark.parametrize("shape", [(3,), (), (2**40,), (2**62,) * 32])
def test_an_array_whose_bytes_are_others(refusal, shape):
    message = refusal(whole(dictionary(a=numpy_array(shape=shape))))
    assert message.startswith("damaged (ValueError: an array of shape (") and message.endswith("; download it again")


def test_an_array_without_a_state(refusal):
    made = named("numpy.core.multiarray", "_reconstruct") + named("numpy", "ndarray") + b"K\x00\x85U\x01b\x87R"
    assert refusal(whole(dictionary(a=made))).startswith("holds no tensors that are read, only NumPy array of objects")


GOOD_STORAGE = storage("1", 2)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (text("1") + b"Q", "a storage without its five properties"),
        (b"(" + text("storage") + b"tQ", "a storage without its five properties"),
        (GOOD_STORAGE.replace(text("storage"), text("warehouse")), "a storage without a key"),
        (GOOD_STORAGE.replace(text("1"), number(1)), "a storage without a key"),
        (storage("1", -2), "a storage of no number"),
        (storage("1", 2**63), "a storage of no number"),
        (GOOD_STORAGE.replace(number(2), text("2")), "a storage of no number"),
        (text("1"), "a tensor without numbers"),
    ],
)
def test_a_storage_that_is_none(refusal, bad, reason):
    message = refusal(whole(dictionary(b=tensor(storage("1", 2), (2,)).replace(GOOD_STORAGE, bad))))
    assert message == f"its pickle is damaged: {reason}; download it again"


def test_more_is_taken_than_there_is(refusal):
    assert (
        refusal(whole(b"\x87")) == "damaged (UnpicklingError: its pickle takes from an empty stack); download it again"
    )


def test_a_pickle_alone_has_no_tensors_of_pytorch(tmp_path):
    message = cases.read_safely(read_torch, tmp_path / "a.pth", cases.PICKLE).refusal
    assert message.endswith("is a pickle whose tensors lie in no file; save it with torch.save")


def test_images_lie_in_no_file_beside_their_pickle(tmp_path):
    """A CIFAR batch that asks for an object by a number."""
    batch = whole(b"}(" + text("data") + text("0") + b"Q" + b"u")
    with pytest.raises(DatasetError, match="refuses to load an object outside of its pickle"):
        read_cifar10(replace_test_batch(tmp_path, batch))


# What would take too much -----------------------------------------------------------------------------------------


def test_one_array_under_many_dtypes(refusal, monkeypatch):
    """Each would be a copy: bytes that are in the file once would take memory as often as they are named."""
    monkeypatch.setattr(torch_file, "MEMORY_BESIDE", 0)
    data = b"B" + (1000).to_bytes(4, "little") + bytes(1000)
    first, _, rest = numpy_array("f4", shape=(250,), data=bytes(1000)).rpartition(data)
    steps = [first + data + b"q\x07" + rest]
    for kind, count in (("i4", 250), ("u4", 250), ("f2", 500), ("i2", 500), ("u2", 500), ("f8", 125), ("i8", 125)):
        steps.append(numpy_array(kind, shape=(count,), data=bytes(1000)).replace(data, b"h\x07"))
    message = refusal(whole(dictionary(**{f"a{place}": step for place, step in enumerate(steps)})))
    assert message.startswith("takes more than ") and message.endswith(" allow no more; save it again")


@pytest.mark.parametrize(("name", "most"), [("MAX_TENSORS", 1), ("MAX_NAMES", 5)])
def test_very_many_tensors_or_letters(refusal, monkeypatch, name, most):
    monkeypatch.setattr(content, name, most)
    message = refusal(whole(dictionary(net=STATE, ema=STATE)))
    assert message.endswith("tensors, or names too long; save the state_dict alone")


def test_values_that_are_too_long_are_not_tried_for_ever(read, monkeypatch):
    """Ten times as many letters as are kept: then the rest, though short, stays unread."""
    monkeypatch.setattr(content, "MAX_INFO", 1000)
    long = {f"long{place}": text("x" * 1001) for place in range(11)}
    _, info = read(dictionary(first=number(1), **dict(list(long.items())[:8]), last=number(3), net=STATE))
    assert info == {"first": 1, "last": 3, "left_out": []}
    _, info = read(dictionary(first=number(1), **long, last=number(3), net=STATE))
    assert info == {"first": 1, "left_out": []}


def test_encodings_but_latin1(refusal):
    steps = named("_codecs", "encode") + text("x" * 9) + text("zlib") + b"\x86R"
    assert refusal(whole(dictionary(a=steps))).startswith("refuses to encode text but to latin1; save the state_dict")
    assert pickles.encode("ÿ", "latin1") == b"\xff"
