"""Targets for the tests of fuzzing: one with a bug behind two comparisons, one that ends its process, a sound one."""

import os

from campaign.attack import Target


def broken(path):
    data = path.read_bytes()
    if data[:1] == b"a" and data[1:2] == b"b":
        raise KeyError("planted")


def deadly(path):
    if b"x" in path.read_bytes():
        os._exit(3)


def sound(path):
    path.read_bytes()


ATTACKS: list = []
FUZZ = {
    "broken": Target(lambda: [b"az"], broken),
    "deadly": Target(lambda: [b"x", b"y"], deadly),
    "sound": Target(lambda: [b"c"], sound),
}
