"""What so many test rows can show."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.serving.chance import LEAST_ROWS, MOST_ASKED, least_seen, shown
from shared.serving.gate import Compared, Gate, verdict


@pytest.mark.parametrize(("rows", "points"), [(5, 52), (16, 30), (20, 26), (50, 17), (100, 12), (200, 9)])
def test_so_many_rows_show_so_much(rows: int, points: int) -> None:
    assert math.ceil(least_seen(rows) - 0.05) == points
    assert shown(rows) == f"{rows} test rows: a drop under {points} points can't be seen, as it may be chance"


def test_more_rows_show_more_and_too_few_nothing() -> None:
    seen = [least_seen(rows) for rows in range(1, 10_000)]
    assert all(before >= after for before, after in pairwise(seen))
    assert all(0 < each <= 100 for each in seen)
    assert seen[: LEAST_ROWS - 1] == [100.0] * (LEAST_ROWS - 1)
    assert 0.5 ** (LEAST_ROWS - 1) > 0.05 >= 0.5**LEAST_ROWS


@pytest.mark.parametrize("rows", [6, 16, 50, 200])
@pytest.mark.parametrize("right", [0.1, 0.5, 0.8])
def test_two_versions_that_are_alike_differ_so_much_in_one_of_twenty_cases_at_most(rows: int, right: float) -> None:
    """The statistics, counted out: each row is right with the same chance for both, and nothing else ties them."""
    likely = [math.comb(rows, count) * right**count * (1 - right) ** (rows - count) for count in range(rows + 1)]
    by_chance = sum(
        likely[new] * likely[live]
        for new in range(rows + 1)
        for live in range(new, rows + 1)
        if 100 * (live - new) / rows > least_seen(rows)
    )
    assert by_chance < 0.075
    assert right != 0.5 or by_chance > 0.02, "no more is asked for than it takes"


@given(st.integers(0, 10**7), st.integers(0, MOST_ASKED), st.floats(0, 100))
def test_what_is_told_is_one_sentence_and_true(rows: int, asked: int, max_drop: float) -> None:
    told = shown(rows, Gate(rows=asked, max_drop=max_drop))
    assert bool(told) == bool(rows and asked)
    assert "\n" not in told
    if told:
        assert f"{rows:,} test row{'' if rows == 1 else 's'}" in told
        count = min(rows, asked)
        assert ("no drop can be seen" in told) == (count < LEAST_ROWS)
        if count >= LEAST_ROWS:
            assert ("chance alone may hold" in told) == (max_drop < least_seen(count))


def test_what_the_gate_asks_counts() -> None:
    assert shown(1) == shown(1, Gate())
    assert shown(1).startswith(
        "1 test row: no drop can be seen, however great, as it may be chance; upload a test file"
    )
    assert shown(5_000).startswith("of 5,000 test rows the gate asks 200: a drop under 9 points")
    assert shown(5_000, Gate(rows=20, max_drop=30)) == (
        "of 5,000 test rows the gate asks 20: a drop under 26 points can't be seen, as it may be chance "
        "(gate.rows: 200 sees one of 9 points)"
    )
    assert shown(16, Gate()).endswith(". max_drop is 5: chance alone may hold a version back")
    assert shown(50, Gate(rows=4)).endswith("; raise gate.rows in finetune.yaml to 5 at least")
    assert shown(0) == shown(9, Gate(rows=0)) == ""


@pytest.mark.parametrize(("rows", "drop", "chance"), [(20, 10, True), (20, 26.1, False), (3, 99, True), (200, 8, True)])
def test_a_version_that_is_held_back_for_a_drop_that_may_be_chance_hears_so(
    rows: int, drop: float, chance: bool
) -> None:
    compared = Compared(rows=rows, new=100 - drop, live=100)
    scores = verdict(Gate(), new=100 - drop, rows=rows, compared=compared, metrics={})
    assert not scores.passed
    assert (f"it may be chance: {rows} rows can't show a drop under " in scores.why) == chance
