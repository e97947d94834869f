"""Pickles of weights and of pictures: PyTorch's files, new and old, plain ones, and CIFAR's; and CIFAR's binaries."""

import contextlib
import pickle
import random
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import weights_cases as cases
from hostile_pickles import COUNTS, WORDS, Program, bomb, lying_zip
from spoiling import nothing_reached, spoilt
from test_data_cifar import make_batches, write_binary, write_python

from campaign.attack import Attack, Target
from campaign.bounds import bounded
from minires import models, pretrained
from minires.data.cifar import read_cifar
from minires.data.cifar_kinds import CIFAR10, CIFAR100, CIFAR100_COARSE
from minires.data.dataset import DatasetError
from minires.pretrained.errors import WeightsError
from minires.pretrained.torch_file import read_torch

Rng = np.random.Generator
PREFIXES = (
    "",
    "module.",
    "state_dict.",
    "ema.",
    "a.encoder_k.",
    "a.b.c.d.",
    "1.",
    "\x1b[2J.",
    "model." * 30,
    "x" * 900 + ".",
)

# Weights ----------------------------------------------------------------------------------------------------------


def checked(path: Path) -> str:
    """Arrays of numbers, or a refusal in a sentence, within the bounds; then what `identify` makes of them."""

    def reading(path):
        try:
            cases.check_content(*read_torch(path))
        except WeightsError as error:
            cases.check_sentence(str(error), path)
            raise

    def identifying(path):
        for line in pretrained.identify(path).splitlines():
            assert line.isprintable() and len(line) < 2000, f"{line[:300]!a}"

    with nothing_reached(path.parent):
        outcome = bounded(reading, path, allowed=(WeightsError,))
        if outcome == "read":
            known = bounded(identifying, path, allowed=(WeightsError,))
            return "read, a network" if known == "read" else "read"
        return outcome


def pickled(rng: Rng, sentinel: Path, plain: bool = False) -> bytes:
    """A pickle, drawn by rules or spoilt."""
    way = rng.integers(10)
    if way < 5:
        return Program(rng, sentinel, plain).whole()
    if way < 7 or plain:
        return spoilt(Program(rng, sentinel, plain).whole(), [cases.PICKLE], rng)
    drawn = random.Random(int(rng.integers(2**62)))
    return cases.spoilt_pickle(drawn, sentinel)


def networks(folder: Path) -> list[dict[str, tuple[int, ...]]]:
    """{key: shape} of three networks, one of each family."""
    built = [models.build("simple_cnn", 10), models.build("resnet20", 10), models.build("resnet18", 3)]
    return [{key: array.shape for key, array in model.state_dict().items()} for model in built]


def network(shapes: list[dict[str, tuple[int, ...]]], rng: Rng) -> tuple[bytes, dict[str, bytes]]:
    """A pickle of one to three networks under odd names, with arrays missing, added or of other shapes."""
    entries: dict[str, bytes] = {}
    for _ in range(rng.choice([1, 1, 1, 2, 3, 70], p=[0.3, 0.3, 0.2, 0.1, 0.09, 0.01])):
        prefix = PREFIXES[rng.integers(len(PREFIXES))] if rng.random() < 0.8 else f"{rng.integers(100)}."
        keep = rng.choice([1.0, 1.0, 0.98, 0.5])
        for key, shape in shapes[rng.integers(2 if rng.random() < 0.9 else 3)].items():
            if rng.random() < 0.01:
                shape = (*shape, 1) if rng.random() < 0.5 else tuple(int(rng.integers(1, 5)) for _ in shape)
            if rng.random() < 0.01:
                key = key.replace(".", str(rng.choice([".", "..", "_", "\x1b[2J"])))
            if rng.random() < keep:
                entries[prefix + key] = cases.tensor(cases.storage("0", 40_000), shape)
    for name in WORDS[: rng.integers(len(WORDS))]:
        entries[name] = cases.tensor(cases.storage("0", 40_000), (int(rng.integers(1, 20)), 64))
    numbers = np.full(40_000, rng.choice([0, 1, 0.01, np.nan, np.inf, -1e38]), "<f4")
    return cases.whole(cases.dictionary(**entries)), {"0": numbers.tobytes()}


