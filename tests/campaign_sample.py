"""Attacks for the tests of the campaign's runner: each goes wrong in a way of its own."""

import os
import time

from campaign.attack import Attack


def breaks(prepared, rng, number, folder):
    (folder / "drawn").write_text(str(rng.integers(10**9)))
    assert number != 2, f"number {number} is broken"
    return "even" if number % 2 == 0 else "odd"


def dies(prepared, rng, number, folder):
    if number == 1:
        os._exit(3)
    return "lives"


def hangs(prepared, rng, number, folder):
    if number == 0:
        time.sleep(1000)
    return "ends"


def nothing(folder):
    return folder


ATTACKS = [
    Attack("breaks", "no number is broken", nothing, breaks, full=5, quick=2),
    Attack("dies", "no process ends", nothing, dies, full=3, quick=1),
    Attack("hangs", "all end", nothing, hangs, full=2, quick=1, hang=0.5),
    Attack(
        "counted", "there are three", nothing, lambda *case: "one of three", full=10, quick=10, count=lambda made: 3
    ),
]
