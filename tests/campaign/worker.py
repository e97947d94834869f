"""Runs the cases of one attack, one after the other, and tells of each in a line of JSON.

    python -m campaign.worker MODULE NAME SEED FIRST LAST FOLDER

It ends with its process, whatever a case does to that: `campaign.running` sees which case it was.
"""

import json
import os
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path

from campaign.attack import attacks, generator


def main(module: str, name: str, seed: str, first: str, last: str, folder: str) -> None:
    """Tell {"count": N} once prepared, then {"number", "outcome" or "error", "seconds"} of each case."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):  # which are ignored under nohup or in the background
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    lines = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what the library prints is no line of ours
    attack = attacks([module])[name]
    place = Path(folder)
    shutil.rmtree(place / "prepared", ignore_errors=True)
    (place / "prepared").mkdir(parents=True)
    prepared = attack.prepare(place / "prepared")
    end = int(last) if attack.count is None else min(int(last), attack.count(prepared))
    print(json.dumps({"count": end}), file=lines)
    for number in range(int(first), end):
        case = place / "case"
        shutil.rmtree(case, ignore_errors=True)
        case.mkdir()
        began = time.monotonic()
        told: dict[str, object] = {"number": number}
        try:
            told["outcome"] = attack.case(prepared, generator(int(seed), name, number), number, case)
        except BaseException as error:
            told["error"] = f"{type(error).__name__}: {error}"[:500]
            told["traceback"] = traceback.format_exc()[-4000:]
            keep = place / f"case-{number}"
            shutil.rmtree(keep, ignore_errors=True)
            if case.exists():
                case.rename(keep)
        print(json.dumps(told | {"seconds": time.monotonic() - began}), file=lines)


if __name__ == "__main__":
    main(*sys.argv[1:])
