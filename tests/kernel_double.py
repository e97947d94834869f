"""Kernels on a CPU: the text that a GPU is given, compiled by g++ with another prelude, and run in one of several ways.

LOOPS       each phase of a block is a loop over its threads: fast, and what a barrier would separate stays apart
sanitized   the same, built to stop at an index outside its array, at an integer that overflows, and the like
fibres      each thread runs by itself from barrier to barrier, in any order, as a GPU may have it
"""

import contextlib
import ctypes
import functools
import hashlib
import os
import re
import subprocess
import sysconfig
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minires.backend.gpu import compiling, patches, source

_COMMAND = ("g++", "-O1", "-shared", "-fPIC", "-std=c++17", "-ffp-contract=off", "-Wall", "-Werror")
_UNUSED = ("-Wno-unused-variable", "-Wno-unused-but-set-variable", "-Wno-sign-compare", "-Wno-unused-function")
_BUILT = Path(__file__).resolve().parents[1] / ".pytest_cache" / "kernels"

# Of C's library just what kernels use: its own headers take g++ longer than the rest.
_COMMON = """
#define ONE(name) extern "C" double name(double); static inline float name(float x) { return __builtin_##name##f(x); }
ONE(sqrt) ONE(exp) ONE(log) ONE(tanh) ONE(fabs)
extern "C" double pow(double, double);
static inline float pow(float x, float y) { return __builtin_powf(x, y); }
#define INFINITY __builtin_inff()
#define NAN __builtin_nanf("")
static int BLOCK_X, BLOCK_Y, BLOCKS_X;
extern "C" void stand_at(int x, int y, int blocks) { BLOCK_X = x; BLOCK_Y = y; BLOCKS_X = blocks; }
#define KERNEL extern "C" void
#define ALIGNED alignas(16)
#define DEVICE inline
static inline unsigned bits_of(float x) { unsigned bits; __builtin_memcpy(&bits, &x, 4); return bits; }
static inline float of_bits(unsigned bits) { float x; __builtin_memcpy(&x, &bits, 4); return x; }
struct Half {
    _Float16 number;
    Half() = default;
    Half(float x) : number(x) {}
    operator float() const { return number; }
};
"""
_LOOPS = f"""{_COMMON}
#define SHARED static
#define SYNC
#define FOR_EACH_THREAD(t) for (int t = 0; t < {source.THREADS}; t++)
"""
# What is shared lies in a section of its own, and is no number until a block has written into it.
_FIBRES = f"""{_COMMON}
#include <ucontext.h>
#define SHARED static __attribute__((section("shared")))
#define SYNC swapcontext(&fibres[self], &scheduler)
#define FOR_EACH_THREAD(t) for (int t = self, once = 1; once; once = 0)
extern char __start_shared[] __attribute__((weak, visibility("hidden")));
extern char __stop_shared[] __attribute__((weak, visibility("hidden")));
static ucontext_t scheduler, fibres[{source.THREADS}];
static char stacks[{source.THREADS}][1 << 16];
static bool ended[{source.THREADS}];
static int order[{source.THREADS}], self, parted;
template <class Body> struct Life {{
    static const Body *body;
    static void live() {{ (*body)(); ended[self] = true; }}
}};
template <class Body> const Body *Life<Body>::body;
extern "C" void set_order(const int *given) {{ for (int t = 0; t < {source.THREADS}; t++) order[t] = given[t]; }}
extern "C" int have_parted() {{ return parted; }}
template <class Body> static void in_fibres(const Body &body) {{
    Life<Body>::body = &body;
    __builtin_memset(__start_shared, 255, __stop_shared - __start_shared);
    for (int t = 0; t < {source.THREADS}; t++) {{
        ended[t] = false;
        getcontext(&fibres[t]);
        fibres[t].uc_stack.ss_sp = stacks[t];
        fibres[t].uc_stack.ss_size = sizeof stacks[t];
        fibres[t].uc_link = &scheduler;
        makecontext(&fibres[t], Life<Body>::live, 0);
    }}
    for (int left = {source.THREADS}; left;) {{
        int before = left;
        for (int place = 0; place < {source.THREADS}; place++) {{
            self = order[place];
            if (ended[self]) continue;
            swapcontext(&scheduler, &fibres[self]);
            left -= ended[self];
        }}
        if (left && left != before) parted = 1;  // some threads wait at a barrier that others never reach
    }}
}}
"""


