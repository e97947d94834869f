"""A stand-in for CuPy on machines without a GPU: `sys.modules["cupy"] = cupy_double`.

Its arrays hold their values in NumPy arrays and refuse what CuPy's refuse: to mix with NumPy arrays, to become one
without `get()`, and functions, keyword arguments and dtypes that CuPy lacks. It is stricter than CuPy where CuPy would
hide a mistake or pay for it: `np.maximum(x, 0)` of a GPU array, which CuPy computes, raises; lists as arrays, indices
in NumPy arrays, `matmul` into memory that is not contiguous and `as_strided` beyond the array's memory raise as well.
The names and signatures are those of CuPy 14, as far as a network could want them.
"""

import contextlib
import ctypes
import functools
import operator
import sys
import time
import types

import kernel_double
import numpy as np

from minires.backend.halves import half
from minires.backend.primitives.products import to_tf32

__version__ = "14.0.0"
_CUDA = 99000  # of no real one, so that its cuBLAS is no other's; a second double in a process needs another


def _words(text):
    return frozenset(text.split())


# What CuPy's functions take. Ufuncs take out, dtype and casting besides their operands, and no where.
_UFUNCS = _words(
    """abs absolute add arccos arcsin arctan arctan2 bitwise_and bitwise_or bitwise_xor cbrt ceil copysign cos cosh
    divide divmod equal exp exp2 expm1 fabs float_power floor floor_divide fmax fmin fmod greater greater_equal hypot
    invert isfinite isinf isnan left_shift less less_equal log log10 log1p log2 logaddexp logical_and logical_not
    logical_or logical_xor maximum minimum mod modf multiply negative not_equal positive power reciprocal remainder
    right_shift rint sign signbit sin sinh sqrt square subtract tan tanh true_divide trunc"""
)
_REDUCTION = "a axis dtype out keepdims"
_SIGNATURES = {  # function: its parameters, in order
    **dict.fromkeys(("sum", "prod", "mean"), _REDUCTION),
    **dict.fromkeys(("nansum", "nanmean"), _REDUCTION),
    **dict.fromkeys(("var", "std"), "a axis dtype out ddof keepdims"),
    **dict.fromkeys(("max", "min", "amax", "amin", "all", "any", "nanmax", "nanmin", "median"), "a axis out keepdims"),
    **dict.fromkeys(("zeros", "ones", "empty"), "shape dtype order"),
    **dict.fromkeys(("zeros_like", "ones_like"), "a dtype order subok shape"),
    **dict.fromkeys(("concatenate", "stack"), "tup axis out dtype casting"),
    **dict.fromkeys(("vstack", "hstack"), "tup dtype casting"),
    **dict.fromkeys(("allclose", "isclose"), "a b rtol atol equal_nan"),
    **dict.fromkeys(("can_cast", "issubdtype", "promote_types"), "first second"),
    **dict.fromkeys(("tril", "triu"), "m k"),
    **dict.fromkeys(("argsort", "sort"), "a axis"),
    **dict.fromkeys(("ascontiguousarray", "asfortranarray"), "a dtype"),
    **dict.fromkeys(("squeeze", "flip", "expand_dims", "count_nonzero"), "a axis"),
    **dict.fromkeys(("split", "array_split"), "ary indices_or_sections axis"),
    **dict.fromkeys(("vdot", "inner"), "a b"),
    **dict.fromkeys(("ndim", "shape", "size", "argwhere", "flatnonzero", "isscalar"), "a"),
    "nonzero": "a",
    "arange": "start stop step dtype",
    "argmax": "a axis out keepdims",
    "argmin": "a axis out keepdims",
    "array_equal": "a1 a2 equal_nan",
    "bincount": "x weights minlength",
    "broadcast_to": "array shape",
    "clip": "a a_min a_max out",
    "copy": "a order",
    "copyto": "dst src casting where",
    "cumsum": "a axis dtype out",
    "dot": "a b out",
    "empty_like": "prototype dtype order subok shape",
    "einsum": "subscripts a b c",
    "eye": "N M k dtype order",
    "full": "shape fill_value dtype order",
    "full_like": "a fill_value dtype order subok shape",
    "linspace": "start stop num endpoint retstep dtype axis",
    "matmul": "x1 x2 out dtype casting",
    "moveaxis": "a source destination",
    "outer": "a b out",
    "pad": "array pad_width mode constant_values",
    "ravel": "a order",
    "repeat": "a repeats axis",
    "reshape": "a newshape order",
    "roll": "a shift axis",
    "swapaxes": "a axis1 axis2",
    "take": "a indices axis out",
    "take_along_axis": "a indices axis",
    "tensordot": "a b axes",
    "tile": "A reps",
    "trace": "a offset axis1 axis2 dtype out",
    "transpose": "a axes",
    "where": "condition x y",
}
_METHODS = {  # method: its parameters, in order
    **dict.fromkeys(("sum", "prod", "mean"), "axis dtype out keepdims"),
    **dict.fromkeys(("var", "std"), "axis dtype out ddof keepdims"),
    **dict.fromkeys(("max", "min", "all", "any", "argmax", "argmin"), "axis out keepdims"),
    **dict.fromkeys(("flatten", "copy", "ravel"), "order"),
    **dict.fromkeys(("argsort", "sort"), "axis"),
    "astype": "dtype order copy",
    "clip": "min max out",
    "cumsum": "axis dtype out",
    "diagonal": "offset axis1 axis2",
    "dot": "b out",
    "fill": "value",
    "nonzero": "",
    "repeat": "repeats axis",
    "round": "decimals out",
    "squeeze": "axis",
    "swapaxes": "axis1 axis2",
    "take": "indices axis out",
    "trace": "offset axis1 axis2 dtype out",
    "view": "dtype",
}
_CONSTANTS = _words(
    """bool_ dtype e euler_gamma finfo float16 float32 float64 floating generic iinfo inexact inf int16 int32 int64 int8
    integer intp nan newaxis number pi signedinteger uint16 uint32 uint64 uint8 unsignedinteger"""
)
_ON_HOST = _words("can_cast issubdtype promote_types ndim shape size isscalar")  # their results are Python's
_DTYPES = frozenset("?bhilqBHILQefdFDE")  # E: bfloat16, which CuPy 14 takes from ml_dtypes


