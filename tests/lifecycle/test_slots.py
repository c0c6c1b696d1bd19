"""Who may train: the rules, by property."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shared.lifecycle.slots import (
    DAY,
    Limits,
    Place,
    Slots,
    freed,
    granted,
    in_order,
    passed_on,
    place,
    room,
    taken,
    unstarted,
    upcoming,
    waited_longer,
    would_get,
)

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
LIMITS = Limits(active=2, day=5)


def asked(before: Slots, *runs: str, at: datetime = START, limits: Limits = LIMITS) -> Slots:
    for number, run in enumerate(runs):
        before = taken(before, run, limits, at + timedelta(seconds=number))
    return before


def test_who_comes_first_trains_first_and_the_others_wait_in_order() -> None:
    full = asked(Slots(), "d", "c", "b", "a")
    assert set(full.holding) == {"d", "c"}
    assert in_order(full) == ["b", "a"]
    told = place(full, "a", LIMITS, START + HOUR)
    assert told == Place(why="a free slot: 2 of MAX_ACTIVE_JOBS=2 are taken, 1 run is before it")
    assert place(full, "b", LIMITS, START + HOUR).why == "a free slot: 2 of MAX_ACTIVE_JOBS=2 are taken"
    assert place(full, "d", LIMITS, START + HOUR) == Place(granted=True)


def test_the_order_does_not_hang_on_the_clock_nor_on_a_dictionary() -> None:
    full = asked(Slots(), "x", "y")
    for run, at in (("b", START + HOUR), ("c", START + HOUR), ("a", START)):
        full = taken(full, run, LIMITS, at)
    assert in_order(full) == ["b", "c", "a"]
    same = replace(full, waiting={"p": START, "o": START, "n": START - HOUR})
    assert in_order(same) == ["n", "o", "p"]


def test_who_would_get_a_slot_that_is_given_back() -> None:
    full = asked(Slots(), "x", "y")
    assert would_get(full, "new", "x", LIMITS, START + HOUR)
    assert not would_get(full, "new", "z", LIMITS, START + HOUR), "it frees none"
    assert not would_get(asked(full, "b"), "new", "x", LIMITS, START + HOUR), "it is another one's"
    assert would_get(asked(full, "b"), "b", "x", LIMITS, START + HOUR)
    assert not would_get(full, "new", "x", Limits(active=2, day=2), START + HOUR), "the day's limit lets none start"


def test_a_start_that_was_refused_does_not_count() -> None:
    full = asked(Slots(), "x", "y", "z")
    left = freed(unstarted(full, "y"), {"y"})
    assert left == replace(asked(Slots(), "x"), waiting=full.waiting)
    assert unstarted(full, "z") == full, "it waits, and has not started"


def test_who_replaces_one_that_waits_has_its_place() -> None:
    full = asked(Slots(), "x", "y", "a", "b", "c")
    after = passed_on(full, "a", "c")
    assert in_order(after) == ["c", "b"]
    assert after.holding == full.holding
    for before, run in (("c", "a"), ("x", "c"), ("a", "new"), ("new", "a")):
        assert passed_on(full, before, run) == full


def test_nobody_overtakes_one_that_has_room() -> None:
    left = freed(asked(Slots(), "d", "c", "b", "a"), {"c"})
    assert upcoming(left, LIMITS) == ["b"]
    late = taken(left, "a", LIMITS, START + HOUR)
    assert (
        place(late, "a", LIMITS, START + HOUR).why
        == "a free slot: 1 of MAX_ACTIVE_JOBS=2 are taken, 1 run is before it"
    )
    assert "b" in taken(late, "b", LIMITS, START + HOUR).holding


def test_the_day_says_when_a_run_s_turn_comes_and_is_right() -> None:
    day = Limits(active=3, day=2)
    full = asked(Slots(), "a", "b", "c", "d", limits=day)
    told = place(full, "c", day, START + HOUR)
    assert told.why == "its turn at 2026-11-23 12:00 UTC: 2 of MAX_JOBS_PER_DAY=2 jobs were started in the last 24 h"
    assert told.room_in == 23 * 3600
    full = freed(full, {"a", "b"})
    second = place(full, "d", day, START + HOUR)
    assert second.why == (
        "its turn at 2026-11-23 12:01 UTC: 2 of MAX_JOBS_PER_DAY=2 jobs were started in the last 24 h, "
        "1 run is before it"
    )
    for run, seconds in (("c", told.room_in), ("d", second.room_in)):
        assert seconds
        due = START + HOUR + timedelta(seconds=seconds)
        early = taken(full, run, day, due - timedelta(seconds=1))
        assert run not in early.holding
        full = taken(full, run, day, due)
        assert run in full.holding


def test_more_may_wait_for_the_day_than_start_in_one() -> None:
    wide = Limits(active=10, day=2)
    waiting = Slots(waiting=dict.fromkeys("abcde", START))
    told = place(waiting, "e", wide, START)
    assert told.room_in == DAY.total_seconds()
    assert place(waiting, "b", wide, START) == Place()


def test_a_start_counts_for_a_day_whatever_became_of_it() -> None:
    day = Limits(active=1, day=1)
    after = freed(asked(Slots(), "a", limits=day), {"a"})
    assert "b" not in taken(after, "b", day, START + DAY - timedelta(seconds=1)).holding
    assert taken(after, "b", day, START + DAY).started == (START + DAY,)


@given(st.dictionaries(st.text(max_size=3), st.integers(0, 5)), st.text(max_size=3))
def test_those_before_one_have_waited_as_long_for_quota_and_all_have_if_it_has_not(
    since: dict[str, int], run: str
) -> None:
    short = {each: START + timedelta(hours=hours) for each, hours in since.items()}
    ahead = waited_longer(Slots(short=short), run)
    assert run not in ahead
    assert [short[each] for each in ahead] == sorted(short[each] for each in ahead)
    if run in short:
        behind = set(short) - set(ahead) - {run}
        assert all(short[each] <= short[run] for each in ahead)
        assert all(short[each] >= short[run] for each in behind)
        assert not any(run in waited_longer(Slots(short=short), each) for each in ahead)
    else:
        assert set(ahead) == set(short)


class Admission(RuleBasedStateMachine):
    """Runs that ask, die, are woken and end in any order, with a sweep now and then. Time goes on in hours.

    A run waits for a wake-up or for the time that it was told; a wake-up may get lost by a crash.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.slots = Slots()
        self.limits = Limits(active=3, day=4)
        self.starts: list[datetime] = []
        self.alarms: dict[str, datetime] = {}
        self.woken: set[str] = set()
        self.lost = False
        self.names = iter(f"r{number:03}" for number in range(999, 0, -1))

    def ask(self, run: str) -> None:
        was = self.slots
        self.slots = taken(was, run, self.limits, self.now)
        assert taken(self.slots, run, self.limits, self.now) is self.slots
        self.woken.discard(run)
        self.alarms.pop(run, None)
        told = place(self.slots, run, self.limits, self.now)
        assert told.granted or told.why
        if told.granted and run not in was.holding:
            self.starts.append(self.now)
        if told.room_in is not None:
            assert told.room_in > 0
            self.alarms[run] = self.now + timedelta(seconds=told.room_in)

    @rule()
    def a_new_run_asks(self) -> None:
        self.ask(next(self.names))

    @rule(data=st.data(), crash=st.booleans())
    def one_ends(self, data: st.DataObject, crash: bool) -> None:
        there = sorted({*self.slots.holding, *self.slots.waiting})
        if there:
            run = data.draw(st.sampled_from(there))
            self.slots = freed(self.slots, {run})
            assert freed(self.slots, {run}) is self.slots
            self.woken.discard(run)
            self.alarms.pop(run, None)
            again = upcoming(self.slots, self.limits)
            if crash:
                self.lost = True  # it has to be called again, or the sweep comes
            else:
                self.woken |= set(again)

    @precondition(lambda self: self.woken)
    @rule(data=st.data())
    def one_that_was_woken_asks(self, data: st.DataObject) -> None:
        self.ask(data.draw(st.sampled_from(sorted(self.woken))))

    @rule(hours=st.integers(1, 30))
    def time_goes_on(self, hours: int) -> None:
        self.now += hours * HOUR
        self.woken |= {run for run, due in self.alarms.items() if due <= self.now}

    @rule()
    def the_sweep_comes(self) -> None:
        self.woken |= set(upcoming(self.slots, self.limits))
        self.lost = False

    @rule(active=st.integers(1, 4), day=st.integers(1, 6))
    def the_limits_change(self, active: int, day: int) -> None:
        """Only upwards: lower ones hold for what comes."""
        self.limits = Limits(active=max(active, self.limits.active), day=max(day, self.limits.day))
        self.lost = True

    @invariant()
    def no_more_train_than_may(self) -> None:
        assert len(self.slots.holding) <= self.limits.active

    @invariant()
    def no_more_start_in_any_day_than_may(self) -> None:
        for first in self.starts:
            assert len([start for start in self.starts if first <= start < first + DAY]) <= self.limits.day

    @invariant()
    def none_is_in_two_places(self) -> None:
        assert not set(self.slots.holding) & set(self.slots.waiting)

    @invariant()
    def nobody_waits_unwoken_while_there_is_room(self) -> None:
        if not self.lost:
            turn = in_order(self.slots)[: room(self.slots, self.limits, self.now)]
            assert set(turn) <= self.woken

    def teardown(self) -> None:
        """Whatever happened: with the sweep, all that wait get their turn, the oldest first."""
        order = in_order(self.slots)
        for run in order:
            self.now += DAY
            for holder in list(self.slots.holding):
                self.slots = freed(self.slots, {holder})
            assert upcoming(self.slots, self.limits)[0] == run
            self.ask(run)
            assert run in self.slots.holding


TestAdmission = Admission.TestCase


def done(slots: Slots, run: str, what: str, now: datetime) -> Slots:
    match what:
        case "asks":
            return taken(slots, run, LIMITS, now)
        case "trains":
            return granted(slots, run, now)
        case _:
            return freed(slots, {run})


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdef"), st.sampled_from(("asks", "trains", "ends")), st.integers(0, 20)),
        max_size=40,
    )
)
def test_doing_anything_twice_is_doing_it_once(steps: list[tuple[str, str, int]]) -> None:
    once, twice, now = Slots(), Slots(), START
    for run, what, hours in steps:
        now += hours * HOUR
        once = done(once, run, what, now)
        twice = done(done(twice, run, what, now), run, what, now)
        assert once == twice
        assert not set(once.holding) & set(once.waiting)