def by_rows(width: int, height: int) -> list[tuple[int, int]]:
    """All blocks of a grid."""
    return [(x, y) for y in range(height) for x in range(width)]


@dataclass(frozen=True)
class Way:
    """How kernels are built and run."""

    prelude: str = _LOOPS
    flags: tuple[str, ...] = ()
    blocks: Callable[[int, int], Sequence[tuple[int, int]]] = by_rows  # (width, height) -> those that run, in order
    threads: tuple[int, ...] = ()  # of a block, in the order in which they run; in fibres only
    constants: bool = True  # whether sizes of images stay constants of the text; else one build does for all

    @property
    def in_fibres(self) -> bool:
        """Whether each thread runs by itself."""
        return self.prelude is _FIBRES


LOOPS = Way()
_way = LOOPS


def sanitized(**options: object) -> Way:
    """As loops, in a process in which libasan.so has been loaded first."""
    flags = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")
    return Way(flags=flags, constants=False, **options)


def fibres(threads: Sequence[int], **options: object) -> Way:
    """In fibres, of which `threads` is the order."""
    return Way(_FIBRES, threads=tuple(threads), constants=False, **options)


@contextlib.contextmanager
def running(way: Way):
    """Kernels that are made within are built and run in this way."""
    global _way
    before, _way = _way, way
    compiling._compiled.cache_clear()
    try:
        yield
    finally:
        _way = before
        compiling._compiled.cache_clear()


class Module:
    """The kernels of a text, which must have the prelude that is replaced here."""

    def __init__(self, code: str) -> None:
        if not code.startswith(source.PRELUDE):
            raise ValueError("the double compiles kernels that begin with minires.backend.gpu.source.PRELUDE")
        self._way, text = _way, code.removeprefix(source.PRELUDE)
        self._sizes: dict[str, int] = {}
        if not self._way.constants:
            text = re.sub(r"^#define (\w+) (-?\d+)$", self._as_variable, text, flags=re.MULTILINE)
        if self._way.in_fibres:
            name, parameters = re.search(r"KERNEL (\w+)\((.*)\)", text).groups()
            names = ", ".join(re.findall(r"(\w+)(?:,|$)", parameters))
            text += f"KERNEL {name}_in_fibres({parameters}) {{ in_fibres([&] {{ {name}({names}); }}); }}\n"
        self._library = ctypes.CDLL(str(built(self._way.prelude + text, flags=self._way.flags)))

    def _as_variable(self, found):
        name, value = found.groups()
        if name not in patches._NAMES:
            return found[0]
        self._sizes[name] = int(value)
        return f'extern "C" {{ int {name}; }}'

    def launch(self, name: str, width: int, height: int, numbers: Sequence[object]) -> None:
        """Run a kernel's blocks, one after another."""
        function = getattr(self._library, f"{name}_in_fibres" if self._way.in_fibres else name)
        function.restype = None
        for size, value in self._sizes.items():
            ctypes.c_int.in_dll(self._library, size).value = value
        if self._way.in_fibres:
            self._library.set_order(np.array(self._way.threads, np.int32).ctypes.data_as(ctypes.c_void_p))
        for x, y in self._way.blocks(width, height):
            self._library.stand_at(x, y, width)
            function(*numbers)
        if self._way.in_fibres and self._library.have_parted():
            raise AssertionError(f"{name}: not all threads of a block come to the same barriers")


@functools.cache
def built(text: str, name: str = "kernel.so", flags: tuple[str, ...] = ()) -> Path:
    """The shared library of a text, compiled once for all processes of a kind of machine; a browser is another kind."""
    command = [*_COMMAND, *_UNUSED, *flags]
    made_of = "\0".join([sysconfig.get_platform(), *command, text])
    library = _BUILT / hashlib.sha256(made_of.encode()).hexdigest()[:32] / name
    library.parent.mkdir(parents=True, exist_ok=True)
    if not library.exists():
        with tempfile.TemporaryDirectory(dir=_BUILT) as folder:
            code, made = Path(folder, "kernel.cpp"), Path(folder, "kernel.so")
            code.write_text(text)
            done = subprocess.run([*command, str(code), "-o", str(made)], capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"g++ does not compile this kernel:\n{done.stderr}\n{text}")
            os.replace(made, library)
    return library
