"""Lifecycle events are told, and never in the way."""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime
from typing import Any

import pytest

from localcloud.stack import Stack
from shared.cloud import Cloud
from shared.settings import Settings
from tests.conftest import eventually

AT = datetime(2026, 11, 22, tzinfo=UTC)


def test_an_event_reaches_the_topic(azure: Cloud, cloud: Stack, unique: str) -> None:
    assert azure.topic.publish("Droptune.Endpoint.Live", f"runs/{unique}", {"phase": "live"}, id=unique, time=AT)

    def arrived() -> list[dict[str, Any]]:
        events = cloud.control("GET", "/_local/eventgrid")["events"]
        return [each for each in events if unique in str(each)]

    (event,) = eventually(arrived)
    assert event["event"]["type"] == "Droptune.Endpoint.Live"
    assert event["event"]["id"] == unique


def test_a_topic_that_is_down_costs_a_line_in_the_log(
    cloud_env: Stack, caplog: pytest.LogCaptureFixture, unique: str
) -> None:
    settings = Settings.read({**os.environ, "EVENTS_TOPIC_ENDPOINT": "https://localhost:9/api/events"})
    with caplog.at_level(logging.WARNING, logger="shared.cloud.topic"):
        assert not Cloud(settings).topic.publish("Droptune.Endpoint.Live", unique, {}, id=unique, time=AT)
    (record,) = caplog.records
    assert unique in record.getMessage()


def test_a_topic_that_fails_is_asked_twice_and_no_more(azure: Cloud, cloud: Stack, unique: str) -> None:
    azure.clients.transport.sleep = lambda _: None
    cloud.control("POST", "/_local/faults", {"method": "POST", "path": "/api/events$", "status": 503, "count": 10})
    assert not azure.topic.publish("Droptune.Endpoint.Live", unique, {}, id=unique, time=AT)
    (fault,) = cloud.control("GET", "/_local/faults")
    assert fault["taken"] == 2


def test_without_a_topic_there_is_nothing_to_send_again(cloud_env: Stack, caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings.read({**os.environ, "EVENTS_TOPIC_ENDPOINT": ""})
    assert Cloud(settings).topic.publish("Droptune.Endpoint.Live", "x", {}, id="x", time=AT)
    assert not caplog.records
