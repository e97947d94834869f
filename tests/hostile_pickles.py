"""Pickles and zip files written at random by rules: most of them are well-formed, and none of them is honest.

What is spoilt byte by byte ends at the first step. A Program keeps to the rules of the machine, so that it comes far:
values within values and within themselves, tensors of any shape over any storage, functions with what they were never
meant for, and structures that are small in the file and endless to walk.
"""

import io
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable

import numpy as np
from weights_cases import CALLS, WAYS, call, leaving, named, number, storage, tensor, text

from minires.pretrained.torch_pickles import NAMES

WORDS = (
    "a", "a.b", "0", "", "state_dict", "model", "module.fc.weight", "optimizer", "x" * 2000, "a\x1b[2J", "\u202e", "猫",
    "\\", "\n", "é" * 300, "...", "../../etc/passwd", "_parameters", "_buffers", "_modules", "arch", "classes", "{}",
)  # fmt: skip
COUNTS = (0, 1, 2, 3, 4, 12, 13, -1, 2**31 - 1, 2**31, 2**63 - 1, 2**63, 10**12, 10**40)
KINDS = ("Float", "Half", "BFloat16", "Double", "Long", "Byte", "Bool", "ComplexFloat", "QInt8", "None")
REPEATS = (2, 2, 2, 10, 10, 100, 2000, 20_000)
ARRAY = pickle.dumps(np.arange(6, dtype="f4"), 2)[2:-1]
MOST = 300_000  # bytes of a program's steps: more are not repeated


