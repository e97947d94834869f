"""The command line's arguments, and what is said of wrong ones, in the reader's language."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from minires.cli.console import Parser
from minires.columns import padded
from minires.exercises.language import LANGUAGES, Text, in_language, language_of
from minires.exercises.moving import FILE

COMMAND = "python -m minires.exercises"
SEE_HELP = "error: {said} (see --help)"
HELP = "show this help message and exit"
HEADINGS = ("positional arguments", "options")
USAGE = "usage: "
COLON = ":"
ERRORS = {  # what argparse says: what to say, with the words that it found
    r"unrecognized argument: (?P<given>.*?): did you mean (?P<meant>.*)\?": "unrecognized argument: {given}: did you "
    "mean {meant}?",
    r"unrecognized arguments?: (?P<given>.*)": "unrecognized argument: {given}",
    r"the following arguments are required: (?P<names>.*)": "the following arguments are required: {names}",
    r"argument (?P<flag>\S+): expected one argument": "{flag} needs a value behind it",
    r"argument (?P<flag>\S+): invalid (?P<type>\w+) value: '(?P<given>.*)'": "{flag} {given}: that is no number",
    r"argument (?P<flag>--lang): invalid choice: '?(?P<given>.*?)'? \(.*": "{flag} {given}: choose en or zh",
    r"argument \S+: invalid choice: '?(?P<given>.*?)'? \(.*": "there is no command {given}: choose from {commands}",
    r"argument (?P<flag>--seconds): (?P<given>.*) seconds: .*": "{flag} {given}: give a number of seconds above 0, and "
    "below a million",
}
COMMANDS = {
    "list": "the exercises in order, and how far you are (the same as no command)",
    "start": "write exercises/NAME.py into the current folder",
    "check": "is it right? If not, a hint",
    "solution": "the solution, explained, of what has passed",
    "export": "your answers, tries and times, in one file",
    "import": "read such a file into exercises/ of the current folder",
    "report": "the progress of many as one table",
}
ARGUMENTS = {
    "description": "Write backward passes, and have them checked. See docs/exercises.md.",
    "commands": "commands",
    "--lang": "the language, en or zh; without it that of the environment",
    "name": "one of the list",
    "--again": "begin anew; the old file is kept as NAME.old1.py",
    "names": "a name or a file; without one, all that are started",
    "--more": "a second hint, and a small case to do by hand",
    "--seconds": "time limit for each (20)",
    "--give-up": "show it before it has passed; that is remembered",
    "file": "its name (minires-exercises.json)",
    "exported": "a file that export or the page has written",
    "--replace": "take what is imported where you have another file; yours is kept as NAME.old1.py",
    "paths": "exported files, folders of them with all that is in these, or folders in which people work",
    "--csv": "comma-separated values, with every exercise",
    "columns": "columns",
}
COLUMNS = {  # of the report
    "done": "the answer as it is now has passed",
    "gave up": "the solution was asked for before it had passed; also where it has passed since",
    "started": "begun, given up or done: what the page marks as \u201cbegun\u201d, \u201csolution seen\u201d or "
    "\u201cdone\u201d",
    "tries": "how often something written was checked; for an exercise, the median over those who tried",
    "last passed": "the latest day on which an exercise passed for the first time",
}


class _Parser(Parser):
    """Says what it has to say in one language."""

    def __init__(self, language: str = "en", **options: Any) -> None:
        super().__init__(add_help=False, **options)
        self.language = language
        self.add_argument("-h", "--help", action="help", help=in_language(Text(HELP), language))
        for number, group in enumerate((self._positionals, self._optionals)):
            group.title = in_language(Text(HEADINGS[number]), language)

    def format_help(self) -> str:
        text = super().format_help().replace(USAGE, in_language(Text(USAGE), self.language), 1)
        return text.replace(":\n", in_language(Text(COLON), self.language) + "\n")

    def error(self, message: str) -> NoReturn:
        try:
            super().error(message)
        except _Said as said:
            text = _in_words(str(said).removeprefix("error: ").removesuffix(" (see --help)\n"))
            super().exit(2, in_language(Text(SEE_HELP, said=text), self.language) + "\n")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        if status and message:
            raise _Said(message)
        super().exit(status, message)


class _Said(Exception):
    """What the parser says of wrong arguments, before it is put into the reader's language."""


def _in_words(message):
    for pattern in ERRORS:
        if found := re.fullmatch(pattern, message):
            return Text(ERRORS[pattern], **found.groupdict(), commands=", ".join(COMMANDS))
    return message


def language_from(arguments: Sequence[str]) -> str:
    """What --lang says, wherever it stands, or the environment where it says nothing that is known."""
    for number, argument in enumerate(arguments):
        flag, _, value = argument.partition("=")
        if flag == "--lang":
            value = value or "".join(arguments[number + 1 : number + 2])
            return value if value in LANGUAGES else language_of()
    return language_of()


def parser(language: str) -> argparse.ArgumentParser:
    def said(key):
        return in_language(Text((COMMANDS | ARGUMENTS)[key]), language)

    whole = _Parser(language, prog=COMMAND, description=said("description"))
    _language_flag(whole, said)
    commands = whole.add_subparsers(
        dest="command", title=said("commands"), metavar=f"{{{','.join(COMMANDS)}}}", parser_class=_Parser
    )
    of = {name: commands.add_parser(name, help=said(name), language=language) for name in COMMANDS}
    of["report"].epilog = _columns_of_the_report(language)
    for command in of.values():
        _language_flag(command, said)
    of["start"].add_argument("name", help=said("name"))
    of["start"].add_argument("--again", action="store_true", help=said("--again"))
    of["check"].add_argument("names", nargs="*", metavar="NAME", help=said("names"))
    of["check"].add_argument("--more", action="store_true", help=said("--more"))
    of["solution"].add_argument("name", help=said("name"))
    of["solution"].add_argument("--give-up", action="store_true", help=said("--give-up"))
    of["export"].add_argument("file", nargs="?", type=Path, default=Path(FILE), metavar="FILE", help=said("file"))
    of["import"].add_argument("file", type=Path, metavar="FILE", help=said("exported"))
    of["import"].add_argument("--replace", action="store_true", help=said("--replace"))
    of["report"].add_argument("paths", nargs="+", type=Path, metavar="FOLDER_OR_FILE", help=said("paths"))
    of["report"].add_argument("--csv", action="store_true", help=said("--csv"))
    of["check"].add_argument("--seconds", type=_seconds, default=20, help=said("--seconds"))
    return whole


def _columns_of_the_report(language):
    def heading(template):
        return padded(in_language(Text(template), language), 13)

    rows = [f"  {heading(name)}{in_language(Text(COLUMNS[name]), language)}" for name in COLUMNS]
    return "\n".join([in_language(Text(ARGUMENTS["columns"]), language) + ":", *rows])


def _language_flag(parser, said):
    parser.add_argument("--lang", choices=LANGUAGES, default=argparse.SUPPRESS, help=said("--lang"))


def _seconds(text):
    if not 0 < float(text) < 1e6:
        raise argparse.ArgumentTypeError(f"{text} seconds: give a number above 0, and below a million")
    return float(text)
