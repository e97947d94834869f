"""Attacks on the checkpoints of a run: flipped bits, cut files, files of other runs and moments, forged metadata."""

import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file
from safetensors.numpy import save as serialise

from campaign.attack import Attack, Target
from campaign.bounds import bounded
from minires import checkpoint, optim, pretrained
from minires.checkpoint import CheckpointError, DamagedError
from minires.cli.generations import newest, settle_best
from minires.data import Loader
from minires.layers import Dropout, Flatten, Linear
from minires.sequential import Sequential
from minires.trainer import Trainer

NAMES = ("last", "previous", "best")
FORGED = (None, True, -1, 0, 1.5, 1e308, "x", "", [], {}, [[]], {"x": 1}, 2**70, "\u202e")


@dataclass(frozen=True)
class Prepared:
    """The folder of a run after three epochs, those of another run and of the same run an epoch later."""

    run: Path
    other: Path
    later: Path


# Before -------------------------------------------------------------------------------------------------------------


def make_trainer(folder: Path, run: str, seed: int, epochs: int) -> Trainer:
    """A small run, as a script would make it."""
    rng = np.random.default_rng(0)
    loader = Loader(rng.integers(0, 256, (8, 4, 4, 3), np.uint8), rng.integers(0, 3, 8), 4, (0.5,) * 3, (0.2,) * 3)
    model = Sequential(Flatten(), Linear(48, 4, rng=seed), Dropout(0.5, rng=seed), Linear(4, 3, rng=seed))
    config = {"run": run, "settings": {"seed": seed}, "dataset": {"name": "a", "label": "a", "notice": None}}
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    more: dict[str, Any] = {"epochs": epochs, "num_classes": 3, "folder": folder, "info": {"config": config}}
    return Trainer(model, optimizer, lambda iteration: 0.01, loader, None, **more)


def prepare(folder: Path) -> Prepared:
    """Train all three."""
    places = {name: folder / name for name in ("run", "other", "later")}
    for name, place in places.items():
        place.mkdir()
        run, seed = ("b" * 16, 1) if name == "other" else ("a" * 16, 0)
        make_trainer(place, run, seed, 4 if name == "later" else 3).run()
        (place / "config.json").write_text(json.dumps({"run": run}))
    return Prepared(**places)


def same(one: checkpoint.Checkpoint, other: checkpoint.Checkpoint) -> bool:
    """Whether two checkpoints agree in every bit."""
    plain = [replace(each, model={}, optimizer={**(each.optimizer or {}), "arrays": {}}) for each in (one, other)]
    sets = [{**each.model, **(each.optimizer or {"arrays": {}})["arrays"]} for each in (one, other)]
    bits = [{key: (str(a.dtype), a.shape, a.tobytes()) for key, a in arrays.items()} for arrays in sets]
    return asdict(plain[0]) == asdict(plain[1]) and bits[0] == bits[1]


# Damage -------------------------------------------------------------------------------------------------------------


