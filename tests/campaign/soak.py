"""A soak: everything a session does, over and over in one process, which must not grow.

    PYTHONPATH=tests python -m campaign.soak --minutes 30

Each round trains, evaluates, saves, goes on from the checkpoint, reads weights in every format and damaged ones,
decodes a folder of pictures and draws some. After each, what the process holds is measured. The exit code is 1 where
resident memory grows by more than MOST_GROWTH, or descriptors or threads become more.
"""

import argparse
import contextlib
import ctypes
import gc
import json
import os
import random
import sys
import tempfile
import threading
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from weights_cases import GOOD, READERS, damaged

from campaign.attack import Attack
from minires import checkpoint
from minires.backend.cpu import memory
from minires.data import Augment, Loader
from minires.data.folders import read_image_folder
from minires.data.images import Preprocessing
from minires.inspection.explain import grad_cam
from minires.inspection.pictures import draw_confusion_matrix, draw_grad_cam, write_png
from minires.models import resnet8
from minires.optim import SGD, AdamW
from minires.pretrained import WeightsError, read
from minires.schedules import CosineAnnealingLR
from minires.trainer import Trainer

MOST_GROWTH = 0.1  # MB a minute
WARM = 5  # rounds after which caches are full
MOST_IN_A_CASE = 30.0  # MB that a round may move up by; the minutes' slope is the finer measure
SIZE, CLASSES = 16, 3
STATISTICS = (0.5,) * 3, (0.25,) * 3


# A round --------------------------------------------------------------------------------------------------------


def prepare(folder: Path) -> Path:
    """Write a folder of pictures in several formats, one folder a class."""
    rng = np.random.default_rng(0)
    for number in range(24):
        kind = ("png", "jpg", "bmp", "webp")[number % 4]
        path = folder / "pictures" / f"class {number % CLASSES}" / f"{number}.{kind}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(256, size=(SIZE + number % 5, SIZE, 3), dtype=np.uint8)).save(path)
    return folder / "pictures"


def play(pictures: Path, rng: np.random.Generator, folder: Path) -> None:
    """One round."""
    model = _train(rng, folder)
    _read_weights(rng, folder)
    dataset = read_image_folder(pictures, Preprocessing(*STATISTICS, size=SIZE, resize=None), tell=_quiet, stream=True)
    loader = Loader(
        dataset.train_images, dataset.train_labels, 5, *STATISTICS, shuffle=True, seed=int(rng.integers(99))
    )
    x = next(x for x, _ in loader.epoch(0))  # and the rest is decoded for nobody
    assert sum(len(labels) for _, labels in loader.epoch(1)) == len(dataset.train_labels)
    maps = grad_cam(model, x)
    write_png(draw_grad_cam(dataset.train_images[: len(x)], maps, map(str, range(len(x)))), folder / "heat.png")
    write_png(draw_confusion_matrix(rng.integers(9, size=(CLASSES, CLASSES)), dataset.classes), folder / "mistakes.png")


def _quiet(sentence):
    """Nothing is told."""


def _train(rng, folder):
    """Two epochs, of which the second goes on from the first's checkpoint in another trainer."""
    images, labels = rng.integers(256, size=(60, SIZE, SIZE, 3), dtype=np.uint8), rng.integers(CLASSES, size=60)
    kind = SGD if rng.integers(2) else AdamW
    for epochs in (1, 2):
        model = resnet8(CLASSES, rng=0)
        loader = Loader(images[:40], labels[:40], 16, *STATISTICS, augment=Augment(), shuffle=True)
        trainer = Trainer(
            model,
            kind(model.parameters(), lr=0.01),
            CosineAnnealingLR(0.01, 6),
            loader,
            Loader(images[40:], labels[40:], 16, *STATISTICS),
            epochs=epochs,
            folder=folder,
            num_classes=CLASSES,
            save_every=2,
        )
        if epochs == 2:
            trainer.resume(checkpoint.load(folder / "last.safetensors"))
        trainer.run()
    assert trainer.position.epoch == 2
    return model