def torch_zip(prepared: Any, rng: Rng, number: int, folder: Path) -> str:
    """A file as PyTorch writes it since 1.6: its pickle, its entries, or its directory is harmful."""
    path, sentinel = folder / "a.pth", folder / "sentinel"
    way = rng.integers(20)
    if way == 0 and rng.random() < 0.3:
        path.write_bytes(bomb(rng))
        return checked(path)
    if way < 3:
        path.write_bytes(cases.torch_zip(*network(prepared, rng)))
        return checked(path)
    steps = pickled(rng, sentinel) if way < 15 else cases.PICKLE
    entries = [("a/data.pkl", steps), ("a/byteorder", b"little"), ("a/data/0", cases.STORAGES["0"])]
    entries += [("a/data/1", cases.STORAGES["1"])]
    if way >= 9:
        odd = ["a/data/0", "A/data/0", "a/data.pkl", "b/data.pkl", "a/constants.pkl", "../a", "a/data/", *WORDS]
        entries += [(odd[rng.integers(len(odd))], b"abcd") for _ in range(rng.integers(3))]
        del entries[rng.integers(len(entries)) : len(entries) - int(rng.integers(2))]
    content = lying_zip(entries, rng, lies=rng.choice([0.01, 0.03, 0.1]) if way >= 12 else 0)
    path.write_bytes(spoilt(content, [content], rng) if way >= 17 else content)
    return checked(path)


