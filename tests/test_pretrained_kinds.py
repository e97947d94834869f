"""Files that are no weights: one sentence says what they are, and what to do."""

import bz2
import gzip
import io
import pickle
import tarfile

import numpy as np
import pytest
import weights_cases as cases

from minires import pretrained
from minires.pretrained.keras_file import read_keras
from minires.pretrained.npz_file import read_npz
from minires.pretrained.safetensors_file import read_safetensors
from minires.pretrained.torch_file import read_torch

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22e\nsize 46827520\n"
SAFETENSORS = cases.GOOD["safetensors"]


def tar_of(name):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    return file.getvalue()


def npy():
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    return file.getvalue()


NO_WEIGHTS = {  # {what: (content, what the sentence says)}
    "Git LFS pointer": (POINTER, "is a Git LFS pointer, which only names a file of 46,827,520 bytes; fetch that with"),
    "its first lines": (POINTER[:60], "is a Git LFS pointer, which only names a file; fetch that with `git lfs pull`"),
    "web page": (
        b"\n<!DOCTYPE html>\n<html>404",
        "is a web page (HTML or XML), perhaps an error's or a login's; download",
    ),
    "web page with a mark": (b"\xef\xbb\xbf<HTML><head>", "is a web page (HTML or XML)"),
    "an answer in XML": (
        b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
        "is a web page (HTML or XML)",
    ),
    "nothing": (b"", "is empty: 0 bytes; download it again"),
    "ONNX": (
        b"\x08\x06\x12\x07pytorch\x1a\x031.9:\x90\xc8\x01",
        "is an ONNX network, a program with weights in it; save",
    ),
    "ONNX without producer": (b"\x08\x08:\xa2\xb3\x05\n\x20\n\x05input", "is an ONNX network"),
    "TensorFlow Lite": (
        b"\x1c\0\0\0TFL3\x14\0\x20\0",
        "is a TensorFlow Lite network; save the network as one file there",
    ),
    ".npy": (npy(), "is one array of NumPy without a name (.npy); save all arrays with their names: np.savez"),
    "gzip": (gzip.compress(SAFETENSORS), "is packed by gzip; unpack it and name the file of weights in it"),
    "bzip2": (bz2.compress(SAFETENSORS), "is packed by bzip2; unpack it"),
    "xz": (b"\xfd7zXZ\0\0\4\xe6\xd6\xb4F", "is packed by xz; unpack it"),
    "7-Zip": (b"7z\xbc\xaf\x27\x1c\0\4", "is packed by 7-Zip; unpack it"),
    "tar": (
        tar_of("model/best.pth"),
        "is a tar archive, of 'model/best.pth' and so on; unpack it and name the weights",
    ),
    "PyTorch's own tar": (tar_of("./sys_info"), "is of the tar format of PyTorch's first versions; load it there"),
    "zip of weights": (cases.zip_of({"a/best.pth": b"x"}), "is a zip archive of 'a/best.pth' and so on; unpack it"),
    "zip of something": (cases.zip_of({"a/photo.jpg": b"x"}), "is a zip file without PyTorch's data.pkl; check"),
    "TorchScript": (
        cases.torch_zip(cases.PICKLE, cases.STORAGES, **{"constants.pkl": b"", "code/a.py": b""}),
        "is a TorchScript program, which is not run; save torch.jit.load(path).state_dict()",
    ),
    "picture": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is a picture (PNG); name a file of weights"),
    "photograph": (b"\xff\xd8\xff\xe0\0\x10JFIF", "is a picture (JPEG); name a file of weights"),
    "text": (b"epoch,loss\n1,0.3\n", "is text: it begins with 'epoch,loss\\n1,0.3\\n'; name a file of weights"),
    "text in Chinese": ("轮次,损失\n".encode() * 100, "is text: it begins with "),
    "JSON": (b'{"error": "not found"}', 'is text: it begins with \'{"error": "not found"}\'; name a file of weights'),
    "a plain pickle": (pickle.dumps({"accuracy": 3}), "holds no tensors, only 'accuracy'; save the state_dict"),
    "a pickle of a list": (pickle.dumps([1, 2]), "holds no dictionary of tensors; save model.state_dict()"),
    "GGUF": (b"GGUF\3\0\0\0", "is a language model for llama.cpp (GGUF); name the weights of a ResNet"),
    "something else": (b"\0\1\2\3\4\5\6\7\x08\x09", "is not a PyTorch file: it begins with"),
}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".h5", ".npz", ""])
@pytest.mark.parametrize("kind", NO_WEIGHTS)
def test_a_sentence_says_what_it_is(tmp_path, kind, suffix):
    content, sentence = NO_WEIGHTS[kind]
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(pretrained.WeightsError) as caught:
        pretrained.read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: {sentence}")
    assert message.isprintable() and len(message) < len(str(path)) + 250


@pytest.mark.parametrize("read", [read_torch, read_safetensors, read_npz, read_keras])
def test_each_reader_says_it(tmp_path, read):
    for kind in ("Git LFS pointer", "web page", "nothing", "gzip", ".npy"):
        content, sentence = NO_WEIGHTS[kind]
        (tmp_path / "a").write_bytes(content)
        with pytest.raises(pretrained.WeightsError) as caught:
            read(tmp_path / "a")
        assert str(caught.value).startswith(f"{tmp_path / 'a'}: {sentence}")


def test_names_tell_what_bytes_do_not(tmp_path):
    for name, sentence in (
        ("frozen.pb", "is a graph of TensorFlow; save the network as one file there: model.save('model.keras')"),
        ("variables.index", "is part of a TensorFlow checkpoint; save"),
        ("model.ckpt.data-00000-of-00001", "is part of a TensorFlow checkpoint; save"),
        ("model.onnx", "is an ONNX network"),
    ):
        (tmp_path / name).write_bytes(b"\x0a\xff\xfe\0\0\0\0\0\0\0")
        with pytest.raises(
            pretrained.WeightsError, match=f"{name}: {sentence}".replace("(", r"\(").replace(")", r"\)")
        ):
            pretrained.read(tmp_path / name)


def test_an_optimizer_alone(tmp_path):
    torch = pytest.importorskip("torch")
    parameter = torch.nn.Parameter(torch.ones(3))
    adam = torch.optim.Adam([parameter])
    parameter.grad = torch.ones(3)
    adam.step()
    for content in (adam.state_dict(), {"optimizer": adam.state_dict(), "epoch": 3}):
        torch.save(content, tmp_path / "a.pth")
        with pytest.raises(
            pretrained.WeightsError, match="holds an optimizer's state and no network; give the file of"
        ):
            pretrained.read(tmp_path / "a.pth")


@pytest.mark.parametrize("kind", cases.READERS)
def test_good_files_are_none_of_these(tmp_path, kind):
    (tmp_path / "a").write_bytes(cases.GOOD[kind])
    state, _ = cases.READERS[kind](tmp_path / "a")
    assert len(state) == 2
