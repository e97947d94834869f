"""Damaged and hostile weights files, and what a reader must make of every one of them.

Good files are written here letter by letter, without PyTorch; `damaged` spoils them at random, inside checksums too.
tests/campaign reads thousands of such files, tests/test_pretrained_files.py a few of each kind.
"""

import contextlib
import io
import json
import math
import pickle
import pickletools
import random
import signal
import struct
import sys
import time
import tracemalloc
import zipfile
import zlib
from dataclasses import dataclass

import numpy as np

from minires.pretrained.errors import WeightsError
from minires.pretrained.npz_file import read_npz
from minires.pretrained.safetensors_file import read_safetensors
from minires.pretrained.torch_file import read_torch

# Of the processor's time for a file of a few thousand bytes: what takes longer hangs. A tracer, of coverage or of a
# debugger, takes ten times as long as the lines that it looks at.
SECONDS = 20 if sys.gettrace() is None else 200
MEMORY_FACTOR, MEMORY_BESIDE = 8, 2**26  # times the file, and bytes beside

READERS = {"torch zip": read_torch, "torch old": read_torch, "safetensors": read_safetensors, "npz": read_npz}


# --- pickles, step by step ------------------------------------------------------------------------------------------


def text(word):
    return b"X" + struct.pack("<I", len(word.encode())) + word.encode()


def number(n):
    length = n.bit_length() // 8 + 1
    return b"\x8a" + bytes([length]) + n.to_bytes(length, "little", signed=True)


def numbers(values):
    return b"(" + b"".join(map(number, values)) + b"t"


def named(module, name):
    return f"c{module}\n{name}\n".encode()


def storage(key, count, kind="FloatStorage", view=b""):
    """A persistent id; view: the steps of its sixth property, if it has one."""
    return b"(" + text("storage") + named("torch", kind) + text(key) + text("cpu") + number(count) + view + b"tQ"


def tensor(storage, shape, strides=None, offset=0):
    """_rebuild_tensor_v2 of a storage's steps."""
    if strides is None:
        strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    view = number(offset) + numbers(shape) + numbers(strides) + b"\x89" + named("collections", "OrderedDict") + b")R"
    return named("torch._utils", "_rebuild_tensor_v2") + b"(" + storage + view + b"tR"


def dictionary(**entries):
    return b"}(" + b"".join(text(key) + steps for key, steps in entries.items()) + b"u"


def whole(steps):
    return b"\x80\x02" + steps + b"."


# --- files ----------------------------------------------------------------------------------------------------------


def zip_of(entries, method=zipfile.ZIP_STORED):
    """A zip file of {name: bytes}."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return file.getvalue()


def torch_zip(pickled, storages, **others):
    """PyTorch's format since 1.6: the pickle, {key: bytes}, and other entries."""
    entries = {"a/data.pkl": pickled, "a/byteorder": b"little", **{f"a/{name}": others[name] for name in others}}
    return zip_of(entries | {f"a/data/{key}": content for key, content in storages.items()})


def old_system(little_endian=True):
    """The pickle of the writer's system."""
    sizes = {"short": 2, "int": 4, "long": 4}
    return pickle.dumps({"protocol_version": 1001, "little_endian": little_endian, "type_sizes": sizes}, 2)


def torch_old(pickled, storages, item_size=4, little_endian=True):
    """PyTorch's format before 1.6."""
    magic, version = (pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001))
    head = [magic, version, old_system(little_endian)]
    tail = [struct.pack("<q", len(content) // item_size) + content for content in storages.values()]
    return b"".join([*head, pickled, pickle.dumps(list(storages), 2), *tail])


def safetensors(header, content=b""):
    """A safetensors file of a header (a dictionary, or its bytes) and the arrays' bytes."""
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header)) + header + content


def npy(header, content=b"", version=b"\1\0"):
    """An entry of an .npz file."""
    width = "<H" if version[0] == 1 else "<I"
    return b"\x93NUMPY" + version + struct.pack(width, len(header)) + header + content


