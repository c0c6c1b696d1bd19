"""What a comparison on held-out rows can show, and what may be chance. Pure.

The gate asks two versions the same rows, scores each answer from 0 to 100, and compares the two means. With few rows a
version that is no worse often scores lower all the same. How much lower is told before anything is paid for (check, the
report), and where a version is held back (gate.py).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.serving.gate import Gate

MOST_ASKED = 200
"""Rows that a gate asks at most (`gate.rows` in finetune.yaml)."""
ONE_SIDED = 1.6449
"""Standard errors that chance exceeds on one side in 5 of 100 cases."""
LEAST_ROWS = 5
"""With fewer rows even a fall of each from right to wrong is chance in more than 5 of 100 cases: 0.5^4 = 6.25 %."""
_WIDEST = 50.0  # points that scores between 0 and 100 spread at most


def least_seen(rows: int) -> float:
    """Points, 0 to 100, by which a mean over so many rows must drop to be more than chance; 100: no drop is.

    One-sided, at 5 % (by the normal distribution; 7 % with a handful of rows), for two means over the same rows, before
    any answer is known. The standard error of their difference is sqrt((s1^2 + s2^2 - 2 r s1 s2) / rows). No score
    between 0 and 100 spreads wider than one that is 0 for half of the rows and 100 for the others, s = 50 (Popoviciu's
    inequality, 1935): that is `exact` for a model that is right in half of the cases, and `chrf` for answers that are
    either right or have nothing in common with what was expected. Versions of one line err on the same rows rather than
    on others, so r is 0 at least. That gives 1.645 * 70.7 / sqrt(rows) at most: 30 points for 16 rows, 12 for 100, 9
    for 200. Where scores spread less, less can be seen; answers.json of a run has them. A drop of just so much is
    noticed in half of the cases.

    Below LEAST_ROWS the normal distribution says too little; there the sign test counts. See Miller, Adding Error Bars
    to Evals (2024), for paired differences of evaluations; Card et al., With Little Power Comes Great Responsibility
    (2020); Dixon and Mood, The Statistical Sign Test (1946).
    """
    if rows < LEAST_ROWS:
        return 100.0
    return min(100.0, ONE_SIDED * _WIDEST * math.sqrt(2 / rows))


def rows_to_see(drop: float) -> int:
    """The fewest rows with which a drop of so many points (above 0) is more than chance."""
    return max(LEAST_ROWS, math.ceil(2 * (ONE_SIDED * _WIDEST / drop) ** 2))


def points(drop: float) -> str:
    """So many points, rounded up, in words."""
    return f"{math.ceil(drop - 0.05)} points"


def shown(rows: int, gate: Gate | None = None) -> str:
    """What so many test rows can show, in words; with `gate`, what that makes of them. "" where nothing is compared."""
    asked = min(rows, MOST_ASKED if gate is None else gate.rows)
    if not asked:
        return ""
    of = f"{rows:,} test row{'' if rows == 1 else 's'}"
    told = of if asked == rows else f"of {of} the gate asks {asked}"
    if asked < LEAST_ROWS:
        more = f"upload a test file with more rows, or raise split.test in finetune.yaml: {LEAST_ROWS} rows at least"
        if asked < rows:
            more = f"raise gate.rows in finetune.yaml to {LEAST_ROWS} at least"
        return f"{told}: no drop can be seen, however great, as it may be chance; {more}"
    told = f"{told}: a drop under {points(least_seen(asked))} can't be seen, as it may be chance"
    if gate is None:
        return told
    if asked < min(rows, MOST_ASKED):
        most = min(rows, MOST_ASKED)
        told += f" (gate.rows: {most} sees one of {points(least_seen(most))})"
    if gate.max_drop < least_seen(asked):
        told += f". max_drop is {gate.max_drop:g}: chance alone may hold a version back"
    return told
