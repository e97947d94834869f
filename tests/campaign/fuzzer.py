"""Fuzzes one reader by atheris in this process, which libFuzzer ends: `campaign.fuzzing` starts it.

    python -m campaign.fuzzer MODULES TARGET FOLDER SCRATCH SECONDS SEED

The corpus is in FOLDER/corpus, what was found comes into FOLDER/findings. An exception is kept with its input, and the
search goes on; a hang, too much memory and a dead process end it, and then SCRATCH/input is the input.
"""

import hashlib
import importlib
import pkgutil
import sys
import traceback
from pathlib import Path

import atheris
import numpy as np

from campaign.attack import targets

HANG, MEMORY = 60, 3000  # seconds and MB of one input
MOST_FINDINGS = 50


def main(modules: str, name: str, folder: str, scratch: str, seconds: str, seed: str) -> None:
    """Search for so many seconds; does not return."""
    with atheris.instrument_imports(include=["minires", *modules.split(",")]):  # of what is imported here, not above
        target = targets(modules.split(","))[name]
        for package in ("minires.pretrained", "minires.data"):  # what readers import only when they need it
            if package in sys.modules:
                for each in pkgutil.iter_modules(sys.modules[package].__path__, package + "."):
                    importlib.import_module(each.name)
    mutators = importlib.import_module("campaign.mutators")
    path, findings = Path(scratch) / "input", Path(folder) / "findings"
    known: set[str] = set()

    def read(data):
        path.write_bytes(data)
        try:
            target.read(path)
        except Exception as error:
            _keep(findings, known, data, error)

    def mutate(data, most, seed):
        rng = np.random.default_rng(seed)
        if rng.random() < 0.5:
            return atheris.Mutate(data, most)
        return mutators.within(data, rng, lambda piece: atheris.Mutate(piece, len(piece) + 64))[:most]

    flags = {
        "max_total_time": seconds,
        "seed": seed,
        "timeout": HANG,
        "rss_limit_mb": MEMORY,
        "artifact_prefix": f"{findings}/",
        "print_final_stats": 1,
    }
    arguments = [sys.argv[0], *(f"-{flag}={value}" for flag, value in flags.items()), str(Path(folder) / "corpus")]
    atheris.Setup(arguments, read, custom_mutator=mutate)
    atheris.Fuzz()


def _keep(findings, known, data, error):
    """Write down an exception and its input, unless another came from the same lines."""
    lines = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
    inside = [line for line in lines if "/minires/" in line][-1:]
    place = " ".join([type(error).__name__, *inside, lines[-1]])
    if place in known or len(known) == MOST_FINDINGS:
        return
    known.add(place)
    name = f"{type(error).__name__}-{hashlib.sha256(place.encode()).hexdigest()[:12]}"
    (findings / name).write_bytes(data)
    (findings / f"{name}.txt").write_text("".join(traceback.format_exception(error)), errors="backslashreplace")


if __name__ == "__main__":
    main(*sys.argv[1:])
