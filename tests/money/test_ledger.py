"""The ledger's rules: intervals follow what is seen, and every way to add them up comes to the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.money.ledger import Cause, Ended, Interval, Look, Removal, Running, merged, reaches, reconcile
from shared.money.sums import (
    KEYS,
    MICROS,
    Piece,
    Sum,
    amount,
    days,
    month_of,
    month_start,
    months,
    next_month,
    period,
    saved,
    spent,
    sums,
)

AT = datetime(2026, 11, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
SERVED = Running(
    kind="serving", line="l1", run="r1", name="r1-1", instances=2, size="A100", price=Decimal("3.67"), currency="EUR"
)


def running(**changes: Any) -> Running:
    return replace(SERVED, **changes)


def interval(start: datetime, end: datetime | None = None, **changes: Any) -> Interval:
    made = Interval(
        kind="serving", line="l1", run="r1", name="r1-1", instances=2, size="A100", price=Decimal("3.67"),
        currency="EUR", start=start, end=end,
    )  # fmt: skip
    return replace(made, **changes)


def ledger(*looks: tuple[Look, datetime]) -> list[Interval]:
    """What a ledger holds after these looks, each taken twice."""
    known: list[Interval] = []
    for look, now in looks:
        known = merged(known, reconcile(known, look, now))
        assert reconcile(known, look, now) == []
    return known


# What is seen ---------------------------------------------------------------------------------------------------------


def test_what_runs_begins_when_azure_says_and_goes_on() -> None:
    look = Look(running=(running(since=AT),))
    [found] = ledger((look, AT + HOUR), (look, AT + 5 * HOUR))
    assert (found.start, found.end, found.seen) == (AT, None, False)
    assert (found.instances, found.size, found.price, found.currency) == (2, "A100", Decimal("3.67"), "EUR")


def test_what_nobody_dates_begins_when_it_is_seen() -> None:
    [found] = ledger((Look(running=(SERVED,)), AT), (Look(running=(SERVED,)), AT + HOUR))
    assert (found.start, found.start_seen, found.seen) == (AT, True, True)


def test_what_droptune_ended_has_its_exact_time_and_reason() -> None:
    end = Ended(kind="serving", line="l1", name="r1-1", at=AT + HOUR, cause=Cause.IDLE, why="no request in 24 h")
    look = Look(ended=(end,))
    [found] = ledger((Look(running=(running(since=AT),)), AT), (look, AT + 2 * HOUR), (look, AT + 3 * HOUR))
    assert (found.end, found.cause, found.why, found.seen) == (AT + HOUR, Cause.IDLE, "no request in 24 h", False)


def test_what_somebody_else_took_away_is_seen_at_the_tick() -> None:
    [found] = ledger((Look(running=(running(since=AT),)), AT), (Look(), AT + HOUR), (Look(), AT + 2 * HOUR))
    assert (found.end, found.cause, found.end_seen, found.seen) == (AT + HOUR, Cause.GONE, True, True)


def test_what_nobody_could_read_or_looked_at_is_not_gone() -> None:
    looks = (
        Look(unseen=frozenset(["l1"])),
        Look(kinds=frozenset(["training"])),
        Look(running=(running(line="l2", name="r2-1"),), kinds=frozenset()),
    )
    for look in looks:
        found = ledger((Look(running=(running(since=AT),)), AT), (look, AT + HOUR))
        assert found[0].end is None


def test_what_begins_after_a_look_is_not_gone_in_it() -> None:
    found = ledger((Look(running=(running(since=AT + HOUR),), kinds=frozenset()), AT + HOUR), (Look(), AT))
    assert [each.end for each in found] == [None]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"instances": 3}, "3 instances instead of 2"),
        ({"size": "H100"}, "H100 instead of A100"),
        ({"price": Decimal("4.10")}, "4.10 EUR an hour instead of 3.67 EUR"),
        ({"currency": "USD"}, "3.67 USD an hour instead of 3.67 EUR"),
    ],
)
def test_a_change_ends_an_interval_and_begins_another(changes: dict[str, Any], why: str) -> None:
    other = Look(running=(running(since=AT, **changes),))
    before, after = ledger((Look(running=(running(since=AT),)), AT), (other, AT + HOUR), (other, AT + 2 * HOUR))
    assert (before.start, before.end, before.cause, before.why) == (AT, AT + HOUR, Cause.CHANGED, why)
    assert (after.start, after.end) == (AT + HOUR, None)
    assert before.end_seen
    assert after.start_seen
    assert all(getattr(after, name) == value for name, value in changes.items())


def test_a_price_that_cant_be_read_for_a_while_is_no_other_price() -> None:
    known, unknown = running(since=AT), running(since=AT, price=None, currency="")
    [found] = ledger((Look(running=(known,)), AT), (Look(running=(unknown,)), AT + HOUR))
    assert (found.price, found.end) == (Decimal("3.67"), None)


def test_a_price_that_becomes_known_holds_from_then_on() -> None:
    known, unknown = running(since=AT), running(since=AT, price=None, currency="")
    before, after = ledger((Look(running=(unknown,)), AT), (Look(running=(known,)), AT + HOUR))
    assert (before.price, before.end) == (None, AT + HOUR)
    assert (after.price, after.start) == (Decimal("3.67"), AT + HOUR)


def test_the_price_of_another_size_is_unknown_where_nobody_says_it() -> None:
    other = running(since=AT, size="H100", price=None, currency="")
    _, after = ledger((Look(running=(running(since=AT),)), AT), (Look(running=(other,)), AT + HOUR))
    assert (after.size, after.price, after.currency) == ("H100", None, "")


def test_what_was_made_and_went_between_two_ticks_is_in_it_once() -> None:
    end = Ended(
        kind="serving", line="l1", name="r1-1", at=AT + HOUR, cause=Cause.FAILED, was=running(since=AT), why="quota"
    )
    [found] = ledger((Look(ended=(end,)), AT + 2 * HOUR), (Look(ended=(end,)), AT + 3 * HOUR))
    assert (found.start, found.end, found.cause, found.seen) == (AT, AT + HOUR, Cause.FAILED, False)


def test_an_end_that_was_told_with_another_beginning_is_the_same_one() -> None:
    end = Ended(kind="serving", line="l1", name="r1-1", at=AT + HOUR, cause=Cause.IDLE, was=running(since=AT))
    begun = Look(running=(running(since=AT + timedelta(seconds=9)),))
    [found] = ledger((begun, AT + timedelta(seconds=20)), (Look(ended=(end,)), AT + 2 * HOUR))
    assert (found.start, found.end) == (AT + timedelta(seconds=9), AT + HOUR)


def test_what_is_listed_although_it_was_taken_down_is_over_in_that_look_and_goes_on_in_the_next() -> None:
    end = Ended(kind="serving", line="l1", name="r1-1", at=AT + HOUR, cause=Cause.IDLE)
    there = running(since=AT)
    found = ledger((Look(running=(there,)), AT), (Look(running=(there,), ended=(end,)), AT + 2 * HOUR))
    assert [each.end for each in found] == [AT + HOUR]
    first, second = ledger(
        (Look(running=(there,)), AT),
        (Look(running=(there,), ended=(end,)), AT + 2 * HOUR),
        (Look(running=(there,)), AT + 3 * HOUR),
    )
    assert (first.end, second.start, second.end) == (AT + HOUR, AT + HOUR, None), "what still stands was never gone"


def test_what_is_made_again_under_its_name_is_another_interval() -> None:
    again = running(since=AT + 5 * HOUR)
    end = Ended(kind="serving", line="l1", name="r1-1", at=AT + HOUR, cause=Cause.IDLE)
    begun = (Look(running=(running(since=AT),)), AT)
    for look, over in ((Look(running=(again,), ended=(end,)), AT + HOUR), (Look(running=(again,)), AT + 5 * HOUR)):
        first, second = ledger(begun, (look, AT + 6 * HOUR))
        assert (first.end, second.start, second.end) == (over, AT + 5 * HOUR, None)


def test_an_end_before_the_beginning_is_no_time() -> None:
    [found] = ledger((Look(running=(running(since=AT),)), AT), (Look(), AT))
    assert (found.start, found.end) == (AT, AT)


@pytest.mark.parametrize(
    "changes",
    [
        {"price": Decimal("NaN")},
        {"price": Decimal("Infinity")},
        {"price": Decimal("-1")},
        {"price": Decimal("1E+999999999")},
        {"price": Decimal("1E-999999999")},
        {"instances": -1},
        {"end": AT - HOUR},
    ],
)
def test_what_cant_be_is_no_interval(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"price|instances|ends"):
        interval(AT, **changes)
    data = msgspec.json.encode(msgspec.to_builtins(interval(AT)) | msgspec.to_builtins(changes))
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(data, type=Interval)


# Histories ------------------------------------------------------------------------------------------------------------

moments = st.integers(0, 100 * 86_400 * 10**6).map(lambda at: AT + timedelta(microseconds=at))
prices = st.one_of(
    st.none(),
    st.decimals(0, 100, allow_nan=False, places=6),
    st.sampled_from([Decimal("0.000001"), Decimal(1) / 3 // Decimal("1e-12") * Decimal("1e-12")]),
)


@st.composite
def intervals(draw: st.DrawFn) -> list[Interval]:
    """Some of several lines, runs, sizes, prices and currencies, of which a few still run."""
    found = []
    for number in range(draw(st.integers(0, 8))):
        start, length = draw(moments), draw(st.integers(0, 60 * 86_400 * 10**6))
        price = draw(prices)
        over = draw(st.booleans())
        found.append(
            Interval(
                kind=draw(st.sampled_from(["serving", "training"])),
                line=draw(st.sampled_from(["l1", "l2", "l3"])),
                run=draw(st.sampled_from(["r1", "r2", "r3", "r4"])),
                name=f"r{number}-1",
                instances=draw(st.integers(0, 8)),
                size=draw(st.sampled_from(["A100", "H100"])),
                price=price,
                currency="" if price is None else draw(st.sampled_from(["EUR", "USD"])),
                start=start,
                end=start + timedelta(microseconds=length) if over else None,
                cause=draw(st.sampled_from(Cause)) if over else None,
            )
        )
    return found


def totals(found: list[Sum]) -> dict[tuple[str, str, bool], tuple[int, int, int, int]]:
    """By kind, currency and whether the price is known."""
    made: dict[tuple[str, str, bool], tuple[int, int, int, int]] = {}
    for each in found:
        group = (each.kind, each.currency, each.micros is None)
        a, b, c, d = made.get(group, (0, 0, 0, 0))
        made[group] = (
            a + (each.micros or 0),
            b + (each.saved or 0),
            c + each.microseconds,
            d + each.saved_microseconds,
        )
    return {group: total for group, total in made.items() if any(total)}


def pieces_of(
    found: list[Interval], removals: list[Removal], start: datetime, end: datetime, now: datetime
) -> list[Piece]:
    return [*spent(found, start, end, now), *saved(found, removals, start, end, now)]


@given(
    found=intervals(),
    removals=st.lists(st.builds(Removal, line=st.sampled_from(["l1", "l2"]), at=moments), max_size=3),
    cuts=st.lists(moments, max_size=6),
    now=moments,
)
def test_every_cut_and_every_grouping_comes_to_the_same(
    found: list[Interval], removals: list[Removal], cuts: list[datetime], now: datetime
) -> None:
    first, last = AT - HOUR, AT + timedelta(days=400)
    whole = pieces_of(found, removals, first, last, now)
    expected = totals(sums(whole, "line"))
    for by in KEYS:
        assert totals(sums(whole, by)) == expected
    borders = [first, *sorted(cuts), last]
    cut = [piece for start, end in pairwise(borders) for piece in pieces_of(found, removals, start, end, now)]
    monthly = [
        piece
        for month in months(first, last)
        for piece in pieces_of(
            found, removals, max(first, month_start(month)), min(last, month_start(next_month(month))), now
        )
    ]
    for parts in (cut, monthly, [part for piece in monthly for part in days(piece)]):
        for by in KEYS:
            assert totals(sums(parts, by)) == expected


@given(found=intervals(), now=moments)
def test_the_bill_is_the_hours_that_ran_times_the_price(found: list[Interval], now: datetime) -> None:
    first, last = AT - HOUR, AT + timedelta(days=400)
    pieces = list(spent(found, first, last, now))
    assert {piece.interval.key for piece in pieces} <= {each.key for each in found}
    for each in found:
        own = [piece for piece in pieces if piece.interval.key == each.key]
        ran = max((each.end or now) - each.start, timedelta(0))
        assert sum(piece.microseconds for piece in own) == ran // timedelta(microseconds=1) * each.instances
        for piece in own:
            if each.price is None:
                assert piece.micros is None
            else:
                exact = Fraction(each.price) * each.instances * Fraction(ran // timedelta(microseconds=1), 3600)
                assert piece.micros is not None
                assert abs(piece.micros - exact) <= Fraction(1, 2)


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[Look, datetime]]:
    """Looks, a while apart, at what comes, changes and goes: by Droptune, which says when, and by others."""
    now, there, looks = AT, dict[str, Running](), list[tuple[Look, datetime]]()
    for _ in range(draw(st.integers(1, 8))):
        ended, before = [], now
        now += timedelta(seconds=draw(st.integers(1, 20 * 86_400)))
        between = st.datetimes(before.replace(tzinfo=None), now.replace(tzinfo=None), timezones=st.just(UTC))
        for name in ("a", "b"):
            known = there.get(name)
            what = draw(st.sampled_from(["stay", "make", "end", "vanish", "change", "flash", "unpriced"]))
            at = draw(between)
            if known is None and what in ("make", "change"):
                there[name] = running(name=name, since=at if draw(st.booleans()) else None, price=draw(prices))
            elif known is None and what == "flash":
                since = draw(between)
                was = running(name=name, since=min(since, at))
                ended.append(
                    Ended(kind="serving", line="l1", name=name, at=max(since, at), cause=Cause.FAILED, was=was)
                )
            elif known and what == "end":
                del there[name]
                ended.append(Ended(kind="serving", line="l1", name=name, at=at, cause=Cause.IDLE))
            elif known and what == "vanish":
                del there[name]
            elif known and what == "change":
                there[name] = replace(known, instances=draw(st.integers(0, 4)), price=draw(prices))
            elif known and what == "unpriced":
                there[name] = replace(known, price=None)
        looks.append((Look(running=tuple(there.values()), ended=tuple(ended)), now))
    return looks


@given(history=histories())
def test_the_same_look_again_changes_nothing_and_no_time_is_billed_twice(history: list[tuple[Look, datetime]]) -> None:
    known: list[Interval] = []
    for look, now in history:
        before = known
        known = merged(known, reconcile(known, look, now))
        assert reconcile(known, look, now) == []
        assert reconcile(known, look, now + HOUR) == [], "nor does a tick later"
        over = {each.key: each for each in before if each.end}
        assert over.items() <= {each.key: each for each in known}.items(), "what is over stays as it is"
        assert {each.thing for each in known if each.end is None} == {each.thing for each in look.running}
        assert_apart(known)
        for each in known:
            assert each.end is None or each.start <= each.end


def assert_apart(known: list[Interval]) -> None:
    """No thing has two intervals at one time."""
    for thing in {each.thing for each in known}:
        own = [each for each in known if each.thing == thing]
        for first, second in pairwise(own):
            assert first.end is not None
            assert first.end <= second.start


@st.composite
def lives(draw: st.DrawFn) -> list[Interval]:
    """What Droptune makes and takes down again, some of it under the same names."""
    found = []
    for name in ("a", "b"):
        at = AT
        for _ in range(draw(st.integers(0, 4))):
            start = at + timedelta(seconds=draw(st.integers(1, 86_400)))
            at = start + timedelta(seconds=draw(st.integers(1, 10 * 86_400)))
            found.append(interval(start, at, name=name, cause=Cause.IDLE))
    return found


def look_at(truth: list[Interval], told: datetime, now: datetime) -> Look:
    """What stands at `now`, and all ends since `told`."""
    ended = [
        Ended(kind="serving", line="l1", name=each.name, at=each.end, cause=Cause.IDLE,
              was=running(name=each.name, since=each.start))
        for each in truth
        if each.end and told < each.end <= now
    ]  # fmt: skip
    there = [each for each in truth if each.end and each.start <= now < each.end]
    return Look(running=tuple(running(name=each.name, since=each.start) for each in there), ended=tuple(ended))


@given(truth=lives(), ticks=st.lists(st.tuples(st.integers(1, 10 * 86_400), st.booleans()), min_size=1, max_size=12))
def test_what_droptune_did_is_in_it_to_the_second_whichever_ticks_are_lost(
    truth: list[Interval], ticks: list[tuple[int, bool]]
) -> None:
    """Also where many were begun and ended since; the ends of a tick that is lost are told by the next one."""
    known, told, now = list[Interval](), AT, AT
    for seconds, lost in ticks:
        now += timedelta(seconds=seconds)
        if not lost:
            known = merged(known, reconcile(known, look_at(truth, told, now), now))
            told = now
    expected = [
        each if each.end and each.end <= told else replace(each, end=None, cause=None)
        for each in truth
        if each.start <= told
    ]
    assert known == merged((), expected)


@given(history=histories())
def test_all_that_a_look_tells_is_within_its_reach(history: list[tuple[Look, datetime]]) -> None:
    """So that whoever reads from there on reads all that can matter."""
    known: list[Interval] = []
    for look, now in history:
        running = [each for each in known if each.end is None]
        reach = min(now, reaches(running, look) or now)
        needed = [each for each in known if each.end is None or each.end >= reach]
        assert reconcile(needed, look, now) == reconcile(known, look, now)
        known = merged(known, reconcile(known, look, now))


# What was saved -------------------------------------------------------------------------------------------------------


def saved_hours(found: list[Interval], removals: list[Removal], now: datetime) -> Iterator[Fraction]:
    for piece in saved(found, removals, AT - HOUR, AT + timedelta(days=400), now):
        yield Fraction((piece.end - piece.start) // timedelta(seconds=1), 3600)


def test_a_teardown_saves_until_the_line_is_revived_or_removed_for_30_days_at_most() -> None:
    gone = interval(AT, AT + HOUR, cause=Cause.IDLE)
    revived = interval(AT + 6 * HOUR, run="r9", name="r9-1")
    other = interval(AT + 2 * HOUR, line="l2", run="r8", name="r8-1")
    job = interval(AT + 2 * HOUR, kind="training", run="r9", name="r9-1")
    later = AT + timedelta(days=90)
    assert list(saved_hours([gone, other, job], [], AT + 3 * HOUR)) == [2]
    assert list(saved_hours([gone, other, job], [], later)) == [30 * 24]
    assert list(saved_hours([gone, revived, other, job], [], later)) == [5]
    assert list(saved_hours([gone, revived, job], [Removal(line="l1", at=AT + 4 * HOUR)], later)) == [3]
    assert list(saved_hours([gone], [Removal(line="l2", at=AT + 4 * HOUR)], later)) == [30 * 24]
    for cause in set(Cause) - {Cause.IDLE}:
        assert list(saved_hours([replace(gone, cause=cause)], [], later)) == []


def test_what_was_saved_stays_so_when_it_is_revived() -> None:
    gone = interval(AT, AT + HOUR, cause=Cause.IDLE)
    at = AT + 3 * HOUR
    before = sums(saved([gone], [], AT, at, at), "line")
    revived = interval(at, run="r9", name="r9-1")
    assert before == sums(saved([gone, revived], [], AT, at + 50 * HOUR, at + 50 * HOUR), "line")
    assert [each.saved for each in before] == [14_680_000], "2 h of 2 instances at 3.67"


def test_what_a_teardown_saved_is_unknown_where_the_price_is() -> None:
    gone = interval(AT, AT + HOUR, cause=Cause.IDLE, price=None, currency="")
    now = AT + 2 * HOUR
    [found] = sums(pieces_of([gone], [], AT, now, now), "line")
    assert (found.micros, found.saved, found.size) == (None, None, "A100")
    assert found.microseconds == found.saved_microseconds == 2 * 3600 * MICROS


def test_currencies_and_unknown_prices_are_never_added() -> None:
    found = [
        interval(AT, AT + HOUR),
        interval(AT, AT + HOUR, name="r2-1", currency="USD"),
        interval(AT, AT + HOUR, name="r3-1", price=None, currency=""),
        interval(AT, AT + HOUR, name="r4-1", price=Decimal(0)),
    ]
    made = sums(spent(found, AT, AT + HOUR, AT + HOUR), "line")
    assert [(each.currency, each.micros) for each in made] == [("", None), ("EUR", 7_340_000), ("USD", 7_340_000)]
    assert [each.microseconds // MICROS for each in made] == [7200, 14400, 7200]
    assert amount(7_340_000) == Decimal("7.340000")
    assert f"{amount(1)} {amount(0)}" == "0.000001 0.000000"


# Periods --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name", "start", "end"),
    [
        ("", "2026-03", "2026-03-01", "2026-04-01"),
        ("this month", "2026-03", "2026-03-01", "2026-04-01"),
        (" Last  Month ", "2026-02", "2026-02-01", "2026-03-01"),
        ("last-month", "2026-02", "2026-02-01", "2026-03-01"),
        ("2024-02", "2024-02", "2024-02-01", "2024-03-01"),
        ("2025-12", "2025-12", "2025-12-01", "2026-01-01"),
        ("2024-02-29", "2024-02-29", "2024-02-29", "2024-03-01"),
    ],
)
def test_a_period_is_read(text: str, name: str, start: str, end: str) -> None:
    found = period(text, datetime(2026, 3, 31, 23, 59, 59, tzinfo=UTC))
    assert (found.name, f"{found.start:%Y-%m-%d}", f"{found.end:%Y-%m-%d}") == (name, start, end)


def test_a_month_is_one_of_utc() -> None:
    tokyo = datetime.fromisoformat("2026-12-01T08:00:00+09:00")
    assert period("this month", tokyo).name == "2026-11"
    assert month_of(tokyo) == "2026-11"
    everything = period("ALL", tokyo)
    assert everything.name == "all"
    assert everything.start < AT < everything.end


@pytest.mark.parametrize(
    "text", ["2026", "2026-13", "2026-00", "2026-02-30", "0000-01", "9999-12", "1969-12", "1969-12-31", "next month",
             "yesterday", "2026-1", "2026-11-1", "٢٠٢٦-11", "2026-11\x1b[2J"],
)  # fmt: skip
def test_what_is_no_period_says_what_is(text: str) -> None:
    with pytest.raises(ValueError, match="a day as 2026-11-01, or 'all'") as error:
        period(text, AT)
    assert repr(text) not in str(error.value)
    assert "\x1b" not in str(error.value)


def test_a_look_that_is_older_than_an_end_does_not_begin_it_anew() -> None:
    """A tick looks at many lines: one may be torn down between the look at it and the tick's end."""
    ended = Ended(kind="serving", line=SERVED.line, name=SERVED.name, at=AT + 2 * HOUR, cause=Cause.IDLE)
    known = ledger(
        (Look(running=(running(since=AT),)), AT),
        (Look(ended=(ended,), kinds=frozenset()), AT + 2 * HOUR),
    )
    stale = Look(running=(running(since=AT),))
    assert reconcile(known, stale, AT + HOUR) == []
    assert reconcile(known, stale, AT + 3 * HOUR) != [], "what is still there later goes on"
