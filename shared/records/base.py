"""What the records of runs and lines share: a timer, and an event that is to be told."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

FRESH = timedelta(minutes=5)
"""What was just made may not be seen by all of Azure yet (azure-dev#4037)."""
CLOCKS = timedelta(seconds=5)
"""More than the clocks of a service's machines differ by."""


@dataclass(frozen=True, kw_only=True)
class Wake:
    """The one live self-wake: the queue message with this token is the run's timer, any other token is stale."""

    token: str
    due: datetime

    @classmethod
    def at(cls, due: datetime) -> Wake:
        """A timer that no message has had before."""
        return cls(token=uuid4().hex, due=due)


@dataclass(frozen=True, kw_only=True)
class Notice:
    """A lifecycle event that is to be told: kept in the record until it was sent, so that a crash loses none.

    `id` is derived from what happened: an event that is sent again after a crash carries the same one.
    """

    id: str
    type: str
    at: datetime
    why: str = ""
