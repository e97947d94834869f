"""Thousands of damaged and hostile weights files for each reader: no code runs, nothing hangs, memory is bounded.

    python benchmarks/fuzz_weights.py --cases 1000

Every file must be read unharmed or refused with one sentence; the first that is not is kept, and the run fails.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from weights_cases import READERS, damaged, generator, read_safely


def run(kind, cases, seed, folder):
    """The Outcomes of a kind's cases; RuntimeError names the file that a reader was not safe from."""
    rng, outcomes = generator(kind, seed), []
    path, sentinel = folder / "weights", folder / "sentinel"
    for case in range(cases):
        content = damaged(kind, rng, sentinel)
        try:
            outcomes.append(read_safely(READERS[kind], path, content))
            if sentinel.exists():
                raise AssertionError("code of the file was run")
        except BaseException as error:
            kept = Path(tempfile.gettempdir()) / f"weights-{kind.replace(' ', '-')}-{seed}-{case}"
            kept.write_bytes(content)
            raise RuntimeError(f"{kind}, case {case}, kept as {kept}: {type(error).__name__}: {error}") from error
    return outcomes


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=1000, help="of each kind (default: 1000)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(f"{'kind':12} {'cases':>7} {'read':>7} {'refused':>8} {'most memory':>12} {'longest':>9}")
    with tempfile.TemporaryDirectory() as folder:
        for kind in READERS:
            outcomes = run(kind, arguments.cases, arguments.seed, Path(folder))
            refused = sum(outcome.refusal is not None for outcome in outcomes)
            peak, seconds = max(o.peak for o in outcomes), max(o.seconds for o in outcomes)
            counts = f"{len(outcomes):7} {len(outcomes) - refused:7} {refused:8}"
            print(f"{kind:12} {counts} {peak / 1e6:9.2f} MB {seconds:7.3f} s")


if __name__ == "__main__":
    main()
