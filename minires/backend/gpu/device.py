"""CuPy, imported on first use. Without it, or without a driver, the error says what is missing."""

import os
import re
from typing import Any

import numpy as np

from minires.backend.errors import DeviceError
from minires.types import Array

OLDEST = 12  # of CUDA's versions, the oldest that CuPy is still built for


def imported() -> Any:
    """The cupy module, or DeviceError with the command that installs it."""
    try:
        import cupy
    except ImportError as error:
        problem = "is not installed" if error.name == "cupy" else f"cannot be imported ({_reason(error)})"
        raise DeviceError(
            f"no GPU: CuPy {problem}; install it with: pip install cupy-cuda12x  (cupy-cuda13x for CUDA 13)"
        ) from error
    return cupy


def _reason(error):
    """The first line with words in an exception's text, which CuPy frames; its type where there is none."""
    lines = [line.strip() for line in str(error).splitlines() if any(letter.isalnum() for letter in line)]
    return lines[0] if lines else type(error).__name__


def number_of(device: str) -> int | None:
    """Which GPU `"gpu"`, the first, or `"gpu:N"` is; None for what names none."""
    found = re.fullmatch(r"gpu(?::(\d{1,3}))?", device)
    return int(found[1] or 0) if found else None


def name_of(number: int) -> str:
    """What a GPU is called: `"gpu"` is the first, `"gpu:1"` the second."""
    return f"gpu:{number}" if number else "gpu"


def check(number: int = 0) -> None:
    """Return if this GPU works; raise DeviceError with the reason and the cure if it does not."""
    cupy = imported()
    driver = built = 0
    try:
        driver, built = cupy.cuda.runtime.driverGetVersion(), cupy.cuda.runtime.runtimeGetVersion()
        count = cupy.cuda.runtime.getDeviceCount()
        if number < count:
            with cupy.cuda.Device(number):
                cupy.ones(1).sum().get()
    except Exception as error:  # CuPy raises many kinds here: no driver, no libraries, an old card
        raise DeviceError(f"no GPU: {_problem(_reason(error), driver, built)}") from error
    if count == 0:
        raise DeviceError("no GPU: CuPy found no CUDA device; check with: nvidia-smi")
    if number >= count:
        raise DeviceError(f"no GPU {number}: {_those_there_are(count)}")


def _those_there_are(count):
    """Which GPUs may be asked for, and what hides others."""
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    hidden = "" if shown is None else f" with CUDA_VISIBLE_DEVICES={shown}"
    if count == 1:
        return f"there is one{hidden}, gpu:0; use that one"
    names = [f"gpu:{number}" for number in range(count)]
    return f"there are {count}{hidden}, {', '.join(names[:-1])} and {names[-1]}; use one of these"


def _problem(reason, driver, built):
    """What is wrong, and the cure, where CuPy cannot compute; the versions are of the driver's CUDA and of CuPy's."""
    if "out of memory" in reason:
        return f"other programs hold its memory ({reason}); end those that nvidia-smi lists, or use another, as gpu:1"
    known, needed = driver // 1000, built // 1000
    if needed and not driver:
        return f"there is no NVIDIA driver ({reason}); install it and check it with: nvidia-smi"
    if known < needed:
        other = f", or CuPy for its CUDA: pip install cupy-cuda{known}x" if known >= OLDEST else ""
        return (
            f"the NVIDIA driver knows CUDA up to {_version(driver)} and CuPy was built for {_version(built)} "
            f"({reason}); install a newer driver{other}"
        )
    missing = re.search(r"lib\w+\.so[.\d]*", reason)
    if missing:
        return (
            f"CuPy was built for CUDA {_version(built)} and does not find its {missing[0]} ({reason}); install CUDA "
            f'{needed} with it: pip install "cupy-cuda{needed}x[ctk]"'
        )
    if "no kernel image" in reason or "gpu-architecture" in reason:
        other = f"CuPy for an older one: pip install cupy-cuda{needed - 1}x" if needed > OLDEST else "an older CuPy"
        return f"this card has no place in CUDA {_version(built)}, which CuPy was built for ({reason}); install {other}"
    return f"CuPy found no working CUDA device ({reason}); install NVIDIA's driver and check it with: nvidia-smi"


def from_numpy(array: np.ndarray, number: int = 0) -> Array:
    """A copy of a NumPy array on this GPU."""
    cupy = imported()
    with cupy.cuda.Device(number):
        return cupy.asarray(array, blocking=True)


def moved(array: Array, number: int) -> Array:
    """A copy on this GPU of an array on another."""
    with imported().cuda.Device(number):
        return array.copy()


def to_numpy(array: Array) -> np.ndarray:
    """A NumPy copy of an array on the GPU."""
    return imported().asnumpy(array)


def describe(number: int = 0) -> dict[str, str]:
    """The GPU's name, and the versions of CUDA that its driver and CuPy know."""
    runtime = imported().cuda.runtime
    name = runtime.getDeviceProperties(number)["name"].decode()
    return {"gpu": name, "driver": _version(runtime.driverGetVersion()), "cuda": _version(runtime.runtimeGetVersion())}


def _version(number):
    return f"{number // 1000}.{number % 1000 // 10}"


def synchronize(number: int = 0) -> None:
    """Wait for the GPU."""
    imported().cuda.Device(number).synchronize()
