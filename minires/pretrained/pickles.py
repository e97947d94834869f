"""Reads the pickles in PyTorch's files: the steps that describe tensors and plain values, and no others.

A pickle is a program for a machine with a stack, and a hostile one has the machine call `os.system`. The machine below
knows the steps that PyTorch writes, and calls what stands in its own table NAMES; all else it refuses by name. It
takes at most MAX_STEPS steps, each of which makes one object or copies bytes of the file: time and memory have bounds.

Tensors come out as descriptions (Tensor), which the reader of the file checks and fills.

Source: Python, Lib/pickletools.py; PyTorch, torch/serialization.py and torch/_utils.py.
"""

import pickle
import pickletools
import struct
from dataclasses import dataclass

from minires.pretrained.errors import WeightsError
from minires.pretrained.files import DTYPES

MAX_STEPS = 250_000  # a checkpoint of ResNet-152 with Adam's state takes 71,444


@dataclass(frozen=True)
class Storage:
    """Numbers in the file: the key they stand under, their dtype (of DTYPES), and the first of them that is meant."""

    key: str
    dtype: str
    start: int = 0


@dataclass(frozen=True)
class Tensor:
    """A view of a storage's numbers, read as dtype: nothing in it has been checked against their count."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple
    strides: tuple


def read_pickle(file, size):
    """-> (object, dtypes): what the pickle at the position of an open file of `size` bytes builds.

    object: of dictionaries (OrderedDict is one), lists (set is one), tuples, numbers, text, bytes, None and Tensors.
    dtypes: {key: dtype} of the storages it names.
    Raises WeightsError for whatever else it is asked to build, and any exception for damaged bytes.
    """
    machine = _Machine(file, size)
    return machine.run(), machine.dtypes


class _Machine:
    """A stack, the places on it where something began, what was put aside by number, and the steps taken."""

    def __init__(self, file, size):
        self.file, self.size = file, size
        self.stack, self.marks, self.memo, self.dtypes, self.steps = [], [], {}, {}, 0

    def run(self):
        while (opcode := self.read(1)) != pickle.STOP:
            self.count(1)
            self.step(opcode)
        return self.stack.pop()

    def step(self, opcode):
        """One step: its operands follow it in the file, its arguments are on the stack."""
        push, pop, number = self.stack.append, self.stack.pop, self.number
        match opcode:
            case pickle.PROTO:
                number("<B")
            case pickle.FRAME:
                number("<Q")
            case pickle.NONE:
                push(None)
            case pickle.NEWTRUE:
                push(True)
            case pickle.NEWFALSE:
                push(False)
            case pickle.BININT1:
                push(number("<B"))
            case pickle.BININT2:
                push(number("<H"))
            case pickle.BININT:
                push(number("<i"))
            case pickle.LONG1:
                push(int.from_bytes(self.read(number("<B")), "little", signed=True))
            case pickle.BINFLOAT:
                push(number(">d"))
            case pickle.SHORT_BINUNICODE | pickle.SHORT_BINSTRING:
                push(self.read(number("<B")).decode("utf-8"))
            case pickle.BINUNICODE | pickle.BINSTRING:
                push(self.read(number("<I")).decode("utf-8"))
            case pickle.SHORT_BINBYTES:
                push(self.read(number("<B")))
            case pickle.BINBYTES:
                push(self.read(number("<I")))
            case pickle.EMPTY_DICT:
                push({})
            case pickle.EMPTY_LIST | pickle.EMPTY_SET:
                push([])
            case pickle.EMPTY_TUPLE:
                push(())
            case pickle.TUPLE1:
                push(tuple(self.last(1)))
            case pickle.TUPLE2:
                push(tuple(self.last(2)))
            case pickle.TUPLE3:
                push(tuple(self.last(3)))
            case pickle.TUPLE:
                push(tuple(self.since_mark()))
            case pickle.MARK:
                self.marks.append(len(self.stack))
            case pickle.APPEND:
                items = self.last(1)
                self.stack[-1].extend(items)
            case pickle.APPENDS | pickle.ADDITEMS:
                items = self.since_mark()
                self.stack[-1].extend(items)
            case pickle.SETITEM:
                items = self.last(2)
                _fill(self.stack[-1], [items])
            case pickle.SETITEMS:
                items = self.since_mark()
                _fill(self.stack[-1], zip(items[::2], items[1::2], strict=True))
            case pickle.BINPUT:
                self.memo[number("<B")] = self.stack[-1]
            case pickle.LONG_BINPUT:
                self.memo[number("<I")] = self.stack[-1]
            case pickle.MEMOIZE:
                self.memo[len(self.memo)] = self.stack[-1]
            case pickle.BINGET:
                push(self.memo[number("<B")])
            case pickle.LONG_BINGET:
                push(self.memo[number("<I")])
            case pickle.GLOBAL:
                push(_named(self.line(), self.line()))
            case pickle.STACK_GLOBAL:
                push(_named(*self.last(2)))
            case pickle.INST:
                raise _refused(f"{self.line()}.{self.line()}")
            case pickle.REDUCE:
                push(self.call(*self.last(2)))
            case pickle.BINPERSID:
                push(self.storage(pop()))
            case pickle.BUILD:
                pop()  # attributes, such as the versions that PyTorch keeps beside a state_dict
            case _:
                raise _refused(f"what the step {_step_name(opcode)} of its pickle builds")

    def read(self, count):
        """The next bytes of the file, all of them."""
        data = self.file.read(count) if count <= self.size else b""
        if len(data) < count:
            raise WeightsError("cut short or damaged: its pickle does not end; download it again")
        return data

    def number(self, layout):
        return struct.unpack(layout, self.read(struct.calcsize(layout)))[0]

    def line(self):
        return self.file.readline(256).decode("utf-8").removesuffix("\n")

    def last(self, count):
        """The uppermost `count` objects, taken from the stack."""
        if len(self.stack) < count:
            raise WeightsError("its pickle is damaged; download it again")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def since_mark(self):
        """All objects above the last mark, taken from the stack."""
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def storage(self, identity):
        """("storage", dtype, key, location, count[, view]) -> Storage; view: (key, first number, count) or None."""
        if not isinstance(identity, tuple) or not 5 <= len(identity) <= 6:
            raise WeightsError("its pickle is damaged: a storage without its five properties; download it again")
        kind, dtype, key, _, _, *view = identity
        if kind != "storage" or not isinstance(key, str):
            raise WeightsError("its pickle is damaged: a storage without a key; download it again")
        self.dtypes[key] = _checked(dtype)
        return Storage(key, dtype, view[0][1] if view and view[0] else 0)

    def call(self, function, arguments):
        """The result of a function of NAMES; one that copies an argument takes as many steps as that is long."""
        if not isinstance(arguments, tuple):
            raise WeightsError("its pickle is damaged; download it again")
        self.count(sum(len(argument) for argument in arguments if isinstance(argument, (str, list, dict))))
        return function(*arguments)

    def count(self, steps):
        self.steps += steps
        if self.steps > MAX_STEPS:
            raise WeightsError(
                f"its pickle takes more than {MAX_STEPS:,} steps; save the state_dict alone: "
                "torch.save(model.state_dict(), path)"
            )


def _refused(what):
    return WeightsError(
        f"refuses to load {ascii(what[:100])[1:-1]}: only tensors and plain values are read; "
        "save the state_dict alone: torch.save(model.state_dict(), path)"
    )


def _step_name(opcode):
    known = pickletools.code2op.get(opcode.decode("latin1"))
    return known.name if known else opcode.hex()


def _fill(dictionary, items):
    """Put (key, value) pairs into a dictionary; keys that name nothing here (long numbers, tuples) are left out.

    To hash those could take forever.
    """
    for key, value in items:
        if isinstance(key, str) or (isinstance(key, int) and abs(key) < 2**31):
            dictionary[key] = value


def _checked(dtype):
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise WeightsError(f"holds numbers of a type that is not read; save them as one of {', '.join(DTYPES)}")
    return dtype


# --- what stands in for the functions that pickles name -----------------------------------------------------------


def _dictionary(items=()):
    """collections.OrderedDict and Counter, from a dictionary or, as Python 2 wrote it, from a list of pairs."""
    dictionary = {}
    _fill(dictionary, items.items() if isinstance(items, dict) else items)
    return dictionary


def _tensor(storage, offset, shape, strides, requires_grad=False, hooks=None, metadata=None):
    """torch._utils._rebuild_tensor and _rebuild_tensor_v2."""
    return _tensor_of_dtype(storage, offset, shape, strides, requires_grad, hooks, storage.dtype, metadata)


def _tensor_of_dtype(storage, offset, shape, strides, requires_grad, hooks, dtype, metadata=None):
    """torch._utils._rebuild_tensor_v3."""
    if not isinstance(storage, Storage) or metadata:
        raise WeightsError("holds a tensor that is no plain view of numbers; save it as tensor.resolve_neg().clone()")
    return Tensor(storage, _checked(dtype), offset, shape, strides)


def _parameter(tensor, requires_grad, hooks, attributes=None):
    """torch._utils._rebuild_parameter and _rebuild_parameter_with_state: the tensor in it."""
    return tensor


def _same(value=()):
    """torch.Size and set: the tuple or list that they are made from."""
    return value


def _encode(text, encoding):
    """_codecs.encode: how Python 3 writes bytes in the protocols that Python 2 can read."""
    return text.encode("latin1")


NAMES = {
    "collections.OrderedDict": _dictionary,
    "collections.Counter": _dictionary,
    "__builtin__.set": _same,
    "builtins.set": _same,
    "_codecs.encode": _encode,
    "torch.Size": _same,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_dtype,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch.DoubleStorage": "float64",
    "torch.FloatStorage": "float32",
    "torch.HalfStorage": "float16",
    "torch.BFloat16Storage": "bfloat16",
    "torch.LongStorage": "int64",
    "torch.IntStorage": "int32",
    "torch.ShortStorage": "int16",
    "torch.CharStorage": "int8",
    "torch.ByteStorage": "uint8",
    "torch.BoolStorage": "bool",
    "torch.storage.UntypedStorage": "uint8",
    **{f"torch.{dtype}": dtype for dtype in DTYPES},
}


def _named(module, name):
    """What stands in for module.name; all that is not in NAMES is refused."""
    if not (isinstance(module, str) and isinstance(name, str)):
        raise WeightsError("its pickle is damaged: a name that is no text; download it again")
    if f"{module}.{name}" not in NAMES:
        raise _refused(f"{module}.{name}")
    return NAMES[f"{module}.{name}"]
