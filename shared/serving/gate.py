"""Whether a new version may take the traffic: what its owner demands of it, and what became of that. Pure rules.

The spec (`gate`, `approve`, `strategy` in finetune.yaml) becomes a Promotion; what was measured becomes Scores. Called
by the loop, for a run in CHECKING.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What a training metric's last value may be."""

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
class Scores:
    """What the gate was shown, and said. `live`: None where nothing served; `metrics`: last values by name."""

    rows: int
    score: str
    new: float
    live: float | None
    metrics: Mapping[str, float]
    passed: bool
    why: str
