"""What the machine gives this process: cores, a share of them, memory."""

import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path

# What users set to tell numerical libraries how many threads to take. OpenMP's may be a list, for nested levels.
VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def can_start_threads() -> bool:
    """Whether a process may have more than one thread here: in a browser, under WebAssembly, it may not."""
    return sys.platform not in ("emscripten", "wasi")


def default_threads(environment: Mapping[str, str] | None = None, root: Path | str = "/") -> int:
    """The least of: physical cores among those this process may use, its share of them, what VARIABLES ask for.

    Two threads of one core share the arithmetic both need. A share is a container's CPU quota, rounded up. What is
    not a whole number from 1 on in a variable counts for nothing.   root: where the system's files are.
    """
    if not can_start_threads():
        return 1
    environment = os.environ if environment is None else environment
    asked = (environment.get(name, "").split(",")[0].strip() for name in VARIABLES)
    limits = [int(number) for number in asked if number.isascii() and number.isdigit() and int(number) > 0]
    quota = cpu_quota(root)
    if quota is not None:
        limits.append(max(1, math.ceil(quota)))
    return min([_physical_cores(), *limits])


def _physical_cores():
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    return len({_siblings(cpu) for cpu in os.sched_getaffinity(0)})


def _siblings(cpu):
    """Name of the physical core of a logical one, as Linux tells it; its own number where it does not."""
    try:
        with open(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return str(cpu)


def cpu_quota(root: Path | str = "/") -> float | None:
    """CPUs' worth of time that Linux grants this process's control group or one above it; None without a limit."""
    try:
        lines = Path(root, "proc/self/cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    quotas, mounted = [], Path(root, "sys/fs/cgroup")
    for line in lines:  # number:controllers:/path, and no controllers in version 2
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers == "":
            quotas += [_version_2(folder) for folder in _upwards(mounted, path)]
        elif "cpu" in controllers.split(","):
            for name in {controllers, "cpu"}:
                quotas += [_version_1(folder) for folder in _upwards(mounted / name, path)]
    return min((quota for quota in quotas if quota is not None), default=None)


def _upwards(mounted, path):
    """The group's folder and those above it, up to where the groups begin: a container sees this last one alone."""
    names = [name for name in path.split("/") if name not in ("", ".", "..")]
    return [mounted.joinpath(*names[:depth]) for depth in range(len(names), -1, -1)]


def _version_2(folder):
    return _share(_text(folder / "cpu.max"))


def _version_1(folder):
    return _share(_text(folder / "cpu.cfs_quota_us") + " " + _text(folder / "cpu.cfs_period_us"))


def _text(file):
    try:
        return file.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _share(text):
    """quota / period from "quota period"; None for "max", -1 and whatever else is not a limit."""
    words = text.split()
    if len(words) != 2 or not all(word.isdigit() and int(word) > 0 for word in words):
        return None
    return int(words[0]) / int(words[1])


def memory_peak() -> int:
    """Largest resident memory of this process so far, in bytes; 0 where the system does not tell."""
    try:  # getrusage would do, but on Linux a new process inherits its parent's figure
        with open("/proc/self/status", encoding="ascii") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