def __getattr__(name):
    if name in _CONSTANTS:
        return getattr(np, name)
    if name not in _UFUNCS and name not in _SIGNATURES:
        raise AttributeError(f"module 'cupy' has no attribute {name!r}, or its double in the tests has none")

    def function(*args, **kwargs):
        if name in _UFUNCS:
            _check_keywords(name, kwargs, "out dtype casting")
            if not all(_is_operand(arg) for arg in args):
                raise TypeError(f"Unsupported type {next(type(arg) for arg in args if not _is_operand(arg))}")
        else:
            _check_keywords(name, kwargs, _SIGNATURES[name], args)
        if name == "where" and len(args) != 3:
            raise TypeError("where: give condition, x and y, or use nonzero")
        if name == "matmul":
            _check_matmul(*args, **kwargs)
        result = _call(getattr(np, name), args, kwargs)
        return result if name in _ON_HOST or result is None else _wrapped(result, kwargs.get("out"))

    function.__name__ = name
    return function


def array(obj, dtype=None, copy=True, order="K", ndmin=0):
    """An array on the device: with `asarray`, the one way there."""
    if isinstance(obj, ndarray):
        return ndarray(_compute(np.array, obj._host, dtype=dtype, copy=copy, order=order, ndmin=ndmin))
    return _brought(np.array(obj, dtype=dtype, copy=copy, order=order, ndmin=ndmin))


def asarray(a, dtype=None, order=None, *, blocking=False):
    """An array on the device; `a` itself where it is there already."""
    if isinstance(a, ndarray):
        return a if dtype in (None, a.dtype) else a.astype(dtype)
    return _brought(np.array(a, dtype=dtype, order=order or "K"))  # a copy: devices share no memory


def _brought(host):
    _must_not_be_recorded("a copy from the host")
    _tell("copy", "from the host", host.nbytes)
    return ndarray(host)


def asnumpy(a):
    """A NumPy array."""
    return a.get() if isinstance(a, ndarray) else np.asarray(a)


