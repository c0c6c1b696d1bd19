"""Fixtures that several folders use: the session's local cloud, the app over it, and what runs need.

tests/conftest.py has pytest load them, so no test imports them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from localcloud.stack import Stack
from shared.app import App
from shared.settings import Settings
from tests.kit.azureml import training
from tests.kit.clouds import SETTINGS, forget, pointed_at
from tests.kit.settings import with_settings


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The local cloud, shared by all tests of the session: use names of your own in it."""
    stack = Stack(tmp_path_factory.mktemp("cloud"), settings=SETTINGS)
    stack.start(host=False)
    yield stack
    stack.stop()


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


@pytest.fixture
def key() -> str:
    """Part of all names of a test."""
    return uuid4().hex[:10]


@pytest.fixture
def folder() -> str:
    """A dataset folder of the test's own."""
    return f"faq-{uuid4().hex[:8]}"


@pytest.fixture
def quick(app: App) -> App:
    """The app without a settle time, with computes of its own so that tests do not meet in them."""
    name = uuid4().hex[:8]
    return with_settings(
        app,
        SETTLE_TIME=timedelta(0),
        POLL_INTERVAL=timedelta(seconds=1),
        FINETUNE_COMPUTE=f"gpu-{name}",
        PREPROCESS_COMPUTE=f"cpu-{name}",
    )


@pytest.fixture(scope="module")
def trainer(cloud: Stack) -> Iterator[None]:
    """Jobs run the stand-in while this module's tests run: a module asks for it with `usefixtures`."""
    script = Path(training.__file__)
    command = cloud.state / "azureml" / "training.json"
    command.parent.mkdir(exist_ok=True)
    command.write_text(json.dumps([sys.executable, str(script)]))
    yield
    command.unlink()
