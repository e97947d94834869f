"""Fuzzing by coverage: readers are given files that atheris makes, guided by which branches of minires each one takes.

    make fuzz ARGS="--minutes 10"             every target, ten minutes each
    make fuzz ARGS="npz safetensors --seed 1"
    make fuzz ARGS=--list

The corpus of each target grows in --out, from small good files. A finding is an exception that a target does not
expect, a file that takes too long or too much memory, or a process that dies. Its input is kept in --out and tried
first the next time; the exit code is then 1.
"""

import argparse
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from campaign.attack import MODULES, Target, targets

TOP = Path(__file__).resolve().parents[2]
ABSENT = (
    "atheris is not installed: pip install -e '.[campaign]', on Linux or macOS with a Python that it has a wheel for "
    "(3.11 to 3.13)"
)
MOST_DEATHS = 5  # of a target, after which it is given up
IN_MEMORY = Path("/dev/shm")  # where it is there, the inputs are written, several times as fast as on a disk
TO_END = 900  # seconds beyond its time in which a process must have ended


@dataclass
class Account:
    """What came of a target: inputs tried, in the corpus, edges that they reach, and the files of findings."""

    tried: int = 0
    corpus: int = 0
    edges: int = 0
    seconds: float = 0.0
    findings: list[Path] = field(default_factory=list)


def main() -> int:
    """Run the command line; returns the exit code."""
    arguments = command_line().parse_args()
    known = targets(arguments.modules.split(","))
    unknown = [name for name in arguments.targets if name not in known]
    if unknown:
        print(f"error: no target is called {unknown[0]!r}: there are {', '.join(known)}", file=sys.stderr)
        return 2
    names = arguments.targets or list(known)
    if arguments.list:
        print("\n".join(names))
        return 0
    if importlib.util.find_spec("atheris") is None:
        print(f"error: {ABSENT}", file=sys.stderr)
        return 2

    def run(name):
        place = arguments.out / name.replace(" ", "-")
        account = fuzz(known[name], name, arguments.modules, place, arguments.minutes * 60, arguments.seed)
        print(f"{name}: {account.tried:,} inputs, {len(account.findings)} found", flush=True)
        return account

    with ThreadPoolExecutor(arguments.jobs) as pool:
        accounts = dict(zip(names, pool.map(run, names), strict=True))
    print(table(accounts, arguments.seed))
    return 1 if any(account.findings for account in accounts.values()) else 0


def fuzz(target: Target, name: str, modules: str, folder: Path, seconds: float, seed: int) -> Account:
    """Fuzz a target for so long, in processes of its own; after one that dies the next goes on with the corpus."""
    corpus, findings, log = folder / "corpus", folder / "findings", folder / "log.txt"
    corpus.mkdir(parents=True, exist_ok=True)
    _put(corpus, target.seeds())
    if findings.exists():
        _put(corpus, (path.read_bytes() for path in findings.iterdir() if path.suffix != ".txt"))
        shutil.rmtree(findings)
    findings.mkdir()
    account, began, deaths = Account(), time.monotonic(), 0
    log.write_bytes(b"")
    while (left := seconds - (time.monotonic() - began)) > 0 and deaths < MOST_DEATHS:
        with tempfile.TemporaryDirectory(prefix="fuzz-", dir=IN_MEMORY if IN_MEMORY.is_dir() else None) as scratch:
            died = _run_once([modules, name, folder, scratch, int(left) + 1, seed + 1 + deaths], log, left + TO_END)
            _count(account, log.read_text(errors="replace"))
            if died:
                deaths += 1
                _keep_what_killed(died, Path(scratch) / "input", findings, corpus, log)
    account.seconds = time.monotonic() - began
    account.corpus = len(list(corpus.iterdir()))
    account.findings = sorted(path for path in findings.iterdir() if path.suffix != ".txt")
    return account


def _put(corpus, contents: Iterable[bytes]):
    """Each input into the corpus, under a name that it always has."""
    for content in contents:
        (corpus / hashlib.sha256(content).hexdigest()[:16]).write_bytes(content)


def _run_once(arguments, log, seconds) -> str:
    """One process -> how it died, or nothing; what it says is added to the log."""
    command = [sys.executable, "-m", "campaign.fuzzer", *map(str, arguments)]
    with open(log, "ab") as output:
        try:
            code = subprocess.run(command, stdout=output, stderr=output, timeout=seconds, env=_environment()).returncode
        except subprocess.TimeoutExpired:
            return "hang"
    return {0: "", 70: "timeout", 71: "memory"}.get(code, f"died-{code}")


def _environment():
    paths = (str(TOP / "tests"), str(TOP), os.environ.get("PYTHONPATH", ""))
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _count(account, said):
    """Enter what libFuzzer said in all processes so far: #12345 NEW cov: 321 ft: 987 ..."""
    runs = said.split("INFO: Running with entropic")
    account.tried = sum(max(map(int, re.findall(r"^#(\d+)\s", run, re.MULTILINE)), default=0) for run in runs)
    account.edges = max(map(int, re.findall(r" cov: (\d+) ", said)), default=0)


def _keep_what_killed(how, path, findings, corpus, log):
    """The last input into the findings, and out of the corpus, since the next process would die of it, too."""
    content = path.read_bytes() if path.exists() else b""
    name = f"{how}-{hashlib.sha256(content).hexdigest()[:12]}"
    (findings / name).write_bytes(content)
    (findings / f"{name}.txt").write_text(log.read_text(errors="replace")[-5000:])
    for other in corpus.iterdir():
        if other.read_bytes() == content:
            other.unlink()


def table(accounts: dict[str, Account], seed: int) -> str:
    """A table in Markdown, and the findings below it."""
    rows = [
        f"seed {seed}",
        "",
        "| target | inputs | corpus | edges of minires | minutes | found |",
        "|---|---|---|---|---|---|",
    ]
    for name, one in accounts.items():
        minutes = f"{one.seconds / 60:.1f}"
        rows.append(f"| {name} | {one.tried:,} | {one.corpus:,} | {one.edges:,} | {minutes} | {len(one.findings)} |")
    for name, one in accounts.items():
        for path in one.findings:
            text = path.with_name(path.name + ".txt")
            reason = text.read_text().strip().splitlines()[-1] if text.exists() else ""
            rows.append(f"FOUND in {name}: {path} {ascii(reason)[1:-1][:200]}")
    return "\n".join(rows)


def command_line() -> argparse.ArgumentParser:
    """The parser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("targets", nargs="*", metavar="TARGET", help="only these; --list names them")
    add("--minutes", type=float, default=10.0, help="for each target; default: 10")
    add("--seed", type=int, default=0)
    add("--jobs", type=int, default=1, metavar="N", help="targets at a time; default: 1")
    add("--out", type=Path, default=TOP / "runs" / "fuzz", metavar="DIR")
    add("--modules", default=",".join(MODULES), help=argparse.SUPPRESS)
    add("--list", action="store_true", help="name the targets")
    return parser


if __name__ == "__main__":
    sys.exit(main())
