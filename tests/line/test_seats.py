"""The seats of lines over the local cloud's blobs, with two hosts at once; lifecycle/test_seats.py has the rules."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from benchmarks.counting import requests_of
from shared.api import schema, views
from shared.app import App
from shared.errors import Transient
from shared.lifecycle.phase import Hold, Phase
from shared.line import seats
from shared.line.unreadable import unreadable
from shared.line.waits import kept_needs
from shared.records import layout
from shared.records.base import Order
from shared.records.layout import STATE
from shared.records.line import Line, Orphan, Retiring
from shared.records.mark import Mark, mark_in
from shared.records.run import Parked, Run, Source, Waiting
from shared.sweep import sweep
from tests.kit.clouds import forget
from tests.kit.records import changed, serving, woken
from tests.kit.settings import with_settings

_second = itertools.count()


@pytest.fixture
def two(app: App) -> Iterator[App]:
    """At most two. The record is everybody's, so it is put back to nothing, and so is what it is made of."""
    _forget(app)
    yield with_settings(app, MAX_LIVE_ENDPOINTS=2, CLEANUP_MODE="report")
    _forget(app)


def _forget(app: App) -> None:
    forget(app)
    for line in list(app.lines.standing()):
        app.cloud.blobs.delete(STATE, layout.marker("standing", line))


def record(app: App, name: str = "", phase: Phase = Phase.PREPARED, hold: Hold = "", **changes: Any) -> Run:
    """A run of a line of its own, or of the one that is named, which has none of its own here."""
    now, run_id = app.cloud.blobs.now(), f"r{uuid4().hex[:15]}"
    line = name or f"l{run_id}"
    source = Source(folder=f"of-{line}", base_model="Phi-4")
    since = now + timedelta(seconds=next(_second))  # storage tells whole seconds
    run = Run(id=run_id, line=line, order=Order(uploaded=now), source=source, since=since, phase=phase)
    run = changed(run, waiting=Waiting(why="a seat", hold=hold) if hold else None, **changes)
    app.runs.create(run)
    return run


def line_with(app: App, run: Run, **fields: Any) -> Line:
    line = Line(id=run.line, folder=run.source.folder, base_model="Phi-4", endpoint=f"ft-{run.line}", **fields)
    assert app.lines.create(line)
    return line


def marks(app: App) -> dict[str, Mark]:
    return {found.key: mark for found in app.runs.open() if (mark := mark_in(found.metadata))}


def test_the_last_seat_goes_to_one_of_two_hosts(two: App) -> None:
    other = App.of(two.settings)
    runs = [record(two) for _ in range(12)]

    def ask(number: int) -> seats.Place:
        for _ in range(20):
            try:
                return seats.take((two, other)[number % 2], runs[number])
            except Transient:
                continue
        raise AssertionError("it never got through")

    try:
        with ThreadPoolExecutor(8) as pool:
            told = list(pool.map(ask, range(len(runs))))
    finally:
        other.cloud.close()
    assert [place.granted for place in told].count(True) == 2
    assert all(place.granted or (place.why and place.queued) for place in told)
    assert all(seats.look(two, run).granted or seats.look(two, run).queued for run in runs), "none was lost"


def test_who_waits_is_woken_by_the_end_of_a_run_that_leaves_nothing(two: App) -> None:
    a, b, c, d = (record(two) for _ in range(4))
    for run in (a, b, c, d):
        seats.take(two, run)
    line_with(two, a, serving=serving(a.id))
    seats.leave(two, a)
    assert [woken(two, run) for run in (c, d)] == [0, 0], "it went live: its line keeps the seat"
    assert seats.look(two, c).why.startswith("a free seat: 2 of MAX_LIVE_ENDPOINTS=2 lines serve")
    seats.leave(two, b)
    assert [woken(two, run) for run in (c, d)] == [1, 0]
    assert seats.look(two, c) == seats.Place(queued=False), "it is to take one"
    assert seats.take(two, c).granted


@pytest.mark.parametrize("what", ["serving", "retiring", "orphans", "rollout"])
def test_a_line_has_its_seat_as_long_as_anything_of_it_stands(two: App, what: str) -> None:
    run, now = record(two), two.cloud.blobs.now()
    kept: dict[str, Any] = {
        "serving": serving(run.id),
        "retiring": (Retiring(deployment="d", model="m:1", until=now),),
        "orphans": (Orphan(deployment="d", since=now),),
        "rollout": run.id,
    }
    seats.take(two, run)
    line = line_with(two, run, **{what: kept[what]})
    seats.leave(two, run)
    seats.settle(two, line)
    assert seats.overview(two).taken.startswith("1 of")
    seats.settle(two, Line(id=line.id, folder=line.folder, base_model="Phi-4", endpoint=line.endpoint))
    assert seats.overview(two).taken.startswith("0 of")


