"""Whether the app is well: one look for all who ask, and what is wrong only for who may call."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.counting import requests_of
from localcloud.stack import Stack
from shared.api import door, health, views
from shared.api.health import FRESH, Found, Looks
from shared.app import App
from shared.app import app as this_process
from shared.errors import Permanent, Transient
from shared.line.waits import Need, Source, tell
from shared.logs import harmless, ignored, ignored_so_far
from shared.records.layout import NEEDS, SEATS, SLOTS, STATE

GOOD = Found(problem="", time="now")


@given(st.lists(st.floats(0, 30), max_size=30))
def test_a_look_is_good_for_ten_seconds_whatever_it_has_shown(waits: list[float]) -> None:
    now, looks = [100.0], list[float]()

    def look() -> Found:
        looks.append(now[0])
        now[0] += 3  # it takes a while
        return Found(problem="bad" if len(looks) % 2 else "")

    latest = Looks(look, lambda: now[0]).latest
    for wait in waits:
        now[0] += wait
        age, found = latest()
        assert age < FRESH
        assert found.problem == ("bad" if len(looks) % 2 else "")
    assert all(later - earlier >= FRESH + 3 for earlier, later in pairwise(looks))
    assert bool(looks) == bool(waits)


def test_a_burst_is_one_look() -> None:
    begun, go, looks = threading.Event(), threading.Event(), list[int]()

    def look() -> Found:
        looks.append(1)
        begun.set()
        assert go.wait(30)
        return GOOD

    latest = Looks(look).latest
    with ThreadPoolExecutor(20) as many:
        asked = [many.submit(latest) for _ in range(100)]
        assert begun.wait(30)
        go.set()
        assert {each.result()[1] for each in asked} == {GOOD}
    assert looks == [1]


@pytest.fixture
def anew(app: App) -> Iterator[None]:
    """This process has not looked yet, nor read its settings."""
    before = logging.getLogRecordFactory()
    this_process.cache_clear()
    health._looks, health._closer = Looks(health._look), Looks(health._look_closer)
    yield
    health._looks, health._closer = Looks(health._look), Looks(health._look_closer)
    if this_process.cache_info().currsize:
        this_process().cloud.close()
        this_process.cache_clear()
    logging.setLogRecordFactory(before)
    harmless.cache_clear()


def asked() -> tuple[int, dict[str, object]]:
    status, body = health.health()
    return status, json.loads(body)


def test_all_is_well(app: App, anew: None) -> None:
    assert asked() == (200, {"status": "ok"})
    ignored("a kind", "a thing")
    health.about(this_process())
    with requests_of(this_process()) as counted:
        assert asked() == (200, {"status": "ok"})
        status, body = health.about(this_process())
    assert counted.requests == 0, "it has just looked"
    told = json.loads(body)
    assert (status, told["ok"], told["problem"]) == (200, True, "")
    assert told["time"]
    assert told["age"] < FRESH
    assert told["ignored"] == dict(ignored_so_far)
    assert told["pid"]


def test_a_setting_that_nothing_reads_is_told_at_the_start_and_to_who_may_call(
    app: App, anew: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MAX_ACTIVE_JOB", "3")
    told = "MAX_ACTIVE_JOB is a setting that nothing reads: is MAX_ACTIVE_JOBS meant?"
    assert asked() == (200, {"status": "ok"}), "it works, and strangers do not hear it"
    assert caplog.text.count(told) == 1
    warnings = json.loads(health.about(this_process())[1])["warnings"]
    assert [each for each in warnings if "setting" in each] == [told]
    assert told in [need["what"] for need in json.loads(views.status(app)[1])["needs"]]


def test_it_is_not_well_where_nothing_is_trained_and_it_counts_what_waits_for_a_person(app: App, anew: None) -> None:
    app.cloud.blobs.write(STATE, SLOTS, b'{"version": 99}')
    nothing: dict[Source, list[Need]] = {source: [] for source in get_args(Source.__value__)}  # left by other files
    waits = Need(key="a", event="", subject="runs/a", why="b")
    tell(app, nothing | {"runs": [waits]}, app.cloud.blobs.now())
    try:
        assert asked() == (503, {"status": "not ok"})
        told = json.loads(health.about(this_process())[1])
        assert told["problem"].startswith("nothing is trained: state/slots.json can't be read: it is of version 99")
        assert told["needs"] == 1
    finally:
        app.cloud.blobs.delete(STATE, SLOTS)
        app.cloud.blobs.delete(STATE, NEEDS)


def test_who_may_call_hears_that_nobody_gets_a_seat_and_strangers_cost_one_call_as_ever(app: App, anew: None) -> None:
    app.cloud.blobs.write(STATE, SEATS, b'{"version": 99}')
    try:
        with requests_of(this_process()) as counted:
            assert asked() == (200, {"status": "ok"})
        assert counted.requests <= 1
        told = json.loads(health.about(this_process())[1])
        assert not told["ok"]
        assert told["problem"].startswith("nothing is trained: state/seats.json can't be read: it is of version 99")
    finally:
        app.cloud.blobs.delete(STATE, SEATS)


def test_storage_that_fails_is_asked_once(app: App, cloud: Stack, anew: None, caplog: pytest.LogCaptureFixture) -> None:
    assert asked()[0] == 200  # the process has its token
    health._looks, health._closer = Looks(health._look), Looks(health._look_closer)
    cloud.control("POST", "/_local/faults", {"service": "blob", "path": f"/{SLOTS}$", "status": 503, "count": None})
    try:
        with requests_of(this_process()) as counted:
            assert [asked() for _ in range(5)] == [(503, {"status": "not ok"})] * 5
            told = json.loads(health.about(this_process())[1])
    finally:
        cloud.control("DELETE", "/_local/faults")
    assert counted.requests == 1
    assert not told["ok"]
    assert "503" in told["problem"]
    assert told["time"] == ""
    assert caplog.text.count("not well: storage, asked whether it answers") == 1


def test_it_says_what_is_wrong_with_storage(app: App, cloud: Stack) -> None:
    with requests_of(app) as counted:
        assert abs((app.cloud.blobs.answers(STATE, SLOTS)[0] - app.cloud.blobs.now()).total_seconds()) < 2
    assert counted.requests == 1
    missing = {"service": "blob", "status": 404, "code": "ContainerNotFound", "count": 1}
    for fault, kind, told in (
        (missing, Permanent, "ContainerNotFound"),
        ({"service": "blob", "status": 403, "count": 1}, Transient, "Storage Blob Data Owner"),
        ({"service": "blob", "reset": True, "count": 1}, Transient, "no answer"),
    ):
        cloud.control("POST", "/_local/faults", fault)
        with pytest.raises(kind, match=told):
            app.cloud.blobs.answers(STATE, SLOTS)


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"MAX_ACTIVE_JOBS": "many"}, "MAX_ACTIVE_JOBS"),
        ({"API_AUTH": "entra", "API_OPERATORS": "a-group"}, "WEBSITE_AUTH_ENABLED is not True"),
    ],
)
def test_what_is_wrong_is_logged_and_strangers_do_not_hear_it(
    environ: dict[str, str],
    told: str,
    app: App,
    anew: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert [asked() for _ in range(3)] == [(503, {"status": "not ok"})] * 3
    assert caplog.text.count(told) == 1


def test_a_bug_is_not_louder(app: App, anew: None, caplog: pytest.LogCaptureFixture) -> None:
    def bug() -> App:
        raise RuntimeError("a secret")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(health, "app", bug)
        assert asked() == (503, {"status": "not ok"})
    assert "a secret" in caplog.text


@pytest.mark.parametrize("has_key", [True, False])
def test_what_is_wrong_with_the_settings_is_for_who_has_shown_a_key(
    has_key: bool, app: App, anew: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MAX_ACTIVE_JOBS", "many")
    status, body = door.answer("GET", {}, lambda app, _: health.about(app), has_key=has_key)
    assert status == 503
    assert (b"MAX_ACTIVE_JOBS" in body) is has_key
    assert "MAX_ACTIVE_JOBS" in caplog.text
