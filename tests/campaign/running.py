"""Runs attacks in processes of their own, so that none can take the campaign with it, and keeps account of them."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from campaign.attack import Attack

TO_START = 180.0  # seconds a process may take until it is prepared


@dataclass
class Account:
    """What is known of an attack: how many cases there are and were, how they came out, and what was found."""

    count: int
    done: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    outcomes: dict[str, int] = field(default_factory=dict)
    findings: list[dict[str, Any]] = field(default_factory=list)

    def add(self, told: dict[str, Any]) -> None:
        """Enter what a worker told of a case."""
        self.done = told["number"] + 1
        self.seconds += told["seconds"]
        self.slowest = max(self.slowest, told["seconds"])
        if "error" in told:
            self.findings.append({key: told[key] for key in ("number", "error", "traceback") if key in told})
        outcome = "FOUND" if "error" in told else told["outcome"]
        self.outcomes = dict(Counter(self.outcomes) + Counter([outcome]))


class Campaign:
    """Accounts of attacks in `folder`, kept in campaign.json there after every few seconds, so that it can go on later.

    Raises ValueError where the folder's accounts are of another seed or of other code.
    """

    def __init__(self, folder: Path, attacks: dict[str, Attack], seed: int, code: str, quick: bool = False) -> None:
        self.folder, self.attacks, self.seed, self.code = folder, attacks, seed, code
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / "campaign.json"
        self.lock = threading.Lock()
        self.accounts = {name: Account(attack.quick if quick else attack.full) for name, attack in attacks.items()}
        if self.file.exists():
            self._go_on(json.loads(self.file.read_text()))

    def _go_on(self, saved):
        for what, now in (("seed", self.seed), ("code", self.code)):
            if saved[what] != now:
                raise ValueError(
                    f"{self.file} is of {what} {saved[what]}, this is {now}: name another folder, or remove it"
                )
        for name, account in saved["accounts"].items():
            count = self.accounts[name].count if name in self.accounts else account["count"]
            self.accounts[name] = Account(**{**account, "count": count})

    def save(self) -> None:
        """Write campaign.json."""
        with self.lock:
            accounts = {name: asdict(account) for name, account in self.accounts.items()}
            beside = self.file.with_suffix(".part")
            beside.write_text(json.dumps({"seed": self.seed, "code": self.code, "accounts": accounts}, indent=1))
            os.replace(beside, self.file)

    def run(self, name: str, seconds: float) -> None:
        """Run cases of an attack, from where it stood, until there are no more or the time is over."""
        attack, account = self.attacks[name], self.accounts[name]
        until = time.monotonic() + seconds
        while account.done < account.count and time.monotonic() < until:
            with tempfile.TemporaryDirectory(prefix="campaign-") as folder:
                self._run_a_worker(attack, account, Path(folder), until)
            self.save()

    def _run_a_worker(self, attack, account, folder, until):
        """Until its time is over, its cases are done, or it has died or been killed over one."""
        arguments = [attack.module, attack.name, self.seed, account.done, account.count, folder]
        errors = folder / "stderr"
        with open(errors, "wb") as stderr:
            command = [sys.executable, "-m", "campaign.worker", *map(str, arguments)]
            worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, start_new_session=True)
        lines: queue.Queue[str | None] = queue.Queue()
        reader = threading.Thread(target=_hand_on, args=(worker.stdout, lines), daemon=True)
        reader.start()
        try:
            told = _next(lines, TO_START)
            if isinstance(told, str):
                raise RuntimeError(f"{attack.name}: could not be prepared ({told}): {errors.read_text()[-3000:]}")
            account.count = told["count"]
            while account.done < account.count and time.monotonic() < until:
                began, told = time.monotonic(), _next(lines, attack.hang)
                if isinstance(told, str):
                    error = f"case {account.done} {told}"
                    text = errors.read_text(errors="replace")[-3000:]
                    told = {
                        "number": account.done,
                        "error": error,
                        "traceback": text,
                        "seconds": time.monotonic() - began,
                    }
                    account.add(told)
                    self._keep(attack, told, folder / "case")
                    return
                account.add(told)
                if "error" in told:
                    self._keep(attack, told, folder / f"case-{told['number']}")
        finally:
            _end(worker, reader)

    def _keep(self, attack, told, case):
        """Put what was found, and the files of that case, into the folder `findings`."""
        place = self.folder / "findings" / f"{attack.name.replace(' ', '-')}-{told['number']}"
        place.mkdir(parents=True, exist_ok=True)
        (place / "finding.txt").write_text(f"{attack.promise}\n{told['error']}\n{told.get('traceback', '')}\n")
        if case.exists():
            subprocess.run(["cp", "-r", str(case), str(place / "files")], check=False, capture_output=True)
        self.save()


def _hand_on(stream, lines):
    """Put the lines of a stream into a queue, and None once it ends."""
    for line in stream:
        lines.put(line)
    lines.put(None)


def _next(lines, seconds):
    """What the next line holds; "hangs" where none comes in time, "died" where there is none."""
    try:
        line = lines.get(timeout=seconds)
    except queue.Empty:
        return f"hangs: no answer within {seconds:g} s"
    return "died: its process ended" if line is None else json.loads(line)


def _end(worker, reader):
    """Kill a worker, and all that it has started, and wait for the thread that reads what it tells."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()
    reader.join()
    worker.stdout.close()
