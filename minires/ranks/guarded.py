"""A rank's side of the guard: what it says of itself, and its end when the guard says so."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

EVERY = 0.5  # seconds between two words
LAST_WORDS = 8.0  # seconds in which the guard must have ended a rank that has told it of its failure


class Watched(Protocol):
    """What is told of a rank: which it is, and how it goes."""

    rank: int
    hosts: Sequence[str]
    calls: int
    waiting: bool


def start_guard(size: int) -> dict[str, Any]:
    """Start a guard for `size` ranks, on this host; where it listens, for `Guarded` on each of them."""
    token, script = secrets.token_hex(16), str(Path(__file__).with_name("guard.py"))
    process = subprocess.Popen(
        [sys.executable, "-S", "-E", script, str(size), token],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,  # what ends the ranks does not end it
    )
    assert process.stdout is not None
    port = process.stdout.readline()
    if not port:
        raise OSError("the process that watches over the ranks could not be started: see above why")
    return {"hosts": _names_of_this_host(), "port": int(port), "token": token}


def _names_of_this_host():
    names = [os.environ.get("PMI_HOSTNAME", ""), socket.gethostname(), socket.getfqdn()]
    with contextlib.suppress(OSError):
        names += [str(found[4][0]) for found in socket.getaddrinfo(socket.gethostname(), None)]
    return list(dict.fromkeys(filter(None, names)))


class Guarded:
    """The connection of one rank, with a thread that says how it goes and ends the process when it must end."""

    def __init__(self, ranks: Watched, guard: dict[str, Any]) -> None:
        self.ranks = ranks
        nearby = ranks.hosts[0] == ranks.hosts[ranks.rank]
        self.connection = _connection((["127.0.0.1"] if nearby else []) + guard["hosts"], guard["port"])
        self.lock, self.closed, self.go_on = threading.Lock(), False, ""
        self.alike = threading.Event()  # all ranks have failed in the same way
        host = ranks.hosts[ranks.rank]
        self.tell(rank=ranks.rank, host=host, pid=os.getpid(), files=_shared_memory(), token=guard["token"])
        threading.Thread(target=self._listen, name="minires-guarded", daemon=True).start()
        threading.Thread(target=self._report, name="minires-guarded", daemon=True).start()

    def tell(self, **what: Any) -> None:
        """Say something to the guard; where it is gone, the thread that listens knows."""
        with self.lock, contextlib.suppress(OSError):
            self.connection.sendall(json.dumps(what).encode() + b"\n")

    def training(self, go_on: str, timeout: float, log: str) -> None:
        """Training begins; go_on: what is said of a failure besides."""
        self.go_on = go_on
        self.tell(go_on=go_on, timeout=timeout, log=log)

    def failed(self, sentence: str, code: int, of: int | None, lost: bool) -> bool:
        """Tell of a failure, rank `of`'s or this one's, which ends all: this returns where nobody has ended it.

        lost: whether it is that another rank no longer answers, which will have failed before. Returns whether all have
        failed in the same way, and can go together.
        """
        self.tell(failed=sentence, code=code, of=of, lost=lost)
        return self.alike.wait(LAST_WORDS)

    def close(self) -> None:
        """Say goodbye."""
        self.closed = True
        self.tell(bye=True)

    def _report(self):
        while not self.closed:
            self.tell(calls=self.ranks.calls, waiting=self.ranks.waiting)
            time.sleep(EVERY)

    def _listen(self):
        text = b""
        while b"\n" not in text:
            try:
                read = self.connection.recv(4096)
            except OSError:
                read = b""
            if not read:
                if not self.closed:
                    self._end_without_guard()
                return
            text += read
        told = json.loads(text.split(b"\n")[0])
        self.alike.set() if told["alike"] else os._exit(told["end"] or 1)

    def _end_without_guard(self):
        """It is gone itself: the first rank says so."""
        if self.ranks.rank == 0:
            sentence = f"the process that watches over the ranks, on {self.ranks.hosts[0]}, was killed"
            go_on = f"; {self.go_on}" if self.go_on else ""
            print(f"error: {sentence}{go_on}", file=sys.__stderr__, flush=True)
        time.sleep(0 if self.ranks.rank == 0 else EVERY)  # launchers soon take the output away
        os._exit(1)


def _shared_memory():
    """Files of shared memory that MPI has made for this process, as Linux tells."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return []
    return sorted({line.split()[-1] for line in lines if "/dev/shm/mpi" in line})


def _connection(hosts, port):
    for host in hosts:
        with contextlib.suppress(OSError):
            connection = socket.create_connection((host, port), timeout=5)
            connection.settimeout(None)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            return connection
    raise OSError(
        f"the ranks are watched over at port {port} of {hosts[-1]}, which this host cannot reach: open its ports for "
        "the hosts of a training, as MPI needs it too"
    )
