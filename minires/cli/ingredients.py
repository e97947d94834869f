"""What is added to a plain training: the flags of a run's settings, as its header and the errors name them."""

from collections.abc import Mapping
from typing import Any

OFF: dict[str, Any] = {  # ingredient: the value that leaves it out
    "augment": True,
    "mixup": None,
    "cutmix": None,
    "randaugment": None,
    "random_erasing": 0,
    "cutout": 0,
    "balance": "none",
    "label_smoothing": 0,
    "l1": 0,
    "decay_bias_and_norm": True,
    "head_lr_multiplier": 1,
    "warmup": 0,
    "clip_norm": None,
    "ema": None,
    "aux_logits": False,
}


def ingredients(settings: Mapping[str, Any]) -> str:
    """The flags of what is on, with their values, as `--mixup 0.2, --ema 0.995`; "" where nothing is."""
    return ", ".join(flag_text(name, settings[name]) for name, off in OFF.items() if settings.get(name, off) != off)


def network_text(name: str, options: Mapping[str, Any]) -> str:
    """A network's name, with "(small_input)" where one made for large images has its form for small ones."""
    return f"{name} (small_input)" if options.get("small_input") else name


def flag_text(name: str, value: Any) -> str:
    """A setting as the flag that asks for it, with its value: `--no-augment`, `--randaugment 2 9`, `--ema none`."""
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{flag}" if value else f"--no-{flag}"
    return f"--{flag} {value_text(value)}"


def value_text(value: Any) -> str:
    """A setting's value as a command line has it."""
    if isinstance(value, (list, tuple)):
        return " ".join(map(value_text, value))
    return "none" if value is None else str(value)