def test_a_record_that_is_lost_is_made_of_the_lines_and_the_runs_that_work(two: App) -> None:
    stands, trains, waits = record(two, phase=Phase.LIVE), record(two, phase=Phase.TRAINING), record(two)
    line_with(two, stands, serving=serving(stands.id))
    two.cloud.blobs.delete(STATE, layout.SEATS)
    assert seats.look(two, trains).granted, "it is on its way, whoever knew that before"
    assert seats.look(two, waits).why, "both seats are taken"


@pytest.mark.parametrize("broken", [b"", b"[]", b"{}", b'{"version": 1}', b'{"version": 1, "taken": 7}', b"\xff"])
def test_one_that_is_broken_is_made_again_kept_and_told(two: App, broken: bytes) -> None:
    run = record(two, phase=Phase.TRAINING)
    two.cloud.blobs.write(STATE, layout.SEATS, broken)
    assert seats.look(two, run).granted
    assert two.cloud.blobs.read(STATE, layout.damaged(layout.SEATS))[0] == broken
    assert any(each.startswith("state/seats.json could not be read") for each in unreadable(two))
    two.cloud.blobs.delete(STATE, layout.damaged(layout.SEATS))


def test_one_of_a_newer_app_is_left_alone(two: App) -> None:
    newer = b'{"version": 99, "taken": []}'
    two.cloud.blobs.write(STATE, layout.SEATS, newer)
    with pytest.raises(Transient, match="update the app"):
        seats.look(two, record(two))
    two.cloud.blobs.delete(STATE, layout.NEEDS)
    two.cloud.blobs.delete(STATE, layout.WATERMARK)
    sweep(two)
    assert [need.subject for need, _ in kept_needs(two)] == ["records/seats.json"], "whether or not anybody waits"
    status, body = views.status(two)
    assert status == 200
    assert "nothing is trained: state/seats.json can't be read" in body.decode()
    assert two.cloud.blobs.read(STATE, layout.SEATS)[0] == newer


def test_each_wait_for_a_seat_is_an_event_of_its_own(two: App) -> None:
    run = record(two)
    told = run.tell_of_seat(run.since, "a seat").tell_of_seat(run.since + timedelta(days=1), "a seat").outbox
    assert len({notice.id for notice in told}) == 2, "the cap was lowered while it trained"


@pytest.mark.parametrize("mode", ["report", "delete"])
def test_who_waits_for_a_seat_for_days_is_seen(two: App, mode: str) -> None:
    none = with_settings(two, MAX_LIVE_ENDPOINTS=0, CLEANUP_MODE=mode)
    run = record(none, hold="seat", since=two.cloud.blobs.now() - timedelta(days=3))
    seats.take(none, run)
    shown = msgspec.json.decode(views.status(none)[1], type=schema.StatusView)
    assert run.id in [each.id for each in shown.working]
    assert len([need for need in shown.needs if "1 run waits for a free seat" in need.what]) == (mode == "report")


def test_the_sweep_makes_up_for_a_crash_for_who_is_parked_and_for_what_somebody_deleted(two: App) -> None:
    crashed, gone = record(two), record(two)
    parked = record(two, hold="seat", parked=Parked(at=two.cloud.blobs.now(), why="a bug"))
    waits, last = record(two, hold="seat"), record(two, hold="seat")
    line = line_with(two, gone, serving=serving(gone.id))
    for run in (crashed, gone, parked, waits, last):
        seats.take(two, run)
    seats.leave(two, gone)
    assert not seats.stale(two, marks(two)).turn, "there is no seat: nobody is asked to look"
    two.cloud.blobs.delete(STATE, layout.marker("active", crashed.id))  # it ended, and nobody gave its seat back
    turn = list(seats.stale(two, marks(two)).turn)
    assert turn == [waits.id], "who is parked does not come, and holds nobody up"
    loaded = two.lines.load(line.id)
    assert loaded
    two.lines.save(loaded.record.without_endpoint(two.cloud.blobs.now()), loaded.etag)  # the cleanup missed it
    sweep(two)
    assert [woken(two, run) for run in (waits, last)] == [1, 1]


def test_where_the_cap_is_raised_the_sweep_wakes_whose_turn_it_is(two: App) -> None:
    runs = [record(two, hold="seat") for _ in range(5)]
    for run in runs:
        seats.take(two, run)
    queue = seats.stale(with_settings(two, MAX_LIVE_ENDPOINTS=4), marks(two))
    assert list(queue.turn) == [runs[2].id, runs[3].id]
    assert set(queue.waiting) == {run.id for run in runs[2:]}


def test_who_waits_costs_no_look_and_where_nobody_waits_the_sweep_asks_nothing(two: App) -> None:
    def costs() -> int:
        known = marks(two)
        with requests_of(two) as made:
            seats.stale(two, known)
        return made.requests

    for _ in range(2):
        seats.take(two, record(two))
    assert costs() == 0
    for _ in range(3):
        seats.take(two, record(two, hold="seat"))
    some = costs()
    for _ in range(9):
        seats.take(two, record(two, hold="seat"))
    assert costs() == some, "as much for many as for few: the record, and the lines that have a seat"
    assert some <= 3
