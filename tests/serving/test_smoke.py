"""The smoke test's verdict."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.serving.smoke import MOST_ERRORS, SILENCE, judge, shuffled, unanswered

ASKED = [{"role": "user", "content": "Capital of Peru?"}]


@pytest.mark.parametrize("answer", ["", "  \n", "...", "?!", " Capital of Peru? "])
def test_an_answer_without_words_of_its_own_fails(answer: str) -> None:
    verdict = judge(ASKED, answer)
    assert not verdict.passed
    assert verdict.why


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("capital  of\nPeru?", "only repeats the question"),
        ("Be brief. Capital of Peru?", "only repeats the question"),
        ("Traceback (most recent call last):\n  File", "is an error: Traceback"),
        ('{"error": {"code": 500}}', "is an error"),
    ],
)
def test_an_echo_or_an_error_is_no_answer(answer: str, why: str) -> None:
    verdict = judge([{"role": "system", "content": "Be brief."}, *ASKED], answer)
    assert not verdict.passed
    assert why in verdict.why


def test_any_words_pass() -> None:
    assert judge(ASKED, "Lima").passed


@given(st.lists(st.integers(0, 3 * int(SILENCE.total_seconds())), min_size=1, max_size=9))
def test_silence_is_believed_when_it_was_met_for_long_and_not_when_nobody_asked(waits: list[int]) -> None:
    """Each question that is not answered comes so many seconds after the one before."""
    now, silence = datetime(2026, 11, 23, tzinfo=UTC), None
    for wait in waits:
        now += timedelta(seconds=wait)
        silence = unanswered(silence, now)
    assert silence
    assert silence.failed(now) is (sum(min(wait, 5 * 60) for wait in waits[1:]) >= 15 * 60)


@given(st.lists(st.booleans(), min_size=1, max_size=20))
def test_errors_of_the_model_are_believed_when_there_are_several_and_counted(errors: list[bool]) -> None:
    now, silence = datetime(2026, 11, 23, tzinfo=UTC), None
    for error in errors:
        now += timedelta(seconds=30)
        silence = unanswered(silence, now, error=error)
    assert silence
    assert silence.failed(now) is (sum(errors) >= MOST_ERRORS)
    told = silence.told(now)
    if sum(errors) >= MOST_ERRORS:
        assert told.startswith(f"it answered with an error {sum(errors)} times in ")
    else:
        assert told == f"no answer in 0:15:00, asked {len(errors)} times"


@given(st.integers(0, 100), st.text(), st.text())
def test_every_seed_has_an_order_of_its_own_and_always_the_same(count: int, seed: str, other: str) -> None:
    order = shuffled(count, seed=seed)
    assert sorted(order) == list(range(count))
    assert shuffled(count, seed=seed) == order
    assert count < 20 or seed == other or shuffled(count, seed=other) != order
