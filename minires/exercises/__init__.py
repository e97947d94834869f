"""Backward passes to write oneself, with a check that names the mistake: `python -m minires.exercises`.

interface    the exercises as values for a page or a program: exercises(), check(), solution()
catalogue    which there are, in order, and the arrays each is checked with
generate     an exercise's file: the textbook's forward pass, verbatim, and an empty backward pass
explained    the solutions, explained
folder       the reader's files, in exercises/ of the current folder
judge        runs one file and says what is wrong
structure, shapes, diagnose, bits, mistakes    what is said
language, zh.po    in which language
runner, process    a check in a process of its own, with a time limit
"""

from minires.exercises.interface import check, exercises, out_of_time, solution

__all__ = ["check", "exercises", "out_of_time", "solution"]
