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
        self.lock, self.closed = threading.Lock(), False
        host = ranks.hosts[ranks.rank]
        self.tell(rank=ranks.rank, host=host, pid=os.getpid(), token=guard["token"])
        threading.Thread(target=self._listen, name="minires-guarded", daemon=True).start()
        threading.Thread(target=self._report, name="minires-guarded", daemon=True).start()

    def tell(self, **what: Any) -> None:
        """Say something to the guard; where it is gone, the thread that listens knows."""
        with self.lock, contextlib.suppress(OSError):
            self.connection.sendall(json.dumps(what).encode() + b"\n")

    def failed(self, sentence: str, code: int, of: int | None, lost: bool) -> None:
        """Tell of a failure, rank `of`'s or this one's, which ends all: this returns where nobody has ended it.

        lost: whether it is that another rank no longer answers, which will have failed before.
        """
        self.tell(failed=sentence, code=code, of=of, lost=lost)
        time.sleep(LAST_WORDS)

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
                    self._end(f"{self} has lost what watches over the ranks, on {self.ranks.hosts[0]}", 1)
                return
            text += read
        self._end("", json.loads(text.split(b"\n")[0])["end"])

    def _end(self, sentence, code):
        if sentence:
            print(f"error: {sentence}", file=sys.__stderr__, flush=True)
        os._exit(code or 1)

    def __str__(self) -> str:
        return f"rank {self.ranks.rank} on {self.ranks.hosts[self.ranks.rank]}"


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