def get_array_module(*args):
    """This module where an argument lives on the device, else NumPy."""
    return sys.modules[__name__] if any(isinstance(arg, ndarray) for arg in args) else np


def fuse(*args, **_):
    """A decorator that fuses element-wise kernels; values are the same without."""
    return args[0] if args and callable(args[0]) else lambda function: function


# Recording: between begin_capture and end_capture nothing is computed, as on a GPU. What would be is put on a tape,
# and the arrays that it would give hold NaN, or a number that makes no sense, until the tape is played.

_tape = None
_IN_PLACE = ("fill", "sort", "copyto", "setitem")


def _compute(function, *args, **kwargs):
    """function(*args, **kwargs), now or, while there is a tape, whenever that is played."""
    if _tape is None:
        result = function(*args, **kwargs)
        _tell_of(function, args, kwargs, result)
        return result
    out = kwargs.get("out")
    if out is not None or getattr(function, "__name__", "") in _IN_PLACE:
        _tape.append(lambda: function(*args, **kwargs))
        return out
    result = function(*args, **kwargs)
    results = [part for part in (result if isinstance(result, (tuple, list)) else [result])]
    if _are_views(results, _given(function, args)):
        return result
    results = [np.array(part) for part in results]

    def again():
        now = function(*args, **kwargs)
        for part, new in zip(results, now if isinstance(now, (tuple, list)) else [now], strict=True):
            part[...] = new

    _tape.append(again)
    for part in results:
        part[...] = np.nan if part.dtype.kind in "fc" else 1
    return type(result)(results) if isinstance(result, (tuple, list)) else results[0]


def _given(function, args):
    """The arrays that a function, or a method of an array, is called with."""
    arrays = [arg for arg in args if isinstance(arg, np.ndarray)]
    owner = getattr(function, "__self__", None)
    return [*arrays, owner] if isinstance(owner, np.ndarray) else arrays


def _are_views(results, given):
    return all(isinstance(part, np.ndarray) and any(np.may_share_memory(part, x) for x in given) for part in results)


def _must_not_be_recorded(what):
    if _tape is not None:
        raise RuntimeError(f"cudaErrorStreamCaptureUnsupported: {what} while a stream is recorded")
    _tell("wait", what)


# Counting: what a GPU would be asked for.

_listener = None
_dry = False
_NO_KERNEL = ("empty", "empty_like")


@contextlib.contextmanager
def telling(listener, dry=False):
    """listener(kind, name, bytes, operations) is told of all that a GPU would be asked for.

    kind: "kernel"; "product", of matrices, by cuBLAS; "graph", a recorded one that is launched; "memory", an array
    taken from the pool; "copy", between host and device; "wait", of the host for the device, as with every copy.
    bytes: of all arrays that a kernel is given or makes, each once. operations: a product's, added and multiplied.
    dry: kernels and products are not computed; arrays then hold whatever their memory held.
    """
    global _listener, _dry
    before = _listener, _dry
    _listener, _dry = listener, dry
    try:
        yield
    finally:
        _listener, _dry = before


def _tell(kind, name, nbytes=0, operations=0):
    if _listener is not None:
        _listener(kind, name, nbytes, operations)


def _tell_of(function, args, kwargs, result):
    """Tell of one of CuPy's own functions: a kernel, unless it gives views or nothing but memory."""
    if _listener is None:
        return
    name, given = getattr(function, "__name__", "?"), _given(function, args)
    results = [np.asarray(part) for part in (result if isinstance(result, (tuple, list)) else [result])]
    if kwargs.get("out") is None and name not in _IN_PLACE:
        if _are_views(results, given):
            return
        _tell("memory", name, sum(part.nbytes for part in results))
    if name in ("getitem", "take"):  # of a large array some numbers only
        given = results
    elif name == "setitem":
        given, results = [args[0][args[1]]], [np.broadcast_to(args[2], args[0][args[1]].shape)]
    if name not in _NO_KERNEL:
        _tell("kernel", f"cupy.{name}", sum(part.nbytes for part in (*given, *results)))


class _Pointer:
    """Where an array lies."""

    def __init__(self, array):
        self._array, self.device_id = array, array._device

    @property
    def ptr(self):
        return self._array._host.ctypes.data


