"""What passes by itself: Azure has no machines to give just now, in words of its own, and how long that is tried again.

Quota is somebody's limit; capacity is what a region has left. Neither is at fault with the model or the data, so that a
deployment or a job that failed for want of them is made once more, after a while. Called by the looks and the actions
of a run; and by failures.py, for what Azure refuses at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from shared.lifecycle.moment import Moment, minute

PAUSE = timedelta(minutes=15)
"""Between two tries. The same as between two looks at quota."""
LONGEST = timedelta(hours=24)
LEAST = 8
"""So long from the first refusal on, and so often at least: hosts that stood still have not tried meanwhile."""
ANSWER = 500
"""Characters of Azure's last answer that a reason repeats."""

# OutOfCapacity, and "a lack of Azure Machine Learning capacity" under OutOfQuota: Azure ML's page on troubleshooting
# online endpoints. AllocationFailed and its kin: Azure's virtual machines, and what is built on them.
_CAPACITY = re.compile(
    r"out\s?of\s?capacity|(lack of|insufficient|not enough) (azure machine learning |\w+ )?capacity|"
    r"(have|has) (sufficient|enough) capacity|insufficient\s?capacity|"
    r"(?<!memory )\b(overconstrained|zonal|node)*allocation\s?(request\s?)?failed",
    re.IGNORECASE,
)
_QUOTA = re.compile(
    r"out\s?of\s?quota|not (have )?(enough|sufficient) (\w+ )*quota|quota (\w+ )*exceeded|exceeds? (\w+ )*quota",
    re.IGNORECASE,
)


def no_quota(text: str) -> bool:
    """Whether Azure says that a subscription's quota does not suffice."""
    return bool(_QUOTA.search(text))


def no_machines(text: str) -> bool:
    """Whether Azure says that it has no machines for it, by quota or by what is left of them."""
    return no_quota(text) or bool(_CAPACITY.search(text))


@dataclass(frozen=True, kw_only=True)
class Scarce:
    """How often Azure had no machines for an attempt, since when; when it was asked last, and what it said.

    `standing`: what it failed with is a deployment, which goes before the next try.
    """

    times: int
    since: Moment
    at: Moment
    why: str
    standing: bool = False

    @property
    def over(self) -> bool:
        """Whether that is to be taken for good."""
        return self.at - self.since >= LONGEST and self.times >= LEAST

    def due_in(self, now: datetime) -> float:
        """Seconds until the next try."""
        return (self.at + PAUSE - now).total_seconds()

    @property
    def waits(self) -> str:
        """What is waited for, until when, in words."""
        return (
            f"machines, of which Azure has none to give: tried {_times(self.times)} since {minute(self.since)}, again "
            f"at {minute(self.at + PAUSE)}, until {minute(self.since + LONGEST)} and {LEAST} times at least; its "
            f"last answer: {self.why[:ANSWER]}"
        )

    @property
    def ended(self) -> str:
        """That it is given up, in words."""
        hours = (self.at - self.since).total_seconds() / 3600
        return (
            f"Azure had no machines for it: tried {_times(self.times)} in {hours:.0f} hours, which is as long as it is "
            f"tried. Its last answer: {self.why[:ANSWER]}"
        )


def after(before: Scarce | None, now: datetime, why: str, *, standing: bool = False) -> Scarce:
    """What is known after one more try that Azure had no machines for."""
    if before is None:
        return Scarce(times=1, since=now, at=now, why=why, standing=standing)
    return replace(before, times=before.times + 1, at=now, why=why, standing=standing)


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
