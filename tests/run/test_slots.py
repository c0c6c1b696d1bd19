"""Who may train, over the local cloud's blobs, with two hosts at once; lifecycle/test_slots.py has the rules."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from benchmarks.counting import requests_of
from localcloud.stack import Stack
from shared.api import views
from shared.app import App
from shared.errors import Transient
from shared.lifecycle.action import Action
from shared.lifecycle.phase import Hold, Phase
from shared.lifecycle.slots import Limits, Place, Shortage, Slots, taken
from shared.line.unreadable import stops_training, unreadable
from shared.line.waits import counted, kept_needs
from shared.records import layout
from shared.records.base import Order
from shared.records.layout import STATE
from shared.records.mark import Mark, mark_in
from shared.records.run import Claim, Ending, Parked, Run, Source, Waiting
from shared.records.store import TRIES, Unreadable
from shared.run import slots
from shared.sweep import sweep
from tests.kit.clouds import forget, later
from tests.kit.jobs import submitted
from tests.kit.records import changed, run_of, woken
from tests.kit.settings import with_settings


@pytest.fixture
def two(app: App) -> Iterator[App]:
    """At most two at once. The record is everybody's, so it is put back to nothing, and so are those it is made of."""
    forget(app)
    yield with_settings(app, MAX_ACTIVE_JOBS=2, MAX_JOBS_PER_DAY=100)
    forget(app)


def lost(app: App) -> None:
    app.cloud.blobs.delete(STATE, layout.SLOTS)


@pytest.fixture
def names() -> list[str]:
    return [f"r{uuid4().hex[:15]}" for _ in range(4)]


def stopped(app: App) -> str:
    return stops_training(app.cloud.blobs.answers(STATE, layout.SLOTS)[1])


def etag(app: App) -> str | None:
    found = app.cloud.blobs.head(STATE, layout.SLOTS)
    return found.etag if found else None


def recorded(app: App, run_id: str, phase: Phase, **changes: Any) -> None:
    now, source = app.cloud.blobs.now(), Source(folder="f", base_model="m")
    run = Run(id=run_id, line="l", order=Order(uploaded=now), source=source, since=now, phase=phase)
    app.runs.create(changed(run, **changes))
    app.runs.retire(run_id)


def a_bug(app: App) -> Parked:
    """What parks a run."""
    return Parked(at=app.cloud.blobs.now(), why="a bug")


def waiting(hold: Hold) -> Waiting:
    return Waiting(why="its turn", hold=hold)


def marks(app: App) -> dict[str, Mark]:
    """What a listing says of the open runs, as the sweep has it."""
    return {found.key: mark for found in app.runs.open() if (mark := mark_in(found.metadata))}


def turn(app: App) -> list[str]:
    """Whose turn it is, once the sweep has come."""
    return list(slots.stale(app, marks(app)).turn)


def test_a_look_changes_nothing(two: App, names: list[str]) -> None:
    assert slots.look(two, names[0]) == Place()
    made = etag(two)
    assert made, "but for a record that was not there"
    assert slots.free(two, names[0]) == []
    assert turn(two) == []
    assert etag(two) == made


def test_a_slot_is_taken_kept_and_passed_on(two: App, names: list[str]) -> None:
    a, b, c, d = names
    assert slots.take(two, a) == slots.take(two, b) == Place(granted=True)
    assert slots.take(two, c).why == "a free slot: 2 of MAX_ACTIVE_JOBS=2 are taken"
    assert slots.take(two, d).why.endswith("1 run is before it")
    written = etag(two)
    assert slots.take(two, a) == Place(granted=True)
    assert slots.look(two, d) == slots.take(two, d)
    assert etag(two) == written, "what changes nothing is not written"
    assert slots.free(two, a) == [c]
    assert slots.free(two, a) == [c], "a crash before c was woken must not strand it"
    assert slots.look(two, c) == Place(), "c is to take it"
    assert slots.take(two, c) == Place(granted=True)
    assert slots.free(two, d) == []
    assert slots.free(two, b) == []


def test_the_last_slot_goes_to_one_of_two_hosts(two: App) -> None:
    other = App.of(two.settings)
    runs = [f"r{uuid4().hex[:15]}" for _ in range(24)]

    def ask(number: int) -> Place:
        for _ in range(20):
            try:
                return slots.take((two, other)[number % 2], runs[number])
            except Transient:
                continue
        raise AssertionError("it never got through")

    try:
        with ThreadPoolExecutor(8) as pool:
            told = list(pool.map(ask, range(len(runs))))
    finally:
        other.cloud.close()
    assert [place.granted for place in told].count(True) == 2
    assert all(place.granted or place.why for place in told)
    assert all(slots.look(two, run).granted or slots.look(two, run).why for run in runs), "none was lost"


