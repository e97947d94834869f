"""All that can be proven of kernels where there is no GPU, in minutes: a table; exit code 1 if something is wrong.

    make kernels [ARGS="--cases 2000 --seed 7"]

Every kernel of the library, with indices of 32 and of 64 bits, is compiled for every kind of GPU that NVIDIA's compiler
knows of those that nvrtc.py lists; then drawn shapes run under sanitizers, with the threads in other orders, and on
arrays of about 2^31 numbers. test_kernels.py does less of the same, and has the kernels that must be found wrong.
"""

import argparse
import collections
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from unittest import mock

import cupy_double
import kernel_cases
import kernel_double
import numpy as np
import nvrtc
import sanitized
from every_kernel import every_kernel

from minires.backend.gpu import compiling, source


def compile_all(args):
    """Every text for every architecture; what is wrong."""
    reason = nvrtc.why_not()
    if reason:
        return [reason]
    kernels = every_kernel()
    counted = collections.Counter(kernel.name for kernel in kernels)
    print(f"{len(kernels)} kernels: " + ", ".join(f"{count} {name}" for name, count in counted.items()))
    jobs = list(product(kernels, compiling.INTEGER, nvrtc.ARCHITECTURES))
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        wrong = list(filter(None, pool.map(_complaint, jobs, chunksize=20)))
    print(f"{len(jobs)} times compiled by NVRTC {nvrtc.version()} for sm_" + ", ".join(map(str, nvrtc.ARCHITECTURES)))
    return wrong


def _complaint(job):
    kernel, index, architecture = job
    return nvrtc.complaint(kernel.text(index), kernel.name, architecture)


def sanitize(args):
    """Drawn shapes under sanitizers; what is wrong."""
    if sanitized.library() is None:
        return ["g++ has no AddressSanitizer here"]
    done = sanitized.start("--cases", args.cases, "--seed", args.seed, "--all-kinds")
    far = sanitized.start("--far")
    print(f"{args.cases} drawn cases under AddressSanitizer, and arrays of about 2^31 numbers: {far.stdout.strip()}")
    return [process.stderr for process in (done, far) if process.returncode]


def reorder(args):
    """Drawn shapes, the threads of each block in an order that is drawn as well; what is wrong."""
    with mock.patch.dict(sys.modules, cupy=cupy_double):
        for number in range(args.cases):
            rng = np.random.default_rng([args.seed, number])
            with kernel_double.running(kernel_double.fibres(rng.permutation(source.THREADS), blocks=_shuffled(rng))):
                kernel_cases.run(rng)
    print(f"{args.cases} drawn cases in drawn orders of threads and blocks")
    return []


def _shuffled(rng):
    return lambda width, height: rng.permutation(kernel_double.by_rows(width, height)).tolist()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=1000, metavar="N", help="drawn shapes; default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="default: %(default)s")
    args = parser.parse_args()
    kernel_cases.KINDS = kernel_cases.ALL_KINDS
    wrong = []
    for step in (compile_all, sanitize, reorder):
        start = time.perf_counter()
        wrong += step(args)
        print(f"    {time.perf_counter() - start:.0f} seconds", flush=True)
    for what in wrong:
        print(what, file=sys.stderr)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
