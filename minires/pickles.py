"""Reads the pickles in files of weights and of images: the steps that describe plain values, and no others.

A pickle is a program for a machine with a stack, and a hostile one has the machine call `os.system`. Python's own
machine cannot be bounded either: a tuple of two tuples of two tuples ..., as the key of a dictionary, keeps it busy
for ever in 110 bytes. The machine below knows the steps that build values (`minires.pickle_steps`), and calls what
stands in the table that its caller gives it. All else it refuses by name or, where the caller wants only a part of
what is in the file, puts a LeftOut in its place: a name and what it was given, which does nothing. Nothing is imported.
The machine takes at most MAX_STEPS steps, each of which makes one object or copies bytes of the file: time and memory
have bounds.

Source: Python, Lib/pickletools.py.
"""

import pickle
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any, BinaryIO

from minires.pickle_steps import CHANGES, COST_OF_ENTRY, COSTS, NAMES, OF_OBJECTS, VALUES
from minires.wording import shown

MAX_STEPS = 2_000_000  # a step may count as several; a checkpoint of ResNet-152 with Adam's state takes 400,000
MAX_STEPS_OF_DATA = 250_000  # where nothing may be left out; a batch of CIFAR-10 takes 20,085
# What no honest file needs: who names one of these is refused, though it would not be called.
HARMFUL_MODULES = frozenset(
    ("os", "posix", "nt", "sys", "subprocess", "shutil", "socket", "pty", "ctypes", "importlib", "runpy", "marshal")
)
HARMFUL = frozenset(
    f"builtins.{name}" for name in ("eval", "exec", "execfile", "compile", "open", "input", "breakpoint", "__import__")
)


class Refused(pickle.UnpicklingError):
    """A pickle that asks for more than plain values; the message says for what, and the caller adds the cure."""


class LeftOut:
    """What stands where a pickle wants an object, class or function that is not known here.

    name      "module.name" of the class or function
    args      what it was called with: a tuple
    content   its attributes and entries: {key: value}, a list's under their numbers
    """

    __slots__ = ("args", "content", "name")

    def __init__(self, name: str, args: tuple = ()) -> None:
        self.name, self.args = name, args
        self.content: dict[Any, Any] = {}

    def __call__(self, *args):
        return LeftOut(self.name, args)

    def __setitem__(self, key, value):
        self.content[key] = value

    def __setstate__(self, state):
        """Attributes: a dictionary, or a pair of one and another for slots; all else is one attribute, `state`."""
        parts = state if isinstance(state, tuple) and len(state) == 2 else (state,)
        for part in parts:
            fill(self, part.items() if isinstance(part, dict) else [("state", part)])

    def extend(self, items: Iterable[Any]) -> None:
        """Append to what its class made a kind of list."""
        fill(self, enumerate(items, start=len(self.content)))


def read_pickle(
    file: BinaryIO,
    size: int,
    names: Mapping[str, Any],
    kinds: str,
    string: Callable[[bytes], Any] = bytes,
    stored: Callable[[Any], Any] | None = None,
    leave_out: bool = False,
) -> Any:
    """-> what the pickle at the position of an open file of `size` bytes builds.

    It is made of dictionaries, lists (a set is one), tuples, numbers, text, bytes and None, and of what `names` gives.
    names: {"module.name": what stands in for it}; one with a `__setstate__` is given its state, as in Python.
    kinds: what is read, in words, for the sentence of a refusal.
    string: function of the bytes of a Python 2 string.   stored: function of what stands for an object outside.
    leave_out: whether a name that is not in the table becomes a LeftOut; HARMFUL ones never do. Then the steps that
    build objects are taken, and MAX_STEPS of them rather than MAX_STEPS_OF_DATA.
    Raises Refused for whatever else it is asked to build, and any exception for damaged bytes.
    """
    return _Machine(file, size, names, kinds, string, stored, leave_out).run()