class ndarray:
    """An array on the device. Only `get`, `item`, `tolist`, float, int and bool bring values to the host."""

    __hash__ = None
    __array_priority__ = 100
    __array_ufunc__ = None  # NumPy's ufuncs raise TypeError, its scalars leave their operators to this class

    def __init__(self, host):
        if not isinstance(host, np.ndarray):
            raise TypeError(f"the double wraps NumPy arrays, got {type(host).__name__}")
        if host.dtype.char not in _DTYPES:
            raise ValueError(f"Unsupported dtype {host.dtype}")
        self._kept, self._device = host, _current

    @property
    def _host(self):
        """The NumPy array inside, which only the GPU that it lies on can use."""
        if self._device != _current:
            raise RuntimeError(f"an array of GPU {self._device} is used while GPU {_current} is the current one")
        return self._kept

    @_host.setter
    def _host(self, host):
        self._kept = host

    def __array__(self, *_, **__):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    def __array_function__(self, function, *_):
        raise TypeError(f"np.{function.__name__} of a GPU array: use the function of array_module(x)")

    def __getattr__(self, name):
        if name not in _METHODS:
            raise AttributeError(f"'cupy.ndarray' has no attribute {name!r}, or its double in the tests has none")

        def method(*args, **kwargs):
            _check_keywords(f"ndarray.{name}", kwargs, _METHODS[name], args)
            host = self._kept if name == "copy" else self._host  # copied to the current GPU
            result = _call(getattr(host, name), args, kwargs)
            return None if result is None else _wrapped(result, kwargs.get("out"))

        return method

    # To the host

    def get(self, stream=None, order="C", out=None, blocking=True):
        """A copy as a NumPy array."""
        _must_not_be_recorded("a copy to the host")
        _tell("copy", "to the host", self.nbytes)
        if out is None:
            return self._kept.copy(order)
        out[...] = self._kept
        return out

    def set(self, arr, stream=None):
        """Copy a NumPy array of the same shape and dtype into this one."""
        _must_not_be_recorded("a copy from the host")
        if not isinstance(arr, np.ndarray) or (arr.shape, arr.dtype) != (self.shape, self.dtype):
            raise ValueError("set: needs a NumPy array of this shape and dtype")
        self._host[...] = arr

    def item(self):
        _must_not_be_recorded("a copy to the host")
        return self._kept.item()

    def tolist(self):
        _must_not_be_recorded("a copy to the host")
        return self._kept.tolist()

    def __float__(self):
        _must_not_be_recorded("a copy to the host")
        return float(self._kept)

    def __int__(self):
        _must_not_be_recorded("a copy to the host")
        return int(self._kept)

    def __bool__(self):
        _must_not_be_recorded("a copy to the host")
        return bool(self._kept)

    def __repr__(self):
        return repr(self._kept)

    # Shape and memory

    def __len__(self):
        return len(self._kept)

    def __iter__(self):
        return (self[index] for index in range(len(self)))

    @property
    def T(self):
        return ndarray(self._host.T)

    @property
    def flags(self):
        flags = self._kept.flags
        return types.SimpleNamespace(
            c_contiguous=flags.c_contiguous, f_contiguous=flags.f_contiguous, owndata=flags.owndata
        )

    @property
    def data(self):
        return _Pointer(self)

    def reshape(self, *shape, order="C"):
        return ndarray(_call(self._host.reshape, shape, {"order": order}))

    def transpose(self, *axes):
        return ndarray(_call(self._host.transpose, axes, {}))

    def __getitem__(self, index):
        index = _unwrapped_index(index)
        result = _compute(operator.getitem, self._host, index)
        if not np.shares_memory(result, self._host) and np.ndim(result) == 0:  # a scalar in NumPy, a view here
            result = self._host[(*index, ...) if isinstance(index, tuple) else (index, ...)]
        return ndarray(result)

    def __setitem__(self, index, value):
        if not _is_operand(value):
            raise TypeError(f"Unsupported type {type(value)}")
        with np.errstate(all="ignore"):
            _compute(operator.setitem, self._host, _unwrapped_index(index), _unwrapped(value))


def _host_property(name):
    return property(lambda self: getattr(self._kept, name))


