"""Local clouds that tests start: this process pointed at one, and what others left in it forgotten."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from localcloud.environment import foreign
from localcloud.stack import Stack
from shared.app import App
from shared.records import layout
from shared.records.layout import STATE
from tests.kit.waiting import eventually

SETTINGS = {"BASE_MODEL": "Phi-3-mini-4k-instruct", "CLEANUP_MODE": "delete", "MAX_LIVE_ENDPOINTS": "100000"}
"""What the apps of tests are told: the smallest model, to tear down, and no cap that tests of one session could meet.

Their own defaults are Phi-4, `report` and 5.
"""


def forget(app: App) -> None:
    """Nothing that tests have begun in the session's cloud is active any more, holds a slot or waits in a queue."""
    for run_id in app.runs.active():
        app.cloud.blobs.delete(STATE, f"active/{run_id}")
    app.cloud.blobs.delete(STATE, layout.SLOTS)
    app.cloud.blobs.delete(STATE, layout.SEATS)
    for queue in (layout.PREPARE_QUEUE, layout.STEPS_QUEUE):
        app.cloud.clients.queue_service.get_queue_client(queue).clear_messages()


def later(app: App, cloud: Stack, length: timedelta) -> None:
    """Has so much of the local cloud's time gone by."""
    until = app.cloud.blobs.now() + length
    cloud.control("POST", "/_local/clock", {"advance": length.total_seconds()})
    eventually(lambda: app.cloud.blobs.now() >= until)  # the app reckons on from the service's last answer for a second


@contextmanager
def pointed_at(cloud: Stack) -> Iterator[None]:
    """In the block, this process's environment points the Azure SDKs at the cloud."""
    with pytest.MonkeyPatch.context() as patch:
        _set(patch, cloud)
        yield


def point(patch: pytest.MonkeyPatch, stack: Stack) -> None:
    """Points this process's SDKs at the stack, and remembers what they would ask it for at every turn."""
    _set(patch, stack)
    from azure.ai.ml import _azure_environments as known

    # In Azure the SDK knows its cloud; of any other it asks the metadata service again and again.
    cloud = os.environ["AZUREML_CURRENT_CLOUD"]
    patch.delitem(known._environments, cloud, raising=False)  # of another stack, of the same name
    patch.setitem(known._environments, cloud, known._get_cloud_details(cloud))

    # Pauses between retries cost a test nothing; storage's clients wrap the transport, and sleep as its base does.
    from azure.core.pipeline.transport import HttpTransport

    patch.setattr(HttpTransport, "sleep", lambda *_: None)


def _set(patch: pytest.MonkeyPatch, cloud: Stack) -> None:
    patch.setattr(urllib.request, "_opener", None)  # the first request keeps the environment's proxies for ever
    for name in foreign():
        patch.delenv(name)
    for name, value in cloud.environment.items():
        patch.setenv(name, value)