def test_somebody_faster_is_met_by_trying_again_and_then_later(two: App, names: list[str]) -> None:
    calls = 0

    def meddle(now: Slots) -> Slots:
        nonlocal calls
        calls += 1
        two.cloud.blobs.write(STATE, layout.SLOTS, msgspec.json.encode(now))
        return taken(now, names[0], Limits(active=1, day=1), two.cloud.blobs.now())

    slots.take(two, names[1])
    with pytest.raises(Transient, match=r"slots\.json was changed by others") as caught:
        slots._record.changed(two, meddle)
    assert calls == TRIES
    assert caught.value.after == timedelta(seconds=2)
    assert not slots.look(two, names[0]).granted


def test_what_ended_or_never_was_holds_no_slot(two: App, names: list[str]) -> None:
    trains, gone, dead, waits = names
    recorded(two, trains, Phase.TRAINING)
    recorded(two, dead, Phase.LIVE)
    recorded(two, waits, Phase.PREPARED)
    slots.take(two, trains)
    slots.take(two, gone)
    slots.take(two, dead)
    slots.take(two, waits)
    assert turn(two) == [waits]
    assert slots.look(two, trains) == Place(granted=True)
    assert turn(two) == [waits], "its wake-up may have been lost"
    assert slots.take(two, waits) == Place(granted=True)
    written = etag(two)
    assert turn(two) == []
    assert etag(two) == written


def test_one_that_is_parked_blocks_nobody(two: App, names: list[str]) -> None:
    _, parked, waits, trains = names
    recorded(two, parked, Phase.PREPARED, parked=a_bug(two))
    recorded(two, waits, Phase.PREPARED)
    recorded(two, trains, Phase.TRAINING)
    slots.take(two, trains)
    slots.take(two, names[0])
    slots.take(two, parked)
    slots.take(two, waits)
    assert turn(two) == [waits]


@pytest.mark.parametrize("why", ["parked", "ending"])
def test_one_at_the_head_that_does_not_come_lets_those_behind_it_go_on(two: App, names: list[str], why: str) -> None:
    trains, head, second, third = names
    full, room = with_settings(two, MAX_ACTIVE_JOBS=1), two
    ending = Ending(phase=Phase.CANCELLED, why="cancelled by ann")
    recorded(two, trains, Phase.TRAINING)
    assert slots.take(full, trains).granted
    for run in (head, second, third):
        recorded(two, run, Phase.PREPARED, waiting=waiting("slot"))
        slots.take(full, run)
    put(two, head, **({"parked": a_bug(two)} if why == "parked" else {"ending": ending}))
    assert turn(full) == [], "there is no slot, for whomever"
    assert turn(room) == [second]
    assert slots.take(room, second).granted
    assert "1 run is before it" not in slots.look(room, third).why
    assert slots.look(room, head) == Place(), "it asks once it goes on"
    assert "1 run is before it" in slots.take(room, head).why, "and has lost its place"


def test_who_waits_for_a_slot_is_told_with_whose_turn_it_is(two: App, names: list[str]) -> None:
    one = with_settings(two, MAX_ACTIVE_JOBS=1)
    assert slots.take(one, names[0]).granted
    recorded(two, names[0], Phase.TRAINING)
    for run in names[1:]:
        recorded(two, run, Phase.PREPARED, waiting=waiting("slot"))
        slots.take(one, run)
    assert set(slots.stale(one, marks(two)).waiting) == set(names[1:])
    assert set(slots.stale(two, marks(two)).waiting) == set(names[1:]), "whose turn it is waits until it has taken one"


def test_who_is_listed_as_one_that_trains_is_not_read_again(two: App, names: list[str]) -> None:
    turn(two)
    with requests_of(two) as nobody:
        turn(two)
    for run in names[:2]:
        recorded(two, run, Phase.TRAINING)
        slots.take(two, run)
    with requests_of(two) as listed:
        assert turn(two) == []
    assert listed.requests == nobody.requests
    with requests_of(two) as unlisted:
        assert list(slots.stale(two, {}).turn) == []
    assert unlisted.requests == nobody.requests - 1 + 2, "no listing, and a record each"