def _operators(name):
    """The methods for x op y, y op x and x op= y."""
    function = getattr(operator, name)

    def compute(x, y):
        with np.errstate(all="ignore"):
            return _wrapped(_compute(function, x, y))

    def forward(self, other):
        return compute(self._host, _operand(other))

    def reflected(self, other):
        return compute(_operand(other), self._host)

    def in_place(self, other):
        other = _operand(other)
        with np.errstate(all="ignore"):
            function = getattr(operator, f"i{name.strip('_')}")  # the same array, NumPy's rules
            if _tape is None:
                self._host = function(self._host, other)
                _tell_of(function, (self._host, other), {"out": self._host}, self._host)
            else:
                _tape.append(functools.partial(function, self._host, other))
        return self

    return forward, reflected, in_place


def _unary(name):
    return lambda self: _wrapped(_compute(getattr(operator, name), self._host))


for _name in ("dtype", "shape", "size", "ndim", "nbytes", "itemsize", "strides"):
    setattr(ndarray, _name, _host_property(_name))
for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and_", "or_", "xor", "lshift", "rshift"):
    for _prefix, _method in zip(("", "r", "i"), _operators(_name), strict=True):
        setattr(ndarray, f"__{_prefix}{_name.strip('_')}__", _method)
for _name in ("lt", "le", "eq", "ne", "gt", "ge"):
    setattr(ndarray, f"__{_name}__", _operators(_name)[0])
for _name in ("neg", "pos", "abs", "invert"):
    setattr(ndarray, f"__{_name}__", _unary(_name))


def _matmul(x, y):
    if not (isinstance(x, ndarray) and isinstance(y, ndarray)):
        raise TypeError(f"Unsupported type {type(x if isinstance(y, ndarray) else y)}")
    return _wrapped(_compute(operator.matmul, x._host, y._host))


ndarray.__matmul__ = _matmul
ndarray.__rmatmul__ = lambda self, other: _matmul(other, self)


def _is_operand(value):
    return isinstance(value, (ndarray, bool, int, float, complex, np.generic))


def _operand(value):
    if not _is_operand(value):
        raise TypeError(f"Unsupported type {type(value)}")
    return _unwrapped(value)


def _unwrapped(value):
    """The NumPy array in an array of the device, also within lists and tuples; TypeError for an array of the host."""
    if isinstance(value, ndarray):
        return value._host
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    if isinstance(value, (list, tuple)):
        return type(value)(_unwrapped(item) for item in value)
    return value


def _unwrapped_index(index):
    if isinstance(index, list):
        raise TypeError("a list as an index: use an array of the device")
    return _unwrapped(index)


def _wrapped(result, out=None):
    """What a NumPy function returned, on the device: scalars become 0-dimensional arrays."""
    if out is not None:
        return out
    if isinstance(result, (tuple, list)):
        return type(result)(_wrapped(item) for item in result)
    return ndarray(result if isinstance(result, np.ndarray) else np.asarray(result))


def _call(function, args, kwargs):
    out = kwargs.get("out")
    if out is not None and not isinstance(out, ndarray):
        raise TypeError(f"Unsupported type {type(out)}: out must be an array of the device")
    args, kwargs = _unwrapped(tuple(args)), {name: _unwrapped(value) for name, value in kwargs.items()}
    with np.errstate(all="ignore"):  # a GPU warns of nothing
        return _compute(function, *args, **kwargs)


def _check_keywords(name, kwargs, parameters, args=()):
    parameters = parameters.split()
    unknown = [keyword for keyword in kwargs if keyword not in parameters]
    if unknown:
        raise TypeError(f"cupy.{name} takes no {', '.join(unknown)} (or its double in the tests does not)")
    if len(args) > len(parameters):
        raise TypeError(f"cupy.{name} takes {len(parameters)} arguments, got {len(args)}")


def _check_matmul(x1, x2, out=None, **_):
    _load_cublas()
    if not (isinstance(x1, ndarray) and isinstance(x2, ndarray)):
        raise TypeError(f"Unsupported type {type(x1 if isinstance(x2, ndarray) else x2)}")
    if isinstance(out, ndarray) and not out.flags.c_contiguous:
        raise ValueError("Output array must be C-contiguous")


