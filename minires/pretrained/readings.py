"""What a file of weights leaves open: what is assumed then, and how its owner overrules that.

Two networks may have the same arrays and give other answers: one with a max pool behind its 3x3 stem and one without,
one that saw pixels less a mean and one that did not. Whatever the file does not say is taken as is usual, named in
metadata["assumptions"], and can be said: `overrule`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from minires import models
from minires.data.images import Preprocessing
from minires.models.imagenet import WITH_BOTTLENECKS
from minires.names import unknown
from minires.pretrained.errors import WeightsError
from minires.pretrained.skeletons import skeleton

IMAGENET: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
CAFFE: dict[str, Any] = {
    "mean": (103.939 / 255, 116.779 / 255, 123.68 / 255),
    "std": (1 / 255,) * 3,
    "order": "BGR",
}
PREPROCESSINGS: dict[str, dict[str, Any]] = {  # x = (pixels / 255 - mean) / std
    "imagenet": {**IMAGENET, "order": "RGB"},
    "cifar10": {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2470, 0.2435, 0.2616), "order": "RGB"},
    "cifar10-images": {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2023, 0.1994, 0.2010), "order": "RGB"},
    "cifar100": {"mean": (0.5071, 0.4865, 0.4409), "std": (0.2673, 0.2564, 0.2762), "order": "RGB"},
    "half": {"mean": (0.5,) * 3, "std": (0.5,) * 3, "order": "RGB"},
    "none": {"mean": (0.0,) * 3, "std": (1.0,) * 3, "order": "RGB"},
    "bytes": {"mean": (0.0,) * 3, "std": (1 / 255,) * 3, "order": "RGB"},
    "caffe": CAFFE,
}
INCEPTIONS: dict[str, dict[str, Any]] = {  # for which images are scaled to numbers from -1 to 1
    "googlenet": {"size": 224, "resize": 256},
    "inception_v3": {"size": 299, "resize": 342},
}
DEEP_STEMS = ("resnet50d",)  # whose first kernel is 3x3 for images of any size
ALIASES = {"inception": "half", "tf": "half", "torch": "imagenet", "torchvision": "imagenet"}
FIELDS = tuple(field.name for field in fields(Preprocessing))
VARIANTS = {  # the flag's word: the option of `models.build`, its value, and what it says
    "max-pool": ("maxpool", True, "a max pool behind the 3x3 stem"),
    "no-max-pool": ("maxpool", False, "no max pool behind the stem"),
    "small-input": ("small_input", True, "a stem of three convolutions at stride 1 and no max pool"),
    "large-input": ("small_input", False, "a stem of three convolutions at stride 2 and a max pool"),
    "torchvision": ("variant", "torchvision", "the stride of a bottleneck in its 3x3 convolution"),
    "v1": ("variant", "v1", "the stride of a bottleneck in its first 1x1 convolution, as Caffe had it"),
    "pad-both": ("shortcut", "A", "half of shortcut A's zero channels on either side"),
    "pad-end": ("shortcut", "A-end", "all of shortcut A's zero channels after the others"),
}
ASSUMED = {  # what may be assumed of a network: the sentence for it, {eps} in it being the network's own
    "maxpool": "no max pool behind the 3x3 stem (variant max-pool: one)",
    "stem": "a stem of three convolutions at stride 2 and a max pool (variant small-input: at stride 1 and none)",
    "stride": "the stride of a bottleneck in its 3x3 convolution (variant v1: in its first)",
    "padding": "half of shortcut A's zero channels on either side (variant pad-end: all after the others)",
    "eps": "{eps} as eps of batch norm (variant eps=NUMBER: another)",
    "classes": "the order of its classes",
}
_OPTION_OF = {"maxpool": "maxpool", "stem": "small_input", "stride": "variant", "padding": "shortcut", "eps": "eps"}


def usual_preprocessing(model: str, options: Mapping[str, Any]) -> Preprocessing:
    """What is assumed where a file does not say: by the model and options of an Architecture."""
    if options.get("small_input", _is_for_cifar(model)):
        return Preprocessing(**IMAGENET, size=32, resize=32)
    if model in INCEPTIONS:
        return Preprocessing(**{**PREPROCESSINGS["half"], **INCEPTIONS[model]})
    return Preprocessing(**({**CAFFE, "resize": None} if options.get("variant") == "keras" else IMAGENET))


def _is_for_cifar(model):
    """Networks for CIFAR have its ten classes where nobody says how many."""
    return models.options_of(model)["num_classes"] == 10


def open_questions(model: str, options: Mapping[str, Any]) -> tuple[str, ...]:
    """What the arrays of a network leave open, names of ASSUMED."""
    bottlenecks = model in [f"resnet{depth}" for depth in WITH_BOTTLENECKS]
    asked = {
        "maxpool": bool(options.get("small_input")) and "maxpool" in models.options_of(model),
        "stem": model in DEEP_STEMS,
        "stride": options.get("variant") == "torchvision" and bottlenecks,
        "padding": options.get("shortcut") == "A",
        "eps": options.get("variant") != "keras" and usual_eps(model, options) is not None,
    }
    return tuple(name for name, is_open in asked.items() if is_open)


def usual_eps(model: str, options: Mapping[str, Any]) -> float | None:
    """The eps of a network's batch norms where nobody gives another; None where it has none."""
    return skeleton(model, {name: value for name, value in options.items() if name != "eps"}).eps


