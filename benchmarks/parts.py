"""A program run as a part of another: for so long and no longer, with all that it starts, whatever becomes of it."""

import os
import signal
import subprocess
import threading
import time
from collections import deque

LAST_LINES = 15  # of what a part said, that are kept
STOPS = 3.0  # seconds that a part has to end after it was asked to


def run(command, seconds, look=lambda: None, cwd=None, say=print):
    """Run a command and show its lines; it ends with its process group after so many seconds.

    look() is called every second meanwhile. Returns {"outcome": "done", "failed" or "timed out", "seconds", "code" and,
    unless it is done, "said": its last lines}. Whatever exception passes through ends the group, too.
    """
    began, last = time.monotonic(), deque(maxlen=LAST_LINES)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
    process = subprocess.Popen(
        command, cwd=cwd, text=True, errors="replace", start_new_session=True, bufsize=1, **pipes
    )

    def read():
        with process.stdout:
            for line in process.stdout:
                last.append(line.rstrip())
                say(line.rstrip())

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    timed_out = False
    try:
        while process.poll() is None and not timed_out:
            timed_out = time.monotonic() - began > seconds
            look()
            time.sleep(0.05 if time.monotonic() - began < 1 else 0.3)
    finally:
        end(process)
    reader.join(STOPS)
    outcome = "timed out" if timed_out else "failed" if process.returncode else "done"
    found = {"outcome": outcome, "seconds": round(time.monotonic() - began, 1), "code": process.returncode}
    return found if outcome == "done" else found | {"said": list(last)}


def end(process):
    """End a process's group: first asked to, then at once."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(STOPS)
        except subprocess.TimeoutExpired:
            continue
    process.wait()