class Program:
    """Steps of a pickle, drawn from a generator.

    sentinel: the file that hostile calls would write.   plain: arrays of NumPy where PyTorch's files have tensors.
    """

    def __init__(self, rng: np.random.Generator, sentinel: object, plain: bool = False) -> None:
        self.rng, self.kept, self.arrays_only = rng, 0, plain
        self.calls = leaving(sentinel)
        self.leaves: list[Callable[[], bytes]] = [self.plain, self.plain, self.word, self.again]
        self.nodes = 2 * [
            self.group,
            self.group,
            self.chain,
            self.many,
            self.tensor,
            self.called,
            self.built,
            self.keeping,
        ]
        self.nodes += [self.array, self.harmful]

    def one_of(self, items):
        return items[self.rng.integers(len(items))]

    def value(self, depth: int = 3) -> bytes:
        """Steps that put one value on the stack, or would."""
        return self.one_of(self.leaves if depth <= 0 else self.leaves + self.nodes * 2)(*([depth] if depth > 0 else []))

    def plain(self, depth=0):
        count = self.one_of(COUNTS)
        long = 10 ** self.one_of((2, 5))
        return self.one_of((
            b"N", b"\x88", b"\x89", b"}", b"]", b")", b"\x8f", b"K\x07",
            b"G\x7f\xf0" + bytes(6),
            b"G\x7f\xf8" + bytes(6),
            number(count), b"I%d\n" % (count % 10**9), b"I01\n", b"F1e400\n", b"Fnan\n",
            b"\x8b" + struct.pack("<I", long) + b"\x7f" * long, b"L" + b"9" * (long // 100) + b"L\n",
            b"C\x03abc", b"B" + struct.pack("<I", long) + bytes(long), b"U\x03abc", b"U\x02\xff\xfe", b"S'a\\x1b'\n",
        ))  # fmt: skip

    def word(self, depth=0):
        word = self.one_of(WORDS)
        raw = word.encode()
        ways = [text(word), b"T" + struct.pack("<I", len(raw)) + raw, b"V" + word.encode("raw_unicode_escape") + b"\n"]
        return self.one_of([*ways, b"X\x03\0\0\0\xed\xa0\x80"])

    def again(self, depth=0):
        """What was kept before, or the uppermost value once more."""
        return self.one_of((b"2", b"h" + bytes([int(self.rng.integers(self.kept + 1)) % 256]), b"N", b"h\0"))

    def keeping(self, depth):
        steps = self.value(depth - 1) + b"q" + bytes([self.kept % 256])
        self.kept += 1
        return steps

    def group(self, depth):
        inside = [self.value(depth - 1) for _ in range(self.rng.integers(4))]
        pairs = b"".join(self.one_of((self.word, self.word, self.word, self.value))() + item for item in inside)
        within = b"".join(inside)
        more = self.one_of((b"", b"q\0"))  # before what it holds, so that this may hold it
        return self.one_of((
            b"}" + more + b"(" + pairs + b"u", b"(" + pairs + b"d", b"]" + more + b"(" + within + b"e",
            b"(" + within + b"t", b"(" + within + b"l", b"\x8f(" + within + b"\x90", b"(" + within + b"\x91",
            named("collections", "OrderedDict") + b")R" + more + b"(" + pairs + b"u",
        ))  # fmt: skip

    def chain(self, depth):
        """One value within the other, each twice in the next: as deep as you like in a few bytes."""
        step = self.one_of((b"2\x86", b"\x85", b"q\xffh\xff\x86", b"2\x862\x86", b"q\xff]h\xffah\xffa", b"2q\xff0\x85"))
        start = self.value(depth - 1)
        return start + step * min(self.one_of((5, 30, 60, 900, 5000)), max(1, MOST // len(step)))

    def many(self, depth):
        """Values of one kind, many times, and what is done with all of them."""
        what = self.one_of((self.value, self.plain, self.word, self.tensor))(depth - 1)
        what += self.one_of((b"", b"", b"0", b"\x94", b"(", b"\x85"))
        rows = what * min(self.one_of(REPEATS), max(1, MOST // max(1, len(what))))
        if self.rng.random() < 0.3:  # each under a name of its own
            count = min(2000, max(1, MOST // (8 + len(what))))
            rows = b"".join(text(f"{n}") + what for n in range(count))
        return self.one_of((b"(" + rows + b"t", b"](" + rows + b"e", b"}(" + rows + b"u", b"(" + rows + b"d", rows))

    def storage(self):
        key = self.one_of(("0", "0", "1", "1", "2", "../0", ""))
        view = b"(" + text("v") + number(self.one_of(COUNTS)) + number(4) + b"t"
        kind = self.one_of(("Float", self.one_of(KINDS))) + "Storage"
        return storage(key, self.one_of(COUNTS), kind, self.one_of((b"", b"", b"", b"N", view)))

    def shape(self):
        """Steps of a tuple of numbers; often a shape that would fit."""
        fits = self.one_of(((12,), (4, 3), (2,), (1,), (), (3, 1)))
        odd = tuple(self.one_of(COUNTS) for _ in range(self.one_of((1, 2, 3, 33))))
        values = self.one_of((fits, fits, fits, odd))
        return values, b"(" + b"".join(map(number, values)) + b"t"

    def tensor(self, depth=0):
        if self.arrays_only:
            return self.array(depth)
        way = self.rng.integers(4)
        shape, steps = self.shape()
        if way == 0:
            return tensor(self.storage(), shape, self.one_of((None, (0,) * len(shape), (1,) * len(shape))))
        if way == 1:
            made = tensor(storage("0", 12), (4, 3)), tensor(storage("1", 2), (2,))
            return self.one_of(made)
        parts = [self.storage(), number(self.one_of(COUNTS)), steps, self.shape()[1], b"\x89", b"N"]
        dtype = self.one_of(([], [named("torch", self.one_of(("float16", "bfloat16", "int8", "float8_e5m2", "none")))]))
        parts = [self.value(1) if self.rng.random() < 0.1 else part for part in [*parts, *dtype]]
        name = "_rebuild_tensor_v3" if dtype else self.one_of(("_rebuild_tensor_v2", "_rebuild_tensor"))
        return named("torch._utils", name) + b"(" + b"".join(parts) + b"tR"

    def array(self, depth):
        shape, steps = self.shape()
        name = self.one_of((b"f4", b"i8", b"u1", b"O8", b"V4", b"f8", b"b1", b"U4", b"x"))
        dtype = named("numpy", "dtype") + b"U" + bytes([len(name)]) + name + b"K\0K\1\x87R(K\3U\1"
        dtype += self.one_of((b"<", b">", b"|", b"?")) + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
        size = self.one_of((2, 12, 48, 96))
        data = self.one_of((b"U", b"C")) + bytes([size]) + self.rng.bytes(size)
        state = [b"K\1", steps, dtype, self.one_of((b"\x88", b"\x89")), data]
        state = [self.value(1) if self.rng.random() < 0.05 else part for part in state]
        made = named("numpy.core.multiarray", "_reconstruct") + named("numpy", "ndarray") + b"K\0\x85U\1b\x87R"
        return made + b"(" + b"".join(state) + b"tb"

    def called(self, depth):
        """A function of the table, called with anything, in any way."""
        names = list(NAMES)
        function = named(*self.one_of(names).rpartition(".")[::2])
        inside = b"".join(self.value(depth - 1) for _ in range(self.rng.integers(5)))
        arguments = b"(" + inside + b"t"
        return self.one_of((
            function + arguments + b"R", function + arguments + b"\x81", function + arguments + b"}\x92",
            b"(" + function + inside + b"o", function, function + self.value(depth - 1) + b"R",
            self.value(depth - 1) + arguments + b"R", text("a") + text("b") + b"\x93" + arguments + b"R",
            self.value(depth - 1) + b"Q",
        ))  # fmt: skip

    def built(self, depth):
        """An object of an unknown class, with a state of anything."""
        made = self.one_of((named("my.models", "Net\x1b[2J"), named("torch.nn", "Module"), named("collections", "x")))
        parts = b"".join(text(name) + self.value(depth - 1) for name in ("_parameters", "_buffers", "_modules"))
        state = self.one_of(
            (b"}(" + parts + b"u", self.value(depth - 1), b"}N\x86", self.value(1) + self.value(1) + b"\x86")
        )
        return self.one_of((self.value(depth - 1), made + b")\x81", made + b")R")) + state + b"b"

    def harmful(self, depth):
        module, name = self.one_of(CALLS)
        return call(self.one_of(WAYS), module, name, self.calls[module, name])

    def whole(self, arch: str = "resnet20") -> bytes:
        """A pickle of a dictionary with tensors in it and whatever else."""
        good = b""
        for name, key, count, shape in (("a", "0", 12, (4, 3)), ("b", "1", 2, (2,))):
            if self.rng.random() < 0.7:
                good += text(name) + (ARRAY if self.arrays_only else tensor(storage(key, count), shape))
        odd = b"".join(self.word() + self.value() for _ in range(self.rng.integers(1, 4)))
        return b"\x80\x02}(" + text("arch") + text(arch) + text("state_dict") + b"}(" + good + b"u" + odd + b"u."


# --- zip files ------------------------------------------------------------------------------------------------------

LIES = (0, 1, 2, 8, 20, 0xFFFF, 2**31, 2**32 - 1)


def lying_zip(entries: Iterable[tuple[str, bytes]], rng: np.random.Generator, lies: float) -> bytes:
    """A zip file of (name, content); each number in it is a lie with a probability of `lies`."""

    def said(value, most):
        return (int(rng.choice(LIES)) if rng.random() < lies else value) & most

    body, directory, count = b"", b"", 0
    for name, content in entries:
        method = 8 if rng.random() < 0.2 else 0
        packed = content
        if method:
            deflate = zlib.compressobj(1, wbits=-15)
            packed = deflate.compress(content) + deflate.flush()
        start = len(body)
        raw = name.encode()
        flags = said(0x800, 0xFFFF) if lies else 0x800
        sizes = [said(zlib.crc32(content), 2**32 - 1), said(len(packed), 2**32 - 1), said(len(content), 2**32 - 1)]
        extra = struct.pack("<HHQQ", 1, 16, said(len(content), 2**32 - 1), 2**63) if rng.random() < lies else b""
        common = [flags, said(method, 0xFFFF), 0, 0x21, *sizes, said(len(raw), 0xFFFF)]
        body += struct.pack("<4s5H3I2H", b"PK\3\4", 20, *common, len(extra)) + raw + extra
        body += packed if rng.random() >= lies else packed[: len(packed) // 2]
        where = [0, 0, 0, 0, said(start, 2**32 - 1)]
        directory += struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, *common, len(extra), *where) + raw + extra
        count += 1
    end = [said(0, 0xFFFF), 0, said(count, 0xFFFF), said(count, 0xFFFF), said(len(directory), 2**32 - 1)]
    more = b""
    if rng.random() < lies:  # a record of 64 bits that contradicts the other
        at = len(body) + len(directory)
        record = [44, 45, 45, 0, 0, said(count, 2**32 - 1), count, said(len(directory), 2**32 - 1), len(body)]
        more = struct.pack("<4sQ2H2I4Q", b"PK\6\6", *record) + struct.pack("<4sIQI", b"PK\6\7", 0, at, 1)
    return body + directory + more + struct.pack("<4s4H2IH", b"PK\5\6", *end, said(len(body), 2**32 - 1), 0)


def bomb(rng: np.random.Generator) -> bytes:
    """A zip file whose pickle or storage is zeros, a thousand times as long unpacked."""
    file, length = io.BytesIO(), int(rng.choice([10**5, 10**5, 10**5, 10**7]))
    where = str(rng.choice(["a/data.pkl", "a/data/0", "a/byteorder"]))
    fill = bytes([int(rng.choice([0, 0x28, 0x4E, 0x5D, 0x7D, 0x88, 0x94]))])
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in {"a/data.pkl", where}:
            archive.writestr(name, (b"\x80\x02" if name.endswith("pkl") else b"") + fill * length)
    return file.getvalue()
