"""The bill in real blob storage: no crash and no race costs a second of it, and it adds up."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from benchmarks.counting import requests_of
from localcloud.stack import Stack
from shared.app import App
from shared.errors import Conflict, Transient
from shared.money.ledger import Cause, Ended, Look, Running
from shared.money.sums import KEYS, MICROS, Sum, period, sums
from shared.records import layout
from shared.records.base import VERSION
from shared.records.bill import Bill, Month
from shared.records.layout import BILL, STATE
from shared.records.store import Unreadable

AT = datetime(2026, 11, 20, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SERVED = Running(
    kind="serving", line="l1", run="r1", name="r1-1", instances=2, size="A100", price=Decimal("3.67"), currency="EUR",
    since=AT,
)  # fmt: skip


@pytest.fixture
def bill(app: App) -> Bill:
    """One in which nothing is yet."""
    for prefix in (BILL, layout.damaged(BILL)):
        for blob in list(app.cloud.blobs.list(STATE, prefix)):
            app.cloud.blobs.delete(STATE, blob.name)
    return Bill(app.cloud)


def at(day: str) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=UTC)


def running(**changes: Any) -> Running:
    return replace(SERVED, **changes)


def ended(when: datetime, **changes: Any) -> Ended:
    return replace(Ended(kind="serving", line="l1", name="r1-1", at=when, cause=Cause.IDLE), **changes)


def month_of(app: App, name: str) -> Month:
    return msgspec.json.decode(app.cloud.blobs.read(STATE, layout.bill(name))[0], type=Month)


def names(app: App) -> list[str]:
    return [blob.name.removeprefix(BILL) for blob in app.cloud.blobs.list(STATE, BILL)]


def cost(bill: Bill, text: str, now: datetime, by: str = "line") -> list[Sum]:
    return sums(bill.account(period(text, now), now).pieces, by)


def hours(bill: Bill, text: str, now: datetime) -> float:
    return sum(each.microseconds for each in cost(bill, text, now)) / MICROS / 3600


# Written --------------------------------------------------------------------------------------------------------------


def test_what_a_tick_sees_is_kept_and_the_same_tick_again_writes_nothing(app: App, cloud: Stack, bill: Bill) -> None:
    look = Look(running=(SERVED,))
    [found] = bill.record(look, AT + HOUR)
    assert month_of(app, "2026-11").intervals == (found,)
    assert bill.record(look, AT + 2 * HOUR) == []
    with requests_of(app) as count:
        bill.record(look, AT + 3 * HOUR)
    assert count.requests == 1
    assert hours(bill, "this month", AT + 3 * HOUR) == 6


def test_what_runs_on_is_taken_over_into_the_next_month_and_read_there(app: App, bill: Bill) -> None:
    bill.record(Look(running=(SERVED,)), AT)
    now = at("2026-12-02")
    assert hours(bill, "this month", now) == 48, "also before the first tick of the month"
    assert bill.record(Look(running=(SERVED,)), now) == []
    assert names(app) == ["2026-11.json", "2026-12.json"]
    assert month_of(app, "2026-11").closed
    assert hours(bill, "this month", now) == 48
    assert hours(bill, "last month", now) == 11 * 48
    [over] = bill.record(Look(ended=(ended(now + HOUR),)), now + DAY)
    assert over.start == AT
    assert hours(bill, "last month", now + DAY) == 11 * 48
    assert hours(bill, "this month", now + DAY) == 50
    assert hours(bill, "all", now + DAY) == 11 * 48 + 50


def test_a_month_in_which_nothing_ran_the_app_is_not_lost(app: App, bill: Bill) -> None:
    bill.record(Look(running=(SERVED,)), AT)
    now = at("2027-02-03")
    bill.record(Look(running=(SERVED,)), now)
    assert names(app) == [f"{month}.json" for month in ("2026-11", "2026-12", "2027-01", "2027-02")]
    assert hours(bill, "2026-12", now) == 31 * 48
    assert hours(bill, "2027-01", now) == 31 * 48
    assert hours(bill, "this month", now) == 96


def test_an_end_of_last_month_that_is_told_in_this_one_is_in_both(app: App, bill: Bill) -> None:
    bill.record(Look(running=(SERVED,)), AT)
    now = at("2026-12-01") + HOUR
    bill.record(Look(running=(SERVED,)), now)  # it was still listed
    bill.record(Look(ended=(ended(AT + DAY),)), now + HOUR)
    assert hours(bill, "last month", now + HOUR) == 48
    assert hours(bill, "this month", now + HOUR) == 0
    assert hours(bill, "all", now + HOUR) == 48


def test_what_began_months_ago_is_in_each_of_them(app: App, bill: Bill) -> None:
    now = at("2026-12-03")
    bill.record(Look(running=(running(since=at("2026-10-31")),)), now)
    assert [hours(bill, month, now) for month in ("2026-09", "2026-10", "2026-11", "2026-12")] == [0, 48, 1440, 96]
    bill.record(Look(running=(running(since=at("2026-10-31")),)), now + DAY)
    assert hours(bill, "all", now + DAY) == 34 * 48


def test_what_came_and_went_between_two_ticks_across_a_months_end(app: App, bill: Bill) -> None:
    end = ended(at("2026-12-01") + HOUR, was=running(since=at("2026-12-01") - HOUR))
    for _ in range(2):
        bill.record(Look(ended=(end,)), at("2026-12-02"))
    now = at("2026-12-03")
    assert (hours(bill, "2026-11", now), hours(bill, "2026-12", now), hours(bill, "all", now)) == (2, 2, 4)


def test_a_clock_that_went_back_over_a_months_end_loses_and_doubles_nothing(app: App, bill: Bill) -> None:
    bill.record(Look(running=(SERVED,)), AT)
    bill.record(Look(running=(SERVED,)), at("2026-12-03"))
    other = running(line="l2", name="r2-1", since=AT + DAY)
    back = AT + 2 * DAY
    bill.record(Look(running=(other,)), back)  # the first is gone, another one is there
    now = at("2026-12-02")
    bill.record(Look(running=(other,)), now)
    assert hours(bill, "2026-11", now) == 96 + 10 * 48
    assert hours(bill, "2026-12", now) == 48
    assert hours(bill, "all", now) == 96 + 11 * 48


# Races and crashes ----------------------------------------------------------------------------------------------------


class Crash(Exception):
    """The process is gone."""


def breaking(bill: Bill, patch: pytest.MonkeyPatch, at_write: int, *, done: bool) -> Callable[[], int]:
    """Has that write of the bill be its process's last, `done` or not; gives how many there were."""
    blobs, count = bill._cloud.blobs, [0]
    write = type(blobs).write

    def crashing(self: Any, *args: Any, **options: Any) -> str:
        count[0] += 1
        if count[0] == at_write and not done:
            raise Crash
        etag = write(self, *args, **options)
        if count[0] == at_write:
            raise Crash
        return etag

    patch.setattr(type(blobs), "write", crashing)
    return lambda: count[0]


