"""Hosts as processes of their own, and the queues that they work on."""

from __future__ import annotations

import json
import sys
import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.queue import QueueClient, QueueServiceClient

from localcloud import guard
from tests.kit.paths import ROOT
from tests.kit.waiting import eventually

APP = ROOT / "tests" / "localcloud" / "host" / "app"
KEY = "key-of-the-test"


class HostProcess:
    """`python -m localcloud.host` under a guard, so that it ends with the tests; its output in a file."""

    def __init__(self, log: Path, environment: dict[str, str], *options: str, app: Path = APP) -> None:
        self._log = log
        command = [sys.executable, "-m", "localcloud.host", "--app", str(app), "--port", "0", *options]
        self.process = guard.spawn(command, env=environment, cwd=ROOT, log=log)
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