def _as_strided(x, shape=None, strides=None):
    if not isinstance(x, ndarray):
        raise TypeError(f"Unsupported type {type(x)}")
    view = np.lib.stride_tricks.as_strided(x._host, shape, strides)
    owner = x._host
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    (low, high), (first, last) = np.lib.array_utils.byte_bounds(view), np.lib.array_utils.byte_bounds(owner)
    if view.size and not first <= low <= high <= last:
        raise ValueError("as_strided: the view reaches beyond the array's memory")
    return ndarray(np.asarray(view))


class _OutOfMemoryError(MemoryError):
    """The device has no memory left."""


class _CompileException(Exception):
    """A kernel that does not compile; its text is the compiler's log."""


# GPUs: one, unless a test says `cupy_double.devices = 2`. An array is made on the current one and used on no other.

devices = 1
_current = 0


class _Device:
    compute_capability = "90"

    def __init__(self, device=None):
        self.id = _current if device is None else device
        self._before = []

    def use(self):
        global _current
        if not 0 <= self.id < devices:
            raise RuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        _current = self.id

    def __enter__(self):
        self._before.append(_current)
        self.use()
        return self

    def __exit__(self, *_):
        _Device(self._before.pop()).use()

    @property
    def mem_info(self):
        return free[self.id], 80 * 10**9

    def synchronize(self):
        """Nothing is ever under way."""
        _tell("wait", "synchronize")


free = {0: 79 * 10**9, 1: 79 * 10**9}  # bytes of each GPU's memory


class _MemoryPool:
    """A pool that says what it would hold; arrays of the double take none of it."""

    def __init__(self, held=0, used=0):
        self._held, self._used = held, used

    def malloc(self, size):
        """What is not kept lies idle at once."""
        self._held = max(self._held, self._used + size)

    def total_bytes(self):
        return self._held

    def used_bytes(self):
        return self._used

    def free_all_blocks(self):
        self._held = self._used


_pool = _MemoryPool(1 << 20, 1 << 19)


def get_default_memory_pool():
    """A pool that says it holds 1 MiB and uses half of it."""
    return _pool


class _Stream:
    """A stream; what it records is a _Graph."""

    ptr = 0

    def __init__(self, non_blocking=False):
        self.non_blocking = non_blocking

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def synchronize(self):
        _must_not_be_recorded("to wait for the device")

    def begin_capture(self, mode=None):
        global _tape
        if not self.non_blocking:
            raise RuntimeError("cannot capture on the default stream")
        _tape = []

    def end_capture(self):
        global _tape
        tape, _tape = _tape, None
        return _Graph(tape)


class _Event:
    """A moment at which the device, that is the host, had done what it was given."""

    def __init__(self, block=False, disable_timing=False):
        self._at = None

    def record(self, stream=None):
        self._at = time.perf_counter()


def _get_elapsed_time(start, end):
    return 1e3 * (end._at - start._at)


class _Graph:
    def __init__(self, tape):
        self.tape = tape

    def launch(self, stream=None):
        _tell("graph", "launch")
        with np.errstate(all="ignore"):
            for compute in self.tape:
                compute()


_null = _Stream()


@functools.cache
def _load_cublas():
    """A library in this process whose file is called libcublas.so: the functions of cuBLAS that minires calls."""
    library = ctypes.CDLL(str(kernel_double.built(_CUBLAS, f"libcublas.so.{_CUDA // 1000}")))
    multiply = _MULTIPLY(_multiply)
    if library.set_multiply(multiply):
        raise RuntimeError(f"another double has this cuBLAS, of CUDA {_CUDA}")
    return library, multiply  # to live as long as this process


