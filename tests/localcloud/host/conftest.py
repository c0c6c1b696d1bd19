"""Hosts as processes of their own, and the queues that they work on."""

from __future__ import annotations

import json
import os
import sys
import time
import uuid
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.identity import ManagedIdentityCredential
from azure.storage.queue import QueueClient, QueueServiceClient

from localcloud import guard
from localcloud.environment import foreign
from localcloud.stack import Stack
from tests.conftest import eventually

APP = Path(__file__).parent / "app"
REPO = Path(__file__).parents[3]
KEY = "key-of-the-test"


class HostProcess:
    """`python -m localcloud.host` under a guard, so that it ends with the tests; its output in a file."""

    def __init__(self, log: Path, environment: dict[str, str], *options: str, app: Path = APP) -> None:
        self._log = log
        command = [sys.executable, "-m", "localcloud.host", "--app", str(app), "--port", "0", *options]
        self.process = guard.spawn(command, env=environment, cwd=REPO, log=log)
        self.url = ""
        self.pid = 0
        """The host's own, not its guard's, once it is ready."""

    @property
    def log(self) -> str:
        """All that it has written."""
        return self._log.read_text()

    def ready(self) -> HostProcess:
        """Wait for the ready line; it has the port."""

        def line() -> str | None:
            if self.process.poll() is not None:
                pytest.fail(self.log)
            return next((line for line in self.log.splitlines() if line.startswith("ready ")), None)

        self.url = f"http://127.0.0.1:{str(eventually(line)).split()[1]}"
        [own] = psutil.Process(self.process.pid).children()
        self.pid = own.pid
        return self

    def stop(self) -> float:
        """SIGTERM. Returns the seconds that the host took."""
        started = time.monotonic()
        assert guard.stop(self.process) == 0
        return time.monotonic() - started

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        guard.stop(self.process)


Start = Callable[..., HostProcess]


@pytest.fixture(scope="module")
def start(cloud: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts hosts: `start(prefix, *options, app=..., setting=value)`. None outlives the module."""
    running: list[HostProcess] = []
    logs = tmp_path_factory.mktemp("hosts")

    def start(prefix: str, *options: str, app: Path = APP, **settings: str) -> HostProcess:
        ours = {name: value for name, value in os.environ.items() if name not in foreign()}
        given = {"PREFIX": prefix, "SCHEDULE": "0 0 0 1 1 *", "LOCAL_FUNCTION_KEY": KEY, **settings}
        given.setdefault("AzureFunctionsWebHost__hostid", prefix)
        log = logs / f"{prefix}-{len(running)}.log"
        running.append(HostProcess(log, ours | cloud.environment | given, *options, app=app))
        return running[-1]

    yield start
    for host in running:
        host.kill()


class Queues:
    """The queues of one host's app, by their names without the prefix. Texts are left as they are."""

    def __init__(self, prefix: str, service: QueueServiceClient) -> None:
        self._prefix = prefix
        self._service = service

    def client(self, name: str) -> QueueClient:
        """One of the queues."""
        return self._service.get_queue_client(f"{self._prefix}-{name}")

    def send(self, name: str, text: str, *, encoded: bool = True) -> None:
        """Add a message, and its queue when it is missing."""
        client = self.client(name)
        content = b64encode(text.encode()).decode() if encoded else text
        try:
            client.send_message(content)
        except ResourceNotFoundError:
            client.create_queue()
            client.send_message(content)

    def take(self, name: str) -> str:
        """Wait for the next message and remove it. Returns its text as it is."""

        def look() -> str | None:
            client = self.client(name)
            try:
                message = client.receive_message()
            except ResourceNotFoundError:
                return None
            if message is None:
                return None
            client.delete_message(message)
            return str(message.content)

        return str(eventually(look))

    def result(self, name: str) -> dict[str, Any]:
        """Wait for the next message and remove it. Returns what a function of the app has put there."""
        document: dict[str, Any] = json.loads(b64decode(self.take(name)))
        return document

    def count(self, name: str) -> int:
        """How many messages there are, visible or not; 0 without a queue."""
        try:
            return self.client(name).get_queue_properties().approximate_message_count or 0
        except ResourceNotFoundError:
            return 0


@pytest.fixture
def prefix() -> str:
    """A start of names that no other test uses."""
    return f"t{uuid.uuid4().hex[:8]}"


@pytest.fixture
def queues(cloud_env: Stack, prefix: str) -> Iterator[Queues]:
    """The queues of the host with this test's prefix."""
    credential = ManagedIdentityCredential(client_id=cloud_env.environment["AZURE_CLIENT_ID"])
    with QueueServiceClient(cloud_env.urls["queue"], credential=credential) as service:
        yield Queues(prefix, service)
