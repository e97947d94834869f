"""python -m minires.exercises [list | start | check | solution | export | import | report]: see docs/exercises.md."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from minires.columns import display_width, padded
from minires.exercises import folder, moving, progress
from minires.exercises.generate import backward_body, page
from minires.exercises.language import Text, in_language
from minires.exercises.parser import COMMAND, language_from, parser
from minires.exercises.report import Report
from minires.exercises.runner import check_in_process
from minires.exercises.shown import body, wrapped
from minires.exercises.tasks import TASKS, after
from minires.names import nearest

STYLES = {"passed": "32", "done": "32", "started": "33", "given up": "33", "unwritten": "33", "wrong": "31"}
STATES = {"not started": "not started", "started": "started", "given up": "given up", "done": "done"}
HEADING = "Exercises: backward passes to write, to mend, and to predict."
STARTED = {
    "write": "Wrote {path}: write the backward pass in it, then:",
    "find": "Wrote {path}: name the wrong line in it, and mend it, then:",
    "predict": "Wrote {path}: write in it what you expect, then:",
}
NOT_PASSED = "{name} has not passed: try it first, or give up with {command} solution {name} --give-up (remembered)"
NOT_REMEMBERED = "{file} cannot be written: that you gave up is not remembered, and so the solution stays closed"


def main(arguments: Sequence[str] | None = None) -> int:
    """-> 0, 1 where a check or a report found something, 2 where nothing could be done."""
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
        given = {key: value for key, value in vars(options).items() if key not in ("command", "lang")}
        return getattr(self, {"import": "import_", None: "list"}.get(options.command, options.command))(**given)

    def say(self, template, end="\n", **values):
        print(in_language(Text(template, **values), self.language), end=end)

    def list(self) -> int:
        """The list of exercises and how far the reader has come."""
        states = folder.states()
        self.say(HEADING, end="\n\n")
        for number, (name, task) in enumerate(TASKS.items(), 1):
            state = self._styled(in_language(Text(STATES[states[name]]), self.language), states[name], 13)
            line = padded(in_language(Text(task.line), self.language), 42)
            print(f"{number:3}  {name:<29}{state}{line}docs/{page(task, self.language)}")
        done = list(states.values()).count("done")
        following = next((name for name in TASKS if states[name] not in ("done", "given up")), None)
        self.say("\n{done} of {all} done.", end=" ", done=done, all=len(TASKS))
        if following is None:
            self.say("That is a residual network by hand, and its batch in shards.")
        else:
            self.say("Next: {command}", command=_command(following, states))
        return 0

    def start(self, name: str, again: bool) -> int:
        path, kept = folder.start(TASKS[_known(name)], again, self.language)
        if kept:
            self.say("Your {path} is now {kept}.", path=path, kept=kept)
        self.say(STARTED[TASKS[name].kind], path=path)
        print(f"  {COMMAND} check {name}")
        return 0

    def check(self, names: Sequence[str], seconds: float, more: bool = False) -> int:
        """One answer after the other. 0 if all pass.   more: each with the second hint."""
        files = [_name_and_file(item) for item in names]
        files = files or [(name, folder.file_of(name)) for name in folder.started(TASKS)]
        if not files:
            said = "nothing is started in {folder}: begin with {command} start relu"
            raise folder.FolderError(Text(said, folder=folder.FOLDER, command=COMMAND))
        answers = []
        for name, path in files:
            answers.append(check_in_process(name, path, seconds, self.language, more))
            self._say_answer(name, path, answers[-1], more)
        return 0 if all(answer["state"] == "passed" for answer in answers) else 1

    def solution(self, name: str, give_up: bool) -> int:
        """What has passed, explained; or after giving up, which is remembered."""
        record = folder.records().get(_known(name), {})
        if not record.get("passed") and not record.get("gave_up") and folder.states()[name] != "done":
            if not give_up:
                raise folder.FolderError(Text(NOT_PASSED, name=name, command=COMMAND))
            if not folder.keep(name, lambda record: progress.gave_up(record, progress.now())):
                raise folder.FolderError(Text(NOT_REMEMBERED, file=folder.PROGRESS))
        task = TASKS[name]
        if task.kind != "predict":
            print(f"{backward_body(task.solved(self.language))}")
        print("\n\n".join(wrapped(in_language(paragraph, self.language), "") for paragraph in task.explanation()))
        return 0

    def export(self, file: Path) -> int:
        count = moving.export(file)
        self.say("Wrote {path}: {count} exercises.", path=file, count=count)
        return 0

    def import_(self, file: Path, replace: bool) -> int:
        for said in moving.import_from(file, replace):
            print(in_language(said, self.language))
        return 0

    def report(self, paths: Sequence[Path], csv: bool) -> int:
        """The table of all whose progress can be read; 1 where that of somebody cannot, 2 where nobody's can."""
        report = Report(paths)
        if report.students:
            print(report.csv(self.language).rstrip("\n") if csv else report.table(self.language))
        for fault in report.faults:
            print(in_language(Text("error: {said}", said=fault), self.language), file=sys.stderr)
        for note in report.notes:
            print(in_language(note, self.language), file=sys.stderr)
        return (1 if report.faults else 0) if report.students else 2

    def _say_answer(self, name, path, answer, more):
        print(f"{name}: {self._styled(answer['verdict'], answer['state'])}")
        if said := body(answer, self.language):
            print(said)
        if answer["state"] == "wrong" and not more:
            file = path if path != folder.file_of(name) else name
            self.say("  One hint further: {command}", command=f"{COMMAND} check {file} --more")
        kept = folder.checked(name, path, answer["state"])
        if not kept:
            said = "({file} cannot be written: the list will not show it as done.)"
            print(wrapped(in_language(Text(said, file=folder.PROGRESS), self.language)))
        if answer["state"] == "passed":
            self._say_passed(name)

    def _say_passed(self, name):
        states = folder.states()
        following = next((each for each in after(name) if states[each] != "done"), None)
        self.say("  Explained: {command}", command=f"{COMMAND} solution {name}")
        if following:
            where = page(TASKS[following], self.language)
            self.say("  Next: {command} (docs/{page})", command=_command(following, states), page=where)
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


def _command(name, states):
    """What to type next for an exercise."""
    started = states[name] != "not started" and folder.file_of(name).exists()
    return f"{COMMAND} {'check' if started else 'start'} {name}"


UNKNOWN = "unknown exercise {name!r}: {command} list shows all"
UNKNOWN_NEAR = "unknown exercise {name!r}: did you mean {meant!r}? {command} list shows all"


def _known(name):
    if name not in TASKS:
        meant = nearest(name, TASKS)
        said = UNKNOWN_NEAR if meant else UNKNOWN
        raise folder.FolderError(Text(said, name=name, meant=meant, command=COMMAND))
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