def _read_weights(rng, folder):
    """Every format, whole and damaged, by its reader; a checkpoint by the one that finds out which it is."""
    for kind, content in GOOD.items():
        path = folder / "weights"
        path.write_bytes(content)
        READERS[kind](path)
        path.write_bytes(damaged(kind, random.Random(int(rng.integers(2**31))), folder / "ran"))
        with contextlib.suppress(WeightsError):
            READERS[kind](path)
    assert not (folder / "ran").exists(), "reading ran what a file contains"
    (folder / "weights.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + rng.bytes(500))
    with contextlib.suppress(WeightsError):
        read(folder / "weights.h5")
    read(folder / "best.safetensors")


# What a process holds -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Held:
    """Resident memory in MB once all that nobody uses has been given back, open descriptors, and threads."""

    megabytes: float
    descriptors: int
    threads: int


def held() -> Held:
    """What this process holds. Only Linux tells of memory and descriptors; elsewhere they are 0."""
    gc.collect()
    memory.release()
    if sys.platform != "linux":
        return Held(0, 0, threading.active_count())
    with contextlib.suppress(AttributeError):  # a C library without it
        ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    megabytes = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    return Held(megabytes, len(os.listdir("/proc/self/fd")), threading.active_count())


def slope(minutes: np.ndarray, megabytes: np.ndarray) -> tuple[float, float]:
    """MB a minute of the straight line through the measurements, and its standard error.

    Measurements follow each other closely and are not independent: the error is that of the line through the means of
    twenty stretches of time.
    """
    stretches = np.array_split(np.arange(len(minutes)), min(20, len(minutes)))
    t = np.array([minutes[stretch].mean() for stretch in stretches])
    m = np.array([megabytes[stretch].mean() for stretch in stretches])
    t = t - t.mean()
    rise = float(t @ m / (t @ t))
    rest = m - m.mean() - rise * t
    return rise, float(np.sqrt(rest @ rest / max(1, len(t) - 2) / (t @ t)))


def case(pictures: Path, rng: np.random.Generator, number: int, folder: Path) -> str:
    """A round holds what one held before it, to some memory."""
    play(pictures, rng, folder)
    before = held()
    play(pictures, rng, folder)
    after = held()
    assert after.descriptors <= before.descriptors, f"{before.descriptors} descriptors became {after.descriptors}"
    assert after.threads <= before.threads, f"{before.threads} threads became {after.threads}"
    grown = after.megabytes - before.megabytes
    assert grown < MOST_IN_A_CASE, f"a round took {grown:.1f} MB"
    return "held no more"


ATTACKS = [
    Attack(
        "soak",
        "Training, saving, reading and drawing over and over leaves no descriptor, no thread and no memory behind.",
        prepare,
        case,
        full=300,
        quick=1,
        hang=300.0,
    )
]


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=float, default=5.0, metavar="S", help="seconds between measurements; default 5")
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    measured: list[tuple[float, Held]] = []
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        pictures = prepare(Path(place))
        for _ in range(WARM):
            play(pictures, rng, Path(place))
        began, rounds, next_one = time.monotonic(), 0, 0.0
        while (minutes := (time.monotonic() - began) / 60) < arguments.minutes:
            play(pictures, rng, Path(place))
            rounds += 1
            if minutes * 60 >= next_one:
                measured.append((minutes, held()))
                print(json.dumps([round(minutes, 3), *vars(measured[-1][1]).values()]), flush=True)
                next_one += arguments.every
    return _judge(rounds, measured)


def _judge(rounds, measured):
    first, last = measured[0][1], measured[-1][1]
    rise, error = slope(np.array([t for t, _ in measured]), np.array([one.megabytes for _, one in measured]))
    print(
        f"{rounds} rounds: {rise:+.3f} +- {error:.3f} MB a minute, from {first.megabytes:.1f} to {last.megabytes:.1f}"
    )
    print(f"descriptors {first.descriptors} to {last.descriptors}, threads {first.threads} to {last.threads}")
    if last.descriptors > first.descriptors or last.threads > first.threads:
        print("FOUND: descriptors or threads are left behind")
        return 1
    if rise > MOST_GROWTH:
        print(
            f"FOUND: more than {MOST_GROWTH:g} MB a minute; of a few minutes that may be chance: give it --minutes 30"
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
