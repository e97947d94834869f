"""What each step of a pickle does to the machine in `minires.pickles`, and how much of its time and memory it takes.

Steps that are in neither table are refused: they name objects by numbers that are agreed on elsewhere.

Source: Python, Lib/pickletools.py.
"""

import codecs
import pickle
import pickletools

NAMES = {op.code.encode("latin1"): op.name for op in pickletools.opcodes}
COST_OF_ENTRY = 6  # an entry of a dictionary that is copied: as many simple steps take as much memory
_CONTAINER, _MARK, _TEXT = 6, 2, 3

VALUES = {  # steps that put one object on the stack
    pickle.NONE: lambda machine: None,
    pickle.NEWTRUE: lambda machine: True,
    pickle.NEWFALSE: lambda machine: False,
    pickle.BININT1: lambda machine: machine.read(1)[0],
    pickle.BININT2: lambda machine: machine.number("<H"),
    pickle.BININT: lambda machine: machine.number("<i"),
    pickle.INT: lambda machine: int(machine.line()),  # True is 01
    pickle.LONG: lambda machine: int(machine.line().removesuffix(b"L")),
    pickle.LONG1: lambda machine: int.from_bytes(machine.counted("<B"), "little", signed=True),
    pickle.LONG4: lambda machine: int.from_bytes(machine.counted("<I"), "little", signed=True),
    pickle.FLOAT: lambda machine: float(machine.line()),
    pickle.BINFLOAT: lambda machine: machine.number(">d"),
    pickle.UNICODE: lambda machine: machine.line(machine.size).decode("raw_unicode_escape"),
    pickle.SHORT_BINUNICODE: lambda machine: machine.counted("<B").decode(errors="surrogatepass"),
    pickle.BINUNICODE: lambda machine: machine.counted("<I").decode(errors="surrogatepass"),
    pickle.BINUNICODE8: lambda machine: machine.counted("<Q").decode(errors="surrogatepass"),
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
    pickle.FROZENSET: lambda machine: machine.since_mark(),
    pickle.EMPTY_TUPLE: lambda machine: (),
    pickle.LIST: lambda machine: machine.since_mark(),
    pickle.TUPLE: lambda machine: tuple(machine.since_mark()),
    pickle.TUPLE1: lambda machine: tuple(machine.last(1)),
    pickle.TUPLE2: lambda machine: tuple(machine.last(2)),
    pickle.TUPLE3: lambda machine: tuple(machine.last(3)),
    pickle.DUP: lambda machine: machine.stack[-1],
    pickle.GET: lambda machine: machine.memo[int(machine.line())],
    pickle.BINGET: lambda machine: machine.memo[machine.number("<B")],
    pickle.LONG_BINGET: lambda machine: machine.memo[machine.number("<I")],
    pickle.GLOBAL: lambda machine: machine.named(machine.line().decode(), machine.line().decode()),
    pickle.STACK_GLOBAL: lambda machine: machine.named(*machine.last(2)),
    pickle.REDUCE: lambda machine: machine.call(*machine.last(2)),
    pickle.NEWOBJ: lambda machine: machine.call(*machine.last(2)),
    pickle.NEWOBJ_EX: lambda machine: machine.object_with_names(),
    pickle.INST: lambda machine: machine.instance(),
    pickle.OBJ: lambda machine: machine.object(),
    pickle.BINPERSID: lambda machine: machine.outside(),
}
CHANGES = {  # steps that change what is there
    pickle.PROTO: lambda machine: machine.read(1),
    pickle.FRAME: lambda machine: machine.read(8),
    pickle.POP: lambda machine: machine.pop(),
    pickle.POP_MARK: lambda machine: machine.since_mark(),
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
OF_OBJECTS = frozenset((pickle.POP, pickle.POP_MARK, pickle.DUP, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX))
COSTS = {  # steps that count as more than one
    **dict.fromkeys((pickle.EMPTY_DICT, pickle.DICT, pickle.EMPTY_LIST, pickle.EMPTY_SET, pickle.LIST), _CONTAINER),
    **dict.fromkeys((pickle.FROZENSET, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3), _CONTAINER),
    **dict.fromkeys((pickle.REDUCE, pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.INST, pickle.OBJ), 2 * _CONTAINER),
    **dict.fromkeys((pickle.GLOBAL, pickle.STACK_GLOBAL), 4 * _CONTAINER),
    **{pickle.MEMOIZE: 8, pickle.LONG_BINPUT: 4, pickle.PUT: 4},
    **dict.fromkeys((pickle.UNICODE, pickle.SHORT_BINUNICODE, pickle.BINUNICODE, pickle.BINUNICODE8), _TEXT),
    **dict.fromkeys((pickle.STRING, pickle.SHORT_BINSTRING, pickle.BINSTRING), 6 * _TEXT),
    pickle.MARK: _MARK,
}
