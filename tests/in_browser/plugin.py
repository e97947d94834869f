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
    """Which entries of TESTS stand for tests of this run, and which of those were needed."""

    def __init__(self):
        self.met, self.needed, self.ran = {}, set(), set()

    def pytest_ignore_collect(self, collection_path):
        return True if collection_path.name in LEFT_OUT else None

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self, collector):
        report = yield
        reason = FILES.get(getattr(collector, "path", collector).name) if isinstance(collector, pytest.Module) else None
        if reason is not None:
            _skip(report, reason, collector.nodeid)
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items):
        for item in items:
            self.met[item.nodeid] = _entry(item.nodeid)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item, call):
        report = yield
        entry = self.met.get(item.nodeid)
        if entry is not None:
            self.ran.add(entry)
            if report.failed and _skip(report, TESTS[entry], item.nodeid):
                self.needed.add(entry)
        return report

    def pytest_sessionfinish(self, session):
        self.not_needed = sorted(self.ran - self.needed)
        if self.not_needed and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter):
        for entry in self.not_needed:
            terminalreporter.write_line(
                f"{entry} runs in a browser by now: take it out of tests/in_browser/cannot.py", red=True
            )


def _entry(nodeid):
    """The entry of TESTS that a test falls under: its own name with or without parameters, or its function's."""
    name = nodeid.rsplit("/", 1)[-1]
    return next((entry for entry in (name, name.partition("[")[0]) if entry in TESTS), None)


def _skip(report, reason, nodeid):
    """Whether the report tells of a failure of this reason's kind, and now of a test that was skipped for it."""
    if not report.failed or not re.search(reason.sign, str(report.longrepr)):
        return False
    report.outcome, report.longrepr = "skipped", (nodeid, 0, f"Skipped: {reason.text}")
    return True