def damaged(content: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """(what was done, the bytes): one bit or a few flipped, cut short, zeros in places, or bytes of another place."""
    kind = str(rng.choice(["one bit", "one bit", "bits", "cut", "zeros", "moved"]))
    bytes_ = np.frombuffer(content, np.uint8).copy()
    if kind == "cut":
        return kind, content[: rng.integers(len(content))]
    if kind in ("zeros", "moved"):
        start, length = int(rng.integers(len(content) - 64)), int(rng.integers(1, 64))
        source = int(rng.integers(len(content) - 64))
        bytes_[start : start + length] = 0 if kind == "zeros" else bytes_[source : source + length].copy()
        return kind, bytes_.tobytes()
    header = 8 + int.from_bytes(content[:8], "little")
    places = rng.integers(header if rng.random() < 0.5 else len(content), size=1 if kind == "one bit" else 5)
    np.bitwise_xor.at(bytes_, places, (1 << rng.integers(8, size=len(places))).astype(np.uint8))
    return kind, bytes_.tobytes()


def damage(prepared: Prepared, rng: np.random.Generator, number: int, folder: Path) -> str:
    """One file of the run is damaged: refused by every reader, and the run goes on from a whole one."""
    run = folder / "run"
    shutil.copytree(prepared.run, run)
    path = run / f"{rng.choice(NAMES)}.safetensors"
    before = path.read_bytes()
    kind, after = damaged(before, rng)
    if after == before:
        return "unchanged"
    path.write_bytes(after)
    outcome = bounded(checkpoint.load, path, allowed=(CheckpointError,))
    assert outcome == "refused", f"{kind}: {path.name} is read, though it is not as it was written"
    outcome = bounded(pretrained.read, path, allowed=(pretrained.WeightsError,))
    assert outcome == "refused", f"{kind}: {path.name} is read as weights, though it is not as it was written"
    found = newest(run)
    expected = "previous" if path.stem == "last" else "last"
    assert found.name == f"{expected}.safetensors", f"goes on from {found.name}"
    assert same(found.checkpoint, checkpoint.load(prepared.run / found.name)), "other numbers"
    assert bool(found.notes) == (path.stem == "last"), f"said: {found.notes}"
    trouble, notes = settle_best(found)
    assert trouble is not None or path.stem == "previous" or notes, f"nothing is said of {path.name}"
    if trouble is None:
        epoch = found.position.best_epoch
        assert checkpoint.load(run / "best.safetensors").info["epoch"] == epoch, "the best is of another epoch"
    return kind


# Other files --------------------------------------------------------------------------------------------------------


def swapped(prepared: Prepared, rng: np.random.Generator, number: int, folder: Path) -> str:
    """Files of another run, or of another moment of the run, in the place of its own: refused, or made again."""
    run = folder / "run"
    shutil.copytree(prepared.run, run)
    whose = str(rng.choice(["other", "later"]))
    names = [name for name in NAMES if rng.random() < 0.5] or ["best"]
    for name in names:
        shutil.copy(getattr(prepared, whose) / f"{name}.safetensors", run / f"{name}.safetensors")
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    try:
        found = newest(run)
        settle_best(found)
    except DamagedError as error:
        raise AssertionError(f"{whose} {names}: called damaged: {error}") from error
    except CheckpointError as error:
        assert whose == "other", f"of the same run, and last has its model: {error}"
        assert "last" in names or ("best" in names and "b" * 16 in str(error)), str(error)
        assert before == {path.name: path.read_bytes() for path in run.iterdir()}, "refused, and a file is changed"
        return f"{whose}: refused"
    assert whose == "later" or names == ["previous"], f"{names} of another run are taken"
    best = checkpoint.load(run / "best.safetensors")
    assert checkpoint.digest(best.model) == found.position.best_model, "best is not the one that last knows"
    return (
        f"{whose}: {'made again' if before['best.safetensors'] != (run / 'best.safetensors').read_bytes() else 'fits'}"
    )


# Forged files -------------------------------------------------------------------------------------------------------


def forged(prepared: Prepared, rng: np.random.Generator, number: int, folder: Path) -> str:
    """A value of the metadata is another, and the checksum fits: refused in a sentence, or taken up as it is."""
    path = folder / "last.safetensors"
    arrays = load_file(prepared.run / "last.safetensors")
    loaded = checkpoint.load(prepared.run / "last.safetensors")
    state = {key: value for key, value in (loaded.optimizer or {}).items() if key != "arrays"}
    header: Any = {"optimizer": state, "position": loaded.position, "generators": loaded.generators}
    header = json.loads(json.dumps({**header, "info": loaded.info}))
    places = list(all_places(header))
    inner, key = places[rng.integers(len(places))]
    inner[key] = FORGED[rng.integers(len(FORGED))]
    metadata = {"format": checkpoint.FORMAT, "minires": json.dumps(header)}
    metadata["sha256"] = checkpoint.digest(arrays, metadata)
    path.write_bytes(serialise(arrays, metadata))
    trainer = make_trainer(folder, "a" * 16, 0, 3)
    return bounded(lambda path: trainer.resume(checkpoint.load(path)), path, allowed=(ValueError,))


def all_places(value: Any) -> Any:
    """(container, key) of everything within a value."""
    for key, inner in list(value.items()) if isinstance(value, dict) else list(enumerate(value)):
        yield value, key
        if isinstance(inner, (dict, list)):
            yield from all_places(inner)


def fuzzed_seed() -> bytes:
    """A small checkpoint without an optimizer."""
    model = Sequential(Linear(2, 2, rng=0))
    arrays, header = model.state_dict(), {"optimizer": None, "position": None, "generators": {}, "info": {}}
    metadata = {"format": checkpoint.FORMAT, "minires": json.dumps(header)}
    return serialise(arrays, metadata | {"sha256": checkpoint.digest(arrays, metadata)})


FUZZ = {
    "checkpoint": Target(
        lambda: [fuzzed_seed()], lambda path: bounded(checkpoint.load, path, allowed=(CheckpointError,))
    )
}
ATTACKS = [
    Attack(
        "damaged checkpoints", "refused by every reader; the run goes on from a whole one", prepare, damage, 20_000, 60
    ),
    Attack("swapped checkpoints", "never a model of another run or moment", prepare, swapped, 2000, 20),
    Attack("forged checkpoints", "refused in a sentence, or taken up; no other exception", prepare, forged, 20_000, 60),
]
