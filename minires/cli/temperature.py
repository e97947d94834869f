"""A temperature, given as a number or by the file that examples/calibrate.py writes beside the weights."""

import json
import math
from argparse import ArgumentParser, _ArgumentGroup
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minires.calibration import check_temperature
from minires.cli.ensembles import Member
from minires.data.regular import read_regular
from minires.files import write_atomically
from minires.plain import check, read_json
from minires.wording import readable

FORMAT = "minires-temperature-1"
MOST_BYTES = 2**20
_CONTENT: dict[str, Any] = {"format": str, "temperature": float, "weights": [str], "tta": str}


def add_temperature_argument(parser: ArgumentParser | _ArgumentGroup, **more: Any) -> None:
    """Add --temperature to a parser."""
    text = "divide the logits by a number, or by the one in a file that calibrate.py wrote; default: 1"
    parser.add_argument("--temperature", metavar="FILE|X", help=text, **more)


def default_path(members: Sequence[Member]) -> Path:
    """Where the temperature of these files stands: beside the first of them."""
    first = Path(members[0].path)
    first = first / "best.safetensors" if first.is_dir() else first
    return first.with_name(f"{first.stem}.temperature.json" if len(members) == 1 else "ensemble.temperature.json")


def temperature_of(given: str | None, members: Sequence[Member], tta: str) -> float:
    """The temperature that --temperature asks for, 1 where it is None.

    Raises ValueError for a number that is not above 0, a file that is none of calibrate.py, and one that was fitted for
    other weights or other views.
    """
    if given is None:
        return 1.0
    try:
        number = float(given)
    except ValueError:
        return _of_file(Path(given), members, tta)
    return check_temperature(number, "--temperature")


def _of_file(path, members, tta):
    content = read(path)
    if sorted(content["weights"]) != sorted(member.digest for member in members):
        raise ValueError(
            f"--temperature {path}: was fitted for other weights than these: run calibrate.py on these, all together"
        )
    if content["tta"] != tta:
        raise ValueError(
            f"--temperature {path}: was fitted with --tta {content['tta']}, and this is --tta {tta}: give the same"
        )
    return check_temperature(content["temperature"], f"--temperature {path}: the temperature")


def read(path: Path) -> dict[str, Any]:
    """The contents of a file that `write` wrote. Raises ValueError for another."""
    try:
        content = read_json(read_regular(path, MOST_BYTES))
        check(content, _CONTENT, path.name)
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {readable(content['format'], 40)}")
    except (ValueError, OSError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ValueError(
            f"--temperature {path}: is no number, and no file of calibrate.py ({why}): give a number above 0, or the "
            ".temperature.json that calibrate.py wrote"
        ) from error
    return content


def refuse_to_replace(path: Path, members: Sequence[Member]) -> None:
    """Raise ValueError where something stands at `path` that is not a temperature of the same weights."""
    if not path.exists():
        return
    try:
        same = sorted(read(path)["weights"]) == sorted(member.digest for member in members)
    except ValueError:
        same = False
    if not same:
        raise ValueError(f"{path} is there, and not the temperature of these weights: name another file with --out")


def write(path: Path, members: Sequence[Member], tta: str, temperature: float, figures: Mapping[str, Any]) -> None:
    """Write a temperature, and beside it what it was fitted on and what it brought, as JSON."""
    content = {
        "format": FORMAT,
        "temperature": temperature,
        "weights": [member.digest for member in members],
        "files": [Path(member.path).name for member in members],
        "tta": tta,
        **figures,
    }
    write_atomically(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def said(temperature: float) -> str:
    """What a temperature does, in words."""
    if math.isclose(temperature, 1, abs_tol=0.005):
        return "as sure as it should be"
    return "surer than it should be" if temperature > 1 else "less sure than it could be"