def test_runs_that_are_parked_give_their_slots_back_and_ask_again(two: App, names: list[str]) -> None:
    a, b, waits, other = names
    for run in (a, b):
        recorded(two, run, Phase.PREPARED, parked=a_bug(two))
        assert slots.take(two, run).granted
    for run in (waits, other):
        recorded(two, run, Phase.PREPARED, waiting=waiting("slot"))
        assert not slots.take(two, run).granted
    assert turn(two) == [waits, other], "they have no jobs"
    assert slots.take(two, waits).granted
    assert slots.take(two, other).granted
    assert slots.look(two, a) == Place(), "it asks once it goes on"
    assert not slots.take(two, a).granted


def test_one_that_is_parked_keeps_its_slot_as_long_as_its_job_runs(two: App, names: list[str], cloud: Stack) -> None:
    cloud.control("POST", "/_local/pretend", {"jobs": {"seconds": 3600}})
    submits, trains, waits, _ = names
    recorded(two, submits, Phase.PREPARED, parked=a_bug(two))  # the job is there, and the record does not know of it
    recorded(two, trains, Phase.TRAINING, parked=a_bug(two))
    jobs = [submitted(two, run) for run in (submits, trains)]
    try:
        assert slots.take(two, submits).granted
        assert slots.take(two, trains).granted
        recorded(two, waits, Phase.PREPARED, waiting=waiting("slot"))
        assert not slots.take(two, waits).granted
        assert turn(two) == []
        for job in jobs:
            cloud.control("POST", f"/_local/jobs/{job}", {"status": "Completed"})
        cloud.control("POST", "/_local/faults", {"method": "GET", "path": "/jobs/", "status": 403, "count": None})
        assert turn(two) == [], "its job can't be looked at"
        cloud.control("DELETE", "/_local/faults")
        assert turn(two) == [waits]
        assert not slots.look(two, submits).granted
        assert not slots.look(two, trains).granted
    finally:
        cloud.control("DELETE", "/_local/faults")
        for job in jobs:
            two.cloud.jobs.cancel(job)
        cloud.control("DELETE", "/_local/pretend")


def test_a_parked_run_that_trains_keeps_its_slot_where_no_job_is_to_be_seen(two: App, names: list[str]) -> None:
    """Azure may show none for a moment, and the run would not ask for another slot."""
    recorded(two, names[0], Phase.TRAINING, parked=a_bug(two))
    slots.take(two, names[0])
    assert turn(two) == []
    assert slots.look(two, names[0]).granted


def test_quota_is_waited_for_in_line_by_phase_and_attempt_and_forgotten_with_it(two: App, names: list[str]) -> None:
    for name in names[:3]:
        recorded(two, name, Phase.PREPARED, waiting=waiting("quota"))
        slots.wait_for_quota(two, run_of(two, name))
    slots.wait_for_quota(two, run_of(two, names[1]))  # again: it keeps its place
    first, second, third = (slots.shortage(two, run_of(two, name)) for name in names[:3])
    assert first == Shortage(queued=True)
    assert second == third == Shortage(queued=True, ahead=names[0])
    recorded(two, names[3], Phase.REGISTERED)
    assert slots.shortage(two, run_of(two, names[3])) == Shortage(), "that is another quota"
    put(two, names[0], waiting=waiting("pin"))
    assert slots.shortage(two, run_of(two, names[2])) == Shortage(queued=True, ahead=names[1])
    turn(two)
    put(two, names[0], waiting=waiting("quota"))
    assert slots.shortage(two, run_of(two, names[2])).ahead == names[0], "it may wait for something else meanwhile"
    put(two, names[0], waiting=waiting("quota"), phase=Phase.REGISTERED)
    put(two, names[1], number=2)
    assert not slots.shortage(two, run_of(two, names[0])).queued
    assert slots.shortage(two, run_of(two, names[2])) == Shortage(queued=True)
    turn(two)
    assert len(json.loads(two.cloud.blobs.read(STATE, layout.SLOTS)[0])["short"]) == 1


def put(app: App, run_id: str, **changes: Any) -> None:
    loaded = app.runs.load(run_id)
    assert loaded
    app.runs.save(changed(loaded.record, **changes), loaded.etag)


def test_a_record_that_somebody_broke_keeps_its_slot(two: App, names: list[str]) -> None:
    two.cloud.blobs.write(STATE, f"runs/{names[0]}.json", b"{}")
    slots.take(two, names[0])
    try:
        assert turn(two) == []
        assert slots.look(two, names[0]).granted
    finally:
        two.cloud.blobs.delete(STATE, f"runs/{names[0]}.json")