@pytest.mark.parametrize("done", [False, True])
def test_a_crash_at_any_write_of_a_months_turn_changes_nothing_in_the_end(
    done: bool, bill: Bill, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = at("2027-01-02")
    turn = Look(
        running=(running(line="l2", name="r2-1", since=at("2026-12-20")),),
        ended=(
            ended(at("2026-12-05")),
            ended(at("2026-12-11"), name="r3-1", was=running(name="r3-1", since=at("2026-11-25"))),
        ),
    )
    expected, write = None, 0
    while True:
        for blob in list(app.cloud.blobs.list(STATE, BILL)):
            app.cloud.blobs.delete(STATE, blob.name)
        bill.record(Look(running=(SERVED,)), AT)
        with monkeypatch.context() as patch:
            written = breaking(bill, patch, write, done=done)
            with suppress(Crash):
                bill.record(turn, now)
            last = written()
        bill.record(turn, now + HOUR)
        bill.record(Look(running=turn.running), now + 2 * HOUR)
        found = {
            (text, by): cost(bill, text, now + 2 * HOUR, by)
            for text in ("2026-11", "2026-12", "2027-01", "all")
            for by in KEYS
        }
        expected = expected or found  # of no crash
        assert found == expected, f"a crash at write {write}"
        if write > last:
            break
        write += 1
    assert write > 5


@pytest.mark.parametrize("write", [1, 2, 3])
@pytest.mark.parametrize("done", [False, True])
def test_what_began_months_ago_is_in_each_of_them_after_a_crash_too(
    write: int, done: bool, bill: Bill, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, now = Look(running=(running(since=at("2026-10-31")),)), at("2026-12-03")
    with monkeypatch.context() as patch:
        breaking(bill, patch, write, done=done)
        with pytest.raises(Crash):
            bill.record(look, now)
    bill.record(look, now + HOUR)
    assert [hours(bill, month, now) for month in ("2026-10", "2026-11", "2026-12", "all")] == [48, 1440, 96, 1584]


def test_two_ticks_at_once_both_count(app: App, bill: Bill, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one is always in between: of a month's turn, and of what begins."""
    first = running(line="l2", name="r2-1", since=AT)
    bill.record(Look(running=(SERVED,), kinds=frozenset()), AT)
    now, others = at("2026-12-01") + HOUR, Bill(app.cloud)
    read, late = bill._cloud.blobs.read, [True]

    def reading(*args: Any, **options: Any) -> tuple[bytes, str]:
        found = read(*args, **options)
        if late:
            late.clear()
            others.record(Look(running=(SERVED, running(line="l3", name="r3-1", since=AT)), kinds=frozenset()), now)
        return found

    monkeypatch.setattr(bill._cloud.blobs, "read", reading)
    bill.record(Look(running=(first,), kinds=frozenset()), at("2026-12-01") - HOUR)
    assert {each.line for each in month_of(app, "2026-11").intervals} == {"l1", "l2", "l3"}
    assert {each.line for each in month_of(app, "2026-12").intervals} == {"l1", "l2", "l3"}


def test_who_always_loses_says_so(bill: Bill, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(*args: Any, **options: Any) -> str:
        raise Conflict("somebody was faster")

    monkeypatch.setattr(bill._cloud.blobs, "write", refusing)
    with pytest.raises(Conflict, match="the bill changes all the time"):
        bill.record(Look(running=(SERVED,)), AT)


def test_what_is_over_is_never_rewritten(app: App, bill: Bill) -> None:
    bill.record(Look(running=(SERVED,)), AT)
    bill.record(Look(ended=(ended(AT + HOUR),)), AT + 2 * HOUR)
    [over] = month_of(app, "2026-11").intervals
    bill.record(Look(ended=(ended(AT + 5 * HOUR, cause=Cause.STOPPED),)), AT + 6 * HOUR)
    assert month_of(app, "2026-11").intervals == (over,)
    assert Month(intervals=(over,)).having("2026-11", [replace(over, end=None, cause=None)]).intervals == (over,)


# Broken ---------------------------------------------------------------------------------------------------------------


def test_a_month_that_is_broken_is_kept_aside_made_of_its_neighbours_and_told(
    app: App, cloud: Stack, bill: Bill
) -> None:
    now = at("2026-12-10")
    bill.record(Look(running=(SERVED,)), AT)
    bill.record(Look(running=(SERVED, running(name="r2-1", since=now))), now)
    app.cloud.blobs.write(STATE, layout.bill("2026-12"), b'{"intervals": 7}')
    account = bill.account(period("all", now), now)
    assert [each.partition(":")[0] for each in account.unreadable] == ["2026-12 is in no sum"]
    assert sum(piece.microseconds for piece in account.pieces) == 11 * 48 * 3600 * MICROS
    assert list(bill.unreadable(now)) == []
    assert bill.record(Look(running=(SERVED, running(name="r2-1", since=now))), now + HOUR)
    assert hours(bill, "2026-12", now + HOUR) == 9 * 48 + 4
    assert bill.account(period("all", now), now).unreadable == []
    [told] = bill.unreadable(app.cloud.blobs.now())
    assert told.startswith("state/bill/2026-12.json could not be read, and was made anew at ")
    kept = told.rpartition(" keeps what it held")[0].rpartition("state/")[2]
    assert app.cloud.blobs.read(STATE, kept)[0] == b'{"intervals": 7}'
    assert list(bill.unreadable(app.cloud.blobs.now() + 8 * DAY)) == []


def test_an_older_month_that_is_broken_is_made_of_those_beside_it(app: App, bill: Bill) -> None:
    now = at("2027-01-05")
    bill.record(Look(running=(SERVED,)), AT)
    bill.record(Look(running=(SERVED,)), now)
    app.cloud.blobs.write(STATE, layout.bill("2026-12"), b"no JSON")
    bill.record(Look(ended=(ended(at("2026-12-31")),)), now)
    assert hours(bill, "2026-12", now) == 30 * 48
    assert hours(bill, "2027-01", now) == 0
    assert month_of(app, "2026-12").closed


def test_a_newer_apps_month_is_never_rewritten(app: App, bill: Bill) -> None:
    newer = msgspec.json.encode({"version": VERSION + 1, "intervals": "of another shape"})
    app.cloud.blobs.write(STATE, layout.bill("2026-11"), newer)
    with pytest.raises(Unreadable, match="update the app"):
        bill.record(Look(running=(SERVED,)), AT)
    with pytest.raises(Transient, match=r"state/bill/2026-11\.json"):
        bill.remove("l1", AT)
    assert app.cloud.blobs.read(STATE, layout.bill("2026-11"))[0] == newer
    assert "update the app" in bill.account(period("all", AT), AT).unreadable[0]


def test_what_is_no_month_is_left_alone(app: App, bill: Bill) -> None:
    app.cloud.blobs.write(STATE, f"{BILL}notes.json", b"mine")
    app.cloud.blobs.write(STATE, f"{BILL}2026-13.json", b"mine")
    bill.record(Look(running=(SERVED,)), AT)
    assert hours(bill, "all", AT + HOUR) == 2


# Sums -----------------------------------------------------------------------------------------------------------------


def test_what_was_saved_survives_a_revive_and_ends_with_a_removal(app: App, bill: Bill) -> None:
    bill.record(Look(running=(SERVED,)), AT)
    bill.record(Look(ended=(ended(AT + DAY),)), AT + DAY)
    now = at("2026-12-02")
    [before] = cost(bill, "last month", now)
    assert before.saved == 10 * 48 * 3_670_000
    bill.record(Look(running=(running(name="r9-1", run="r9", since=now),)), now + HOUR)
    later = at("2027-03-01")
    assert sum(each.saved or 0 for each in cost(bill, "2026-11", later)) == before.saved
    assert sum(each.saved or 0 for each in cost(bill, "2026-12", later)) == 48 * 3_670_000
    bill.record(Look(ended=(ended(now + DAY, name="r9-1"),)), now + 2 * DAY)
    for _ in range(2):
        bill.remove("l1", now + 3 * DAY)
    assert len(month_of(app, "2026-12").removals) == 1
    assert sum(each.saved or 0 for each in cost(bill, "all", later)) == before.saved + 3 * 48 * 3_670_000


def test_a_question_reads_its_months_and_those_before_that_savings_need(app: App, cloud: Stack, bill: Bill) -> None:
    bill.record(Look(running=(running(since=at("2026-01-02")),)), at("2026-12-20"))
    with requests_of(app) as count:
        bill.account(period("2026-06", AT), AT)
    assert count.requests == 3, "the list, May and June"


def test_all_months_runs_and_lines_come_to_the_same_to_the_last_part(bill: Bill) -> None:
    """Over a year of ticks at odd times, with rollouts, teardowns, what others did, and prices that change."""
    chance = random.Random(7)
    now, there = at("2026-01-30"), dict[str, Running]()
    for number in range(60):
        before, now, ends = now, now + timedelta(seconds=chance.randrange(3600, 14 * 86_400)), []
        for name in list(there):
            what, when = chance.random(), before + (now - before) * chance.random()
            if what < 0.3:
                gone = there.pop(name)
                ends.append(Ended(kind=gone.kind, line=gone.line, name=name, at=when, cause=chance.choice(list(Cause))))
            elif what < 0.4:
                there.pop(name)
            elif what < 0.6:
                dearer = Decimal(chance.randrange(1, 10**9)).scaleb(-7)
                there[name] = replace(there[name], price=dearer, instances=chance.randrange(1, 4))
        if len(there) < 4:
            since = before + (now - before) * chance.random() if chance.random() < 0.8 else None
            price = None if chance.random() < 0.2 else Decimal("3.6733")
            there[f"r{number}-1"] = running(
                kind=chance.choice(["serving", "training"]), line=f"l{number % 3}", run=f"r{number}",
                name=f"r{number}-1", since=since, price=price, currency=chance.choice(["EUR", "USD"]),
            )  # fmt: skip
        bill.record(Look(running=tuple(there.values()), ended=tuple(ends)), now)
    every = bill.account(period("all", now), now)
    expected = added(sums(every.pieces, "line"))
    assert len(expected) >= 3
    assert every.seen
    for by in KEYS:
        assert added(sums(every.pieces, by)) == expected
        monthly = [
            each
            for month in (f"{year}-{number:02}" for year in range(2026, 2029) for number in range(1, 13))
            for each in cost(bill, month, now, by)
        ]
        assert added(monthly) == expected


def added(found: list[Sum]) -> dict[str, tuple[int, ...]]:
    """Micros, saved micros, and time of both, by currency."""
    made: dict[str, tuple[int, ...]] = {}
    for each in found:
        total = (each.micros or 0, each.saved or 0, each.microseconds, each.saved_microseconds)
        made[each.currency] = tuple(a + b for a, b in zip(made.get(each.currency, (0, 0, 0, 0)), total, strict=True))
    return {currency: total for currency, total in made.items() if any(total)}
