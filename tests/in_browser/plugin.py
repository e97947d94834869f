"""pytest's plugin within Pyodide: what a browser cannot do is run all the same, and must fail as cannot.py says.

Then it counts as skipped, with the reason. A test that fails otherwise has failed; an entry of the table none of whose
tests failed is no longer needed, and fails the run.
"""

import re
import socket

import pytest

from in_browser.cannot import FILES, LEFT_OUT, TESTS


def pytest_configure(config):
    socket.socket.listen = _refuse_to_listen
    config.pluginmanager.register(_Table(), "what a browser cannot do")


def _refuse_to_listen(self, backlog=None):
    """Where Node's part of Pyodide would look for a package of its own, and end."""
    raise OSError("a browser has no servers")


class _Table:
    """Which entries of TESTS stand for tests of this run; those of which, and of FILES, one passed; those needed."""

    def __init__(self):
        self.met, self.passed, self.needed = {}, set(), set()

    def pytest_ignore_collect(self, collection_path):
        return True if collection_path.name in LEFT_OUT else None

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self, collector):
        report = yield
        reason = FILES.get(collector.path.name) if isinstance(collector, pytest.Module) else None
        if reason is not None and report.passed:
            self.passed.add(collector.path.name)
        elif reason is not None and report.failed:
            lines = [line for line in str(report.longrepr).splitlines() if line.startswith("E ")]
            _skip(report, reason, collector.nodeid, lines)
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items):
        for item in items:
            entry = _entry(item.nodeid)
            if entry and not TESTS[entry].sign:
                item.add_marker(pytest.mark.skip(reason=TESTS[entry].text))
            elif entry:
                self.met[item.nodeid] = entry

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item, call):
        report = yield
        entry = self.met.get(item.nodeid)
        if entry is not None and report.failed:
            if _skip(report, TESTS[entry], item.nodeid, _chain(call.excinfo.value)):
                self.needed.add(entry)
        elif entry is not None and report.when == "call" and report.passed:
            self.passed.add(entry)
        return report

    def pytest_sessionfinish(self, session):
        self.not_needed = sorted(self.passed - self.needed)
        if self.not_needed and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter):
        for entry in self.not_needed:
            terminalreporter.write_line(
                f"{entry} runs in a browser by now: take it out of tests/in_browser/cannot.py", red=True
            )


def _entry(nodeid):
    """The entry of TESTS that a test falls under: its own name with or without parameters, or its function's."""
    path, _, test = nodeid.partition("::")
    names = [f"{path.rpartition('/')[2]}::{name}" for name in (test, test.partition("[")[0])]
    return next((name for name in names if name in TESTS), None)


def _chain(error):
    """What an exception says, and those that it came from."""
    while error is not None:
        yield f"{type(error).__name__}: {error}"
        error = error.__cause__ or error.__context__


def _skip(report, reason, nodeid, said):
    """Whether the texts `said` are of this reason's kind; then the report tells of a test that was skipped for it."""
    if not any(re.search(reason.sign, text) for text in said):
        return False
    report.outcome, report.longrepr = "skipped", (nodeid, 0, f"Skipped: {reason.text}")
    return True