def test_a_record_that_is_lost_is_made_of_the_runs_that_work(two: App, names: list[str]) -> None:
    trains, submits, waits, new = names
    broken, now = f"r{uuid4().hex[:15]}", two.cloud.blobs.now()
    recorded(two, trains, Phase.TRAINING)
    recorded(two, submits, Phase.PREPARED, claim=Claim(action=Action.SUBMIT_JOB, until=now))
    recorded(two, waits, Phase.PREPARED, waiting=waiting("slot"))
    recorded(two, f"r{uuid4().hex[:15]}", Phase.PREPARED, claim=Claim(action=Action.RESOLVE_PLAN, until=now))
    recorded(two, f"r{uuid4().hex[:15]}", Phase.REGISTERED)
    for blob in (f"runs/{broken}.json", f"active/{broken}"):
        two.cloud.blobs.write(STATE, blob, b"{")
    assert slots.take(two, new).why == "a free slot: 2 of MAX_ACTIVE_JOBS=2 are taken, 1 run is before it"
    lost(two)
    assert slots.look(two, submits) == slots.look(two, trains) == Place(granted=True)
    assert turn(two) == []
    assert slots.free(two, trains) == [waits]
    two.cloud.blobs.delete(STATE, f"runs/{broken}.json")


@pytest.mark.parametrize("data", [b"", b'{"holding": {"r', b"[]", b"{}", b'{"version": 1}', b'{"holding": 7}', b"\xff"])
def test_a_record_that_is_broken_is_made_of_the_runs_that_work_kept_and_told(
    two: App, cloud: Stack, names: list[str], data: bytes
) -> None:
    trains, waits, *_ = names
    recorded(two, trains, Phase.TRAINING)
    recorded(two, waits, Phase.PREPARED, waiting=waiting("slot"))
    two.cloud.blobs.write(STATE, layout.SLOTS, data)
    try:
        assert slots.look(two, trains).granted
        assert turn(two) == [waits]
        assert two.cloud.blobs.read(STATE, layout.damaged(layout.SLOTS))[0] == data
        [told] = [each for each in unreadable(two) if layout.SLOTS in each]
        assert told.startswith("state/slots.json could not be read, and was made anew at 20")
        events = [each["event"] for each in cloud.control("GET", "/_local/eventgrid")["events"]]
        assert [e["data"]["reason"] for e in events if e.get("subject") == "records/slots.json"][-1] == told
        assert stopped(two) == ""
    finally:
        two.cloud.blobs.delete(STATE, layout.damaged(layout.SLOTS))


def test_a_newer_app_s_record_is_left_as_it_is_and_people_hear_daily_that_nothing_is_trained(
    two: App, cloud: Stack, names: list[str]
) -> None:
    def told() -> list[str]:
        events = [each["event"] for each in cloud.control("GET", "/_local/eventgrid")["events"]]
        return [e["data"]["reason"] for e in events if e.get("subject") == "records/slots.json" and "stands" in str(e)]

    known = len(told())
    two.cloud.blobs.write(STATE, layout.SLOTS, b'{"version": 99}')
    before = etag(two)
    two.cloud.blobs.delete(STATE, layout.NEEDS)
    with pytest.raises(Unreadable, match="update the app"):
        slots.take(two, names[0])
    recorded(two, names[1], Phase.PREPARED, waiting=waiting("slot"))
    for _ in range(2):
        sweep(two)
    assert not woken(two, names[1]), "it stays where it is"
    assert len(told()) == known + 1
    assert "update the app" in told()[-1]
    assert needed(two) == ["record slots.json"]
    assert counted(two) == len(list(kept_needs(two)))
    assert "update the app" in stopped(two)
    assert stopped(two) in [need["what"] for need in json.loads(views.status(two)[1])["needs"]]
    later(two, cloud, timedelta(days=1))
    sweep(two)
    assert len(told()) == known + 2
    assert etag(two) == before
    lost(two)
    sweep(two)
    assert needed(two) == []


def needed(app: App) -> list[str]:
    """What waits for a person because of the slots; runs of other tests may wait as well."""
    return [need.key for need, _ in kept_needs(app) if "slots" in need.key]


def test_who_trains_where_the_record_is_lost_counts_for_the_day(two: App, names: list[str]) -> None:
    one = with_settings(two, MAX_ACTIVE_JOBS=3, MAX_JOBS_PER_DAY=1)
    long_ago, lately, new, _ = names
    now = one.cloud.blobs.now()
    recorded(one, long_ago, Phase.TRAINING, since=now - timedelta(hours=25))
    recorded(one, lately, Phase.TRAINING, since=now - timedelta(hours=1))
    told = slots.take(one, new)
    assert "1 of MAX_JOBS_PER_DAY=1 jobs were started" in told.why
    assert told.room_in == pytest.approx(23 * 3600, abs=10)


