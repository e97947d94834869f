"""Attacks on a training of several ranks: one of them is killed at any moment, and the run goes on with any number."""

import hashlib
import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from test_data_cifar import make_batches, write_binary

from campaign.attack import Attack
from minires import checkpoint
from minires.ranks.launch import find_mpiexec

SCRIPT = Path(__file__).resolve().parents[1] / "rank_that_fails.py"  # train_cifar.py, without its pictures
SHARDS, RANKS = 4, (1, 2, 4)
GONE = 10.0  # seconds within which all processes have ended
MOST_KILLS = 3


@dataclass(frozen=True)
class Prepared:
    """The flags of the run, the bits of one that nobody disturbed, and how long two ranks take for it, in seconds."""

    flags: list[str]
    data: list[str]
    bits: str
    seconds: float


def prepare(folder: Path) -> Prepared | None:
    """A run of one rank; None where there is no MPI."""
    if find_mpiexec() is None or importlib.util.find_spec("mpi4py") is None:
        return None
    write_binary(folder / "data", make_batches(40))
    data = ["--data-dir", str(folder / "data")]
    flags = [
        "--model",
        "simple_cnn",
        "--epochs",
        "40",
        "--save-every",
        "3",
        "--threads",
        "1",
        "--no-progress",
        "--batch-size",
        "16",
        "--timeout",
        "20",
    ]
    flags += ["--shards", str(SHARDS)]
    for ranks in (1, 2):
        began = time.monotonic()
        code, _, errors = finish(start(ranks, [*flags, *data, "--out", str(folder / f"whole-{ranks}")]), 120)
        seconds = time.monotonic() - began
        assert code == 0, errors
    bits = [digest(folder / f"whole-{ranks}") for ranks in (1, 2)]
    assert bits[0] == bits[1], "two ranks end with other bits than one"
    return Prepared(flags, data, bits[0], seconds)


def start(ranks: int, words: list[str]) -> subprocess.Popen:
    """The run by so many ranks, begun."""
    together = [find_mpiexec() or "", "-n", str(ranks)] if ranks > 1 else []
    python = [sys.executable, *(["-m", "mpi4py"] if ranks > 1 else []), str(SCRIPT), "train_cifar", "never", "0"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    return subprocess.Popen([*together, *python, *words], **pipes)  # type: ignore[call-overload]


def finish(process: subprocess.Popen, seconds: float) -> tuple[int, str, str]:
    """(exit code, stdout, stderr). Raises AssertionError where it has not ended by then."""
    try:
        output, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise AssertionError(f"not all have ended within {seconds:g} s") from None
    return process.returncode, output, errors


def digest(run: Path) -> str:
    """SHA-256 of all arrays of last.safetensors, the optimizer's, too, and where it stands."""
    loaded = checkpoint.load(run / "last.safetensors")
    total = hashlib.sha256(repr([(loaded.position or {})[name] for name in ("epoch", "iteration", "seen")]).encode())
    arrays = {**loaded.model, **(loaded.optimizer or {})["arrays"]}
    for name in sorted(arrays):
        total.update(name.encode() + arrays[name].tobytes())
    return total.hexdigest()


def ranks_of(run: Path) -> dict[int, int]:
    """{rank: its process} of those that have the run's folder in their command line."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(run).encode() in path.read_bytes() and b"mpiexec" not in path.read_bytes().split(b"\0")[0]:
                variables = (path.parent / "environ").read_bytes()
                rank = re.search(rb"(?:^|\0)PMI_RANK=(\d+)", variables)
                found[int(rank[1]) if rank else 0] = int(path.parent.name)
        except OSError:
            continue
    return found


def killed(prepared: Prepared | None, rng: np.random.Generator, number: int, folder: Path) -> str:
    """Two ranks, of which one is killed at some moment; the rest by one, two or four, killed again or not."""
    if prepared is None:
        return "not tried: MPI is missing"
    run, ended = folder / "run", 0
    kills = int(rng.integers(1, MOST_KILLS + 1))
    for attempt in range(kills + 1):
        ranks = 2 if attempt == 0 else int(rng.choice(RANKS if attempt == kills else RANKS[1:]))
        begun = (run / "last.safetensors").exists()
        words = (
            ["--resume", str(run), *prepared.data] if begun else [*prepared.flags, *prepared.data, "--out", str(run)]
        )
        process = start(ranks, words)
        if attempt < kills:
            time.sleep(rng.uniform(0.3, prepared.seconds))
            there, victim = ranks_of(run), int(rng.integers(ranks))
            if victim in there and process.poll() is None:
                os.kill(there[victim], signal.SIGKILL)
                code, output, errors = finish(process, GONE)
                assert not ranks_of(run), "a rank is still there"
                if code != 0 and "epoch iteration" in output and "model of epoch" not in output:  # it was at work
                    told = re.findall(
                        rf"^error: .*rank {victim} on \S+ .* died: .*; to go on: \S*mpiexec ", errors, re.M
                    )
                    assert len(told) == 1, f"rank {victim} was killed, and this was told: {errors[-400:]}"
                ended += code != 0
                continue
        code, output, errors = finish(process, 120)
        assert code == 0, f"exit code {code}: {errors[-400:]}"
    assert digest(run) == prepared.bits, "the run ended with other bits"
    return f"killed {ended} times"


ATTACKS = [
    Attack(
        "a killed rank",
        "a rank of several is killed at any moment: within 10 seconds all processes are gone, one sentence has named "
        "the rank, and with 1, 2 or 4 ranks the run goes on to the bits of one that nobody disturbed",
        prepare,
        killed,
        200,
        1,
        hang=300.0,
    )
]