def check_options(model: str, options: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `known`, options of `models.build`, that such a network can have where its arrays leave it open.

    Raises ValueError for a value that is none.
    """
    questions = open_questions(model, options)
    allowed: dict[str, tuple] = {
        "maxpool": (True, False),
        "stem": (True, False),
        "stride": ("torchvision", "v1"),
        "padding": ("A", "A-end"),
        "eps": (known.get("eps"),),
    }
    found = {}
    for question in questions:
        option = _OPTION_OF[question]
        if known.get(option) is None:
            continue
        value = known[option]
        number = isinstance(value, float) and 0 < value < 1
        if (question == "eps" and not number) or value not in allowed[question]:
            raise ValueError(f"option {option} {value!r}")
        found[option] = value
    return found


def overrule(
    metadata: Mapping[str, Any],
    preprocessing: str | None = None,
    variant: str | Sequence[str] = (),
    **given: Any,
) -> dict[str, Any]:
    """The metadata of weights with what their owner knows in the place of what was assumed, or said by the file.

    preprocessing: a name of PREPROCESSINGS: its mean, std and order.   given: fields of a Preprocessing (mean, std,
    order, size, resize, interpolation), over those; a mean or std above 1 is one of pixels from 0 to 255, and with a
    size alone `resize` keeps its ratio to it.   variant: words of VARIANTS, or eps=NUMBER.
    Raises WeightsError for an unknown name, and for a variant that such a network cannot be.
    """
    metadata = dict(metadata)
    known = _known_fields(metadata["preprocessing"], preprocessing, given)
    if known:
        try:
            metadata["preprocessing"] = asdict(Preprocessing(**{**metadata["preprocessing"], **known}))
        except (ValueError, TypeError) as error:
            raise WeightsError(str(error)) from error
    said = set(known)
    words = [variant] if isinstance(variant, str) else list(variant)
    for word in words:
        option, value, question = _variant(metadata, word)
        metadata["options"] = {**metadata["options"], option: value}
        said.add(question)
    assumptions = tuple(name for name in metadata.get("assumptions", ()) if name not in said)
    return {**metadata, "assumptions": assumptions, "assumed": bool(set(assumptions) & set(FIELDS))}


def _known_fields(usual, name, given):
    strange = [field for field in given if field not in FIELDS]
    if strange:
        raise TypeError(f"overrule: unknown {strange[0]!r}: choose of preprocessing, variant, {', '.join(FIELDS)}")
    known: dict[str, Any] = {}
    if name is not None:
        name = ALIASES.get(name, name)
        if name not in PREPROCESSINGS:
            raise WeightsError(unknown("preprocessing", name, (*PREPROCESSINGS, *ALIASES)))
        known |= PREPROCESSINGS[name]
    known |= {field: value for field, value in given.items() if value is not None}
    if "mean" in given or "std" in given:
        known |= _from_0_to_1(known, given)
    if "size" in given and "resize" not in given and usual["resize"] is not None:
        known["resize"] = round(known["size"] * usual["resize"] / usual["size"])
    return known


def _from_0_to_1(known, given):
    """mean and std as given, divided by 255 where they are of pixels from 0 to 255."""
    numbers = {field: tuple(map(float, known[field])) for field in ("mean", "std") if given.get(field) is not None}
    bytes_mean = max(map(abs, numbers.get("mean", (0,)))) > 1
    bytes_std = max(numbers.get("std", (0,))) > 1
    if bytes_mean or bytes_std:
        numbers = {field: tuple(number / 255 for number in each) for field, each in numbers.items()}
    return numbers


def _variant(metadata, word):
    """(option, value, question) of a word of --variant for these weights."""
    questions = open_questions(metadata["model"].replace("plain", "resnet"), _as_assumed(metadata["options"]))
    if word.startswith("eps="):
        option, value, question = "eps", _number(word), "eps"
    elif word in VARIANTS:
        option, value, _ = VARIANTS[word]
        question = next(name for name, its in _OPTION_OF.items() if its == option)
    else:
        raise WeightsError(unknown("variant", word, (*VARIANTS, "eps=NUMBER")))
    if question not in questions:
        fitting = [name for name, (its, *_) in VARIANTS.items() if its in {_OPTION_OF[each] for each in questions}]
        fitting += ["eps=NUMBER"] * ("eps" in questions)
        choose = f"choose of {', '.join(fitting)}" if fitting else "leave it out"
        raise WeightsError(f"variant {word}: {metadata['model']} is none, by its arrays: {choose}")
    return option, value, question


def _as_assumed(options):
    """The options with what is open as it is assumed, by which `open_questions` asks."""
    options = dict(options)
    options["variant"] = {"v1": "torchvision"}.get(options.get("variant"), options.get("variant"))
    options["shortcut"] = {"A-end": "A"}.get(options.get("shortcut"), options.get("shortcut"))
    return options


def _number(word):
    try:
        number = float(word.removeprefix("eps="))
    except ValueError:
        number = 0
    if not 0 < number < 1:
        raise WeightsError(f"variant {word}: give a number above 0 and below 1, such as eps=1e-3")
    return number
