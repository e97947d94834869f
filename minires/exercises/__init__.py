"""Backward passes to write oneself, with a check that names the mistake: `python -m minires.exercises`.

catalogue    which there are, in order, and the arrays each is checked with
generate     an exercise's file: the textbook's forward pass, verbatim, and an empty backward pass
folder       the reader's files, in exercises/ of the current folder
judge        runs one file and says what is wrong
structure, diagnose, bits, mistakes    what is said
runner       judge, in a process of its own, with a time limit
"""
