"""Pictures that look alike to a network: their feature vectors, an index of them in a file, and exact search.

without_head(model)              the network up to the vector before its last layer
search(vectors, queries, k)      the k rows of `vectors` with the largest cosine
Index, save, load                vectors with the names of their pictures, as a file that is whole or not there
precision_at(numbers, ...)       how many of the k found are of the query's class

Explained: docs/retrieval.md.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from minires.checkpoint import digest, safetensors
from minires.files import write_atomically
from minires.models.blocks import Identity
from minires.models.last_layer import replace_head
from minires.module import Module
from minires.plain import check, read_json

FORMAT = "minires-index-1"
MOST_VECTORS, MOST_BYTES = 1_000_000, 2**32  # of an index; all of it is in memory, and a search reads all of it
BLOCK = 2**24  # numbers in a block of cosines: 64 MiB
DIGITS = 6  # of a cosine in float32; the others are the rounding of its sum


class IndexFileError(ValueError):
    """An index that cannot be used; the message names the file, what is wrong with it and the cure."""


# Vectors ------------------------------------------------------------------------------------------------------------


def without_head(model: Module) -> Module:
    """The network with its last layer taken out, in place: x -> (N, C), what that layer would be given."""
    replace_head(model, Identity())
    return model


def unit(features: np.ndarray) -> np.ndarray:
    """v / |v| of each row, float32 (N, C); a row of zeros stays one, and its cosine with anything is 0.

    Raises ValueError for what has not two axes, and for numbers that are NaN or infinite.
    """
    features = np.asarray(features, np.float32)
    if features.ndim != 2:
        raise ValueError(f"unit: features have shape {features.shape}, expected (N, C): a row for each picture")
    if not np.isfinite(features).all():
        raise ValueError("unit: some features are NaN or infinite, for the weights are too large: give other weights")
    norms = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    return (features / np.where(norms > 0, norms, 1)).astype(np.float32)


def check_size(count: int, width: int) -> None:
    """Raise ValueError for more vectors than an index holds: 1,000,000, and 4 GiB."""
    most = min(MOST_VECTORS, MOST_BYTES // (4 * width))
    if count > most:
        raise ValueError(
            f"{count:,} pictures of {width} numbers each: an index holds {most:,} of them, as all are kept in memory "
            "and compared one by one: cut the folder into several"
        )


# Search -------------------------------------------------------------------------------------------------------------


def search(vectors: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(numbers (Q, k), cosines (Q, k)) of the k rows of `vectors` nearest to each query, the nearest first.

    vectors (M, C), queries (Q, C): float32, rows of length 1 as `unit` makes them. k is at most M.
    Cosines are rounded to six digits; rows whose rounded cosines are equal come in the order of their numbers.
    The products are made block by block, so that beside the vectors 64 MiB are enough; time grows as Q * M * C.
    Raises ValueError for shapes that do not fit, for k below 1 or above M, and for too many vectors.
    """
    if vectors.ndim != 2 or queries.ndim != 2 or vectors.shape[1] != queries.shape[1]:
        raise ValueError(
            f"search: vectors {vectors.shape} and queries {queries.shape}: expected rows of the same length"
        )
    check_size(*vectors.shape)
    if not 1 <= k <= len(vectors):
        raise ValueError(f"search: k is {k}, expected 1 to {len(vectors)}, as many as there are vectors")
    found = [_search_for(vectors, query, k) for query in np.array_split(queries, _parts(queries, 256))]
    numbers, cosines = zip(*found, strict=True)
    return np.concatenate(numbers), np.concatenate(cosines)


