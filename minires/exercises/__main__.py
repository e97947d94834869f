"""python -m minires.exercises [list | start NAME | check [--more] [NAME or FILE ...]]: see docs/exercises.md."""

import argparse
import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from minires.cli.console import Parser
from minires.exercises import folder
from minires.exercises.catalogue import EXERCISES, after
from minires.exercises.runner import judge_in_process
from minires.names import unknown

COMMAND = "python -m minires.exercises"
STYLES = {"passed": "32", "done": "32", "started": "33", "unwritten": "33", "wrong": "31"}


def main(arguments: Sequence[str] | None = None) -> int:
    """-> 0, 1 where a check found something, 2 where nothing could be done."""
    options = _parser().parse_args(arguments)
    try:
        code = _answer(options)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever reads has read enough, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the flush at the end fails once more
        return 1
    except folder.FolderError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _answer(options):
    if options.command == "start":
        return start(options.name, options.again)
    if options.command == "check":
        return check(options.names, options.seconds, options.more)
    return show()


def show() -> int:
    """The list of exercises and how far the reader has come."""
    print("Exercises: the forward pass is given, the backward pass is yours to write.\n")
    states = {name: folder.state(name) for name in EXERCISES}
    for number, (name, exercise) in enumerate(EXERCISES.items(), 1):
        print(f"{number:3}  {name:<21}{_styled(states[name], 13)}{exercise.line:<42}docs/{exercise.page}")
    done = list(states.values()).count("done")
    following = next((name for name in EXERCISES if states[name] != "done"), None)
    print(f"\n{done} of {len(EXERCISES)} done.", end=" ")
    if following is None:
        print("That is a residual network by hand, and its batch in shards.")
    else:
        print(f"Next: {_command(following)}")
    return 0


def start(name: str, again: bool) -> int:
    path, kept = folder.start(EXERCISES[_known(name)], again)
    if kept:
        print(f"Your {path} is now {kept}.")
    print(f"Wrote {path}: write the backward pass in it, then:\n  {COMMAND} check {name}")
    return 0


def check(wanted: Sequence[str], seconds: float, more: bool = False) -> int:
    """One answer after the other. 0 if all pass.   more: each with the second hint."""
    files = [_name_and_file(item) for item in wanted]
    files = files or [(name, folder.file_of(name)) for name in folder.started(EXERCISES)]
    if not files:
        raise folder.FolderError(f"nothing is started in {folder.FOLDER}: begin with {COMMAND} start relu")
    answers = []
    for name, path in files:
        answers.append(judge_in_process(name, path, seconds, more))
        _say(name, path, answers[-1], more)
    return 0 if all(answer["state"] == "passed" for answer in answers) else 1


def _say(name, path, answer, more):
    state = answer["state"]
    verdict = {"passed": "passed", "unwritten": "not written yet", "wrong": "not right yet"}[state]
    print(f"{name}: {_styled(verdict, style=state)}")
    for line in answer["lines"]:
        indent = "  " + " " * (len(line) - len(line.lstrip()))
        print(textwrap.fill(line, 88, initial_indent="  ", subsequent_indent=indent, break_on_hyphens=False))
    if answer["printed"]:
        lines = answer["printed"].splitlines()
        print("  The file printed:")
        print("\n".join(f"    | {line[:84]}" for line in lines[:10]))
        if len(lines) > 10:
            print("    | ...")
    if state == "wrong" and not more:
        print(f"  One hint further: {COMMAND} check {path if path != folder.file_of(name) else name} --more")
    if state == "passed":
        if not folder.passed(name, path):
            print(f"  ({folder.PASSED} cannot be written: the list will not show it as done.)")
        following = next((each for each in after(name) if folder.state(each) != "done"), None)
        if following:
            print(f"  Next: {_command(following)} (docs/{EXERCISES[following].page})")
        elif after(name):
            print(f"  All that follow are done, too: {COMMAND} list shows what is left.")
        else:
            print("  That was the last one: a residual network by hand, and its batch in shards.")


def _command(name):
    """What to type next for an exercise."""
    return f"{COMMAND} {'start' if folder.state(name) == 'not started' else 'check'} {name}"


def _known(name):
    if name not in EXERCISES:
        raise folder.FolderError(unknown("exercise", name, EXERCISES))
    return name


def _name_and_file(item):
    """A name, or the path of a file that is called after one (also a kept one, relu.old1.py)."""
    path = Path(item)
    if path.suffix == ".py":
        if not path.is_file():
            raise folder.FolderError(f"there is no file {path}")
        name = _known(path.name.split(".")[0])
    else:
        name, path = _known(item), folder.file_of(item)
        if not path.is_file():
            raise folder.FolderError(f"{path} is not there: {COMMAND} start {name} writes it")
    return name, path


def _styled(text, width=0, style=None):
    """The text in its colour, on a terminal that shows colours, padded to a width."""
    code = STYLES.get(style or text)
    if code and sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb":
        return f"\033[{code}m{text}\033[0m{' ' * (width - len(text))}"
    return f"{text:<{width}}"


def _seconds(text):
    if not 0 < float(text) < 1e6:
        raise argparse.ArgumentTypeError(f"{text} seconds: give a number above 0, and below a million")
    return float(text)


def _parser():
    parser = Parser(prog=COMMAND, description="Write backward passes, and have them checked. See docs/exercises.md.")
    commands = parser.add_subparsers(dest="command", title="commands", metavar="{list,start,check}")
    commands.add_parser("list", help="the exercises in order, and how far you are (the same as no command)")
    starting = commands.add_parser("start", help="write exercises/NAME.py into the current folder")
    starting.add_argument("name", help="one of the list")
    starting.add_argument("--again", action="store_true", help="begin anew; the old file is kept as NAME.old1.py")
    checking = commands.add_parser("check", help="is it right? If not, a hint")
    checking.add_argument(
        "names", nargs="*", metavar="NAME", help="a name or a file; without one, all that are started"
    )
    checking.add_argument("--more", action="store_true", help="a second hint, and a small case to do by hand")
    checking.add_argument("--seconds", type=_seconds, default=20, help="time limit for each (20)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
