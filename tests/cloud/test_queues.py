"""Queue messages as the Functions host takes them."""

from __future__ import annotations

import base64
import json
from datetime import timedelta

import pytest

from shared.cloud import Cloud
from shared.errors import Permanent


def test_messages_are_base64_of_json_and_may_come_later(azure: Cloud, unique: str) -> None:
    service = azure.clients.queue_service
    queue = service.create_queue(unique)
    try:
        azure.queues.send(unique, {"run": "ä", "token": None})
        azure.queues.send(unique, {"run": "later"}, after=timedelta(hours=1))
        azure.queues.send(unique, {"run": "never too late"}, after=timedelta(days=30))
        received = list(queue.receive_messages())
        assert [json.loads(base64.b64decode(each.content)) for each in received] == [{"run": "ä", "token": None}]
        assert queue.get_queue_properties().approximate_message_count == 3
    finally:
        service.delete_queue(unique)


def test_a_queue_that_does_not_exist_is_named(azure: Cloud) -> None:
    with pytest.raises(Permanent, match="queue nowhere"):
        azure.queues.send("nowhere", {})
