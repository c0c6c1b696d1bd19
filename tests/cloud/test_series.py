"""What is read of an answer of Azure Monitor's batch query, and what a series of points says."""

from __future__ import annotations

import json
from array import array
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.cloud.series import MINUTE, Series, floor, read

START = datetime(2026, 3, 1, 9, tzinfo=UTC)
GRAINS = [timedelta(minutes=each) for each in (1, 5, 15, 60, 360, 1440)]
METRIC = "RequestsPerMinute"
ID = "/subscriptions/s/resourceGroups/g/providers/p/workspaces/w/onlineEndpoints/faq"


def series(points: dict[int, float], grain: timedelta = MINUTE, end: datetime | None = None) -> Series:
    """Points by the number of their grain after START."""
    first, step = int(START.timestamp()) // 60, grain // MINUTE
    return Series(
        grain=grain,
        end=end or START + 10_000 * grain,
        begins=array("q", (first + step * number for number in sorted(points))),
        averages=array("d", (points[number] for number in sorted(points))),
    )


def resource(points: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """A resource of an answer."""
    metric = {"name": {"value": METRIC}, "timeseries": [{"data": points}], "errorCode": "Success"} | more
    return {"resourceid": ID, "value": [metric]}


def answer(*resources: dict[str, Any]) -> bytes:
    """An answer's body."""
    return json.dumps({"values": resources}).encode()


def read_one(body: bytes, *, grain: timedelta = MINUTE) -> Series | str:
    """What is read of it about ID."""
    return read(body, [ID], METRIC, grain=grain, end=START + timedelta(hours=1))[ID]


def test_points_without_a_value_are_none() -> None:
    points: list[dict[str, Any]] = [
        {"timeStamp": "2026-03-01T09:00:00Z", "average": 2.0},
        {"timeStamp": "2026-03-01T09:01:00Z"},
        {"timeStamp": "2026-03-01T09:02:00Z", "average": None},
        {"timeStamp": "2026-03-01T10:03:00+01:00", "average": 0},
    ]
    found = read_one(answer(resource(points)))
    assert isinstance(found, Series)
    assert (found.points, found.sum, found.last) == (2, 2.0, START + MINUTE)


def test_what_has_several_lines_counts_each_grain_once() -> None:
    point = {"timeStamp": "2026-03-01T09:00:00Z", "average": 2.0}
    split = resource([], timeseries=[{"data": [point]}, {"data": [point]}, {}])
    found = read_one(answer(split))
    assert isinstance(found, Series)
    assert (found.points, found.sum) == (1, 4.0)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (answer(resource([]) | {"value": []}), "no word about the metric"),
        (answer(resource([]) | {"resourceid": f"{ID}-2"}), "no word about it"),
        (answer(), "0 answers without ids"),
        (answer(resource([], errorCode="QueryThrottled", errorMessage="Slow down")), r"Slow down \(QueryThrottled\)"),
        (answer(resource([], errorCode="InvalidSamplingType")), r"no message \(InvalidSamplingType\)"),
        (answer(resource([{"timeStamp": "2026-03-01T09:00:00", "average": 1}])), "can't be read: .*timezone"),
        (answer(resource([{"timeStamp": "today", "average": 1}])), "can't be read: .*RFC3339"),
        (answer(resource([{"timeStamp": "2026-03-01T09:00:00Z", "average": "1"}])), "can't be read: .*float"),
        (b"<html>", "can't be read"),
        (b"", "can't be read"),
        (b'"<html>"', "can't be read"),
        (json.dumps(json.dumps("{}")).encode(), "text in text"),
        (answer(resource([]))[:-3], "can't be read"),
        (b"{}", "can't be read: .*values"),
        (b'{"values": null}', "can't be read: .*array"),
        (b"[" * 100_000, "can't be read"),
        (b'{"more": ' + b"[" * 100_000, "can't be read"),
        (b'"\xff"', "can't be read"),
    ],
)
def test_what_can_not_be_read_says_why_and_is_never_0(body: bytes, said: str) -> None:
    try:
        found = read_one(body)
    except ValueError as error:
        found = str(error)
    with pytest.raises(ValueError, match=said):
        raise ValueError(found)


