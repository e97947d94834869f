"""Measuring in turn: whoever is compared takes a few steps in each round, so that a machine whose speed drifts does not
matter. A figure is the median over rounds, a ratio the median of the rounds' ratios.
"""

import contextlib
import math
import statistics
import time
from pathlib import Path

PAUSE = 0.02  # seconds before a turn, in which the threads of the one before fall asleep
SLOW_ROUNDS = 3  # after which those that are slow have no more turns


def seconds_of_step(step, steps):
    """The mean over a turn of so many steps."""
    time.sleep(PAUSE)
    began = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - began) / steps


def take_turns(turns, rounds, slow=()):
    """{name: [what its turn returned in each round]} of `turns` {name: function}; every second round goes backwards."""
    found = {name: [] for name in turns}
    for number in range(rounds):
        for name in list(turns)[:: -1 if number % 2 else 1]:
            if name not in slow or number < SLOW_ROUNDS:
                found[name].append(turns[name]())
    return found


def ratios(these, others):
    """{"ratio", "spread"}: the median, and the least and largest value, of these over others, round by round."""
    found = [this / other for this, other in zip(these, others, strict=False)]  # slow ones have fewer
    return {"ratio": round(statistics.median(found), 3), "spread": [round(min(found), 3), round(max(found), 3)]}


def significant(value, digits=4):
    """The value rounded to this many significant digits."""
    return round(value, digits - 1 - math.floor(math.log10(abs(value)))) if value else value


def memory_of_steps(step, steps, peak):
    """Megabytes that the steps take at most beyond what the process held before. peak(): its largest memory so far."""
    with contextlib.suppress(OSError):  # Linux: the largest memory so far starts anew
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = peak()
    for _ in range(steps):
        step()
    return (peak() - before) / 1e6
