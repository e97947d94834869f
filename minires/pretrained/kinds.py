"""What a file is when it is no file of weights: one sentence, with the cure, from the bytes that it begins with."""

import re
from collections.abc import Iterable
from pathlib import Path

from minires.wording import quoted

TELL_TALE = 512  # bytes from the start that are enough to tell
SUFFIXES = (".pth", ".pt", ".th", ".tar", ".bin", ".ckpt", ".safetensors", ".npz", ".h5", ".hdf5", ".keras", ".pkl")

_PACKED = {
    b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "Zstandard", b"7z\xbc\xaf": "7-Zip",
    b"Rar!": "RAR",
}  # fmt: skip
_OTHERS = {
    b"\x93NUMPY": "one array of NumPy without a name (.npy); save all arrays with their names: np.savez(path, **state)",
    b"\x89PNG": "a picture (PNG); name a file of weights",
    b"\xff\xd8\xff": "a picture (JPEG); name a file of weights",
    b"%PDF": "a PDF document; name a file of weights",
    b"GGUF": "a language model for llama.cpp (GGUF); name the weights of a ResNet",
    b"MATLAB": "a file of MATLAB; save the arrays with NumPy: np.savez(path, **scipy.io.loadmat(path))",
    b"CDF": "a NetCDF file; save the arrays with NumPy: np.savez(path, **state)",
}
_TENSORFLOW = "save the network as one file there: model.save('model.keras')"
_ONNX = "an ONNX network, a program with weights in it; save the weights where it was made: model.state_dict()"
_WEB_PAGE = (b"<!doctype", b"<html", b"<head", b"<?xml", b"<body", b"<!--", b"<script")


def foreign(path: str | Path, start: bytes) -> str | None:
    """What a file is by its name and the first TELL_TALE bytes, "is ...; cure"; None if it may be one of weights."""
    what = _what(Path(path).name.lower(), start)
    return f"is {what}" if what else None


def _what(name, start):
    if not start:
        return "empty: 0 bytes; download it again, or free space on the disk it was saved to"
    if start.startswith(b"version https://git-lfs.github.com/"):
        return _git_lfs_pointer(start)
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_WEB_PAGE):
        return "a web page (HTML or XML), perhaps an error's or a login's; download the file itself, by its raw link"
    for signature, method in _PACKED.items():
        if start.startswith(signature):
            return f"packed by {method}; unpack it and name the file of weights in it"
    for signature, what in _OTHERS.items():
        if start.startswith(signature):
            return what
    if start[4:8] == b"TFL3":
        return f"a TensorFlow Lite network; {_TENSORFLOW}"
    if name.endswith(".pb"):
        return f"a graph of TensorFlow; {_TENSORFLOW}"
    if re.search(r"\.(index|data-\d{5}-of-\d{5})$", name):
        return f"part of a TensorFlow checkpoint; {_TENSORFLOW}"
    if _is_onnx(name, start):
        return _ONNX
    if _is_text(start):
        return f"text: it begins with {start[:30].decode(errors='replace')!a}; name a file of weights"
    return None


def tar_archive(start: bytes) -> str | None:
    """What a tar archive is, "is ...; cure", by its first TELL_TALE bytes; None for all other files."""
    if start[257:262] != b"ustar":
        return None
    name = start[:100].rstrip(b"\0").removeprefix(b"./")
    if name in (b"", b"sys_info", b"pickle", b"storages", b"tensors"):
        return "is of the tar format of PyTorch's first versions; load it there and save it again"
    return (
        f"is a tar archive, of {quoted(name.decode(errors='replace'))} and so on; unpack it and name the weights in it"
    )


def zip_archive(entries: Iterable[str]) -> str:
    """What a zip archive with these entries is that is of no format of weights, "is ...; cure"."""
    weights = [entry for entry in entries if entry.lower().endswith(SUFFIXES)]
    if weights:
        return f"is a zip archive of {quoted(weights[0], 80)} and so on; unpack it and name the file of weights in it"
    return "is a zip file without PyTorch's data.pkl; check where it is from"


def _git_lfs_pointer(start):
    found = re.search(rb"\nsize (\d{1,15})\n", start)
    size = f" of {int(found[1]):,} bytes" if found else ""
    return f"a Git LFS pointer, which only names a file{size}; fetch that with `git lfs pull`, or download it"


def _is_onnx(name, start):
    """An ONNX ModelProto: ir_version, and the producer's name, a domain, the graph or opset_import after it."""
    return name.endswith(".onnx") or re.match(rb"\x08[\x03-\x1f](\x12.[a-zA-Z]{3}|[\x3a\x42])", start, re.S) is not None


def _is_text(start):
    """Letters of ASCII or UTF-8 and nothing else; a safetensors file has zeros in its first eight bytes."""
    try:
        text = start.decode()
    except UnicodeDecodeError as error:
        if error.start < TELL_TALE - 4:  # the last letter may be cut
            return False
        text = start[: error.start].decode()
    pickled = text.startswith(("(dp", "(lp"))  # by the oldest protocol, which is text
    return len(text) >= 4 and not pickled and all(letter.isprintable() or letter in "\r\n\t\ufeff" for letter in text)
