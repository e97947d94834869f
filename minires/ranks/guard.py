"""A process beside the ranks, which sees the first of them fail, says so in one sentence, and ends the others.

Launchers end all ranks as soon as one is killed, so that none of them is left to say which it was. This one is not the
launcher's: rank 0 starts it, each rank holds a connection to it, and what closes without a goodbye has died. It needs
nothing but Python, and is run as a script: python guard.py SIZE TOKEN, and prints the port it listens on.

Lines of JSON from a rank: {"rank", "host", "pid", "files", "token"} first; then {"calls", "waiting"} now and then,
{"go_on", "timeout", "log"} when training begins, {"failed", "code", "of", "lost"}, {"bye"}. To a rank, when all must
end: {"end": code, "alike"}, whether all have failed in the same way and can take their leave of MPI.
"""

import contextlib
import json
import os
import selectors
import signal
import socket
import sys
import time
from typing import Any

TOGETHER = 0.5  # seconds in which others may tell of the same failure
LATER = 3.0  # seconds in which the rank that others have lost must be known
GRACE = 2.0  # seconds after which a rank of this host that should end is killed
HELLO = 120.0  # seconds in which all ranks must have come
SILENT = 10.0  # seconds without a word after which a rank's threads do not run


class Rank:
    """What is known of one."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection, self.text = connection, b""
        self.number, self.host, self.pid = -1, "", 0
        self.files: list[str] = []  # of shared memory, which stay when it is killed
        self.calls, self.waiting = 0, False
        self.heard = time.monotonic()
        self.bye = False

    def __str__(self) -> str:
        return f"rank {self.number} on {self.host}"

    def lines(self) -> tuple[list[dict[str, Any]], bool]:
        """(what it has said since, whether it is still there)"""
        try:
            read = self.connection.recv(65536)
        except BlockingIOError:
            return [], True
        except OSError:
            read = b""
        *lines, self.text = (self.text + read).split(b"\n")
        return [json.loads(line) for line in lines], bool(read)

    def tell(self, **what: Any) -> None:
        """Say something to it, if it still listens."""
        with contextlib.suppress(OSError):
            self.connection.sendall(json.dumps(what).encode() + b"\n")


class Guard:
    """Listens to `size` ranks that know the token, until all have said goodbye or one has failed."""

    def __init__(self, size: int, token: str) -> None:
        self.size, self.token = size, token
        self.server = socket.create_server(("", 0), backlog=size)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.server, selectors.EVENT_READ)
        self.ranks: dict[int, Rank] = {}
        self.gone: list[Rank] = []  # without a goodbye; several, where they went at once
        self.failed: dict[int, tuple[str, int, int | None]] = {}  # what a rank says, exit code, whose failure it is
        self.lost: dict[int, tuple[str, int, int | None]] = {}  # likewise, of ranks that have lost another one
        self.go_on, self.log = "", ""
        self.alike = False  # whether all have failed in the same way
        self.timeout: float | None = None
        self.calls, self.moved = 0, time.monotonic()  # of all ranks together, and when the sum last grew

    def run(self) -> int:
        """Until the end; the exit code."""
        began = time.monotonic()
        while not (self.gone or self.failed or self.lost):
            self.listen(0.5)
            if len(self.ranks) == self.size and all(rank.bye for rank in self.ranks.values()):
                return 0
            if len(self.ranks) < self.size and time.monotonic() - began > HELLO:
                return 1  # whoever started them has given up
            if (stalled := self.stalled()) is not None:
                return self.end(stalled, 1)
        since = time.monotonic()
        while not (self.gone or self.all_have_failed()):  # one that has died is told at once, before the launcher ends
            left = since + (TOGETHER if self.failed else LATER) - time.monotonic()
            if left <= 0:
                break
            self.listen(left)
        return self.end(*self.what_failed())

    def listen(self, seconds: float) -> None:
        """Take in what comes within so many seconds."""
        for key, _ in self.selector.select(seconds):
            if key.data is None:
                connection, _ = self.server.accept()
                connection.setblocking(False)
                self.selector.register(connection, selectors.EVENT_READ, Rank(connection))
            else:
                self.hear(key.data)

    def hear(self, rank: Rank) -> None:
        try:
            lines, there = rank.lines()
        except ValueError:  # somebody else's connection
            lines, there = [], False
        for line in lines:
            if rank.number < 0 and line.get("token") != self.token:
                there = False
                break
            self.take(rank, line)
        if not there:
            self.selector.unregister(rank.connection)
            rank.connection.close()
            if rank.number >= 0 and not rank.bye and rank.number not in {**self.failed, **self.lost}:
                self.gone.append(rank)

    def take(self, rank: Rank, line: dict[str, Any]) -> None:
        rank.heard = time.monotonic()
        if "token" in line:
            rank.number, rank.host, rank.pid, rank.files = line["rank"], line["host"], line["pid"], line["files"]
            self.ranks[rank.number] = rank
        if "calls" in line:
            rank.calls, rank.waiting = line["calls"], line["waiting"]
            if (calls := sum(each.calls for each in self.ranks.values())) > self.calls:
                self.calls, self.moved = calls, rank.heard
        if "go_on" in line:
            self.go_on, self.timeout, self.moved = line["go_on"], line["timeout"], rank.heard
            self.log = line["log"]
        if "failed" in line:
            failed = self.lost if line["lost"] else self.failed
            failed[rank.number] = line["failed"], line["code"], line["of"]
        rank.bye = rank.bye or "bye" in line

    def stalled(self) -> str | None:
        """Which rank the others have waited for longer than the timeout; None: none."""
        now = time.monotonic()
        if self.timeout is None or now - self.moved < self.timeout or any(rank.bye for rank in self.ranks.values()):
            return None
        silent = [rank for rank in self.ranks.values() if now - rank.heard > min(SILENT, self.timeout)]
        at_work = [rank for rank in self.ranks.values() if not rank.waiting]
        rank = min(silent or at_work or self.ranks.values(), key=lambda rank: (rank.calls, rank.number))
        how = "has not answered" if silent else "has not come" if at_work else "waits like all others"
        return f"{rank} {how}, after {self.timeout:g} seconds (--timeout)"

    def all_have_failed(self) -> bool:
        return len(self.failed) == self.size

    def what_failed(self) -> tuple[str, int]:
        """(the sentence, the exit code): of the first that failed, without a name where all fail in the same way."""
        if self.gone and not self.failed:
            who = " and ".join(f"{rank} (process {rank.pid})" for rank in self.gone)
            has, it = ("has", "it was") if len(self.gone) == 1 else ("have", "they were")
            return f"{who} {has} died: {it} killed, crashed, or out of memory", 1
        number, (sentence, code, of) = next(iter((self.failed or self.lost).items()))
        self.alike = self.all_have_failed() and {said for said, *_ in self.failed.values()} == {sentence}
        if self.alike and (of is None or not self.go_on):
            return sentence, code
        return f"{self.ranks[number if of is None else of]}: {sentence}", code

    def end(self, sentence: str, code: int) -> int:
        """Say the sentence, which is kept in the run's train.log, too, and see to it that all ranks end."""
        go_on = "" if not self.go_on or self.go_on in sentence else f"; {self.go_on}"
        with contextlib.suppress(OSError):  # the launcher has taken the output away
            print(f"error: {sentence}{go_on}", file=sys.stderr, flush=True)
        if self.log:
            with contextlib.suppress(OSError), open(self.log, "a", encoding="utf-8", errors="backslashreplace") as log:
                log.write(f"error: {sentence}{go_on}\n")
        for rank in self.ranks.values():
            rank.tell(end=code, alike=self.alike)
        until = time.monotonic() + GRACE
        while self.selector.get_map() and len(self.selector.get_map()) > 1 and (left := until - time.monotonic()) > 0:
            self.listen(left)
        here = next((rank.host for rank in self.ranks.values() if rank.number == 0), None)
        for key in list(self.selector.get_map().values()):
            if key.data is not None and key.data.host == here and key.data.pid:
                with contextlib.suppress(OSError):  # it is stopped, or so deep in a call that no thread of it runs
                    os.kill(key.data.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
        for path in {path for rank in self.ranks.values() if rank.host == here for path in rank.files}:
            with contextlib.suppress(OSError):
                os.unlink(path)
        return code


def main() -> int:
    """What rank 0 starts."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    guard = Guard(int(sys.argv[1]), sys.argv[2])
    print(guard.server.getsockname()[1], flush=True)
    os.close(1)
    return guard.run()


if __name__ == "__main__":
    sys.exit(main())
