"""Fixtures for the tests that need the local cloud: one for the whole session, without the Functions host."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from localcloud.environment import foreign
from localcloud.stack import Stack
from shared.app import App
from shared.records import layout
from shared.records.layout import STATE
from shared.settings import Settings


def eventually[T](look: Callable[[], T | None], timeout: float = 30, *, every: float = 0.05) -> T:
    """Look until the answer is true (or the last look raises no AssertionError); fails after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        late = time.monotonic() > deadline
        try:
            found = look()
        except AssertionError:
            if late:
                raise
        else:
            if found:
                return found
            assert not late, f"still {found!r} after {timeout} s"
        time.sleep(every)


def forget(app: App) -> None:
    """Nothing that tests have begun in the session's cloud is active any more, or holds a slot."""
    for run_id, _ in app.runs.active():
        app.cloud.blobs.delete(STATE, f"active/{run_id}")
    app.cloud.blobs.delete(STATE, layout.SLOTS)


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


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The local cloud, shared by all tests of the session: use names of your own in it."""
    stack = Stack(tmp_path_factory.mktemp("cloud"))
    stack.start(host=False)
    yield stack
    stack.stop()


@contextmanager
def pointed_at(cloud: Stack) -> Iterator[None]:
    """In the block, this process's environment points the Azure SDKs at the cloud."""
    with pytest.MonkeyPatch.context() as patch:
        for name in foreign():
            patch.delenv(name)
        for name, value in cloud.environment.items():
            patch.setenv(name, value)
        yield


@pytest.fixture
def cloud_env(cloud: Stack) -> Iterator[Stack]:
    """The same, with this process's environment pointed at it, so that the Azure SDKs work in the test itself."""
    with pointed_at(cloud):
        yield cloud


@pytest.fixture(scope="session")
def _app(cloud: Stack) -> Iterator[App]:
    made = App.of(Settings.read(cloud.environment))
    yield made
    made.cloud.close()


@pytest.fixture(scope="module")
def _forgotten(cloud: Stack, _app: App) -> None:
    """No file of tests finds the places taken that another one's runs hold: which came before is chance."""
    with pointed_at(cloud):
        forget(_app)


@pytest.fixture
def app(cloud_env: Stack, _forgotten: None, _app: App) -> App:
    """The app over the session's cloud, as a function would get it; its clients are made once, as in a process."""
    return _app