_CUBLAS = """
typedef int (*Multiply)(int sums, int a_way, int b_way, int m, int n, int k, double one,
                        const void *a, int a_kind, int a_step, const void *b, int b_kind, int b_step,
                        double zero, void *y, int y_kind, int y_step,
                        int count, long long a_next, long long b_next, long long y_next);
static Multiply multiply;
extern "C" int set_multiply(Multiply function) { if (multiply) return 1; multiply = function; return 0; }
extern "C" int cublasCreate_v2(void **handle) { *handle = &multiply; return 0; }
extern "C" int cublasSetStream_v2(void *handle, void *stream) { return handle != &multiply; }
extern "C" int cublasSetWorkspace_v2(void *handle, void *room, unsigned long size) { return handle != &multiply; }
extern "C" int cublasSetMathMode(void *handle, int mode) { return handle != &multiply; }
extern "C" int cublasGemmStridedBatchedEx(void *handle, int a_way, int b_way, int m, int n, int k, const void *one,
    const void *a, int a_kind, int a_step, long long a_next, const void *b, int b_kind, int b_step, long long b_next,
    const void *zero, void *y, int y_kind, int y_step, long long y_next, int count, int sums, int algorithm) {
    if (handle != &multiply) return 1;
    if (algorithm != -1) return 15;
    double unit = sums == 70 ? *(const double *)one : *(const float *)one;
    double nothing = sums == 70 ? *(const double *)zero : *(const float *)zero;
    return multiply(sums, a_way, b_way, m, n, k, unit, a, a_kind, a_step, b, b_kind, b_step, nothing,
                    y, y_kind, y_step, count, a_next, b_next, y_next);
}
extern "C" int cublasGemmEx(void *handle, int a_way, int b_way, int m, int n, int k, const void *one, const void *a,
    int a_kind, int a_step, const void *b, int b_kind, int b_step, const void *zero, void *y, int y_kind, int y_step,
    int sums, int algorithm) {
    return cublasGemmStridedBatchedEx(handle, a_way, b_way, m, n, k, one, a, a_kind, a_step, 0, b, b_kind, b_step, 0,
                                      zero, y, y_kind, y_step, 0, 1, sums, algorithm);
}
"""
_MULTIPLY = ctypes.CFUNCTYPE(
    ctypes.c_int,
    *[ctypes.c_int] * 6,
    ctypes.c_double,
    *[ctypes.c_void_p, ctypes.c_int, ctypes.c_int] * 2,
    ctypes.c_double,
    *[ctypes.c_void_p, ctypes.c_int, ctypes.c_int],
    ctypes.c_int,
    *[ctypes.c_longlong] * 3,
)
# The type of the sums: of both factors, of the result, for cuBLAS's numbers of these that minires uses
_PRODUCTS = {
    68: ((0, 0), (2, 2), (2, 0), (14, 14), (14, 0)),  # CUBLAS_COMPUTE_32F: float32, float16, bfloat16
    70: ((1, 1),),  # CUBLAS_COMPUTE_64F: float64
    77: ((0, 0),),  # CUBLAS_COMPUTE_32F_FAST_TF32
}


def _multiply(
    sums, a_way, b_way, m, n, k, one, a, a_kind, a_step, b, b_kind, b_step, zero, y, y_kind, y_step, count, *nexts
):
    """y = a b, the matrices column by column, either of them transposed; 7, invalid, where that makes no sense.

    `count` of them, `nexts` (a's, b's, y's) numbers from one to the next.
    """
    if (one, zero) != (1, 0) or {a_way, b_way} - {0, 1} or min(m, n, k, count) < 1:
        return 7
    if a_kind != b_kind or (a_kind, y_kind) not in _PRODUCTS.get(sums, ()):
        return 15  # not supported
    left = _matrix(a_kind, a, a_step, *((k, m) if a_way else (m, k)), count, nexts[0])
    right = _matrix(b_kind, b, b_step, *((n, k) if b_way else (k, n)), count, nexts[1])
    result = _matrix(y_kind, y, y_step, m, n, count, nexts[2])
    if left is None or right is None or result is None:
        return 7
    size = count * (left.itemsize * (m * k + k * n) + result.itemsize * m * n)
    _tell("product", f"{m} x {k} x {n}" if count == 1 else f"{count} of {m} x {k} x {n}", size, count * 2 * m * k * n)

    def multiply():
        factors = [left.swapaxes(1, 2) if a_way else left, right.swapaxes(1, 2) if b_way else right]
        if sums == 77:
            factors = [to_tf32(factor) for factor in factors]
        wide = np.float64 if sums == 70 else np.float32
        result[...] = factors[0].astype(wide) @ factors[1].astype(wide)

    if _tape is not None:
        _tape.append(multiply)
    elif not _dry:
        multiply()
    return 0


