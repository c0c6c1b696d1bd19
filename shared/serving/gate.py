"""Whether a new version may take the traffic: what its owner demands of it, and what became of that. Pure rules.

The spec (`gate`, `approve`, `strategy` in finetune.yaml) becomes a Promotion; what was measured becomes Scores. Called
by the spec, which reads the demands, and by the action `compare`, which measures.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from shared.serving.chance import least_seen, points
from shared.serving.payload import normal

LONGEST = 10_000
"""Characters of an answer, and of what was expected, that chrF looks at."""
_TOLD = 20  # names of metrics
_ADVICE = (
    "Read the answers, then better the data or the parameters and upload again, or ask for less below `gate` in "
    "finetune.yaml"
)


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What a training metric's last value may be; without either it only has to be there."""

    least: float | None = None
    most: float | None = None


@dataclass(frozen=True, kw_only=True)
class Gate:
    """What a new version's answers to `rows` held-out rows must be like, and its training metrics.

    Scores are 0 to 100 (a mean over the rows). `min_score`: the new version's own; `max_drop`: how many points it may
    lie below the version that serves.
    """

    rows: int = 20
    score: Literal["chrf", "exact"] = "chrf"
    min_score: float = 0.0
    max_drop: float = 5.0
    metrics: Mapping[str, Bounds] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """How a new version comes to the traffic. `replace` does without spare instances, and so without a comparison."""

    approve: Literal["auto", "manual"] = "auto"
    strategy: Literal["blue_green", "replace"] = "blue_green"
    gate: Gate = field(default_factory=Gate)


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Mean scores over the `rows` rows that both the new version and the one that serves answered."""

    rows: int
    new: float
    live: float


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What the gate was shown, and said. `new`: the mean over all `rows` rows that the new version answered.

    `compared`: None where nothing served that answered; `metrics`: last values of those that are demanded, by name.
    """

    rows: int
    score: str
    new: float
    compared: Compared | None = None
    metrics: Mapping[str, float]
    passed: bool
    why: str


def score(kind: Literal["chrf", "exact"], answer: str, expected: str) -> float:
    """How near the answer is to what was expected, 0 to 100.

    `exact`: all or nothing; white space and case do not count. `chrf`: character n-grams of up to six that both have,
    recall counting twice (chrF2, Popović 2015, as sacrebleu computes it); white space does not count, case does.
    """
    if kind == "exact":
        return 100.0 if normal(answer) == normal(expected) else 0.0
    answer, expected = answer[:LONGEST], expected[:LONGEST]
    if not expected.strip():
        return 0.0 if answer.strip() else 100.0
    # Imported here: it takes a fifth of a second, and few of the app's processes ever score.
    from sacrebleu.metrics.chrf import CHRF

    return min(100.0, float(CHRF().sentence_score(answer, [expected]).score))


def verdict(gate: Gate, *, new: float, rows: int, compared: Compared | None, metrics: Mapping[str, float]) -> Scores:
    """What the gate says of a mean score over `rows` rows (0: none was asked) and of metrics' last values by name.

    `min_score` is of all rows that the new version answered, whatever the one that serves made of them. `why` names
    every demand that is not met and what to do, or else what was seen.
    """
    wrong = [*_wrong_scores(gate, new, rows, compared), *_wrong_metrics(gate, metrics)]
    shown = {name: metrics[name] for name in gate.metrics if math.isfinite(metrics.get(name, math.nan))}
    return Scores(
        rows=rows,
        score=gate.score,
        new=new,
        compared=compared,
        metrics=shown,
        passed=not wrong,
        why=f"{'; '.join(wrong)}. {_ADVICE}" if wrong else _seen(gate.score, new, rows, compared, shown),
    )


def _wrong_scores(gate: Gate, new: float, rows: int, compared: Compared | None) -> Iterator[str]:
    if not rows:
        if gate.rows and gate.min_score > 0:
            yield f"no held-out row could be asked, so that nothing shows a min_score of {gate.min_score:g}"
        return
    if new < gate.min_score:
        yield f"{_answers(gate.score, new, rows)}, below min_score {gate.min_score:g}"
    if compared and compared.new < compared.live - gate.max_drop:
        yield (
            f"{_answers(gate.score, compared.new, compared.rows)}, {compared.live - compared.new:.2f} below the "
            f"{compared.live:.2f} of the version that serves, which is more than max_drop {gate.max_drop:g}"
            f"{_by_chance(compared)}"
        )


def _by_chance(compared: Compared) -> str:
    """What to tell of a drop that so few rows can't show."""
    least = least_seen(compared.rows)
    if compared.live - compared.new >= least:
        return ""
    rows = f"{compared.rows} row{'' if compared.rows == 1 else 's'}"
    return f" (it may be chance: {rows} can't show a drop under {points(least)}; gate.rows says how many are asked)"


def _answers(kind: str, score: float, rows: int) -> str:
    return f"its answers to {rows} held-out rows score {score:.2f} ({kind})"


def _wrong_metrics(gate: Gate, metrics: Mapping[str, float]) -> Iterator[str]:
    for name, bounds in gate.metrics.items():
        if name not in metrics:
            yield f"the training told no metric {name} (it told {_names(metrics)})"
            continue
        value = metrics[name]
        if not math.isfinite(value):
            yield f"{name} ended as {value}, which is no number"
        elif bounds.least is not None and value < bounds.least:
            yield f"{name} ended at {value:.6g}, below its least, {bounds.least:g}"
        elif bounds.most is not None and value > bounds.most:
            yield f"{name} ended at {value:.6g}, above its most, {bounds.most:g}"


def _names(metrics: Mapping[str, float]) -> str:
    names = sorted(metrics)
    more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
    return f"{', '.join(names[:_TOLD])}{more}" if names else "none at all"


def _seen(kind: str, new: float, rows: int, compared: Compared | None, metrics: Mapping[str, float]) -> str:
    told = [f"{name} ended at {value:.6g}" for name, value in metrics.items()]
    if rows:
        other = "with none to compare with"
        if compared:
            other = f"those of the version that serves {compared.live:.2f}"
            if compared.rows < rows:
                other += f" to {compared.rows} of them, to which its own score {compared.new:.2f}"
        told.insert(0, f"{_answers(kind, new, rows)}, {other}")
    return "; ".join(told) or "no held-out row was asked, and no metric is demanded"
