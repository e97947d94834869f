"""What the scripts take: flags that several of them have, their defaults, and the loaders that settings ask for."""

import math
from argparse import (
    Action,
    ArgumentError,
    ArgumentParser,
    ArgumentTypeError,
    BooleanOptionalAction,
    Namespace,
    _ArgumentGroup,
)
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from minires import backend, data
from minires.cli.segments import segments
from minires.cli.snapshots import CYCLES, SCHEDULE, check_cycles
from minires.data.randaugment import LARGEST
from minires.data.stream import Pictures
from minires.ema import check_decay
from minires.precision import PRECISIONS, activations
from minires.pretrained.readings import PREPROCESSINGS, VARIANTS
from minires.ranks import ALONE, Ranks
from minires.types import Array

FIRST = {"device": "auto", "dataset": "auto", "data_dir": None, "data_url": None}  # of the defaults of a run
LAST = {
    "seed": 0,
    "val_split": None,
    "limit_train": None,
    "limit_test": None,
    "threads": None,
    "shards": None,
    "timeout": 1800.0,
    "save_every": None,
    "no_progress": False,
    "precision": "float32",
    "cuda_graph": True,
    "recompute": None,
    "best": "accuracy",
    "patience": None,
    "ema": None,
    "clip_norm": None,
    "mixup": None,
    "cutmix": None,
    "random_erasing": 0.0,
    "randaugment": None,
    "tensorboard": False,
    "cycles": CYCLES,
}
FROM_ONE: tuple[str, ...] = ("batch_size", "epochs", "iterations", "save_every", "threads", "limit_train")
FROM_ONE += ("limit_test", "patience", "shards", "cycles")
NUMBER = {"type": int, "metavar": "N"}
THREE: dict[str, Any] = {"type": float, "nargs": 3, "metavar": ("R", "G", "B")}


def device_name(text: str) -> str:
    """An argparse type: what `backend.resolve_device` takes."""
    if text != "auto" and not backend.is_device(text):
        known = ", ".join(backend.DEVICES)
        raise ArgumentTypeError(f"unknown device '{text}': choose one of {known}, or gpu:1 for the second GPU")
    return text


def number_or_none(text: str) -> float | None:
    """An argparse type: a number, or None for `none`, which takes out what a recipe puts in."""
    try:
        return None if text == "none" else float(text)
    except ValueError:
        raise ArgumentTypeError(f"give a number, or none, got '{text}'") from None


