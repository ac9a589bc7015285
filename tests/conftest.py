"""What all tests share: on the build server a skipped test is a failed build."""

from __future__ import annotations

import os

import hypothesis
import pytest

hypothesis.settings.register_profile("meshctl", deadline=None)
hypothesis.settings.load_profile("meshctl")
"""How long an example takes says something of the machine, not of the program."""

pytest.register_assert_rewrite("tests.adapters.api_contract")


@pytest.hookimpl(hookwrapper=True)
def pytest_terminal_summary(terminalreporter):
    yield
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped and os.environ.get("MESHCTL_TESTS_MUST_RUN"):
        terminalreporter.write_line(f"{len(skipped)} skipped test(s): not allowed here", red=True)


def pytest_sessionfinish(session, exitstatus):
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter and os.environ.get("MESHCTL_TESTS_MUST_RUN") and reporter.stats.get("skipped") and exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_collection_modifyitems(items):
    """The longest files first: at the end no worker is left alone with one of them."""
    items.sort(key=lambda item: "e2e" not in item.path.parts)
