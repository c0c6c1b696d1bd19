"""Lifecycle events are told, and never in the way."""

from __future__ import annotations

import logging
import os
import socket
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from localcloud.stack import Stack
from shared.cloud import Cloud, clients
from shared.cloud.topic import PAUSE
from shared.settings import Settings
from tests.kit.settings import changed
from tests.kit.waiting import eventually

AT = datetime(2026, 11, 22, tzinfo=UTC)
LIVE = "Droptune.Endpoint.Live"
TOPIC = "/topics/lifecycle/api/events$"


def arrived(cloud: Stack, unique: str) -> list[dict[str, Any]]:
    """What Event Grid was told that speaks of it."""
    return [each["event"] for each in cloud.control("GET", "/_local/eventgrid")["events"] if unique in str(each)]


def test_an_event_reaches_the_topic(azure: Cloud, cloud: Stack, unique: str) -> None:
    assert azure.topic.publish(LIVE, f"runs/{unique}", {"phase": "live"}, id=unique, time=AT)
    (event,) = eventually(lambda: arrived(cloud, unique))
    assert (event["type"], event["id"]) == (LIVE, unique)


def test_a_topic_that_is_down_costs_a_line_in_the_log(
    cloud_env: Stack, caplog: pytest.LogCaptureFixture, unique: str
) -> None:
    settings = Settings.read({**os.environ, "EVENTS_TOPIC_ENDPOINT": "https://localhost:9/api/events"})
    with caplog.at_level(logging.WARNING, logger="shared.cloud.topic"):
        topic = Cloud(settings).topic
        for _ in range(2):
            assert not topic.publish(LIVE, unique, {}, id=unique, time=AT)
    (record,) = caplog.records
    assert unique in record.getMessage()


def test_a_topic_that_fails_is_asked_once_a_minute(azure: Cloud, cloud: Stack, unique: str) -> None:
    cloud.control("POST", "/_local/faults", {"method": "POST", "path": TOPIC, "status": 503, "count": None})

    def asked() -> int:
        (fault,) = cloud.control("GET", "/_local/faults")
        return int(fault["taken"])

    for _ in range(3):
        assert not azure.topic.publish(LIVE, unique, {}, id=unique, time=AT)
    assert asked() == 1
    cloud.control("POST", "/_local/clock", {"advance": PAUSE.total_seconds()})

    def asked_again() -> bool:  # the app reckons on from the service's last answer for a second
        assert not azure.topic.publish(LIVE, unique, {}, id=unique, time=AT)
        return asked() == 2

    eventually(asked_again)
    cloud.control("DELETE", "/_local/faults")
    cloud.control("POST", "/_local/clock", {"advance": PAUSE.total_seconds()})
    eventually(lambda: azure.topic.publish(LIVE, unique, {}, id=unique, time=AT))
    assert len(arrived(cloud, unique)) == 1


def test_an_event_that_is_refused_keeps_no_other_back(azure: Cloud, cloud: Stack, unique: str) -> None:
    fault = {"method": "POST", "path": TOPIC, "status": 413, "code": "PayloadTooLarge"}
    cloud.control("POST", "/_local/faults", fault)
    assert not azure.topic.publish(LIVE, unique, {}, id=f"{unique}-1", time=AT)
    assert azure.topic.publish(LIVE, unique, {}, id=f"{unique}-2", time=AT)


@pytest.mark.parametrize("what", ["answer", "handshake"])
def test_a_topic_that_takes_connections_and_never_answers_costs_a_short_wait(
    cloud_env: Stack, monkeypatch: pytest.MonkeyPatch, unique: str, what: str
) -> None:
    monkeypatch.setattr(clients, "TOPIC_SECONDS", 0.5)
    settings = Settings.read(os.environ)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        if what == "handshake":
            settings = changed(settings, EVENTS_TOPIC_ENDPOINT=f"https://127.0.0.1:{mute.getsockname()[1]}/api/events")
        else:
            fault = {"method": "POST", "path": TOPIC, "delay": 30, "status": 503}
            cloud_env.control("POST", "/_local/faults", fault)
        azure, begun = Cloud(settings), time.monotonic()
        for _ in range(3):
            assert not azure.topic.publish(LIVE, unique, {}, id=unique, time=AT)
        assert time.monotonic() - begun < 8
        azure.close()
    cloud_env.control("DELETE", "/_local/faults")


def test_without_a_topic_there_is_nothing_to_send_again(cloud_env: Stack, caplog: pytest.LogCaptureFixture) -> None:
    settings = Settings.read({**os.environ, "EVENTS_TOPIC_ENDPOINT": ""})
    assert Cloud(settings).topic.publish(LIVE, "x", {}, id="x", time=AT)
    assert not caplog.records
