"""Reads the pickles in files of weights and of images: the steps that describe plain values, and no others.

A pickle is a program for a machine with a stack, and a hostile one has the machine call `os.system`. Python's own
machine cannot be bounded either: a tuple of two tuples of two tuples ..., as the key of a dictionary, keeps it busy
for ever in 110 bytes. The machine below knows the steps that build plain values, and calls what stands in the table
that its caller gives it; all else it refuses by name. It takes at most MAX_STEPS steps, each of which makes one object
or copies bytes of the file: time and memory have bounds.

Source: Python, Lib/pickletools.py.
"""

import codecs
import pickle
import pickletools
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any, BinaryIO

MAX_STEPS = 250_000  # a checkpoint of ResNet-152 with Adam's state takes 71,444, a batch of CIFAR-10 20,085


class Refused(pickle.UnpicklingError):
    """A pickle that asks for more than plain values; the message says for what, and the caller adds the cure."""


def read_pickle(
    file: BinaryIO,
    size: int,
    names: Mapping[str, Any],
    kinds: str,
    string: Callable[[bytes], Any] = bytes,
    stored: Callable[[Any], Any] | None = None,
) -> Any:
    """-> what the pickle at the position of an open file of `size` bytes builds.

    It is made of dictionaries, lists (a set is one), tuples, numbers, text, bytes and None, and of what `names` gives.
    names: {"module.name": what stands in for it}; one with a `__setstate__` is given its state, as in Python.
    kinds: what is read, in words, for the sentence of a refusal.
    string: function of the bytes of a Python 2 string.   stored: function of what stands for an object outside.
    Raises Refused for whatever else it is asked to build, and any exception for damaged bytes.
    """
    return _Machine(file, size, names, kinds, string, stored).run()


class _Machine:
    """A stack, the places on it where something began, what was put aside by number, and the steps taken."""

    def __init__(self, file, size, names, kinds, string, stored):
        self.file, self.size, self.names, self.kinds = file, size, names, kinds
        self.string, self.stored = string, stored
        self.stack, self.marks, self.memo, self.steps, self.copied = [], [], {}, 0, 0

    def run(self):
        while (code := self.read(1)) != pickle.STOP:
            self.count(1)
            if code in _VALUES:
                self.stack.append(_VALUES[code](self))
            elif code in _CHANGES:
                _CHANGES[code](self)
            else:
                known = {op.code: op for op in pickletools.opcodes}.get(code.decode("latin1"))
                raise self.refused(f"what the step {known.name if known else code.hex()} of its pickle builds")
        return self.stack.pop()

    def read(self, count):
        """The next bytes of the file, all of them."""
        data = self.file.read(count) if count <= self.size else b""
        if len(data) < count:
            raise pickle.UnpicklingError("its pickle does not end")
        return data

    def number(self, layout):
        return struct.unpack(layout, self.read(struct.calcsize(layout)))[0]

    def counted(self, layout):
        """The next bytes of the file, after the number of them."""
        return self.read(self.number(layout))

    def line(self, most=256):
        return self.file.readline(most).removesuffix(b"\n")

    def last(self, count):
        """The uppermost `count` objects, taken from the stack."""
        if len(self.stack) < count:
            raise pickle.UnpicklingError("its pickle takes from an empty stack")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def since_mark(self):
        """All objects above the last mark, taken from the stack."""
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def keep(self, place):
        self.memo[place] = self.stack[-1]

    def append(self, items):
        self.stack[-1].extend(items)

    def set_items(self, items):
        fill(self.stack[-1], zip(items[::2], items[1::2], strict=True))

    def dictionary(self):
        """A dictionary of what is above the last mark: key, value, key, value, ..."""
        items = self.since_mark()
        return fill({}, zip(items[::2], items[1::2], strict=True))

    def set_state(self):
        """Give an object its state; attributes, such as the versions beside a state_dict, are left out."""
        state = self.stack.pop()
        if hasattr(self.stack[-1], "__setstate__"):
            self.stack[-1].__setstate__(state)

    def named(self, module, name):
        """What stands in for module.name; all that is not in the table is refused."""
        if not (isinstance(module, str) and isinstance(name, str)):
            raise pickle.UnpicklingError("its pickle names something by what is no text")
        if f"{module}.{name}" not in self.names:
            raise self.refused(f"{module}.{name}")
        return self.names[f"{module}.{name}"]

    def instance(self):
        raise self.refused(f"{self.line().decode()}.{self.line().decode()}")

    def outside(self):
        identity = self.stack.pop()
        if self.stored is None:
            raise self.refused("an object outside of its pickle")
        return self.stored(identity)

    def call(self, function, arguments):
        """The result of a function of the table; copies of its arguments take as long as those are."""
        if not isinstance(arguments, tuple):
            raise pickle.UnpicklingError("its pickle calls a function without arguments")
        self.count(sum(len(argument) for argument in arguments if isinstance(argument, (list, dict))))
        self.copied += sum(len(argument) for argument in arguments if isinstance(argument, str))
        if self.copied > self.size:
            raise Refused(f"its pickle copies more than its {self.size:,} bytes")
        return function(*arguments)

    def count(self, steps):
        self.steps += steps
        if self.steps > MAX_STEPS:
            raise Refused(f"its pickle takes more than {MAX_STEPS:,} steps")

    def refused(self, what):
        return Refused(f"refuses to load {ascii(what[:100])[1:-1]}: only {self.kinds} are read")


