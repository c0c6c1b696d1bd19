"""Hosts as processes of their own, and the queues that they work on."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.identity import ManagedIdentityCredential
from azure.storage.queue import QueueServiceClient

from localcloud.environment import foreign
from localcloud.stack import Stack
from tests.kit.host import APP, KEY, HostProcess, Queues, Start


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
