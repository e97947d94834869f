"""The kernels' cases under AddressSanitizer and UndefinedBehaviorSanitizer, in a process of its own.

    python tests/sanitized.py [--cases N] [--seed S] [--all-kinds | --far]

An index that leaves its array by one ends the process, with the line of the kernel; so does a signed integer that
overflows. That this is so is shown first: by SABOTAGES, kernels with one mistake each, every one in a forked process
that must end so.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import cupy_double
import kernel_cases
import kernel_double
import kernel_far
import numpy as np

from minires import backend
from minires.backend.gpu import compiling, layouts, parameters, patches, source, source_classes, source_images

SABOTAGES = {  # what the mistake is: (module, its text, what stands there, what stands there by mistake, its case)
    "one number past the end": (source, "EACH", "i < n; i +=", "i <= n; i +=", "element_wise"),
    "one row past the last": (source, "SUMS", "r < rows", "r <= rows", "sums_over_channels"),
    "one channel past the last": (
        source,
        "SUMS",
        "if (t < across && c < channels)",
        "if (t < across)",
        "sums_over_channels",
    ),
    "shared memory past its end": (source, "SUMS", "half = down / 2", "half = down", "sums_over_channels"),
    "one window past the last": (source, "COL2IM", "y / SH >= OH", "y / SH > OH", "patches_and_their_adjoint"),
    "one pixel below the image": (source, "IM2COL", "h < H", "h <= H", "patches_and_their_adjoint"),
    "one pixel above the image": (source, "IM2COL", "h >= 0", "h >= -1", "patches_and_their_adjoint"),
    "the next set of arrays": (
        source,
        "MANY",
        "many.start[k + step] <= at",
        "many.start[k + step] < at",
        "many_arrays",
    ),
    "one class past the last": (
        source_classes,
        "COSTS",
        "const T z = logits[n",
        "const T z = logits[1 + n",
        "rows_of_logits",
    ),
    "one row of logits past the last": (
        source_classes,
        "LARGEST",
        "if (n < count)\n",
        "if (n <= count)\n",
        "rows_of_logits",
    ),
    "one column right of the image": (source_images, "MAX_POOL", "left + j >= W", "left + j > W", "largest_pixels"),
    "one window below the last": (source_images, "MAX_POOL_GRADIENT", "y / SH >= OH", "y / SH > OH", "largest_pixels"),
    "one output past the last": (
        source,
        "FACTORS",
        "matrix[at] = weight[from]",
        "matrix[at + 1] = weight[from]",
        "both_factors",
    ),
    "one pixel past the last": (source_images, "MOVE", "y[at] =", "y[at + 1] =", "moved_pixels"),
    "one channel past the pixel's": (source_images, "KEEP", "c < C", "c <= C", "kept_pixels"),
    "the next array to be copied": (
        layouts,
        "COPIES",
        "start[k + step] <= at",
        "start[k + step] < at",
        "copies_of_many",
    ),
    "an item past the last": (source_classes, "MEAN", "n < count", "n <= count", "rows_of_logits"),
}
FAR_SABOTAGES = {  # the same where an array has about 2^31 numbers: (module, name, its value by mistake, case, n)
    "no room for the stride of a grid": (compiling, "SMALL", 2**31 - 1, "in_place", 2**31 - 2),
    "the number of an image in 32 bits": (
        source,
        "COL2IM",
        source.COL2IM.replace("const Index image", "const int image"),
        "windows_back",
        kernel_far.SIZES["long long"],
    ),
}


def library():
    """AddressSanitizer's, of this g++; None if there is none."""
    found = subprocess.run(["g++", "-print-file-name=libasan.so"], capture_output=True, text=True).stdout.strip()
    return found if os.path.isabs(found) else None


def start(*arguments, **options):
    """This script in a process that has the sanitizers."""
    folder = Path(__file__).resolve().parent
    sanitizers = {
        "LD_PRELOAD": library(),
        "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0",  # Python keeps what it has taken
        "PYTHONPATH": os.pathsep.join([str(folder.parent), str(folder)]),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    command = [sys.executable, __file__, *map(str, arguments)]
    return subprocess.run(command, env=os.environ | sanitizers, capture_output=True, text=True, **options)


def _run(case, rngs):
    with kernel_double.running(kernel_double.sanitized()):
        for rng in rngs:
            if case:
                with kernel_cases.circumstances(rng) as real:
                    getattr(kernel_cases, case)(rng, real)
            else:
                kernel_cases.run(rng)


def _sabotaged(name):
    """The first line of what a sanitizer says to a mistake, or that it said nothing."""
    module, text, right, wrong, case = SABOTAGES[name]
    whole = getattr(module, text)
    assert whole.count(right) == 1, f"{name}: {text} has no {right}"
    rngs = (np.random.default_rng([2, number]) for number in range(40))
    return _end_of(lambda: _run(case, rngs), module, text, whole.replace(right, wrong))


def _far_sabotaged(name):
    """The same of FAR_SABOTAGES."""
    module, text, wrong, case, n = FAR_SABOTAGES[name]
    return _end_of(lambda: _run_far(case, n), module, text, wrong)


def _run_far(case, n):
    with kernel_far.far():
        getattr(kernel_far, case)(n)


def _far():
    """Which cases are right with which indices, or why there are none."""
    done = []
    try:
        for case in kernel_far.CASES:
            for index, n in kernel_far.SIZES.items():
                _run_far(case.__name__, n)
                done.append(f"{case.__name__}, {index}")
    except kernel_far.NoRoom as error:
        return str(error)
    return done


def _end_of(run, module, name, wrong):
    """How a process ends that calls `run`, module.name being wrong."""
    with tempfile.TemporaryFile("w+") as heard:
        child = os.fork()
        if not child:
            os.dup2(heard.fileno(), 2)
            patches._text.cache_clear()
            parameters._made.clear()
            kernel_cases.KINDS = (("f", compiling.SMALL),)  # fewer kernels to build
            setattr(module, name, wrong)
            try:
                run()
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        heard.seek(0)
        lines = heard.read().splitlines()
    said = [line for line in lines if "ERROR: AddressSanitizer" in line or "runtime error:" in line]
    return said[0] if said and status else f"nothing: {lines[-1:]}"


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=200, metavar="N", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=2, metavar="S", help="default: %(default)s")
    parser.add_argument("--all-kinds", action="store_true", help="both types of numbers with both of indices")
    parser.add_argument("--far", action="store_true", help="arrays of about 2^31 numbers instead")
    args = parser.parse_args(arguments)
    sys.modules["cupy"] = cupy_double
    kernel_cases.KINDS = kernel_cases.ALL_KINDS if args.all_kinds else kernel_cases.KINDS
    backend.set_threads(1)
    if args.far:
        found = {"sabotages": {name: _far_sabotaged(name) for name in FAR_SABOTAGES}, "right": _far()}
    else:
        found = {"sabotages": {name: _sabotaged(name) for name in SABOTAGES}, "right": args.cases}
        _run("", (np.random.default_rng([args.seed, number]) for number in range(args.cases)))
    status = Path("/proc/self/status").read_text()  # getrusage's maximum counts the parent before the fork
    print(json.dumps(found | {"megabytes": int(re.search(r"VmHWM:\s+(\d+)", status)[1]) >> 10}))


if __name__ == "__main__":
    main()
