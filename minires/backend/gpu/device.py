"""CuPy, imported on first use. Without it, or without a driver, the error says what is missing."""

import re

import numpy as np

from minires.backend.errors import DeviceError
from minires.types import Array

OLDEST = 12  # of CUDA's versions, the oldest that CuPy is still built for


def _cupy():
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


def check() -> None:
    """Return if a GPU works; raise DeviceError with the reason and the cure if none does."""
    cupy = _cupy()
    driver = built = 0
    try:
        driver, built = cupy.cuda.runtime.driverGetVersion(), cupy.cuda.runtime.runtimeGetVersion()
        count = cupy.cuda.runtime.getDeviceCount()
        if count > 0:
            cupy.ones(1).sum().get()
    except Exception as error:  # CuPy raises many kinds here: no driver, no libraries, an old card
        raise DeviceError(f"no GPU: {_problem(_reason(error), driver, built)}") from error
    if count == 0:
        raise DeviceError("no GPU: CuPy found no CUDA device; check with: nvidia-smi")


def _problem(reason, driver, built):
    """What is wrong, and the cure, where CuPy cannot compute; the versions are of the driver's CUDA and of CuPy's."""
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


def from_numpy(array: np.ndarray) -> Array:
    """A copy of a NumPy array on the GPU."""
    return _cupy().asarray(array, blocking=True)


def to_numpy(array: Array) -> np.ndarray:
    """A NumPy copy of an array on the GPU."""
    return _cupy().asnumpy(array)


def describe() -> dict[str, str]:
    """The GPU's name, and the versions of CUDA that its driver and CuPy know."""
    runtime = _cupy().cuda.runtime
    name = runtime.getDeviceProperties(runtime.getDevice())["name"].decode()
    return {"gpu": name, "driver": _version(runtime.driverGetVersion()), "cuda": _version(runtime.runtimeGetVersion())}


def _version(number):
    return f"{number // 1000}.{number % 1000 // 10}"


def synchronize() -> None:
    """Wait for the GPU."""
    _cupy().cuda.Device().synchronize()
