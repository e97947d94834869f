"""What PyTorch's pickles describe: tensors as views of numbers that lie elsewhere in the file, and plain values.

`minires.pickles` takes the steps; here is the table of the names that it may call, all of them stand-ins. Tensors come
out as descriptions (Tensor), which the reader of the file checks and fills; arrays of NumPy as `pickled_arrays.Array`;
tensors that are no plain view of numbers, and objects of all other classes, as LeftOut.

Source: PyTorch, torch/serialization.py and torch/_utils.py.
"""

from dataclasses import dataclass
from typing import Any, BinaryIO

from minires import pickles
from minires.pickles import LeftOut
from minires.pretrained import pickled_arrays
from minires.pretrained.errors import WeightsError
from minires.pretrained.files import DTYPES, item_size
from minires.wording import shown

_NO_ARRAYS = {  # numbers that NumPy has no dtype for, or networks no use: {dtype: bytes of one}
    **dict.fromkeys(("qint8", "quint8", "quint4x2", "quint2x4", "bits8", "bits1x8", "bits2x4", "bits4x2"), 1),
    **dict.fromkeys(("float8_e5m2", "float8_e4m3fn", "float8_e5m2fnuz", "float8_e4m3fnuz", "float8_e8m0fnu"), 1),
    **{f"{kind}{bits}": 1 for kind in ("int", "uint") for bits in range(1, 8)},
    **{"float4_e2m1fn_x2": 1, "bits16": 2, "complex32": 4, "qint32": 4, "complex64": 8, "complex128": 16},
}


@dataclass(frozen=True)
class Storage:
    """Numbers in the file: the key they stand under, their dtype, how many there are, and the first that is meant."""

    key: str
    dtype: str
    count: int
    start: int = 0

    @property
    def item_size(self) -> int:
        """The bytes of one of them."""
        return _NO_ARRAYS.get(self.dtype) or item_size(self.dtype)


