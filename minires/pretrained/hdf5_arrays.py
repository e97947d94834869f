"""Arrays in HDF5 files, whole or in chunks packed by gzip, read without trust in what the file says of their sizes.

HDF5 unpacks a chunk to whatever size comes out. Here each is unpacked by zlib, and no further than its array has room;
and before anything is unpacked, the sizes of all arrays are added up and compared with the file's.
"""

import itertools
import math
import zlib
from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from minires.pretrained.errors import WeightsError
from minires.pretrained.zip_file import ALWAYS_ALLOWED, MAX_GROWTH

if TYPE_CHECKING:
    from h5py import Dataset

MOST_CHUNKS = 100_000  # of all arrays together
_GZIP, _SHUFFLE = 1, 2  # HDF5's numbers of its filters
_SAVE_AGAIN = "load the file in Keras and save it again"


def check_storage(datasets: "Collection[Dataset]", size: int) -> None:
    """Refuse arrays that are no floating-point numbers in this file of `size` bytes, or more of them than it may hold.

    Whole arrays take no more than the file, packed ones no more than zip_file allows a file to grow.
    Raises WeightsError, without the file's name.
    """
    whole = packed = chunks = 0
    for dataset in datasets:
        if dataset.dtype.kind != "f" or dataset.dtype.itemsize > 8:
            raise WeightsError(f"{dataset.name} holds {dataset.dtype}: give numbers of 16, 32 or 64 bits")
        if dataset.is_virtual or dataset.external:
            raise WeightsError(f"{dataset.name} is in another file, which Keras never does: {_SAVE_AGAIN}")
        if dataset.chunks:
            _check_filters(dataset)
            number = math.prod(_grid(dataset))
            chunks += number
            packed += number * _chunk_bytes(dataset)
        elif dataset.id.get_storage_size() != dataset.nbytes:
            raise WeightsError(f"{dataset.name} is not whole: download or save the file again")
        else:
            whole += dataset.nbytes
    limit = MAX_GROWTH * size + ALWAYS_ALLOWED
    if whole > size:
        raise WeightsError(f"arrays of {whole:,} bytes in a file of {size:,}: download or save it again")
    if packed > limit:
        raise WeightsError(
            f"would unpack to {packed:,} bytes, more than {limit:,} of a file of {size:,}: {_SAVE_AGAIN}"
        )
    if chunks > MOST_CHUNKS:
        raise WeightsError(f"its arrays are cut into {chunks:,} chunks, more than {MOST_CHUNKS:,}: {_SAVE_AGAIN}")


def read_array(dataset: "Dataset") -> np.ndarray:
    """The array of a dataset that check_storage has let through."""
    if not dataset.chunks:
        return dataset[()]
    array = np.empty(dataset.shape, dataset.dtype)
    for position in itertools.product(*map(range, _grid(dataset))):
        start = tuple(place * length for place, length in zip(position, dataset.chunks, strict=True))
        place = tuple(slice(at, at + length) for at, length in zip(start, dataset.chunks, strict=True))
        inside = tuple(slice(length) for length in array[place].shape)  # those at the edges reach beyond it
        array[place] = _chunk(dataset, start)[inside]
    return array


def _grid(dataset):
    """The number of chunks along each axis."""
    return [-(-length // chunk) for length, chunk in zip(dataset.shape, dataset.chunks, strict=True)]


def _chunk_bytes(dataset):
    return math.prod(dataset.chunks) * dataset.dtype.itemsize


def _filters(dataset):
    """HDF5's numbers of the filters that a chunk went through, in their order."""
    settings = dataset.id.get_create_plist()
    return [settings.get_filter(number)[0] for number in range(settings.get_nfilters())]


def _check_filters(dataset):
    import h5py

    if not set(_filters(dataset)) <= {_GZIP, _SHUFFLE}:
        raise WeightsError(f"{dataset.name} is packed by another method than gzip: {_SAVE_AGAIN}")
    if dataset.id.get_type() != h5py.h5t.py_create(dataset.dtype):
        raise WeightsError(f"{dataset.name} holds numbers of no usual layout: {_SAVE_AGAIN}")


def _chunk(dataset, start):
    """The chunk whose first number stands at `start`, unpacked."""
    info = dataset.id.get_chunk_info_by_coord(start)
    count = _chunk_bytes(dataset)
    if info.byte_offset is None or info.size > count + count // 100 + 1000:  # what gzip cannot pack grows a little
        raise WeightsError(f"{dataset.name} is not whole: download or save the file again")
    skipped, data = dataset.id.read_direct_chunk(start)
    for number, kind in reversed(list(enumerate(_filters(dataset)))):
        if skipped >> number & 1:
            continue
        if kind == _GZIP:
            unpacking = zlib.decompressobj()
            data = unpacking.decompress(data, count)
            if not unpacking.eof and unpacking.decompress(unpacking.unconsumed_tail, 1):
                raise WeightsError(
                    f"{dataset.name} has a chunk that unpacks to more than its {count:,} bytes: {_SAVE_AGAIN}"
                )
        elif len(data) == count:
            data = np.frombuffer(data, np.uint8).reshape(dataset.dtype.itemsize, -1).T.tobytes()
    if len(data) != count:
        raise WeightsError(f"{dataset.name} has a chunk of {len(data):,} bytes, not {count:,}: download it again")
    return np.frombuffer(data, dataset.dtype).reshape(dataset.chunks)