def fill(dictionary: dict, items: Iterable[tuple[Any, Any]]) -> dict:
    """Put (key, value) pairs into a dictionary; keys that name nothing here (long numbers, tuples) are left out.

    To hash those could take forever. Returns the dictionary.
    """
    for key, value in items:
        if isinstance(key, (str, bytes)) or (isinstance(key, int) and abs(key) < 2**31):
            dictionary[key] = value
    return dictionary


def encode(text: object, encoding: object) -> bytes:
    """_codecs.encode: how Python 3 writes bytes in the protocols that Python 2 can read."""
    if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
        raise Refused("refuses to encode text but to latin1")
    return text.encode("latin1")


_VALUES = {  # steps that put one object on the stack
    pickle.NONE: lambda machine: None,
    pickle.NEWTRUE: lambda machine: True,
    pickle.NEWFALSE: lambda machine: False,
    pickle.BININT1: lambda machine: machine.read(1)[0],
    pickle.BININT2: lambda machine: machine.number("<H"),
    pickle.BININT: lambda machine: machine.number("<i"),
    pickle.INT: lambda machine: int(machine.line()),  # True is 01
    pickle.LONG: lambda machine: int(machine.line().removesuffix(b"L")),
    pickle.LONG1: lambda machine: int.from_bytes(machine.counted("<B"), "little", signed=True),
    pickle.FLOAT: lambda machine: float(machine.line()),
    pickle.BINFLOAT: lambda machine: machine.number(">d"),
    pickle.UNICODE: lambda machine: machine.line(machine.size).decode("raw_unicode_escape"),
    pickle.SHORT_BINUNICODE: lambda machine: machine.counted("<B").decode(),
    pickle.BINUNICODE: lambda machine: machine.counted("<I").decode(),
    pickle.STRING: lambda machine: machine.string(codecs.escape_decode(machine.line(machine.size)[1:-1])[0]),
    pickle.SHORT_BINSTRING: lambda machine: machine.string(machine.counted("<B")),
    pickle.BINSTRING: lambda machine: machine.string(machine.counted("<I")),
    pickle.SHORT_BINBYTES: lambda machine: machine.counted("<B"),
    pickle.BINBYTES: lambda machine: machine.counted("<I"),
    pickle.BINBYTES8: lambda machine: machine.counted("<Q"),
    pickle.BYTEARRAY8: lambda machine: machine.counted("<Q"),
    pickle.EMPTY_DICT: lambda machine: {},
    pickle.DICT: lambda machine: machine.dictionary(),
    pickle.EMPTY_LIST: lambda machine: [],
    pickle.EMPTY_SET: lambda machine: [],
    pickle.EMPTY_TUPLE: lambda machine: (),
    pickle.LIST: lambda machine: machine.since_mark(),
    pickle.TUPLE: lambda machine: tuple(machine.since_mark()),
    pickle.TUPLE1: lambda machine: tuple(machine.last(1)),
    pickle.TUPLE2: lambda machine: tuple(machine.last(2)),
    pickle.TUPLE3: lambda machine: tuple(machine.last(3)),
    pickle.GET: lambda machine: machine.memo[int(machine.line())],
    pickle.BINGET: lambda machine: machine.memo[machine.number("<B")],
    pickle.LONG_BINGET: lambda machine: machine.memo[machine.number("<I")],
    pickle.GLOBAL: lambda machine: machine.named(machine.line().decode(), machine.line().decode()),
    pickle.STACK_GLOBAL: lambda machine: machine.named(*machine.last(2)),
    pickle.REDUCE: lambda machine: machine.call(*machine.last(2)),
    pickle.BINPERSID: lambda machine: machine.outside(),
}
_CHANGES = {  # steps that change what is there
    pickle.PROTO: lambda machine: machine.read(1),
    pickle.FRAME: lambda machine: machine.read(8),
    pickle.INST: lambda machine: machine.instance(),
    pickle.MARK: lambda machine: machine.marks.append(len(machine.stack)),
    pickle.APPEND: lambda machine: machine.append(machine.last(1)),
    pickle.APPENDS: lambda machine: machine.append(machine.since_mark()),
    pickle.ADDITEMS: lambda machine: machine.append(machine.since_mark()),
    pickle.SETITEM: lambda machine: machine.set_items(machine.last(2)),
    pickle.SETITEMS: lambda machine: machine.set_items(machine.since_mark()),
    pickle.PUT: lambda machine: machine.keep(int(machine.line())),
    pickle.BINPUT: lambda machine: machine.keep(machine.number("<B")),
    pickle.LONG_BINPUT: lambda machine: machine.keep(machine.number("<I")),
    pickle.MEMOIZE: lambda machine: machine.keep(len(machine.memo)),
    pickle.BUILD: lambda machine: machine.set_state(),
}