def _parts(rows, size):
    return max(1, -(-len(rows) // size))


def _search_for(vectors, queries, k):
    """`search` for a few queries: block by block, the best so far and the block's own, of which the best are kept."""
    Q = len(queries)
    numbers: np.ndarray = np.empty((Q, 0), np.int64)
    cosines: np.ndarray = np.empty((Q, 0), np.float32)
    for start in range(0, len(vectors), step := max(1, BLOCK // max(Q, 1))):
        block = vectors[start : start + step]
        of_block = np.clip(np.round(queries @ block.T, DIGITS), -1, 1)
        near = _largest(of_block, min(k, len(block)))
        numbers = np.concatenate([numbers, near + start], axis=1)
        cosines = np.concatenate([cosines, np.take_along_axis(of_block, near, axis=1)], axis=1)
        best = _largest(cosines, min(k, cosines.shape[1]))
        numbers = np.take_along_axis(numbers, best, axis=1)
        cosines = np.take_along_axis(cosines, best, axis=1)
    return numbers, cosines


def _largest(values, k):
    """(Q, k): where in each row the k largest values are, the largest first; of equal ones the first in the row.

    argpartition finds the k-th largest in one pass over the row, but chooses freely among equals; so only its value
    is taken, and the row's places with that or more are put into order.
    """
    places = np.empty((len(values), k), np.int64)
    for row, place in zip(values, places, strict=True):
        least = row[np.argpartition(row, -k)[-k]]
        above, equal = np.flatnonzero(row > least), np.flatnonzero(row == least)
        above = above[np.argsort(-row[above], kind="stable")]
        place[:] = np.concatenate([above, equal[: k - len(above)]])
    return places


def precision_at(numbers: np.ndarray, labels: np.ndarray, query_labels: np.ndarray) -> float:
    """The share of the pictures found, numbers (Q, k), whose label is that of their query, labels (Q,)."""
    return float((labels[numbers] == query_labels[:, None]).mean())


# An index in a file -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Index:
    """Vectors of pictures, and what tells whether they are still those.

    vectors (M, C): float32, rows of length 1.   names: M paths within the folder, in order.
    stamps (M, 2): int64, each file's size in bytes and time of change in nanoseconds.
    made_with: {"model", "weights": SHA-256 of the weights' arrays, "preprocessing"}.
    unreadable: {name: (size, time)} of pictures that could not be read and so have no vector.
    """

    vectors: np.ndarray
    names: tuple[str, ...]
    stamps: np.ndarray
    made_with: Mapping[str, Any]
    unreadable: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def stamp_of(self) -> dict[str, tuple[int, int]]:
        """{name: (size, time)} of all that were looked at."""
        return {**dict(zip(self.names, map(tuple, self.stamps.tolist()), strict=True)), **self.unreadable}


def changes(
    index: Index | None, names: Sequence[str], stamps: np.ndarray
) -> tuple[dict[str, int], list[str], dict[str, int]]:
    """({name: its row in the index}, names that have none, {"new", "changed", "gone": how many}).

    The rows and names are of pictures that are as they were; those without a row could not be read.
    names, stamps: of the pictures that are there now, as in an Index.
    """
    known = {} if index is None else index.stamp_of
    as_they_were = [name for name, stamp in zip(names, stamps.tolist(), strict=True) if known.get(name) == tuple(stamp)]
    rows = {} if index is None else {name: row for row, name in enumerate(index.names)}
    same = {name: rows[name] for name in as_they_were if name in rows}
    there = sum(name in known for name in names)
    what = {"new": len(names) - there, "changed": there - len(as_they_were), "gone": len(known) - there}
    return same, [name for name in as_they_were if name not in rows], what


def save(path: str | Path, index: Index) -> None:
    """Write an Index as a safetensors file, whole or not at all. Raises OSError where it cannot be written."""
    names = np.frombuffer(json.dumps(list(index.names)).encode(), np.uint8)
    arrays = {"vectors": np.ascontiguousarray(index.vectors), "stamps": index.stamps.astype(np.int64), "names": names}
    metadata = {"format": FORMAT, "made_with": json.dumps(dict(index.made_with))}
    if index.unreadable:
        metadata["unreadable"] = json.dumps({name: list(stamp) for name, stamp in index.unreadable.items()})
    write_atomically(path, safetensors().numpy.save(arrays, metadata | {"sha256": digest(arrays, metadata)}))


def load(path: str | Path) -> Index:
    """The Index in a file. Raises IndexFileError for a file that is damaged, cut short or no index."""
    package = safetensors()
    cure = "if it was an index, remove it, and it is made anew; else name another file with --index"
    try:
        with package.safe_open(path, framework="numpy") as file:
            info = file.metadata() or {}
            if info.get("format") != FORMAT:
                raise IndexFileError(f"{path}: is no index of pictures: name another file with --index")
            arrays = {key: file.get_tensor(key) for key in ("vectors", "stamps", "names")}
        metadata = {key: info[key] for key in ("format", "made_with", "unreadable") if key in info}
        if info.get("sha256") != digest(arrays, metadata):
            raise ValueError("its checksum is another")
        made_with = read_json(info["made_with"])
        check(made_with, {"model": str, "weights": str, "preprocessing": dict}, "made_with")
        unreadable = read_json(info.get("unreadable", "{}"))
        check(unreadable, {str: [int]}, "unreadable")
        names = read_json(arrays["names"].tobytes())
        check(names, [str], "names")
        vectors, stamps = arrays["vectors"], arrays["stamps"]
        right = (vectors.ndim, vectors.dtype, len(vectors)) == (2, np.float32, len(names))
        if not right or stamps.shape != (len(names), 2):
            raise ValueError("its arrays do not fit together")
    except IndexFileError:
        raise
    except (KeyError, package.SafetensorError, ValueError, OSError) as error:
        why = str(error).removeprefix(f"{path}: ").removesuffix("; name a file of weights")
        raise IndexFileError(f"{path}: damaged, or no index ({why}): {cure}") from error
    return Index(vectors, tuple(names), stamps, made_with, {name: tuple(pair) for name, pair in unreadable.items()})


def refuse_other_weights(path: str | Path, index: Index, made_with: Mapping[str, Any]) -> None:
    """Raise IndexFileError where an index was made with other weights or preprocessing: its vectors mean others."""
    was = index.made_with
    for name, what in (("weights", "other weights"), ("preprocessing", "another preprocessing")):
        if was[name] != made_with[name]:
            raise IndexFileError(
                f"{path}: was made with {what} ({was['model']}): name another file with --index, or remove it, and it "
                "is made anew"
            )
