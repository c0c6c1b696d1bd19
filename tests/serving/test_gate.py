"""The gate's rules: how answers are scored, and who passes."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Mapping
from typing import Literal

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from shared.serving.gate import LONGEST, Bounds, Compared, Gate, Scores, score, verdict

KINDS: tuple[Literal["chrf", "exact"], ...] = ("chrf", "exact")
TEXTS = st.text(max_size=60)
POINTS = st.floats(0, 100)
VALUES = st.floats(-1e6, 1e6)
BOUNDS = st.builds(Bounds, least=st.none() | VALUES, most=st.none() | VALUES)
NAMES = st.sampled_from(["loss", "eval_loss", "acc"])
GATES = st.builds(
    Gate,
    rows=st.integers(0, 200),
    score=st.sampled_from(KINDS),
    min_score=POINTS,
    max_drop=POINTS,
    metrics=st.dictionaries(NAMES, BOUNDS, max_size=2),
)
METRICS = st.dictionaries(NAMES, VALUES | st.sampled_from([math.nan, math.inf, -math.inf]), max_size=3)
ROWS = st.integers(0, 200)


def judged(
    gate: Gate,
    *,
    new: float = 50,
    live: float | None = None,
    rows: int = 20,
    metrics: Mapping[str, float] | None = None,
) -> Scores:
    """The verdict where what serves, if something does, has answered all that the new version has."""
    compared = None if live is None else Compared(rows=rows, new=new, live=live)
    return verdict(gate, new=new, rows=rows, compared=compared, metrics=metrics or {})


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None)  # the first one imports the library
@given(TEXTS, TEXTS)
def test_every_score_is_from_0_to_100_and_the_expected_answer_has_100(
    kind: Literal["chrf", "exact"], answer: str, expected: str
) -> None:
    assert 0 <= score(kind, answer, expected) <= 100
    assert score(kind, expected, expected) == pytest.approx(100)


@given(TEXTS, TEXTS)
def test_white_space_does_not_count_and_for_exact_case_does_not_either(answer: str, expected: str) -> None:
    spaced = "\n ".join(expected.split())
    assert score("chrf", answer, f" {spaced}\n") == score("chrf", answer, expected)
    assert score("exact", f"\t{answer} ", expected) == score("exact", answer, expected)


def test_exact_is_all_or_nothing() -> None:
    assert score("exact", "  very\nPOSITIVE", "Very positive") == 100
    assert score("exact", "positive.", "positive") == 0
    assert score("exact", "", "positive") == 0


def test_chrf_rises_with_what_the_answers_have_in_common() -> None:
    expected = "The capital of Peru is Lima."
    falling = [
        score("chrf", answer, expected)
        for answer in (expected, "The capital of Peru is Lima", "Peru's capital is Lima", "It is Lima", "zzz", "")
    ]
    assert falling == sorted(falling, reverse=True)
    assert len(set(falling[:5])) == 5
    assert falling[-2:] == [0, 0]
    assert score("chrf", "LIMA", "lima") == 0, "case counts"


def test_chrf_is_the_librarys() -> None:
    """chrF2 by hand, of texts too short for more than two orders: precision 1 and 1, recall 2/3 and 1/2."""
    precision, recall = (1 + 1) / 2, (2 / 3 + 1 / 2) / 2
    assert score("chrf", "ab", "abc") == pytest.approx(100 * 5 * precision * recall / (4 * precision + recall))


def test_texts_without_end_are_scored_by_their_beginning() -> None:
    beginning = "abc " * (LONGEST // 4)
    assert score("chrf", beginning + "y" * 10**7, beginning + "x" * 10**7) == pytest.approx(100)


def test_the_library_is_loaded_for_chrf_alone() -> None:
    """A cold start must not pay for it."""
    code = (
        "import sys; from shared.serving.gate import score; score('exact', 'a', 'a'); print('sacrebleu' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"


@given(GATES, POINTS, POINTS, st.none() | POINTS, ROWS, METRICS)
@example(Gate(min_score=50), 50, 60, None, 0, {})
def test_better_answers_never_fail_where_worse_pass(
    gate: Gate, one: float, other: float, live: float | None, rows: int, metrics: dict[str, float]
) -> None:
    worse, better = sorted((one, other))
    if judged(gate, new=worse, live=live, rows=rows, metrics=metrics).passed:
        assert judged(gate, new=better, live=live, rows=rows, metrics=metrics).passed


@given(GATES, POINTS, POINTS, ROWS, METRICS)
def test_a_margin_counts_for_nothing_where_nothing_serves(
    gate: Gate, new: float, margin: float, rows: int, metrics: dict[str, float]
) -> None:
    other = Gate(rows=gate.rows, score=gate.score, min_score=gate.min_score, max_drop=margin, metrics=gate.metrics)
    assert judged(gate, new=new, rows=rows, metrics=metrics) == judged(other, new=new, rows=rows, metrics=metrics)


@given(GATES, POINTS, POINTS, st.none() | POINTS, ROWS, METRICS)
def test_asking_for_less_never_turns_pass_into_fail(
    gate: Gate, less: float, new: float, live: float | None, rows: int, metrics: dict[str, float]
) -> None:
    assume(judged(gate, new=new, live=live, rows=rows, metrics=metrics).passed)
    wider = Gate(
        rows=gate.rows,
        score=gate.score,
        min_score=max(0.0, gate.min_score - less),
        max_drop=gate.max_drop + less,
        metrics=dict(list(gate.metrics.items())[1:]),
    )
    assert judged(wider, new=new, live=live, rows=rows, metrics=metrics).passed


@given(GATES, POINTS, st.none() | POINTS, ROWS, METRICS)
def test_what_was_seen_is_told_and_can_be_kept(
    gate: Gate, new: float, live: float | None, rows: int, metrics: dict[str, float]
) -> None:
    scores = judged(gate, new=new, live=live, rows=rows, metrics=metrics)
    compared = None if live is None else Compared(rows=rows, new=new, live=live)
    assert (scores.rows, scores.score, scores.new, scores.compared) == (rows, gate.score, new, compared)
    assert all(math.isfinite(value) for value in scores.metrics.values()), "JSON has no other numbers"
    assert set(scores.metrics) <= set(gate.metrics)
    if rows and scores.passed:
        assert f"{rows} held-out rows score {new:.2f} ({gate.score})" in scores.why
        assert live is None or f"{live:.2f}" in scores.why
    assert ("finetune.yaml" in scores.why) is not scores.passed


@pytest.mark.parametrize(
    ("scores", "told"),
    [
        (judged(Gate(min_score=60), new=50), "20 held-out rows score 50.00 (chrf), below min_score 60."),
        (
            judged(Gate(score="exact"), new=50, live=60.5),
            "score 50.00 (exact), 10.50 below the 60.50 of the version that serves, which is more than max_drop 5 "
            "(it may be chance: 20 rows can't show a drop under 26 points; gate.rows says how many are asked).",
        ),
        (judged(Gate(min_score=1), new=0, rows=0), "nothing shows a min_score of 1."),
    ],
)
def test_what_fails_says_by_how_much_and_what_to_do(scores: Scores, told: str) -> None:
    assert not scores.passed
    assert told in scores.why
    assert "upload again" in scores.why


@given(GATES, POINTS, ROWS, st.builds(Compared, rows=st.integers(1, 200), new=POINTS, live=POINTS))
def test_what_serves_answered_has_no_say_in_the_floor(gate: Gate, new: float, rows: int, compared: Compared) -> None:
    assume(not judged(gate, new=new, rows=rows).passed)
    scores = verdict(gate, new=new, rows=rows, compared=compared, metrics={})
    assert not scores.passed


def test_scores_of_some_rows_are_told_apart_from_those_of_all() -> None:
    some = Compared(rows=3, new=80, live=70)
    assert verdict(Gate(), new=50, rows=20, compared=some, metrics={}).why == (
        "its answers to 20 held-out rows score 50.00 (chrf), those of the version that serves 70.00 to 3 of them, to "
        "which its own score 80.00"
    )
    worse = Compared(rows=3, new=60, live=70)
    assert "answers to 3 held-out rows score 60.00" in verdict(Gate(), new=99, rows=20, compared=worse, metrics={}).why


def test_the_edges_pass() -> None:
    assert judged(Gate(min_score=50), new=50).passed
    assert judged(Gate(max_drop=5), new=45, live=50).passed
    assert judged(Gate(max_drop=0), new=50, live=50).passed
    assert judged(Gate(), new=0, rows=0).passed
    assert judged(Gate(max_drop=100), new=0, live=100).passed


@pytest.mark.parametrize(
    ("bounds", "value", "told"),
    [
        (Bounds(most=1.5), 1.6, "eval_loss ended at 1.6, above its most, 1.5"),
        (Bounds(least=0.5), 0.25, "eval_loss ended at 0.25, below its least, 0.5"),
        (Bounds(most=1.5), math.nan, "eval_loss ended as nan"),
        (Bounds(), math.inf, "eval_loss ended as inf"),
        (Bounds(most=1.5), 1.5, None),
        (Bounds(least=-1, most=2), 0, None),
        (Bounds(), -5, None),
    ],
)
def test_a_metrics_last_value_is_held_against_its_bounds(bounds: Bounds, value: float, told: str | None) -> None:
    scores = judged(Gate(metrics={"eval_loss": bounds}), new=9, rows=1, metrics={"eval_loss": value})
    assert scores.passed is (told is None)
    assert told is None or told in scores.why


def test_a_metric_that_is_not_there_fails_and_is_told_with_those_that_are() -> None:
    gate = Gate(metrics={"evalloss": Bounds()})
    scores = judged(gate, new=9, rows=1, metrics={"loss": 1, "eval_loss": 2})
    assert not scores.passed
    assert "the training told no metric evalloss (it told eval_loss, loss)" in scores.why
    none = judged(gate, new=9, rows=1, metrics={})
    assert "(it told none at all)" in none.why
    many = judged(gate, new=9, rows=1, metrics={f"m{n:03d}": 1.0 for n in range(500)})
    assert "m019 and 480 more" in many.why
    assert len(many.why) < 500


def test_every_demand_that_is_not_met_is_told_at_once() -> None:
    gate = Gate(min_score=60, max_drop=1, metrics={"loss": Bounds(most=1), "acc": Bounds(least=0.9)})
    scores = judged(gate, new=50, live=90, rows=20, metrics={"loss": 2})
    assert [
        told for told in ("min_score 60", "max_drop 1", "loss ended at 2", "metric acc") if told not in scores.why
    ] == []
