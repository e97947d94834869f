"""What this machine can do at most: multiply-adds of a matrix product, bytes of a copy. Measured as minires works:
`threads` threads, each on data of its own, with a BLAS of one thread.
"""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import threadpoolctl

MATRIX_SIZES = (512, 768, 1024)
LARGE, SMALL = 64 * 1024**2, 1024**2  # bytes of an array that no cache holds, and of one that a cache does


def measure(threads, seconds=0.5):
    """{"sgemm_gflops", "copy_gb_per_s", "cached_copy_gb_per_s"}, the best found in `seconds` for each size.

    Copied bytes count twice: read and written.
    """
    with ThreadPoolExecutor(threads) as pool, threadpoolctl.threadpool_limits(1, user_api="blas"):
        gflops = max(threads * 2e-9 * n**3 / _best(pool, threads, _product(n), seconds) for n in MATRIX_SIZES)
        copies = {
            name: threads * 2e-9 * size / _best(pool, threads, _copy(size), seconds)
            for name, size in (("copy_gb_per_s", LARGE), ("cached_copy_gb_per_s", SMALL))
        }
    return {"threads": threads, "sgemm_gflops": gflops, **copies}


def _product(n):
    def prepare():
        a, b = np.random.default_rng(0).standard_normal((2, n, n), np.float32)
        out = np.empty_like(a)
        return lambda: np.matmul(a, b, out=out)

    return prepare


def _copy(size):
    def prepare():
        source, target = np.ones(size // 4, np.float32), np.zeros(size // 4, np.float32)
        return lambda: np.copyto(target, source)

    return prepare


def _best(pool, threads, prepare, seconds):
    """Shortest time, within `seconds`, that one piece of work takes where every thread does its own."""
    works = [prepare() for _ in range(threads)]
    repeats = 1

    def turn():
        began = time.perf_counter()
        list(pool.map(lambda work: [work() for _ in range(repeats)], works))
        return (time.perf_counter() - began) / repeats

    turn()
    repeats = max(1, int(0.02 / turn()))  # long beside what starting the threads takes
    end, best = time.perf_counter() + seconds, turn()
    while time.perf_counter() < end:
        best = min(best, turn())
    return best
