"""Check in this process, which is one's own: `-m minires.exercises.process NAME FILE ANSWER SECONDS LANGUAGE [more]`.

The reader's code may do anything. So it has a process of its own (see runner.py); there, after SECONDS, it writes into
the file ANSWER where it was, and ends.
"""

import faulthandler
import json
import os
import sys
import threading
from pathlib import Path

from minires.exercises.interface import MOST_PRINTED, Quiet, check


def _limit(seconds, file):
    """After so many seconds the place where every thread is goes into the file, and the process ends."""

    def end():  # a thread of Python has the interpreter's lock, so that the others stand still and can be read
        faulthandler.dump_traceback(file)
        os._exit(1)

    faulthandler.dump_traceback_later(seconds + 2, exit=True, file=file)  # should the others never give up the lock
    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    return timer


def main() -> None:
    name, path, answer, seconds, language, *more = sys.argv[1:]
    sys.argv = [path]
    sys.stdout, sys.stderr = Quiet(sys.stdout, MOST_PRINTED), Quiet(sys.stderr, MOST_PRINTED)
    with open(answer, "w", encoding="utf-8") as file:
        limit = _limit(float(seconds), file)
        result = check(name, Path(path).read_bytes(), language, more=bool(more), path=path, capture=False)
        limit.cancel()
        faulthandler.cancel_dump_traceback_later()
        json.dump(result, file)
    os._exit(0)  # whatever the file left running


if __name__ == "__main__":
    main()