class _Machine:
    """A stack, the places on it where something began, what was put aside by number, and the steps taken."""

    def __init__(self, file, size, names, kinds, string, stored, leave_out):
        self.file, self.size, self.names, self.kinds = file, size, names, kinds
        self.string, self.stored, self.leave_out = string, stored, leave_out
        self.stack, self.marks, self.memo, self.steps, self.copied = [], [], {}, 0, 0

    def run(self):
        while (code := self.read(1)) != pickle.STOP:
            self.count(COSTS.get(code, 1) if self.leave_out else 1)
            if code in OF_OBJECTS and not self.leave_out:
                raise self.refused(f"what the step {NAMES[code]} of its pickle builds")
            if code in VALUES:
                self.stack.append(VALUES[code](self))
            elif code in CHANGES:
                CHANGES[code](self)
            else:
                raise self.refused(f"what the step {NAMES.get(code, code.hex())} of its pickle builds")
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

    def pop(self):
        """Take away the uppermost object, or the last mark if nothing stands above it."""
        (self.marks if self.marks and self.marks[-1] == len(self.stack) else self.stack).pop()

    def keep(self, place):
        self.memo[place] = self.stack[-1]

    def append(self, items):
        self.stack[-1].extend(items)

    def set_items(self, items):
        fill(self.stack[-1], self.pairs(items))

    def dictionary(self):
        """A dictionary of what is above the last mark: key, value, key, value, ..."""
        return fill({}, self.pairs(self.since_mark()))

    def pairs(self, items):
        """The keys and values that are in a row in `items`, which are counted first."""
        self.count(2 * len(items) if self.leave_out else 0)
        keys_and_values = iter(items)
        return zip(keys_and_values, keys_and_values, strict=True)

    def set_state(self):
        """Give an object its state; attributes, such as the versions beside a state_dict, are left out."""
        state = self.stack.pop()
        if hasattr(self.stack[-1], "__setstate__"):
            self.count_items([state, *state] if isinstance(state, tuple) and len(state) == 2 else [state])
            self.stack[-1].__setstate__(state)

    def named(self, module, name):
        """What stands in for module.name; of what is not in the table, a LeftOut or a refusal."""
        if not (isinstance(module, str) and isinstance(name, str)):
            raise pickle.UnpicklingError("its pickle names something by what is no text")
        full = f"{module}.{name}"
        if full in self.names:
            return self.names[full]
        plain = full.replace("__builtin__.", "builtins.", 1)
        if not self.leave_out or plain in HARMFUL or module.split(".")[0] in HARMFUL_MODULES:
            raise self.refused(full)
        return LeftOut(full[:100])

    def instance(self):
        """INST: the class's name in two lines, its arguments above the last mark."""
        function = self.named(self.line().decode(), self.line().decode())
        return self.call(function, tuple(self.since_mark()))

    def object(self):
        """OBJ: a class and its arguments above the last mark."""
        function, *arguments = self.since_mark()
        return self.call(function, tuple(arguments))

    def object_with_names(self):
        """NEWOBJ_EX: a class, its arguments, and those that have names."""
        function, arguments, named = self.last(3)
        self.count_items([named])
        made = self.call(function, arguments)
        return fill(made, named.items()) if isinstance(made, LeftOut) else made

    def outside(self):
        identity = self.stack.pop()
        if self.stored is None:
            raise self.refused("an object outside of its pickle")
        return self.stored(identity)

    def call(self, function, arguments):
        """The result of a function of the table; copies of its arguments take as long as those are."""
        if not isinstance(arguments, tuple):
            raise pickle.UnpicklingError("its pickle calls a function without arguments")
        self.count(len(arguments))
        self.count_items(arguments)
        self.copied += sum(len(argument) for argument in arguments if isinstance(argument, str))
        if self.copied > self.size:
            raise Refused(f"its pickle copies more than its {self.size:,} bytes")
        return function(*arguments)

    def count_items(self, containers):
        """Count what copies of these would take."""
        self.count(COST_OF_ENTRY * sum(len(items) for items in containers if isinstance(items, (list, tuple, dict))))

    def count(self, steps):
        self.steps += steps
        most = MAX_STEPS if self.leave_out else MAX_STEPS_OF_DATA
        if self.steps > most:
            raise Refused(f"its pickle takes more than {most:,} steps")

    def refused(self, what):
        return Refused(f"refuses to load {shown(what)}: only {self.kinds} are read")


def fill(dictionary: Any, items: Iterable[tuple[Any, Any]]) -> Any:
    """Put (key, value) pairs into a dictionary or a LeftOut; keys that name nothing here (long numbers, tuples) are
    left out, since to hash those could take forever. Returns what it was given.
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