@given(
    st.binary() | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(lambda x: json.dumps(x).encode())
)
def test_no_body_breaks_the_reader(body: bytes) -> None:
    try:
        found = read_one(body)
    except ValueError:
        return
    assert isinstance(found, str), "nothing like that is an answer about it"


def test_answers_are_told_apart_by_their_ids_and_else_by_their_order() -> None:
    ids = [f"{ID}-{each}" for each in "abc"]
    points = [[{"timeStamp": "2026-03-01T09:00:00Z", "average": each}] for each in range(3)]
    with_ids = [resource(each) | {"resourceid": id_.upper()} for id_, each in zip(ids, points, strict=True)]
    without = [resource(each) | {"resourceid": None} for each in points]
    for body in (answer(*reversed(with_ids)), answer(*without), json.dumps(answer(*with_ids).decode()).encode()):
        found = read(body, ids, METRIC, grain=MINUTE, end=START)
        assert list(found) == ids
        assert [each.sum for each in found.values() if isinstance(each, Series)] == [0, 1, 2]


POINTS = st.dictionaries(st.integers(0, 400), st.integers(0, 100).map(float), max_size=60)


@given(POINTS, st.sampled_from(GRAINS), st.integers(0, 500))
def test_a_series_says_what_its_points_say(points: dict[int, float], grain: timedelta, cut: int) -> None:
    made = series(points, grain)
    assert made.points == len(points)
    assert made.sum == sum(points.values()) * (grain / MINUTE)
    used = [number for number, value in points.items() if value]
    assert made.last == (START + (max(used) + 1) * grain if used else None)

    after = {number: value for number, value in points.items() if number >= cut}
    for moment in (START + cut * grain, START + cut * grain + grain / 2):
        assert made.since(moment) == series(after, grain)
    each, wide = (grain / MINUTE, timedelta(hours=1) // grain) if grain < timedelta(hours=1) else (60, 1)
    hours = (sum(points.get(first + one, 0) for one in range(wide)) for first in range(-60, 401))
    assert made.busiest_hour == max(hours) * each


@given(POINTS, st.sampled_from(GRAINS), st.integers(0, 300), st.integers(1, 200))
def test_the_control_is_that_half_with_fewer_points(
    points: dict[int, float], grain: timedelta, start: int, length: int
) -> None:
    points = {number: value for number, value in points.items() if number < start + length}
    made = series(points, grain, end=START + (start + length) * grain)
    inside = [number for number in points if number >= start]
    first = sum(2 * number < 2 * start + length for number in inside)
    assert made.control(START + start * grain) == min(first, len(inside) - first)


def test_the_grain_in_which_both_halves_meet_counts_for_the_first_alone() -> None:
    end = START + timedelta(minutes=21)  # the middle is at 10:30
    assert series({10: 1}, end=end).control(START) == 0
    assert series({10: 1, 11: 1, 12: 1}, end=end).control(START) == 1
    assert series({9: 1, 10: 1, 11: 1}, end=end).control(START) == 1


def test_the_last_request_is_never_later_than_the_span() -> None:
    end = START + timedelta(minutes=2)
    assert series({0: 3}, timedelta(minutes=5), end).last == end


@given(st.timedeltas(-timedelta(days=9000), timedelta(days=9000)), st.sampled_from(GRAINS))
def test_a_moment_is_in_the_grain_that_begins_before_it(later: timedelta, grain: timedelta) -> None:
    moment = START + later
    begin = floor(moment, grain)
    assert begin <= moment < begin + grain
    assert begin.timestamp() % grain.total_seconds() == 0