class PairOrNone(Action):
    """An argparse action: two whole numbers, or None for `none`. argparse cannot say "one word or two"."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs="+", **options)

    def __call__(self, parser: ArgumentParser, namespace: Namespace, values: Any, option_string: Any = None) -> None:
        """Keep the words, as numbers, in the namespace."""
        try:
            first, second = (0, 0) if values == ["none"] else map(int, values)
        except ValueError:
            raise ArgumentError(self, f"give two whole numbers, or none, got '{' '.join(values)}'") from None
        setattr(namespace, self.dest, None if values == ["none"] else [first, second])


ARGUMENTS: dict[str, dict[str, Any]] = {
    "images": {"nargs": "+", "metavar": "IMAGE", "help": "a picture of any kind that Pillow reads"},
    "--weights": {"required": True, "metavar": "FILE", "help": "a file of weights, or the folder of a run"},
    "--classes": {
        "metavar": "FILE",
        "help": "names of the classes, one a line; or a list that is here: imagenet, cifar100, ...",
    },
    "--part": {"metavar": "NAME", "help": "which one, where the file holds several networks"},
    "--preprocessing": {"metavar": "NAME", "help": f"how its images were prepared: {', '.join(PREPROCESSINGS)}"},
    "--mean": {**THREE, "help": "of its images' channels, from 0 to 1 or to 255"},
    "--std": {**THREE, "help": "likewise"},
    "--channel-order": {"dest": "order", "type": str.upper, "choices": ["RGB", "BGR"], "help": "default: RGB"},
    "--size": {**NUMBER, "help": "side of the square that the network sees"},
    "--resize": {**NUMBER, "help": "the shorter side is scaled to this before the square is cut out"},
    "--interpolation": {"choices": ["bilinear", "bicubic"], "help": "how pictures are scaled"},
    "--variant": {
        "action": "append",
        "metavar": "NAME",
        "help": f"what the arrays leave open, can be given again: {', '.join(VARIANTS)}, eps=NUMBER",
    },
    "--device": {
        "type": device_name,
        "metavar": "NAME",
        "help": "auto (default) takes a GPU if one works; cpu; gpu, or of several gpu:0, gpu:1, ...",
    },
    "--data-dir": {
        "metavar": "DIR",
        "help": "folder with CIFAR (default: $MINIRES_DATA, the user's cache, download)",
    },
    "--data-url": {"metavar": "URL", "help": "where to download CIFAR-10's archive from"},
    "--batch-size": {**NUMBER, "help": "default: 128"},
    "--cycles": {
        **NUMBER,
        "help": f"of --schedule {SCHEDULE}: how often the rate falls to 0; the weights are kept each time; "
        f"default: {CYCLES}",
    },
    "--label-smoothing": {"type": float, "metavar": "X", "help": "default: 0"},
    "--balance": {
        "choices": ["none", "loss", "sampling"],
        "help": "weigh all classes alike: in the loss, or by drawing as many of each; default: none",
    },
    "--range": {
        "nargs": 2,
        "type": float,
        "metavar": ("LOW", "HIGH"),
        "help": "what is black and white in pictures of more than 8 bits; default: as their type says",
    },
    "--seed": {**NUMBER, "help": "default: 0"},
    "--val-split": {**NUMBER, "help": "training images set aside for validation; default: a tenth"},
    "--limit-train": {**NUMBER, "help": "use the first N training images, validation included"},
    "--limit-test": {**NUMBER, "help": "use the first N test images"},
    "--threads": {**NUMBER, "help": "default: the physical cores this process may use"},
    "--shards": {
        **NUMBER,
        "help": "parts that a batch is cut into, one after the other or one a process; default: as many as processes",
    },
    "--timeout": {
        "type": float,
        "metavar": "SECONDS",
        "help": "of several processes, how long the others wait for one; default: 1800",
    },
    "--save-every": {**NUMBER, "help": "iterations between checkpoints; default: at each epoch's end"},
    "--best": {"choices": ["accuracy", "loss"], "help": "of the validation images, chooses the epoch that is tested"},
    "--patience": {**NUMBER, "help": "stop after N epochs without a new best; default: never"},
    "--precision": {
        "choices": PRECISIONS,
        "help": "of the training: tf32 rounds the factors of products, float16 and bfloat16 all that flows through the "
        "network; default: float32",
    },
    "--cuda-graph": {
        "action": BooleanOptionalAction,
        "help": "give a GPU all launches of a step at once; the numbers are the same; default: yes",
    },
    "--mixup": {
        "type": number_or_none,
        "metavar": "ALPHA",
        "help": "mix images with others of their batch, and their labels alike; 0.2 is usual; default: none",
    },
    "--cutmix": {
        "type": number_or_none,
        "metavar": "ALPHA",
        "help": "put a piece of another image of the batch into each; 1 is usual; default: none",
    },
    "--randaugment": {
        "action": PairOrNone,
        "metavar": "N M",
        "help": "N changes to each training image, in the strength M from 0 to 30; 2 9 is usual; default: none",
    },
    "--random-erasing": {
        "type": float,
        "metavar": "P",
        "help": "probability that a rectangle of a training image is blanked out; default: 0",
    },
    "--clip-norm": {
        "type": number_or_none,
        "metavar": "X",
        "help": "shorten all gradients together where their norm is above this; 1 is usual; default: none",
    },
    "--ema": {
        "type": number_or_none,
        "metavar": "DECAY",
        "help": "keep a moving average of the weights, which is what is tested; 0.999 is usual; default: none",
    },
    "--recompute": {
        "type": segments,
        "metavar": "SEGMENTS",
        "help": "keep the inputs of so many segments and compute the rest again in the backward pass: less memory, "
        "more time, the same numbers; sqrt: as many as take little, blocks: one for each; default: nothing twice",
    },
    "--tensorboard": {
        "action": BooleanOptionalAction,
        "help": "write events for TensorBoard into the run's folder; needs tensorboardX; default: no",
    },
    "--no-progress": {"action": "store_true", "help": "no bar, only a line for each epoch"},
}
SHORT = {"--batch-size": "-b"}


def add_arguments(parser: ArgumentParser | _ArgumentGroup, *names: str, **more: Any) -> None:
    """Add these of ARGUMENTS to a parser, in this order.   more: what else argparse shall know of them."""
    for name in names:
        parser.add_argument(*([SHORT[name]] if name in SHORT else []), name, **ARGUMENTS[name], **more)


def check_settings(settings: Mapping[str, Any]) -> None:
    """Raise ValueError for what would fail only once the run has its folder, or would not name its flag."""
    for name in FROM_ONE:
        if settings.get(name) is not None and settings[name] < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1, got {settings[name]}")
    for name in ("lr", "head_lr_multiplier", "weight_decay"):
        if not 0 <= settings.get(name, 0) < math.inf:
            raise ValueError(f"--{name.replace('_', '-')} must be a number from 0 up, got {settings[name]}")
    check_cycles(settings)
    if not 0 < settings["timeout"] < math.inf:
        raise ValueError(f"--timeout must be a number above 0, of seconds, got {settings['timeout']}")
    if (settings.get("shards") or 1) > settings["batch_size"]:
        raise ValueError(
            f"--shards {settings['shards']}: more than the {settings['batch_size']} images of a batch: give "
            f"{settings['batch_size']} or less, or a larger --batch-size"
        )
    activations(settings["precision"])
    if settings["seed"] < 0:
        raise ValueError(f"--seed must be at least 0, got {settings['seed']}")
    if not 0 <= settings["label_smoothing"] <= 1:
        raise ValueError(f"--label-smoothing must be a number from 0 to 1, got {settings['label_smoothing']}")
    if settings["randaugment"] is not None and not (
        1 <= settings["randaugment"][0] <= 14 and 0 <= settings["randaugment"][1] <= LARGEST
    ):
        N, M = settings["randaugment"]
        raise ValueError(f"--randaugment {N} {M}: give it 1 to 14 changes and a strength from 0 to {LARGEST}, as 2 9")
    if not 0 <= settings["random_erasing"] <= 1:
        raise ValueError(f"--random-erasing must be a probability from 0 to 1, got {settings['random_erasing']}")
    for name in ("mixup", "cutmix"):
        if settings[name] is not None and not 0 < settings[name] < math.inf:
            raise ValueError(f"--{name} must be a number above 0, got {settings[name]}: leave it out to mix nothing")
    if settings["clip_norm"] is not None and not 0 < settings["clip_norm"] < math.inf:
        raise ValueError(f"--clip-norm must be a number above 0, got {settings['clip_norm']}: 1 is usual")
    if settings["ema"] is not None:
        check_decay("--ema", settings["ema"])
    if settings["val_split"] is not None and settings["val_split"] < 0:
        raise ValueError(f"--val-split must be at least 0, got {settings['val_split']}")


def check_tensorboard() -> None:
    """Raise ValueError, with the command that installs it, where what --tensorboard needs is missing."""
    try:
        import tensorboardX  # noqa: F401
    except ImportError as error:
        raise ValueError(f"--tensorboard needs tensorboardX ({error}): pip install tensorboardX") from error


def make_loaders(
    settings: Mapping[str, Any],
    dataset: data.Dataset,
    device: str = "cpu",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    padding: int = 4,
    test_size: int = 500,
    ranks: Ranks = ALONE,
) -> tuple[data.Loader, data.Loader | None, data.Loader]:
    """Loaders of the training, validation (or None) and test images.

    mean, std: to normalise with, of the training images where None.   padding: of the augmentation that `augment` of
    the settings asks for.   test_size: images in a batch of validation and test.   ranks: who has the images in memory
    once a host.
    """
    streamed = isinstance(dataset.train_images, Pictures)  # of which there is little in memory
    share = (lambda parts: parts()) if streamed else ranks.once_per_host
    train, val, test, found = share(lambda: _parts(dataset, settings, mean is None))
    mean, std = found or (mean, std)
    usual, cutout, erasing = settings["augment"], settings.get("cutout", 0), settings.get("random_erasing") or 0.0
    some = usual or cutout or erasing
    augment = data.Augment(padding if usual else 0, usual, cutout, erasing) if some else None
    plain: dict[str, Any] = {"mean": mean, "std": std, "device": device}
    drawn: dict[str, Any] = {"augment": augment, "shuffle": True, "seed": settings["seed"]}
    drawn |= {"distort": _distort(settings, mean)}
    drawn |= {"mix": _mix(settings, len(dataset.classes))}
    drawn |= {"balanced": settings.get("balance") == "sampling", "least_last": 2 * (settings.get("shards") or 1)}
    return (
        data.Loader(train[0], train[1], settings["batch_size"], **drawn, **plain),
        data.Loader(val[0], val[1], test_size, **plain) if len(val[1]) else None,
        data.Loader(test[0], test[1], test_size, **plain),
    )


def _distort(settings, mean):
    """The RandAugment that the settings ask for, which fills up with the mean colour, or None."""
    if settings.get("randaugment") is None:
        return None
    num_ops, magnitude = settings["randaugment"]
    return data.RandAugment(num_ops, magnitude, fill=tuple(round(255 * channel) for channel in mean))


def _mix(settings, classes):
    """The Mix that the settings ask for, or None."""
    alphas = {name: settings.get(name) or 0.0 for name in ("mixup", "cutmix")}
    return data.Mix(classes, **alphas) if any(alphas.values()) else None


def _parts(dataset, settings, measure):
    """(images, labels) to train, to validate and to test, and mean and standard deviation of the first, or None."""
    limited = _limited(dataset, settings)
    train, val = _train_and_val(limited, settings)
    if len(train[1]) < (shards := settings.get("shards") or 1):
        raise ValueError(
            f"--shards {shards}: more than the {len(train[1])} training images: give {len(train[1])} or less"
        )
    return train, val, (limited.test_images, limited.test_labels), data.channel_mean_std(train[0]) if measure else None


def _limited(dataset, settings):
    """The data set, of which --limit-train and --limit-test images are used."""
    train = data.limit(dataset.train_images, dataset.train_labels, settings["limit_train"])
    test = data.limit(dataset.test_images, dataset.test_labels, settings["limit_test"])
    parts = dict(zip(("train_images", "train_labels", "test_images", "test_labels"), (*train, *test), strict=True))
    groups = None if dataset.groups is None else dataset.groups[: settings["limit_train"]]
    return replace(dataset, **parts, groups=groups)


def _train_and_val(dataset, settings):
    """The images to train and those to validate: the set's own, or --val-split of the former."""
    if dataset.val_images is None:
        val_size = len(dataset.train_labels) // 10 if settings["val_split"] is None else settings["val_split"]
        return data.split(dataset, val_size, settings["seed"])
    if settings["val_split"] is not None:
        raise ValueError(
            f"--val-split {settings['val_split']}: the data has a part to validate of its own: leave the flag out"
        )
    return (dataset.train_images, dataset.train_labels), (dataset.val_images, dataset.val_labels)


def class_weights(settings: Mapping[str, Any], loader: data.Loader, classes: int) -> Array | None:
    """What each class counts in the training loss: N / (classes * images of it) with --balance loss, else None.

    The mean of the weights of all N images is 1; a class without images counts 0. Of masks, pixels are counted.
    """
    if settings.get("balance") != "loss":
        return None
    counts = loader.counts(classes)
    weights = np.where(counts > 0, counts.sum() / ((counts > 0).sum() * np.maximum(counts, 1)), 0)
    return backend.to_device(weights.astype(np.float32), loader.device)
