"""What PyTorch's pickles describe: tensors as views of numbers that lie elsewhere in the file, and plain values.

`minires.pickles` takes the steps; here is the table of the names that it may call, all of them stand-ins. Tensors come
out as descriptions (Tensor), which the reader of the file checks and fills.

Source: PyTorch, torch/serialization.py and torch/_utils.py.
"""

from dataclasses import dataclass
from typing import Any, BinaryIO

from minires import pickles
from minires.pretrained.errors import WeightsError
from minires.pretrained.files import DTYPES


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


def read_pickle(file: BinaryIO, size: int) -> tuple[Any, dict[str, str]]:
    """-> (object, dtypes): what the pickle at the position of an open file of `size` bytes builds.

    object: of dictionaries (OrderedDict is one), lists (set is one), tuples, numbers, text, bytes, None and Tensors.
    dtypes: {key: dtype} of the storages it names.
    Raises WeightsError for whatever else it is asked to build, and any exception for damaged bytes.
    """
    dtypes = {}

    def stored(identity):
        storage = _storage(identity)
        dtypes[storage.key] = storage.dtype
        return storage

    try:
        return pickles.read_pickle(file, size, NAMES, "tensors and plain values", bytes.decode, stored), dtypes
    except pickles.Refused as error:
        raise WeightsError(f"{error}; save the state_dict alone: torch.save(model.state_dict(), path)") from error


def _storage(identity):
    """("storage", dtype, key, location, count[, view]) -> Storage; view: (key, first number, count) or None."""
    if not isinstance(identity, tuple) or not 5 <= len(identity) <= 6:
        raise WeightsError("its pickle is damaged: a storage without its five properties; download it again")
    kind, dtype, key, _, _, *view = identity
    if kind != "storage" or not isinstance(key, str):
        raise WeightsError("its pickle is damaged: a storage without a key; download it again")
    return Storage(key, _checked(dtype), view[0][1] if view and view[0] else 0)


def _checked(dtype):
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise WeightsError(f"holds numbers of a type that is not read; save them as one of {', '.join(DTYPES)}")
    return dtype


# --- what stands in for the functions that pickles name -----------------------------------------------------------


def _dictionary(items=()):
    """collections.OrderedDict and Counter, from a dictionary or, as Python 2 wrote it, from a list of pairs."""
    return pickles.fill({}, items.items() if isinstance(items, dict) else items)


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


NAMES = {
    "collections.OrderedDict": _dictionary,
    "collections.Counter": _dictionary,
    "__builtin__.set": _same,
    "builtins.set": _same,
    "_codecs.encode": pickles.encode,
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
