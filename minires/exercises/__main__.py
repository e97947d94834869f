"""python -m minires.exercises [list | start NAME | check [--more] [NAME or FILE ...]]: see docs/exercises.md."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from minires.columns import display_width, padded
from minires.exercises import folder
from minires.exercises.catalogue import EXERCISES, after
from minires.exercises.generate import page
from minires.exercises.language import Text, in_language
from minires.exercises.parser import COMMAND, language_from, parser
from minires.exercises.runner import check_in_process
from minires.exercises.shown import body, wrapped
from minires.names import nearest

STYLES = {"passed": "32", "done": "32", "started": "33", "unwritten": "33", "wrong": "31"}
STATES = {"not started": "not started", "started": "started", "done": "done"}
HEADING = "Exercises: the forward pass is given, the backward pass is yours to write."


def main(arguments: Sequence[str] | None = None) -> int:
    """-> 0, 1 where a check found something, 2 where nothing could be done."""
    arguments = sys.argv[1:] if arguments is None else arguments
    language = language_from(arguments)
    options = parser(language).parse_args(arguments)
    try:
        code = _Answers(language).to(options)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever reads has read enough, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the flush at the end fails once more
        return 1
    except folder.FolderError as error:
        print(in_language(Text("error: {said}", said=error.said), language), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


class _Answers:
    """The commands, in one language."""

    def __init__(self, language: str) -> None:
        self.language = language

    def to(self, options):
        if options.command == "start":
            return self.start(options.name, options.again)
        if options.command == "check":
            return self.check(options.names, options.seconds, options.more)
        return self.show()

    def say(self, template, end="\n", **values):
        print(in_language(Text(template, **values), self.language), end=end)

    def show(self) -> int:
        """The list of exercises and how far the reader has come."""
        self.say(HEADING, end="\n\n")
        states = {name: folder.state(name) for name in EXERCISES}
        for number, (name, exercise) in enumerate(EXERCISES.items(), 1):
            state = self._styled(in_language(Text(STATES[states[name]]), self.language), states[name], 13)
            line = padded(in_language(Text(exercise.line), self.language), 42)
            print(f"{number:3}  {name:<21}{state}{line}docs/{page(exercise, self.language)}")
        done = list(states.values()).count("done")
        following = next((name for name in EXERCISES if states[name] != "done"), None)
        self.say("\n{done} of {all} done.", end=" ", done=done, all=len(EXERCISES))
        if following is None:
            self.say("That is a residual network by hand, and its batch in shards.")
        else:
            self.say("Next: {command}", command=_command(following))
        return 0

    def start(self, name: str, again: bool) -> int:
        path, kept = folder.start(EXERCISES[_known(name)], again, self.language)
        if kept:
            self.say("Your {path} is now {kept}.", path=path, kept=kept)
        self.say("Wrote {path}: write the backward pass in it, then:", path=path)
        print(f"  {COMMAND} check {name}")
        return 0

    def check(self, wanted: Sequence[str], seconds: float, more: bool = False) -> int:
        """One answer after the other. 0 if all pass.   more: each with the second hint."""
        files = [_name_and_file(item) for item in wanted]
        files = files or [(name, folder.file_of(name)) for name in folder.started(EXERCISES)]
        if not files:
            said = "nothing is started in {folder}: begin with {command} start relu"
            raise folder.FolderError(Text(said, folder=folder.FOLDER, command=COMMAND))
        answers = []
        for name, path in files:
            answers.append(check_in_process(name, path, seconds, self.language, more))
            self._say_answer(name, path, answers[-1], more)
        return 0 if all(answer["state"] == "passed" for answer in answers) else 1

    def _say_answer(self, name, path, answer, more):
        print(f"{name}: {self._styled(answer['verdict'], answer['state'])}")
        if said := body(answer, self.language):
            print(said)
        if answer["state"] == "wrong" and not more:
            file = path if path != folder.file_of(name) else name
            self.say("  One hint further: {command}", command=f"{COMMAND} check {file} --more")
        if answer["state"] == "passed":
            self._say_passed(name, path)

    def _say_passed(self, name, path):
        if not folder.passed(name, path):
            said = "({file} cannot be written: the list will not show it as done.)"
            print(wrapped(in_language(Text(said, file=folder.PASSED), self.language)))
        following = next((each for each in after(name) if folder.state(each) != "done"), None)
        if following:
            where = page(EXERCISES[following], self.language)
            self.say("  Next: {command} (docs/{page})", command=_command(following), page=where)
        elif after(name):
            self.say("  All that follow are done, too: {command} list shows what is left.", command=COMMAND)
        else:
            self.say("  That was the last one: a residual network by hand, and its batch in shards.")

    def _styled(self, text, style, width=0):
        """The text in its colour, on a terminal that shows colours, filled up to a width."""
        filled = " " * (width - display_width(text))
        code = STYLES.get(style)
        if code and sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb":
            return f"\033[{code}m{text}\033[0m{filled}"
        return text + filled


def _command(name):
    """What to type next for an exercise."""
    return f"{COMMAND} {'start' if folder.state(name) == 'not started' else 'check'} {name}"


UNKNOWN = "unknown exercise {name!r}: choose one of {all}"
UNKNOWN_NEAR = "unknown exercise {name!r}: did you mean {meant!r}? choose one of {all}"


def _known(name):
    if name not in EXERCISES:
        meant = nearest(name, EXERCISES)
        said = UNKNOWN_NEAR if meant else UNKNOWN
        raise folder.FolderError(Text(said, name=name, meant=meant, all=", ".join(EXERCISES)))
    return name


def _name_and_file(item):
    """A name, or the path of a file that is called after one (also a kept one, relu.old1.py)."""
    path = Path(item)
    if path.suffix == ".py":
        if not path.is_file():
            raise folder.FolderError(Text("there is no file {path}", path=path))
        return _known(path.name.split(".")[0]), path
    name, path = _known(item), folder.file_of(item)
    if not path.is_file():
        raise folder.FolderError(
            Text("{path} is not there: {command} start {name} writes it", path=path, command=COMMAND, name=name)
        )
    return name, path


if __name__ == "__main__":
    sys.exit(main())
