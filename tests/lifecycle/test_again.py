"""What Azure has no machines for: which words say so, how often it is tried, and what is told of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.lifecycle.again import LEAST, LONGEST, PAUSE, after, no_machines, no_quota

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "told",
    [
        "OutOfCapacity",
        "ERROR: Out of capacity",
        "The specified VM Size failed to provision due to a lack of Azure Machine Learning capacity. Retry later",
        "Allocation failed. We do not have sufficient capacity for the requested VM size in this region.",
        "AllocationFailed",
        "ZonalAllocationFailed: there is not enough capacity",
        "OverconstrainedAllocationRequest failed",
        "NodeAllocationFailed",
        "InsufficientCapacity: none left",
        "OutOfQuota: Not enough quota available for Standard_NC24ads_A100_v4",
        "Subscription s does not have enough quota for Standard_DS2_v2",
    ],
)
def test_words_for_want_of_machines(told: str) -> None:
    assert no_machines(told)
    assert no_quota(told) == ("quota" in told.lower())


@pytest.mark.parametrize(
    "told",
    [
        "",
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "std::bad_alloc: memory allocation failed",
        "ResourceNotReady: the container has crashed",
        "ValueError: capacity must be positive",
        "ImageBuildFailure",
    ],
)
def test_words_for_anything_else(told: str) -> None:
    assert not no_machines(told)


@given(st.lists(st.integers(0, 3 * 24 * 60), max_size=40))
def test_it_is_tried_for_long_and_often_and_the_words_say_both(minutes: list[int]) -> None:
    now, scarce = NOW, after(None, NOW, "OutOfCapacity: none")
    for wait in minutes:
        now += timedelta(minutes=wait)
        scarce = after(scarce, now, "OutOfCapacity: none")
    assert scarce.times == len(minutes) + 1
    assert scarce.over is (now - NOW >= LONGEST and scarce.times >= LEAST)
    assert scarce.due_in(now) == PAUSE.total_seconds()
    assert scarce.due_in(now + PAUSE) == 0
    times = "once" if not minutes else f"{scarce.times} times"
    assert f"tried {times} since 2026-11-30 12:00 UTC" in scarce.waits
    assert "until 2026-12-01 12:00 UTC and 8 times at least" in scarce.waits
    assert f"tried {times} in {(now - NOW).total_seconds() / 3600:.0f} hours" in scarce.ended
    assert scarce.waits.endswith("OutOfCapacity: none")
    assert scarce.ended.endswith("OutOfCapacity: none")