A, B = np.arange(12, dtype="<f4").reshape(4, 3), np.array([1.5, -2.5], "<f4")
STORAGES = {"0": A.tobytes(), "1": B.tobytes()}
PICKLE = whole(
    dictionary(
        epoch=number(3),
        arch=text("resnet20"),
        state_dict=dictionary(a=tensor(storage("0", 12), (4, 3)), b=tensor(storage("1", 2), (2,))),
    )
)
HEADER = {
    "__metadata__": {"arch": "resnet20"},
    "a": {"dtype": "F32", "shape": [4, 3], "data_offsets": [0, 48]},
    "b": {"dtype": "F32", "shape": [2], "data_offsets": [48, 56]},
}
NPY = {
    "a.npy": npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (4, 3), }\n", A.tobytes()),
    "b.npy": npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", B.tobytes()),
}
GOOD = {
    "torch zip": torch_zip(PICKLE, STORAGES),
    "torch old": torch_old(PICKLE, STORAGES),
    "safetensors": safetensors(HEADER, A.tobytes() + B.tobytes()),
    "npz": zip_of(NPY),
}


# --- damage ---------------------------------------------------------------------------------------------------------

CALLS = (("os", "system"), ("posix", "system"), ("builtins", "eval"), ("__builtin__", "eval"), ("builtins", "exec"))
WAYS = ("GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD", "of text")


def call(way, module, name, argument):
    """Steps that call module.name(argument) when a careless reader takes them, in one of WAYS."""
    function, given = named(module, name), text(argument)
    state = b"}" + text("__setstate__") + function + b"sb"
    return {
        "GLOBAL": function + b"(" + given + b"tR",
        "STACK_GLOBAL": text(module) + text(name) + b"\x93(" + given + b"tR",
        "INST": b"(" + given + b"i" + function[1:],
        "OBJ": b"(" + function + given + b"o",
        "NEWOBJ": function + b"(" + given + b"t\x81",
        "NEWOBJ_EX": function + b"(" + given + b"t}\x92",
        "BUILD": named("collections", "OrderedDict") + b")R" + state + given + b"b",
        "of text": text(f"{module}.{name}") + b"(" + given + b"tR",
    }[way]


def leaving(sentinel):
    """{module.name: what it must be given to write the file `sentinel`}."""
    code = f"open({str(sentinel)!r}, 'w').close()"
    return {call: code if "builtin" in call[0] else f"touch {sentinel}" for call in CALLS}


def damaged(kind, rng, sentinel):
    """A file of a kind in READERS, spoiled at random; hostile calls in it write `sentinel`."""
    content = GOOD[kind]
    if rng.random() < 0.4:
        return _spoiled(content, rng)
    if kind == "safetensors":
        header = json.dumps(_changed(HEADER, rng)).encode() if rng.random() < 0.5 else json.dumps(HEADER).encode()
        return safetensors(_spoiled(header, rng) if rng.random() < 0.5 else header, content[-56:])
    if kind == "npz":
        entries = {name: _spoiled(entry, rng) if rng.random() < 0.7 else entry for name, entry in NPY.items()}
        return zip_of(entries, rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2]))
    pickled = spoilt_pickle(rng, sentinel)
    return torch_zip(pickled, STORAGES) if kind == "torch zip" else torch_old(pickled, STORAGES)


def spoilt_pickle(rng, sentinel):
    """PICKLE with bytes spoilt, with other steps, or with a hostile call."""
    return rng.choice([_spoiled, _other_steps, lambda steps, rng: _with_call(steps, rng, sentinel)])(PICKLE, rng)