def test_one_whose_job_runs_gets_a_slot_whatever_the_limits_say(two: App, names: list[str]) -> None:
    a, b, c, d = names
    for run in (a, b, c):
        slots.take(two, run)
    slots.hold(two, c, two.cloud.blobs.now())
    assert slots.look(two, c) == Place(granted=True)
    assert slots.take(two, d).why == "a free slot: 3 of MAX_ACTIVE_JOBS=2 are taken"
    written = etag(two)
    slots.hold(two, c, two.cloud.blobs.now())
    assert etag(two) == written
    assert slots.free(two, a) == []
    assert slots.free(two, c) == [d]


def test_raised_limits_let_more_in_with_the_next_sweep(two: App, names: list[str]) -> None:
    for run in names:
        recorded(two, run, Phase.PREPARED)
        slots.take(two, run)
    more = with_settings(two, MAX_ACTIVE_JOBS=3)
    assert turn(two) == []
    assert turn(more) == [names[2]]


@pytest.mark.parametrize("ends", ["by itself", "by the sweep"])
def test_a_start_counts_for_the_day_whatever_became_of_the_run(two: App, names: list[str], ends: str) -> None:
    one = with_settings(two, MAX_JOBS_PER_DAY=2)
    first, second, third, fourth = names
    for run in (first, second):
        assert slots.take(one, run).granted
        assert slots.take(one, run).granted, "that is the same start"
    if ends == "by itself":
        for run in (first, second):
            slots.free(one, run)
    else:
        turn(one)  # they have no records
    assert slots.look(one, first) == slots.look(one, second) == Place()
    recorded(two, third, Phase.PREPARED, waiting=waiting("slot"))
    told = slots.take(one, third)
    assert not told.granted
    assert "2 of MAX_JOBS_PER_DAY=2 jobs were started in the last 24 h" in told.why
    assert turn(one) == [], "both slots are free, and the day is full"
    assert slots.take(with_settings(two, MAX_JOBS_PER_DAY=3), third).granted
    assert "3 of MAX_JOBS_PER_DAY=3 jobs" in slots.take(with_settings(two, MAX_JOBS_PER_DAY=3), fourth).why


def test_those_whom_the_day_holds_up_learn_that_their_turn_is_nearer(two: App, names: list[str]) -> None:
    one = with_settings(two, MAX_JOBS_PER_DAY=1)
    a, b, c, _ = names
    assert slots.take(one, a).granted
    told = slots.take(one, b)
    assert "MAX_JOBS_PER_DAY=1" in told.why
    assert told.room_in
    assert 86390 < told.room_in < 86402, "the service tells whole seconds"
    assert slots.take(one, c).room_in is None, "nobody is woken by a time who has no slot then"
    assert slots.free(one, a) == [b, c], "c has to set its alarm now"
    assert slots.take(one, c).room_in is not None


def test_the_sweep_too_tells_those_whom_the_day_holds_up(two: App, names: list[str]) -> None:
    one = with_settings(two, MAX_ACTIVE_JOBS=1, MAX_JOBS_PER_DAY=1)
    recorded(two, names[1], Phase.PREPARED)
    slots.take(one, names[0])
    assert slots.take(one, names[1]).room_in is None
    assert turn(one) == [names[1]], "names[0] does not exist, so that the other one has to set its alarm"
    assert turn(one) == [], "once is enough"


@pytest.mark.parametrize("why", ["parked", "ending", "attempt"])
def test_who_waits_for_quota_and_will_not_take_it_lets_those_behind_it_go_on(
    two: App, names: list[str], why: str
) -> None:
    for name in names[:2]:
        recorded(two, name, Phase.PREPARED, waiting=waiting("quota"))
        slots.wait_for_quota(two, run_of(two, name))
    assert slots.shortage(two, run_of(two, names[1])).ahead == names[0]
    changes = {
        "parked": a_bug(two),
        "ending": Ending(phase=Phase.CANCELLED, why="ada"),
        "attempt": run_of(two, names[0]).without_machines(two.cloud.blobs.now(), "none left").attempt,
    }
    put(two, names[0], **{why: changes[why]})
    assert slots.shortage(two, run_of(two, names[1])) == Shortage(queued=True)
