"""The smoke test's verdict."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.serving.smoke import judge, pick_row

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


@given(st.lists(st.integers(), min_size=1), st.text())
def test_the_picked_row_is_one_of_them_and_always_the_same(numbers: list[int], seed: str) -> None:
    rows = [{"n": number} for number in numbers]
    assert pick_row(rows, seed=seed) in rows
    assert pick_row(rows, seed=seed) == pick_row(rows, seed=seed)


def test_no_rows_is_told() -> None:
    with pytest.raises(ValueError, match="no held-out rows"):
        pick_row([], seed="r")
