"""The guard beside the ranks, spoken to as ranks speak to it: what it says, whom it names, and that it ends."""

import json
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import minires

GUARD = Path(minires.__file__).parent / "ranks" / "guard.py"


class Spoken:
    """A guard, and connections to it in the place of ranks."""

    def __init__(self, size):
        command = [sys.executable, "-S", "-E", str(GUARD), str(size), "secret"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, **pipes)
        self.port = int(self.process.stdout.readline())
        self.ranks = [self.rank(number) for number in range(size)]

    def rank(self, number, token="secret"):
        connection = socket.create_connection(("127.0.0.1", self.port))
        self.say(connection, rank=number, host=f"node{number}", pid=0, files=[], token=token)
        return connection

    def say(self, connection, **what):
        connection.sendall(json.dumps(what).encode() + b"\n")

    def fail(self, number, sentence, code=1, of=None, lost=False):
        self.say(self.ranks[number], failed=sentence, code=code, of=of, lost=lost)

    def end(self):
        """(exit code, what it said, seconds)"""
        began = time.monotonic()
        code = self.process.wait(20)
        return code, self.process.stderr.read(), time.monotonic() - began


@pytest.fixture
def guard():
    spoken = Spoken(3)
    yield spoken
    spoken.process.kill()
    spoken.process.wait()
    for connection in (*spoken.ranks, spoken.process.stdout, spoken.process.stderr):
        connection.close()


def test_who_has_died_is_named_and_the_others_are_ended(guard, tmp_path):
    guard.say(guard.ranks[0], go_on="to go on: COMMAND", timeout=60, log=str(tmp_path / "train.log"))
    time.sleep(0.2)
    guard.ranks[2].close()
    code, said, _ = guard.end()
    sentence = "rank 2 on node2 (process 0) has died: it was killed, crashed, or out of memory; to go on: COMMAND"
    assert (code, said) == (1, f"error: {sentence}\n")
    assert (tmp_path / "train.log").read_text() == said
    assert [json.loads(guard.ranks[number].recv(100)) for number in (0, 1)] == [{"end": 1, "alike": False}] * 2


def test_the_first_that_dies_is_named(guard):
    guard.ranks[1].close()
    time.sleep(0.1)
    for number in (0, 2):
        guard.ranks[number].close()
    assert guard.end()[1].startswith("error: rank 1 on node1 (process 0) has died: ")


def test_those_that_die_at_once_are_all_named(guard):
    time.sleep(1)  # until it has heard who they are
    guard.process.send_signal(signal.SIGSTOP)
    time.sleep(0.3)
    guard.ranks[1].close()
    guard.ranks[0].close()
    time.sleep(0.3)
    guard.process.send_signal(signal.SIGCONT)
    assert re.match(r"error: rank \d on node\d .*process 0. and rank \d .* have died: they were killed", guard.end()[1])


def test_all_say_goodbye(guard):
    for connection in guard.ranks:
        guard.say(connection, bye=True)
        connection.close()
    code, said, seconds = guard.end()
    assert (code, said) == (0, "") and seconds < 5


@pytest.mark.parametrize(("of", "named"), [(None, "rank 1 on node1: "), (0, "rank 0 on node0: ")])
def test_one_that_fails_is_named_or_whose_failure_it_is(guard, of, named):
    guard.fail(1, "the disk is full", 28, of)
    assert guard.end()[:2] == (28, f"error: {named}the disk is full\n")


def test_what_all_say_has_no_name(guard):
    for number in (2, 0, 1):
        guard.fail(number, "--shards must be at least 1", 2)
    assert guard.end()[:2] == (2, "error: --shards must be at least 1\n")


def test_who_has_lost_another_is_not_to_blame(guard):
    """MPI may tell a rank that another is gone before its connection here has closed."""
    guard.fail(0, "MPI no longer reaches another rank", lost=True)
    time.sleep(0.7)
    guard.ranks[1].close()
    assert guard.end()[1].startswith("error: rank 1 on node1 (process 0) has died")


def test_one_that_fails_later_is_to_blame_rather_than_who_lost_it(guard):
    guard.fail(0, "MPI no longer reaches another rank", lost=True)
    time.sleep(0.7)
    guard.fail(2, "out of memory")
    assert guard.end()[1] == "error: rank 2 on node2: out of memory\n"


def test_where_nobody_else_fails_a_lost_connection_is_told(guard):
    guard.fail(0, "MPI no longer reaches another rank", lost=True)
    code, said, seconds = guard.end()
    assert said == "error: rank 0 on node0: MPI no longer reaches another rank\n" and seconds < 10


def report(guard, states, seconds):
    """Let the ranks tell (calls, waiting) again and again; None: silent."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and guard.process.poll() is None:
        for connection, state in zip(guard.ranks, states, strict=True):
            if state is not None:
                try:
                    guard.say(connection, calls=state[0], waiting=state[1])
                except OSError:
                    return
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("states", "sentence"),
    [
        ([(9, True), (9, True), (8, False)], "rank 2 on node2 has not come, after 1 seconds (--timeout)"),
        ([(9, True), None, (9, True)], "rank 1 on node1 has not answered, after 1 seconds (--timeout)"),
        ([(9, True), (8, True), (9, True)], "rank 1 on node1 waits like all others, after 1 seconds (--timeout)"),
    ],
)
def test_a_rank_that_stalls_is_named(guard, states, sentence):
    guard.say(guard.ranks[0], go_on="", timeout=1, log="")
    report(guard, states, 6)
    assert guard.end()[:2] == (1, f"error: {sentence}\n")


def test_who_gets_on_or_has_not_begun_to_train_does_not_stall(guard):
    report(guard, [(1, True), (1, True), (0, False)], 1.5)  # data is being downloaded, and nothing has been said
    guard.say(guard.ranks[0], go_on="", timeout=1, log="")
    for calls in range(20):
        report(guard, [(calls, True), (calls, False), (calls, True)], 0.1)
    assert guard.process.poll() is None


def test_strangers_change_nothing(guard):
    stranger = guard.rank(1, token="guessed")
    other = socket.create_connection(("127.0.0.1", guard.port))
    other.sendall(b"GET / HTTP/1.1\r\n\r\n")
    time.sleep(0.3)
    other.close()
    stranger.close()
    time.sleep(0.3)
    assert guard.process.poll() is None
    guard.fail(0, "done")
    assert guard.end()[1] == "error: rank 0 on node0: done\n"
