"""The verdict on an endpoint, and the money that its absence saves."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.serving.idle import (
    Delete,
    Keep,
    Notice,
    Pending,
    Policy,
    Usage,
    Verdict,
    verdict,
)

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
POLICY = Policy(
    window=DAY,
    grace=timedelta(hours=12),
    minimum_age=timedelta(hours=6),
    shell=timedelta(days=30),
    whole_endpoint=False,
)
SILENT = Usage(line="l1", since=NOW - 3 * DAY, requests=0, control=10)
GOING = replace(SILENT, noticed=NOW - timedelta(hours=13))
"""An endpoint of which nothing speaks against its deletion."""

times = st.none() | st.timedeltas(min_value=timedelta(0), max_value=60 * DAY).map(lambda ago: NOW - ago)
usages = st.builds(
    Usage,
    since=times,
    emptied=times,
    noticed=times,
    kept=st.sampled_from(("", "ada has pinned it")),
    rolling_out=st.booleans(),
    requests=st.none() | st.floats(min_value=0, max_value=100),
    control=st.none() | st.integers(min_value=0, max_value=5),
)


def test_silence_first_gets_a_notice_then_after_the_grace_time_the_deployments_go() -> None:
    assert isinstance(verdict(SILENT, POLICY, NOW), Notice)
    noticed = replace(SILENT, noticed=NOW - timedelta(hours=11))
    judged = verdict(noticed, POLICY, NOW)
    assert isinstance(judged, Pending)
    assert judged.until == NOW + timedelta(hours=1)
    due = replace(SILENT, noticed=NOW - timedelta(hours=12))
    assert isinstance(judged := verdict(due, POLICY, NOW), Delete)
    assert not judged.endpoint
    assert isinstance(judged := verdict(due, replace(POLICY, whole_endpoint=True), NOW), Delete)
    assert judged.endpoint


def test_an_empty_endpoint_stays_for_the_shell_time_and_then_goes() -> None:
    assert isinstance(verdict(Usage(since=None, emptied=NOW - 29 * DAY), POLICY, NOW), Keep)
    judged = verdict(Usage(since=None, emptied=NOW - 30 * DAY), POLICY, NOW)
    assert isinstance(judged, Delete)
    assert judged.endpoint


@given(usages)
def test_what_was_refused_goes_once_it_may_unless_there_is_a_word_against_it_or_a_doubt(usage: Usage) -> None:
    judged, before = verdict(replace(usage, refused=True), POLICY, NOW), verdict(usage, POLICY, NOW)
    if usage.kept or usage.requests or usage.rolling_out:
        young = usage.since is not None and NOW - usage.since < POLICY.window
        assert isinstance(judged, Keep) or usage.emptied or young
    if usage.kept or usage.rolling_out:
        assert judged == before
    if isinstance(before, Notice | Pending):
        assert isinstance(judged, Delete)
        assert "which was refused" in judged.why
    if isinstance(before, Delete):
        assert isinstance(judged, Delete)
        assert judged.endpoint is before.endpoint
    if isinstance(before, Keep) and before.why.startswith("its metrics"):
        assert judged == before, "in doubt it stays"


@pytest.mark.parametrize(
    ("usage", "wanted"),
    [
        (replace(SILENT, requests=1), True),
        (replace(SILENT, kept="ada has pinned it"), True),
        (replace(SILENT, control=0), False),
        (replace(SILENT, requests=None), False),
        (replace(SILENT, rolling_out=True), False),
    ],
)
def test_only_who_uses_or_keeps_it_takes_back_a_teardown_that_was_refused(usage: Usage, wanted: bool) -> None:
    judged = verdict(replace(usage, refused=True), POLICY, NOW)
    assert isinstance(judged, Keep)
    assert judged.wanted is wanted


def test_what_is_old_silent_and_was_noticed_long_ago_goes() -> None:
    assert verdict(GOING, POLICY, NOW) == Delete("no request since the notice of 2026-10-31 23:00 UTC", endpoint=False)


YOUNG = "it serves since 2026-11-01 05:00 UTC, and is judged from 2026-11-02 05:00 UTC on"
GOES = "unless somebody calls it; droptune keep l1 keeps it"


@pytest.mark.parametrize(
    ("usage", "policy", "kind", "told"),
    [
        ({"kept": "ada has pinned it"}, {}, Keep, "ada has pinned it"),
        ({"rolling_out": True}, {}, Keep, "a rollout is under way: it is judged once that has ended"),
        ({"emptied": NOW - 2 * DAY}, {}, Keep, "its address goes at 2026-11-29 12:00 UTC, and droptune revive l1"),
        ({"since": None}, {}, Keep, "it serves nothing: an upload or droptune revive l1 changes that"),
        ({"since": NOW - timedelta(hours=7)}, {}, Keep, YOUNG),
        ({}, {"window": 4 * DAY}, Keep, "is judged from 2026-11-02 12:00 UTC on"),
        ({}, {"minimum_age": 4 * DAY}, Keep, "is judged from 2026-11-02 12:00 UTC on"),
        ({"requests": None, "control": None}, {}, Keep, "its metrics can't be read: it is judged at the next look"),
        ({"requests": None}, {}, Keep, "its metrics can't be read"),
        ({"control": None}, {}, Keep, "its metrics can't be read"),
        ({"control": 0}, {}, Keep, "silence proves nothing: it is judged once they come again"),
        ({"requests": 1.0, "busiest": 1.0}, {}, Keep, "it is in use: 1 request in 24 h; without more it is idle from"),
        (
            {"requests": 2.5, "busiest": 2.0, "last": NOW - DAY / 2},
            {},
            Keep,
            "it is in use: 2 requests in 24 h, the last at 2026-11-01 00:00 UTC; without more it is idle from",
        ),
        ({"requests": 0.5}, {}, Keep, "it is in use: a request in"),
        ({"requests": 48.0, "busiest": 3.0}, {"trickle": 2.0}, Keep, "it is in use: 48 requests"),
        ({"noticed": None}, {}, Notice, f"no request in 24 h: it goes at 2026-11-02 00:00 UTC {GOES}"),
        (
            {"noticed": None, "requests": 48.0, "busiest": 2.0},
            {"trickle": 2.0},
            Notice,
            "at most 2 requests an hour in 24 h, which count as none: it goes at",
        ),
        (
            {"noticed": None},
            {"reports": True},
            Notice,
            "no request in 24 h: CLEANUP_MODE=report tears nothing down; with",
        ),
        ({"noticed": None}, {"lag": timedelta(minutes=10)}, Notice, "it goes at 2026-11-02 00:10 UTC"),
        ({"noticed": NOW - timedelta(hours=12) + SECOND}, {}, Pending, GOES),
        ({}, {"grace": timedelta(hours=13) + SECOND}, Pending, GOES),
        ({}, {"lag": timedelta(hours=1) + SECOND}, Pending, GOES),
        (
            {"hours": NOW + DAY / 4},
            {},
            Pending,
            "it goes after office hours, at 2026-11-01 18:00 UTC; droptune keep l1",
        ),
        ({"hours": NOW + DAY / 4, "refused": True}, {}, Pending, "it goes after office hours"),
    ],
)
def test_each_thing_that_speaks_against_it_is_enough_and_says_what_would_change_it(
    usage: dict[str, Any], policy: dict[str, Any], kind: type[Verdict], told: str
) -> None:
    """Nothing else does."""
    judged = verdict(replace(GOING, **usage), replace(POLICY, **policy), NOW)
    assert type(judged) is kind
    assert told in judged.why


@given(usages)
def test_where_a_time_is_told_it_is_judged_otherwise_from_then_on_and_not_before(usage: Usage) -> None:
    judged = verdict(usage, POLICY, NOW)
    until = None if isinstance(judged, Delete) else judged.until
    if until is None:
        return
    assert f"{until:%Y-%m-%d %H:%M} UTC" in judged.why
    # Nothing else happens meanwhile: people heard of a notice, nobody calls, the metrics go on.
    later = replace(usage, noticed=NOW if isinstance(judged, Notice) else usage.noticed)
    if isinstance(judged, Keep):
        later = replace(later, requests=0.0, busiest=0.0, last=None, control=5, noticed=None)
    assert until >= NOW
    assert type(verdict(later, POLICY, until)) is not type(judged)
    if not (isinstance(judged, Keep) and judged.wanted):
        assert type(verdict(later, POLICY, max(NOW, until - SECOND))) is (
            Pending if isinstance(judged, Notice) else type(judged)
        )


@given(usages, st.none() | st.just(NOW + DAY / 4))
def test_in_office_hours_people_are_noticed_and_nothing_goes(usage: Usage, hours: datetime | None) -> None:
    judged, free = verdict(replace(usage, hours=hours), POLICY, NOW), verdict(usage, POLICY, NOW)
    if hours and isinstance(free, Delete) and not usage.emptied:
        assert isinstance(judged, Pending)
        assert judged.until == hours
    else:
        assert judged == free


@given(usages, st.floats(min_value=0, max_value=5))
def test_a_trickle_is_judged_as_silence_and_more_than_that_is_use(usage: Usage, trickle: float) -> None:
    policy = replace(POLICY, trickle=trickle)
    if trickle and usage.requests is not None:
        assert type(verdict(replace(usage, busiest=trickle), policy, NOW)) is type(
            verdict(replace(usage, requests=0.0), policy, NOW)
        )
        assert not isinstance(verdict(replace(usage, busiest=trickle + 1, emptied=None), policy, NOW), Delete | Notice)


@pytest.mark.parametrize(("window", "minimum_age"), [(DAY, 6 * DAY), (6 * DAY, DAY), (6 * DAY, 6 * DAY)])
def test_it_is_judged_from_the_moment_that_it_is_as_old_as_window_and_minimum_age(
    window: timedelta, minimum_age: timedelta
) -> None:
    policy = replace(POLICY, window=window, minimum_age=minimum_age)
    assert isinstance(verdict(replace(GOING, since=NOW - 6 * DAY), policy, NOW), Delete)
    young = replace(GOING, since=NOW - 6 * DAY + SECOND)
    judged = verdict(young, policy, NOW)
    assert isinstance(judged, Keep)
    assert judged.until == NOW + SECOND
    assert isinstance(verdict(young, policy, NOW + SECOND), Delete)


def test_it_goes_from_the_moment_that_its_grace_is_over() -> None:
    noticed = replace(GOING, noticed=NOW - POLICY.grace)
    assert isinstance(verdict(noticed, POLICY, NOW), Delete)
    judged = verdict(noticed, POLICY, NOW - SECOND)
    assert isinstance(judged, Pending)
    assert judged.until == NOW


def test_an_empty_one_goes_from_the_moment_that_its_time_is_over_unless_it_is_kept_or_about_to_be_filled() -> None:
    empty = Usage(since=None, emptied=NOW - POLICY.shell)
    assert verdict(empty, POLICY, NOW) == Delete("the endpoint has been empty for too long", endpoint=True)
    assert isinstance(judged := verdict(empty, POLICY, NOW - SECOND), Keep)
    assert judged.until == NOW
    assert verdict(replace(empty, kept="ada has pinned it"), POLICY, NOW) == Keep("ada has pinned it")
    assert isinstance(verdict(replace(empty, rolling_out=True), POLICY, NOW), Keep)


@given(usages)
def test_nothing_goes_without_a_notice_that_ran_out_proven_silence_and_age(usage: Usage) -> None:
    if isinstance(verdict(usage, POLICY, NOW), Delete) and not usage.emptied:
        assert usage.noticed is not None
        assert usage.noticed + POLICY.grace <= NOW
        assert usage.requests == 0
        assert usage.control
        assert usage.since is not None
        assert NOW - usage.since >= POLICY.window
        assert not usage.kept
        assert not usage.rolling_out


@given(usages)
def test_a_kept_endpoint_and_one_in_mid_rollout_stay(usage: Usage) -> None:
    for spared in (
        replace(usage, kept="ada has pinned it"),
        replace(usage, rolling_out=True),
    ):
        assert isinstance(verdict(spared, POLICY, NOW), Keep)


@given(usages)
def test_one_request_takes_the_notice_back(usage: Usage) -> None:
    busy = replace(usage, emptied=None, requests=1.0)
    assert isinstance(verdict(busy, POLICY, NOW), Keep)
