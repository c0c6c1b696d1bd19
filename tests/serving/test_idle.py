"""The verdict on an endpoint, and the money that its absence saves."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from shared.serving.idle import Delete, Keep, Notice, Pending, Policy, Usage, money_saved, verdict

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
POLICY = Policy(
    window=DAY,
    grace=timedelta(hours=12),
    minimum_age=timedelta(hours=6),
    shell=timedelta(days=30),
    whole_endpoint=False,
)
SILENT = Usage(since=NOW - 3 * DAY, requests=0, control=10)

times = st.none() | st.timedeltas(min_value=timedelta(0), max_value=60 * DAY).map(lambda ago: NOW - ago)
usages = st.builds(
    Usage,
    since=times,
    emptied=times,
    noticed=times,
    kept_by_tag=st.booleans(),
    rolling_out=st.booleans(),
    requests=st.none() | st.floats(min_value=0, max_value=100),
    control=st.none() | st.integers(min_value=0, max_value=5),
)


def test_silence_first_gets_a_notice_then_after_the_grace_time_the_deployments_go() -> None:
    assert isinstance(verdict(SILENT, POLICY, NOW), Notice)
    noticed = replace(SILENT, noticed=NOW - timedelta(hours=11))
    assert verdict(noticed, POLICY, NOW) == Pending(NOW + timedelta(hours=1))
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
def test_nothing_goes_without_a_notice_that_ran_out_proven_silence_and_age(usage: Usage) -> None:
    if isinstance(verdict(usage, POLICY, NOW), Delete) and not usage.emptied:
        assert usage.noticed is not None
        assert usage.noticed + POLICY.grace <= NOW
        assert usage.requests == 0
        assert usage.control
        assert usage.since is not None
        assert NOW - usage.since >= POLICY.window
        assert not usage.kept_by_tag
        assert not usage.rolling_out


@given(usages)
def test_a_kept_endpoint_and_one_in_mid_rollout_stay(usage: Usage) -> None:
    for spared in (
        replace(usage, kept_by_tag=True),
        replace(usage, rolling_out=True),
    ):
        assert isinstance(verdict(spared, POLICY, NOW), Keep)


@given(usages)
def test_one_request_takes_the_notice_back(usage: Usage) -> None:
    busy = replace(usage, emptied=None, requests=1.0)
    assert isinstance(verdict(busy, POLICY, NOW), Keep)


def test_money_saved_is_hours_times_instances_times_price() -> None:
    assert money_saved(NOW, NOW + timedelta(hours=3), instances=2, price_per_hour=4.0) == 24.0
    assert money_saved(NOW, NOW - timedelta(hours=3), instances=2, price_per_hour=4.0) == 0.0
