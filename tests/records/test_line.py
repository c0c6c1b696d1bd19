"""What a line's record says of its endpoint, and what a run may make of that."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest

from shared.lifecycle.giving_way import Pace
from shared.records.base import Order
from shared.records.line import (
    TEARDOWN,
    TRAFFIC,
    TRIED_AGAIN,
    Empty,
    Line,
    Newest,
    NotMade,
    Removed,
    Retiring,
    Standing,
    State,
    TearingDown,
    adoptable,
    newer_that_serves,
    newer_to_train,
    serves_same,
)
from shared.records.run import Data, Restores
from tests.kit.carried import AT, EMPTY, MINUTE
from tests.kit.records import changed, serving

LINE = Line(id="l1", folder="faq", base_model="Phi-4", endpoint="e", state=Standing(), serving=serving("r1"))
STATES: list[State] = [
    NotMade(),
    Standing(noticed=AT, no_traffic=AT),
    Empty(since=AT),
    TearingDown(whole=True, emptied=AT),
    TearingDown(whole=False),
    Removed(since=AT + MINUTE, emptied=AT),
]


def test_people_hear_of_a_refusal_at_once_and_once_a_day_of_all_in_one_event() -> None:
    day = timedelta(days=1)
    once = LINE.refuse({"r1-1": "a lock", "r2-1": "a policy", TRAFFIC: "a lock"}, AT)
    assert sorted(each.type for each in once.outbox) == [
        "Droptune.Endpoint.DeleteRefused",
        "Droptune.Endpoint.TrafficRefused",
    ]
    assert len({each.id for each in once.outbox}) == 2
    (told,) = [each.why for each in once.outbox if "Delete" in each.type]
    assert "deployment r1-1 can't be deleted, and still costs: a lock" in told
    assert "deployment r2-1 can't be deleted, and still costs: a policy" in told
    again = once.refuse({"r1-1": "a lock"}, AT + day - MINUTE)
    assert again.outbox == once.outbox
    assert (again.refused["r1-1"].since, again.refused["r1-1"].at) == (AT, AT + day - MINUTE)
    assert len(again.refuse({"r1-1": "a lock"}, AT + day).outbox) == 3
    assert LINE.refuse({}, AT) == LINE
    assert again.allow(["r1-1", TRAFFIC, "r9-1"]).refused.keys() == {"r2-1"}


def test_a_refusal_is_believed_for_less_time_than_it_takes_to_try_again() -> None:
    line = LINE.refuse({"r1-1": "a lock"}, AT)
    assert line.is_stuck("r1-1", AT + 9 * MINUTE)
    assert not line.is_stuck("r1-1", AT + TRIED_AGAIN)
    assert not line.is_stuck("r2-1", AT)


def test_what_is_being_torn_down_does_not_serve_the_same_for_long() -> None:
    """Else the data that are uploaded again would end as unchanged while their endpoint goes."""
    run = changed(EMPTY, data=Data(fingerprint="f"))
    assert serves_same(LINE, run)
    assert not serves_same(LINE, changed(EMPTY, data=Data(fingerprint="other")))
    assert not serves_same(LINE, EMPTY), "nothing is known of its data yet"
    assert not serves_same(replace(LINE, state=TearingDown(whole=False)), run)


def test_a_rollback_takes_what_still_stands_and_nothing_that_is_being_deleted() -> None:
    run = changed(EMPTY, model="m:0")
    there = Retiring(deployment="r0-1", model="m:0", until=AT)
    assert adoptable(replace(LINE, retiring=(there,)), run) == there
    assert adoptable(replace(LINE, retiring=(replace(there, going=True),)), run) is None
    assert adoptable(replace(LINE, retiring=(replace(there, model="m:2"),)), run) is None


def test_who_waits_is_in_the_way_of_others_that_do_and_not_of_what_it_waits_for() -> None:
    trains, second, third = (replace(EMPTY, id=f"r{at}", order=Order(uploaded=AT + at * MINUTE)) for at in range(3))
    newest = Newest(run=trains.id, order=trains.order)
    line = replace(LINE, newest=newest, waits=Newest(run=third.id, order=third.order))
    assert [newer_to_train(line, run) for run in (trains, second, third)] == [None, third.id, None]
    done = replace(LINE, newest=line.waits)
    assert [newer_to_train(done, run) for run in (trains, second, third)] == [third.id, third.id, None]
    assert newer_to_train(None, trains) is None


def test_a_line_of_before_reads_as_one_in_which_nobody_waits() -> None:
    old = {key: value for key, value in msgspec.to_builtins(LINE).items() if key not in ("waits", "pace")}
    assert msgspec.convert(old, Line) == LINE
    assert (LINE.waits, LINE.pace) == (None, Pace())


def test_what_is_replaced_is_never_newer_than_what_is_to_serve_instead_of_it() -> None:
    older = replace(EMPTY, order=Order(uploaded=AT - timedelta(days=1)))
    line = replace(LINE, latest=serving("r2", order=Order(uploaded=AT)))
    assert newer_that_serves(line, older) == "r2"
    assert newer_that_serves(line, replace(older, order=Order(uploaded=AT, ordinal=1))) is None
    back = Restores(run="r1", instead_of="r2", rollback=True)
    assert newer_that_serves(line, replace(older, restores=back)) is None
    assert newer_that_serves(line, replace(older, restores=replace(back, instead_of="r3"))) == "r2"


@pytest.mark.parametrize("state", STATES, ids=str)
def test_an_endpoint_is_empty_since_it_became_so_whatever_comes_after(state: State) -> None:
    """Its time decides when the shell goes, and what was saved."""
    line, later = replace(LINE, state=state), AT + timedelta(days=3)
    since = AT if line.emptied else later
    assert line.without_serving(later).state == Empty(since=since)
    assert line.without_endpoint(later).state == Removed(since=later, emptied=since)
    assert line.without_serving(later).serving is None
    gone = replace(line, retiring=(Retiring(deployment="d", model="", until=AT),)).without_endpoint(later)
    assert (gone.serving, gone.retiring, gone.orphans) == (None, (), ())


def test_where_nothing_ever_served_nothing_was_saved() -> None:
    line = replace(LINE, state=NotMade(), serving=None).without_endpoint(AT)
    assert line.state == Removed(since=AT, emptied=None)


@pytest.mark.parametrize("state", STATES, ids=str)
def test_what_is_missed_is_so_until_it_is_seen_again(state: State) -> None:
    line = replace(LINE, state=state)
    missed = line.with_missing(AT)
    watched = not isinstance(state, TearingDown | Removed)
    assert missed.missing == (AT if watched else None)
    assert missed.with_missing(None) == line
    assert (missed.emptied, missed.removed, missed.noticed) == (line.emptied, line.removed, line.noticed)


def test_people_are_told_again_of_a_teardown_that_is_not_tried_and_nothing_else_changes() -> None:
    """Whether it is worth another try is as it was: one that nobody knows the rule of costs callers a minute."""
    day = timedelta(days=1)
    line = LINE.refuse({TEARDOWN: "odd"}, AT, unclear=True)
    assert line.remind(AT + day - MINUTE) == line
    told = line.remind(AT + day)
    assert [each.type for each in told.outbox[len(line.outbox) :]] == ["Droptune.Endpoint.DeleteRefused"]
    assert "odd" in told.outbox[-1].why
    assert told.refused[TEARDOWN] == replace(line.refused[TEARDOWN], told=AT + day)
    assert told.remind(AT + day + MINUTE) == told
    assert LINE.remind(AT) == LINE
