"""Damaged files in Keras's layouts: of each read_keras gives arrays or a WeightsError, whatever is wrong with it.

python tests/fuzz_keras.py --cases 1000
"""

import argparse
import os
import tempfile
from collections import Counter
from pathlib import Path

import h5py
import keras_files
import numpy as np

from minires.pretrained.errors import WeightsError
from minires.pretrained.keras_file import read_keras


def positions(path):
    """Where the file's bytes are no array's numbers, which may be any."""
    free = np.ones(os.path.getsize(path), bool)
    with h5py.File(path) as file:
        datasets = []
        file.visititems(lambda name, item: datasets.append(item) if hasattr(item, "shape") else None)
        for dataset in datasets:
            start = dataset.id.get_offset()
            if start is not None:  # packed arrays have none, and all their bytes count
                free[start : start + dataset.nbytes] = False
    return np.flatnonzero(free)


def outcome(path):
    """ "read" or "refused"; anything but a WeightsError comes out, as does one without the file's name."""
    try:
        read_keras(path)
        return "read"
    except WeightsError as error:
        assert str(error).startswith(f"{path}: "), error
        return "refused"


def flip_bytes(path, cases, seed):
    """Write other bytes in one to eight places, read the file, and put the bytes back, over and over."""
    places, outcomes = positions(path), Counter()
    with open(path, "r+b", buffering=0) as file:
        for case in range(cases):
            rng = np.random.default_rng([seed, case])
            chosen = rng.choice(places, rng.integers(1, 9), replace=False)
            before = [os.pread(file.fileno(), 1, place) for place in chosen]
            for place in chosen:
                os.pwrite(file.fileno(), bytes([rng.choice([0, 1, 127, 255, rng.integers(256)])]), place)
            outcomes[outcome(path)] += 1
            for place, byte in zip(chosen, before, strict=True):
                os.pwrite(file.fileno(), byte, place)
    return outcomes


def cut_short(path, cases, seed):
    """Cut the file shorter and shorter."""
    sizes = np.random.default_rng(seed).integers(0, os.path.getsize(path), cases)
    outcomes = Counter()
    for size in sorted(sizes.tolist(), reverse=True):
        os.truncate(path, size)
        outcomes[outcome(path)] += 1
    return outcomes


def pack(path):
    """Write each array of a file anew, in chunks packed by gzip."""
    with h5py.File(path, "a") as file:
        names = []
        file.visititems(lambda name, item: names.append(name) if hasattr(item, "shape") else None)
        for name in names:
            array = file[name][()]
            del file[name]
            file.create_dataset(name, data=array, compression="gzip", shuffle=True, chunks=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    whole = keras_files.network(50, classes=10)
    part = dict(list(whole.items())[:12])  # never fits, but is a hundred times as fast
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.h5"
        for layout in (keras_files.by_name, keras_files.by_number):
            for name, layers, cases in (("whole", whole, args.cases // 20), ("part", part, args.cases // 20 * 7)):
                keras_files.write(path, layout(layers))
                flipped, cut = flip_bytes(path, cases, args.seed), cut_short(path, cases // 4, args.seed)
                print(f"{layout.__name__}, {name}: flipped {dict(flipped)}, cut short {dict(cut)}")
        keras_files.write(path, keras_files.by_name(whole))
        pack(path)
        flipped, cut = flip_bytes(path, args.cases // 20, args.seed), cut_short(path, args.cases // 80, args.seed)
        print(f"packed: flipped {dict(flipped)}, cut short {dict(cut)}")


if __name__ == "__main__":
    main()