def many(prepared: Any, rng: Rng, number: int, folder: Path) -> str:
    """As many names as may be, most for one tensor: beside a network, at its levels, or in networks in each other."""
    path, way = folder / "a.pth", number % 4
    depth = int(rng.choice([1, 10, 90]))
    count = min(int(rng.choice([49_000, 51_000])), 15_000_000 // (2 * depth + 20))
    prefix = "q." * depth
    names = [f"{prefix[: 2 * int(n)]}x{i}.weight" for i, n in enumerate(rng.integers(depth + 1, size=count))]
    if way == 1:
        names = [f"{name}.bias" if i % 2 else f"{name}.weight" for i, name in enumerate(names)]
    elif way == 2:
        names = [f"{'a.' * (i // 700)}layer1.{i % 700}.conv1.weight" for i in range(count // 10)]
    steps = b"".join(cases.text(name) + b"h\1" for name in names)
    entries = {prefix + key: cases.tensor(cases.storage("0", 40_000), shape) for key, shape in prepared[1].items()}
    anchors = {f"{'a.' * n}{key}": b"h\1" for n in range(20 if way == 2 else 0) for key in list(prepared[1])[:3]}
    first = cases.text("first") + cases.tensor(cases.storage("0", 40_000), (10, 64)) + b"q\1"
    inside = cases.dictionary(**entries, **anchors)[2:-1] if way < 3 else b""
    content = cases.whole(b"}(" + first + inside + steps + b"u")
    path.write_bytes(cases.torch_zip(content, {"0": bytes(160_000)}))
    return checked(path)


def torch_old(prepared: Any, rng: Rng, number: int, folder: Path) -> str:
    """A file as PyTorch wrote it before 1.6: five pickles, and the numbers behind them."""
    path, sentinel = folder / "a.pth", folder / "sentinel"
    way = rng.integers(10)
    if way == 0:
        steps, storages = network(prepared, rng)
        path.write_bytes(cases.torch_old(steps, storages))
        return checked(path)
    content = cases.torch_old(pickled(rng, sentinel) if way < 7 else cases.PICKLE, cases.STORAGES)
    if way >= 5:
        content = _other_surroundings(content, rng, sentinel)
    path.write_bytes(spoilt(content, [content], rng) if way == 9 else content)
    return checked(path)


def _other_surroundings(content, rng, sentinel):
    """One of the pickles around the one that describes tensors, or a count of numbers, is another."""
    program = Program(rng, sentinel)
    parts = [pickle.dumps(1001, 2), cases.old_system(), pickle.dumps(["0", "1"], 2)]
    part = parts[rng.integers(3)]
    others = [cases.whole(program.value()), pickle.dumps(["0"] * 3, 2), pickle.dumps(["1", "0"], 2), b"."]
    others += [part + part, cases.whole(cases.dictionary(little_endian=b"\x89")), pickle.dumps(["0", "1", "2"], 2)]
    if rng.random() < 0.3:
        count = int(rng.choice([0, 1, 13, 2**31, 2**61, 2**62, 2**63])).to_bytes(8, "little")
        return content.replace((12).to_bytes(8, "little"), count)
    return content.replace(part, others[rng.integers(len(others))])


def plain(prepared: Any, rng: Rng, number: int, folder: Path) -> str:
    """A pickle without PyTorch around it, with arrays of NumPy in it."""
    path, sentinel = folder / "a.pkl", folder / "sentinel"
    if rng.random() < 0.7:
        steps = pickled(rng, sentinel, plain=True)
    else:
        arrays = {word: rng.random(rng.integers(0, 4, rng.integers(4))) for word in WORDS[: rng.integers(1, 9)]}
        steps = spoilt(pickle.dumps(arrays, int(rng.integers(6))), [cases.PICKLE], rng)
    path.write_bytes(steps)
    return checked(path)


# CIFAR ------------------------------------------------------------------------------------------------------------

KINDS = {"10": CIFAR10, "100": CIFAR100, "100 coarse": CIFAR100_COARSE}


def cifar_files(folder: Path) -> dict[str, dict[str, dict[str, bytes]]]:
    """{form: {"10" or "100": {name: content}}} of tiny copies of both data sets in both layouts."""
    made = {"py": {"10": _files(write_python(folder, make_batches()))}}
    made["bin"] = {"10": _files(write_binary(folder, make_batches()))}
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3072), np.uint8)
    names = {key: [f"{key[0]}{n}" for n in range(count)] for key, count in (("fine", 100), ("coarse", 20))}
    labels = {"fine": [5, 99, 0], "coarse": [19, 0, 7]}
    batch = pickle.dumps({"data": pixels, **{f"{key}_labels": values for key, values in labels.items()}}, 2)
    meta = pickle.dumps({f"{key}_label_names": values for key, values in names.items()}, 2)
    records = b"".join(bytes([labels["coarse"][n], labels["fine"][n]]) + pixels[n].tobytes() for n in range(3))
    lists = {f"{key}_label_names.txt": "\n".join(values).encode() for key, values in names.items()}
    made["py"]["100"] = {"train": batch, "test": batch, "meta": meta}
    made["bin"]["100"] = {"train.bin": records, "test.bin": records, **lists}
    return made


def _files(folder):
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def cifar(
    prepared: Any, rng: Rng, number: int, folder: Path, form: str, spoil: Callable[[bytes, Rng, Path], bytes]
) -> str:
    """One or two files of a data set are harmful: a data set that makes sense comes out, or a refusal."""
    kind = list(KINDS.values())[number % 3]
    files = prepared[form]["10" if kind is CIFAR10 else "100"]
    place = folder / (kind.python if form == "py" else kind.binary).folder
    place.mkdir()
    changed = {list(files)[rng.integers(len(files))] for _ in range(rng.choice([1, 1, 2]))}
    for name, content in files.items():
        (place / name).write_bytes(spoil(content, rng, folder / "sentinel") if name in changed else content)

    def read(path):
        data = read_cifar(path, kind)
        assert len(data.classes) == kind.number and all(name.isprintable() and name for name in data.classes), (
            data.classes
        )
        for images, labels in ((data.train_images, data.train_labels), (data.test_images, data.test_labels)):
            assert images.dtype == np.uint8 and images.shape == (len(labels), 32, 32, 3), images.shape
            assert labels.dtype == np.int64 and labels.min() >= 0 and labels.max() < kind.number

    with nothing_reached(folder):
        outcome = bounded(read, folder, allowed=(DatasetError,))
    shutil.rmtree(place)
    return outcome


def cifar_pickle(content: bytes, rng: Rng, sentinel: Path) -> bytes:
    """A batch or list of names: spoilt, with a value replaced by one of a program's, or a program's own."""
    way = rng.integers(5)
    if way == 0:
        return spoilt(content, [cases.PICKLE], rng)
    program = Program(rng, sentinel)
    if way == 1:
        return program.whole()
    values = pickle.loads(content, encoding="latin1")
    steps, key = b"", list(values)[rng.integers(len(values))]
    for name, value in values.items():
        whole = pickle.dumps(value, 2)[2:-1]
        steps += cases.text(name) + (_another(value, program, rng) if name == key else whole)
    return cases.whole(b"}(" + steps + b"u")


def _another(value, program, rng):
    """Steps of a value instead of a list or array: something of any kind, or the same with other values in it."""
    if rng.random() < 0.4:
        return program.value()
    if isinstance(value, np.ndarray):
        kind = str(rng.choice(["u1", "i1", "i8", ">u2", "f4", "O", "U3", "c8"]))
        return pickle.dumps(value[:, : rng.integers(3073)].astype(kind), 2)[2:-1]
    odd = [program.value(1) for _ in range(rng.integers(1, 3))]
    odd += [cases.number(COUNTS[rng.integers(len(COUNTS))]), cases.text(WORDS[rng.integers(len(WORDS))])]
    inside = [pickle.dumps(item, 2)[2:-1] for item in value]
    for item in odd[: rng.integers(1, len(odd) + 1)]:
        inside[rng.integers(len(inside))] = item
    return b"](" + b"".join(inside[: len(inside) - int(rng.integers(2))]) + b"e"


def cifar_binary(content: bytes, rng: Rng, sentinel: Path) -> bytes:
    """Records or a list of names, spoilt; half of the time of whole records."""
    content = spoilt(content, [content], rng)
    if rng.random() < 0.3:
        content = WORDS[rng.integers(len(WORDS))].encode() + b"\n" + content
    return content[: len(content) // 3073 * 3073] if rng.random() < 0.3 else content


# ------------------------------------------------------------------------------------------------------------------


def _fuzzed_cifar(path):
    place = path.parent / "folder" / CIFAR100.python.folder
    place.mkdir(parents=True, exist_ok=True)
    for name in CIFAR100.python.files:
        (place / name).write_bytes(path.read_bytes())
    with contextlib.suppress(DatasetError):
        read_cifar(place, CIFAR100)


def _seeds(kinds):
    """A few programs, small ones, and the good one, each as every kind of file: functions of the program's bytes."""
    drawn = [Program(np.random.default_rng(seed), "sentinel").whole() for seed in range(60)]
    small = [steps for steps in drawn if len(steps) < 1500][:12]
    return [write(steps) for write in kinds for steps in (cases.PICKLE, *small)]


_OF_STEPS = [lambda steps: cases.torch_zip(steps, cases.STORAGES)]
_OLD = [lambda steps: cases.torch_old(steps, cases.STORAGES)]
_READ = partial(bounded, read_torch, allowed=(WeightsError,))
FUZZ = {
    "torch zip": Target(partial(_seeds, _OF_STEPS), _READ),
    "torch old": Target(partial(_seeds, _OLD), _READ),
    "plain pickles": Target(partial(_seeds, [bytes]), _READ),
    "CIFAR pickles": Target(
        lambda: [pickle.dumps({"fine_labels": [1], "data": np.zeros((1, 3072), np.uint8)}, 2)], _fuzzed_cifar
    ),
}
_WEIGHTS = "arrays of numbers, or a refusal in a sentence, within the bounds; nothing is started, written or reached"
_CIFAR = "pictures with labels that are classes, or a refusal in a sentence, within the bounds; nothing is reached"
ATTACKS = [
    Attack("torch zip", _WEIGHTS, networks, torch_zip, 30_000, 60),
    Attack("many tensors", _WEIGHTS, networks, many, 200, 1),
    Attack("torch old", _WEIGHTS, networks, torch_old, 15_000, 40),
    Attack("plain pickles", _WEIGHTS, networks, plain, 15_000, 50),
    Attack("CIFAR pickles", _CIFAR, cifar_files, partial(cifar, form="py", spoil=cifar_pickle), 10_000, 60),
    Attack("CIFAR binaries", _CIFAR, cifar_files, partial(cifar, form="bin", spoil=cifar_binary), 5_000, 60),
]