@dataclass(frozen=True)
class Tensor:
    """A view of a storage's numbers, read as dtype: nothing in it has been checked against their count."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple
    strides: tuple


def read_pickle(file: BinaryIO, size: int) -> tuple[Any, dict[str, Storage]]:
    """-> (object, storages): what the pickle at the position of an open file of `size` bytes builds.

    object: of dictionaries (OrderedDict is one), lists (set is one), tuples, numbers, text, bytes, None, Tensors,
    Arrays, and a LeftOut for each object of another class.
    storages: {key: Storage} of the storages it names.
    Raises WeightsError for one that is out to do harm, and any exception for damaged bytes.
    """
    storages: dict[str, Storage] = {}

    def stored(identity):
        if isinstance(identity, tuple) and len(identity) == 4 and identity[0] == "module":
            return identity[1]  # a class, beside the text of its program, which is not even looked at
        storage = _storage(identity)
        first = storages.setdefault(storage.key, storage)
        if (first.dtype, first.count) != (storage.dtype, storage.count):
            what = "types" if first.dtype != storage.dtype else "sizes"
            raise WeightsError(f"reads the storage {shown(storage.key)} as two {what}; save the state_dict again")
        return storage

    kinds, string = "tensors and plain values", pickled_arrays.python_2_string
    try:
        content = pickles.read_pickle(file, size, NAMES, kinds, string, stored, leave_out=True)
    except pickles.Refused as error:
        raise WeightsError(f"{error}; save the state_dict alone: torch.save(model.state_dict(), path)") from error
    return content, storages


def _storage(identity):
    """("storage", dtype, key, location, count[, view]) -> Storage; view: (key, first number, count) or None."""
    if not isinstance(identity, tuple) or not 5 <= len(identity) <= 6:
        raise WeightsError("its pickle is damaged: a storage without its five properties; download it again")
    kind, dtype, key, _, count, *view = identity
    if kind != "storage" or not isinstance(key, str):
        raise WeightsError("its pickle is damaged: a storage without a key; download it again")
    if not isinstance(dtype, str) or dtype not in (*DTYPES, *_NO_ARRAYS):
        raise WeightsError(f"holds numbers of a type that is not read; save them as one of {', '.join(DTYPES)}")
    if type(count) is not int or not 0 <= count < 2**63:
        raise WeightsError("its pickle is damaged: a storage of no number; download it again")
    return Storage(key, dtype, count, view[0][1] if view and view[0] else 0)


# --- what stands in for the functions that pickles name -----------------------------------------------------------


def _dictionary(items=()):
    """OrderedDict and Counter, from a dictionary or, as Python 2 wrote it, from a list of pairs."""
    return pickles.fill({}, items.items() if isinstance(items, dict) else items)


def _default_dictionary(factory=None, items=()):
    """collections.defaultdict, without what it would make of a key that is missing."""
    return _dictionary(items)


def _tensor(storage, offset, shape, strides, requires_grad=False, hooks=None, metadata=None):
    """torch._utils._rebuild_tensor and _rebuild_tensor_v2."""
    dtype = storage.dtype if isinstance(storage, Storage) else None
    return _tensor_of_dtype(storage, offset, shape, strides, requires_grad, hooks, dtype, metadata)


def _tensor_of_dtype(storage, offset, shape, strides, requires_grad, hooks, dtype, metadata=None):
    """torch._utils._rebuild_tensor_v3."""
    if isinstance(dtype, str) and dtype in _NO_ARRAYS:
        return LeftOut(f"{dtype} tensor")
    if metadata:
        return LeftOut("conjugated or negated tensor")
    if not isinstance(storage, Storage) or not isinstance(dtype, str) or dtype not in DTYPES:
        raise WeightsError("its pickle is damaged: a tensor without numbers; download it again")
    return Tensor(storage, dtype, offset, shape, strides)


def _first(value, *others):
    """A Parameter, and a tensor that is moved to a device: the tensor in it."""
    return value


def _subclass(function, kind, arguments, state):
    """torch._tensor._rebuild_from_type_v2: the tensor that a subclass, or one with attributes, is built around."""
    if function not in (_tensor, _tensor_of_dtype, _first) or not isinstance(arguments, tuple):
        return LeftOut("tensor of a class of its own")
    return function(*arguments)


def _left_out(name):
    """A stand-in for a function that makes something of that name."""
    return lambda *arguments: LeftOut(name)


def _same(value=()):
    """torch.Size and set: the tuple or list that they are made from."""
    return value


def _bytes(value=b"", encoding=None):
    """bytes and bytearray, of bytes or of text that stands for them."""
    return value


def _device(kind, index=None):
    """torch.device, as text: cuda:0."""
    if not isinstance(kind, str) or not (index is None or (isinstance(index, int) and abs(index) < 2**31)):
        return LeftOut("device without a name")
    return kind if index is None else f"{kind}:{index}"


def _complex(real, imaginary):
    """builtins.complex."""
    return complex(real, imaginary) if isinstance(real, float) and isinstance(imaginary, float) else None


def _instance(kind, *arguments):
    """copyreg._reconstructor and __newobj__, by which the oldest protocols build an object: one with nothing in it."""
    return {} if kind in (_dictionary, _default_dictionary) else LeftOut(getattr(kind, "name", "an object"))


_NUMBERS = (*DTYPES, *_NO_ARRAYS)
_STORAGES = {
    "Double": "float64", "Float": "float32", "Half": "float16", "BFloat16": "bfloat16", "Long": "int64", "Int": "int32",
    "Short": "int16", "Char": "int8", "Byte": "uint8", "Bool": "bool", "ComplexFloat": "complex64",
    "ComplexDouble": "complex128", "QInt8": "qint8", "QUInt8": "quint8", "QInt32": "qint32", "QUInt4x2": "quint4x2",
    "QUInt2x4": "quint2x4",
}  # fmt: skip
NAMES = {
    "collections.OrderedDict": _dictionary,
    "collections.Counter": _dictionary,
    "collections.defaultdict": _default_dictionary,
    **{f"{module}.{kind}": _same for module in ("builtins", "__builtin__") for kind in ("set", "frozenset", "list")},
    **{f"{module}.{kind}": _bytes for module in ("builtins", "__builtin__") for kind in ("bytes", "bytearray")},
    "builtins.complex": _complex,
    "__builtin__.complex": _complex,
    "_codecs.encode": pickles.encode,
    **{
        f"{module}.{name}": _instance for module in ("copyreg", "copy_reg") for name in ("_reconstructor", "__newobj__")
    },
    "torch.Size": _same,
    "torch.device": _device,
    "torch.serialization._get_layout": _same,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_dtype,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._utils._rebuild_device_tensor_from_numpy": _first,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _first,
    "torch._tensor._rebuild_from_type_v2": _subclass,
    "torch._utils._rebuild_sparse_tensor": _left_out("sparse tensor"),
    "torch._utils._rebuild_qtensor": _left_out("quantized tensor"),
    "torch._utils._rebuild_meta_tensor_no_storage": _left_out("meta tensor"),
    "torch._utils._rebuild_nested_tensor": _left_out("nested tensor"),
    "torch._utils._rebuild_wrapper_subclass": _left_out("tensor of a class of its own"),
    "torch.storage.UntypedStorage": "uint8",
    **{f"torch.{kind}Storage": dtype for kind, dtype in _STORAGES.items()},
    **{f"torch.{dtype}": dtype for dtype in _NUMBERS},
    **pickled_arrays.NAMES,
}
