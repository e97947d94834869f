"""How many images a network still knows: as they are, corrupted in every way and strength, and attacked.

models: names, and functions of pixels such as `OnPixels` gives, on `device`.   images: uint8 (N, H, W, 3), RGB.
labels: integers (N,). The figures do not depend on the size of the batches.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from minires.backend import to_device, to_numpy
from minires.models.fold import fold
from minires.modes import evaluating, no_grad
from minires.module import Module
from minires.names import unknown
from minires.robustness.attacks import check_attack, fgsm, generators, pgd
from minires.robustness.corruptions import CORRUPTIONS, STRENGTHS, corrupt
from minires.textbook import softmax

CLEAN, ENSEMBLE = "none", "ensemble"
ATTACKS = ("fgsm", "pgd")
Row: TypeAlias = dict[str, Any]
Tell: TypeAlias = Callable[[str], None]


def corruption_accuracy(
    models: Mapping[str, Module],
    images: np.ndarray,
    labels: np.ndarray,
    kinds: Sequence[str] = tuple(CORRUPTIONS),
    strengths: Sequence[int] = STRENGTHS,
    seed: int = 0,
    batch_size: int = 250,
    device: str = "cpu",
    ensemble: bool = False,
    tell: Tell = lambda line: None,
) -> list[Row]:
    """Rows of model, corruption, strength, correct, images; those of the images as they are first, as "none" of 0.

    seed: of the corruptions, which are the same for all models.   ensemble: of several models also the mean of their
    probabilities, as a model of this name.   tell: is called with a line when a kind is done.
    Raises ValueError as `corrupt`, and for no images or another number of labels.
    """
    _check(images, labels)
    folded = {name: fold(model) for name, model in models.items()}
    rows = []
    for kind in (CLEAN, *kinds):
        for strength in (0,) if kind == CLEAN else strengths:
            correct = dict.fromkeys([*models, ENSEMBLE] if ensemble else models, 0)
            for part in _parts(len(images), batch_size):
                changed = images[part] if kind == CLEAN else corrupt(images[part], kind, strength, seed, part.start)
                for name, said in answers(folded, changed, device, ensemble).items():
                    correct[name] += int((said == labels[part]).sum())
            rows += [
                {"model": name, "corruption": kind, "strength": strength, "correct": count, "images": len(images)}
                for name, count in correct.items()
            ]
        tell(f"{kind}: done")
    return rows


def answers(
    models: Mapping[str, Module], images: np.ndarray, device: str = "cpu", ensemble: bool = False
) -> dict[str, np.ndarray]:
    """The likeliest class of each image (N,), by each model, and by the mean of their probabilities."""
    x = to_device(images.astype(np.float32), device)
    probabilities = {}
    for name, model in models.items():
        with evaluating(model), no_grad():
            probabilities[name] = softmax(to_numpy(model(x)[0]).astype(np.float64))[0]
    if ensemble:
        probabilities[ENSEMBLE] = np.mean(list(probabilities.values()), axis=0)
    return {name: each.argmax(axis=1) for name, each in probabilities.items()}


def attack_accuracy(
    models: Mapping[str, Module],
    images: np.ndarray,
    labels: np.ndarray,
    epsilons: Sequence[float],
    attacks: Sequence[str] = ATTACKS,
    norm: str = "linf",
    steps: int = 10,
    seed: int = 0,
    batch_size: int = 100,
    device: str = "cpu",
    tell: Tell = lambda line: None,
) -> list[Row]:
    """Rows of model, attack, norm, steps, eps, correct, images: each model attacked by its own gradient.

    epsilons: of a byte, in this norm.   attacks: of ATTACKS; "pgd" takes `steps` from a start drawn by this seed,
    others than another image's.   tell: is called with a line when an eps is done.
    Raises ValueError for what `pgd` refuses, an unknown attack, and as `corruption_accuracy`.
    """
    _check(images, labels)
    for attack in attacks:
        if attack not in ATTACKS:
            raise ValueError(unknown("attack", attack, ATTACKS))
    for eps in epsilons:
        check_attack(eps, steps, norm=norm)
    rows = []
    for name, model in models.items():
        for attack in attacks:
            for eps in epsilons:
                correct = 0
                for part in _parts(len(images), batch_size):
                    x, y = to_device(images[part].astype(np.float32), device), to_device(labels[part], device)
                    rngs = generators(seed, part.start, len(x))
                    attacked = (
                        fgsm(model, x, y, eps, norm)
                        if attack == "fgsm"
                        else pgd(model, x, y, eps, steps, norm=norm, rngs=rngs)
                    )
                    with evaluating(model), no_grad():
                        correct += int((model(attacked)[0].argmax(axis=1) == y).sum())
                taken = steps if attack == "pgd" else 1
                row = {"model": name, "attack": attack, "norm": norm, "steps": taken, "eps": eps}
                rows.append({**row, "correct": correct, "images": len(images)})
                tell(f"{name}, {attack}, eps {eps:g}: {correct} of {len(images)} right")
    return rows


def _check(images, labels):
    if len(images) == 0 or len(images) != len(labels):
        raise ValueError(
            f"{len(images)} images and {len(labels)} labels: give at least one image, and a label for each"
        )


def _parts(count, batch_size):
    """Slices of at most so many."""
    return [slice(start, min(start + batch_size, count)) for start in range(0, count, batch_size)]
