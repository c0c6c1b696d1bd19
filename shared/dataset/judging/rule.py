"""What a rule is. Those there are stand in `rules`, and in the tables that it takes in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

type Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Rule:
    """`cure`: what to do, in one line. `about`: what it is and why it matters. `scope`: what breaks it."""

    severity: Severity
    scope: Literal["row", "file", "dataset"]
    cure: str
    about: str
