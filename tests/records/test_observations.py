"""What the cleanup saw: kept in few blobs, read in as many calls, and none of it lost with one that is broken."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from benchmarks.counting import requests_of
from shared.app import App
from shared.records import observations
from shared.records.layout import STATE, observed
from shared.records.observations import TOGETHER, Observation
from tests.kit.records import NOW

SEEN = Observation(
    line="l0",
    folder="faq",
    endpoint="faq-1",
    at=NOW,
    verdict="pending",
    why="no request in 24 h",
    until=NOW + timedelta(hours=1),
    requests=0.0,
    last=NOW - timedelta(days=2),
    traffic={"r1-1": 100},
)


@pytest.mark.parametrize(("lines", "calls"), [(0, 1), (1, 1), (TOGETHER, 1), (TOGETHER + 1, 2), (1000, 5)])
def test_what_was_seen_last_is_read_as_it_was_in_one_call_for_200_lines(app: App, lines: int, calls: int) -> None:
    found = [replace(SEEN, line=f"l{at}") for at in range(lines)]
    with requests_of(app) as counted:
        observations.write(app.cloud.blobs, found)
    assert counted.requests == calls
    with requests_of(app) as counted:
        assert list(observations.read(app.cloud.blobs).values()) == found
    assert counted.requests == calls


def test_of_a_look_that_saw_fewer_nothing_older_is_left(app: App) -> None:
    observations.write(app.cloud.blobs, [replace(SEEN, line=f"l{at}") for at in range(TOGETHER + 1)])
    observations.write(app.cloud.blobs, [SEEN])
    assert list(observations.read(app.cloud.blobs)) == ["l0"]


@pytest.mark.parametrize("broken", [b"", b"{", b"[]", b'{"blobs": "x"}'])
def test_a_blob_that_is_broken_hides_no_other(app: App, broken: bytes) -> None:
    observations.write(app.cloud.blobs, [replace(SEEN, line=f"l{at}") for at in range(2 * TOGETHER)])
    app.cloud.blobs.write(STATE, observed(1), broken)
    assert len(observations.read(app.cloud.blobs)) == TOGETHER
    app.cloud.blobs.write(STATE, observed(0), broken)
    assert observations.read(app.cloud.blobs) == {}
    app.cloud.blobs.delete(STATE, observed(0))
    assert observations.read(app.cloud.blobs) == {}