def _matrix(kind, address, step, rows, columns, count, following):
    """`count` matrices (rows, columns) from an address on, `step` numbers from one column to the next.

    And `following` from one matrix to the next. None where columns overlap.
    """
    if step < rows or following < 0:
        return None
    dtype = np.dtype({0: "f4", 1: "f8", 2: "f2"}[kind]) if kind != 14 else half("bfloat16")
    size, last = dtype.itemsize, (count - 1) * following + (columns - 1) * step + rows
    numbers = np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(ctypes.c_uint8)), (last * size,)).view(dtype)
    return np.lib.stride_tricks.as_strided(numbers, (count, rows, columns), (following * size, size, step * size))


cuda = types.SimpleNamespace(
    Device=_Device,
    Event=_Event,
    get_elapsed_time=_get_elapsed_time,
    Stream=_Stream,
    MemoryPool=_MemoryPool,
    using_allocator=lambda allocator: contextlib.nullcontext(),
    get_current_stream=lambda: _null,
    alloc=lambda size: types.SimpleNamespace(ptr=0),
    compiler=types.SimpleNamespace(CompileException=_CompileException),
    memory=types.SimpleNamespace(OutOfMemoryError=_OutOfMemoryError),
    runtime=types.SimpleNamespace(
        getDeviceCount=lambda: devices,
        getDevice=lambda: _current,
        getDeviceProperties=lambda device: {"name": b"a double of a GPU", "totalGlobalMem": 1 << 30},
        memGetInfo=lambda: _Device().mem_info,
        deviceSynchronize=lambda: _tell("wait", "synchronize"),
        driverGetVersion=lambda: 13010,
        runtimeGetVersion=lambda: _CUDA,
    ),
    is_available=lambda: True,
)
lib = types.SimpleNamespace(stride_tricks=types.SimpleNamespace(as_strided=_as_strided))


# Kernels of our own: kernel_double.py builds and runs the same text on this machine's processor.


_C_TYPES = {
    np.int32: ctypes.c_int,
    np.int64: ctypes.c_longlong,
    np.float32: ctypes.c_float,
    np.float64: ctypes.c_double,
}


class RawModule:
    """A module of kernels; raises where the text has not the prelude that this double knows how to replace."""

    def __init__(self, *, code, options=()):
        self._module = kernel_double.Module(code)

    def get_function(self, name):
        def launch(grid, block, args):
            if (*block, 1, 1)[:3] != (256, 1, 1):
                raise ValueError(f"the double's blocks have 256 threads, got {block}")
            for arg in args:
                if isinstance(arg, ndarray) and not arg._host.flags.c_contiguous:
                    raise ValueError("a kernel is given a pointer alone: an array must be contiguous")
            numbers = [_argument(arg) for arg in args]
            width, height, _ = (*grid, 1, 1)[:3]
            run = functools.partial(self._module.launch, name, width, height, numbers)
            _tell("kernel", name, sum(map(_bytes_of, args)))
            if _tape is not None:
                _tape.append(run)
            elif not _dry:
                run()

        return launch


def _bytes_of(arg):
    """Of an array, or of many whose addresses and sizes are in a struct; they are of float32."""
    if isinstance(arg, ndarray):
        return arg.nbytes
    if isinstance(arg, np.ndarray) and arg.dtype.fields:
        return 4 * len(arg["arrays"]) * int(arg["start"].max())
    return 0


def _argument(arg):
    """What C is given: an array's address, a number, or a struct by value."""
    if isinstance(arg, ndarray):
        return ctypes.c_void_p(arg._host.ctypes.data)
    if isinstance(arg, np.ndarray):
        if arg.dtype.fields is None or arg.nbytes > 4096 - 256:
            raise ValueError("a kernel takes a small struct from the host, no array")
        words = type("Words", (ctypes.Structure,), {"_fields_": [("words", ctypes.c_longlong * (arg.nbytes // 8))]})
        return words.from_buffer_copy(arg.tobytes())
    return _C_TYPES[type(arg)](arg)
