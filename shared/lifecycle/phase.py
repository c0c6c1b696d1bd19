"""The phases of a run, and which statuses of a job are ends.

Spelled here alone; records, rules and looks read them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

type Hold = Literal["", "slot", "quota", "approval", "pin", "endpoint", "seat"]


class Phase(StrEnum):
    """Where a run is. Those from REJECTED on are ends; within one attempt the phases form a DAG."""

    RECEIVED = "received"
    PREPARED = "prepared"
    TRAINING = "training"
    REGISTERED = "registered"
    DEPLOYING = "deploying"
    CHECKING = "checking"
    LIVE = "live"
    REJECTED = "rejected"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    ROLLED_BACK = "rolled_back"
    SUPERSEDED = "superseded"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing happens any more to a run in this phase."""
        return self not in WORK


WORK = (Phase.RECEIVED, Phase.PREPARED, Phase.TRAINING, Phase.REGISTERED, Phase.DEPLOYING, Phase.CHECKING)
ROLLOUT = (Phase.REGISTERED, Phase.DEPLOYING, Phase.CHECKING)
"""From the model to the traffic. Their limits count the time in which somebody looked (waits.py)."""
PAID = (Phase.TRAINING, *ROLLOUT)
"""Something of the run's costs money, or has: a look that is refused does not end it, and its line has a seat."""
JOB_FAILED = ("Failed", "Canceled")
ENDED = ("Completed", *JOB_FAILED)
"""A job of any other status may go on: one that is NotResponding can be Running again, one that is Paused resumed."""


def refused(phase: Phase) -> Phase:
    """How a run in `phase` ends when something that it takes is refused for good, so that no look will show it."""
    return Phase.ROLLED_BACK if phase in (Phase.DEPLOYING, Phase.CHECKING) else Phase.FAILED
