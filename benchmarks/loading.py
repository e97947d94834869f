"""How long reading ResNet-50's weights takes, and how much memory, for each kind of file.

    python benchmarks/loading.py

Random weights are written by PyTorch, safetensors, NumPy and (where they are installed) Keras. The files take turns,
five each, and every reading is in a process of its own. Time is that of minires.pretrained.read, the least and the
largest of the five; memory is what the process took at most beyond what it held before, over the size of the file.
"""

import functools
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from command_line import about
from turns import take_turns

from minires import backend, models, pretrained


def main():
    """Write the files, read them, print the table."""
    print(f"{about(backend.get_threads())['machine']['processor']}; resnet50, random weights, seed 0\n")
    print(f"{'file':38} {'MB':>6} {'seconds':>14} {'memory / file':>14}")
    with tempfile.TemporaryDirectory() as folder:
        paths = dict(files(Path(folder)))
        found = take_turns({what: functools.partial(read, path) for what, path in paths.items()}, 5)
        for what, path in paths.items():
            (seconds, memory), size = zip(*found[what], strict=True), path.stat().st_size
            times = f"{min(seconds):.2f} to {max(seconds):.2f}"
            print(f"{what:38} {size / 1e6:6.1f} {times:>14} {max(memory) / size:14.2f}")


def read(path):
    """(seconds, bytes of memory) of reading a file in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(read_here, [path])


def read_here(path):
    before, began = backend.memory_peak("cpu"), time.perf_counter()
    state, _ = pretrained.read(path)
    return time.perf_counter() - began, backend.memory_peak("cpu") - before


def files(folder):
    """Pairs (what it is, path), each written when it is asked for."""
    state = models.build("resnet50", 1000, rng=0).state_dict()
    yield from torch_files(state, folder)
    from safetensors.numpy import save_file

    save_file(state, folder / "a.safetensors")
    yield "safetensors", folder / "a.safetensors"
    np.savez(folder / "a.npz", **state)
    yield "NumPy .npz", folder / "a.npz"
    np.savez_compressed(folder / "b.npz", **state)
    yield "NumPy .npz, compressed", folder / "b.npz"
    yield from keras_files(folder)


def torch_files(state, folder):
    """PyTorch's zip format in three precisions, and the format before 1.6."""
    try:
        import torch
    except ImportError:
        print("without PyTorch's files, which need PyTorch (pip install torch)")
        return
    tensors = {name: torch.from_numpy(np.array(value)) for name, value in state.items()}
    torch.save({"state_dict": tensors}, folder / "a.pth")
    yield "PyTorch, in a checkpoint", folder / "a.pth"
    torch.save(tensors, folder / "b.pth", _use_new_zipfile_serialization=False)
    yield "PyTorch, the format before 1.6", folder / "b.pth"
    for name, dtype in (("half", torch.float16), ("bfloat16", torch.bfloat16), ("double", torch.float64)):
        torch.save({key: value.to(dtype) for key, value in tensors.items()}, folder / f"{name}.pth")
        yield f"PyTorch, {name}", folder / f"{name}.pth"


def keras_files(folder):
    """Keras's ResNet50 in both of its HDF5 formats."""
    try:
        import h5py  # noqa: F401
        from keras.applications import ResNet50
    except ImportError as error:
        print(f"without Keras's files: {error}")
        return
    model = ResNet50(weights=None)
    for name in ("a.h5", "a.weights.h5"):
        (model.save if name == "a.h5" else model.save_weights)(folder / name)
        yield f"Keras, {name[1:]}", folder / name


if __name__ == "__main__":
    main()