def _spoiled(content, rng):
    """Bits turned, bytes cut, doubled, or overwritten with extreme numbers."""
    content = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 4])):
        at, end = sorted(rng.randint(0, len(content)) for _ in range(2))
        match rng.randint(0, 5):
            case 0:
                del content[at:]
            case 1:
                del content[at : min(end, at + 20)]
            case 2:
                content[at:at] = content[at : min(end, at + 200)]
            case 3:
                extreme = rng.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1])
                content[at : at + 8] = extreme.to_bytes(8, "little")[: rng.choice([2, 4, 8])]
            case _:
                if at < len(content):
                    content[at] = rng.randint(0, 255)
    return bytes(content)


def _places(steps):
    """Where each step of a pickle begins."""
    return [place for _, _, place in pickletools.genops(steps)]


def _other_steps(steps, rng):
    """A pickle with some of its steps turned into others."""
    steps, codes = bytearray(steps), [ord(code) for code in pickletools.code2op]
    for place in rng.sample(_places(bytes(steps)), rng.randint(1, 3)):
        steps[place] = rng.choice(codes)
    return bytes(steps)


def _with_call(steps, rng, sentinel):
    """A pickle with a hostile call between two of its steps."""
    place, (module, name) = rng.choice(_places(steps)), rng.choice(CALLS)
    return steps[:place] + call(rng.choice(WAYS), module, name, leaving(sentinel)[module, name]) + steps[place:]


def _changed(value, rng):
    """JSON with some of its values replaced."""
    if rng.random() < 0.1:
        return rng.choice([None, -1, 0, 2**31, 2**63, 10**30, 1.5, "F32", "I8", "BF16", "F8_E4M3", [], {}, [[]], True])
    if isinstance(value, dict):
        return {key: _changed(item, rng) for key, item in value.items()}
    return [_changed(item, rng) for item in value] if isinstance(value, list) else value


# --- what must come out ---------------------------------------------------------------------------------------------


class Hang(BaseException):
    """A reader that does not come back; no Exception, so that it takes this for none of its own."""


@contextlib.contextmanager
def deadline(seconds):
    """Raises Hang after so many seconds of the processor's time, where the system can."""

    def stop(signal_number, frame):
        raise Hang(f"no end after {seconds} s")

    if not hasattr(signal, "setitimer"):
        yield
        return
    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@dataclass
class Outcome:
    """What became of a file: the sentence that refused it or None, the most memory taken, seconds of the processor."""

    refusal: str | None
    peak: int
    seconds: float


def read_safely(read, path, content):
    """The Outcome of reading `content`: AssertionError or any other exception where a reader is not safe."""
    path.write_bytes(content)
    refusal, start = None, time.process_time()
    tracemalloc.start()
    try:
        with deadline(SECONDS):
            state, info = read(path)
    except WeightsError as error:
        refusal = str(error)
        peak = tracemalloc.get_traced_memory()[1]
        check_sentence(refusal, path)
    else:
        peak = tracemalloc.get_traced_memory()[1]
        check_content(state, info)
    finally:
        tracemalloc.stop()
    assert peak <= MEMORY_FACTOR * len(content) + MEMORY_BESIDE, f"{peak} bytes for a file of {len(content)}"
    return Outcome(refusal, peak, time.process_time() - start)


def check_sentence(message, path):
    """One sentence: the file, what is wrong, after a semicolon the cure."""
    name, rest = message[: len(str(path))], message[len(str(path)) :]
    assert name == str(path), message
    assert rest.startswith(": ") and "; " in rest, message
    assert rest.isprintable() and len(rest) < 300, message


def check_content(state, info):
    """Arrays of numbers, each of whose values can be read, and values that JSON can hold."""
    json.dumps(info)
    for key, array in state.items():
        assert isinstance(key, str) and isinstance(array, np.ndarray), (key, type(array))
        assert array.dtype.kind in "fiub" and array.dtype.isnative, (key, array.dtype)
        zlib.crc32(np.ascontiguousarray(array))


def generator(kind, seed):
    """The random numbers of a kind's cases."""
    return random.Random(f"{kind} {seed}")
