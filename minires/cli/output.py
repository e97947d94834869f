"""What a script prints, printed so that no terminal, pipe or disk that will not take it ends the work."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

from minires.ranks import ALONE, Ranks


class SteadyStream:
    """Stands before a text stream; what that does not take is left out, and the first reason kept in `lost`.

    A letter that the stream's code page lacks is written as an escape, as standard error does it.   stream: None where
    the process was started without one.   lost: None, or the OSError after which nothing more was written.
    kept_elsewhere: whether what is printed stands in files, too.
    """

    def __init__(self, stream: Any, name: str) -> None:
        self.stream, self.name = stream, name
        self.lost: OSError | None = None
        self.kept_elsewhere = False

    def write(self, text: str) -> int:
        """Write text as far as the stream takes it; returns its length."""
        try:
            self._stream_does("write", text)
        except UnicodeEncodeError:
            encoding = getattr(self.stream, "encoding", None) or "ascii"
            self._stream_does("write", text.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        """Hand on what was written."""
        self._stream_does("flush")

    def _stream_does(self, what, *arguments):
        if self.stream is None or self.lost is not None:
            return
        try:
            getattr(self.stream, what)(*arguments)
        except OSError as error:
            self.lost = error
            if self.name == "output":
                note(f"the output can no longer be written ({error.strerror}): the work goes on without it")
        except RuntimeError:
            pass  # a signal came in the middle of a write, and its handler writes, too: that text is left out

    def isatty(self) -> bool:
        """Whether a person reads along."""
        return self.stream is not None and self.lost is None and self.stream.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def put_away(self) -> None:
        """Flush; where that fails, give Python something to flush when it ends."""
        self.flush()
        if self.lost is not None:
            with contextlib.suppress(OSError, ValueError):  # a stream that is no file has no number
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self.stream.fileno())
                os.close(nowhere)


class RankStream(SteadyStream):
    """The errors of one of several ranks, whose number stands before each line of all but the first's.

    All ranks say much that is the same. So their lines are kept until `share`; from then on they are written at once.
    """

    def __init__(self, stream: Any, rank: int) -> None:
        super().__init__(stream, "errors")
        self.rank, self.line = rank, ""
        self.kept: list[str] | None = []

    def write(self, text: str) -> int:
        if self.rank == 0:
            super().write(text)
        *lines, self.line = (self.line + text).split("\n")
        for line in filter(None, lines):
            if self.kept is not None:
                self.kept.append(line)
            elif self.rank > 0:
                super().write(f"rank {self.rank}: {line}\n")
        return len(text)

    def share(self, ranks: Ranks) -> None:
        """Write what other ranks have said and the first has not, all ranks at once."""
        of_first = set(ranks.broadcast(self.kept or []))
        kept, self.kept = self.kept or [], None
        for line in kept:
            if line not in of_first:
                self.write(line + "\n")

    def isatty(self) -> bool:
        return self.rank == 0 and super().isatty()


@contextlib.contextmanager
def steady_output(ranks: Ranks = ALONE) -> Iterator[SteadyStream]:
    """Within this block sys.stdout and sys.stderr are SteadyStreams; gives the first of them.

    ranks: of which only the first has an output, and the errors are RankStreams.
    """
    before = sys.stdout, sys.stderr
    output, errors = SteadyStream(sys.stdout if ranks.first else None, "output"), SteadyStream(sys.stderr, "errors")
    if ranks.size > 1:
        errors = RankStream(sys.stderr, ranks.rank)
    sys.stdout, sys.stderr = output, errors
    try:
        yield output
    finally:
        output.put_away()
        errors.put_away()
        sys.stdout, sys.stderr = before


def output_is_kept_elsewhere() -> None:
    """Say that what is printed stands in files, too, so that output which nobody takes is no failure."""
    if isinstance(sys.stdout, SteadyStream):
        sys.stdout.kept_elsewhere = True


def share_notes(ranks: Ranks) -> None:
    """Have every rank's notes so far told, none twice, and later ones at once."""
    if isinstance(sys.stderr, RankStream):
        sys.stderr.share(ranks)


def note(text: str) -> None:
    """A line on standard error that says what is no failure, and what one should know all the same."""
    print(f"note: {text}", file=sys.stderr, flush=True)
