"""What pytest does with all tests: it loads the fixtures of the kit, and begins with the slow tests."""

from __future__ import annotations

import signal
from collections import Counter

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell without job control starts what runs in its background so, and the tests' commands would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest.register_assert_rewrite("tests.kit")  # so that a helper's assert shows its values, as a test's does
pytest_plugins = ["tests.kit.fixtures"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow tests first: with two workers the others fill the time beside them."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many cases of the crash matrix there were, and how many steps of the chaos.

    Here, for the process that has the workers report to it reads no other file of fixtures.
    """
    told = Counter[str]()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") == "call":
                told.update({name: value for name, value in report.user_properties if isinstance(value, int)})
    for name, value in sorted(told.items()):
        terminalreporter.write_line(f"{name}: {value}")
    matrix = sum(value for name, value in told.items() if name.startswith("crash matrix"))
    if matrix:
        terminalreporter.write_line(f"crash matrix: {matrix} cases in all")
